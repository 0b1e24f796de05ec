"""What runs of the embedded Supabase, and how long to wait before what ended is started again."""

from __future__ import annotations

from dataclasses import dataclass

_FIRST_DELAY_S = 0.2
_LONGEST_DELAY_S = 10.0
_STEADY_AFTER_S = 30.0


@dataclass(frozen=True, slots=True)
class Health:
    """What runs now; a pid is None while its process is down."""

    postgres_pid: int | None
    api_pid: int | None
    restarts: int

    @property
    def serving(self) -> bool:
        """Both processes run."""
        return self.postgres_pid is not None and self.api_pid is not None


class Backoff:
    """How long to wait before a restart: 0.2 s, doubling to 10 s, reset after 30 s of uptime."""

    def __init__(self) -> None:
        self._delay_s = _FIRST_DELAY_S

    def next_delay_s(self, uptime_s: float) -> float:
        """Give the wait before the next start.

        Args:
            uptime_s: How long the program ran before it ended.
        """
        if uptime_s >= _STEADY_AFTER_S:
            self._delay_s = _FIRST_DELAY_S
        delay_s = self._delay_s
        self._delay_s = min(2 * delay_s, _LONGEST_DELAY_S)
        return delay_s
