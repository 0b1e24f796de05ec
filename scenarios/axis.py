"""The half hours a scenario's tables cover, as indices from one origin."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta

import numpy as np

from scenarios.rng import Ints
from schema.periods import HALF_HOUR, LONDON, SettlementPeriod, floor_half_hour

#: Prices are forecast from the same half hour of the last comparable day, at most a week back.
HISTORY = timedelta(days=8)
#: NESO's longest demand forecast, and a day for its time of issue.
OUTLOOK = timedelta(days=15)
#: What tables given as CSV must cover around the replay.
TABLE_BEFORE = timedelta(hours=24)
TABLE_AFTER = timedelta(hours=48)
PRICES_BEFORE = timedelta(days=7)


@dataclass(frozen=True, slots=True)
class Axis:
    """Half hours ``origin + i * 30 min`` for ``0 <= i < periods``; origin is on a boundary."""

    origin: datetime
    periods: int

    @classmethod
    def around(cls, start: datetime, end: datetime) -> Axis:
        """Give the axis of a replay from ``start`` to ``end``."""
        origin = start - HISTORY
        return cls(origin, (end + OUTLOOK - origin) // HALF_HOUR)

    def index(self, instant: datetime) -> int:
        """Give the index of the half hour that contains an instant; may lie off the axis."""
        return (floor_half_hour(instant) - self.origin) // HALF_HOUR

    def holds(self, index: int) -> bool:
        """Say whether an index lies on the axis."""
        return 0 <= index < self.periods

    def at(self, index: int) -> datetime:
        """Give the start of a half hour, UTC."""
        return self.origin + index * HALF_HOUR

    def starts(self) -> list[datetime]:
        """Give all starts, UTC."""
        return [self.at(i) for i in range(self.periods)]

    def clamp(self, low: int, high: int) -> range:
        """Give the indices of ``[low, high)`` that lie on the axis."""
        return range(max(0, low), max(0, min(self.periods, high)))


def local_half_hours(axis: Axis) -> tuple[Ints, Ints, Ints]:
    """Give per half hour: London half hour of the day 0-47, weekday (Monday 0), day of year."""
    half, weekday, day_of_year = [], [], []
    for start in axis.starts():
        local = start.astimezone(LONDON)
        half.append(local.hour * 2 + local.minute // 30)
        weekday.append(local.weekday())
        day_of_year.append(local.timetuple().tm_yday)
    return np.array(half), np.array(weekday), np.array(day_of_year)


def period_of(instant: datetime) -> SettlementPeriod:
    """Give the settlement period that contains an instant."""
    return SettlementPeriod.at(instant)
