"""Half hours of the British market: UTC instants, and the settlement calendar of Europe/London.

A settlement day is a local day: it has 48 periods, 46 on the spring clock change and 50 on the
autumn one. Date and period become an instant here and nowhere else.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta
from functools import lru_cache
from typing import Self
from zoneinfo import ZoneInfo

LONDON = ZoneInfo("Europe/London")
HALF_HOUR = timedelta(minutes=30)
MAX_PERIODS = 50


@lru_cache(maxsize=4096)
def local_midnight(day: date) -> datetime:
    """Give the instant at which a London day starts, in UTC."""
    return datetime.combine(day, time(0), LONDON).astimezone(UTC)


@lru_cache(maxsize=4096)
def periods_in_day(day: date) -> int:
    """Count the half hours of a London day: 46, 48 or 50."""
    return (local_midnight(day + timedelta(days=1)) - local_midnight(day)) // HALF_HOUR


@dataclass(frozen=True, slots=True, order=True)
class SettlementPeriod:
    """One half hour of the market: a London date and a number from 1."""

    settlement_date: date
    number: int

    def __post_init__(self) -> None:
        allowed = periods_in_day(self.settlement_date)
        if not 1 <= self.number <= allowed:
            msg = (
                f"settlement period {self.number} of {self.settlement_date}: that day has "
                f"periods 1 to {allowed}"
            )
            raise ValueError(msg)

    @property
    def start(self) -> datetime:
        """First instant, UTC."""
        # Added in UTC: local wall time is ambiguous in the autumn hour.
        return local_midnight(self.settlement_date) + (self.number - 1) * HALF_HOUR

    @property
    def end(self) -> datetime:
        """First instant after the period, UTC."""
        return self.start + HALF_HOUR

    @classmethod
    def at(cls, instant: datetime) -> Self:
        """Give the period that contains an aware instant."""
        day = instant.astimezone(LONDON).date()
        number = (instant.astimezone(UTC) - local_midnight(day)) // HALF_HOUR + 1
        return cls(day, number)


def floor_half_hour(instant: datetime) -> datetime:
    """Give the start of the half hour that contains an aware instant, UTC."""
    utc = require_utc(instant)
    return utc.replace(minute=0 if utc.minute < 30 else 30, second=0, microsecond=0)  # noqa: PLR2004


def ceil_half_hour(instant: datetime) -> datetime:
    """Give the first half-hour boundary at or after an aware instant, UTC."""
    floor = floor_half_hour(instant)
    return floor if floor == require_utc(instant) else floor + HALF_HOUR


def require_utc(instant: datetime) -> datetime:
    """Give the instant in UTC; refuse one without a time zone."""
    if instant.tzinfo is None:
        msg = f"{instant.isoformat()} has no time zone; write it with Z or an offset"
        raise ValueError(msg)
    return instant.astimezone(UTC)


@lru_cache(maxsize=8192)
def parse_instant(text: str) -> datetime:
    """Read an ISO 8601 instant with a zone (``Z`` or an offset), seconds optional."""
    try:
        instant = datetime.fromisoformat(text.strip())
    except ValueError:
        msg = f"{text!r} is not an ISO 8601 instant such as 2026-05-01T10:30Z"
        raise ValueError(msg) from None
    return require_utc(instant)


@lru_cache(maxsize=8192)
def format_instant(instant: datetime) -> str:
    """Write an instant canonically: UTC, ``Z``, whole seconds, or microseconds where it has any."""
    utc = require_utc(instant)
    if utc.microsecond:
        return utc.strftime("%Y-%m-%dT%H:%M:%S.%fZ")
    return utc.strftime("%Y-%m-%dT%H:%M:%SZ")


@dataclass(frozen=True, slots=True)
class Interval:
    """A half-open stretch of time ``[start, end)``, UTC."""

    start: datetime
    end: datetime

    def __post_init__(self) -> None:
        if require_utc(self.end) <= require_utc(self.start):
            msg = f"an interval ends after it starts, got {self.start} to {self.end}"
            raise ValueError(msg)

    @property
    def periods(self) -> int:
        """Whole half hours in the interval."""
        return (self.end - self.start) // HALF_HOUR

    def contains(self, instant: datetime) -> bool:
        """Say whether an instant lies inside; the end does not."""
        return self.start <= instant < self.end


def half_hours(start: datetime, count: int) -> list[datetime]:
    """Give ``count`` half-hour starts from ``start`` on."""
    return [start + i * HALF_HOUR for i in range(count)]


def half_hour_number(instant: datetime) -> int:
    """Number the half hour that contains an instant, counted from 1970 in UTC.

    Between processes and inside the market half hours are such numbers.
    """
    return int(require_utc(instant).timestamp()) // 1800


def half_hour_start(number: int) -> datetime:
    """Give the first instant of a numbered half hour, UTC."""
    return datetime.fromtimestamp(number * 1800, UTC)
