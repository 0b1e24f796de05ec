"""Synthetic readings and figures that cannot be true."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest

from fetchers.quality import (
    INTENSITY_SERIES,
    NATIONAL,
    PRICE,
    is_stale,
    regional,
    screen,
    series_of,
    synthetic_intensity,
    synthetic_prices,
)
from schema.rows import (
    CarbonIntensityNationalRow,
    CarbonIntensityRegionalRow,
    Row,
    WholesalePriceRow,
)

NOON = datetime(2031, 2, 3, 12, 10, tzinfo=UTC)
HALF = timedelta(minutes=30)
FLOOR = NOON.replace(minute=0)


def made(covered: dict[str, datetime], seed: int = 3) -> list[Row]:
    return synthetic_intensity(NOON, covered, source="carbon_intensity", seed=seed, reason="out")


def test_without_any_figure_48_hours_are_made_up_for_everybody() -> None:
    rows = made({})
    # 96 half hours, national and 14 regions
    assert len(rows) == 96 * 15
    national = [row for row in rows if isinstance(row, CarbonIntensityNationalRow)]
    assert (national[0].valid_from, national[-1].valid_to) == (FLOOR, FLOOR + timedelta(hours=48))
    assert {(row.quality, row.reason, row.seed) for row in national} == {("synthetic", "out", 3)}


def test_what_a_forecast_still_covers_is_not_made_up() -> None:
    covered = dict.fromkeys(INTENSITY_SERIES, FLOOR + timedelta(hours=47))
    covered[regional(5)] = FLOOR + timedelta(hours=46)
    rows = made(covered)
    # Two half hours for 14 series, four for region 5.
    assert len(rows) == 14 * 2 + 4
    assert min(row.valid_from for row in rows if isinstance(row, CarbonIntensityRegionalRow)) == (
        FLOOR + timedelta(hours=46)
    )
    assert made(dict.fromkeys(INTENSITY_SERIES, FLOOR + timedelta(hours=50))) == []


def test_a_half_hour_gets_the_same_figure_at_every_poll_and_another_with_another_seed() -> None:
    later = synthetic_intensity(NOON + HALF, {}, source="carbon_intensity", seed=3, reason="out")
    first = {(row.TABLE, row.key()): row for row in made({})}
    shared = [row for row in later if (row.TABLE, row.key()) in first]
    assert len(shared) == 95 * 15
    assert all(first[row.TABLE, row.key()] == row for row in shared)
    assert made({}, seed=4) != made({})


def test_synthetic_figures_stay_within_a_tenth_of_the_profile() -> None:
    for row in made({}):
        if isinstance(row, CarbonIntensityNationalRow):
            # The profile lies between 135 and 175 gCO2/kWh.
            assert 121.5 <= (row.forecast_gco2_per_kwh or 0) <= 192.5


def prices(covered: dict[str, datetime]) -> list[Row]:
    return synthetic_prices(NOON, covered, source="elexon", seed=3, reason="out")


def test_prices_are_made_up_for_the_past_only_and_at_most_a_week() -> None:
    rows = [row for row in prices({}) if isinstance(row, WholesalePriceRow)]
    assert len(rows) == 7 * 48
    assert (rows[0].valid_from, rows[-1].valid_to) == (FLOOR - timedelta(days=7), FLOOR)
    assert len(prices({PRICE: FLOOR - timedelta(hours=2)})) == 4
    assert prices({PRICE: FLOOR + HALF}) == []


@pytest.mark.parametrize(
    ("last_ok", "stale"),
    [
        (None, True),
        (NOON - timedelta(hours=2), False),
        (NOON - timedelta(hours=2, seconds=1), True),
    ],
    ids=["never", "at-the-limit", "beyond"],
)
def test_staleness(last_ok: datetime | None, stale: bool) -> None:
    assert is_stale(last_ok, NOON, timedelta(hours=2)) is stale


def national(forecast: float | None, actual: float | None) -> CarbonIntensityNationalRow:
    return CarbonIntensityNationalRow(
        source="carbon_intensity",
        valid_from=FLOOR,
        valid_to=FLOOR + HALF,
        forecast_gco2_per_kwh=forecast,
        actual_gco2_per_kwh=actual,
    )


def test_a_zero_outturn_beside_a_dirty_forecast_is_a_missing_value() -> None:
    rows, rejected = screen([national(89, 0), national(12, 0), national(89, 90), national(None, 0)])
    assert [
        row.actual_gco2_per_kwh for row in rows if isinstance(row, CarbonIntensityNationalRow)
    ] == [None, 0, 90, 0]
    assert [one.reason for one in rejected] == [
        "actual is 0 beside a forecast of 89 gCO2/kWh; taken for a missing value"
    ]


def test_only_published_figures_cover_a_series() -> None:
    assert series_of(national(89, None)) == NATIONAL
    assert series_of(national(None, 80)) is None
    synthetic = made({})
    assert {series_of(row) for row in synthetic} == {None}
