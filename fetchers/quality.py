"""Readings that keep the market going while a source is out, and figures that cannot be true.

A synthetic reading is a row of its own kind (``quality`` is part of the key): it never replaces a
published one, says why it was made and from which seed, and loses every "latest" answer to a
published figure. It is made only for half hours that no published figure covers: the last
forecast, as far as it reaches, is better than anything made up.

The profiles are shapes of a day, not forecasts. National intensity: hourly means of the 2023
outturn (Carbon Intensity API, CC BY 4.0), to 5 gCO2/kWh. Price: hourly means of the system price
2016-2019 (contains BMRS data, Elexon Limited), relative to their mean, at an assumed level of
80 GBP/MWh. Regional factors are rough, made up from where wind, nuclear and gas plants stand.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from datetime import datetime, timedelta
from hashlib import sha256

from schema.periods import HALF_HOUR, floor_half_hour, format_instant
from schema.readings import Quality, Rejected
from schema.regions import REGION_IDS
from schema.rows import (
    CarbonIntensityNationalRow,
    CarbonIntensityRegionalRow,
    Row,
    WholesalePriceRow,
)

#: By hour of the UTC day, gCO2/kWh.
INTENSITY_BY_HOUR = (
    140, 140, 140, 140, 145, 155, 160, 160, 155, 150, 140, 140,
    135, 140, 145, 160, 170, 175, 175, 175, 170, 160, 145, 140,
)  # fmt: skip
#: By hour of the UTC day, relative to the day's mean.
PRICE_BY_HOUR = (
    0.87, 0.87, 0.82, 0.80, 0.77, 0.82, 0.94, 0.98, 1.08, 1.14, 1.09, 1.08,
    1.08, 1.01, 0.93, 0.94, 1.12, 1.29, 1.28, 1.23, 1.08, 1.00, 0.87, 0.91,
)  # fmt: skip
PRICE_LEVEL_GBP_PER_MWH = 80.0
#: Relative to national intensity, by region.
REGION_FACTOR: Mapping[int, float] = {
    1: 0.3, 2: 0.3, 3: 0.7, 4: 0.4, 5: 1.1, 6: 0.7, 7: 1.7,
    8: 1.1, 9: 1.6, 10: 1.1, 11: 1.2, 12: 1.3, 13: 1.0, 14: 1.0,
}  # fmt: skip
SPREAD = 0.1

NATIONAL = "intensity"
PRICE = "price"
HORIZON = timedelta(hours=48)
LOOK_BACK = timedelta(days=7)
#: Market of a synthetic price: the index that the market would have read.
PRICE_MARKET = "APXMIDP"

#: A national outturn of 0 beside a forecast above this is a missing value, not clean power: it
#: was seen in the 2023 history beside forecasts of 89 to 185.
LEAST_FORECAST_BESIDE_ZERO = 30.0


def regional(region_id: int) -> str:
    """Name the series of a region's intensity."""
    return f"intensity-{region_id}"


INTENSITY_SERIES = (NATIONAL, *(regional(region_id) for region_id in REGION_IDS))


def series_of(row: Row) -> str | None:
    """Name the series that a published row is part of; None for others."""
    match row:
        case CarbonIntensityNationalRow(quality=Quality.PUBLISHED):
            return NATIONAL if row.forecast_gco2_per_kwh is not None else None
        case CarbonIntensityRegionalRow(quality=Quality.PUBLISHED):
            return regional(row.region_id)
        case WholesalePriceRow(quality=Quality.PUBLISHED):
            return PRICE
        case _:
            return None


def is_stale(last_ok: datetime | None, now: datetime, limit: timedelta) -> bool:
    """Say whether a feed has been silent for too long; one that never answered is stale."""
    return last_ok is None or now - last_ok > limit


def synthetic_intensity(
    now: datetime, covered: Mapping[str, datetime], *, source: str, seed: int, reason: str
) -> list[Row]:
    """Make the intensities of the next 48 hours that no published figure covers.

    Args:
        now: The poll's moment.
        covered: For each series, until when published figures reach.
        source: Which source is out.
        seed: Seed of the run; the same half hour gets the same figure at every poll.
        reason: Why, for the row.
    """
    rows: list[Row] = []
    start = floor_half_hour(now)
    for at in _gap(start, start + HORIZON, covered.get(NATIONAL)):
        figure = _national_intensity(at, seed)
        rows.append(
            CarbonIntensityNationalRow(
                source=source,
                valid_from=at,
                valid_to=at + HALF_HOUR,
                quality=Quality.SYNTHETIC,
                reason=reason,
                seed=seed,
                forecast_gco2_per_kwh=figure,
            )
        )
    for region_id in REGION_IDS:
        series = regional(region_id)
        for at in _gap(start, start + HORIZON, covered.get(series)):
            figure = round(INTENSITY_BY_HOUR[at.hour] * REGION_FACTOR[region_id], 3)
            rows.append(
                CarbonIntensityRegionalRow(
                    source=source,
                    valid_from=at,
                    valid_to=at + HALF_HOUR,
                    quality=Quality.SYNTHETIC,
                    reason=reason,
                    seed=seed,
                    region_id=region_id,
                    forecast_gco2_per_kwh=_varied(figure, seed, series, at),
                )
            )
    return rows


def synthetic_prices(
    now: datetime, covered: Mapping[str, datetime], *, source: str, seed: int, reason: str
) -> list[Row]:
    """Make the prices of past half hours that no published figure covers, at most 7 days.

    Prices are not published ahead: the market takes the half hour of the last comparable day, so
    what it lacks during an outage are the half hours just gone.
    """
    end = floor_half_hour(now)
    return [
        WholesalePriceRow(
            source=source,
            valid_from=at,
            valid_to=at + HALF_HOUR,
            quality=Quality.SYNTHETIC,
            reason=reason,
            seed=seed,
            market=PRICE_MARKET,
            price_gbp_per_mwh=_varied(
                PRICE_BY_HOUR[at.hour] * PRICE_LEVEL_GBP_PER_MWH, seed, PRICE, at
            ),
        )
        for at in _gap(end - LOOK_BACK, end, covered.get(PRICE))
    ]


def screen(rows: Sequence[Row]) -> tuple[list[Row], list[Rejected]]:
    """Take out figures inside the bounds that cannot be true all the same."""
    kept: list[Row] = []
    rejected: list[Rejected] = []
    for row in rows:
        if isinstance(row, CarbonIntensityNationalRow) and _missing_as_zero(row):
            reason = (
                f"actual is 0 beside a forecast of {row.forecast_gco2_per_kwh:g} gCO2/kWh; "
                "taken for a missing value"
            )
            rejected.append(Rejected(f"actual of {format_instant(row.valid_from)}", reason))
            kept.append(row.model_copy(update={"actual_gco2_per_kwh": None}))
        else:
            kept.append(row)
    return kept, rejected


def _missing_as_zero(row: CarbonIntensityNationalRow) -> bool:
    return (
        row.actual_gco2_per_kwh == 0
        and row.forecast_gco2_per_kwh is not None
        and row.forecast_gco2_per_kwh > LEAST_FORECAST_BESIDE_ZERO
    )


def _gap(start: datetime, end: datetime, covered_until: datetime | None) -> Iterator[datetime]:
    at = start if covered_until is None else max(start, covered_until)
    while at < end:
        yield at
        at += HALF_HOUR


def _national_intensity(at: datetime, seed: int) -> float:
    return _varied(float(INTENSITY_BY_HOUR[at.hour]), seed, NATIONAL, at)


def _varied(figure: float, seed: int, series: str, at: datetime) -> float:
    """Move a figure by up to 10 %, the same way whenever this half hour is asked for."""
    text = f"{seed}|{series}|{format_instant(at)}".encode()
    unit = int.from_bytes(sha256(text).digest()[:8]) / 2**64
    return round(figure * (1.0 + SPREAD * (2.0 * unit - 1.0)), 3)
