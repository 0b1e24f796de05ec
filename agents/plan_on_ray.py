"""A plan negotiated by several processes: shard actors of one organisation on Ray."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from pathlib import Path
from uuid import uuid4

from agents.core.market.outcome import Outcome
from agents.plan import Job, hold
from agents.ray_env import NAMESPACE
from agents.shards_on_ray import FleetProcesses, Shard
from agents.supervisor import Cluster


def hold_on_ray(
    job: Job,
    shards: int,
    *,
    seed: int,
    temp_parent: Path,
    address: str | None = None,
    say: Callable[[str], None],
    on_phase: Callable[[str], None] | None = None,
) -> tuple[Outcome, float]:
    """Start or join Ray, start the shards, negotiate, and end what was started, whatever happens.

    Args:
        job: What to negotiate.
        shards: 2, 4 or 8 processes.
        seed: Of the negotiation.
        temp_parent: From ``agents.ray_env.prepare``.
        address: Of a running cluster; None starts one here.
        say: Told which process holds how many workloads, and of each new beginning.
        on_phase: Told the name of each phase.

    Returns:
        The outcome, and the seconds that the negotiation alone took.
    """

    def again() -> None:
        say("a shard did not answer: loading it again, and negotiating anew")

    # Plans may share a cluster, and their shards have the same names.
    namespace = f"{NAMESPACE}-plan-{uuid4().hex[:12]}"
    cluster = Cluster(address=address, temp_parent=temp_parent, namespace=namespace)
    try:
        cluster.start()
        processes = FleetProcesses(cluster, [job.fleet], shards)
        say(_who_holds(processes.load()))
        begun = time.perf_counter()
        outcome = processes.hold(
            lambda contractors: hold(job, contractors, seed=seed, on_phase=on_phase),
            on_again=again,
        )
        return outcome, time.perf_counter() - begun
    finally:
        cluster.stop()


def _who_holds(shards: Sequence[Shard]) -> str:
    """Say which process of which node holds how many workloads."""
    nodes = sorted({shard.node for shard in shards})
    held = "; ".join(
        f"node {node[:8]}: "
        + ", ".join(f"{shard.workloads} in {shard.pid}" for shard in shards if shard.node == node)
        for node in nodes
    )
    count = "1 node" if len(nodes) == 1 else f"{len(nodes)} nodes"
    return f"{len(shards)} shard processes on {count}; workloads by process: {held}"
