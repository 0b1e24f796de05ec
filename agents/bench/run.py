"""The measurements of one `bench negotiate`: every case, by every number of shards."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from agents.bench.case import Case
from agents.bench.measure import (
    Holder,
    Measured,
    Talk,
    Timed,
    figures,
    timed,
)
from agents.bench.memory import forget_peaks, peak_mib
from agents.bench.referee import Verdict, judge
from agents.bench.rivals import Rival, Standing, stand
from agents.core.market.contractors import InProcessContractors, make_books
from agents.core.market.negotiate import Options
from agents.core.market.outcome import Outcome
from agents.core.warm import compile_kernels

if TYPE_CHECKING:
    from agents.shards_on_ray import FleetProcesses
    from agents.supervisor import Cluster

#: Up to so many workloads the exact solver also looks for a schedule.
WHOLE_UP_TO = 300

Say = Callable[[str], None]


@dataclass(slots=True)
class Found:
    """All that was measured."""

    measured: list[Measured] = field(default_factory=list)
    rivals: list[Standing] = field(default_factory=list)
    verdicts: list[Verdict] = field(default_factory=list)
    compile_s: float = 0.0
    load_average: float = 0.0
    """Mean over the cases of the processes that wanted a core, this one's included."""


@dataclass(frozen=True, slots=True)
class Plan:
    """What to measure.

    Attributes:
        shards: Numbers of shard processes; empty negotiates in this process alone.
        runs: Of each case; times are their medians.
        rivals: Whom to compare with.
        folder: For Ray's temporary files; None in this process.
    """

    shards: tuple[int, ...]
    runs: int
    options: Options
    rivals: tuple[Rival, ...]
    folder: Path | None


def measure_all(cases: Iterable[Case], plan: Plan, say: Say) -> Found:
    """Measure every case."""
    found, loads = Found(), []
    begun = time.perf_counter()
    compile_kernels()
    found.compile_s = time.perf_counter() - begun
    with _cluster(plan) as cluster:
        for case in cases:
            name = f"{case.workloads:,} workloads, {case.trace}, seed {case.seed}"
            for shards in plan.shards or (1,):
                say(f"{name}: negotiating, {shards} shards, {plan.runs} runs")
                found.measured.append(
                    _here(case, plan, shards)
                    if cluster is None
                    else _on_ray(case, plan, shards, cluster, found)
                )
            loads.append(os.getloadavg()[0])
            for rival in plan.rivals:
                say(f"{name}: {rival}")
                if rival is Rival.HIGHS:
                    found.verdicts.append(judge(case, whole=case.workloads <= WHOLE_UP_TO))
                else:
                    found.rivals.append(stand(rival, case))
    found.load_average = sum(loads) / max(len(loads), 1)
    return found


def _repeat(case: Case, plan: Plan, hold: Holder) -> tuple[Outcome, list[Timed]]:
    # One outcome at a time is held: two of a million workloads would count as memory needed.
    runs = [timed(case, hold, plan.options)[1] for _ in range(plan.runs - 1)]
    outcome, last = timed(case, hold, plan.options)
    return outcome, [*runs, last]


def _here(case: Case, plan: Plan, shards: int) -> Measured:
    begun = time.perf_counter()
    books = make_books(case.fleets, shards)
    load_s = time.perf_counter() - begun

    def hold(talk: Talk) -> Outcome:
        return talk(InProcessContractors(books))

    forget_peaks([os.getpid()])
    outcome, runs = _repeat(case, plan, hold)
    peak = peak_mib([os.getpid()])
    return figures(case, outcome, runs, shards=shards, load_s=load_s, peak_mib=peak)


def _on_ray(case: Case, plan: Plan, shards: int, cluster: Cluster, found: Found) -> Measured:
    from agents.shards_on_ray import FleetProcesses

    processes = FleetProcesses(cluster, case.fleets, shards)
    try:
        found.compile_s = max(found.compile_s, processes.warm())
        begun = time.perf_counter()
        held = processes.load()
        load_s = time.perf_counter() - begun
        pids = [os.getpid(), *(shard.pid for shard in held)]
        forget_peaks(pids)
        outcome, runs = _repeat(case, plan, _holder(processes))
        return figures(
            case,
            outcome,
            runs,
            shards=shards,
            load_s=load_s,
            peak_mib=peak_mib(pids),
        )
    finally:
        processes.end()


def _holder(processes: FleetProcesses) -> Holder:
    def hold(talk: Talk) -> Outcome:
        return processes.hold(talk)

    return hold


@contextmanager
def _cluster(plan: Plan) -> Iterator[Cluster | None]:
    if plan.folder is None:
        yield None
        return
    from agents.supervisor import Cluster

    cluster = Cluster(address=None, temp_parent=plan.folder)
    try:
        cluster.start()
        yield cluster
    finally:
        cluster.stop()


def warn_if_busy(found: Found, say: Say) -> None:
    """Say that other work shared the cores: times are then too long."""
    cores = os.cpu_count() or 1
    if found.load_average > cores + 1:
        say(
            f"the load average was {found.load_average:.1f} on {cores} cores: others were at work "
            "too, so the times are longer than on a quiet machine"
        )
