"""NESO's ways to write a half hour, brought to UTC.

Settlement date and period, a local clock label at the period's end, a UTC label at its end, and
London wall times of events. The settlement day is the London day.
"""

from __future__ import annotations

import re
from datetime import UTC, date, datetime, time, timedelta

from fetchers.wire import (
    FIRST_YEAR,
    LAST_YEAR,
    Json,
    Unusable,
    describe,
    instant,
    integer,
    optional_text,
    text,
)
from schema.periods import HALF_HOUR, LONDON, SettlementPeriod, floor_half_hour, periods_in_day

MINUTES_PER_DAY = 1440
ORDINARY_DAY_PERIODS = 48
_MONTHS = ("jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec")
_DATE_FORMS = (
    re.compile(r"(?P<y>\d{4})-(?P<m>\d{2})-(?P<d>\d{2})(?:[T ]00:00(?::00(?:\.0+)?)?Z?)?"),
    re.compile(r"(?P<y>\d{4})(?P<m>\d{2})(?P<d>\d{2})"),
    re.compile(r"(?P<d>\d{1,2})/(?P<m>\d{1,2})/(?P<y>\d{4})"),
    re.compile(r"(?P<d>\d{1,2})-(?P<m>[A-Za-z]{3})-(?P<y>\d{4})"),
)
_CLOCK = re.compile(r"(\d{1,2}):(\d{2})(?::00(?:\.0+)?)?")


def read_date(value: Json, name: str) -> date:
    """Read a day in any form a file of the portal has had.

    ``2026-10-09`` with or without midnight, ``20261009`` as number or text, ``09/10/2026``
    (day first) and ``09-OCT-2026``.
    """
    written = str(value) if isinstance(value, int) and not isinstance(value, bool) else value
    if isinstance(written, str):
        for form in _DATE_FORMS:
            found = form.fullmatch(written.strip())
            if found:
                return _date(found, value, name)
    raise Unusable(f"{name} is {describe(value)}; a date such as 2026-10-09 is needed")


def _date(found: re.Match[str], value: Json, name: str) -> date:
    month = found["m"].lower()
    number = _MONTHS.index(month) + 1 if month in _MONTHS else 0
    if month.isdecimal():
        number = int(month)
    try:
        day = date(int(found["y"]), number, int(found["d"]))
    except ValueError:
        day = date.min
    if not FIRST_YEAR <= day.year <= LAST_YEAR:
        raise Unusable(
            f"{name} is {describe(value)}; a day of the years {FIRST_YEAR} to {LAST_YEAR} is needed"
        )
    return day


def read_period(day: Json, number: Json) -> SettlementPeriod:
    """Read settlement date and period; the day decides whether 46, 48 or 50 periods exist."""
    on = read_date(day, "SETTLEMENT_DATE")
    index = integer(number, "SETTLEMENT_PERIOD")
    try:
        return SettlementPeriod(on, index)
    except ValueError as exc:
        raise Unusable(str(exc)) from None


def read_utc(value: Json, name: str) -> datetime:
    """Read a UTC instant that the portal writes without a zone; one with a zone is taken too."""
    written = text(value, name)
    try:
        return instant(written, name)
    except Unusable:
        return instant(f"{written}Z", name)


def read_half_hour_end(value: Json, name: str) -> datetime:
    """Read a zone-less UTC label at the END of a half hour and give its start."""
    start = read_utc(value, name) - HALF_HOUR
    if start != floor_half_hour(start):
        raise Unusable(f"{name} is {describe(value)}; a label at :00 or :30 is needed")
    return start


def read_clock_label(value: Json, name: str) -> int:
    """Read a label such as 30, 130 or 2400 (hmm, no padding) and give minutes since midnight."""
    label = integer(value, name)
    hours, minutes = divmod(label, 100)
    total = hours * 60 + minutes
    if minutes not in (0, 30) or not 0 < total <= MINUTES_PER_DAY:
        raise Unusable(f"{name} is {describe(value)}; 30, 100, 130 … 2400 are allowed")
    return total


def stretch(day: date, first_label: int, last_label: int) -> tuple[datetime, datetime]:
    """Give ``[start, end)`` in UTC of the half hours from one end label to another.

    Labels stand at the END of a half hour on the London clock, in minutes since midnight: the
    first half hour of the day has label 30. In the doubled hour of autumn a first label means
    its first, a last label its second occurrence; a label in the hour that spring skips is
    refused.
    """
    if last_label < first_label:
        raise Unusable(f"the stretch ends ({last_label} min) before it starts ({first_label} min)")
    start = _wall(day, first_label - 30, fold=0)
    return start, _wall(day, last_label - 30, fold=1) + HALF_HOUR


def label_of(start: datetime) -> tuple[date, int]:
    """Give London day and end label (hmm) of the half hour that starts at an instant."""
    local = start.astimezone(LONDON)
    minutes = local.hour * 60 + local.minute + 30
    return local.date(), minutes // 60 * 100 + minutes % 60


def is_ordinary(day: date) -> bool:
    """Say whether a London day has 48 half hours."""
    return periods_in_day(day) == ORDINARY_DAY_PERIODS


def event_times(
    day: date, local: tuple[Json, Json], utc: tuple[Json, Json] = (None, None)
) -> tuple[datetime, datetime]:
    """Give ``[start, end)`` in UTC of an event from its London wall times.

    Args:
        day: Delivery date, London.
        local: Start and end as ``hh:mm``; an end at or before the start is on the next day.
        utc: The same in UTC, without a date; they tell the two hours of the autumn change apart
            and must agree where given.
    """
    start = _event_instant(day, local[0], utc[0], "From", None)
    return start, _event_instant(day, local[1], utc[1], "To", start)


def _event_instant(
    day: date, local: Json, utc: Json, name: str, after: datetime | None
) -> datetime:
    minutes = _clock(local, f"{name}_Local")
    wanted = _clock(utc, f"{name}_UTC") if optional_text(utc, f"{name}_UTC") else None
    days = (day,) if after is None else (day, day + timedelta(days=1))
    found = [
        candidate
        for on in days
        for fold in (0, 1)
        if (candidate := _wall_or_none(on, minutes, fold)) is not None
        and (after is None or candidate > after)
    ]
    agreeing = [at for at in found if wanted is None or at.hour * 60 + at.minute == wanted]
    if not agreeing:
        raise Unusable(
            f"{name}_Local {describe(local)} with {name}_UTC {describe(utc)} on {day} is no "
            "moment of the London clock; both must name the same instant"
        )
    return min(agreeing)


def _clock(value: Json, name: str) -> int:
    found = _CLOCK.fullmatch(text(value, name))
    if found is None:
        raise Unusable(f"{name} is {describe(value)}; a time such as 17:30 is needed")
    minutes = int(found[1]) * 60 + int(found[2])
    if int(found[2]) >= 60 or minutes > MINUTES_PER_DAY:  # noqa: PLR2004 - minutes an hour
        raise Unusable(f"{name} is {describe(value)}; 00:00 to 24:00 are allowed")
    return minutes


def _wall(day: date, minutes: int, fold: int) -> datetime:
    found = _wall_or_none(day, minutes, fold)
    if found is None:
        raise Unusable(
            f"{minutes // 60:02d}:{minutes % 60:02d} does not exist on {day}: "
            "UK clocks skip that hour"
        )
    return found


def _wall_or_none(day: date, minutes: int, fold: int) -> datetime | None:
    naive = datetime.combine(day, time(0)) + timedelta(minutes=minutes)
    at = naive.replace(tzinfo=LONDON, fold=fold).astimezone(UTC)
    return at if at.astimezone(LONDON).replace(tzinfo=None) == naive else None
