"""Rate limits that survive a restart: a token bucket as a value on the run's clock."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime


@dataclass(frozen=True, slots=True)
class Rate:
    """At most one request every ``every_s`` seconds in the long run, ``burst`` at once."""

    every_s: float
    burst: int = 1


@dataclass(frozen=True, slots=True)
class Bucket:
    """Tokens left at a moment; a request takes one, and they come back with time.

    A new bucket is full. ``at`` is an instant of the run's clock, not of a process, so that a
    process which starts again goes on where the last one stood.
    """

    rate: Rate
    tokens: float
    at: datetime

    @classmethod
    def full(cls, rate: Rate, now: datetime) -> Bucket:
        """Give a bucket that nobody has drawn from."""
        return cls(rate, float(rate.burst), now)

    def filled(self, now: datetime) -> Bucket:
        """Give the bucket with what came back until now; a clock set back gives nothing."""
        elapsed = max(0.0, (now - self.at).total_seconds())
        tokens = min(float(self.rate.burst), self.tokens + elapsed / self.rate.every_s)
        return Bucket(self.rate, tokens, now)

    def wait_s(self, now: datetime) -> float:
        """Give the seconds until a request may be sent; 0 is now."""
        return max(0.0, (1.0 - self.filled(now).tokens) * self.rate.every_s)

    def taken(self, now: datetime) -> Bucket:
        """Give the bucket after a request at that moment."""
        filled = self.filled(now)
        return Bucket(self.rate, filled.tokens - 1.0, now)

    def held(self, now: datetime) -> Bucket:
        """Give the bucket at the end of a request, as if no time had gone by while it was made.

        When it arrived nobody knows here; whoever counts arrivals must not see two of them closer
        than the rate allows because the first took long to get there.
        """
        return Bucket(self.rate, self.tokens, now)
