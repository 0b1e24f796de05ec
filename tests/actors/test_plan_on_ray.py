"""A plan by several processes: the same digest as in one, and a killed shard changes nothing."""

from __future__ import annotations

import os
import signal
from typing import TYPE_CHECKING

import numpy as np
import pytest
from plan_samples import WORKLOAD_HEADER, batch_of, grid_of

from agents.core.market.contractors import InProcessContractors, make_books
from agents.core.market.digest import digest_of
from agents.plan import Job, build_job, hold

if TYPE_CHECKING:
    from agents.supervisor import Cluster

SEED = 11


def job_of(count: int) -> Job:
    """Work for the small grid; a part of it must be refused."""
    draw = np.random.default_rng(3)
    rows = [
        f"w{number},{draw.integers(1, 9) / 10},{30 * draw.integers(1, 4)},2026-01-01T00:00Z,"
        f"2026-01-01T02:00Z,{draw.choice(['1', '13', '1;13'])},{draw.choice(['yes', 'no'])},,,"
        for number in range(count)
    ]
    grid = grid_of()
    return build_job(grid, batch_of("\n".join([WORKLOAD_HEADER, *rows]), grid))


@pytest.mark.ray
@pytest.mark.timeout(300)
@pytest.mark.parametrize("shards", [2, 4])
def test_shard_processes_give_the_digest_of_one_process(cluster: Cluster, shards: int) -> None:
    from agents.shards_on_ray import FleetProcesses

    job = job_of(60)
    alone = digest_of(hold(job, InProcessContractors(make_books([job.fleet])), seed=SEED))
    processes = FleetProcesses(cluster, [job.fleet], shards)
    try:
        held = processes.load()
        assert len({shard.pid for shard in held} | {os.getpid()}) == shards + 1
        assert min(shard.workloads for shard in held) > 0
        assert sum(shard.workloads for shard in held) == 60
        together = processes.hold(lambda contractors: hold(job, contractors, seed=SEED))
        assert digest_of(together) == alone
    finally:
        processes.end()


@pytest.mark.ray
@pytest.mark.timeout(300)
def test_a_shard_killed_in_the_middle_is_loaded_again_and_the_digest_stays(
    cluster: Cluster,
) -> None:
    from agents.core.market.discovery import Round
    from agents.shards_on_ray import FleetProcesses

    job = job_of(60)
    alone = digest_of(hold(job, InProcessContractors(make_books([job.fleet])), seed=SEED))
    processes = FleetProcesses(cluster, [job.fleet], 2)
    held = processes.load()
    begun: list[int] = []
    again: list[int] = []

    def kill_once(current: Round) -> None:
        begun.append(current.number)
        if len(begun) == 5:
            # The lead: so small an organisation is together there, and its other shard idle.
            os.kill(held[0].pid, signal.SIGKILL)

    try:
        together = processes.hold(
            lambda contractors: hold(job, contractors, seed=SEED, on_round=kill_once),
            on_again=lambda: again.append(len(begun)),
        )
        assert digest_of(together) == alone
        # Five rounds, then all of them again.
        assert begun[:6] == [1, 2, 3, 4, 5, 1]
        assert again
        assert again[0] >= 5
    finally:
        processes.end()
