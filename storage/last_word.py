"""A run's last row, when the process that held its spool is gone."""

from __future__ import annotations

import logging
from pathlib import Path

from schema.clock import Clock
from schema.errors import GridpactError
from schema.rows import ScenarioRunRow
from storage.runs import write_run
from storage.writer import SpoolWriter

log = logging.getLogger(__name__)

_CLOSE_S = 10.0


def leave_run(folder: Path, run_id: str, row: ScenarioRunRow, clock: Clock) -> None:
    """Put a run's row into a spool that nobody holds; whoever opens it next sends it on.

    Nothing but a warning follows where that cannot be done: the caller has a graver error to show.
    """
    now_s = int(clock.now().timestamp())
    writer = SpoolWriter(folder, clock)
    try:
        writer.open()
        try:
            writer.call(lambda vault: write_run(vault, run_id, row, now_s)).result(_CLOSE_S)
        finally:
            writer.close(_CLOSE_S)
    except (GridpactError, OSError, TimeoutError) as exc:
        log.warning("the run's row could not be marked %s: %s", row.state, exc)
