"""The synthesised grid looks like Great Britain, and its forecasts like forecasts."""

from __future__ import annotations

import csv
from datetime import UTC, datetime, timedelta
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest

from scenarios.axis import Axis
from scenarios.loader import bundled, load
from scenarios.model import Anchor, Weather
from scenarios.publication import Published
from scenarios.scenario import Scenario
from scenarios.synth import reference as ref
from scenarios.synth.flexibility import BLOCKS_A_DAY, synthesise_flexibility
from scenarios.synth.generation import (
    Generation,
    intensity_of_mix,
    regional_intensity,
    synthesise_generation,
)
from scenarios.synth.prices import synthesise_prices
from scenarios.synth.weather import synthesise_drivers

_SPRING = datetime(2026, 4, 13, tzinfo=UTC)


def _made(wind: float, start: datetime = _SPRING) -> tuple[Axis, Generation]:
    axis = Axis.around(start, start + timedelta(days=1))
    weather = Weather(wind=(Anchor(hour=0, value=wind),))
    return axis, synthesise_generation(synthesise_drivers(axis, weather, start, 1))


def test_a_mix_of_pure_gas_has_gas_intensity() -> None:
    mix = np.zeros((9, 1), dtype=np.int64)
    mix[ref.GAS] = 961
    mix[ref.WIND] = 39
    # The recorded South Wales row: 96.1 % gas, 3.9 % wind, 379 g. 0.961 x 394 = 378.6.
    assert intensity_of_mix(mix).tolist() == [379]


def test_shares_add_up_to_one_within_rounding() -> None:
    _, made = _made(0.4)
    for mix in (made.national_mix.sum(axis=0), made.regional_mix.sum(axis=1)):
        assert mix.min() >= 996
        assert mix.max() <= 1004


def test_national_output_meets_demand() -> None:
    start = _SPRING
    axis = Axis.around(start, start + timedelta(days=1))
    weather = Weather(wind=(Anchor(hour=0, value=0.4),))
    drivers = synthesise_drivers(axis, weather, start, 1)
    made = synthesise_generation(drivers)
    exports = np.maximum(-made.flow_mw, 0)
    gap = made.national_mw.sum(axis=0) - exports - drivers.demand_mw
    # Only the rounding of 14 regional wind figures is left.
    assert np.abs(gap).max() <= 14


def test_scotland_is_clean_and_south_wales_is_not() -> None:
    _, made = _made(0.5)
    mean = regional_intensity(made.regional_mix).mean(axis=1)
    assert mean[0] < 50
    assert mean[1] < 50
    assert 180 < mean[6] < 394
    assert mean[0] < mean[12] < mean[6]


def test_more_wind_means_less_carbon_and_lower_prices() -> None:
    carbon, price = [], []
    for wind in (0.15, 0.45, 0.8):
        axis, made = _made(wind)
        carbon.append(intensity_of_mix(made.national_mix).mean())
        price.append(synthesise_prices(axis, made, 1).mid.mean())
    assert carbon[0] > carbon[1] > carbon[2]
    assert price[0] > price[1] > price[2]


def test_surplus_makes_prices_negative_and_scarcity_dear() -> None:
    axis, made = _made(0.85)
    assert made.curtailed_mw.max() > 0
    assert synthesise_prices(axis, made, 1).mid.min() < 0
    evening = load("winter-evening-peak")
    first = evening.start_index
    assert evening.prices.mid[first : first + 60].max() > 12_000


def test_bundled_intensities_lie_in_the_range_of_real_years() -> None:
    # Own computation on the outturns of 2023: percentiles 1 and 99 are 42 and 276 gCO2/kWh;
    # 2026 is cleaner, the wire facts put "very low" below 25.
    for name in bundled():
        scenario = load(name)
        first = scenario.start_index
        actual = scenario.national_actual[first : first + scenario.file.run_periods]
        assert actual.min() >= 20, name
        assert actual.max() <= 280, name


def test_the_range_above_is_that_of_the_real_year(shared_data: Path) -> None:
    path = shared_data / "grid" / "neso_2023_national_intensity.csv"
    with path.open(encoding="utf-8") as file:
        rows = [row["actual"] for row in csv.DictReader(file)]
    actual = np.array([float(text) for text in rows if text not in {"", "0.0"}])
    assert len(actual) == 17_420
    assert np.percentile(actual, [1, 99]).tolist() == [42, 276]


def test_the_evening_is_dirtier_than_the_night_on_a_still_winter_day() -> None:
    evening = load("winter-evening-peak")
    at = evening.start_index
    # The replay starts at 06:00: rows 22-26 are 17:00-19:00, rows 40-44 are 02:00-04:00.
    assert (
        evening.national_actual[at + 22 : at + 27].mean()
        > evening.national_actual[at + 40 : at + 45].mean()
    )


# -- forecasts ----------------------------------------------------------------------------------


def test_forecasts_change_only_at_revisions(windy: Scenario) -> None:
    start, index = windy.start, windy.start_index + 40
    told = [
        Published(windy, start + timedelta(minutes=30 * k)).national_forecast(index)
        for k in range(12)
    ]
    # Revisions every three hours, counted from the start: ticks 0-5 and 6-11 hear the same.
    assert len(set(told[:6])) == 1
    assert len(set(told[6:])) == 1


def test_far_forecasts_are_revised_more_than_near_ones(windy: Scenario) -> None:
    table = windy.regional
    first = table.first
    near, far = [], []
    for v in range(16, 24):
        at = windy.axis.index(table.issued[v]) - first
        step = np.abs(table.values[v] - table.values[v - 1])
        near.append(step[:, at : at + 12].mean())
        far.append(step[:, at + 72 : at + 90].mean())
    assert np.mean(far) > 2 * np.mean(near)


def test_most_rows_stay_the_same_from_tick_to_tick(windy: Scenario) -> None:
    changed = total = 0
    for tick in range(1, 48):
        now = windy.start + tick * windy.tick
        before, after = Published(windy, now - windy.tick), Published(windy, now)
        for index in range(windy.axis.index(now), windy.axis.index(now) + 90):
            old, new = before.regional_forecast(index), after.regional_forecast(index)
            assert old is not None
            assert new is not None
            changed += int((old != new).sum())
            total += 14
    # One tick in six brings a revision, and it leaves near rows alone.
    assert changed / total < 0.15


def test_a_forecast_stands_once_its_half_hour_runs(windy: Scenario) -> None:
    index = windy.start_index + 7
    running = windy.axis.at(index)
    told = {
        Published(windy, running + timedelta(minutes=minutes)).national_forecast(index)
        for minutes in (0, 29, 300, 900)
    }
    assert len(told) == 1


def test_forecasts_reach_48_hours_and_no_further(windy: Scenario) -> None:
    out = Published(windy, windy.start)
    assert out.national_forecast(windy.start_index + 95) is not None
    assert out.national_forecast(windy.start_index + 97) is None


def test_the_last_forecast_is_about_as_wrong_as_the_real_one(windy: Scenario) -> None:
    # 2023: standard deviation 14.3 at a mean of 152, 9.4 %. Over 300 correlated rows: 5-15 %.
    table = windy.national
    actual = windy.national_actual[table.first : table.last]
    frozen = np.array(
        [
            table.values[max(table.said(windy.axis, table.first + i, windy.end), 0), 0, i]
            for i in range(len(actual))
        ]
    )
    past = slice(0, windy.axis.index(windy.end) - table.first)
    error = (frozen[past] - actual[past]) / actual[past]
    assert 0.05 < error.std() < 0.15


# -- publication --------------------------------------------------------------------------------


def test_an_outturn_appears_ten_minutes_after_its_half_hour(windy: Scenario) -> None:
    index = windy.start_index
    over = windy.start + timedelta(minutes=30)
    assert Published(windy, over + timedelta(minutes=9)).national_actual(index) is None
    assert Published(windy, over + timedelta(minutes=10)).national_actual(index) is not None


def test_system_prices_are_revised_after_a_day(windy: Scenario) -> None:
    moved = np.flatnonzero(windy.prices.system_first != windy.prices.system_revised)
    index = int(moved[moved > windy.start_index - 40][0])
    over = windy.axis.at(index) + timedelta(minutes=30)
    first = Published(windy, over + timedelta(minutes=20)).system_price(index)
    later = Published(windy, over + timedelta(hours=24)).system_price(index)
    assert Published(windy, over + timedelta(minutes=19)).system_price(index) is None
    assert first is not None
    assert later is not None
    assert first.pence != later.pence
    assert first.created_at < later.created_at


# -- flexibility --------------------------------------------------------------------------------


def test_auction_blocks_are_four_hours_except_across_a_clock_change(autumn: Scenario) -> None:
    # On the night of 25 October 2026 the block 23:00-03:00 local holds the doubled hour.
    lengths = {
        result.starts_at: (result.ends_at - result.starts_at) / timedelta(hours=1)
        for result in autumn.flexibility.eac
    }
    assert [start for start, hours in lengths.items() if hours != 4] == [
        datetime(2026, 10, 24, 22, tzinfo=UTC)
    ]
    assert lengths[datetime(2026, 10, 24, 22, tzinfo=UTC)] == 5


def test_auction_days_join_without_holes(windy: Scenario) -> None:
    made = synthesise_flexibility(windy.axis, windy.prices, windy.start, windy.end, 1)
    dcl = [r for r in made.eac if r.product == "DCL"]
    assert len(dcl) % BLOCKS_A_DAY == 0
    assert all(a.ends_at == b.starts_at for a, b in pairwise(dcl))


@pytest.mark.parametrize("name", bundled())
def test_tables_cover_what_the_price_forecast_and_the_horizon_need(name: str) -> None:
    scenario = load(name)
    axis = scenario.axis
    assert axis.at(0) <= scenario.start - timedelta(days=7)
    assert axis.at(axis.periods - 1) >= scenario.end + timedelta(hours=48)
    assert len(scenario.prices.mid) == axis.periods
