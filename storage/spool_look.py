"""A spool seen from outside: its files, who has it, and how much it holds.

Only one process may open a spool. A stopped one is opened here for a moment; of one that a run
has, this tells what the run itself last wrote into ``status.json``.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from datetime import datetime
from enum import StrEnum
from pathlib import Path
from typing import Any, TypeVar

from schema.clock import Clock
from schema.errors import ConfigurationError, StorageError
from schema.periods import format_instant, parse_instant
from storage.embedded.files import read_json
from storage.home import spool_folder
from storage.spool_file import STATUS_FILE, SpoolSettings, holder_of
from storage.writer import SpoolWriter, Vault

T = TypeVar("T")

DATABASE = "spool.db"
_DATABASE_FILES = (DATABASE, f"{DATABASE}-wal")


class SpoolState(StrEnum):
    """Who has a spool."""

    ABSENT = "absent"
    """Nothing was ever accepted there."""
    STOPPED = "stopped"
    HELD = "held"
    """A process has it; figures are those it wrote down last."""


@dataclass(frozen=True, slots=True)
class SpoolLook:
    """How a spool stands.

    Attributes:
        spool: Name of its folder: one a database and use.
        folder: The whole path.
        state: Who has it.
        held_by: Process id of the holder.
        as_of: When the figures below were true; None where nobody wrote them down.
        depth: Rows that are not yet in Supabase.
        oldest_unsent_s: How long the oldest of them has waited.
        dead: Rows put aside.
        fill: Share of its limit in use, 0 to 1.
        bytes: Size of its files.
        lanes: How sending goes, of a spool that a run has.
        errors: Why it does not go.
    """

    spool: str
    folder: str
    state: SpoolState
    held_by: str | None = None
    as_of: str | None = None
    depth: int | None = None
    oldest_unsent_s: int | None = None
    dead: int | None = None
    fill: float | None = None
    bytes: int = 0
    lanes: dict[str, str] = field(default_factory=dict)
    errors: list[str] = field(default_factory=list)

    def to_json(self) -> dict[str, Any]:
        """Give it as a JSON object."""
        return asdict(self)

    def age_s(self, now: datetime) -> float | None:
        """Give how old its figures are."""
        if self.as_of is None:
            return None
        return max(0.0, (now - parse_instant(self.as_of)).total_seconds())


def look(folder: Path, settings: SpoolSettings, clock: Clock) -> SpoolLook:
    """Say how a spool stands; nothing is made where there is none.

    Raises:
        StorageError: Its file is damaged, or of another release's form.
    """
    if not (folder / DATABASE).exists():
        return SpoolLook(folder.name, str(folder), SpoolState.ABSENT)
    size = _size(folder)
    holder = holder_of(folder)
    if holder is None:
        try:
            return _opened(folder, settings, clock, size)
        except StorageError as exc:
            if "held_by" not in exc.details:
                raise
            # Somebody took it since we looked.
            holder = str(exc.details["held_by"])
    return _told(folder, holder, size)


def spools_of(home: Path, supabase_url: str | None) -> tuple[list[Path], list[Path]]:
    """Give the spools there are: those of a database, whatever their use, and those of others."""
    folders = sorted(path.parent for path in (home / "spool").glob(f"*/{DATABASE}"))
    key = spool_folder(home, supabase_url).name
    mine = [folder for folder in folders if folder.name.partition("-")[0] == key]
    return mine, [folder for folder in folders if folder not in mine]


@contextmanager
def stopped_spool(
    folder: Path, settings: SpoolSettings, clock: Clock
) -> Iterator[Callable[[Callable[[Vault], T]], T]]:
    """Open a spool that no run has, for the time of a block; gives what runs a job in it.

    Raises:
        StorageError: There is none, a run has it, or it is damaged.
    """
    if not (folder / DATABASE).exists():
        msg = f"there is no spool in {folder}: nothing was stored that way yet"
        raise StorageError(msg, path=str(folder))
    writer = SpoolWriter(folder, clock, settings)
    writer.open()
    try:
        yield lambda job: writer.call(job).result()
    finally:
        writer.close()


def _opened(folder: Path, settings: SpoolSettings, clock: Clock, size: int) -> SpoolLook:
    now = clock.now()

    def job(vault: Vault) -> SpoolLook:
        oldest = vault.spool.oldest_accepted_at()
        waited = None if oldest is None else max(0, int(now.timestamp()) - oldest)
        return SpoolLook(
            folder.name,
            str(folder),
            SpoolState.STOPPED,
            as_of=format_instant(now.replace(microsecond=0)),
            depth=sum(vault.spool.depths.values()),
            oldest_unsent_s=waited,
            dead=vault.spool.dead,
            fill=round(vault.spool.fill(), 4),
            bytes=size,
        )

    with stopped_spool(folder, settings, clock) as run:
        return run(job)


def _told(folder: Path, holder: str, size: int) -> SpoolLook:
    try:
        said: dict[str, Any] = read_json(folder / STATUS_FILE) or {}
    except ConfigurationError:
        said = {}
    if str(said.get("pid")) != holder:
        # Of an earlier holder: the present one has not written yet.
        said = {}
    return SpoolLook(
        folder.name,
        str(folder),
        SpoolState.HELD,
        held_by=holder,
        as_of=said.get("at"),
        depth=said.get("depth"),
        oldest_unsent_s=said.get("oldest_unsent_s"),
        dead=said.get("dead"),
        fill=said.get("fill"),
        bytes=size,
        lanes=said.get("lanes") or {},
        errors=said.get("errors") or [],
    )


def _size(folder: Path) -> int:
    return sum(path.stat().st_size for name in _DATABASE_FILES if (path := folder / name).exists())
