"""NESO's labels become UTC half hours, on clock-change days too."""

from __future__ import annotations

from datetime import UTC, date, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fetchers.neso.times import (
    event_times,
    label_of,
    read_clock_label,
    read_date,
    read_half_hour_end,
    read_period,
    read_utc,
    stretch,
)
from fetchers.wire import Unusable
from schema.periods import HALF_HOUR, periods_in_day

SPRING = date(2031, 3, 30)  # last Sunday of March: 46 periods
AUTUMN = date(2031, 10, 26)  # last Sunday of October: 50 periods


def utc(year: int, month: int, day: int, hour: int, minute: int = 0) -> datetime:
    return datetime(year, month, day, hour, minute, tzinfo=UTC)


@pytest.mark.parametrize(
    "written",
    [
        "2031-10-09",
        "2031-10-09T00:00:00",
        "2031-10-09 00:00",
        20311009,
        "20311009",
        "09/10/2031",
        "9-Oct-2031",
        "09-OCT-2031",
        " 2031-10-09 ",
    ],
)
def test_a_day_is_read_in_every_form_a_file_has_had(written: object) -> None:
    assert read_date(written, "DATE") == date(2031, 10, 9)


@pytest.mark.parametrize(
    "written",
    [None, True, 3.5, [], "2031-13-01", "31-FEB-2031", "10-09", "2031-10-09T12:00", "0001-01-01"],
)
def test_a_day_that_is_none_is_refused_with_its_value(written: object) -> None:
    with pytest.raises(Unusable, match=r"DATE is .* is needed"):
        read_date(written, "DATE")


@pytest.mark.parametrize(
    ("day", "number", "start"),
    [
        # Winter: period 1 starts at midnight UTC. Summer: at 23:00Z the day before.
        pytest.param("2031-01-05", 1, utc(2031, 1, 5, 0), id="winter first"),
        pytest.param("2031-07-02", 1, utc(2031, 7, 1, 23), id="summer first"),
        pytest.param("2031-07-02", "48", utc(2031, 7, 2, 22, 30), id="summer last"),
        # Spring: 00:00Z + 45 half hours = 22:30Z, that is 23:30 summer time.
        pytest.param("2031-03-30", 46, utc(2031, 3, 30, 22, 30), id="spring last"),
        # Autumn: 23:00Z the day before + 49 half hours = 23:30Z.
        pytest.param("2031-10-26", 50, utc(2031, 10, 26, 23, 30), id="autumn last"),
    ],
)
def test_a_settlement_period_starts_where_its_day_says(
    day: str, number: object, start: datetime
) -> None:
    assert read_period(day, number).start == start


@pytest.mark.parametrize(
    ("day", "number"),
    [("2031-03-30", 47), ("2031-10-26", 51), ("2031-07-02", 49), ("2031-07-02", 0)],
)
def test_a_period_the_day_does_not_have_is_refused(day: str, number: int) -> None:
    with pytest.raises(Unusable, match="that day has periods 1 to"):
        read_period(day, number)


def test_labels_stand_at_the_end_of_the_half_hour() -> None:
    assert read_half_hour_end("2031-07-02T00:30:00", "GDATETIME") == utc(2031, 7, 2, 0)
    assert read_clock_label(30, "CTIME") == 30
    assert read_clock_label("2400", "CTIME") == 1440
    # 17:00 to 18:30 summer time at period ends is 16:30 to 18:30 local, 15:30Z to 17:30Z.
    assert stretch(date(2031, 7, 2), 17 * 60, 18 * 60 + 30) == (
        utc(2031, 7, 2, 15, 30),
        utc(2031, 7, 2, 17, 30),
    )


@pytest.mark.parametrize("label", [0, 15, 2401, 2430, 160, -30, "noon", None, 30.5])
def test_a_clock_label_off_the_half_hours_is_refused(label: object) -> None:
    with pytest.raises(Unusable, match="CTIME is"):
        read_clock_label(label, "CTIME")


@given(
    day=st.one_of(
        st.sampled_from([SPRING, AUTUMN]), st.dates(date(2020, 1, 1), date(2040, 12, 31))
    ),
    number=st.integers(1, 50),
)
def test_a_label_and_its_half_hour_agree_on_every_day(day: date, number: int) -> None:
    """One label is one half hour, but in autumn's doubled hour it stands for two."""
    if number > periods_in_day(day):
        return
    start = read_period(day.isoformat(), number).start
    on, label = label_of(start)
    assert on == day
    minutes = label // 100 * 60 + label % 100
    first, end = stretch(day, minutes, minutes)
    assert first <= start < end
    doubled = periods_in_day(day) == 50 and 60 < minutes <= 120
    assert end - first == (HALF_HOUR * 3 if doubled else HALF_HOUR)


def test_a_label_in_the_hour_that_spring_skips_is_refused() -> None:
    # On 2031-03-30 clocks go from 01:00 to 02:00; no half hour ends at 01:30 or starts at 01:00.
    with pytest.raises(Unusable, match="01:00 does not exist on 2031-03-30"):
        stretch(SPRING, 90, 90)


def test_zone_less_times_are_utc_and_zones_are_kept() -> None:
    assert read_utc("2031-07-02T01:00:00", "at") == utc(2031, 7, 2, 1)
    assert read_utc("2031-07-02T01:00:00+01:00", "at") == utc(2031, 7, 2, 0)
    with pytest.raises(Unusable, match="at is 5"):
        read_utc(5, "at")


@pytest.mark.parametrize(
    ("local", "in_utc", "expected"),
    [
        pytest.param(
            ("17:30", "18:00"),
            ("16:30", "17:00"),
            (utc(2031, 7, 2, 16, 30), utc(2031, 7, 2, 17)),
            id="summer afternoon",
        ),
        pytest.param(
            # 00:15 summer time is 23:15Z of the day before: the UTC time has no date.
            ("00:15", "00:45:00"),
            ("23:15", "23:45:00"),
            (utc(2031, 7, 1, 23, 15), utc(2031, 7, 1, 23, 45)),
            id="just after midnight",
        ),
        pytest.param(
            ("23:30", "00:00"),
            (None, None),
            (utc(2031, 7, 2, 22, 30), utc(2031, 7, 2, 23)),
            id="to midnight",
        ),
    ],
)
def test_event_times_are_dated_from_the_local_ones(
    local: tuple[str, str],
    in_utc: tuple[str | None, str | None],
    expected: tuple[datetime, datetime],
) -> None:
    assert event_times(date(2031, 7, 2), local, in_utc) == expected


def test_the_two_hours_of_autumn_are_told_apart_by_utc() -> None:
    # 01:30 local comes twice: 00:30Z (summer time) and 01:30Z.
    first = event_times(AUTUMN, ("01:30", "02:00"), ("00:30", "02:00"))
    second = event_times(AUTUMN, ("01:30", "02:00"), ("01:30", "02:00"))
    assert first == (utc(2031, 10, 26, 0, 30), utc(2031, 10, 26, 2))
    assert second == (utc(2031, 10, 26, 1, 30), utc(2031, 10, 26, 2))
    assert second[1] - second[0] == timedelta(minutes=30)


def test_local_and_utc_that_disagree_are_refused() -> None:
    with pytest.raises(Unusable, match="both must name the same instant"):
        event_times(date(2031, 7, 2), ("17:30", "18:00"), ("17:30", "18:00"))
