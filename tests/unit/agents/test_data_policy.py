"""What work does when figures are old, made up or missing: wait, take them, or run in time."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from agents.core.data_policy import (
    LAST_CALL,
    OLD_AFTER,
    Grounds,
    Reach,
    filled,
    grounds_for,
    made_up,
    reach_of,
    why_wait,
    words_on,
)
from agents.core.view import GridView
from storage.grid_prices import QualityCode

ORIGIN = 1000
PUBLISHED, ESTIMATED, SYNTHETIC = (
    QualityCode.PUBLISHED,
    QualityCode.ESTIMATED,
    QualityCode.SYNTHETIC,
)


def view(reach: int = 96, *, periods: int = 96, made_up_to: int = 0) -> GridView:
    """A grid whose figures are real for ``reach`` half hours and then made up for some."""
    intensity = np.full((14, periods), np.nan)
    intensity[:, :reach] = 100.0
    intensity[:, reach : reach + made_up_to] = 250.0
    quality = np.zeros((14, periods), np.uint8)
    quality[:, :reach] = PUBLISHED
    quality[:, reach : reach + made_up_to] = SYNTHETIC
    return GridView(
        origin=ORIGIN,
        intensity=intensity,
        intensity_quality=quality,
        price=np.full(periods, 50.0),
        price_quality=np.full(periods, ESTIMATED, np.uint8),
        windows=(),
        version=1,
    )


ANYWHERE = np.ones(14, np.bool_)


def grounds(reach: Reach, **changes: int) -> Grounds:
    """Grounds of work of two half hours that may run in the next twenty."""
    terms = {"release": ORIGIN, "duration": 2, "deadline": ORIGIN + 20, **changes}
    return grounds_for(reach, ANYWHERE, **terms)


def test_reach_ends_where_figures_are_made_up_or_missing() -> None:
    assert reach_of(view(40)).half_hours.tolist() == [40] * 14
    assert reach_of(view(40, made_up_to=10)).half_hours.tolist() == [40] * 14
    assert reach_of(view(96)).half_hours.tolist() == [96] * 14


def test_a_missing_price_ends_the_reach_and_a_made_up_one_does_not() -> None:
    gap = view(96)
    price = gap.price.copy()
    price[7] = np.nan
    assert reach_of(replace(gap, price=price)).half_hours.tolist() == [7] * 14
    synthetic = replace(gap, price_quality=np.full(96, SYNTHETIC, np.uint8))
    assert reach_of(synthetic).half_hours.tolist() == [96] * 14


def test_how_far_figures_reach_says_how_old_they_are() -> None:
    # A new forecast reaches 95 or 96 half hours; one that reaches 80 is 15 half hours old.
    assert [reach_of(view(reach)).age for reach in (96, 95, 80)] == [0, 0, 15]
    assert [reach_of(view(95 - age)).old for age in (OLD_AFTER - 1, OLD_AFTER)] == [False, True]
    assert words_on(reach_of(view(80))) == ", on a forecast about 7 hours old"
    assert words_on(reach_of(view(96))) == ""
    assert words_on(reach_of(view(0, made_up_to=96))) == ", without a forecast"


@pytest.mark.parametrize(
    ("reach", "terms", "expected"),
    [
        (96, {}, Grounds.PUBLISHED),
        (80, {}, Grounds.OLD),
        # It needs 6 half hours from the tenth on: they end where figures do, or one later.
        (16, {"release": ORIGIN + 10, "duration": 6}, Grounds.OLD),
        (15, {"release": ORIGIN + 10, "duration": 6}, Grounds.WAIT),
        (0, {}, Grounds.WAIT),
        # It must start in the half hour ORIGIN + 18; the last call is four before.
        (0, {"deadline": ORIGIN + 2 + LAST_CALL + 1}, Grounds.WAIT),
        (0, {"deadline": ORIGIN + 2 + LAST_CALL}, Grounds.MUST_RUN),
        (0, {"deadline": ORIGIN + 2}, Grounds.MUST_RUN),
    ],
    ids=[
        "fresh",
        "old",
        "just-known",
        "just-not-known",
        "nothing-known",
        "before-the-last-call",
        "at-the-last-call",
        "now-or-never",
    ],
)
def test_the_rule(reach: int, terms: dict[str, Any], expected: Grounds) -> None:
    assert grounds(reach_of(view(reach)), **terms) is expected


def test_the_area_whose_figures_go_furthest_counts_and_only_allowed_ones() -> None:
    half_hours = np.zeros(14, np.int64)
    half_hours[12] = 96
    reach = Reach(ORIGIN, half_hours)
    london, others = np.arange(14) == 12, np.arange(14) != 12
    terms = {"release": ORIGIN, "duration": 2, "deadline": ORIGIN + 20}
    assert grounds_for(reach, london, **terms) is Grounds.PUBLISHED
    assert grounds_for(reach, others, **terms) is Grounds.WAIT


def test_waiting_is_explained_with_the_moment_it_ends() -> None:
    # Half hour 1000 is 1970-01-21T20:00Z; 1020 less 2 less 4 is 1014, seven hours later.
    assert why_wait(2, ORIGIN + 20).endswith("placed on what there is from 1970-01-22T03:00:00Z")
    assert why_wait(2, ORIGIN + 20) == why_wait(2, ORIGIN + 20)


def test_figures_are_carried_on_from_the_same_half_hour_of_a_day_before() -> None:
    known = view(50)
    intensity = known.intensity.copy()
    intensity[:, :50] = np.arange(50)
    carried = filled(replace(known, intensity=intensity), ORIGIN + 99)
    # Periods 50, 51 and 95 are a day after periods 2, 3 and 47.
    assert carried.intensity[4, [49, 50, 51, 95]].tolist() == [49.0, 2.0, 3.0, 47.0]
    assert carried.intensity_quality[4, [49, 50, 95]].tolist() == [PUBLISHED, SYNTHETIC, SYNTHETIC]


def test_without_a_day_before_the_largest_known_stands_in_so_that_nobody_is_lured() -> None:
    known = view(2)
    intensity = known.intensity.copy()
    intensity[0, :2] = [80.0, 120.0]
    carried = filled(replace(known, intensity=intensity), ORIGIN + 5)
    assert carried.intensity[0, :5].tolist() == [80.0, 120.0, 120.0, 120.0, 120.0]
    assert np.isnan(carried.intensity[0, 5:]).all(), "what nobody must use stays unknown"


def test_where_nothing_is_known_all_half_hours_are_alike() -> None:
    blind = replace(view(0), price=np.full(96, np.nan), price_quality=np.zeros(96, np.uint8))
    carried = filled(blind, ORIGIN + 96)
    assert np.unique(carried.intensity).tolist() == [0.0]
    assert np.unique(carried.price).tolist() == [0.0]
    assert carried.on_synthetic(96)


def test_made_up_figures_are_found_in_their_area_and_time_only() -> None:
    some = view(40, made_up_to=10)
    assert not made_up(some, 5, ORIGIN + 30, ORIGIN + 40)
    assert made_up(some, 5, ORIGIN + 30, ORIGIN + 41)
    price = some.price_quality.copy()
    price[3] = SYNTHETIC
    assert made_up(replace(some, price_quality=price), 5, ORIGIN + 3, ORIGIN + 4)
