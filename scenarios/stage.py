"""The stage of a run: every actor, wherever it lives, as the replay drives it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Protocol

from agents.orchestrator import TickReport
from fetchers.report import PollReport
from scenarios.outcome import ShardFigures
from schema.orders import WindowUpdate
from schema.rows import Row, ScenarioRunRow


class Stage(Protocol):
    """What a replay asks of its actors; two implementations, one in this process, one on Ray."""

    def open(self, run: ScenarioRunRow) -> None:
        """Make the actors and store the run's row and theirs."""
        ...

    def poll(self, now: datetime) -> Mapping[str, PollReport]:
        """Have every fetcher ask for what is due, all at the same time."""
        ...

    def decide(self, tick: int, now: datetime, updates: Sequence[WindowUpdate]) -> TickReport:
        """Have the orchestrator live through a tick."""
        ...

    def rescore(self, start: datetime, now: datetime) -> TickReport:
        """Have the orchestrator value the run again on what was published later."""
        ...

    def set_clock(self, now: datetime) -> None:
        """Move the run's clock, by which the views know what is now."""
        ...

    def store(self, rows: Sequence[Row]) -> None:
        """Store rows of the driver's own."""
        ...

    def put_run(self, run: ScenarioRunRow, *, within_s: float | None = None) -> None:
        """Store the run's row with new content.

        Raises:
            TimeoutError: Storage did not take it within the time.
        """
        ...

    def backlog(self) -> int:
        """Count the rows on their way to the database."""
        ...

    def flush(self, timeout_s: float) -> None:
        """Wait until everything is in the database."""
        ...

    def drain(self, timeout_s: float) -> Mapping[str, int]:
        """Flush, bring the views up to date, and count the run's rows by table."""
        ...

    def heartbeat(self, now: datetime) -> None:
        """Note in ``agents`` who lives."""
        ...

    def shards(self) -> tuple[ShardFigures, ...]:
        """Name the processes that hold workloads."""
        ...

    def close(self) -> None:
        """Stop every actor, storage last; rows not yet sent stay in the spool."""
        ...
