"""A spool on a real small disk that others fill: nothing is lost, it sends on, it takes rows again.

The same as on the model of ``test_full_disks``, less often, on file systems of the kernel: what
SQLite does when a write, a sync or its shared memory finds no room is then not ours to say.
"""

from __future__ import annotations

import random
import shutil
from contextlib import closing
from pathlib import Path

import pytest
import storage_samples as samples
from chaos_table import Tally
from full_disk_work import put, send_all
from small_disks import Kind, Others, small_disk

from schema.clock import VirtualClock
from schema.errors import SpoolFull
from storage.spool_file import SpoolSettings, open_database
from storage.writer import SpoolWriter

pytestmark = [
    pytest.mark.chaos,
    pytest.mark.xdist_group("mounted-full-disks"),
    pytest.mark.timeout(900),
]

DISK_BYTES = 12 * 1024 * 1024
SETTINGS = SpoolSettings(ballast_bytes=512 * 1024, allow_unsafe_disk=True)
LEAST_ROOM, MOST_ROOM = 300_000, 2_000_000
PUTS_WHILE_FULL = 5
MOST_PUTS = 2_000
#: A disk takes a second, so there are fewer of them.
SHARE = 20


def faults_of(disk: Path, rng: random.Random) -> tuple[list[str], int]:
    """Let others fill the disk twice; gives what went wrong and how many rows were taken."""
    folder, others = disk / "spool", Others(disk)
    faults: list[str] = []
    accepted: list[str] = []
    fatal: list[BaseException] = []
    writer = SpoolWriter(folder, VirtualClock(samples.START), SETTINGS, on_fatal=fatal.append)
    writer.open()
    number = 0

    def take(number: int) -> SpoolFull | None:
        records = put(number)
        try:
            writer.put(records).result(20)
        except SpoolFull as exc:
            return exc
        accepted.extend(record.id for record in records)
        return None

    # Others take first all but the ballast, then also what it had kept: nothing can be sent then.
    for greedy in (False, True):
        others.fill(leave=rng.randint(LEAST_ROOM, MOST_ROOM))
        for _ in range(MOST_PUTS):
            said = take(number)
            if said is not None:
                break
            number += 1
        else:
            faults.append("rows without end fit on a full disk")
        if said is not None and "full" not in said.message:
            faults.append(f"the refusal does not say why: {said}")
        if greedy:
            others.fill()
        if any(take(number + more) is None for more in range(PUTS_WHILE_FULL)):
            faults.append("taken while the disk is full")
        while not greedy and writer.call(send_all).result(20):
            pass
        others.leave()
        while writer.call(send_all).result(20):
            pass
        # The next job finds room for the ballast, and the door opens.
        writer.call(send_all).result(20)
        if (said := take(number)) is not None:
            faults.append(f"not taken though there is room: {said}")
        number += 1
    writer.close()
    faults += [f"ended: {exc}" for exc in fatal]
    with closing(open_database(folder, SETTINGS)) as db:
        found = {row_id.hex() for (row_id,) in db.execute("select id from records")}
        (integrity,) = db.execute("pragma integrity_check").fetchone()
    faults += [f"lost: {row_id}" for row_id in accepted if row_id.replace("-", "") not in found]
    if integrity != "ok":
        faults.append(f"damaged: {integrity}")
    shutil.rmtree(folder)
    return faults, len(set(accepted))


@pytest.mark.parametrize("kind", list(Kind))
def test_a_full_mounted_disk_refuses_rows_and_loses_none(
    kind: Kind, tmp_path: Path, trials: int, tally: Tally
) -> None:
    rng = random.Random(7)
    faults: list[str] = []
    rows = 0
    disks = max(3, trials // SHARE)
    with small_disk(kind, tmp_path / "disk", DISK_BYTES, tmp_path / "image") as disk:
        for _ in range(disks):
            found, taken = faults_of(disk, rng)
            faults += found[:1]
            rows += taken
    tally(
        f"5: {kind} full, nothing lost, drains, takes rows again",
        disks,
        faults,
        note=f"{rows:,} rows acknowledged",
    )
