"""A stage that notes how long its actors take."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import datetime
from enum import StrEnum

from agents.orchestrator import TickReport
from fetchers.report import PollReport
from scenarios.outcome import ShardFigures
from scenarios.stage import Stage
from schema.orders import WindowUpdate
from schema.rows import Row, ScenarioRunRow


class Phase(StrEnum):
    """What a replay waits for."""

    OPEN = "open"
    """Starting the actors; once a run, however long the run is."""
    POLLS = "polls"
    """Fetching what is due and accepting it into the spool."""
    DECIDE = "decide"
    """The negotiation, its messages' way into the spool included."""
    STORE = "store"
    """The driver's own rows: the clock, who lives, the run."""
    DRAIN = "drain"
    """Waiting at the end for rows that are not in the database yet, and counting them."""


class TimedStage:
    """Passes every call on; implements ``scenarios.stage.Stage``.

    Attributes:
        seconds: By phase, added up.
    """

    def __init__(self, stage: Stage, monotonic: Callable[[], float] = time.perf_counter) -> None:
        self._stage, self._monotonic = stage, monotonic
        self.seconds: dict[Phase, float] = dict.fromkeys(Phase, 0.0)

    def open(self, run: ScenarioRunRow) -> None:
        """See ``Stage``."""
        with self._timed(Phase.OPEN):
            self._stage.open(run)

    def poll(self, now: datetime) -> Mapping[str, PollReport]:
        """See ``Stage``."""
        with self._timed(Phase.POLLS):
            return self._stage.poll(now)

    def decide(self, tick: int, now: datetime, updates: Sequence[WindowUpdate]) -> TickReport:
        """See ``Stage``."""
        with self._timed(Phase.DECIDE):
            return self._stage.decide(tick, now, updates)

    def rescore(self, start: datetime, now: datetime) -> TickReport:
        """See ``Stage``."""
        with self._timed(Phase.DECIDE):
            return self._stage.rescore(start, now)

    def set_clock(self, now: datetime) -> None:
        """See ``Stage``."""
        with self._timed(Phase.STORE):
            self._stage.set_clock(now)

    def store(self, rows: Sequence[Row]) -> None:
        """See ``Stage``."""
        with self._timed(Phase.STORE):
            self._stage.store(rows)

    def put_run(self, run: ScenarioRunRow, *, within_s: float | None = None) -> None:
        """See ``Stage``."""
        with self._timed(Phase.STORE):
            self._stage.put_run(run, within_s=within_s)

    def backlog(self) -> int:
        """See ``Stage``; asked after every tick for the progress line."""
        with self._timed(Phase.STORE):
            return self._stage.backlog()

    def flush(self, timeout_s: float) -> None:
        """See ``Stage``."""
        with self._timed(Phase.DRAIN):
            self._stage.flush(timeout_s)

    def drain(self, timeout_s: float) -> Mapping[str, int]:
        """See ``Stage``."""
        with self._timed(Phase.DRAIN):
            return self._stage.drain(timeout_s)

    def heartbeat(self, now: datetime) -> None:
        """See ``Stage``."""
        with self._timed(Phase.STORE):
            self._stage.heartbeat(now)

    def shards(self) -> tuple[ShardFigures, ...]:
        """See ``Stage``."""
        return self._stage.shards()

    def close(self) -> None:
        """See ``Stage``."""
        self._stage.close()

    @contextmanager
    def _timed(self, phase: Phase) -> Iterator[None]:
        begun = self._monotonic()
        try:
            yield
        finally:
            self.seconds[phase] += self._monotonic() - begun
