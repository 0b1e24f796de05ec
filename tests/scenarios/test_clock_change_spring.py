"""``clock-change-spring``: a settlement day of 46 periods, right in the rows of every source."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, date, datetime, timedelta
from typing import Any

import pytest
from expected_outcomes import hold_against_the_committed_outcome

from scenarios.loader import load
from schema.periods import LONDON

Replayer = Callable[..., Any]
NAME = "clock-change-spring"
SHORT_DAY = date(2027, 3, 28)
#: London's midnights are 00:00 UTC before the change and 23:00 UTC after it: 46 half hours.
FIRST, AFTER = datetime(2027, 3, 28, tzinfo=UTC), datetime(2027, 3, 28, 23, tzinfo=UTC)
HALF_HOUR = timedelta(minutes=30)
THE_46 = [FIRST + n * HALF_HOUR for n in range(46)]

#: Table, and the columns that tell its half-hourly series from each other.
SERIES = {
    "carbon_intensity_national": (),
    "carbon_intensity_regional": ("region_id",),
    "generation_mix_national": ("source", "fuel"),
    "generation_mix_regional": ("region_id", "fuel"),
    "demand_forecast_national": ("source", "product"),
    "demand_actual_national": ("source",),
    "demand_regional": ("source", "area"),
    "wholesale_prices": ("market",),
}
#: Forecasts for peaks and troughs of demand, which are no half-hourly series.
POINTS = "1-day-ahead-points"

pytestmark = [pytest.mark.long, pytest.mark.timeout(300)]


@pytest.fixture(scope="module")
def replayed(replay_locally: Replayer) -> Any:
    return replay_locally(NAME)


def test_it_ends_as_committed(replayed: Any) -> None:
    hold_against_the_committed_outcome(NAME, replayed)


@pytest.mark.parametrize("table", SERIES)
def test_every_series_of_the_short_day_has_its_46_half_hours_once(
    replayed: Any, table: str
) -> None:
    found: dict[tuple[Any, ...], list[datetime]] = {}
    for row in replayed.tables[table]:
        at = _instant(row["valid_from"])
        if FIRST <= at < AFTER and row.get("product") != POINTS:
            found.setdefault(tuple(row[name] for name in SERIES[table]), []).append(at)
    assert found
    wrong = {key: len(starts) for key, starts in found.items() if sorted(starts) != THE_46}
    assert wrong == {}


def test_all_three_sources_with_settlement_days_are_among_them(replayed: Any) -> None:
    sources = {
        row["source"]
        for table in SERIES
        for row in replayed.tables[table]
        if FIRST <= _instant(row["valid_from"]) < AFTER
    }
    assert sources == {"carbon_intensity", "elexon", "neso"}


@pytest.mark.parametrize(
    ("table", "chosen", "column", "figure"),
    [
        ("wholesale_prices", {"market": "APXMIDP"}, "price_gbp_per_mwh", "price"),
        ("carbon_intensity_national", {}, "actual_gco2_per_kwh", "intensity"),
        ("demand_actual_national", {"source": "elexon"}, "national_demand_mw", "demand"),
        ("demand_actual_national", {"source": "neso"}, "national_demand_mw", "demand"),
    ],
    ids=["elexon-price", "carbon-intensity", "elexon-demand", "neso-demand"],
)
def test_no_figure_is_an_hour_off_on_either_side_of_the_change(
    replayed: Any, table: str, chosen: dict[str, str], column: str, figure: str
) -> None:
    scenario = load(NAME)
    true = {
        "price": scenario.prices.mid / 100,
        "intensity": scenario.national_actual,
        "demand": scenario.demand.national,
    }[figure]
    compared = 0
    for row in replayed.tables[table]:
        at = _instant(row["valid_from"])
        matches = all(row[name] == value for name, value in chosen.items())
        if matches and FIRST <= at < AFTER and row[column] is not None:
            assert row[column] == pytest.approx(float(true[scenario.axis.index(at)])), at
            compared += 1
    assert compared == 46


def test_the_auction_block_of_that_night_is_an_hour_shorter(replayed: Any) -> None:
    # 23:00 to 03:00 on London's clocks: three hours of that night, four of every other.
    lengths = {
        _instant(row["starts_at"]): _instant(row["ends_at"]) - _instant(row["starts_at"])
        for row in replayed.tables["flexibility_prices"]
        if row["service"].startswith("EAC")
    }
    night = datetime(2027, 3, 27, 23, tzinfo=UTC)
    assert lengths.pop(night) == timedelta(hours=3)
    assert set(lengths.values()) == {timedelta(hours=4)}


def test_no_work_loses_or_gains_time_over_the_change(replayed: Any) -> None:
    durations = {row["id"]: row["duration_min"] for row in replayed.tables["compute_workloads"]}
    ran: dict[tuple[str, int], timedelta] = {}
    for row in replayed.tables["workload_schedules"]:
        key = (row["workload_id"], row["revision"])
        length = _instant(row["ends_at"]) - _instant(row["starts_at"])
        ran[key] = ran.get(key, timedelta(0)) + length
    change = datetime(2027, 3, 28, 1, tzinfo=UTC)
    across = {
        row["workload_id"]
        for row in replayed.tables["workload_schedules"]
        if _instant(row["starts_at"]) < change < _instant(row["ends_at"])
    }
    assert len(across) > 50
    for (workload, _), length in ran.items():
        assert length == -(-durations[workload] // 30) * HALF_HOUR


def test_the_hour_that_does_not_exist_is_in_no_local_time(replayed: Any) -> None:
    local = {
        _instant(row["valid_from"]).astimezone(LONDON).strftime("%H:%M")
        for row in replayed.tables["wholesale_prices"]
        if _instant(row["valid_from"]).astimezone(LONDON).date() == SHORT_DAY
    }
    assert len(local) == 46
    assert not {"01:00", "01:30"} & local


def _instant(text: str) -> datetime:
    return datetime.fromisoformat(text)
