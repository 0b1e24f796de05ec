"""The clock of a server that people and programs use while real time goes by."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from datetime import UTC, datetime

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


def _wall() -> datetime:
    return datetime.now(UTC)


class PacedClock:
    """Runs from ``start`` on, ``speed`` times as fast as this machine's clock.

    It is the machine's seconds since 1970, times ``speed``, plus ``offset_s``: another program
    whose clock is made of the same figures agrees with it.
    """

    def __init__(
        self, start: datetime, speed: float = 1.0, wall: Callable[[], datetime] = _wall
    ) -> None:
        self._start = start
        self._speed = speed
        self._wall = wall
        self._began = wall()
        self._began_s = time.monotonic()

    @property
    def offset_s(self) -> float:
        """Seconds to add to ``speed`` times the machine's seconds since 1970."""
        return ((self._start - _EPOCH) - (self._began - _EPOCH) * self._speed).total_seconds()

    @property
    def speed(self) -> float:
        """How many times as fast as the machine's clock it goes."""
        return self._speed

    def now(self) -> datetime:
        """Give the current instant, aware, UTC."""
        return self._start + (self._wall() - self._began) * self._speed

    def monotonic_s(self) -> float:
        """Give seconds of this clock that never run backwards."""
        return (time.monotonic() - self._began_s) * self._speed

    async def sleep(self, seconds: float) -> None:
        """Wait that long on this clock."""
        await asyncio.sleep(max(0.0, seconds) / self._speed)
