"""What agents must not forget is on disk with the rows it belongs to, or not at all."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest
from storage_samples import OTHER_RUN, RUN, START, agent, log, run_record, run_row

from schema.clock import VirtualClock
from schema.errors import ConstraintViolated, RecordConflict, SpoolFull
from schema.rows.system import RunKind
from storage import checkpoints
from storage.client import StorageClient
from storage.memory import MemoryStore
from storage.ports import Checkpoint
from storage.service import StorageService
from storage.spool import Spool
from storage.spool_file import FILE_FORM, SpoolSettings, open_database

QUIET = SpoolSettings(ballast_bytes=0)
MIB = 1024 * 1024


def service(folder: Path, settings: SpoolSettings = QUIET) -> StorageService:
    return StorageService(folder, MemoryStore(), clock=VirtualClock(START), spool=settings)


def saved(number: int, blob: bytes, *, run: str = RUN, name: str = "orchestrator") -> Checkpoint:
    return Checkpoint(run, name, number, blob)


@pytest.fixture
def spool(tmp_path: Path) -> Iterator[Spool]:
    with closing(open_database(tmp_path, QUIET)) as db:
        yield Spool(db, QUIET)


async def test_a_checkpoint_is_read_back_after_a_restart(tmp_path: Path) -> None:
    first = service(tmp_path).open()
    client = StorageClient(first)
    ack = await client.put([run_record(), agent("a")], saved(1, b"one"))
    assert ack.accepted == 2
    client.put_sync([], saved(2, b"two"))
    await first.stop()
    with service(tmp_path) as again:
        client = StorageClient(again)
        assert await client.checkpoint(RUN, "orchestrator") == saved(2, b"two")
        assert await client.checkpoint(RUN, "north") is None
        assert await client.checkpoint(OTHER_RUN, "orchestrator") is None


async def test_rows_that_are_refused_take_their_checkpoint_with_them(tmp_path: Path) -> None:
    with service(tmp_path) as storage:
        await storage.put([run_record(), agent("a")], saved(1, b"one"))
        with pytest.raises(RecordConflict):
            await storage.put([agent("a", node="elsewhere")], saved(2, b"two"))
        assert await storage.checkpoint(RUN, "orchestrator") == saved(1, b"one")


async def test_known_rows_do_not_keep_a_checkpoint_from_being_saved(tmp_path: Path) -> None:
    with service(tmp_path) as storage:
        await storage.put([run_record(), agent("a")])
        ack = await storage.put([agent("a")], saved(1, b"one"))
        assert (ack.accepted, ack.known) == (0, 1)
        assert await storage.checkpoint(RUN, "orchestrator") == saved(1, b"one")


def test_a_checkpoint_is_replaced_and_an_older_one_comes_too_late(spool: Spool) -> None:
    spool.accept([run_record()], 0)
    for number, blob in ((3, b"three"), (2, b"late"), (4, b"four"), (4, b"four again")):
        spool.accept([], 0, saved(number, blob))
    spool.accept([], 0, saved(1, b"north", name="north"))
    assert spool.checkpoint(RUN, "orchestrator") == saved(4, b"four again")
    assert spool.checkpoint(RUN, "north") == saved(1, b"north", name="north")
    assert spool.db.execute("select count(*) from checkpoints").fetchone() == (2,)


def test_a_replay_that_has_ended_leaves_no_checkpoint(spool: Spool) -> None:
    spool.accept([run_record()], 0, saved(1, b"one"))
    spool.accept([run_record(version=1, clock_at=None)], 0)
    assert spool.checkpoint(RUN, "orchestrator") is not None
    spool.accept([run_record(version=2, state="interrupted")], 0)
    assert spool.checkpoint(RUN, "orchestrator") is None


def test_a_replay_drops_the_checkpoints_of_replays_that_were_broken_off(spool: Spool) -> None:
    live = "33333333-3333-4333-8333-333333333333"
    spool.accept([run_record()], 0, saved(1, b"broken off"))
    spool.accept([run_record(live, kind=RunKind.LIVE)], 0, saved(1, b"live", run=live))
    spool.accept([run_record(OTHER_RUN)], 0, saved(1, b"other", run=OTHER_RUN))
    assert spool.checkpoint(RUN, "orchestrator") is None
    assert spool.checkpoint(OTHER_RUN, "orchestrator") == saved(1, b"other", run=OTHER_RUN)
    assert spool.checkpoint(live, "orchestrator") == saved(1, b"live", run=live)


def test_the_live_run_keeps_its_checkpoint_when_it_stops(spool: Spool) -> None:
    spool.accept([run_record(kind=RunKind.LIVE)], 0, saved(1, b"one"))
    spool.accept([run_record(kind=RunKind.LIVE, state="done", version=1)], 0)
    assert spool.checkpoint(RUN, "orchestrator") == saved(1, b"one")


def test_a_checkpoint_counts_at_the_door(tmp_path: Path) -> None:
    settings = SpoolSettings(limit_bytes=4 * MIB, ballast_bytes=0)
    with closing(open_database(tmp_path, settings)) as db:
        spool = Spool(db, settings)
        spool.accept([log(1)], 0, saved(1, bytes(MIB)))
        with pytest.raises(SpoolFull):
            spool.accept([log(2)], 0, saved(2, bytes(4 * MIB)))


def test_a_checkpoint_beyond_all_measure_is_refused_by_name(
    spool: Spool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(checkpoints, "MAX_BYTES", 10)
    with pytest.raises(ConstraintViolated, match=r"checkpoint orchestrator .* has 11 bytes"):
        spool.accept([], 0, saved(1, bytes(11)))


@pytest.mark.parametrize("form", [1, 2])
async def test_a_spool_of_a_form_before_is_brought_to_this_one(tmp_path: Path, form: int) -> None:
    with service(tmp_path) as storage:
        await storage.put([run_record(), log(1)])
    with closing(sqlite3.connect(tmp_path / "spool.db")) as db:
        # Form 2 lacked the chunks, form 1 the checkpoints too.
        lacking = ["chunks", "chunk_keys", "chunk_bodies", *(["checkpoints"] if form == 1 else [])]
        db.executescript("".join(f"drop table {name};" for name in lacking))
        db.execute(f"pragma user_version = {form}")
    with service(tmp_path) as storage:
        ack = await storage.put([log(1), log(2)], saved(1, b"one"))
        assert (ack.accepted, ack.known) == (1, 1)
        assert await storage.checkpoint(RUN, "orchestrator") == saved(1, b"one")
    with closing(sqlite3.connect(tmp_path / "spool.db")) as db:
        assert db.execute("pragma user_version").fetchone() == (FILE_FORM,)


async def test_a_run_put_by_storage_itself_ends_its_checkpoints_too(tmp_path: Path) -> None:
    with service(tmp_path) as storage:
        await storage.put_run(RUN, run_row())
        await storage.put([], saved(1, b"one"))
        await storage.put_run(RUN, run_row(state="done"))
        assert await storage.checkpoint(RUN, "orchestrator") is None
