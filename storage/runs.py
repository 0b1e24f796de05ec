"""A run's own row: storage keeps it, so that its versions have one source.

Works inside a job of the writer thread: reads the newest content, writes the next version.
"""

from __future__ import annotations

from datetime import datetime, timedelta

import orjson

from schema.errors import StorageError
from schema.periods import parse_instant
from schema.rows import ScenarioRunRow
from storage.ports import PutAck
from storage.writer import Vault

#: Dated grid facts older than this before the run's clock are forgotten; a price of seven days
#: ago is the oldest that anything asks for.
KEPT_FACTS = timedelta(days=10)


def write_run(vault: Vault, run_id: str, row: ScenarioRunRow, now_s: int) -> PutAck:
    """Make this the newest content of the run's row; nothing happens when it already is.

    ``clock_at`` stays as it is where the row brings none.
    """
    known = vault.spool.run_content(run_id)
    # Seconds since 1970, not a count from 0: the row of a long-lived run must still rise when the
    # spool that counted was lost with its disk.
    version = now_s
    if known is not None:
        last, body = known
        before = _row(body)
        if row.clock_at is None:
            row = row.model_copy(update={"clock_at": before.clock_at})
        if before == row.model_copy(update={"version": None}):
            return PutAck(0, 1, vault.spool.fill())
        version = max(now_s, last + 1)
    content = row.model_copy(update={"version": None})
    return vault.put([content.to_record(run_id, version=version)], now_s)


def write_clock(vault: Vault, run_id: str, instant: datetime, now_s: int) -> PutAck:
    """Move the run's clock; also forgets grid facts that are long past by it.

    Raises:
        StorageError: The run's row was never accepted.
    """
    known = vault.spool.run_content(run_id)
    if known is None:
        msg = f"run {run_id} is unknown; put its row first"
        raise StorageError(msg, run_id=run_id)
    vault.grid.forget_before(vault.spool.run(run_id), int((instant - KEPT_FACTS).timestamp()))
    row = _row(known[1]).model_copy(update={"clock_at": instant})
    return write_run(vault, run_id, row, now_s)


def clock_of(vault: Vault, run_id: str) -> datetime | None:
    """Give the moment a run's clock stands at; for any thread."""
    text = vault.spool.run_clocks.get(run_id)
    return None if text is None else parse_instant(text)


def newest_run(vault: Vault) -> str | None:
    """Give the run that was begun last; for any thread."""
    return next(reversed(list(vault.spool.run_clocks)), None)


def _row(body: bytes) -> ScenarioRunRow:
    columns = orjson.loads(body)
    for name in ("id", "run_id", "version"):
        columns.pop(name, None)
    return ScenarioRunRow.model_validate(columns)
