"""Replaying a scenario several times, in this process or on Ray, and timing it."""

from __future__ import annotations

import asyncio
import shutil
import tempfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from statistics import median
from uuid import uuid4

from rich.console import Console

from agents.core.conversation import ManagerOptions
from scenarios.bench.timed_stage import Phase, TimedStage
from scenarios.progress import Progress
from scenarios.replay import Replay
from scenarios.scenario import Scenario
from scenarios.stage import Stage
from scenarios.stage_local import LocalStage
from schema.errors import InvariantViolated
from schema.settings import Settings
from schema.units import KG_PER_TONNE
from storage.embedded.endpoint import SupabaseEndpoint
from storage.memory import MemoryStore
from storage.ports import equal
from storage.supabase_store import SupabaseStore

#: What a replay waits for once a day of its own, in the order of the answer.
DAILY = (Phase.POLLS, Phase.DECIDE, Phase.STORE, Phase.DRAIN)
_DAY = timedelta(days=1)

Staging = Callable[[str], AbstractContextManager[Stage]]
"""Makes the stage of a run, and clears it away."""
Say = Callable[[str], None]


@dataclass(frozen=True, slots=True)
class TimedReplay:
    """One replay.

    Attributes:
        wall_s: From the first actor's start to the last row's arrival.
        seconds: Of it, by phase.
    """

    wall_s: float
    seconds: dict[Phase, float]
    digest: str
    messages: int
    workloads: int


@dataclass(frozen=True, slots=True)
class ReplayFigures:
    """Medians of the replays; names and order are those of the JSON document.

    Attributes:
        days: Simulated ones.
        open_s: Starting the actors, once a run and in no other figure.
        wall_s_per_day: Of the rest of the run.
        phases_s_per_day: Parts of it.
    """

    where: str
    runs: int
    days: float
    ticks: int
    workloads: int
    messages: int
    open_s: float
    wall_s_per_day: float
    phases_s_per_day: dict[str, float]
    digest: str


def replay_often(
    scenario: Scenario, staging: Staging, *, where: str, repeat: int, say: Say
) -> ReplayFigures:
    """Replay some times and give the medians.

    Raises:
        InvariantViolated: Two replays came out differently.
    """
    runs = []
    for number in range(1, repeat + 1):
        say(f"{scenario.name} {where}: replay {number} of {repeat}")
        runs.append(_replayed(scenario, staging))
    return figures(scenario, runs, where=where)


def figures(scenario: Scenario, runs: Sequence[TimedReplay], *, where: str) -> ReplayFigures:
    """Give the medians of replays that must have come out alike.

    Raises:
        InvariantViolated: They did not.
    """
    digests = {run.digest for run in runs}
    if len(digests) > 1:
        msg = f"the same replay gave different digests: {', '.join(sorted(digests))}"
        raise InvariantViolated(msg)
    days = scenario.ticks * scenario.tick / _DAY
    return ReplayFigures(
        where=where,
        runs=len(runs),
        days=days,
        ticks=scenario.ticks,
        workloads=runs[0].workloads,
        messages=runs[0].messages,
        open_s=median(run.seconds[Phase.OPEN] for run in runs),
        wall_s_per_day=median((run.wall_s - run.seconds[Phase.OPEN]) / days for run in runs),
        phases_s_per_day={
            phase.value: median(run.seconds[phase] / days for run in runs) for phase in DAILY
        },
        digest=runs[0].digest,
    )


def _replayed(scenario: Scenario, staging: Staging) -> TimedReplay:
    run_id = str(uuid4())
    with staging(run_id) as stage:
        timed = TimedStage(stage)
        progress = Progress(Console(stderr=True), quiet=True)
        outcome = Replay(scenario, run_id, timed, progress, supabase={}).run()
    return TimedReplay(
        outcome.wall_s,
        timed.seconds,
        outcome.digest,
        outcome.negotiation.messages,
        outcome.workloads.registered,
    )


def in_process(scenario: Scenario, path: str, settings: Settings, home: Path) -> Staging:
    """Have every actor in this process; rows go through a spool into a store in memory."""

    @contextmanager
    def staging(run_id: str) -> Iterator[Stage]:
        with _spool(home) as folder:
            stage = LocalStage(
                scenario,
                path,
                run_id,
                _options(scenario, settings),
                store=MemoryStore(),
                folder=folder,
                settings=settings,
            )
            try:
                yield stage
            finally:
                stage.close()

    return staging


def on_ray(
    scenario: Scenario,
    path: str,
    settings: Settings,
    home: Path,
    *,
    endpoint: SupabaseEndpoint,
    temp_parent: Path,
) -> Staging:
    """Have every actor on a Ray cluster of its own; rows go into Supabase, and out again."""
    from agents.supervisor import Cluster
    from scenarios.stage_ray import RayStage

    @contextmanager
    def staging(run_id: str) -> Iterator[Stage]:
        with _spool(home) as folder:
            stage = RayStage(
                scenario,
                path,
                run_id,
                _options(scenario, settings),
                cluster=Cluster(address=None, temp_parent=temp_parent),
                state_file=endpoint.state_file,
                spool=folder,
                settings=settings,
            )
            try:
                yield stage
            finally:
                stage.close()
                asyncio.run(_forget(endpoint, run_id))

    return staging


async def _forget(endpoint: SupabaseEndpoint, run_id: str) -> None:
    store = SupabaseStore(endpoint.url, endpoint.secret_key)
    try:
        await store.delete_runs([equal("run_id", run_id)])
    finally:
        await store.close()


@contextmanager
def _spool(home: Path) -> Iterator[Path]:
    """Give the folder of a spool that nobody else uses, on the disk that others use."""
    folder = Path(tempfile.mkdtemp(prefix=".bench-", dir=home))
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _options(scenario: Scenario, settings: Settings) -> ManagerOptions:
    value = settings.carbon_value_gbp_per_tonne / KG_PER_TONNE
    return ManagerOptions(seed=scenario.seed, carbon_value_gbp_per_kg=value)
