"""A day of many seeds, twice each, while storage is killed at random: the same comes of it.

Six ticks of four hours, two organisations with 24 workloads, intensities, prices and windows.
Storage dies where and when the seed says, each run at other moments, and is opened anew from its
files. ``GRIDPACT_SEEDS`` says how many seeds, ``GRIDPACT_FIRST_SEED`` which come first. By hand:

    GRIDPACT_SEEDS=1000 .venv/bin/python -m pytest -m chaos tests/scenarios/test_days_with_kills.py
"""

from __future__ import annotations

import logging
import os
import re
import shutil
import tempfile
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, replace
from datetime import timedelta
from functools import lru_cache
from pathlib import Path
from typing import Any

import httpx
import pytest
from chaos_table import Tally
from mortal_storage import Kills, MortalStorage
from rich.console import Console

from agents.core.audit import audit
from agents.core.conversation import ManagerOptions
from agents.storing import BlockingStorage
from fetchers.factory import make_fetcher
from fetchers.fetcher import Fetcher
from fetchers.parsing import EndpointParser, ParseContext
from scenarios.cast import base_url
from scenarios.loader import load
from scenarios.progress import Progress
from scenarios.replay import Replay
from scenarios.scenario import Scenario
from scenarios.stage_local import LocalStage
from scenarios.transport import ReplayTransport
from schema.clock import VirtualClock
from schema.readings import Parsed
from schema.readings import Source as DataSource
from schema.rows import ScenarioRunRow
from storage.client import StorageClient
from storage.memory import MemoryStore

# Read before a test's environment is cleaned.
SEEDS = int(os.environ.get("GRIDPACT_SEEDS", "0"))
FIRST_SEED = int(os.environ.get("GRIDPACT_FIRST_SEED", "1"))

#: A seed takes some seconds, so there are fewer of them unless told.
SHARE = 50
SHM = Path("/dev/shm")
MINI = Path(__file__).parent / "mini"
RUN = "44444444-4444-4444-8444-444444444444"
#: What is asked: what the market decides on.
FEEDS = {
    DataSource.CARBON_INTENSITY: {"intensity-fw48h", "intensity-pt24h", "regional-fw48h"},
    DataSource.ELEXON: {"market-index"},
    DataSource.BECKN: {"on-discover", "on-status"},
}
#: Kept of it: what the market looks at, so that a day has thousands of rows, not tens of thousands.
KEPT = {"carbon_intensity_national", "carbon_intensity_regional", "wholesale_prices"}
AHEAD = timedelta(hours=28)
#: So many days' weather; reading what it gives costs more than all the rest, so it is read once.
SKIES = 10
AUDITED = (
    "agent_negotiations",
    "compute_workloads",
    "workload_schedules",
    "compute_windows",
    "compute_assets",
)

pytestmark = [
    pytest.mark.chaos,
    pytest.mark.xdist_group("days-with-kills"),
    pytest.mark.long,
    pytest.mark.timeout(max(900, SEEDS * 20)),
]


@dataclass(frozen=True)
class Day:
    digest: str
    tables: dict[str, dict[str, Any]]
    acknowledged: set[str]
    hits: Counter[str]
    dead: int
    depth: int
    messages: int


@pytest.fixture(autouse=True)
def _unlogged() -> Iterator[None]:
    """Keep no records: a death's traceback holds everything that died, and there are thousands."""
    logging.disable(logging.CRITICAL)
    yield
    logging.disable(logging.NOTSET)


class RememberedTransport(ReplayTransport):
    """Answers each request of a moment once, for all seeds under the same sky."""

    def __init__(self, path: str, sky: int, source: DataSource, clock: VirtualClock) -> None:
        super().__init__(_scenario(path, sky), source, clock)
        self._sky = sky

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        key = (self._sky, str(request.url), self._clock.now())
        if self._source is DataSource.BECKN:
            return await super().handle_async_request(request)
        if key not in _ANSWERS:
            _ANSWERS[key] = await super().handle_async_request(request)
        held = _ANSWERS[key]
        return httpx.Response(
            held.status_code, headers=held.headers, content=held.content, request=request
        )


_ANSWERS: dict[tuple[Any, ...], httpx.Response] = {}
_PARSED: dict[tuple[Any, ...], Parsed] = {}


def remembered(name: str, parser: EndpointParser) -> EndpointParser:
    """Give a parser that reads the same bytes once, and keeps what the market looks at."""

    def parse(body: bytes, context: ParseContext) -> Parsed:
        key = (name, body, context)
        if key not in _PARSED:
            assert context.now is not None
            parsed = parser.parse(body, context)
            until = context.now + AHEAD
            rows = [r for r in parsed.rows if r.TABLE in KEPT and r.valid_from < until]
            _PARSED[key] = replace(parsed, rows=tuple(rows))
        return _PARSED[key]

    return replace(parser, parse=parse)


@lru_cache(maxsize=2 * SKIES)
def _scenario(path: str, seed: int) -> Scenario:
    return load(path, seed)


@pytest.fixture(scope="module")
def day(tmp_path_factory: pytest.TempPathFactory) -> str:
    """Make the scenario of a day out of the small one of a quarter of it; gives its path."""
    folder = tmp_path_factory.mktemp("scenarios") / "day"
    shutil.copytree(MINI, folder)
    text = (folder / "scenario.toml").read_text(encoding="utf-8")
    for name, value in {
        "name": '"day"',
        "duration_h": "24",
        "tick_min": "240",
        "count": "24",
        "arrival_ticks": "[1, 2, 4]",
    }.items():
        text, changed = re.subn(rf"(?m)^{name} = .*$", f"{name} = {value}", text, count=1)
        assert changed == 1, name
    (folder / "scenario.toml").write_text(text, encoding="utf-8")
    return str(folder)


class KillableStage(LocalStage):
    """A stage in this process whose storage may die."""

    def __init__(
        self, path: str, seed: int, store: MemoryStore, folder: Path, kills: Kills
    ) -> None:
        scenario = load(path, seed)
        super().__init__(scenario, path, RUN, ManagerOptions(seed=seed), store=store, folder=folder)
        self._service._loop.stop(0)  # takes another's place
        self.mortal = MortalStorage(folder, store, kills)
        # The time that storage is away costs nothing here.
        clock = VirtualClock(scenario.start)
        self._service = self.mortal  # type: ignore[assignment]
        self._client = StorageClient(self.mortal, clock=clock, pause=lambda _: None)
        self._storage = BlockingStorage(self._client, RUN)

    def open(self, run: ScenarioRunRow) -> None:
        super().open(run)
        self._fetchers = {source.value: self._fetchers[source.value] for source in FEEDS}

    def _fetcher(self, source: DataSource) -> Fetcher:
        clock = VirtualClock(self._scenario.start)
        fetcher = make_fetcher(
            source.value,
            base_url=base_url(self._settings, source),
            run_id=RUN,
            clock=clock,
            storage=self._client,
            seed=self._scenario.seed,
            transport=RememberedTransport(self._path, self._scenario.seed % SKIES, source, clock),
            interval_s=self._scenario.tick.total_seconds(),
        )
        plan = fetcher.plan
        plan.feeds = tuple(feed for feed in plan.feeds if feed.name in FEEDS.get(source, ()))
        if source is not DataSource.BECKN:
            plan.parsers = {name: remembered(name, held) for name, held in plan.parsers.items()}
        return fetcher


def lived(path: str, seed: int, kills: Kills) -> Day:
    """Live through the day of a seed."""
    # In memory where the machine has such a folder: its syncs cost nothing, and no power is cut.
    parent = SHM if SHM.is_dir() else None
    store = MemoryStore(crash_point=kills)
    with tempfile.TemporaryDirectory(dir=parent, prefix="gridpact-day-") as folder:
        stage = KillableStage(path, seed, store, Path(folder) / "spool", kills)
        progress = Progress(Console(stderr=True), quiet=True)
        try:
            outcome = Replay(
                stage._scenario, RUN, stage, progress, supabase={"mode": "memory", "url": ""}
            ).run()
            kills.spare()
            status = stage._wait(stage.mortal.status())
        finally:
            stage.close()
    return Day(
        digest=outcome.digest,
        tables={name: dict(rows) for name, rows in store.tables.items()},
        acknowledged=stage.mortal.acknowledged,
        hits=kills.hits,
        dead=int(status["dead"]),
        depth=int(status["depth"]),
        messages=outcome.negotiation.messages,
    )


def faults_of(seed: int, once: Day, again: Day) -> list[str]:
    """Name what differs between two days of a seed, and what either of them lost."""
    faults = []
    if once.digest != again.digest:
        faults.append(f"seed {seed}: {once.digest[:12]} and {again.digest[:12]}")
    # The run's own row tells how long it took, and how often it was written.
    tables = (once.tables.keys() | again.tables.keys()) - {"scenario_runs"}
    faults += [
        f"seed {seed}: {table} differs"
        for table in sorted(tables)
        if rows_of(once, table) != rows_of(again, table)
    ]
    for day in (once, again):
        stored = {row["id"] for rows in day.tables.values() for row in rows.values()}
        faults += [f"seed {seed}: lost {row_id}" for row_id in day.acknowledged - stored]
        if day.dead or day.depth:
            faults.append(f"seed {seed}: {day.dead} rows put aside, {day.depth} left")
        violations = audit(*(list(day.tables[name].values()) for name in AUDITED)).violations
        faults += [f"seed {seed}: {violation}" for violation in violations]
    return faults


def rows_of(day: Day, table: str) -> dict[str, Any]:
    found = {row["id"]: row for row in day.tables.get(table, {}).values()}
    assert len(found) == len(day.tables.get(table, {})), f"one id, two rows of {table}"
    return found


def test_a_day_is_the_same_however_often_storage_dies_in_it(
    day: str, trials: int, tally: Tally
) -> None:
    seeds = SEEDS or max(2, trials // SHARE)
    faults: list[str] = []
    digests: set[str] = set()
    hits: Counter[str] = Counter()
    rows = acknowledged = messages = 0
    for seed in range(FIRST_SEED, FIRST_SEED + seeds):
        once, again = lived(day, seed, Kills(2 * seed)), lived(day, seed, Kills(2 * seed + 1))
        faults += faults_of(seed, once, again)
        digests.add(once.digest)
        hits += once.hits + again.hits
        rows += sum(map(len, once.tables.values()))
        acknowledged += len(once.acknowledged) + len(again.acknowledged)
        messages += once.messages
    told = ", ".join(f"{point} {number:,}" for point, number in sorted(hits.items()))
    tally(
        "24: a day of a seed twice, storage killed at random, same outcome and rows",
        seeds,
        faults,
        note=f"{hits.total():,} kills ({told}); {acknowledged:,} rows acknowledged, {rows:,} rows "
        f"and {messages:,} messages compared",
    )
    assert hits.total() >= 4 * seeds
    assert len(digests) == seeds


def test_a_day_without_a_kill_is_the_same_too(day: str) -> None:
    calm, killed = lived(day, FIRST_SEED, Kills(None)), lived(day, FIRST_SEED, Kills(FIRST_SEED))
    assert calm.hits.total() == 0
    assert killed.hits.total() > 0
    assert faults_of(FIRST_SEED, calm, killed) == []


@pytest.mark.parametrize("what", ["a row changed", "a row gone", "put aside"])
def test_the_comparison_sees_a_planted_fault(day: str, what: str) -> None:
    one = lived(day, FIRST_SEED, Kills(None))
    other = replace(one, tables={name: dict(rows) for name, rows in one.tables.items()})
    table = other.tables["workload_schedules"]
    key, row = next(iter(table.items()))
    if what == "a row changed":
        table[key] = {**row, "energy_kwh": -1.0}
    elif what == "a row gone":
        del table[key]
    else:
        other = replace(other, dead=1)
    assert faults_of(FIRST_SEED, one, one) == []
    assert faults_of(FIRST_SEED, one, other)
