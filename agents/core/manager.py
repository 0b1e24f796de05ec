"""The manager: when to negotiate, and what follows from each tick of a run.

Pure: the clock, the grid, the contractors and the booking desk are arguments. The same ticks
give the same results, whoever carries them.
"""

from __future__ import annotations

from collections.abc import Container, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime

import numpy as np

from agents.core import records
from agents.core.accounting import CarbonTotals, Figures, account_baseline, account_segment
from agents.core.book import Registration
from agents.core.booking import BookingDesk
from agents.core.conversation import ConversationReport, Hall, ManagerOptions, hold
from agents.core.data_policy import (
    Grounds,
    Reach,
    filled,
    grounds_for,
    reach_of,
    why_wait,
    words_on,
)
from agents.core.digest import RunDigest
from agents.core.ledger import Contract, State
from agents.core.notices import NoticeBoard
from agents.core.run_state import Accounts, RunState
from agents.core.view import GridView, Site, window_id
from schema.orders import WindowUpdate
from schema.periods import ceil_half_hour, half_hour_number
from schema.rows import AgentNegotiationRow, WorkloadScheduleRow

Tellings = Mapping[str, tuple[records.StatusUpdate, ...]]


@dataclass(frozen=True, slots=True)
class TickResult:
    """What one tick decided: rows to store, and what to tell each organisation."""

    messages: tuple[AgentNegotiationRow, ...] = ()
    schedules: tuple[WorkloadScheduleRow, ...] = ()
    tellings: Tellings = field(default_factory=dict)
    conversation: ConversationReport | None = None


@dataclass(frozen=True, slots=True)
class Standing:
    """Where the workloads of a run stand."""

    registered: int
    awarded: int
    waiting: int
    missed: int
    carbon: CarbonTotals


class Manager:
    """One run's manager.

    Args:
        sites: All sites of all organisations, in a fixed order.
        options: How to decide.
        state: Of a run that goes on; None begins one. Its sites may have changed since.
        absent: Organisations that are known but not there: their work stays where it is.
    """

    def __init__(
        self,
        sites: Sequence[Site],
        options: ManagerOptions,
        state: RunState | None = None,
        *,
        absent: Container[str] = (),
    ) -> None:
        self.state = RunState(()) if state is None else state
        self._weaker = self.state.take_sites(sites)
        self._options = options
        self._absent = absent

    def opened(self, now: datetime) -> int:
        """Give the first half hour in which work may still start; never one before the last."""
        return max(half_hour_number(ceil_half_hour(now)), self.state.opened)

    def tick(
        self,
        now: datetime,
        view: GridView,
        registrations: Sequence[Registration],
        updates: Sequence[WindowUpdate],
        *,
        digest: RunDigest,
        hall: Hall,
        desk: BookingDesk,
    ) -> TickResult:
        """Take in what happened, negotiate if there is cause, and say what follows.

        Args:
            now: The run's clock.
            view: What is known from ``opened(now)`` on: the half hour that has begun is not
                offered any more.
            registrations: Of every organisation that is there.
            updates: What window providers changed by themselves.
            digest: Takes every decision.
            hall: The contractors.
            desk: Orders windows.
        """
        state, opened = self.state, view.origin
        state.see(view)
        state.opened = opened
        changed = {item.key: item for item in state.ledger.advance(half_hour_number(now), opened)}
        board = NoticeBoard(state, now, opened, state.figures(view), digest)
        fresh = self._register(registrations, view, digest)
        for contract in fresh:
            if not contract.in_time(opened):
                board.too_late(contract)
        self._take_notice(registrations, board)
        self._withdraw(updates, digest)
        reach = reach_of(view)
        people, waiting = self._people(reach)
        told = board.done()
        for contract in (*fresh, *self._news(registrations), *told.changed, *waiting):
            changed[contract.key] = contract
        result = TickResult(messages=told.messages, schedules=told.schedules)
        why = self._cause(
            people, view, fresh=fresh, freed=bool(told.changed), withdrawn=bool(updates)
        )
        if why is not None:
            result = self._converse(
                result, people, now, view, f"{why}{words_on(reach)}", digest, hall, desk, changed
            )
        if self._options.keep_over is not None:
            state.forget(opened - self._options.keep_over)
        return replace(result, tellings=self._tell(changed.values()))

    def _converse(
        self,
        before: TickResult,
        people: Sequence[Contract],
        now: datetime,
        view: GridView,
        why: str,
        digest: RunDigest,
        hall: Hall,
        desk: BookingDesk,
        changed: dict[int, Contract],
    ) -> TickResult:
        """Hold a conversation; what came before it goes before its words."""
        state = self.state
        must_run = [item.deadline for item in people if self._grounds[item.key] is Grounds.MUST_RUN]
        held = hold(
            state,
            now,
            filled(view, max(must_run)) if must_run else view,
            why,
            people=people,
            figures=state.figures(view),
            options=self._options,
            digest=digest,
            hall=hall,
            desk=desk,
        )
        changed.update((contract.key, contract) for contract in held.changed)
        state.unheard -= {contract.key for contract in people}
        state.last = view.origin
        state.value = self._value(view)
        state.value_origin = view.origin
        return TickResult(
            messages=(*before.messages, *held.messages),
            schedules=(*before.schedules, *held.schedules),
            conversation=held.report,
        )

    def rescore(self, later: Figures) -> TickResult:
        """Value every award and baseline again on what was published later."""
        state = self.state
        rows: list[WorkloadScheduleRow] = []
        for contract in state.ledger:
            accounts = state.accounts[contract.key]
            accounts.baseline_rescored_gco2 = account_baseline(contract, later).gco2
            again = [
                account_segment(
                    item.segment,
                    contract.power_w,
                    state.sites[item.segment.site].region_id,
                    later,
                ).gco2
                for item in accounts.booked
            ]
            accounts.rescored_gco2 = tuple(again)
            rows += records.schedule_rows(contract, state, version=2, rescored_gco2=again)
        return TickResult(schedules=tuple(rows), tellings=self._tell(state.ledger))

    def standing(self) -> Standing:
        """Add up where the run stands; carbon on the forecasts in force when decided."""
        contracts = self.state.ledger.contracts
        placed = {State.AWARDED, State.STARTED, State.COMPLETED}
        return Standing(
            registered=len(contracts),
            awarded=sum(contract.state in placed for contract in contracts),
            waiting=sum(contract.state is State.WAITING for contract in contracts),
            missed=sum(contract.state is State.MISSED for contract in contracts),
            carbon=self._carbon(),
        )

    def _carbon(self) -> CarbonTotals:
        totals = [0.0, 0.0, 0.0, 0.0]
        for contract in self.state.ledger:
            if contract.state is State.CANCELLED:
                continue
            accounts = self.state.accounts[contract.key]
            baseline = accounts.baseline.gco2 or 0.0
            baseline_later = accounts.baseline_rescored_gco2 or 0.0
            booked, booked_later = baseline, baseline_later
            if accounts.booked:
                booked = sum(item.account.gco2 or 0.0 for item in accounts.booked)
                booked_later = sum(figure or 0.0 for figure in accounts.rescored_gco2)
            for index, figure in enumerate((baseline, booked, baseline_later, booked_later)):
                totals[index] += figure / 1000.0
        return CarbonTotals(*totals)

    # -- pieces ----------------------------------------------------------------------------------

    def _register(
        self, registrations: Sequence[Registration], view: GridView, digest: RunDigest
    ) -> list[Contract]:
        value = self._value(view)
        known = value[np.isfinite(value)]
        dearest = float(known.max()) if known.size else 0.0
        figures = self.state.figures(view)
        fresh: list[Contract] = []
        for registration in sorted(registrations, key=lambda item: item.organisation):
            fresh += self.state.ledger.register(
                registration, dearest_gbp_per_kwh=dearest, opened=view.origin
            )
        for contract in fresh:
            self.state.accounts[contract.key] = Accounts(account_baseline(contract, figures))
            digest.add("register", contract.organisation, contract.name, contract.refusal_nano)
        return fresh

    def _withdraw(self, updates: Sequence[WindowUpdate], digest: RunDigest) -> None:
        """Close windows whose provider changed its mind; their work will be placed again."""
        for update in updates:
            name = window_id(*update.key)
            self.state.bookings.forget(name, update.organisation)
            self.state.closed_windows.add(name)
            digest.add("update", name, update.organisation, str(update.reason))

    def _take_notice(self, registrations: Sequence[Registration], board: NoticeBoard) -> None:
        """Take up what owners called off, and places that are not there any more."""
        for registration in sorted(registrations, key=lambda item: item.organisation):
            for contract in self.state.ledger.find(registration.cancelled.tolist()):
                board.call_off(contract)
        for contract in self.state.ledger if self._weaker else ():
            site = contract.segments[0].site if contract.segments else -1
            if contract.state is State.AWARDED and site in self._weaker:
                board.lose_place(contract, self.state.sites[site].name)
        self._weaker = frozenset()

    def _news(self, registrations: Sequence[Registration]) -> list[Contract]:
        """Give work that is over and that its agent still tells of: it has not heard."""
        return [
            contract
            for registration in registrations
            for contract in self.state.ledger.find(registration.key.tolist())
            if contract.state.over
        ]

    def _people(self, reach: Reach) -> tuple[list[Contract], list[Contract]]:
        """Give who takes part in a conversation now, and who has just begun to wait for figures."""
        people: list[Contract] = []
        waiting: list[Contract] = []
        self._grounds: dict[int, Grounds] = {}
        for contract in self.state.ledger.participants(reach.origin, self._options.horizon):
            if contract.organisation in self._absent:
                continue
            grounds = grounds_for(
                reach,
                contract.regions,
                release=contract.release,
                duration=contract.duration,
                deadline=contract.deadline,
            )
            self._grounds[contract.key] = grounds
            if grounds is not Grounds.WAIT:
                people.append(contract)
            elif contract.state is State.WAITING:
                self.state.unheard.add(contract.key)
                reason = why_wait(contract.duration, contract.deadline)
                if contract.refusal_reason != reason:
                    contract.refusal_reason = reason
                    waiting.append(contract)
        return people, waiting

    def _cause(
        self,
        people: Sequence[Contract],
        view: GridView,
        *,
        fresh: Sequence[Contract],
        freed: bool,
        withdrawn: bool,
    ) -> str | None:
        state, options, number = self.state, self._options, view.origin
        if not people:
            return None
        if any(self._grounds.get(contract.key) is not Grounds.WAIT for contract in fresh):
            return "workloads arrived"
        heard = [self._grounds[item.key] for item in people if item.key in state.unheard]
        if heard:
            late = all(grounds is Grounds.MUST_RUN for grounds in heard)
            return "a deadline comes near" if late else "figures came in"
        if withdrawn:
            return "a window changed"
        if freed:
            return "work was called off"
        if state.last is not None and number - state.last >= options.renegotiate_every:
            return f"{options.renegotiate_every // 2} hours passed"
        if self._shift(view) > options.forecast_shift:
            return "the forecast moved"
        return None

    def _shift(self, view: GridView) -> float:
        """Mean change of the grid's value since the last conversation, as a part of its mean."""
        if self.state.value is None:
            return 0.0
        before = self.state.value[:, view.origin - self.state.value_origin :]
        now = self._value(view)[:, : before.shape[1]]
        known = np.isfinite(before) & np.isfinite(now)
        if not known.any():
            return 0.0
        mean = float(np.abs(before[known]).mean())
        return float(np.abs(now[known] - before[known]).mean()) / max(mean, 1e-9)

    def _value(self, view: GridView) -> np.ndarray[tuple[int, ...], np.dtype[np.float64]]:
        return view.value(self._options.carbon_value_gbp_per_kg)

    def _tell(self, contracts: Iterable[Contract]) -> Tellings:
        told: dict[str, list[records.StatusUpdate]] = {}
        for contract in contracts:
            update = records.status_update(contract, self.state.accounts[contract.key])
            told.setdefault(contract.organisation, []).append(update)
        return {organisation: tuple(updates) for organisation, updates in told.items()}
