"""One iteration over sockets stores what the scenario implies: every table, every figure."""

from __future__ import annotations

from collections import Counter
from collections.abc import AsyncIterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from live_stepping import SOURCES, Stepped, stepped
from live_truth import checked, counts, falsehoods
from upstream_fixtures import scenario_once

SCENARIO = "windy-night"
#: Enough of an interval for all nine files of NESO, two a minute.
INTERVAL_S = 1800.0
START = scenario_once(SCENARIO).start + timedelta(minutes=72)
Tables = dict[str, list[dict[str, Any]]]


@pytest.fixture
async def lived(tmp_path: Path) -> AsyncIterator[tuple[Stepped, Tables]]:
    async with stepped(scenario_once(SCENARIO), START, tmp_path, interval_s=INTERVAL_S) as live:
        await live.iterate(START)
        await live.stage.drain(60)
        yield live, {name: list(rows.values()) for name, rows in live.store.tables.items()}


async def test_one_iteration_stores_what_the_scenario_implies_and_rejects_nothing(
    lived: tuple[Stepped, Tables],
) -> None:
    live, tables = lived
    scenario = scenario_once(SCENARIO)
    for table, by_source in counts(scenario, START).items():
        rows = tables[table]
        found = Counter(row.get("source", "beckn") for row in rows)
        assert {name: found[name] for name in by_source} == by_source, table
    assert falsehoods(scenario, tables) == []
    for name, track in live.pipeline.tracks.items():
        figures = (track.rejected, track.fallbacks, track.conflicts, track.problem)
        assert figures == (0, 0, 0, None), name
    assert {row["quality"] for row in tables["wholesale_prices"]} == {"published"}
    assert sum(row["rows_rejected"] for row in tables["api_logs"]) == 0


async def test_one_iteration_reads_every_forecast_and_price_of_neso(
    lived: tuple[Stepped, Tables],
) -> None:
    _, tables = lived
    products = Counter(row["product"] for row in tables["demand_forecast_national"])
    assert products == {
        # Elexon's, issued at 15:00, from then to the end of the next day: 9 h and 24 h.
        "day-ahead": 66,
        "day-ahead-transmission": 66,
        # Ten cardinal points a day: of one day, of one, of days 2 to 7.
        "1-day-ahead-points": 10,
        "2-day-ahead-points": 10,
        "7-day-ahead-points": 60,
        # Days 2 to 14 by half hours.
        "2-14-day-ahead": 13 * 48,
        # Fourteen days from the release at 12:05, the half hour of the release left out.
        "embedded-wind": 14 * 48 - 1,
        "embedded-solar": 14 * 48 - 1,
    }
    services = {row["service"] for row in tables["flexibility_prices"]}
    assert len([name for name in services if name.startswith("EAC-")]) == 8
    assert {"DFS", "DFS-MEAN"} <= services


async def test_the_next_iteration_asks_for_nothing_that_is_known(
    lived: tuple[Stepped, Tables],
) -> None:
    live, _ = lived
    before = {name: track.requests for name, track in live.pipeline.tracks.items()}
    await live.iterate(START + timedelta(minutes=1))
    assert {name: track.requests for name, track in live.pipeline.tracks.items()} == before
    assert {track.polls for track in live.pipeline.tracks.values()} == {2}
    assert min(before.values()) > 0


async def test_a_figure_that_the_scenario_does_not_have_is_noticed(
    lived: tuple[Stepped, Tables],
) -> None:
    _, tables = lived
    figures = {
        "carbon_intensity_national": "forecast_gco2_per_kwh",
        "carbon_intensity_regional": "forecast_gco2_per_kwh",
        "generation_mix_regional": "generation_pct",
        "wholesale_prices": "price_gbp_per_mwh",
        "demand_actual_national": "national_demand_mw",
        "compute_windows": "capacity_kw",
        "offers": "price_per_kwh",
    }
    assert set(figures) <= set(checked(tables))
    for table, column in figures.items():
        row = next(row for row in tables[table] if row.get("source") != "neso")
        spoilt = {table: [{**row, column: row[column] + 0.01}]}
        assert len(falsehoods(scenario_once(SCENARIO), spoilt)) == 1, table


async def test_the_rows_of_fetchers_say_how_their_sources_are(
    lived: tuple[Stepped, Tables],
) -> None:
    _, tables = lived
    told = {
        row["capabilities"]["source"]: row for row in tables["agents"] if row.get("capabilities")
    }
    assert sorted(told) == sorted(SOURCES)
    for name, row in told.items():
        said = row["capabilities"]
        assert (row["kind"], row["status"]) == ("fetcher", "active")
        assert said["breaker"] == "closed"
        assert said["lag_s"] == 0.0
        assert said["last_success"] is not None, name
        assert said["waiting"] == [], name
