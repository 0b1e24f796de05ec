"""All compute agents in this process: the same rules with calls in place of actors."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TypeVar

from agents.compute import ComputeAgent, Conversation
from agents.core.book import Participants, Registration
from agents.core.market.contractors import Contractors
from agents.core.market.questions import Question, Step
from agents.core.market.replies import Token
from agents.core.market.units import Ints
from agents.core.records import StatusUpdate
from agents.core.view import Site

R = TypeVar("R")


class LocalContractors:
    """Shards of one conversation as plain objects, in token order."""

    def __init__(self, shards: Sequence[ComputeAgent], conversation_id: str) -> None:
        self._shards = tuple(shards)
        self._id = conversation_id

    def ask(self, question: Question[R]) -> list[R]:
        """Put a question to every shard."""
        return [shard.ask(self._id, question) for shard in self._shards]

    def relay(self, step: Step, token: Token) -> Token:
        """Send the token through every shard in order; through leads only if the step says so."""
        for shard in self._shards:
            if 0 in shard.groups or not step.lead_only:
                token = shard.relay(self._id, step, token)
        return token

    def leads(self) -> LocalContractors:
        """Give the leads."""
        return LocalContractors([shard for shard in self._shards if 0 in shard.groups], self._id)


class LocalOrganisations:
    """All compute agents of a run; each is one or more shards, in order of groups.

    Args:
        shards: By organisation.
    """

    def __init__(self, shards: Mapping[str, Sequence[ComputeAgent]]) -> None:
        self._shards = {name: tuple(shards[name]) for name in sorted(shards)}

    @property
    def names(self) -> frozenset[str]:
        """See ``Organisations``."""
        return frozenset(self._shards)

    def announce(self) -> tuple[Site, ...]:
        """See ``Organisations``."""
        sites: list[Site] = []
        for shards in self._shards.values():
            sites += shards[0].announce()
        return tuple(sites)

    def register(self, tick: int) -> list[Registration]:
        """See ``Organisations``."""
        return [shards[0].register(tick) for shards in self._shards.values()]

    def tell(self, tellings: Mapping[str, Sequence[StatusUpdate]]) -> None:
        """See ``Organisations``."""
        for name, updates in tellings.items():
            self._shards[name][0].tell(updates)

    def open(
        self,
        conversation_id: str,
        *,
        origin: int,
        periods: int,
        site_region: Ints,
        who: dict[str, Participants],
    ) -> Contractors:
        """See ``Hall``."""
        taking_part: list[ComputeAgent] = []
        for name in sorted(who):
            conversation = Conversation(conversation_id, origin, periods, site_region, who[name])
            for shard in self._shards[name]:
                shard.open(conversation)
                taking_part.append(shard)
        return LocalContractors(taking_part, conversation_id)
