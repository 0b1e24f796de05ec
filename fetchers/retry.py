"""When to try a request again, and after how long."""

from __future__ import annotations

from dataclasses import dataclass
from random import Random

from schema.errors import GridpactError


@dataclass(frozen=True, slots=True)
class RetryPolicy:
    """Full jitter over a doubling ceiling; what a source asks for is the least.

    The wait before attempt n + 1 is uniform on ``[0, min(cap_s, base_s · 2^(n-1))]``, or
    ``Retry-After`` where that is longer. A source that asks for more than ``patience_s`` is not
    waited for: its feed stays due and the next poll asks.
    """

    attempts: int = 3
    base_s: float = 1.0
    cap_s: float = 60.0
    patience_s: float = 30.0

    def wait_s(self, attempt: int, error: GridpactError, rng: Random) -> float | None:
        """Give the seconds before the next attempt; None to give up.

        Args:
            attempt: The attempt that failed, from 1.
            error: Why it failed; ``retryable`` and ``retry_after_s`` are read.
            rng: Seeded, so that a replay waits the same.
        """
        if not error.retryable or attempt >= self.attempts:
            return None
        ceiling = min(self.cap_s, self.base_s * 2.0 ** (attempt - 1))
        wait = rng.uniform(0.0, ceiling)
        asked = retry_after_s(error)
        if asked is not None:
            wait = max(wait, asked)
        return wait if wait <= self.patience_s else None


def retry_after_s(error: GridpactError) -> float | None:
    """Give the seconds that a source asked us to wait."""
    asked = error.details.get("retry_after_s")
    return float(asked) if isinstance(asked, int | float) else None
