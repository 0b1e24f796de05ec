"""The four sources served by a process of their own, and what is in Supabase of the live run."""

from __future__ import annotations

import asyncio
import json
import re
from collections import Counter
from collections.abc import Iterator, Mapping
from contextlib import closing, contextmanager
from dataclasses import dataclass
from datetime import datetime, timedelta
from functools import cached_property
from pathlib import Path
from typing import Any

import psycopg
from process_kit import Launched
from psycopg import sql
from psycopg.rows import dict_row
from replay_world import World

from scenarios.live.run import live_run_id
from scenarios.loader import load
from scenarios.scenario import Scenario
from schema.rows import ComputeWorkloadRow
from schema.rows.compute import WorkloadStatus
from schema.settings import Settings
from storage.supabase_store import SupabaseStore
from storage.system_clock import SystemClock

SCENARIO = "windy-night"
_EXPORT = re.compile(r"^export (\w+)=(\S+)$", re.MULTILINE)
#: The natural keys of tables that the sources feed.
KEYS = {
    "grid_zones": "zone_code",
    "compute_windows": "bpp_id, item_id, starts_at",
    "offers": "bpp_id, offer_id, item_id, window_starts_at",
    "beckn_transactions": "transaction_id, message_id, action, direction",
    "grid_snapshots": "zone_code, observed_at, quality",
    "carbon_intensity_national": "valid_from, quality",
    "carbon_intensity_regional": "region_id, valid_from, quality",
    "generation_mix_national": "source, valid_from, fuel, quality",
    "generation_mix_regional": "source, region_id, valid_from, fuel, quality",
    "demand_forecast_national": "product, valid_from, quality",
    "demand_actual_national": "source, valid_from, quality",
    "demand_regional": "source, region_id, area, valid_from, quality",
    "wholesale_prices": "market, valid_from, quality",
    "flexibility_prices": "service, starts_at, ends_at, direction, quality",
    "api_logs": "incarnation, sequence",
}


@dataclass
class Upstream:
    """``scenarios serve`` as it runs."""

    launched: Launched
    log: Path
    speed: float = 1.0

    @cached_property
    def environment(self) -> Mapping[str, str]:
        """What it says to export."""
        last = "CLOCK_SPEED" if self.speed > 1 else "CLOCK_OFFSET"
        self.launched.until("addresses", lambda: last in self.launched.answered, 60)
        return dict(_EXPORT.findall(self.launched.answered))

    @property
    def now(self) -> datetime:
        """The moment that is served."""
        return SystemClock(float(self.clock["GRIDPACT_CLOCK_OFFSET_S"]), self.speed).now()

    @property
    def clock(self) -> dict[str, str]:
        """Give what it exports of its clock."""
        return {name: text for name, text in self.environment.items() if "_CLOCK_" in name}

    @property
    def run_id(self) -> str:
        """The live run of its clock."""
        offset_s = float(self.clock["GRIDPACT_CLOCK_OFFSET_S"])
        return live_run_id(
            Settings.model_construct(clock_offset_s=offset_s, clock_speed=self.speed)
        )

    @property
    def scenario(self) -> Scenario:
        return load(SCENARIO)

    def requests(self) -> list[dict[str, Any]]:
        """Give the access log: requests that came in, in order of arrival."""
        lines = (json.loads(line) for line in self.log.read_text().splitlines())
        return [line for line in lines if line["direction"] == "in"]


@contextmanager
def served(world: World, name: str, *options: str, speed: float = 1.0) -> Iterator[Upstream]:
    """Serve the scenario from 12 minutes past an hour on, until the end of the block."""
    if speed > 1:
        options += ("--clock", "virtual", "--speed", f"{speed:g}")
    log = world.folder / f"{name}.jsonl"
    world.folder.mkdir(parents=True, exist_ok=True)
    launched = world.launch(
        "scenarios", "serve", SCENARIO, "--from-h", "1.2", "--log", str(log), *options
    )
    try:
        yield Upstream(launched, log, speed)
        launched.interrupt()
        launched.wait(20)
    finally:
        launched.end()


def tables_of(world: World, run_id: str) -> dict[str, list[dict[str, Any]]]:
    """Give all rows of a run in the tables that the sources feed, read by SQL."""
    url = world.server.endpoint.database_url
    assert url is not None
    with closing(psycopg.connect(url, row_factory=dict_row)) as connection:
        return {table: _rows(connection, table, run_id) for table in (*KEYS, "agents")}


def _rows(connection: Any, table: str, run_id: str) -> list[dict[str, Any]]:
    query = sql.SQL("select * from public.{} where run_id = %s").format(sql.Identifier(table))
    rows = connection.execute(query, [run_id]).fetchall()
    return [{name: _plain(value) for name, value in row.items()} for row in rows]


def _plain(value: Any) -> Any:
    return float(value) if type(value).__name__ == "Decimal" else value


SITES = """
[[organisations]]
name = "north"
sites = [
    { name = "inverness", region_id = 1, capacity_kw = 100 },
    { name = "exeter", region_id = 11, capacity_kw = 100 },
]
"""


def submit(world: World, run_id: str, name: str, now: datetime) -> None:
    """Insert a workload of north as its owner would: 20 kWh within the next half day."""
    row = ComputeWorkloadRow(
        agent_name="north",
        workload_name=name,
        power_kw=10.0,
        duration_min=120,
        earliest_start=now,
        deadline=now + timedelta(hours=12),
        allowed_regions=[1, 11],
        status=WorkloadStatus.SUBMITTED,
    )

    async def insert() -> None:
        store = SupabaseStore(world.gate.url, world.server.endpoint.secret_key)
        try:
            await store.ingest({"compute_workloads": [row.to_record(run_id, version=0).body]})
        finally:
            await store.close()

    asyncio.run(insert())


def status_of(world: World, run_id: str, name: str) -> str | None:
    """Give how a workload stands in Supabase."""
    url = world.server.endpoint.database_url
    assert url is not None
    with closing(psycopg.connect(url)) as connection:
        found = connection.execute(
            "select status from public.compute_workloads where run_id = %s and workload_name = %s",
            [run_id, name],
        ).fetchone()
    return None if found is None else str(found[0])


def workloads_by_status(world: World, run_id: str) -> dict[str, int]:
    """Count a run's workloads by how they stand in Supabase."""
    url = world.server.endpoint.database_url
    assert url is not None
    with closing(psycopg.connect(url)) as connection:
        found = connection.execute(
            "select status, count(*) from public.compute_workloads where run_id = %s group by 1",
            [run_id],
        ).fetchall()
    return {str(status): int(number) for status, number in found}


def doubled(world: World, run_id: str) -> dict[str, int]:
    """Count, by SQL, natural keys that more than one row has."""
    url = world.server.endpoint.database_url
    assert url is not None
    found = {}
    with closing(psycopg.connect(url)) as connection:
        for table, key in KEYS.items():
            (count,) = connection.execute(
                f"select count(*) from (select 1 from public.{table} where run_id = %s"
                f" group by {key} having count(*) > 1) as twice",
                [run_id],
            ).fetchone() or (0,)
            if count:
                found[table] = count
    return found


def run_row(world: World, run_id: str) -> dict[str, Any]:
    """Give the run's own row."""
    url = world.server.endpoint.database_url
    assert url is not None
    with closing(psycopg.connect(url, row_factory=dict_row)) as connection:
        row = connection.execute(
            "select * from public.scenario_runs where id = %s", [run_id]
        ).fetchone()
    assert row is not None
    return row


def sent_by_source(logs: list[dict[str, Any]]) -> Counter[str]:
    """Count attempts that left: the breaker kept the others back, and a closed port took none."""
    return Counter(log["source"] for log in logs if log["outcome"] != "breaker_open")
