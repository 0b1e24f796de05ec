"""A live run over sockets stores what a replay of the same scenario stores.

The same scenario is served on real ports to the live pipeline, whose clocks are moved tick by
tick, and replayed through the transport. Nothing is negotiated: what the sources feed is compared.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from datetime import datetime
from pathlib import Path
from typing import Any

import pytest
from live_stepping import RUN, SOURCES, stepped

from agents.core.conversation import ManagerOptions
from scenarios.loader import load
from scenarios.scenario import Scenario
from scenarios.stage_local import LocalStage
from schema.rows import ScenarioRunRow
from schema.rows.system import RunKind
from storage.memory import MemoryStore

MINI = str(Path(__file__).parent / "mini")
SEED = 0
FED = (
    "grid_zones",
    "compute_windows",
    "offers",
    "beckn_transactions",
    "grid_snapshots",
    "carbon_intensity_national",
    "carbon_intensity_regional",
    "generation_mix_national",
    "generation_mix_regional",
    "demand_forecast_national",
    "demand_actual_national",
    "demand_regional",
    "wholesale_prices",
    "flexibility_prices",
    "api_logs",
)
#: What says which process asked whom and how long it took; everything else must be the same.
OF_THE_PROCESS = {"id", "incarnation", "sequence", "url", "duration_ms", "response_bytes"}


def moments(scenario: Scenario) -> Iterator[datetime]:
    for tick in range(scenario.ticks):
        yield scenario.start + tick * scenario.tick


def tables_of(store: MemoryStore) -> dict[str, list[dict[str, Any]]]:
    return {
        table: sorted(
            (
                {name: value for name, value in row.items() if name not in OF_THE_PROCESS}
                for row in store.tables[table].values()
            ),
            key=repr,
        )
        for table in FED
    }


def replayed(name: str, folder: Path) -> MemoryStore:
    """Poll through the transport, tick after tick."""
    scenario, store = load(name, SEED), MemoryStore()
    options = ManagerOptions(seed=SEED)
    stage = LocalStage(scenario, name, RUN, options, store=store, folder=folder)
    try:
        stage.open(ScenarioRunRow(kind=RunKind.REPLAY))
        for now in moments(scenario):
            stage.poll(now)
        stage.drain(60)
    finally:
        stage.close()
    return store


async def lived(name: str, folder: Path) -> MemoryStore:
    """Poll over sockets, tick after tick."""
    scenario = load(name, SEED)
    interval_s = scenario.tick.total_seconds()
    async with stepped(scenario, scenario.start, folder, interval_s=interval_s, seed=SEED) as live:
        for now in moments(scenario):
            await live.iterate(now)
            problems = [track.problem for track in live.pipeline.tracks.values()]
            assert problems == [None] * len(SOURCES)
    return live.store


@pytest.mark.parametrize(
    "name",
    [
        pytest.param(MINI, id="six hours"),
        pytest.param("clock-change-autumn", id="a day of 50 periods", marks=pytest.mark.long),
    ],
)
async def test_wall_clock_over_sockets_and_replay_store_the_same_rows(
    name: str, tmp_path: Path
) -> None:
    live = tables_of(await lived(name, tmp_path / "live"))
    replay = tables_of(await asyncio.to_thread(replayed, name, tmp_path / "replay"))
    for table in FED:
        assert len(replay[table]) > 0, table
        assert live[table] == replay[table], table
