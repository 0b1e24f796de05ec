"""The power goes at any moment of a spool's work; what it acknowledged is on the disk.

Much of what a kill leaves behind is lost by a power cut: pages that only the kernel had. So the
disk is a model here (``disk_model``), and a session of work is cut at many of its writes. Half of
the sessions begin with what a cut left.
"""

from __future__ import annotations

import random
import shutil
import sqlite3
from collections.abc import Collection, Iterator
from contextlib import closing
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from chaos_table import Tally
from disk_model import Disk, survivor
from spool_reading import lying_rows
from storage_samples import RUN, START, log, message, run_record

from schema.clock import VirtualClock
from schema.errors import GridpactError, StorageError
from schema.rows import Lane, Record
from storage.columns import rows_of
from storage.ports import Checkpoint
from storage.spool import Spool
from storage.spool_file import SpoolSettings, open_database
from storage.spool_rows import State
from storage.writer import SpoolWriter, Vault

pytestmark = [pytest.mark.chaos, pytest.mark.xdist_group("power-cuts"), pytest.mark.timeout(900)]

#: The logs of every other put become a chunk.
QUIET = SpoolSettings(ballast_bytes=0, chunk_rows=4)
CUTS_OF_A_SESSION = 25
PUTS = 60
#: Of what a session does; a good many of its commits are settled, so that pages are used again.
SETTLE_EACH = 4


@dataclass
class Session:
    """Puts and settlements of one life, and what became of them on the disk."""

    disk: Disk
    attempted: dict[bytes, Record] = field(default_factory=dict)

    def acknowledged(self, upto: int) -> tuple[dict[bytes, int], set[bytes]]:
        """Give what a cut after so many events must leave: rows by put, and settled rows."""
        rows: dict[bytes, int] = {}
        settled: set[bytes] = set()
        for event in self.disk.events[:upto]:
            if event.kind == "mark":
                kind, number, ids = event.mark
                if kind == "put":
                    rows.update(dict.fromkeys(ids, number))
                else:
                    settled.update(ids)
        return rows, settled


def live(
    folder: Path,
    disk: Disk,
    rng: random.Random,
    start: int,
    *,
    from_memory: bool = False,
    factory: type[sqlite3.Connection] = sqlite3.Connection,
) -> Session:
    """Let a spool work on that disk: puts from several callers at once, settlements between.

    Args:
        folder: Where the spool lies.
        disk: The disk under it.
        rng: Of what happens.
        start: Number of the first put.
        from_memory: A fault: a put is acknowledged before it is on disk.
        factory: Makes connections; another one may have a fault.
    """
    session = Session(disk)
    writer = SpoolWriter(
        folder, VirtualClock(START), QUIET, connect=lambda path: disk.connect_as(path, factory)
    )
    writer.open()
    try:
        _work(session, writer, rng, start, from_memory=from_memory)
    finally:
        writer.close()
    return session


def _work(
    session: Session, writer: SpoolWriter, rng: random.Random, start: int, *, from_memory: bool
) -> None:
    disk = session.disk
    waiting = []
    for number in range(start, start + PUTS):
        records = [
            run_record(),
            message(number),
            *(log(number * 4 + n) for n in range(3 + number % 2)),
        ]
        ids = [bytes.fromhex(record.id.replace("-", "")) for record in records]
        session.attempted.update(zip(ids, records, strict=True))
        saved = Checkpoint(RUN, "orchestrator", number + 1, rng.randbytes(rng.randint(100, 20_000)))
        mark = ("put", number, ids)
        if from_memory:
            disk.mark(mark)
        future = writer.put(records, saved)
        if not from_memory:
            # Runs in the writer's thread, right where it tells the caller.
            future.add_done_callback(
                lambda done, mark=mark: None if done.exception() else disk.mark(mark)
            )
        waiting.append(future)
        if rng.random() < 0.5:
            for future in waiting:
                future.exception(20)
            waiting.clear()
        if number % SETTLE_EACH == SETTLE_EACH - 1:
            lane = rng.choice((Lane.ORDERED, Lane.FACTS))
            settled = writer.call(lambda vault, lane=lane: _settle(vault, lane))
            settled.add_done_callback(
                lambda done: None if done.exception() else disk.mark(("settled", 0, done.result()))
            )
    for future in waiting:
        future.exception(20)


def _settle(vault: Vault, lane: Lane) -> list[bytes]:
    spool = vault.spool
    rows = spool.take(lane, spool.run(RUN), 0, rows=40, size=10**9, now_s=1)
    spool.settle(rows, 1)
    chunks = spool.chunks.take(spool.run(RUN), 0, rows=40, size=10**9) if lane is Lane.FACTS else []
    spool.settle_chunks(chunks, 1)
    sent = [row_id for chunk in chunks for row_id in _ids_of(chunk.part)]
    return [*(row.id for row in rows), *sent]


def _ids_of(part: bytes) -> list[bytes]:
    return [bytes.fromhex(row["id"].replace("-", "")) for row in rows_of(part)[1]]


def faults_after(
    folder: Path, session: Session, upto: int, earlier: Collection[bytes] = ()
) -> list[str]:
    """Start again on what a cut left in a folder, and say what is wrong with it."""
    acknowledged, settled = session.acknowledged(upto)
    try:
        with closing(open_database(folder, QUIET)) as db:
            (integrity,) = db.execute("pragma integrity_check").fetchone()
            found = {row.id: row for row in lying_rows(db)}
            saved = Spool(db, QUIET).checkpoint(RUN, "orchestrator")
    except (StorageError, sqlite3.DatabaseError) as exc:
        return [f"damaged: {exc}"]
    faults = [] if integrity == "ok" else [f"damaged: {integrity}"]
    faults += [f"lost: {row_id.hex()}" for row_id in {*acknowledged, *earlier} - found.keys()]
    unexpected = found.keys() - session.attempted.keys() - set(earlier)
    faults += [f"unexpected: {row_id.hex()}" for row_id in unexpected]
    for row_id, row in found.items():
        if row_id in settled and row.state != State.DELIVERED:
            faults.append(f"not settled: {row_id.hex()}")
        record = session.attempted.get(row_id)
        if record is not None and (
            row.sha256 != record.sha256
            or (row.state == State.WAITING and row.columns != record.columns())
        ):
            faults.append(f"changed: {row_id.hex()}")
    newest = max(acknowledged.values(), default=-1)
    if newest >= 0 and (saved is None or saved.number <= newest):
        faults.append(f"lost: the checkpoint of put {newest}, found is {saved}")
    return faults


def laid(folder: Path, files: dict[str, bytes]) -> Path:
    """Lay files into a new folder."""
    folder.mkdir()
    for name, data in files.items():
        (folder / name).write_bytes(data)
    return folder


@pytest.fixture
def folders(tmp_path: Path) -> Iterator[Iterator[Path]]:
    yield (tmp_path / str(number) for number in range(10**9))
    shutil.rmtree(tmp_path)


@dataclass
class Cuts:
    """What came of cutting the power."""

    done: int = 0
    faults: list[str] = field(default_factory=list)
    at_stake: int = 0
    """Acknowledged rows, added up over all cuts."""


def cut(folders: Iterator[Path], trials: int, seed: int, **fault: Any) -> Cuts:
    """Cut the power so often, in sessions of which every other begins with what a cut left."""
    rng = random.Random(seed)
    cuts = Cuts()
    base: dict[str, bytes] = {}
    earlier: list[bytes] = []
    while cuts.done < trials:
        folder = laid(next(folders), base)
        session = live(folder, Disk(), rng, PUTS if base else 0, **fault)
        shutil.rmtree(folder)
        events = session.disk.events
        left: dict[str, bytes] = {}
        for _ in range(min(CUTS_OF_A_SESSION, trials - cuts.done)):
            upto = rng.randint(0, len(events))
            files = survivor(events[:upto], rng, before=base)
            place = laid(next(folders), files)
            wrong = faults_after(place, session, upto, earlier)
            cuts.faults += wrong[:1]
            cuts.at_stake += len(session.acknowledged(upto)[0]) + len(earlier)
            cuts.done += 1
            left = left if wrong else files
            shutil.rmtree(place)
        events.clear()
        base, earlier = ({}, []) if base else (left, _ids(next(folders), left))
    return cuts


def _ids(folder: Path, files: dict[str, bytes]) -> list[bytes]:
    with closing(open_database(laid(folder, files), QUIET)) as db:
        return [row.id for row in lying_rows(db)]


def test_a_power_cut_loses_nothing_acknowledged_and_damages_nothing(
    folders: Iterator[Path], trials: int, tally: Tally
) -> None:
    cuts = cut(folders, trials, seed=1)
    assert cuts.at_stake > 50 * cuts.done
    tally(
        "3: power cut, nothing acknowledged lost or damaged",
        cuts.done,
        cuts.faults,
        note=f"{cuts.at_stake:,} acknowledged rows looked for, added up over all cuts",
    )


class _Unsynced(sqlite3.Connection):
    """Turns synchronous off behind the spool's back, once the spool has looked."""

    def execute(self, sql: str, *parameters: Any) -> sqlite3.Cursor:
        if sql == "pragma user_version":
            super().execute("pragma synchronous = off")
        return super().execute(sql, *parameters)


@pytest.mark.parametrize(
    ("name", "fault"),
    [
        ("synchronous=OFF", {"factory": _Unsynced}),
        ("acknowledged from memory", {"from_memory": True}),
    ],
    ids=["synchronous_off", "from_memory"],
)
def test_a_planted_fault_is_seen_after_a_power_cut(
    folders: Iterator[Path], tally: Tally, name: str, fault: dict[str, Any]
) -> None:
    kinds = {text.partition(":")[0] for text in cut(folders, 20, seed=2, **fault).faults}
    seen = bool(kinds & {"lost", "damaged"})
    tally(f"{name}, power cut (lost rows or damage)", 1, [] if seen else ["not seen"], control=True)


def test_nothing_is_acknowledged_after_a_failed_fsync(
    folders: Iterator[Path], trials: int, tally: Tally, caplog: pytest.LogCaptureFixture
) -> None:
    rng = random.Random(3)
    first = next(folders)
    first.mkdir()
    syncs = live(first, Disk(), rng, 0).disk.syncs
    faults: list[str] = []
    failed = 0
    while failed < trials:
        folder = next(folders)
        disk = Disk(fail_sync=rng.randint(1, syncs))
        try:
            session = live(folder, disk, rng, 0)
        except GridpactError:
            session = Session(disk)  # it failed while it opened, and said so
        shutil.rmtree(folder)
        events = disk.events
        at = next((n for n, event in enumerate(events) if event.kind == "failed_sync"), None)
        if at is None:
            continue  # commits fell together, so there were fewer syncs this time
        failed += 1
        late = [event.mark[:2] for event in events[at:] if event.kind == "mark"]
        faults += [f"acknowledged after EIO: {mark}" for mark in late[:1]]
        # What the kernel dropped stays missing, though the spool syncs again as it closes.
        place = laid(next(folders), survivor(events, rng))
        faults += faults_after(place, session, len(events))[:1]
        shutil.rmtree(place)
        # Several megabytes, and what was logged holds on to them.
        events.clear()
        caplog.clear()
    tally("7: EIO on fsync, nothing acknowledged after it, nothing lost", failed, faults)
