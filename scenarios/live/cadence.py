"""When each source is asked: slots of the interval, each source somewhat later in them. Pure.

Times are monotonic seconds since the beginning, so that a clock that is set delays nothing.
"""

from __future__ import annotations

from dataclasses import dataclass
from random import Random


@dataclass(frozen=True, slots=True)
class Cadence:
    """The slots of a live run.

    Attributes:
        interval_s: Length of a slot; each source is asked once in it.
        jitter: Share of a slot by which polls may start late, drawn anew for each slot and
            source: neither all sources nor all installations ask in the same second.
        patience: Share of a slot after which the orchestrator waits for no poll any more.
        seed: Of the jitter; differs between installations.
    """

    interval_s: float = 60.0
    jitter: float = 0.1
    patience: float = 0.5
    seed: int = 0

    def starts_s(self, slot: int) -> float:
        """Give the moment at which a slot begins."""
        return slot * self.interval_s

    def due_s(self, source: str, slot: int) -> float:
        """Give the moment at which a source is to be asked in a slot."""
        late = Random(f"{self.seed}|{source}|{slot}").random()  # noqa: S311
        return self.starts_s(slot) + late * self.jitter * self.interval_s

    def waits_until_s(self, slot: int) -> float:
        """Give the moment after which the orchestrator takes what is there."""
        return self.starts_s(slot) + self.patience * self.interval_s

    def slot_after(self, slot: int, now_s: float) -> int:
        """Give the next slot that has not begun; those a long poll has used up are left out."""
        begun = int(max(0.0, now_s) // self.interval_s)
        return max(slot, begun) + 1
