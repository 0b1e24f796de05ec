"""One conversation: the market held over the movable work, windows booked, words logged.

The order of words is the order of deeds: calls and answers, then orders for windows, and only
then the awards that rest on them. Work that uses a window is accepted after its on_confirm.
"""

from __future__ import annotations

from collections.abc import Callable, Container, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from functools import partial
from typing import Protocol

import numpy as np

from agents.core import records
from agents.core.accounting import Account, Figures, account_segment, add_up
from agents.core.awards import Awarder
from agents.core.book import Participants
from agents.core.booking import BookingDesk
from agents.core.digest import RunDigest
from agents.core.ledger import Contract, Segment, State
from agents.core.lost_windows import (
    Plan,
    join,
    left_over,
    places_of,
    to_grid,
    touched,
    withdrawn,
)
from agents.core.market.contractors import Contractors
from agents.core.market.negotiate import Options, Quality, WarmStart, negotiate
from agents.core.market.outcome import Outcome
from agents.core.market.problem import Market
from agents.core.market.units import Ints
from agents.core.minutes import Minutes
from agents.core.run_state import Posted, RunState
from agents.core.view import GridView, market_of, window_id
from schema.errors import AgentUnavailable
from schema.messages import Performative
from schema.orders import OrderOutcome
from schema.rows import AgentNegotiationRow, WorkloadScheduleRow

HOLD_TRIES = 4
"""How often the market is held from its start when contractors are lost in the midst of it."""


class Hall(Protocol):
    """Where contractors gather for a conversation."""

    def open(
        self,
        conversation_id: str,
        *,
        origin: int,
        periods: int,
        site_region: Ints,
        who: dict[str, Participants],
    ) -> Contractors:
        """Begin a conversation with some of each organisation's workloads."""
        ...


@dataclass(frozen=True, slots=True)
class ManagerOptions:
    """How the manager decides; periods are half hours."""

    seed: int
    carbon_value_gbp_per_kg: float = 0.264
    horizon: int = 96
    """Intensity is published 48 hours ahead, so no conversation looks further."""
    renegotiate_every: int = 12
    forecast_shift: float = 0.10
    """Mean change of the grid's value, as a part of its mean, that calls for a conversation."""
    quality: Quality = Quality.NORMAL
    keep_over: int | None = None
    """For how many half hours work that is over is remembered; None for the whole run, as its
    re-scoring and its sums need."""
    counts_on: bool = False
    """Whether the run may have been held before by one whose state is lost: then conversations are
    counted on from those in the database."""


@dataclass(frozen=True, slots=True)
class ConversationReport:
    """One conversation in figures; ``per_cell`` workloads a cell say how lumpy it was."""

    conversation_id: str
    why: str
    workloads: int
    rounds: int
    messages: int
    accepted: int
    rejected: int
    cost_gbp: float
    bound_gbp: float
    gap: float
    per_cell: float


@dataclass(frozen=True, slots=True)
class Held:
    """What a conversation leaves behind."""

    report: ConversationReport
    messages: tuple[AgentNegotiationRow, ...]
    schedules: tuple[WorkloadScheduleRow, ...]
    changed: tuple[Contract, ...]


def hold(
    state: RunState,
    now: datetime,
    view: GridView,
    why: str,
    *,
    people: Sequence[Contract],
    figures: Figures,
    options: ManagerOptions,
    digest: RunDigest,
    hall: Hall,
    desk: BookingDesk,
) -> Held:
    """Hold a conversation and change the state by what was agreed.

    Args:
        state: Of the run.
        now: The run's clock.
        view: What the market is made of; its origin is the first half hour on offer.
        why: What it is held for.
        people: Who takes part.
        figures: What energy is accounted by: only what was published or estimated from that.
        options: How to decide.
        digest: Takes every decision.
        hall: The contractors.
        desk: Orders windows.
    """
    talk = _Talk(state, now, view, why, people, figures, options, digest)
    talk.negotiate(hall)
    talk.book(desk, hall)
    return talk.close()


class _Talk:
    """One conversation while it goes on."""

    def __init__(
        self,
        state: RunState,
        now: datetime,
        view: GridView,
        why: str,
        people: Sequence[Contract],
        figures: Figures,
        options: ManagerOptions,
        digest: RunDigest,
    ) -> None:
        self._state, self._now, self._view, self._why = state, now, view, why
        self._options = options
        self._origin = view.origin
        self._figures = figures
        self._id = f"{state.conversations:04d}"
        state.conversations += 1
        self._people = people
        end = max(contract.deadline for contract in self._people)
        self._periods = min(end - self._origin, options.horizon)
        self._keys = {contract.key for contract in self._people}
        self._minutes = Minutes(self._id, why, people, view, self._periods, now, digest)
        self._market_options = Options(
            seed=options.seed * 1_000_003 + state.conversations, quality=options.quality
        )
        self._known: Awarder | None = None
        self._outcome: Outcome
        self._gross_w: Ints

    # -- the market ------------------------------------------------------------------------------

    def negotiate(self, hall: Hall) -> None:
        """Hold the market over all participants."""
        market = self._market()
        in_force = {item.key: item.segments for item in self._people if item.segments}
        posted = self._state.posted
        self._outcome = _steadily(
            lambda: negotiate(
                market,
                self._gather(hall, self._people, in_force),
                self._market_options,
                warm=None if posted is None else posted.at(self._origin, self._periods),
                in_force=places_of(self._people, in_force, market, self._origin),
            )
        )
        self._minutes.rounds(self._outcome, self._awarder())

    def _market(self) -> Market:
        state = self._state
        open_windows = tuple(
            offer for offer in self._view.windows if offer.window_id not in state.closed_windows
        )
        market, self._gross_w = market_of(
            replace(self._view, windows=open_windows),
            state.sites,
            self._periods,
            committed_w=state.ledger.committed_w(
                self._origin, self._periods, len(state.sites), self._keys
            ),
            window_use_w=state.ledger.window_use_w(self._origin, self._periods, self._keys),
            carbon_value_gbp_per_kg=self._options.carbon_value_gbp_per_kg,
        )
        return market

    def _gather(
        self, hall: Hall, people: Sequence[Contract], accepted: Container[int]
    ) -> Contractors:
        """Open the conversation with some participants; those accepted are never dropped."""
        who: dict[str, Participants] = {}
        for organisation in sorted({contract.organisation for contract in people}):
            mine = [item for item in people if item.organisation == organisation]
            who[organisation] = Participants(
                key=np.array([item.key for item in mine], np.uint64),
                refusal_nano=np.array([item.refusal_nano for item in mine], np.int64),
                accepted=np.array([item.key in accepted for item in mine], np.bool_),
            )
        return hall.open(
            self._id,
            origin=self._origin,
            periods=self._periods,
            site_region=self._state.site_region,
            who=who,
        )

    # -- windows ---------------------------------------------------------------------------------

    def book(self, desk: BookingDesk, hall: Hall) -> None:
        """Order the windows used, until every one that is used stands booked.

        A refused or changed window is closed for this run: its half hours draw from the grid
        where they stand, and only the work it touched negotiates again.
        """
        while True:
            orders = self._state.bookings.orders(
                self._planned(),
                self._state.offers,
                conversation_id=self._id,
                decided_at=self._now,
            )
            if not orders:
                return
            lost: set[str] = set()
            for result in desk.book(orders):
                name = window_id(*result.order.key)
                self._state.bookings.take(name, result)
                self._minutes.order(len(self._outcome.rounds), name, result)
                if result.outcome is not OrderOutcome.BOOKED:
                    lost.add(name)
            if lost:
                self._state.closed_windows |= lost
                self._outcome = _steadily(partial(self._without, lost, hall))

    def _planned(self) -> list[Contract]:
        """All contracts that draw on a window, as the outcome would have them.

        Started work on a window that is closed draws from the grid as soon as this is over.
        """
        placed, closed = self._awarder().placed, self._state.closed_windows
        planned: list[Contract] = []
        for contract in self._state.ledger:
            plan = {contract.key: placed.get(contract.key, contract.segments)}
            segments = to_grid(plan, closed)[contract.key]
            if any(segment.window_id is not None for segment in segments):
                planned.append(replace(contract, segments=segments))
        return planned

    def _without(self, lost: set[str], hall: Hall) -> Outcome:
        """Negotiate again for what the lost windows touched; gives the outcome for everyone."""
        planned = self._awarder().placed
        affected = touched(planned, lost)
        plan = to_grid(planned, lost)
        market = self._market()
        people = [contract for contract in self._people if contract.key in affected]
        if people:
            plan.update(self._placed_again(people, plan, market, hall))
        placed = {key for key, segments in plan.items() if segments}
        everyone = self._gather(hall, self._people, placed)
        return join(self._outcome, market, self._people, plan, everyone, self._origin)

    def _placed_again(
        self, people: Sequence[Contract], plan: Plan, market: Market, hall: Hall
    ) -> Plan:
        """Place some participants anew over what the others leave."""
        keys = {contract.key for contract in people}
        rest = left_over(market, self._people, plan, keys, self._origin)
        again = negotiate(
            rest,
            self._gather(hall, people, keys),
            self._market_options,
            warm=WarmStart(self._outcome.mu_q, self._outcome.supply_q),
            in_force=places_of(people, plan, rest, self._origin),
        )
        return self._awarder(again).placed

    # -- words and contracts -----------------------------------------------------------------------

    def _awarder(self, outcome: Outcome | None = None) -> Awarder:
        """Give the awarder of an outcome, by default the one that stands; made once for each."""
        wanted = self._outcome if outcome is None else outcome
        if self._known is None or self._known.outcome is not wanted:
            self._known = Awarder(
                wanted,
                origin=self._origin,
                state=self._state,
                figures=self._figures,
                view=self._view,
                carbon_value_gbp_per_kg=self._options.carbon_value_gbp_per_kg,
            )
        return self._known

    def close(self) -> Held:
        """Log the settled tables, award and refuse, and change the ledger."""
        outcome, awarder = self._outcome, self._awarder()
        number = outcome.rounds[-1].number + 1
        self._minutes.settled(
            number,
            outcome,
            sites=self._state.sites,
            gross_w=self._gross_w,
            closed_windows=self._state.closed_windows,
            carbon_value_gbp_per_kg=self._options.carbon_value_gbp_per_kg,
        )
        placed = awarder.placed
        accepted = rejected = 0
        changed: list[Contract] = []
        schedules: list[WorkloadScheduleRow] = []
        for contract in self._people:
            segments = placed[contract.key]
            if not segments:
                rejected += 1
                reason = awarder.reason(contract)
                if reason != contract.refusal_reason:
                    contract.refusal_reason = reason
                    self._minutes.log.about(
                        number, Performative.REJECT_PROPOSAL, contract, {"reason": reason}
                    )
                    changed.append(contract)
                self._minutes.refused(contract)
                continue
            accepted += 1
            self._minutes.awarded(contract, segments)
            if segments == contract.segments:
                continue
            schedules += self._award(contract, segments, awarder, number)
            changed.append(contract)
        schedules += self._switch_started(number)
        self._state.posted = Posted(self._origin, outcome.mu_q, outcome.supply_q)
        return Held(
            report=self._report(accepted, rejected),
            messages=tuple(self._minutes.log.rows),
            schedules=tuple(schedules),
            changed=tuple(changed),
        )

    def _award(
        self, contract: Contract, segments: tuple[Segment, ...], awarder: Awarder, number: int
    ) -> list[WorkloadScheduleRow]:
        contract.revision += 1
        offer = awarder.offer(contract, segments)
        booked = awarder.accept(contract, offer, self._minutes.log, number)
        contract.state = State.AWARDED
        contract.segments = segments
        contract.refusal_reason = None
        accounts = self._state.accounts[contract.key]
        accounts.conversation_id = self._id
        accounts.booked = booked
        return records.schedule_rows(contract, self._state, version=1)

    def _switch_started(self, number: int) -> list[WorkloadScheduleRow]:
        """Let started work whose window was withdrawn draw the rest from the grid, in place."""
        rows: list[WorkloadScheduleRow] = []
        for contract in self._state.ledger:
            if contract.state is not State.STARTED:
                continue
            accounts = self._state.accounts[contract.key]
            booked = withdrawn(
                accounts.booked,
                self._state.closed_windows,
                self._origin,
                partial(self._account, contract.power_w),
            )
            if booked == accounts.booked:
                continue
            accounts.booked = booked
            accounts.conversation_id = self._id
            contract.segments = tuple(item.segment for item in booked)
            contract.revision += 1
            total = add_up([item.account for item in booked])
            self._minutes.log.about(
                number,
                Performative.INFORM,
                contract,
                {
                    "what": "its window was withdrawn; the rest draws from the grid where it runs",
                    "segments": [self._awarder().segment(item.segment) for item in booked],
                    "power_w": contract.power_w,
                    "revision": contract.revision,
                },
                energy_cost_gbp=total.cost_gbp,
                congestion_gbp=sum(item.congestion_gbp for item in booked),
                carbon_gco2=total.gco2,
            )
            self._minutes.switched(contract)
            rows += records.schedule_rows(contract, self._state, version=1)
        return rows

    def _account(self, power_w: int, segment: Segment) -> Account:
        region_id = self._state.sites[segment.site].region_id
        return account_segment(segment, power_w, region_id, self._figures)

    def _report(self, accepted: int, rejected: int) -> ConversationReport:
        outcome = self._outcome
        return ConversationReport(
            conversation_id=self._id,
            why=self._why,
            workloads=outcome.workloads,
            rounds=len(outcome.rounds),
            messages=len(self._minutes.log.rows),
            accepted=accepted,
            rejected=rejected,
            cost_gbp=outcome.cost_gbp,
            bound_gbp=outcome.bound_gbp,
            gap=outcome.gap,
            per_cell=outcome.per_cell,
        )


def _steadily(hold_market: Callable[[], Outcome]) -> Outcome:
    """Hold a market, and hold it again from its start when a contractor was lost in the midst.

    Nothing is agreed before a market is over, and the same market over the same workloads has the
    same outcome; so a loss leaves no trace in what is decided.
    """
    for _ in range(HOLD_TRIES - 1):
        try:
            return hold_market()
        except AgentUnavailable:
            continue
    return hold_market()
