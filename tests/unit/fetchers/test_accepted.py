"""Only news is sent."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

from fetchers.accepted import Accepted
from schema.rows import CarbonIntensityNationalRow, GridSnapshotRow, WholesalePriceRow

NOON = datetime(2031, 2, 3, 12, tzinfo=UTC)
HALF_HOUR = timedelta(minutes=30)


def price(value: float, at: datetime = NOON, version: int | None = None) -> WholesalePriceRow:
    return WholesalePriceRow(
        source="elexon",
        valid_from=at,
        valid_to=at + HALF_HOUR,
        market="APXMIDP",
        price_gbp_per_mwh=value,
        version=version,
    )


def intensity(forecast: float | None, actual: float | None) -> CarbonIntensityNationalRow:
    return CarbonIntensityNationalRow(
        source="carbon_intensity",
        valid_from=NOON,
        valid_to=NOON + HALF_HOUR,
        forecast_gco2_per_kwh=forecast,
        actual_gco2_per_kwh=actual,
    )


def test_a_row_is_news_until_storage_has_it() -> None:
    accepted = Accepted()
    assert accepted.changed([price(-1.0)]) == [price(-1.0)]
    assert accepted.changed([price(-1.0)]) == [price(-1.0)]
    accepted.remember([price(-1.0)])
    assert accepted.changed([price(-1.0)]) == []
    # hash(-1.0) == hash(-2.0) in Python: the comparison must not rest on it.
    assert accepted.changed([price(-2.0)]) == [price(-2.0)]


def test_going_back_to_an_old_figure_is_news() -> None:
    accepted = Accepted()
    for value in (1.0, 2.0, 1.0):
        assert accepted.changed([price(value)]) == [price(value)]
        accepted.remember([price(value)])


def test_a_version_alone_is_no_news() -> None:
    accepted = Accepted()
    accepted.remember([price(5.0, version=1)])
    assert accepted.changed([price(5.0, version=2)]) == []


def test_a_forecast_does_not_blank_the_outturn_of_an_earlier_poll() -> None:
    accepted = Accepted()
    accepted.remember([intensity(100, 90)])
    assert accepted.changed([intensity(100, None)]) == []
    assert accepted.changed([intensity(110, None)]) == [intensity(110, 90)]


def test_of_an_append_only_table_the_first_row_of_a_key_stands() -> None:
    accepted = Accepted()
    first = GridSnapshotRow(zone_code="Z", observed_at=NOON, renewable_pct=50)
    second = GridSnapshotRow(zone_code="Z", observed_at=NOON, renewable_pct=60)
    accepted.remember([first])
    assert accepted.changed([second]) == []


def test_memory_is_bounded_and_forgetting_only_sends_again() -> None:
    accepted = Accepted(limit=100)
    rows = [price(1.0, NOON + index * HALF_HOUR) for index in range(5000)]
    for row in rows:
        accepted.remember([row])
    assert len(accepted) <= 100
    assert accepted.changed([rows[-1]]) == []
    assert accepted.changed([rows[0]]) == [rows[0]]
