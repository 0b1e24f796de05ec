"""``supabase-outage``: the database is away, and nobody but the spool can tell."""

from __future__ import annotations

import shutil
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import orjson
import pytest
from expected_outcomes import hold_against_the_committed_outcome
from rich.console import Console

from scenarios.progress import Progress, Situation
from schema.rows import TABLES
from storage.memory import MemoryStore
from storage.outages import StoreFault

Replayer = Callable[..., Any]
NAME = "supabase-outage"
RUN = "33333333-3333-4333-8333-333333333333"
MINI = Path(__file__).parent / "mini"
#: Ticks of half an hour at whose end the database is away: hours 4 to 11, then 16.5 to 18.5.
AWAY, ANSWERS_LOST = range(8, 22), range(33, 37)

pytestmark = [pytest.mark.long, pytest.mark.timeout(300)]


class Watch(Progress):
    """Notes how many rows wait in the spool after each tick."""

    def __init__(self) -> None:
        super().__init__(Console(stderr=True), quiet=True)
        self.tick = -1
        self.waiting: dict[int, int] = {}

    def show(self, now: Situation) -> None:
        self.tick = now.tick - 1
        self.waiting[self.tick] = now.spool


class Ledger(MemoryStore):
    """A store that notes, request by request, after which tick it came and with which words."""

    def __init__(self, watch: Watch) -> None:
        super().__init__()
        self.watch = watch
        self.requests: list[tuple[int, list[tuple[str, int]]]] = []

    async def ingest(self, batch: Mapping[str, Sequence[bytes]]) -> Mapping[str, int]:
        words = [orjson.loads(body) for body in batch.get("agent_negotiations", ())]
        said = [(word["conversation_id"], word["sequence"]) for word in words]
        self.requests.append((self.watch.tick, said))
        return await super().ingest(batch)


@pytest.fixture(scope="module")
def watch() -> Watch:
    return Watch()


@pytest.fixture(scope="module")
def ledger(watch: Watch) -> Ledger:
    return Ledger(watch)


@pytest.fixture(scope="module")
def replayed(replay_locally: Replayer, watch: Watch, ledger: Ledger) -> Any:
    return replay_locally(NAME, store=ledger, progress=watch)


def test_it_ends_as_committed(replayed: Any) -> None:
    hold_against_the_committed_outcome(NAME, replayed)


def test_rows_wait_in_the_spool_while_the_database_is_away(
    replayed: Any, watch: Watch, ledger: Ledger
) -> None:
    assert replayed.outcome.ticks == 48
    # The outage ends within the tick after the last one of these.
    assert [tick for tick, _ in ledger.requests if tick in AWAY[:-1]] == []
    depth = [watch.waiting[tick] for tick in AWAY]
    assert depth == sorted(depth)
    # Seven hours of four sources and two conversations.
    assert depth[-1] > depth[0] + 5000


def test_negotiations_go_on_meanwhile(replayed: Any) -> None:
    held = {row["sent_at"] for row in replayed.tables["agent_negotiations"]}
    # Hours 6, 10 and 17.5 after 15:00, with the database away.
    assert {"2026-09-22T21:00:00Z", "2026-09-23T01:00:00Z", "2026-09-23T08:30:00Z"} <= held


def test_rows_whose_answer_was_lost_are_sent_again_and_stand_once(
    replayed: Any, ledger: Ledger
) -> None:
    assert [tick for tick, _ in ledger.requests if tick in ANSWERS_LOST]
    words = Counter(word for _, said in ledger.requests for word in said)
    stored = [(r["conversation_id"], r["sequence"]) for r in replayed.tables["agent_negotiations"]]
    assert set(words) == set(stored)
    assert len(stored) == len(set(stored)) == replayed.outcome.negotiation.messages


def test_every_word_arrives_in_the_order_it_was_said(replayed: Any, ledger: Ledger) -> None:
    first_arrivals = list(dict.fromkeys(word for _, said in ledger.requests for word in said))
    assert len(first_arrivals) == replayed.outcome.negotiation.messages
    assert first_arrivals == sorted(first_arrivals)


@pytest.fixture(scope="module")
def calm(replay_locally: Replayer) -> Any:
    return replay_locally(str(MINI), run_id=RUN)


@pytest.mark.parametrize("fault", list(StoreFault))
def test_an_outage_leaves_no_trace_in_what_is_decided_or_stored(
    replay_locally: Replayer, calm: Any, tmp_path: Path, fault: StoreFault
) -> None:
    folder = tmp_path / "mini"
    shutil.copytree(MINI, folder)
    text = (folder / "scenario.toml").read_text(encoding="utf-8")
    outage = f'\n[[database_faults]]\nkind = "{fault}"\nfrom_h = 1\nto_h = 4\n'
    (folder / "scenario.toml").write_text(text + outage, encoding="utf-8")
    shaken = replay_locally(str(folder), run_id=RUN)
    assert shaken.outcome.digest == calm.outcome.digest
    # The run's own row tells how long it took.
    for table in TABLES.keys() - {"scenario_runs"}:
        rows, same = _by_id(shaken.tables[table]), _by_id(calm.tables[table])
        assert rows.keys() == same.keys(), table
        assert [key for key, row in rows.items() if row != same[key]] == [], table


def _by_id(rows: Sequence[Mapping[str, Any]]) -> dict[str, Mapping[str, Any]]:
    found = {row["id"]: row for row in rows}
    assert len(found) == len(rows)
    return found
