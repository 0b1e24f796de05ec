"""The schedule of a plan as a CSV, written whole or not at all.

    workload_id,status,region_id,starts_at,ends_at

One row a contiguous segment, workloads in the order they were given; a refused workload has one
row with the last three fields empty.
"""

from __future__ import annotations

import csv
import io
import os
from collections.abc import Iterator
from pathlib import Path

from agents.plan import Job, Schedule
from schema.errors import InputError
from schema.periods import format_instant, half_hour_start

SCHEDULE_COLUMNS = ("workload_id", "status", "region_id", "starts_at", "ends_at")
AWARDED = "awarded"
REFUSED = "refused"


def rows_of(job: Job, schedule: Schedule) -> Iterator[tuple[str, ...]]:
    """Give the header and the rows of a schedule as text."""
    grid = job.grid
    instants = [
        format_instant(half_hour_start(number)) for number in range(grid.origin, grid.end + 1)
    ]
    ptr = schedule.ptr.tolist()
    segments = list(
        zip(
            map(str, schedule.region.tolist()),
            (schedule.first - grid.origin).tolist(),
            (schedule.end - grid.origin).tolist(),
            strict=True,
        )
    )
    yield SCHEDULE_COLUMNS
    for at, name in enumerate(job.batch.names.tolist()):
        mine = segments[ptr[at] : ptr[at + 1]]
        if not mine:
            yield (name, REFUSED, "", "", "")
        for region, first, end in mine:
            yield (name, AWARDED, region, instants[first], instants[end])


def schedule_csv(job: Job, schedule: Schedule) -> str:
    """Write a schedule as CSV text."""
    out = io.StringIO(newline="")
    csv.writer(out, lineterminator="\n").writerows(rows_of(job, schedule))
    return out.getvalue()


def check_out(path: Path, inputs: tuple[Path, ...]) -> None:
    """See that a file can be written there, before any work is done.

    Raises:
        InputError: No such folder, not writable, a folder, or one of the inputs.
    """
    file = str(path)
    target = path.resolve()
    if target.is_dir():
        raise InputError(f"--out {file} is a folder; give the path of a file", file=file)
    if target in {given.resolve() for given in inputs}:
        raise InputError(f"--out {file} is an input too; give another file", file=file)
    if not target.parent.is_dir():
        raise InputError(f"--out {file}: there is no folder {path.parent}; make it", file=file)
    if not os.access(target if _special(target) else target.parent, os.W_OK):
        raise InputError(f"--out {file} cannot be written: permission denied", file=file)


def write_whole(path: Path, text: str) -> None:
    """Write a file beside its place and move it there, so that no half of it is ever seen.

    Raises:
        InputError: It cannot be written; whatever stood there before still stands.
    """
    target = path.resolve()
    try:
        if _special(target):
            target.write_text(text, encoding="utf-8", newline="")
            return
        beside = target.with_name(f".{target.name[:200]}.{os.getpid()}.part")
        try:
            with beside.open("x", encoding="utf-8", newline="") as file:
                file.write(text)
                file.flush()
                os.fsync(file.fileno())
            beside.replace(target)
        except BaseException:
            beside.unlink(missing_ok=True)
            raise
    except OSError as exc:
        raise InputError(f"--out {path} cannot be written: {exc.strerror}", file=str(path)) from exc


def _special(target: Path) -> bool:
    """Say whether something stands there that must not be replaced, such as a device."""
    return target.exists() and not target.is_file()
