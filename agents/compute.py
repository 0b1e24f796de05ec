"""The compute agent: an organisation's side of every negotiation.

``ComputeAgent`` is a plain class; ``ComputeShell`` puts it on Ray. It owns the organisation's
book (private delay costs included) and answers the manager's questions on the part of it that
its groups cover. It keeps nothing between conversations that it could not make again: its book
comes from its source, its contracts come with each ``open``. So a restarted agent, or a restarted
shard of it, answers exactly as the one before.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from importlib import import_module
from typing import Any, TypeVar

import ray

from agents.core.book import Participants, Registration, WorkloadBook
from agents.core.market.questions import Question, Step
from agents.core.market.shard import ShardBook, Token
from agents.core.market.units import Ints
from schema.errors import ProtocolViolation
from schema.workloads import Workload

R = TypeVar("R")

Arrivals = Sequence[tuple[int, Workload]]


@dataclass(frozen=True)
class BookSource:
    """Where an organisation's workloads come from: a factory by its dotted name.

    The factory is called with ``arguments`` and gives pairs of arrival tick and workload. Names
    and paths only: a restart runs it again.
    """

    factory: str
    arguments: Mapping[str, Any]

    def load(self) -> Arrivals:
        """Make the workloads."""
        return resolve(self.factory)(**self.arguments)  # type: ignore[no-any-return]


@dataclass(frozen=True, slots=True, eq=False)
class Conversation:
    """What a shard must know to take part: who of the organisation's, and over which sites."""

    conversation_id: str
    origin: int
    periods: int
    site_region: Ints
    who: Participants


class ComputeAgent:
    """An organisation, or the part of it that some groups make up."""

    def __init__(self, organisation: str, source: BookSource, groups: Sequence[int]) -> None:
        self.organisation = organisation
        self.groups = tuple(groups)
        self._book = WorkloadBook(organisation, source.load())
        self._shard: ShardBook | None = None
        self._conversation_id: str | None = None

    def register(self, tick: int) -> Registration:
        """Tell which workloads arrive at a tick; asking again gives the same answer."""
        return self._book.registration(self._book.arrived(tick))

    def open(self, conversation: Conversation) -> int:
        """Begin a conversation; gives how many workloads take part in this shard."""
        fleet = self._book.fleet(
            conversation.who,
            origin=conversation.origin,
            periods=conversation.periods,
            site_region=conversation.site_region,
        )
        self._shard = ShardBook(fleet, self.groups)
        self._conversation_id = conversation.conversation_id
        return len(self._shard.fleet)

    def ask(self, conversation_id: str, question: Question[R]) -> R:
        """Answer one question of the manager."""
        return question.put(self._in(conversation_id))

    def relay(self, conversation_id: str, step: Step, token: Token) -> Token:
        """Move own workloads and pass the token on."""
        return step.take(self._in(conversation_id), token)

    def _in(self, conversation_id: str) -> ShardBook:
        if self._shard is None or self._conversation_id != conversation_id:
            raise ProtocolViolation(
                f"{self.organisation} is in conversation {self._conversation_id}, was asked about "
                f"{conversation_id}; open it first",
                agent=self.organisation,
            )
        return self._shard


class ComputeShell:
    """The compute agent as a Ray actor."""

    def __init__(self, organisation: str, source: BookSource, groups: Sequence[int]) -> None:
        self._agent = ComputeAgent(organisation, source, groups)

    def __repr__(self) -> str:
        return f"ComputeAgent({self._agent.organisation}, groups {self._agent.groups})"

    @ray.method(concurrency_group="health")  # type: ignore[untyped-decorator]
    def ping(self) -> tuple[str, int]:
        """Say where it runs."""
        return ray.get_runtime_context().get_node_id(), os.getpid()

    def register(self, tick: int) -> Registration:
        """See ``ComputeAgent.register``."""
        return self._agent.register(tick)

    def open(self, conversation: Conversation) -> int:
        """See ``ComputeAgent.open``."""
        return self._agent.open(conversation)

    def ask(self, conversation_id: str, question: Question[R]) -> R:
        """See ``ComputeAgent.ask``."""
        return self._agent.ask(conversation_id, question)

    def relay(self, conversation_id: str, step: Step, token: Token) -> Token:
        """See ``ComputeAgent.relay``."""
        return self._agent.relay(conversation_id, step, token)

    def stop(self) -> None:
        """Nothing to flush: everything it holds can be made again."""


def resolve(dotted: str) -> Callable[..., Any]:
    """Find ``package.module:name``."""
    module, _, name = dotted.partition(":")
    found: Callable[..., Any] = getattr(import_module(module), name)
    return found
