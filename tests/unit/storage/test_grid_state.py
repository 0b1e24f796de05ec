"""Grid facts, prices and arrays: figures worked out by hand."""

from __future__ import annotations

import math
import random
from datetime import UTC, datetime, timedelta

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from storage_samples import (
    HALF_HOUR,
    RUN,
    START,
    agent,
    national,
    offer,
    price,
    regional,
    window,
    zone,
)

from schema.readings import Quality
from schema.rows import Record
from storage.grid_facts import Fact, GridFacts, fold, without_before
from storage.grid_prices import PricePoint, QualityCode, last_comparable, price_series
from storage.grid_state import GridState, view

NONE, PUBLISHED, ESTIMATED, SYNTHETIC = QualityCode


def see(*records: Record, as_of: datetime = START, periods: int = 4) -> GridState:
    return view(fold(GridFacts(), records), RUN, as_of, periods=periods)


# -- folding ------------------------------------------------------------------------------


def test_folding_the_same_rows_again_changes_nothing() -> None:
    rows = [regional(1, START, 100.0), price(START, 50.0), window("w", START)]
    once = fold(GridFacts(), rows)
    assert once.version == 3
    assert fold(once, rows) is once
    assert fold(once, [agent("a")]) is once


def test_only_a_rising_version_replaces() -> None:
    facts = fold(GridFacts(), [regional(1, START, 100.0, version=5)])
    assert fold(facts, [regional(1, START, 90.0, version=4)]) is facts
    newer = fold(facts, [regional(1, START, 110.0, version=6)])
    assert newer.version == 2
    state = view(newer, RUN, START, periods=1)
    assert state.intensity_gco2_per_kwh[0, 0] == 110.0


def test_a_new_version_with_the_same_figures_is_no_change() -> None:
    facts = fold(GridFacts(), [regional(1, START, 100.0, version=5)])
    again = fold(facts, [regional(1, START, 100.0, version=7)])
    assert again.version == 1
    # It counts as known, though: a late row between the two is older than what we have.
    assert fold(again, [regional(1, START, 90.0, version=6)]) is again


def test_the_version_does_not_depend_on_how_rows_were_grouped() -> None:
    rows = [regional(r, START + i * HALF_HOUR, r * 10.0) for r in range(1, 15) for i in range(4)]
    whole = fold(GridFacts(), rows)
    piecewise = GridFacts()
    for row in rows:
        piecewise = fold(piecewise, [row])
    assert piecewise == whole
    assert whole.version == 56


@settings(max_examples=30, deadline=None)
@given(st.randoms(use_true_random=False))
def test_the_arrays_do_not_depend_on_the_order_of_the_rows(shuffle: random.Random) -> None:
    rows = [
        regional(1, START, 100.0),
        regional(1, START, 7.0, quality=Quality.SYNTHETIC),
        regional(2, START, 55.0, quality=Quality.ESTIMATED),
        national(START, 200.0, None),
        national(START, 1.0, 180.0, quality=Quality.ESTIMATED),
        price(START, 40.0),
        price(START, 45.0, market="N2EXMIDP"),
        price(START, 99.0, market="system"),
        window("w", START),
        zone("zone-1", 13),
        offer("w", START, "o1", 0.2),
        offer("w", START, "o2", 0.1),
    ]
    expected = see(*rows).digest()
    shuffle.shuffle(rows)
    assert see(*rows).digest() == expected


def test_facts_long_past_are_forgotten_but_zones_are_not() -> None:
    facts = fold(GridFacts(), [price(START, 1.0), price(START + HALF_HOUR, 2.0), zone("z", 1)])
    kept = without_before(facts, int((START + HALF_HOUR).timestamp()))
    assert sorted(fact.table for fact in kept.facts.values()) == ["grid_zones", "wholesale_prices"]
    assert kept.version == facts.version


# -- intensity ----------------------------------------------------------------------------


def test_what_nobody_said_is_nan() -> None:
    state = see()
    assert state.intensity_gco2_per_kwh.shape == (14, 4)
    assert np.isnan(state.intensity_gco2_per_kwh).all()
    assert (state.intensity_quality == NONE).all()
    assert np.isnan(state.price_gbp_per_mwh).all()
    assert state.windows == ()


def test_regions_and_half_hours_stand_in_their_cells() -> None:
    state = see(regional(1, START, 10.0), regional(14, START + 3 * HALF_HOUR, 140.0))
    assert state.intensity_gco2_per_kwh[0, 0] == 10.0
    assert state.intensity_gco2_per_kwh[13, 3] == 140.0
    assert state.intensity_quality[13, 3] == PUBLISHED
    assert np.isnan(state.intensity_gco2_per_kwh).sum() == 14 * 4 - 2


def test_the_origin_is_the_half_hour_that_contains_now() -> None:
    state = see(regional(1, START, 10.0), as_of=START + timedelta(minutes=29))
    assert state.origin == START
    assert state.intensity_gco2_per_kwh[0, 0] == 10.0


def test_a_synthetic_figure_never_hides_a_real_one_and_gives_way_to_it() -> None:
    made_up = regional(1, START, 7.0, quality=Quality.SYNTHETIC, version=99)
    alone = see(made_up)
    assert (alone.intensity_gco2_per_kwh[0, 0], alone.intensity_quality[0, 0]) == (7.0, SYNTHETIC)
    for rows in ((made_up, regional(1, START, 100.0)), (regional(1, START, 100.0), made_up)):
        state = see(*rows)
        assert state.intensity_gco2_per_kwh[0, 0] == 100.0
        assert state.intensity_quality[0, 0] == PUBLISHED


def test_a_missing_region_follows_the_national_figure_at_its_last_ratio() -> None:
    # Half an hour ago region 1 stood at 60 where the nation stood at 120: ratio 0.5.
    # Now the nation stands at 200, so region 1 is taken to be 0.5 * 200 = 100.
    before = START - HALF_HOUR
    rows = [regional(1, before, 60.0), national(before, 120.0), national(START, 200.0)]
    state = see(*rows, regional(1, START, 5.0, quality=Quality.SYNTHETIC))
    assert state.intensity_gco2_per_kwh[0, 0] == 100.0
    assert state.intensity_quality[0, 0] == ESTIMATED
    # No national figure for the next half hour: nothing is carried forward.
    assert math.isnan(state.intensity_gco2_per_kwh[0, 1])
    # Region 2 was never known: no ratio.
    assert math.isnan(state.intensity_gco2_per_kwh[1, 0])


def test_a_ratio_older_than_a_day_is_not_used() -> None:
    def at(age: int) -> GridState:
        then = START - age * HALF_HOUR
        return see(regional(1, then, 60.0), national(then, 120.0), national(START, 200.0))

    assert at(48).intensity_gco2_per_kwh[0, 0] == 100.0
    assert math.isnan(at(49).intensity_gco2_per_kwh[0, 0])


def test_a_ratio_never_leads_beyond_the_physical_bound() -> None:
    before = START - HALF_HOUR
    state = see(regional(1, before, 900.0), national(before, 100.0), national(START, 200.0))
    assert state.intensity_gco2_per_kwh[0, 0] == 1000.0


def test_forecast_and_outturn_are_two_columns() -> None:
    state = see(national(START, 200.0, 180.0), national(START + HALF_HOUR, 210.0))
    assert state.national_intensity_gco2_per_kwh[:2].tolist() == [200.0, 210.0]
    assert state.national_actual_gco2_per_kwh[0] == 180.0
    assert math.isnan(state.national_actual_gco2_per_kwh[1])


def test_nobody_can_write_to_the_arrays() -> None:
    state = see()
    with pytest.raises(ValueError, match="read-only"):
        state.intensity_gco2_per_kwh[0, 0] = 1.0


# -- prices -------------------------------------------------------------------------------


def series(*points: tuple[datetime, float]) -> dict[int, PricePoint]:
    return {int(at.timestamp()): PricePoint(value, PUBLISHED) for at, value in points}


def utc(month: int, day: int, hour: int, minute: int = 0, year: int = 2026) -> datetime:
    return datetime(year, month, day, hour, minute, tzinfo=UTC)


def test_a_weekday_follows_the_last_weekday_and_a_weekend_day_the_last_weekend_day() -> None:
    # 2026-05-01 is a Friday. All at 10:00 UTC = 11:00 London.
    known = series(
        (utc(4, 26, 10), 26.0),  # Sunday
        (utc(4, 30, 10), 30.0),  # Thursday
        (utc(5, 1, 10), 1.0),  # Friday
    )
    assert last_comparable(utc(5, 1, 10), known) == 30.0
    assert last_comparable(utc(5, 2, 10), known) == 26.0  # Saturday: the Sunday six days before
    assert last_comparable(utc(5, 4, 10), known) == 1.0  # Monday: Friday


def test_without_a_comparable_day_the_last_day_of_any_kind_serves_and_else_nothing() -> None:
    known = series((utc(5, 3, 10), 3.0), (utc(5, 2, 10), 2.0))  # Sunday, Saturday
    assert last_comparable(utc(5, 4, 10), known) == 3.0
    assert last_comparable(utc(5, 11, 10), known) is None  # more than seven days
    assert last_comparable(utc(5, 4, 11), known) is None  # another half hour


def test_a_clock_change_does_not_shift_the_morning() -> None:
    # Clocks went forward on Sunday 2026-03-29. 08:00 London is 07:00 UTC on Monday 30 March and
    # 08:00 UTC on Friday 27 March.
    assert (
        last_comparable(utc(3, 30, 7), series((utc(3, 27, 8), 80.0), (utc(3, 27, 7), 70.0))) == 80.0
    )
    # Back on Sunday 2026-10-25: 08:00 London is 08:00 UTC on Monday, 07:00 UTC on Friday.
    assert (
        last_comparable(utc(10, 26, 8), series((utc(10, 23, 7), 7.0), (utc(10, 23, 8), 8.0))) == 7.0
    )


def test_a_wall_time_that_the_other_day_lacks_is_looked_for_further_back() -> None:
    # 01:30 London does not exist on Sunday 2026-03-29. Saturday 4 April 01:30 BST is 00:30 UTC.
    # Saturday 28 March 01:30 GMT is 01:30 UTC.
    known = series((utc(3, 29, 1, 30), 99.0), (utc(3, 29, 0, 30), 98.0), (utc(3, 28, 1, 30), 28.0))
    assert last_comparable(utc(4, 4, 0, 30), known) == 28.0


def test_both_repeated_half_hours_of_autumn_follow_the_same_one_before() -> None:
    # 01:30 London on Sunday 2026-10-25 is 00:30 UTC (BST) and again 01:30 UTC (GMT).
    known = series((utc(10, 24, 0, 30), 24.0))  # Saturday 01:30 BST
    assert last_comparable(utc(10, 25, 0, 30), known) == 24.0
    assert last_comparable(utc(10, 25, 1, 30), known) == 24.0
    # Seen from Saturday 31 October, 01:30 of that Sunday is the first of the two.
    twice = series((utc(10, 25, 0, 30), 1.0), (utc(10, 25, 1, 30), 2.0))
    assert last_comparable(utc(10, 31, 1, 30), twice) == 1.0


def test_which_market_counts() -> None:
    rows = [
        price(START, 99.0, market="system"),
        price(START, 45.0, market="N2EXMIDP"),
        price(START, 40.0),
    ]
    assert see(*rows).price_gbp_per_mwh[0] == 40.0
    assert see(*rows[:2]).price_gbp_per_mwh[0] == 45.0
    # No index at all: the imbalance price stands in and says that it is an estimate.
    only_system = see(rows[0])
    assert (only_system.price_gbp_per_mwh[0], only_system.price_quality[0]) == (99.0, ESTIMATED)


def test_an_index_without_volume_is_no_price_but_negative_ones_are() -> None:
    empty = price(START, 0.0, market="N2EXMIDP", volume=0.0)
    assert see(empty).price_quality[0] == NONE
    assert see(empty, price(START, -12.5)).price_gbp_per_mwh[0] == -12.5
    assert see(price(START, 0.0, volume=5.0)).price_gbp_per_mwh[0] == 0.0


def test_a_future_price_is_an_estimate_and_beats_a_made_up_one() -> None:
    yesterday = price(START - timedelta(days=1), 33.0)
    made_up = price(START, 500.0, quality=Quality.SYNTHETIC)
    state = see(yesterday, made_up)
    assert (state.price_gbp_per_mwh[0], state.price_quality[0]) == (33.0, ESTIMATED)
    alone = see(made_up)
    assert (alone.price_gbp_per_mwh[0], alone.price_quality[0]) == (500.0, SYNTHETIC)
    published = see(yesterday, made_up, price(START, 41.0))
    assert (published.price_gbp_per_mwh[0], published.price_quality[0]) == (41.0, PUBLISHED)


def test_synthetic_history_gives_synthetic_estimates() -> None:
    state = see(price(START - timedelta(days=1), 33.0, quality=Quality.SYNTHETIC))
    assert (state.price_gbp_per_mwh[0], state.price_quality[0]) == (33.0, SYNTHETIC)


def test_a_fact_without_a_price_is_left_out() -> None:
    fact = Fact("wholesale_prices", 0, 0, ("APXMIDP", "published", None, 1.0))
    assert price_series([fact]) == ({}, {})


# -- windows ------------------------------------------------------------------------------


def test_a_window_carries_its_region_and_cheapest_offer() -> None:
    state = see(
        window("w", START, slot_id="s"),
        zone("zone-1", 13),
        offer("w", START, "dear", 0.30),
        offer("w", START, "cheap", 0.10),
        offer("w", START, "dollars", 0.01, currency="USD"),
    )
    (found,) = state.windows
    assert (found.region_id, found.offer_id, found.price_per_kwh, found.currency) == (
        13,
        "cheap",
        0.10,
        "GBP",
    )
    assert (found.starts_at, found.ends_at) == (START, START + timedelta(hours=2))
    assert (found.capacity_kw, found.slot_id, found.state) == (250.0, "s", "offered")


def test_a_window_without_zone_or_offer_says_so() -> None:
    (found,) = see(window("w", START)).windows
    assert (found.region_id, found.offer_id, found.price_per_kwh) == (None, None, None)


def test_windows_that_are_over_or_beyond_the_horizon_are_left_out() -> None:
    rows = [
        window("over", START - timedelta(hours=2)),  # ends at START, half-open
        window("running", START - timedelta(hours=1)),
        window("last", START + 3 * HALF_HOUR),
        window("beyond", START + 4 * HALF_HOUR),
    ]
    assert [w.item_id for w in see(*rows, periods=4).windows] == ["running", "last"]


def test_a_changed_window_shows_its_newest_state() -> None:
    rows = [window("w", START), window("w", START, version=2, state="unusable", capacity_kw=0.0)]
    (found,) = see(*rows).windows
    assert (found.state, found.capacity_kw) == ("unusable", 0.0)
