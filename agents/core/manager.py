"""The manager: when to negotiate, and what follows from each tick of a run.

Pure: the clock, the grid, the contractors and the booking desk are arguments. The same ticks
give the same results, whoever carries them.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime

import numpy as np

from agents.core import records
from agents.core.accounting import CarbonTotals, Figures, account_baseline, account_segment
from agents.core.book import Registration
from agents.core.booking import BookingDesk
from agents.core.conversation import ConversationReport, Hall, ManagerOptions, hold
from agents.core.digest import RunDigest
from agents.core.ledger import Contract, State
from agents.core.run_state import Accounts, RunState
from agents.core.view import GridView, Site, window_id
from schema.orders import WindowUpdate
from schema.periods import half_hour_number
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
        state: Of a run that goes on; None begins one.
    """

    def __init__(
        self, sites: Sequence[Site], options: ManagerOptions, state: RunState | None = None
    ) -> None:
        self.state = RunState(tuple(sites)) if state is None else state
        self._options = options

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
        """Take in what happened, negotiate if there is cause, and say what follows."""
        state, number = self.state, half_hour_number(now)
        state.see(view)
        changed = {contract.key: contract for contract in state.ledger.advance(number)}
        fresh = self._register(registrations, view, digest)
        changed.update((contract.key, contract) for contract in fresh)
        self._withdraw(updates, digest)
        why = self._cause(number, view, fresh=bool(fresh), withdrawn=bool(updates))
        if why is None:
            return TickResult(tellings=self._tell(changed.values()))
        held = hold(
            state, now, view, why, options=self._options, digest=digest, hall=hall, desk=desk
        )
        changed.update((contract.key, contract) for contract in held.changed)
        state.last = number
        state.value = self._value(view)
        state.value_origin = view.origin
        return TickResult(
            messages=held.messages,
            schedules=held.schedules,
            tellings=self._tell(changed.values()),
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
            fresh += self.state.ledger.register(registration, dearest_gbp_per_kwh=dearest)
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

    def _cause(self, number: int, view: GridView, *, fresh: bool, withdrawn: bool) -> str | None:
        state, options = self.state, self._options
        if not state.ledger.participants(number, options.horizon):
            return None
        if fresh:
            return "workloads arrived"
        if withdrawn:
            return "a window changed"
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
