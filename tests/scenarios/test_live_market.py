"""Submitted workloads are placed by a live run, in the database's rows, also across a restart."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

from live_stepping import RUN, stepped
from upstream_fixtures import scenario_once

from agents.core.audit import audit
from agents.organisation import Source
from scenarios.live.sites import organisation_sources
from schema.rows import ComputeWorkloadRow
from schema.rows.compute import WorkloadStatus
from storage.memory import MemoryStore

SCENARIO = "windy-night"
START = scenario_once(SCENARIO).start + timedelta(minutes=72)
MINUTE = timedelta(minutes=1)
SITES = """
[[organisations]]
name = "north"
sites = [
    { name = "inverness", region_id = 1, capacity_kw = 100 },
    { name = "exeter", region_id = 11, capacity_kw = 100 },
]
"""
AUDITED = (
    "agent_negotiations",
    "compute_workloads",
    "workload_schedules",
    "compute_windows",
    "compute_assets",
)


def organisations(folder: Path) -> Mapping[str, Source]:
    path = folder / "sites.toml"
    path.write_text(SITES)
    return organisation_sources(path)


async def submit(store: MemoryStore, name: str, now: datetime, **columns: Any) -> None:
    """Insert a row as its owner would."""
    row = ComputeWorkloadRow(
        agent_name="north",
        workload_name=name,
        power_kw=10.0,
        duration_min=120,
        earliest_start=now,
        deadline=now + timedelta(hours=12),
        allowed_regions=[1, 11],
        status=WorkloadStatus.SUBMITTED,
        **columns,
    )
    await store.ingest({"compute_workloads": [row.to_record(RUN, version=0).body]})


def tables_of(store: MemoryStore) -> dict[str, list[dict[str, Any]]]:
    return {name: list(rows.values()) for name, rows in store.tables.items()}


def status_of(store: MemoryStore) -> dict[str, str]:
    return {row["workload_name"]: row["status"] for row in tables_of(store)["compute_workloads"]}


async def test_submitted_work_is_placed_at_the_next_tick_and_the_log_explains_it(
    tmp_path: Path,
) -> None:
    scenario = scenario_once(SCENARIO)
    async with stepped(
        scenario, START, tmp_path, interval_s=1800, organisations=organisations(tmp_path)
    ) as live:
        await live.iterate(START)
        assert live.pipeline.report is not None
        assert (live.pipeline.report.registered, len(live.pipeline.conversations)) == (0, 0)

        await live.stage.drain(60)
        await submit(live.store, "train", START)
        await live.iterate(START + 5 * MINUTE)
        assert live.pipeline.report.awarded == 1
        assert len(live.pipeline.conversations) == 1
        await live.stage.drain(60)
        tables = tables_of(live.store)
    assert status_of(live.store) == {"train": "awarded"}
    schedule = tables["workload_schedules"]
    assert sum(row["energy_kwh"] for row in schedule) == 20.0
    # Inverness runs on wind: nobody who cares for carbon would take Exeter.
    assert {row["region_id"] for row in schedule} == {1}
    report = audit(*(tables[name] for name in AUDITED))
    assert report.violations == ()
    assert report.awarded == 1


async def test_a_second_start_holds_what_the_first_placed_and_takes_more(tmp_path: Path) -> None:
    scenario, store = scenario_once(SCENARIO), MemoryStore()
    sites = organisations(tmp_path)
    async with stepped(
        scenario, START, tmp_path, interval_s=1800, organisations=sites, store=store
    ) as live:
        await live.iterate(START)
        await live.stage.drain(60)
        await submit(store, "first", START)
        await live.iterate(START + MINUTE)
    later = START + 10 * MINUTE
    async with stepped(
        scenario, later, tmp_path, interval_s=1800, organisations=sites, store=store
    ) as live:
        await submit(store, "second", later)
        await live.iterate(later)
        report = live.pipeline.report
        assert report is not None
        assert (report.registered, report.awarded) == (2, 2)
    tables = tables_of(store)
    assert status_of(store) == {"first": "awarded", "second": "awarded"}
    assert audit(*(tables[name] for name in AUDITED)).violations == ()
    names = {row["agent_name"]: row["kind"] for row in tables["agents"]}
    assert (names["north"], names["orchestrator"]) == ("compute", "orchestrator")
