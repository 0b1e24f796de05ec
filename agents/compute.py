"""The compute agent: an organisation's side of every negotiation.

``ComputeAgent`` is a plain class; ``ComputeShell`` puts it on Ray. It owns the organisation's
sites and its book (private delay costs included), and answers the manager's questions on the part
that its groups cover. It keeps nothing between conversations that it could not make again: its
book comes from its source, or in a live run from its intake, which saves it; its contracts come
with each ``open``. So a restarted agent, or a restarted shard of it, answers exactly as the one
before.
"""

from __future__ import annotations

import os
import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TypeVar

import numpy as np
import ray

from agents.core.book import Participants, Registration, WorkloadBook
from agents.core.market.questions import Question, Step
from agents.core.market.replies import Token
from agents.core.market.shard import ShardBook
from agents.core.market.units import Ints
from agents.core.records import StatusUpdate, workload_row
from agents.core.view import Site
from agents.intake import Intake, Storage
from agents.organisation import Source
from agents.storing import storage_by_name
from schema.errors import AgentUnavailable, ProtocolViolation
from schema.periods import format_instant, half_hour_start
from schema.rows import ComputeAssetRow, Record

R = TypeVar("R")


@dataclass(frozen=True, slots=True, eq=False)
class Conversation:
    """What a shard must know to take part: who of the organisation's, and over which sites."""

    conversation_id: str
    origin: int
    periods: int
    site_region: Ints
    who: Participants


class ComputeAgent:
    """An organisation, or the part of it that some groups make up.

    Args:
        organisation: Its name.
        source: Where its sites and workloads come from.
        groups: Hash groups of workloads that this part answers for.
        run_id: The run.
        storage: Takes its rows; an organisation with an intake finds its workloads there, and has
            one part.
    """

    def __init__(
        self,
        organisation: str,
        source: Source,
        groups: Sequence[int],
        *,
        run_id: str,
        storage: Storage,
    ) -> None:
        self.organisation = organisation
        self.groups = tuple(groups)
        self._run_id = run_id
        loaded = source.load()
        self.sites = loaded.sites
        self._storage = storage
        self._given = WorkloadBook(organisation, loaded.arrivals)
        self._intake = Intake(organisation, run_id, storage) if loaded.intake else None
        self._shard: ShardBook | None = None
        self._conversation_id: str | None = None

    @property
    def _book(self) -> WorkloadBook:
        return self._given if self._intake is None else self._intake.book

    # -- rows of its own -------------------------------------------------------------------------

    def announce(self) -> tuple[Site, ...]:
        """Store the organisation's sites, and tell them to the manager."""
        # A site that lasts may be described anew at each start; the last word counts.
        version = 0 if self._intake is None else int(time.time())
        rows = self._assets()
        self._storage.put_sync([row.to_record(self._run_id, version=version) for row in rows])
        return self.sites

    def tell(self, updates: Sequence[StatusUpdate]) -> int:
        """Store how the organisation's workloads stand; gives how many were written."""
        if self._intake is not None:
            return self._intake.tell(updates)
        records = self._workload_records(updates)
        self._storage.put_sync(records)
        return len(records)

    def _assets(self) -> list[ComputeAssetRow]:
        return [
            ComputeAssetRow(
                agent_name=site.organisation,
                asset_name=site.asset,
                region_id=site.region_id,
                capacity_kw=float(np.max(site.capacity_kw, initial=0.0)),
                capacity_by_period=None
                if site.lasting
                else {
                    "from": format_instant(half_hour_start(site.first)),
                    "kw": [float(kw) for kw in site.capacity_kw],
                },
                pue=site.pue,
            )
            for site in self.sites
        ]

    def _workload_records(self, updates: Sequence[StatusUpdate]) -> list[Record]:
        keys = np.array([update.key for update in updates], np.uint64)
        rows = self._book.positions(keys).tolist()
        return [
            workload_row(self.organisation, self._book.workloads[row], update).to_record(
                self._run_id
            )
            for row, update in zip(rows, updates, strict=True)
        ]

    # -- the contractor ----------------------------------------------------------------------------

    def register(self, tick: int) -> Registration:
        """Tell which workloads arrive at a tick; asking again gives the same answer.

        With an intake: everything that is held, whatever the tick.
        """
        if self._intake is not None:
            return self._intake.register()
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

    def held(self) -> int:
        """Count the workloads that this part of the organisation answers for."""
        return self._book.held(self.groups)

    def relay(self, conversation_id: str, step: Step, token: Token) -> Token:
        """Move own workloads and pass the token on."""
        return step.take(self._in(conversation_id), token)

    def _in(self, conversation_id: str) -> ShardBook:
        if self._shard is None:
            raise AgentUnavailable(
                f"{self.organisation} was started anew during conversation {conversation_id}; "
                "open it again",
                agent=self.organisation,
            )
        if self._conversation_id != conversation_id:
            raise ProtocolViolation(
                f"{self.organisation} is in conversation {self._conversation_id}, was asked about "
                f"{conversation_id}; open it first",
                agent=self.organisation,
            )
        return self._shard


class ComputeShell:
    """The compute agent as a Ray actor."""

    def __init__(
        self,
        organisation: str,
        source: Source,
        groups: Sequence[int],
        *,
        run_id: str,
        storage: str,
        namespace: str,
    ) -> None:
        self._agent = ComputeAgent(
            organisation,
            source,
            groups,
            run_id=run_id,
            storage=storage_by_name(storage, namespace, run_id),
        )

    def __repr__(self) -> str:
        return f"ComputeAgent({self._agent.organisation}, groups {self._agent.groups})"

    @ray.method(concurrency_group="health")
    def ping(self) -> tuple[str, int]:
        """Say where it runs."""
        return ray.get_runtime_context().get_node_id(), os.getpid()

    def announce(self) -> tuple[Site, ...]:
        """See ``ComputeAgent.announce``."""
        return self._agent.announce()

    def tell(self, updates: Sequence[StatusUpdate]) -> int:
        """See ``ComputeAgent.tell``."""
        return self._agent.tell(updates)

    def register(self, tick: int) -> Registration:
        """See ``ComputeAgent.register``."""
        return self._agent.register(tick)

    def held(self) -> int:
        """See ``ComputeAgent.held``."""
        return self._agent.held()

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
        """Nothing to flush: everything it holds can be made again, or was saved."""
