"""The writer thread: one commit for many, refusals that hurt nobody else, no ack after a fault."""

from __future__ import annotations

import sqlite3
import threading
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from storage_samples import RUN, START, agent, log, regional, run_record

from schema.clock import VirtualClock
from schema.errors import ConfigurationError, RecordConflict, SpoolFull, StorageError
from storage.spool_file import (
    SpoolSettings,
    connect_plain,
    file_system_of,
    prepare_folder,
)
from storage.writer import SpoolWriter

SMALL = SpoolSettings(ballast_bytes=0)


@pytest.fixture
def writer(tmp_path: Path) -> Iterator[SpoolWriter]:
    made = SpoolWriter(tmp_path, VirtualClock(START), SMALL)
    made.open()
    yield made
    made.close()


def _hold(writer: SpoolWriter) -> threading.Event:
    """Keep the thread busy until the event is set, so that puts pile up."""
    started, release = threading.Event(), threading.Event()

    def job(_vault: object) -> None:
        started.set()
        release.wait(10)

    writer.call(job)
    started.wait(10)
    return release


def test_puts_that_wait_together_share_commits(tmp_path: Path) -> None:
    commits: list[str] = []
    writer = SpoolWriter(tmp_path, VirtualClock(START), SMALL, crash_point=commits.append)
    writer.open()
    release = _hold(writer)
    futures = [writer.put([log(n)]) for n in range(200)]
    release.set()
    assert sum(future.result(10).accepted for future in futures) == 200
    # 200 rows in groups of at most 64: 64 + 64 + 64 + 8.
    assert commits.count("after_commit_before_ack") == 4
    writer.close()


def test_a_large_put_is_one_commit(tmp_path: Path) -> None:
    commits: list[str] = []
    writer = SpoolWriter(tmp_path, VirtualClock(START), SMALL, crash_point=commits.append)
    writer.open()
    assert writer.put([log(n) for n in range(3000)]).result(30).accepted == 3000
    assert commits.count("after_commit_before_ack") == 1
    writer.close()


def test_a_refused_put_leaves_the_others_of_its_group_alone(writer: SpoolWriter) -> None:
    writer.put([agent("a")]).result(10)
    release = _hold(writer)
    first = writer.put([log(1)])
    conflict = writer.put([log(2), agent("a", node="elsewhere")])
    last = writer.put([log(3)])
    release.set()
    with pytest.raises(RecordConflict):
        conflict.result(10)
    assert first.result(10).accepted == last.result(10).accepted == 1
    depth = writer.call(lambda vault: sum(vault.spool.depths.values())).result(10)
    # agent a, log 1 and log 3; nothing of the refused put.
    assert depth == 3
    assert writer.put([log(2)]).result(10).accepted == 1


def test_grid_facts_of_a_refused_put_are_not_kept(writer: SpoolWriter, tmp_path: Path) -> None:
    writer.put([agent("a"), regional(1, START, 100.0)]).result(10)
    with pytest.raises(RecordConflict):
        writer.put([regional(2, START, 50.0), agent("a", node="n")]).result(10)
    facts = writer.call(lambda vault: vault.grid.facts(vault.spool.run(RUN))).result(10)
    assert len(facts.facts) == 1
    writer.close()
    again = SpoolWriter(tmp_path, VirtualClock(START), SMALL)
    vault = again.open()
    assert vault.grid.facts(1) == facts
    again.close()


def test_a_put_whose_caller_has_gone_is_skipped_and_the_thread_lives(writer: SpoolWriter) -> None:
    release = _hold(writer)
    gone = writer.put([log(1)])
    assert gone.cancel()
    release.set()
    assert writer.put([log(2)]).result(10).accepted == 1
    assert writer.put([log(1)]).result(10).accepted == 1


def test_a_failed_job_is_rolled_back_and_told(writer: SpoolWriter) -> None:
    def job(vault: Any) -> None:
        vault.put([log(1)], 0)
        raise ValueError("no")

    with pytest.raises(ValueError, match="no"):
        writer.call(job).result(10)
    assert writer.put([log(1)]).result(10).accepted == 1


def test_a_second_process_is_refused_and_told_who_holds_the_spool(
    writer: SpoolWriter, tmp_path: Path
) -> None:
    other = SpoolWriter(tmp_path, VirtualClock(START), SMALL)
    with pytest.raises(StorageError, match="in use by process"):
        other.open()
    writer.close()
    other = SpoolWriter(tmp_path, VirtualClock(START), SMALL)
    other.open()
    other.close()


def test_nothing_is_accepted_after_close(writer: SpoolWriter) -> None:
    writer.close()
    with pytest.raises(StorageError, match="closed"):
        writer.put([log(1)]).result(10)


class _Faulty(sqlite3.Connection):
    """Fails at a commit, as a failed fsync does."""

    fail: sqlite3.Error | None = None

    def execute(self, sql: str, *args: Any) -> sqlite3.Cursor:
        if sql == "commit" and _Faulty.fail is not None:
            error, _Faulty.fail = _Faulty.fail, None
            raise error
        return super().execute(sql, *args)


def _connect_faulty(path: Path) -> sqlite3.Connection:
    return sqlite3.connect(path, isolation_level=None, factory=_Faulty)


def test_a_failed_fsync_is_never_acknowledged_and_ends_the_spool(tmp_path: Path) -> None:
    fatal: list[BaseException] = []
    writer = SpoolWriter(
        tmp_path, VirtualClock(START), SMALL, on_fatal=fatal.append, connect=_connect_faulty
    )
    writer.open()
    writer.put([log(1)]).result(10)
    release = _hold(writer)
    futures = [writer.put([log(n)]) for n in (2, 3)]
    _Faulty.fail = sqlite3.OperationalError("disk I/O error")
    release.set()
    for future in futures:
        with pytest.raises(StorageError):
            future.result(10)
    with pytest.raises(StorageError, match="has failed"):
        writer.put([log(4)]).result(10)
    writer.close()
    assert len(fatal) == 1
    # What was acknowledged before is there; what was not may be, but was never promised.
    again = SpoolWriter(tmp_path, VirtualClock(START), SMALL)
    again.open()
    assert again.put([log(1)]).result(10).known == 1
    again.close()


def _disk_full() -> sqlite3.OperationalError:
    error = sqlite3.OperationalError("database or disk is full")
    error.sqlite_errorcode = sqlite3.SQLITE_FULL  # type: ignore[misc]
    return error


class _NoRoomForLog(sqlite3.Connection):
    """Finds no room to copy the log into the file, so often."""

    times = 0

    def execute(self, sql: str, *args: Any) -> sqlite3.Cursor:
        if "wal_checkpoint" in sql and _NoRoomForLog.times:
            _NoRoomForLog.times -= 1
            raise _disk_full()
        return super().execute(sql, *args)


def test_a_log_that_does_not_fit_into_the_file_ends_nothing(tmp_path: Path) -> None:
    fatal: list[BaseException] = []
    writer = SpoolWriter(
        tmp_path,
        VirtualClock(START),
        replace(SMALL, chunk_rows=1000),
        on_fatal=fatal.append,
        connect=lambda path: sqlite3.connect(path, isolation_level=None, factory=_NoRoomForLog),
    )
    writer.open()
    _NoRoomForLog.times = 1
    # More than 200 changed rows: the log is to be copied after this put.
    writer.put([run_record(), *(log(n) for n in range(150))]).result(10)
    with pytest.raises(SpoolFull, match="disk is full"):
        writer.put([log(200)]).result(10)
    # A job goes through, so there is room again.
    writer.call(lambda vault: None).result(10)
    assert writer.put([log(200)]).result(10).accepted == 1
    # Nor does it keep a spool from being closed.
    _NoRoomForLog.times = 1
    writer.close()
    assert fatal == []
    again = SpoolWriter(tmp_path, VirtualClock(START), SMALL)
    again.open()
    assert again.put([log(n) for n in (*range(150), 200)]).result(10).known == 151
    again.close()


def test_a_disk_that_others_filled_costs_the_ballast_not_the_rows(tmp_path: Path) -> None:
    settings = SpoolSettings(ballast_bytes=1024 * 1024)
    writer = SpoolWriter(tmp_path, VirtualClock(START), settings, connect=_connect_faulty)
    writer.open()
    ballast = tmp_path / "ballast.bin"
    # Written bytes, not a hole.
    assert ballast.stat().st_blocks * 512 >= 1024 * 1024
    writer.put([run_record(), log(1)]).result(10)
    _Faulty.fail = _disk_full()
    with pytest.raises(SpoolFull, match="disk"):
        writer.put([log(2)]).result(10)
    assert not ballast.exists()
    with pytest.raises(SpoolFull, match="disk is full"):
        writer.put([log(2)]).result(10)
    # Any job that went through shows room again: the ballast comes back and the door opens.
    writer.call(lambda vault: None).result(10)
    assert ballast.stat().st_size == 1024 * 1024
    assert writer.put([log(2)]).result(10).accepted == 1
    writer.close()


MOUNTS = """\
/dev/vda / ext4 rw 0 0
tmpfs /dev/shm tmpfs rw 0 0
server:/x /mnt/my\\040share nfs4 rw 0 0
"""


@pytest.mark.parametrize(
    ("folder", "kind"),
    [("/var/lib", "ext4"), ("/dev/shm/spool", "tmpfs"), ("/mnt/my share/a", "nfs4")],
)
def test_the_file_system_of_a_folder_is_that_of_its_nearest_mount(folder: str, kind: str) -> None:
    assert file_system_of(Path(folder), MOUNTS) == kind


@pytest.mark.skipif(not Path("/dev/shm").is_dir(), reason="no tmpfs to try it on")
def test_a_disk_that_forgets_at_power_off_is_refused_where_it_matters(tmp_path: Path) -> None:
    folder = Path("/dev/shm") / f"gridpact-test-{tmp_path.name}"
    try:
        with pytest.raises(ConfigurationError, match="power cut"):
            prepare_folder(folder, SpoolSettings(allow_unsafe_disk=False))
        prepare_folder(folder, SpoolSettings(allow_unsafe_disk=True))
    finally:
        folder.rmdir()


def test_a_plain_connection_leaves_transactions_to_us(tmp_path: Path) -> None:
    db = connect_plain(tmp_path / "x.db")
    assert db.isolation_level is None
    db.close()
