"""The message log of one conversation: what was said, in order, enough to rebuild the outcome.

Table-wide messages (a call for proposals, a contractor's answer) carry totals; messages about
one workload carry what it was offered and what it got. A private delay cost is in none of them,
and no total of a single workload that would give it away: only energy, congestion and carbon at
public prices.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from functools import lru_cache
from typing import Any

from agents.core.ledger import Contract, Segment
from agents.core.market.units import NANO
from schema.messages import EVERYONE, MANAGER, Performative
from schema.periods import format_instant, half_hour_start
from schema.rows import AgentNegotiationRow

Content = Mapping[str, Any]


class ConversationLog:
    """Collects the rows of one conversation.

    Args:
        conversation_id: Names the conversation within its run.
        sent_at: The run's clock; frozen while a conversation goes on.
        reply_by: Until when answers count; informational in a replay.
        on_synthetic: The prices rest on synthetic figures.
    """

    def __init__(
        self,
        conversation_id: str,
        *,
        sent_at: datetime,
        reply_by: datetime | None,
        on_synthetic: bool = False,
    ) -> None:
        self.conversation_id = conversation_id
        self._sent_at = sent_at
        self._reply_by = reply_by
        self._on_synthetic = on_synthetic
        self.rows: list[AgentNegotiationRow] = []
        self._said: dict[tuple[int, Performative, str, str, str | None], int] = {}

    def call(self, number: int, content: Content, **figures: float | None) -> None:
        """Log a call for proposals to everyone."""
        self._add(number, Performative.CFP, MANAGER, EVERYONE, None, content, figures)

    def answer(self, number: int, organisation: str, content: Content) -> None:
        """Log a contractor's totals at the prices of a round."""
        self._add(number, Performative.PROPOSE, organisation, MANAGER, None, content, {})

    def silent(self, number: int, organisation: str, reason: str) -> None:
        """Log that a contractor did not answer; its last answer stands in."""
        content = {"reason": reason}
        self._add(number, Performative.REFUSE, organisation, MANAGER, None, content, {})

    def window(
        self, number: int, performative: Performative, bpp_id: str, content: Content
    ) -> None:
        """Log what a Beckn provider answered to an order."""
        self._add(number, performative, bpp_id, MANAGER, None, content, {})

    def about(
        self,
        number: int,
        performative: Performative,
        contract: Contract,
        content: Content,
        **figures: float | None,
    ) -> None:
        """Log a message about one workload, in the direction its performative has."""
        from_manager = performative in {
            Performative.ACCEPT_PROPOSAL,
            Performative.REJECT_PROPOSAL,
            Performative.CFP,
        }
        sender = MANAGER if from_manager else contract.organisation
        receiver = contract.organisation if from_manager else MANAGER
        self._add(number, performative, sender, receiver, contract, content, figures)

    def _add(
        self,
        number: int,
        performative: Performative,
        sender: str,
        receiver: str,
        contract: Contract | None,
        content: Content,
        figures: Mapping[str, float | None],
    ) -> None:
        name = contract.name if contract is not None else None
        key = (number, performative, sender, receiver, name)
        ordinal = self._said.get(key, 0)
        self._said[key] = ordinal + 1
        self.rows.append(
            AgentNegotiationRow(
                conversation_id=self.conversation_id,
                sequence=len(self.rows),
                round=number,
                performative=performative,
                sender=sender,
                receiver=receiver,
                workload_name=name,
                workload_agent=contract.organisation if contract is not None else None,
                ordinal=ordinal,
                reply_by=self._reply_by if performative is Performative.CFP else None,
                content=dict(content),
                on_synthetic_data=self._on_synthetic,
                sent_at=self._sent_at,
                **figures,
            )
        )


def segment_content(segment: Segment, site_name: str, region_id: int) -> dict[str, Any]:
    """Write a segment for a reader and for the audit."""
    return {
        "site": site_name,
        "region_id": region_id,
        "starts_at": instant_of(segment.first),
        "ends_at": instant_of(segment.end),
        "window": segment.window_id,
    }


@lru_cache(maxsize=4096)
def instant_of(half_hour: int) -> str:
    """Write the start of a half hour as it is written in the log; a run has few of them."""
    return format_instant(half_hour_start(half_hour))


def gbp(nano: int) -> float:
    """Give money in GBP as it is written in the log."""
    return nano / NANO
