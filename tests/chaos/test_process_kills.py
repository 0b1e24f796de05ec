"""A storage process dies by SIGKILL in the midst of its work; nothing it accepted is lost.

Processes as in ``kill_harness``: the one that is killed never writes the ledger, and the rows are
counted in PostgreSQL by natural key. A kill counts as a trial only when rows waited in the spool
and a put was in flight at that moment.
"""

from __future__ import annotations

import itertools
import shutil
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import closing
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import psycopg
import pytest
from chaos_table import Tally
from kill_harness import CRASH_POINTS, Harness, Outcome
from postgres_sink import PostgresSink
from storage_samples import RUN, START, log, message, run_record

from schema.clock import VirtualClock
from storage.spool_file import SpoolSettings
from storage.writer import SpoolWriter

pytestmark = [
    pytest.mark.chaos,
    pytest.mark.xdist_group("process-kills"),
    pytest.mark.embedded,
    pytest.mark.timeout(900),
]

#: Kills of one spool, before the next begins with an empty one.
ROUND = 70
#: Of each ten kills so many come from outside at a moment that nobody chose.
RANDOM_OF_TEN = 3

MakeHarness = Callable[..., tuple[Harness, PostgresSink]]


def make(number: int) -> list[Any]:
    """Five rows a put, of both lanes; the run's own row waits in the spool from the start."""
    return [log(number * 3 + n) for n in range(3)] + [message(number * 2 + n) for n in range(2)]


@pytest.fixture
def new_spool(tmp_path: Path, fresh_database_url: str) -> Iterator[Callable[[], Path]]:
    """Make an empty spool with the run's row, and empty the tables that it drains to."""
    folders: list[Path] = []

    def begin() -> Path:
        folder = tmp_path / str(len(folders))
        folders.append(folder)
        with closing(psycopg.connect(fresh_database_url, autocommit=True)) as connection:
            connection.execute("delete from scenario_runs where run_id = %s", (RUN,))
        writer = SpoolWriter(folder / "spool", VirtualClock(START), SpoolSettings(ballast_bytes=0))
        writer.open()
        writer.put([run_record()]).result(10)
        writer.close()
        return folder

    yield begin
    for folder in folders:
        shutil.rmtree(folder)


@dataclass
class Total:
    """Outcomes of all rounds together."""

    outcomes: list[Outcome] = field(default_factory=list)

    def sum(self, name: str) -> int:
        return sum(getattr(outcome, name) for outcome in self.outcomes)

    def hits(self) -> Counter[str]:
        return sum((outcome.hits for outcome in self.outcomes), Counter())


def test_nothing_acknowledged_is_lost_or_doubled_by_kills_at_every_point(
    new_spool: Callable[[], Path],
    fresh_database_url: str,
    trials: int,
    tally: Tally,
) -> None:
    total = Total()
    sink = PostgresSink(fresh_database_url, RUN, seed=1)
    points = itertools.cycle(CRASH_POINTS)
    with closing(sink):
        for number in itertools.count():
            missing = trials - total.sum("mid_work")
            if missing <= 0:
                break
            harness = Harness(new_spool(), make, seed=20261128 + number, sink=sink)
            with closing(harness):
                while harness.mid_work < min(ROUND, missing):
                    if harness.kills % 10 < RANDOM_OF_TEN:
                        harness.kill()
                    else:
                        harness.crash(next(points))
                total.outcomes.append(harness.finish())
    assert set(total.hits()) == {*CRASH_POINTS, "random"}
    # The victims were at work: else the trials would show nothing.
    assert total.sum("acknowledged") > 20 * total.sum("kills")
    assert sink.requests > total.sum("kills")
    # What the kills took the answer from may have arrived all the same, and no more than that.
    assert total.sum("recovered") <= 5 * total.sum("puts_cut")
    broken = ("lost", "doubled", "unexpected", "torn")
    failures = [name for name in broken for _ in range(total.sum(name))]
    tally(
        "1: kill -9 in mid-work, nothing lost or doubled",
        total.sum("mid_work"),
        failures,
        note=_told(total, sink),
    )


def _told(total: Total, sink: PostgresSink) -> str:
    hits = ", ".join(f"{point} {count}" for point, count in sorted(total.hits().items()))
    names = ("acknowledged", "lost", "doubled", "unexpected", "torn", "recovered")
    rows = ", ".join(f"{name} {total.sum(name):,}" for name in names)
    return (
        f"{total.sum('kills'):,} kills ({hits}); rows {rows}; "
        f"{sink.requests:,} requests; in flight at a kill {total.sum('puts_cut'):,} puts and "
        f"{total.sum('requests_cut'):,} requests"
    )


@pytest.mark.parametrize(
    ("fault", "point", "nth", "seen_as"),
    [
        ("ids made at the sink", "after_send_before_response", 4, "doubled"),
        ("acknowledged from memory", "after_insert_before_commit", 4, "lost"),
        # A life's first commit is that of a checkpoint alone.
        ("checkpoint apart from its rows", "after_commit_before_ack", 1, "torn"),
    ],
    ids=["own_ids", "from_memory", "apart"],
)
def test_a_planted_fault_is_seen(
    new_spool: Callable[[], Path],
    fresh_database_url: str,
    tally: Tally,
    fault: str,
    point: str,
    nth: int,
    seen_as: str,
) -> None:
    folder = new_spool()
    sink = PostgresSink(fresh_database_url, RUN, seed=1, own_ids="sink" in fault)
    harness = Harness(
        folder,
        make,
        seed=5,
        sink=sink,
        apart="apart" in fault,
        from_memory="memory" in fault,
    )
    with closing(sink), closing(harness):
        for _ in range(4):
            harness.crash(point, nth)
        outcome = harness.finish()
    seen = getattr(outcome, seen_as) > 0
    tally(f"{fault}, kill -9 ({seen_as} rows)", 1, [] if seen else ["not seen"], control=True)


class _Thief(PostgresSink):
    """Takes one row out before the checker looks."""

    def keys(self) -> Counter[tuple[str, int]]:
        with self._connection() as connection:
            connection.execute("reset role")
            gone = connection.execute("delete from api_logs where sequence = 0").rowcount
        assert gone == 1
        return super().keys()


def test_a_row_removed_by_hand_is_seen_as_lost(
    new_spool: Callable[[], Path], fresh_database_url: str, tally: Tally
) -> None:
    folder = new_spool()
    sink = _Thief(fresh_database_url, RUN, seed=1)
    harness = Harness(folder, make, seed=6, sink=sink)
    with closing(sink), closing(harness):
        harness.crash("after_commit_before_ack")
        seen = harness.finish().lost == 1
    tally(
        "one row of the sink removed by hand (lost rows)",
        1,
        [] if seen else ["not seen"],
        control=True,
    )
