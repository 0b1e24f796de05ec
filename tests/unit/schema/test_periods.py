"""Half hours, and the days that have 46 or 50 of them."""

from __future__ import annotations

from datetime import UTC, date, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from schema.periods import (
    HALF_HOUR,
    Interval,
    SettlementPeriod,
    ceil_half_hour,
    floor_half_hour,
    format_instant,
    parse_instant,
    periods_in_day,
)


@pytest.mark.parametrize(
    ("day", "count"),
    [
        pytest.param(date(2026, 10, 25), 50, id="clocks-go-back"),
        pytest.param(date(2027, 3, 28), 46, id="clocks-go-forward"),
        pytest.param(date(2026, 7, 1), 48, id="summer-day"),
    ],
)
def test_a_settlement_day_has_as_many_periods_as_the_london_day(day: date, count: int) -> None:
    assert periods_in_day(day) == count
    last = SettlementPeriod(day, count)
    assert last.end == SettlementPeriod(day + timedelta(days=1), 1).start


def test_period_one_of_a_summer_day_starts_at_23_utc_the_day_before() -> None:
    # BST is UTC+1, so local midnight of 20 September is 23:00Z on the 19th.
    first = SettlementPeriod(date(2026, 9, 20), 1)
    assert first.start == datetime(2026, 9, 19, 23, 0, tzinfo=UTC)


def test_a_period_that_the_day_does_not_have_is_refused() -> None:
    with pytest.raises(ValueError, match="periods 1 to 46"):
        SettlementPeriod(date(2027, 3, 28), 47)


@given(st.datetimes(min_value=datetime(2020, 1, 1), max_value=datetime(2035, 1, 1)))  # noqa: DTZ001
def test_every_instant_lies_in_exactly_the_period_that_names_it(naive: datetime) -> None:
    instant = naive.replace(tzinfo=UTC)
    period = SettlementPeriod.at(instant)
    assert period.start <= instant < period.end
    assert period.end - period.start == HALF_HOUR
    assert period.start == floor_half_hour(instant)


def test_rounding_up_keeps_a_boundary_where_it_is() -> None:
    boundary = datetime(2026, 1, 1, 10, 30, tzinfo=UTC)
    assert ceil_half_hour(boundary) == boundary
    assert ceil_half_hour(boundary + timedelta(seconds=1)) == boundary + HALF_HOUR


@pytest.mark.parametrize("text", ["2026-05-01T10:30Z", "2026-05-01T11:30:00+01:00"])
def test_spellings_of_one_instant_are_written_one_way(text: str) -> None:
    assert format_instant(parse_instant(text)) == "2026-05-01T10:30:00Z"


def test_an_instant_without_a_zone_is_refused() -> None:
    with pytest.raises(ValueError, match="no time zone"):
        parse_instant("2026-05-01T10:30")


def test_the_end_of_an_interval_lies_outside() -> None:
    start = datetime(2026, 1, 1, tzinfo=UTC)
    interval = Interval(start, start + HALF_HOUR)
    assert interval.contains(start)
    assert not interval.contains(interval.end)
