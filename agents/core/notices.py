"""What is said outside of a market: work called off, work that came too late, a site that went.

The notices of one tick are a conversation of their own, of round 0 and without prices. The room
that they free is offered in the market conversation that follows.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import datetime

from agents.core import records
from agents.core.accounting import Account, Figures, account_segment, add_up
from agents.core.digest import RunDigest
from agents.core.ledger import Contract, Segment, State
from agents.core.log import ConversationLog, segment_content
from agents.core.run_state import Booked, RunState
from schema.messages import Performative
from schema.periods import format_instant, half_hour_start
from schema.rows import AgentNegotiationRow, WorkloadScheduleRow

BY_OWNER = "cancelled by its owner"


@dataclass(frozen=True, slots=True)
class Notices:
    """What was said, and what follows for rows and statuses."""

    messages: tuple[AgentNegotiationRow, ...] = ()
    schedules: tuple[WorkloadScheduleRow, ...] = ()
    changed: tuple[Contract, ...] = ()


class NoticeBoard:
    """Takes the notices of one tick.

    Args:
        state: Of the run; contracts are changed in it.
        now: The run's clock.
        opened: First half hour that is still open.
        figures: Intensity and price of the time.
        digest: Takes every notice.
    """

    def __init__(
        self, state: RunState, now: datetime, opened: int, figures: Figures, digest: RunDigest
    ) -> None:
        self._state, self._now, self._opened = state, now, opened
        self._figures, self._digest = figures, digest
        self._log: ConversationLog | None = None
        self._schedules: list[WorkloadScheduleRow] = []
        self._changed: list[Contract] = []

    def done(self) -> Notices:
        """Give everything that was said."""
        rows = () if self._log is None else tuple(self._log.rows)
        return Notices(rows, tuple(self._schedules), tuple(self._changed))

    def call_off(self, contract: Contract) -> None:
        """Let an owner cancel: nothing of what has not begun will run.

        Work that had started stops at the end of the half hour it is in. What it has used stays in
        the schedule and on its account.
        """
        if contract.state.over:
            return
        before = contract.segments
        kept = self._begun(contract) if contract.state is State.STARTED else ()
        self._release(contract, kept)
        contract.state = State.CANCELLED
        stops = f"; it stops at {_at(kept[-1].segment.end)}" if kept else ""
        contract.refusal_reason = f"{BY_OWNER}{stops}"
        self._say(Performative.CANCEL, contract, before)
        self._digest.add("cancel", contract.organisation, contract.name)

    def too_late(self, contract: Contract) -> None:
        """Refuse work that came when its deadline could not be met any more."""
        contract.state = State.MISSED
        contract.refusal_reason = (
            f"its deadline {_at(contract.deadline)} cannot be met: it needs "
            f"{contract.duration} half hours, and none before {_at(self._opened)} is open"
        )
        self._state.unheard.discard(contract.key)
        self._add(Performative.REJECT_PROPOSAL, contract, {"reason": contract.refusal_reason})

    def lose_place(self, contract: Contract, site: str) -> None:
        """Take a place back from work that has not started: its site has less power than it had."""
        before = contract.segments
        self._release(contract, ())
        contract.state = State.WAITING
        contract.refusal_reason = f"site {site} has less power than when it was placed there"
        self._state.unheard.add(contract.key)
        self._say(Performative.FAILURE, contract, before)
        self._digest.add("lost-place", contract.organisation, contract.name)

    # -- pieces ------------------------------------------------------------------------------------

    def _begun(self, contract: Contract) -> tuple[Booked, ...]:
        """Give what of started work lies in half hours that have begun."""
        kept: list[Booked] = []
        for item in self._state.accounts[contract.key].booked:
            segment = item.segment
            periods = min(segment.end, self._opened) - segment.first
            if periods == segment.periods:
                kept.append(item)
            elif periods > 0:
                part = replace(segment, periods=periods)
                paid = item.congestion_gbp * periods / segment.periods
                kept.append(Booked(part, self._account(contract, part), paid))
        return tuple(kept)

    def _account(self, contract: Contract, segment: Segment) -> Account:
        region_id = self._state.sites[segment.site].region_id
        return account_segment(segment, contract.power_w, region_id, self._figures)

    def _release(self, contract: Contract, kept: tuple[Booked, ...]) -> None:
        accounts = self._state.accounts[contract.key]
        self._state.unheard.discard(contract.key)
        cut = bool(kept) and kept != accounts.booked
        contract.segments = tuple(item.segment for item in kept)
        accounts.booked = kept
        if cut:
            contract.revision += 1
            accounts.conversation_id = self._board().conversation_id
            self._schedules += records.schedule_rows(contract, self._state, version=1)

    def _say(
        self, performative: Performative, contract: Contract, before: Sequence[Segment]
    ) -> None:
        booked = self._state.accounts[contract.key].booked
        total = add_up([item.account for item in booked])
        self._add(
            performative,
            contract,
            {
                "reason": contract.refusal_reason,
                "had": [self._content(segment) for segment in before],
                "segments": [self._content(segment) for segment in contract.segments],
                "power_w": contract.power_w,
                "revision": contract.revision,
            },
            energy_cost_gbp=total.cost_gbp,
            congestion_gbp=sum(item.congestion_gbp for item in booked),
            carbon_gco2=total.gco2,
        )

    def _add(
        self,
        performative: Performative,
        contract: Contract,
        content: dict[str, object],
        **figures: float | None,
    ) -> None:
        self._board().about(0, performative, contract, content, **figures)
        self._changed.append(contract)

    def _content(self, segment: Segment) -> dict[str, object]:
        site = self._state.sites[segment.site]
        return segment_content(segment, site.name, site.region_id)

    def _board(self) -> ConversationLog:
        if self._log is None:
            self._log = ConversationLog(
                f"{self._state.conversations:04d}", sent_at=self._now, reply_by=None
            )
            self._state.conversations += 1
        return self._log


def _at(half_hour: int) -> str:
    return format_instant(half_hour_start(half_hour))
