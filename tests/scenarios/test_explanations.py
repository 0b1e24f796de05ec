"""Every placement of a replay is explained from its rows alone, and the figures agree."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Awaitable, Callable
from typing import Any

import pytest
from typer.testing import CliRunner

from agents import cli_inspect
from agents.core.explaining.story import Explanation
from agents.explained import read_explanation
from agents.reader import IN_ORDER, Reader
from storage.memory import MemoryStore
from storage.ports import equal

Replayer = Callable[..., Any]
Row = dict[str, Any]


@pytest.fixture(scope="module")
def store(replay_locally: Replayer) -> MemoryStore:
    kept = MemoryStore()
    replay_locally(store=kept)
    return kept


@pytest.fixture
def inspect(store: MemoryStore, monkeypatch: pytest.MonkeyPatch) -> Callable[..., Any]:
    """Run ``inspect`` on the replay's rows; gives the JSON, or the text without ``--json``."""

    def ask(question: Callable[[Reader], Awaitable[Any]]) -> Any:
        async def put() -> Any:
            return await question(Reader(store))

        return asyncio.run(put())

    monkeypatch.setattr(cli_inspect, "ask", ask)

    def run(*words: str) -> Any:
        result = CliRunner().invoke(cli_inspect.app, list(words), catch_exceptions=False)
        assert result.exit_code == 0
        return json.loads(result.stdout) if "--json" in words else result.stdout

    return run


def explained(store: MemoryStore) -> list[tuple[Row, Row, Explanation]]:
    """Every workload with its last acceptance and its explanation."""

    async def read() -> list[tuple[Row, Row, Explanation]]:
        reader = Reader(store)
        run = await reader.run("latest")
        found = []
        for one in await reader.all("compute_workloads", run=run):
            mine = [equal("workload_id", one["id"])]
            said = await reader.all("agent_negotiations", run=run, filters=mine, order=IN_ORDER)
            last = [row for row in said if row["performative"] == "accept-proposal"][-1]
            found.append((one, last, await read_explanation(reader, run, one, said)))
        return found

    return asyncio.run(read())


def test_every_price_follows_from_its_parts_and_no_cell_is_over_its_capacity(
    store: MemoryStore,
) -> None:
    stories = explained(store)
    assert len(stories) == 60
    for one, award, why in stories:
        assert why.outcome == "placed"
        price = why.price
        assert price is not None
        assert price.paid_gbp == award["content"]["paid_gbp"]
        assert price.posted_gbp == pytest.approx(price.paid_gbp + price.capped_gbp)
        halves = [item.price_gbp_per_kwh for item in why.half_hours]
        assert price.posted_gbp == pytest.approx(0.5 * one["power_kw"] * sum(halves))
        for item in why.half_hours:
            assert item.cell.load_kw <= item.cell.capacity_kw + 1e-9
            assert item.cell.load_kw >= one["power_kw"] - 1e-9


def test_regret_is_the_difference_to_the_cheapest_place_that_is_told(store: MemoryStore) -> None:
    regretting = 0
    for _, _, why in explained(store):
        assert why.regret is not None
        assert why.regret.posted_gbp >= why.regret.with_room_gbp - 1e-12 >= -1e-12
        cheaper = [-item.dearer_gbp for item in why.alternatives if item.dearer_gbp is not None]
        assert why.regret.posted_gbp == pytest.approx(max([*cheaper, 0.0]), abs=1e-9)
        regretting += why.regret.posted_gbp > 1e-9
    # Some wait for nothing and take a dearer place at once: what waiting costs them is private.
    assert 0 < regretting < 60


def test_a_workload_is_explained_to_programs_and_to_people(inspect: Callable[..., Any]) -> None:
    answer = inspect("workload", "north-00003", "--json")
    assert set(answer) == {"workload", "messages", "schedule", "explanation"}
    why = answer["explanation"]
    assert why["price"]["paid_gbp"] == pytest.approx(
        sum(row["energy_cost_gbp"] + row["congestion_gbp"] for row in answer["schedule"])
        + answer["messages"][-1]["content"]["carbon_gbp"]
    )
    text = inspect("workload", "north-00003")
    for words in ("GBP posted = ", "The cheapest other places", "What waiting costs it is private"):
        assert words in text


def test_the_rounds_of_a_conversation_tell_how_it_converged(inspect: Callable[..., Any]) -> None:
    lines = inspect("negotiations", "0000", "--rounds", "--json")
    *calls, settled = lines
    assert (settled["call"], settled["most_wanted"]) == ("settled", None)
    # The first prices are without congestion; a bound never falls, nor passes the cost.
    assert (calls[0]["mean_mu_gbp_per_kwh"], calls[0]["max_mu_gbp_per_kwh"]) == (0.0, 0.0)
    assert max(line["max_mu_gbp_per_kwh"] for line in calls) > 0.0
    assert all(line["most_wanted"] > 0.0 and line["refusing"] == 0 for line in calls)
    left = [line["below_cost_gbp"] for line in lines]
    assert left == sorted(left, reverse=True)
    assert left[-1] == pytest.approx(settled["cost_gbp"] - settled["bound_gbp"])
    assert left[-1] >= 0.0
    assert "fullest" in inspect("negotiations", "0000", "--rounds")
