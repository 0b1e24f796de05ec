"""A plan negotiated by several processes: shard actors of one organisation on a local Ray.

Shards hold whole groups of workloads and answer the same questions as objects in one process
would, so the plan and its digest are the same. An actor that dies is started again by Ray with
the same workloads, and the negotiation is held once more from its beginning.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

import ray

from agents.core.market.contractors import shard_groups
from agents.core.market.discovery import Round
from agents.core.market.fleet import Fleet
from agents.core.market.outcome import Outcome
from agents.core.market.questions import Question, Step
from agents.core.market.replies import Token
from agents.core.market.shard import ShardBook
from agents.plan import Job, hold
from agents.remote import RayContractors, gather, patiently
from agents.supervisor import ActorSpec, Cluster
from schema.errors import AgentUnavailable
from schema.rows.system import AgentKind

R = TypeVar("R")

_CONVERSATION = "plan"
_TRIES = 3


class PlanShard:
    """Some groups of a plan's workloads, as a Ray actor.

    Args:
        groups: Groups it answers for.
    """

    def __init__(self, groups: tuple[int, ...]) -> None:
        self._groups = groups
        self._book: ShardBook | None = None

    def __repr__(self) -> str:
        return f"PlanShard(groups {self._groups})"

    @ray.method(concurrency_group="health")
    def ping(self) -> tuple[str, int]:
        """Say where it runs."""
        return ray.get_runtime_context().get_node_id(), os.getpid()

    def stop(self) -> None:
        """End; there is nothing to put away."""

    def load(self, fleet: Fleet) -> int:
        """Take the workloads of its groups; gives how many."""
        self._book = ShardBook(fleet, self._groups)
        return len(self._book.fleet)

    def ask(self, conversation_id: str, question: Question[R]) -> R:
        """Answer one question of the manager."""
        return question.put(self._loaded(conversation_id))

    def relay(self, conversation_id: str, step: Step, token: Token) -> Token:
        """Move own workloads and pass the token on."""
        return step.take(self._loaded(conversation_id), token)

    def _loaded(self, conversation_id: str) -> ShardBook:
        if self._book is None:
            raise AgentUnavailable(
                f"{self!r} was started again in the middle of conversation {conversation_id}; "
                "load it and begin anew"
            )
        return self._book


@dataclass(frozen=True, slots=True)
class Shard:
    """A shard process that took part."""

    name: str
    pid: int
    workloads: int


class ShardProcesses:
    """The shard actors of one job, on a cluster that is up.

    Args:
        cluster: Started.
        job: What to negotiate.
        shards: 2, 4 or 8 processes.
    """

    def __init__(self, cluster: Cluster, job: Job, shards: int) -> None:
        self._cluster = cluster
        self._job = job
        self._fleet = ray.put(job.fleet)
        specs = [
            ActorSpec(
                name=f"plan-shard-{number}",
                kind=AgentKind.SHARD,
                shell=PlanShard,
                kwargs={"groups": groups},
            )
            for number, groups in enumerate(shard_groups(shards))
        ]
        self._pids = [beat.pid for beat in cluster.launch(specs)]
        self._handles = [(spec.name, cluster.handle(spec.name)) for spec in specs]

    def load(self) -> tuple[Shard, ...]:
        """Give every shard its workloads, again after a restart."""
        held = gather([(name, handle.load.remote(self._fleet)) for name, handle in self._handles])
        return tuple(
            Shard(name, pid, count)
            for (name, _), pid, count in zip(self._handles, self._pids, held, strict=True)
        )

    def hold(
        self,
        *,
        seed: int,
        on_round: Callable[[Round], None] | None = None,
        on_phase: Callable[[str], None] | None = None,
    ) -> Outcome:
        """Negotiate with loaded shards; one that dies on the way costs time and changes nothing.

        Raises:
            AgentUnavailable: Shards did not answer, time after time.
        """
        for _ in range(_TRIES - 1):
            try:
                return self._hold(seed, on_round, on_phase)
            except AgentUnavailable:
                if on_phase is not None:
                    on_phase("again, because a shard did not answer")
                patiently(self._reload)
        return self._hold(seed, on_round, on_phase)

    def _reload(self) -> tuple[Shard, ...]:
        self._pids = [
            beat.pid for beat in self._cluster.heartbeats([name for name, _ in self._handles])
        ]
        return self.load()

    def _hold(
        self,
        seed: int,
        on_round: Callable[[Round], None] | None,
        on_phase: Callable[[str], None] | None,
    ) -> Outcome:
        lead, _ = self._handles[0]
        contractors = RayContractors(self._handles, _CONVERSATION, leads={lead})
        return hold(self._job, contractors, seed=seed, on_round=on_round, on_phase=on_phase)


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
    cluster = Cluster(address=None, temp_parent=temp_parent)
    try:
        cluster.start()
        processes = ShardProcesses(cluster, job, shards)
        held = ", ".join(f"{shard.workloads} in {shard.pid}" for shard in processes.load())
        say(f"{shards} shard processes; workloads by process: {held}")
        begun = time.perf_counter()
        outcome = processes.hold(seed=seed, on_phase=on_phase)
        return outcome, time.perf_counter() - begun
    finally:
        cluster.stop()
