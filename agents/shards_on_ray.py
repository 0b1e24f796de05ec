"""Fleets negotiated by several processes: shard actors on a Ray cluster, and nothing else.

Shards hold whole groups of workloads and answer the same questions as objects in one process
would, so an outcome and its digest are the same. An actor that dies is started again by Ray and
loaded with the same workloads, and the negotiation is held once more from its beginning.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

import ray

from agents.core.market.contractors import Contractors, shard_groups
from agents.core.market.fleet import Fleet
from agents.core.market.questions import Question, Step
from agents.core.market.replies import Token
from agents.core.market.shard import ShardBook
from agents.core.warm import compile_kernels
from agents.remote import RayContractors, gather, patiently
from agents.supervisor import ActorSpec, Cluster, where_am_i
from schema.errors import AgentUnavailable
from schema.rows.system import AgentKind

R = TypeVar("R")

_CONVERSATION = "batch"
_TRIES = 3
#: Compiling every kernel on a busy machine; from the cache it takes a second.
_WARM_TIMEOUT_S = 300.0


class FleetShard:
    """Some groups of one organisation's workloads, as a Ray actor.

    Args:
        groups: Groups it answers for.
    """

    def __init__(self, groups: tuple[int, ...]) -> None:
        self._groups = groups
        self._book: ShardBook | None = None

    def __repr__(self) -> str:
        return f"FleetShard(groups {self._groups})"

    @ray.method(concurrency_group="health")
    def ping(self) -> tuple[str, int]:
        """Say where it runs."""
        return where_am_i()

    def stop(self) -> None:
        """End; there is nothing to put away."""

    def warm(self) -> float:
        """Load the kernels, or compile them; gives the seconds it took."""
        begun = time.perf_counter()
        compile_kernels()
        return time.perf_counter() - begun

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
    """A shard process that takes part."""

    name: str
    node: str
    pid: int
    workloads: int


class FleetProcesses:
    """The shard actors of some fleets, on a cluster that is up.

    Args:
        cluster: Started.
        fleets: One an organisation.
        shards: Processes of each organisation: 1, 2, 4 or 8.
    """

    def __init__(self, cluster: Cluster, fleets: Sequence[Fleet], shards: int) -> None:
        self._cluster = cluster
        self._specs: list[ActorSpec] = []
        self._fleets: list[Any] = []
        self._leads: set[str] = set()
        for fleet in sorted(fleets, key=lambda fleet: fleet.organisation):
            shared = ray.put(fleet)
            for groups in shard_groups(shards):
                name = f"{fleet.organisation}-shard-{groups[0]}"
                self._specs.append(
                    ActorSpec(
                        name=name, kind=AgentKind.SHARD, shell=FleetShard, kwargs={"groups": groups}
                    )
                )
                self._fleets.append(shared)
                if groups[0] == 0:
                    self._leads.add(name)
        self._beats = cluster.launch(self._specs)
        self._handles = [(spec.name, cluster.handle(spec.name)) for spec in self._specs]

    def warm(self) -> float:
        """Have the kernels ready in every shard; gives the seconds of the slowest."""
        calls = [(name, handle.warm.remote()) for name, handle in self._handles]
        return max(float(seconds) for seconds in gather(calls, timeout_s=_WARM_TIMEOUT_S))

    def load(self) -> tuple[Shard, ...]:
        """Give every shard its workloads, again after a restart."""
        held = gather(
            [
                (name, handle.load.remote(fleet))
                for (name, handle), fleet in zip(self._handles, self._fleets, strict=True)
            ]
        )
        return tuple(
            Shard(beat.name, beat.node, beat.pid, count)
            for beat, count in zip(self._beats, held, strict=True)
        )

    def hold(
        self, talk: Callable[[Contractors], R], *, on_again: Callable[[], None] | None = None
    ) -> R:
        """Negotiate with loaded shards; one that dies on the way costs time and changes nothing.

        Args:
            talk: Holds the negotiation; called again from its beginning after a loss.
            on_again: Told of each such loss.

        Raises:
            AgentUnavailable: Shards did not answer, time after time.
        """
        for _ in range(_TRIES - 1):
            try:
                return talk(self._contractors())
            except AgentUnavailable:
                if on_again is not None:
                    on_again()
                patiently(self._reload)
        return talk(self._contractors())

    def end(self) -> None:
        """End the shards; the cluster stays."""
        self._cluster.retire([spec.name for spec in self._specs])

    def _reload(self) -> tuple[Shard, ...]:
        self._beats = self._cluster.heartbeats([name for name, _ in self._handles])
        return self.load()

    def _contractors(self) -> RayContractors:
        return RayContractors(self._handles, _CONVERSATION, leads=self._leads)
