"""Time as an argument: the clock every shell is given, and the one moved by hand."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Protocol


class Clock(Protocol):
    """What a shell may ask of time."""

    def now(self) -> datetime:
        """Give the current instant, aware, UTC."""
        ...

    def monotonic_s(self) -> float:
        """Give seconds that never run backwards; only differences mean anything."""
        ...

    async def sleep(self, seconds: float) -> None:
        """Wait that long on this clock."""
        ...


class VirtualClock:
    """A clock moved only by hand, for replays and tests.

    ``sleep`` moves the clock and returns at once: in a replay, waiting costs nothing and the
    moment at which something happens still shows in the record.
    """

    def __init__(self, start: datetime) -> None:
        if start.tzinfo is None:
            msg = f"a clock starts at an aware instant, got {start!r}; give it a time zone"
            raise ValueError(msg)
        self._now = start.astimezone(UTC)
        self._start = self._now

    def now(self) -> datetime:
        """Give the virtual instant, aware, UTC."""
        return self._now

    def monotonic_s(self) -> float:
        """Give virtual seconds since the start."""
        return (self._now - self._start).total_seconds()

    async def sleep(self, seconds: float) -> None:
        """Move the clock on by that many seconds."""
        self.advance(timedelta(seconds=max(0.0, seconds)))

    def advance(self, by: timedelta) -> None:
        """Move the clock on; never back."""
        if by < timedelta(0):
            msg = f"a clock does not run backwards, asked to move by {by}"
            raise ValueError(msg)
        self._now += by

    def set(self, instant: datetime) -> None:
        """Put the clock at an instant, earlier ones included: each tick starts at its own time."""
        self._now = instant.astimezone(UTC)
