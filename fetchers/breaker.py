"""A circuit breaker: after repeated failures a source is left alone for a while.

``THRESHOLD`` failures in a row open it. After the pause one try goes through (half open): an
answer closes it, a failure opens it again for twice the pause, up to the longest. While figures are
made up in a source's place it is tried without waiting for the end of the pause, unless the source
itself asked for it.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from enum import StrEnum

THRESHOLD = 3
FIRST_PAUSE = timedelta(seconds=60)
LONGEST_PAUSE = timedelta(minutes=15)


class BreakerState(StrEnum):
    """Whether requests go through."""

    CLOSED = "closed"
    OPEN = "open"
    HALF_OPEN = "half-open"


@dataclass(frozen=True, slots=True)
class Breaker:
    """Failures in a row, until when a source is left alone, and until when it asked to be."""

    failures: int = 0
    pause: timedelta = FIRST_PAUSE
    open_until: datetime | None = None
    asked_until: datetime | None = None

    def state(self, now: datetime) -> BreakerState:
        """Give the state at a moment of the run's clock."""
        if self.open_until is None:
            return BreakerState.CLOSED
        return BreakerState.OPEN if now < self.open_until else BreakerState.HALF_OPEN

    def succeeded(self) -> Breaker:
        """Give the breaker after an answer of any kind: the source is up."""
        return Breaker()

    def failed(
        self,
        now: datetime,
        *,
        at_least: timedelta = timedelta(0),
        asked: timedelta = timedelta(0),
    ) -> Breaker:
        """Give the breaker after a request that got no answer.

        Args:
            now: The moment, on the run's clock.
            at_least: A pause that opens it at once.
            asked: The pause that the source itself asked for, which whoever asks next keeps, be it
                another process.
        """
        failures = self.failures + 1
        asked_until = now + asked if asked else None
        if self.open_until is None and failures < THRESHOLD and not at_least:
            return replace(self, failures=failures, asked_until=asked_until)
        pause = max(self.pause, at_least)
        return Breaker(
            failures=failures,
            pause=min(self.pause * 2, LONGEST_PAUSE),
            open_until=now + pause,
            asked_until=asked_until,
        )

    def asked_s(self, now: datetime) -> float:
        """Give the seconds that the source still wants to be left alone."""
        if self.asked_until is None:
            return 0.0
        return max(0.0, (self.asked_until - now).total_seconds())

    def probing(self, now: datetime) -> Breaker:
        """Give the breaker half open, so that one try goes through; as it is where it is closed."""
        if self.open_until is None or (self.asked_until is not None and now < self.asked_until):
            return self
        return replace(self, open_until=min(self.open_until, now))
