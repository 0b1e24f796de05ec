"""A plan negotiated by several processes: shard actors of one organisation on a local Ray."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path

from agents.core.market.outcome import Outcome
from agents.plan import Job, hold
from agents.shards_on_ray import FleetProcesses
from agents.supervisor import Cluster


def hold_on_ray(
    job: Job,
    shards: int,
    *,
    seed: int,
    temp_parent: Path,
    say: Callable[[str], None],
    on_phase: Callable[[str], None] | None = None,
) -> tuple[Outcome, float]:
    """Start Ray and the shards, negotiate, and stop all of it, whatever happens.

    Args:
        job: What to negotiate.
        shards: 2, 4 or 8 processes.
        seed: Of the negotiation.
        temp_parent: From ``agents.ray_env.prepare``.
        say: Told which process holds how many workloads.
        on_phase: Told the name of each phase.

    Returns:
        The outcome, and the seconds that the negotiation alone took.
    """

    def again() -> None:
        if on_phase is not None:
            on_phase("again, because a shard did not answer")

    cluster = Cluster(address=None, temp_parent=temp_parent)
    try:
        cluster.start()
        processes = FleetProcesses(cluster, [job.fleet], shards)
        held = ", ".join(f"{shard.workloads} in {shard.pid}" for shard in processes.load())
        say(f"{shards} shard processes; workloads by process: {held}")
        begun = time.perf_counter()
        outcome = processes.hold(
            lambda contractors: hold(job, contractors, seed=seed, on_phase=on_phase),
            on_again=again,
        )
        return outcome, time.perf_counter() - begun
    finally:
        cluster.stop()
