"""Energy, carbon and money, worked out by hand."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from agents.core.accounting import (
    CarbonTotals,
    Figures,
    account_segment,
    add_up,
    known_cost_gbp,
    rescored_intensity,
)
from agents.core.ledger import Segment

INTENSITY = np.zeros((14, 4))
INTENSITY[12] = [100.0, 200.0, np.nan, 50.0]
FIGURES = Figures(
    origin=1000,
    intensity=INTENSITY,
    price=np.array([50.0, -20.0, 10.0, 10.0]),
    window_intensity={"w": 20.0},
    window_price={"w": 0.02},
)


def test_a_segment_is_valued_half_hour_by_half_hour() -> None:
    # 4 kW are 2 kWh a half hour: 2 x 100 + 2 x 200 = 600 g; 2 x 0.05 - 2 x 0.02 = 0.06 GBP.
    account = account_segment(Segment(0, 1000, 2), 4000, 13, FIGURES)
    assert account.energy_kwh == pytest.approx(4.0)
    assert account.gco2 == pytest.approx(600.0)
    assert account.cost_gbp == pytest.approx(0.06)
    assert account.intensity_gco2_per_kwh == pytest.approx(150.0)


def test_a_window_brings_its_own_carbon_and_price() -> None:
    account = account_segment(Segment(0, 1002, 1, "w"), 4000, 13, FIGURES)
    assert (account.gco2, account.cost_gbp) == pytest.approx((40.0, 0.04))


def test_an_unknown_half_hour_leaves_the_carbon_unknown_and_keeps_the_price() -> None:
    account = account_segment(Segment(0, 1001, 2), 4000, 13, FIGURES)
    assert account.gco2 is None
    # 2 kWh x (-0.02 + 0.01) GBP/kWh.
    assert account.cost_gbp == pytest.approx(-0.02)


def test_time_beyond_what_is_known_is_not_extrapolated() -> None:
    account = account_segment(Segment(0, 1003, 2), 4000, 13, FIGURES)
    assert (account.gco2, account.cost_gbp) == (None, None)
    assert account.energy_kwh == pytest.approx(4.0)


def test_a_total_with_an_unknown_part_is_unknown() -> None:
    known = account_segment(Segment(0, 1000, 1), 4000, 13, FIGURES)
    unknown = account_segment(Segment(0, 1002, 1), 4000, 13, FIGURES)
    assert add_up([known, unknown]).gco2 is None
    assert add_up([known, known]).gco2 == pytest.approx(400.0)


def test_where_no_price_is_published_a_windows_own_counts() -> None:
    # 4 kW for half an hour on the window at 0.02 GBP/kWh is 0.04 GBP; the grid's price is unknown.
    unpriced = replace(FIGURES, price=np.full(4, np.nan))
    parts = [
        account_segment(Segment(0, 1000, 1), 4000, 13, unpriced),
        account_segment(Segment(0, 1001, 1, "w"), 4000, 13, unpriced),
    ]
    assert add_up(parts).cost_gbp is None
    assert known_cost_gbp(parts) == pytest.approx(0.04)


def test_rescoring_scales_by_national_actual_over_forecast_where_both_are_known() -> None:
    regional = np.full((14, 3), 100.0)
    forecast = np.array([200.0, 200.0, 0.0])
    actual = np.array([150.0, np.nan, 90.0])
    assert rescored_intensity(regional, forecast, actual)[0].tolist() == [75.0, 100.0, 100.0]


def test_nothing_avoided_of_nothing_is_no_division_by_zero() -> None:
    assert CarbonTotals(0.0, 0.0, 0.0, 0.0).avoided_pct == 0.0
    assert CarbonTotals(200.0, 150.0, 0.0, 0.0).avoided_pct == pytest.approx(25.0)
