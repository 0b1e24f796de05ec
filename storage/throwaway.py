"""A run that is stored and deleted again: proves the whole way from the spool to the tables.

Its row says ``(check)`` for a scenario, which no scenario can be called. A process that is killed
half way leaves it behind; the next one removes what is older than an hour.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path
from typing import Protocol

from schema.clock import Clock
from schema.errors import GridpactError, StorageError
from schema.periods import format_instant
from schema.rows import Record, ScenarioRunRow
from schema.rows.system import RunKind
from storage.ports import Filter, Operator, Store, equal
from storage.service import StorageService
from storage.spool_file import MIB, SpoolSettings

SCENARIO = "(check)"
LEFT_BEHIND_AFTER = timedelta(hours=1)
_SPOOL = SpoolSettings(limit_bytes=64 * MIB, ballast_bytes=0)


class ForgetfulStore(Store, Protocol):
    """A store that can also delete runs."""

    async def delete_runs(self, filters: Sequence[Filter]) -> int:
        """Delete runs with all their rows; gives how many runs."""
        ...


@dataclass(frozen=True, slots=True)
class Passage:
    """What went through: rows of each table that were accepted, stored, and counted there."""

    rows: dict[str, int]


async def pass_through(
    store: ForgetfulStore,
    janitor: ForgetfulStore,
    folder: Path,
    run_id: str,
    records: Sequence[Record],
    *,
    clock: Clock,
    timeout_s: float = 60.0,
) -> Passage:
    """Store records by a spool of their own, count them, and delete the run.

    Args:
        store: Where the spool drains to; closed at the end.
        janitor: The same database by another connection, which deletes; left open.
        folder: Of the spool; the caller removes it.
        run_id: The run that the records belong to; new, so that nothing else is in it.
        records: Parents first.
        clock: The real one.
        timeout_s: How long the rows may take.

    Raises:
        GridpactError: Something on the way failed; the run is deleted all the same, if the
            database lets us.
    """
    await janitor.delete_runs(left_behind(clock.now()))
    service = StorageService(folder, store, clock=clock, spool=_SPOOL).open()
    failure: GridpactError | None = None
    try:
        await service.put_run(
            run_id, ScenarioRunRow(kind=RunKind.REPLAY, scenario=SCENARIO, clock_at=clock.now())
        )
        await service.put(records)
        await service.barrier(timeout_s)
        return Passage(await _counted(service, run_id, records))
    except GridpactError as exc:
        failure = exc
        raise
    finally:
        await service.stop()
        try:
            await janitor.delete_runs([equal("run_id", run_id)])
        except GridpactError as exc:
            if failure is None:
                msg = (
                    f"the throw-away run {run_id} could not be deleted: {exc}; the next check "
                    f"removes it after {LEFT_BEHIND_AFTER}"
                )
                raise StorageError(msg) from exc


def left_behind(now: datetime) -> list[Filter]:
    """Give the filter of throw-away runs that nobody is at work on any more."""
    limit = format_instant((now - LEFT_BEHIND_AFTER).replace(microsecond=0))
    return [equal("scenario", SCENARIO), Filter("clock_at", Operator.LT, limit)]


async def _counted(
    service: StorageService, run_id: str, records: Sequence[Record]
) -> dict[str, int]:
    wanted = Counter(table for table, _ in {(record.table, record.id) for record in records})
    found = {
        table: await service.count(table, [equal("run_id", run_id)]) for table in sorted(wanted)
    }
    lost = {table: (count, found[table]) for table, count in wanted.items() if count > found[table]}
    if lost:
        told = ", ".join(f"{table}: {was} sent, {now} there" for table, (was, now) in lost.items())
        status = await service.status()
        msg = f"rows did not arrive ({told}); {status['dead']} were put aside as unfit"
        raise StorageError(msg)
    return found
