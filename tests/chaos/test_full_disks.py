"""Others fill the disk under a spool at any moment; it sends on, and takes rows again after.

The disk is the model of ``disk_model``, with a limit. The ballast lies on it too, so letting go of
it is what gives the room that sending on needs.
"""

from __future__ import annotations

import random
import shutil
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest
import storage_samples as samples
from chaos_table import Tally
from disk_model import Disk
from full_disk_work import put, send_all

import storage.writer
from schema.clock import VirtualClock
from schema.errors import SpoolFull
from storage.spool_file import Ballast, SpoolSettings, open_database
from storage.writer import SpoolWriter

pytestmark = [pytest.mark.chaos, pytest.mark.xdist_group("full-disks"), pytest.mark.timeout(900)]

BALLAST_BYTES = 256 * 1024
LEAST_ROOM, MOST_ROOM = 600_000, 1_200_000
PUTS_WHILE_FULL = 5
#: A full disk takes half a second, so there are fewer of them.
SHARE = 10


class _BallastOnDisk(Ballast):
    """Takes its room from the disk of the model."""

    disk: Disk

    def create(self) -> bool:
        if self.present:
            return True
        if self.disk.room - sum(self.disk.sizes.values()) < self._size:
            return False
        self.disk.room -= self._size
        return super().create()

    def release(self) -> None:
        if self.present:
            self.disk.room += self._size
        super().release()


@pytest.fixture
def folders(tmp_path: Path) -> Iterator[Iterator[Path]]:
    yield (tmp_path / str(number) for number in range(10**9))
    shutil.rmtree(tmp_path)


def faults_of(folder: Path, room: int) -> tuple[list[str], int]:
    """Fill a disk, drain at its limit, fill again; gives what went wrong and the refusals."""
    disk = _BallastOnDisk.disk = Disk()
    disk.room = room
    faults: list[str] = []
    refused = 0
    accepted: list[str] = []
    fatal: list[BaseException] = []
    writer = SpoolWriter(
        folder,
        VirtualClock(samples.START),
        SpoolSettings(ballast_bytes=BALLAST_BYTES),
        connect=disk.connect,
        on_fatal=fatal.append,
    )
    writer.open()
    number = 0
    for _ in range(2):
        while True:
            try:
                writer.put(records := put(number)).result(20)
            except SpoolFull:
                break
            accepted += [record.id for record in records]
            number += 1
        for more in range(PUTS_WHILE_FULL):
            try:
                writer.put(put(number + more)).result(20)
                faults.append("taken while the disk is full")
            except SpoolFull:
                refused += 1
        while writer.call(send_all).result(20):
            pass
        # The others leave; the next job finds room for the ballast, and the door opens.
        disk.room += 2 * BALLAST_BYTES
        writer.call(send_all).result(20)
        try:
            writer.put(records := put(number)).result(20)
        except SpoolFull as exc:
            faults.append(f"not taken though there is room: {exc}")
        else:
            accepted += [record.id for record in records]
            number += 1
    writer.close()
    faults += [f"ended: {exc}" for exc in fatal]
    with closing(open_database(folder, SpoolSettings())) as db:
        found = {row_id.hex() for (row_id,) in db.execute("select id from records")}
        (integrity,) = db.execute("pragma integrity_check").fetchone()
    faults += [f"lost: {row_id}" for row_id in accepted if row_id.replace("-", "") not in found]
    if integrity != "ok":
        faults.append(f"damaged: {integrity}")
    return faults, refused


def test_a_full_disk_refuses_rows_and_loses_none(
    folders: Iterator[Path], trials: int, tally: Tally, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(storage.writer, "Ballast", _BallastOnDisk)
    rng = random.Random(4)
    faults: list[str] = []
    refused = 0
    disks = max(3, trials // SHARE)
    for _ in range(disks):
        folder = next(folders)
        found, more = faults_of(folder, rng.randint(LEAST_ROOM, MOST_ROOM))
        faults += found[:1]
        refused += more
        shutil.rmtree(folder)
    tally("5: disk full, nothing lost, drains, takes rows again", disks, faults)
    assert refused == 2 * PUTS_WHILE_FULL * disks
