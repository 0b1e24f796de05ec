"""The real clock, for live running and for everything that waits on real machines."""

from __future__ import annotations

import asyncio
import time
from datetime import UTC, datetime, timedelta

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


class SystemClock:
    """Wall clock and monotonic clock of this machine; implements ``schema.clock.Clock``.

    Args:
        offset_s: Seconds added to the wall clock, so that served figures of another day are now.
        speed: What the machine's seconds since 1970 are multiplied by before that. Waiting and
            the monotonic clock stay real.
    """

    def __init__(self, offset_s: float = 0.0, speed: float = 1.0) -> None:
        self._offset = timedelta(seconds=offset_s)
        self._speed = speed

    def now(self) -> datetime:
        """Give the current instant, aware, UTC."""
        return _EPOCH + ((datetime.now(UTC) - _EPOCH) * self._speed + self._offset)

    def monotonic_s(self) -> float:
        """Give seconds that never run backwards; only differences mean anything."""
        return time.monotonic()

    async def sleep(self, seconds: float) -> None:
        """Wait that long; never less than one turn of the event loop."""
        await asyncio.sleep(max(0.0, seconds))
