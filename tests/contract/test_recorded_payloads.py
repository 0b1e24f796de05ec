"""Every parser against replies recorded from the real sources; expectations counted by hand.

The figures stand in the files' description and in the files themselves; none was taken from a
parser's output. Each file has a twin of our own in tests/payloads, so nothing rests on these
alone.
"""

from __future__ import annotations

from collections import Counter
from datetime import UTC, datetime
from pathlib import Path

import pytest

from fetchers import registry
from fetchers.capture import open_capture
from fetchers.elexon.regional_demand import SHARE_PCT
from fetchers.parsing import ParseContext
from schema.errors import SourceRejected
from schema.readings import Parsed
from schema.rows import (
    CarbonIntensityNationalRow,
    CarbonIntensityRegionalRow,
    DemandActualNationalRow,
    DemandForecastNationalRow,
    DemandRegionalRow,
    GenerationMixNationalRow,
    GenerationMixRegionalRow,
)

CAPTURED = datetime(2026, 8, 21, 11, 26, 38, 953115, tzinfo=UTC)


def parse(folder: Path, source: str, endpoint: str, name: str) -> Parsed:
    capture = open_capture((folder / "payloads" / source / name).read_bytes(), name)
    context = ParseContext(now=capture.captured_at)
    return registry.find(source, endpoint).parse(capture.body, context)


def utc(year: int, month: int, day: int, hour: int, minute: int = 0) -> datetime:
    return datetime(year, month, day, hour, minute, tzinfo=UTC)


def test_the_half_hour_last_completed(shared_data: Path) -> None:
    name = "intensity_20260821T1126Z.json"
    parsed = parse(shared_data, "carbon_intensity", "intensity", name)
    assert parsed.rejected == ()
    assert parsed.rows == (
        CarbonIntensityNationalRow(
            source="carbon_intensity",
            valid_from=utc(2026, 8, 21, 10, 30),
            valid_to=utc(2026, 8, 21, 11, 0),
            forecast_gco2_per_kwh=90,
            actual_gco2_per_kwh=90,
            intensity_index="moderate",
        ),
    )


def test_the_capture_envelope_says_when(shared_data: Path) -> None:
    file = shared_data / "payloads/carbon_intensity/generation_20260821T1126Z.json"
    assert open_capture(file.read_bytes(), file.name).captured_at == CAPTURED


def test_the_national_mix_of_nine_fuels(shared_data: Path) -> None:
    name = "generation_20260821T1126Z.json"
    parsed = parse(shared_data, "carbon_intensity", "generation", name)
    shares = {
        row.fuel: row.generation_pct
        for row in parsed.rows
        if isinstance(row, GenerationMixNationalRow)
    }
    assert shares == {
        "biomass": 5.4,
        "coal": 0,
        "imports": 20.3,
        "gas": 13.2,
        "nuclear": 14.2,
        "other": 1.9,
        "hydro": 0.7,
        "solar": 26.1,
        "wind": 18.2,
    }
    assert {row.valid_from for row in parsed.rows} == {utc(2026, 8, 21, 10, 30)}  # type: ignore[attr-defined]
    assert parsed.rejected == ()


def test_ninety_six_half_hours_of_forecast(shared_data: Path) -> None:
    name = "forecast_fw48h_20260821T1126Z.json"
    parsed = parse(shared_data, "carbon_intensity", "intensity-fw48h", name)
    rows = [row for row in parsed.rows if isinstance(row, CarbonIntensityNationalRow)]
    assert (len(rows), parsed.rejected, dict(parsed.skipped)) == (96, (), {})
    assert rows[0].valid_from == utc(2026, 8, 21, 11)
    assert rows[-1].valid_to == utc(2026, 8, 23, 11)
    assert [row.forecast_gco2_per_kwh for row in rows[:4]] == [89, 87, 86, 83]
    forecasts = [row.forecast_gco2_per_kwh or 0 for row in rows]
    assert (min(forecasts), max(forecasts)) == (57, 183)
    assert {row.actual_gco2_per_kwh for row in rows} == {None}
    assert {row.intensity_index for row in rows} == {"low", "moderate", "high"}


def test_eighteen_regions_give_fourteen_areas(shared_data: Path) -> None:
    name = "regional_intensity_fw24h_period_keyed.json"
    parsed = parse(shared_data, "carbon_intensity", "regional-fw24h", name)
    intensities = [row for row in parsed.rows if isinstance(row, CarbonIntensityRegionalRow)]
    mixes = [row for row in parsed.rows if isinstance(row, GenerationMixRegionalRow)]
    # 2 half hours x 14 areas; 2 x 4 aggregates left out; nine fuels each.
    assert (len(intensities), len(mixes)) == (28, 252)
    assert parsed.skipped == {"aggregate areas": 8}
    assert parsed.rejected == ()
    assert {row.valid_from for row in intensities} == {
        utc(2026, 5, 5, 23, 30),
        utc(2026, 5, 6, 0),
    }
    assert {row.region_id for row in intensities} == set(range(1, 15))
    # Zero in Scotland is real.
    assert intensities[0].region_id == 1
    assert intensities[0].forecast_gco2_per_kwh == 0
    assert intensities[0].intensity_index == "very low"
    sums: Counter[tuple[datetime, int]] = Counter()
    for row in mixes:
        sums[row.valid_from, row.region_id] += round(row.generation_pct * 10)  # type: ignore[assignment]
    assert 999 <= min(sums.values()) <= max(sums.values()) <= 1001


def test_twelve_cardinal_points_of_one_day(shared_data: Path) -> None:
    name = "demand_forecast_1d_day_ahead_national.csv"
    parsed = parse(shared_data, "neso", "demand-forecast-1d", name)
    rows = [row for row in parsed.rows if isinstance(row, DemandForecastNationalRow)]
    assert parsed.rejected == ()
    assert [(row.point, row.demand_mw) for row in rows] == [
        ("1F", 21371),
        ("1S", 20804),
        ("1A", 20586),
        ("4", 18914),
        ("1B", 18215),
        ("2F", 25672),
        ("2A", 28001),
        ("2B", 25854),
        ("3B", 24456),
        ("3C", 29825),
        ("4B", 30581),
        ("4C", 21001),
    ]
    # 9 October is summer time. Labels are period ends: 30 is 00:00 to 00:30 local, 23:00Z on the
    # 8th; 1700 to 1830 is 16:30 to 18:30 local; 2400 is 23:30 to 24:00 local.
    by_point = {row.point: (row.valid_from, row.valid_to) for row in rows}
    assert by_point["1F"] == (utc(2026, 10, 8, 23), utc(2026, 10, 8, 23, 30))
    assert by_point["3C"] == (utc(2026, 10, 9, 15, 30), utc(2026, 10, 9, 17, 30))
    assert by_point["4C"] == (utc(2026, 10, 9, 22, 30), utc(2026, 10, 9, 23))


def test_outturn_placeholders_and_unmetered_periods_of_the_demand_update(
    shared_data: Path,
) -> None:
    parsed = parse(shared_data, "neso", "demand-update", "daily_demand_update.csv")
    rows = [row for row in parsed.rows if isinstance(row, DemandActualNationalRow)]
    # 56 rows: 35 with F (31 on 8 October, 4 on the 15th), 19 outturns (4 on 1 September and
    # periods 1-15 on 8 October), and periods 16 and 17, which are marked A but have ND 0.
    assert parsed.skipped == {"placeholder rows (F)": 35}
    assert parsed.rejected == ()
    metered = [row for row in rows if row.national_demand_mw is not None]
    unmetered = [row for row in rows if row.national_demand_mw is None]
    assert (len(metered), len(unmetered)) == (19, 2)
    first = metered[0]
    assert first.valid_from == utc(2026, 8, 31, 23)  # period 1 of 1 September, summer time
    assert (first.national_demand_mw, first.transmission_demand_mw) == (21924, 23258)
    assert (first.england_wales_demand_mw, first.embedded_wind_mw) == (20101, 1131)
    assert (first.pump_storage_pumping_mw, first.scottish_transfer_mw) == (5, 1229)
    assert first.interconnector_flows_mw == {
        "ifa": 1312,
        "ifa2": 251,
        "britned": 742,
        "moyle": -298,
        "east_west": -56,
        "nemo": 215,
        "nsl": 0,
        "eleclink": 421,
        "viking": 1373,
        "greenlink": -485,
    }
    # Periods 16 and 17 of 8 October start at 06:30Z and 07:00Z; only embedded figures are real.
    assert [row.valid_from for row in unmetered] == [utc(2026, 10, 8, 6, 30), utc(2026, 10, 8, 7)]
    assert [row.transmission_demand_mw for row in unmetered] == [None, None]
    assert [row.embedded_wind_mw for row in unmetered] == [1548, 1455]
    assert [row.embedded_solar_mw for row in unmetered] == [195, 1315]
    assert sum(isinstance(row, DemandRegionalRow) for row in parsed.rows) == 19


@pytest.mark.parametrize("endpoint", ["package-show", "resource-show", "demand-update"])
def test_the_portals_not_found(shared_data: Path, endpoint: str) -> None:
    with pytest.raises(SourceRejected, match=r"Not found \(Not Found Error\)"):
        parse(shared_data, "neso", endpoint, "not_found.json")


def test_five_minutes_of_two_fuels(shared_data: Path) -> None:
    name = "FUELINST_stream_20220620.json"
    parsed = parse(shared_data, "elexon", "fuelinst", name)
    rows = [row for row in parsed.rows if isinstance(row, GenerationMixNationalRow)]
    assert parsed.rejected == ()
    # Negative is pumping. 23:55Z on the 19th lies in period 2 of the 20th, summer time.
    assert [(row.fuel, row.generation_mw) for row in rows] == [
        ("pumped_storage", -360),
        ("wind", 6400),
    ]
    assert {(row.valid_from, row.valid_to) for row in rows} == {
        (utc(2022, 6, 19, 23, 55), utc(2022, 6, 20, 0))
    }


def test_scotlands_share_of_demand_is_that_of_the_recorded_update(shared_data: Path) -> None:
    parsed = parse(shared_data, "neso", "demand-update", "daily_demand_update.csv")
    metered = [
        (row.national_demand_mw, row.england_wales_demand_mw)
        for row in parsed.rows
        if isinstance(row, DemandActualNationalRow)
        and row.national_demand_mw is not None
        and row.england_wales_demand_mw is not None
    ]
    assert len(metered) == 19
    national = sum(whole for whole, _ in metered)
    rest = national - sum(part for _, part in metered)
    # Areas 1 and 2 of ours: 2.5 % and 5.8 %.
    assert 100 * rest / national == pytest.approx(SHARE_PCT[1] + SHARE_PCT[2], abs=0.1)
