"""What manager and shards say to each other, counted."""

from __future__ import annotations

import json
import pickle
from dataclasses import dataclass

import pytest

from agents.bench.case import made_case
from agents.bench.traffic import (
    Growth,
    Kind,
    TalliedContractors,
    Traffic,
    growth,
    measure_traffic,
)
from agents.core.market.contractors import InProcessContractors, make_books
from agents.core.market.digest import digest_of
from agents.core.market.instances import Trace
from agents.core.market.negotiate import Options, negotiate
from agents.core.market.shard import ShardBook
from agents.plan_objective import Objective

CASE = made_case(
    200, seed=1, trace=Trace.PAI, objective=Objective.BALANCED, carbon_value_gbp_per_kg=0.264
)


@dataclass(frozen=True)
class Fetch:
    """Asks each shard for so many bytes as it has groups."""

    def put(self, book: ShardBook) -> bytes:
        return bytes(1000 * len(book.groups))


def test_a_question_counts_once_a_shard_and_answers_as_they_are() -> None:
    contractors = TalliedContractors(make_books(CASE.fleets, 2))
    contractors.ask(Fetch())
    contractors.ask(Fetch())
    # Two shards of four groups: 4000 bytes each, and what pickling adds to them.
    answer = len(pickle.dumps(bytes(4000), protocol=5))
    assert 4000 < answer < 4020
    asked = len(pickle.dumps(Fetch(), protocol=5))
    assert contractors.kinds == {
        "Fetch": Kind(asked=2, calls=4, bytes_out=4 * asked, bytes_in=4 * answer, largest_in=answer)
    }


def test_counting_changes_nothing() -> None:
    counted = negotiate(CASE.market, TalliedContractors(make_books(CASE.fleets, 4)), Options())
    plain = negotiate(CASE.market, InProcessContractors(make_books(CASE.fleets, 4)), Options())
    assert digest_of(counted) == digest_of(plain)


def test_a_round_is_one_table_of_prices_out_and_one_of_loads_back() -> None:
    two, eight = (measure_traffic(CASE, shards, Options()) for shards in (2, 8))
    # 14 regions x 192 half hours x 8 bytes = 21,504: two tables of prices, one of loads, and some
    # hundred bytes around them.
    assert 3 * 21_504 <= two.bytes_a_round <= 3 * 21_504 + 1000
    # A key, a power and a dozen other figures of 8 bytes each, at the least.
    assert two.bytes_held > 200 * 8 * 10
    # The market and its messages are the same whatever the shards, the calls are not.
    assert eight.bytes_a_round == pytest.approx(two.bytes_a_round, rel=0.01)
    assert eight.rounds == two.rounds
    assert eight.kinds["Describe"].calls == 4 * two.kinds["Describe"].calls
    # Two hundred workloads come together in their organisation's lead, which alone is asked then.
    assert eight.kinds["Respond"].calls == two.kinds["Respond"].calls
    assert two.kinds["Respond"].calls == two.kinds["Respond"].asked


def test_only_what_grows_with_workloads_is_put_down_to_them() -> None:
    def measured(workloads: int, shards: int, rounds: int, places: int) -> Traffic:
        kinds = {
            "Table": Kind(rounds, rounds, 700 * rounds, 0, 0),
            "Places": Kind(2, 2, 0, places, places),
        }
        held = 300 * workloads + 9999
        return Traffic(workloads, shards, rounds, 2, 700, places, 700, held, kinds)

    rows = [
        measured(10, 2, 10, 99_999),
        measured(1000, 2, 10, 500),
        # 2,000 workloads more: 4,000 bytes of places, so 2 each. Ten more rounds of the same tables
        # have nothing to do with them.
        measured(3000, 2, 20, 4500),
        measured(1000, 8, 10, 500),
    ]
    assert growth(rows) == [Growth(2, 2.0, 300.0, {"Places": 2.0})]


def test_the_command_tells_traffic_and_growth(capsys: pytest.CaptureFixture[str]) -> None:
    from run_cluster import run

    assert run(["bench", "traffic", "--workloads", "100,200", "--shards", "2", "--json"]) == 0
    told = json.loads(capsys.readouterr().out)
    assert [row["workloads"] for row in told["traffic"]] == [100, 200]
    assert told["traffic"][0]["calls"] == sum(
        kind["calls"] for kind in told["traffic"][0]["kinds"].values()
    )
    (grown,) = told["growth"]
    assert "NamePlaces" in grown["growing"]
    assert run(["bench", "traffic", "--workloads", "100", "--shards", "2"]) == 0
    assert "Respond" in capsys.readouterr().out
