"""A whole day of a replay without Supabase, then all of it through the API into PostgreSQL.

The day goes by on the run's clock; the backlog, its way into the database and the time that it
takes are real.
"""

from __future__ import annotations

import re
import shutil
import threading
import time
from collections.abc import Mapping
from contextlib import closing
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path

import psycopg
import pytest
from embedded_fixtures import EmbeddedServer
from psycopg import sql
from rich.console import Console

from agents.core.conversation import ManagerOptions
from scenarios.loader import find, load
from scenarios.progress import Progress
from scenarios.replay import Replay
from scenarios.stage_local import LocalStage
from schema.rows import TABLES
from storage.memory import MemoryStore
from storage.ports import Store
from storage.supabase_store import SupabaseStore

pytestmark = [pytest.mark.embedded, pytest.mark.long, pytest.mark.timeout(900)]

RUN = "55555555-5555-4555-8555-555555555555"
#: A day and a little: the database must be there for a replay to end.
HOURS, FROM_H, TO_H = 26, 0.5, 24.5
OUTAGE = f'\n[[database_faults]]\nkind = "refuse"\nfrom_h = {FROM_H}\nto_h = {TO_H}\n'
DRAINED_WITHIN_S = 600.0
MOST_GROWTH_MIB = 20.0
LOOK_S = 0.2


class WatchedStage(LocalStage):
    """Watches the backlog go as soon as the outage has ended."""

    backlog_then = 0
    drained_s = 0.0
    growth_mib = 0.0
    _over = False

    def set_clock(self, now: datetime) -> None:
        if self._over or now < self._scenario.start + timedelta(hours=TO_H):
            super().set_clock(now)
            return
        self._over = True
        self.backlog_then = self.backlog()
        before, most, ended = _private_mib(), [0.0], threading.Event()

        def look() -> None:
            while not ended.wait(LOOK_S):
                most.append(_private_mib())

        watcher = threading.Thread(target=look)
        watcher.start()
        began = time.monotonic()
        super().set_clock(now)
        try:
            self.flush(DRAINED_WITHIN_S)
        finally:
            ended.set()
            watcher.join()
        self.drained_s = time.monotonic() - began
        self.growth_mib = max(most) - before


@dataclass(frozen=True)
class Day:
    backlog: int
    drained_s: float
    growth_mib: float
    dead: int
    digest: str


def lived(path: Path, store: Store, folder: Path) -> Day:
    scenario = load(path)
    stage = WatchedStage(
        scenario,
        str(path),
        RUN,
        ManagerOptions(seed=scenario.seed),
        store=store,
        folder=folder,
    )
    progress = Progress(Console(stderr=True), quiet=True)
    try:
        outcome = Replay(scenario, RUN, stage, progress, supabase={"mode": "", "url": ""}).run()
        dead = int(stage._wait(stage._client.status())["dead"])  # type: ignore[arg-type]
    finally:
        stage.close()
    return Day(stage.backlog_then, stage.drained_s, stage.growth_mib, dead, outcome.digest)


@pytest.fixture(scope="module")
def calm_store() -> MemoryStore:
    return MemoryStore()


@pytest.fixture(scope="module")
def calm(tmp_path_factory: pytest.TempPathFactory, calm_store: MemoryStore) -> Day:
    """Give the same day with Supabase there all the time."""
    folder = tmp_path_factory.mktemp("calm")
    return lived(_a_day_long(folder, ""), calm_store, folder / "spool")


@pytest.fixture(scope="module")
def away(supabase_server: EmbeddedServer, tmp_path_factory: pytest.TempPathFactory) -> Day:
    folder = tmp_path_factory.mktemp("away")
    endpoint = supabase_server.endpoint
    store = SupabaseStore(endpoint.url, endpoint.secret_key)
    return lived(_a_day_long(folder, OUTAGE), store, folder / "spool")


def test_a_days_backlog_is_drained_in_time(
    away: Day, calm: Day, capsys: pytest.CaptureFixture[str]
) -> None:
    with capsys.disabled():
        print(f"\n24 h away on the run's clock: {away.backlog:,} rows waited, drained through the")
        print(f"API in {away.drained_s:.1f} s, memory at most {away.growth_mib:+.1f} MiB meanwhile")
    assert away.backlog > 20_000
    assert away.drained_s <= DRAINED_WITHIN_S
    assert away.growth_mib <= MOST_GROWTH_MIB
    assert away.dead == 0
    assert away.digest == calm.digest


def test_the_same_rows_arrive_as_on_a_calm_day(
    away: Day, calm: Day, calm_store: MemoryStore, supabase_server: EmbeddedServer
) -> None:
    wanted = {table: {row["id"] for row in calm_store.tables[table].values()} for table in TABLES}
    assert _ids(supabase_server, "uk_regions") >= wanted.pop("uk_regions", set())
    found = {table: _ids(supabase_server, table) for table in wanted}
    assert {table: len(ids ^ wanted[table]) for table, ids in found.items()} == dict.fromkeys(
        wanted, 0
    )


def test_no_row_came_before_the_one_it_names(supabase_server: EmbeddedServer, away: Day) -> None:
    log = supabase_server.layout.postgres_log.read_text(errors="replace")
    assert "violates foreign key constraint" not in log


def _ids(server: EmbeddedServer, table: str) -> set[str]:
    key = {"scenario_runs": "id", "uk_regions": None}.get(table, "run_id")
    query = sql.SQL("select id from public.{}").format(sql.Identifier(table))
    parameters: Mapping[str, str] = {}
    if key is not None:
        query = sql.SQL("{} where {} = %(run)s").format(query, sql.Identifier(key))
        parameters = {"run": RUN}
    with closing(psycopg.connect(str(server.endpoint.database_url))) as connection:
        return {str(row_id) for (row_id,) in connection.execute(query, parameters)}


def _a_day_long(folder: Path, more: str) -> Path:
    """Copy windy-night, a little longer, with more lines at its end."""
    shutil.copytree(find("windy-night"), folder / "windy-night")
    file = folder / "windy-night" / "scenario.toml"
    text = file.read_text(encoding="utf-8")
    text, changed = re.subn(r"(?m)^duration_h = .*$", f"duration_h = {HOURS}", text)
    assert changed == 1
    file.write_text(text + more, encoding="utf-8")
    return file.parent


def _private_mib() -> float:
    lines = Path("/proc/self/smaps_rollup").read_text().splitlines()
    return sum(int(line.split()[1]) for line in lines if line.startswith("Private_")) / 1024
