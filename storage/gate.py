"""When to try again: one probe at a time while something is wrong, slower and slower.

All workers of a drain pass through the gate before each request. While it is closed one of them
waits out the delay and goes first; the others wait for what it finds.
"""

from __future__ import annotations

import asyncio
from random import Random

from schema.clock import Clock

#: Failures in a row after which the other side counts as down, not as stumbling.
STUMBLES = 4
FIRST_DELAY_S = 0.25
PROBE_S = 10.0
CAP_S = 60.0


def delay_after(failures: int, rng: Random, retry_after_s: float | None = None) -> float:
    """Give the seconds to wait after the n-th failure in a row.

    The first four with full jitter below 0.5, 1, 2, 4 s; from then on between 10 s and a bound
    that doubles from 20 s to 60 s, so that a server that is down sees at most one probe in ten
    seconds. ``Retry-After`` is obeyed where it asks for more.
    """
    if failures <= STUMBLES:
        delay = rng.uniform(0.0, FIRST_DELAY_S * 2**failures)
    else:
        delay = rng.uniform(PROBE_S, min(CAP_S, 2 * PROBE_S * 2 ** min(failures - STUMBLES - 1, 8)))
    return max(delay, retry_after_s or 0.0)


class Gate:
    """Open, or closed with one prober on its way; belongs to one event loop."""

    def __init__(self, clock: Clock, rng: Random) -> None:
        self._clock = clock
        self._rng = rng
        self._delay_s: float | None = None
        self._probing = False
        self._changed = asyncio.Event()
        self._hurried = asyncio.Event()
        self._generation = 0
        self.failures = 0

    @property
    def closed(self) -> bool:
        """Say whether something is wrong."""
        return self._delay_s is not None

    async def passage(self) -> int:
        """Return when a request may be made; the number goes into ``failed``."""
        while self._delay_s is not None:
            if not self._probing:
                self._probing = True
                try:
                    await self._sit_out(self._delay_s)
                except asyncio.CancelledError:
                    self._probing = False
                    raise
                break
            await self._changed.wait()
        return self._generation

    def succeeded(self) -> None:
        """Open."""
        if self.failures:
            self.failures = 0
            self._delay_s = None
            self._turn()

    def hurry(self) -> None:
        """Let the probe go now, without the rest of its delay."""
        if self.closed:
            self._delay_s = 0.0
        self._hurried.set()
        self._hurried = asyncio.Event()

    def undecided(self, passage: int) -> None:
        """Say that the probe found out nothing, so that the next one may go."""
        if passage == self._generation and self._probing:
            self._turn()

    def failed(self, passage: int, retry_after_s: float | None = None) -> None:
        """Close; requests that were on their way together count as one failure."""
        if passage == self._generation:
            self.failures += 1
            self._delay_s = delay_after(self.failures, self._rng, retry_after_s)
            self._turn()

    def stopped(self, passage: int) -> None:
        """Close for a fault that only people mend: probe every ten seconds or slower."""
        if passage == self._generation:
            self.failures += 1
            self._delay_s = self._rng.uniform(PROBE_S, 1.5 * PROBE_S)
            self._turn()

    async def _sit_out(self, delay_s: float) -> None:
        waits = [
            asyncio.ensure_future(self._clock.sleep(delay_s)),
            asyncio.ensure_future(self._hurried.wait()),
        ]
        try:
            await asyncio.wait(waits, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for wait in waits:
                wait.cancel()

    def _turn(self) -> None:
        self._generation += 1
        self._probing = False
        self._changed.set()
        self._changed = asyncio.Event()
