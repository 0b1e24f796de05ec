"""Killed at any moment, storage loses nothing it acknowledged and doubles nothing.

A small sample, into a sink in memory, of what ``tests/chaos`` does at length and into PostgreSQL.
The planted faults show that the checker would see one.
"""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from kill_harness import CRASH_POINTS, Harness, Outcome, Sink
from storage_samples import START, log, message, run_record

from schema.clock import VirtualClock
from storage.spool import Spool
from storage.spool_file import SpoolSettings, open_database
from storage.writer import SpoolWriter

QUIET = SpoolSettings(ballast_bytes=0)


def make(number: int) -> list[Any]:
    """Five rows a put, of both lanes; the run's own row waits in the spool from the start."""
    return [log(number * 3 + n) for n in range(3)] + [message(number * 2 + n) for n in range(2)]


@pytest.fixture
def folder(tmp_path: Path) -> Iterator[Path]:
    writer = SpoolWriter(tmp_path / "spool", VirtualClock(START), QUIET)
    writer.open()
    writer.put([run_record()]).result(10)
    writer.close()
    yield tmp_path
    shutil.rmtree(tmp_path / "spool")


def run(
    folder: Path,
    sink: Sink,
    points: tuple[str, ...],
    random_kills: int,
    *,
    nth: int | None = None,
    apart: bool = False,
) -> Outcome:
    harness = Harness(folder, make, seed=20260501, sink=sink, apart=apart)
    try:
        for point in points:
            harness.crash(point, nth)
        for _ in range(random_kills):
            harness.kill()
        return harness.finish()
    finally:
        harness.close()


def test_nothing_acknowledged_is_lost_or_doubled_by_22_kills(folder: Path) -> None:
    sink = Sink(seed=1)
    outcome = run(folder, sink, CRASH_POINTS * 2, 8)
    assert outcome.kills == 22
    assert set(outcome.hits) == {*CRASH_POINTS, "random"}
    assert (outcome.lost, outcome.doubled, outcome.unexpected) == (0, 0, 0)
    assert (outcome.torn, outcome.checkpoints > 2 * outcome.kills) == (0, True)
    # The victims were at work: else the test would show nothing.
    assert outcome.acknowledged > 20 * outcome.kills
    assert sink.requests > outcome.kills


def test_the_checker_sees_ids_that_are_made_at_the_sink(folder: Path) -> None:
    outcome = run(folder, Sink(seed=1, own_ids=True), ("after_send_before_response",) * 3, 0)
    assert outcome.doubled > 0


def test_the_checker_sees_checkpoints_that_are_saved_apart_from_their_rows(folder: Path) -> None:
    # A life's first commit is that of a checkpoint alone.
    outcome = run(folder, Sink(seed=1), ("after_commit_before_ack",), 0, nth=1, apart=True)
    assert outcome.torn > 0


def test_a_torn_tail_leaves_exactly_the_commits_before_it(tmp_path: Path) -> None:
    source = tmp_path / "whole"
    source.mkdir()
    db = open_database(source, QUIET)
    spool = Spool(db, QUIET)
    db.execute("pragma wal_autocheckpoint = 0")
    sizes = []
    for number in range(12):
        db.execute("begin immediate")
        spool.accept([log(number * 2), log(number * 2 + 1)], 0)
        db.execute("commit")
        sizes.append((source / "spool.db-wal").stat().st_size)
    wal = (source / "spool.db-wal").read_bytes()
    main = (source / "spool.db").read_bytes()
    db.close()
    assert len(wal) == sizes[-1]
    # Every length at which a commit ends, one byte less and more, and a sample between.
    cuts = {*range(0, len(wal), 6151)} | {size + d for size in sizes for d in (-1, 0, 1)}
    for cut in sorted(cut for cut in cuts if cut <= len(wal)):
        torn = tmp_path / "torn"
        torn.mkdir()
        (torn / "spool.db").write_bytes(main)
        (torn / "spool.db-wal").write_bytes(wal[:cut] + b"\x5a" * 100)
        copy = open_database(torn, QUIET)
        try:
            rows = [seq for (seq,) in copy.execute("select seq from records order by seq")]
            whole = sum(size <= cut for size in sizes)
            assert rows == list(range(1, 2 * whole + 1)), cut
            assert copy.execute("pragma integrity_check").fetchone()[0] == "ok"
        finally:
            copy.close()
            shutil.rmtree(torn)
