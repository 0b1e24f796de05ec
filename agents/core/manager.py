"""The manager: when to negotiate, over what, and what becomes of the outcome.

Pure: the clock, the grid, the contractors and the booking desk are arguments. One call of
``tick`` is one moment of the run; its result holds every row to store and everything to tell
the contractors. The same ticks give the same results.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Protocol

import numpy as np

from agents.core import records
from agents.core.accounting import Account, Figures, account_baseline, schedule_account
from agents.core.bargain import Bargain, Settlement, Warm
from agents.core.book import Participants, Registration
from agents.core.booking import BookingDesk, Bookings
from agents.core.digest import RunDigest
from agents.core.ledger import Contract, Ledger, State
from agents.core.log import ConversationLog
from agents.core.market.contractors import Contractors
from agents.core.market.units import Ints
from agents.core.view import GridView, Site, WindowOffer, market_of
from schema.orders import OrderOutcome, OrderResult, WindowUpdate
from schema.periods import half_hour_number
from schema.rows import AgentNegotiationRow, WorkloadScheduleRow


@dataclass(frozen=True, slots=True)
class ManagerOptions:
    """How the manager decides; periods are half hours."""

    seed: int
    carbon_value_gbp_per_kg: float = 0.264
    horizon: int = 96
    """Intensity is published 48 hours ahead, so no conversation looks further."""
    renegotiate_every: int = 12
    forecast_shift: float = 0.10
    """Mean change of the grid's value, as a part of its mean, that calls for a new conversation."""
    quality: str = "normal"


class Hall(Protocol):
    """Where contractors gather for a conversation."""

    def open(
        self,
        conversation_id: str,
        *,
        origin: int,
        periods: int,
        site_region: Ints,
        who: Mapping[str, Participants],
    ) -> Contractors:
        """Begin a conversation with some of each organisation's workloads."""
        ...


@dataclass(frozen=True, slots=True)
class ConversationReport:
    """One conversation in figures."""

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
    lumpiness: float
    """Workloads per cell: the fewer, the larger the unavoidable gap."""


@dataclass(frozen=True, slots=True, eq=False)
class TickResult:
    """What one tick decided."""

    negotiations: tuple[AgentNegotiationRow, ...] = ()
    schedules: tuple[WorkloadScheduleRow, ...] = ()
    tellings: Mapping[str, tuple[records.StatusUpdate, ...]] = field(default_factory=dict)
    conversation: ConversationReport | None = None


class Manager:
    """One run's manager."""

    def __init__(self, sites: Sequence[Site], options: ManagerOptions) -> None:
        self.ledger = Ledger()
        self.bookings = Bookings()
        self.digest = RunDigest()
        self._sites = tuple(sites)
        self._site_region = np.array([site.region_id for site in sites], np.int64)
        self._options = options
        self._offers: dict[str, WindowOffer] = {}
        self._refused_windows: set[str] = set()
        self._accounts: dict[int, records.Accounts] = {}
        self._warm: Warm | None = None
        self._value: np.ndarray[tuple[int, ...], np.dtype[np.float64]] | None = None
        self._value_origin = 0
        self._last: int | None = None
        self._count = 0

    # -- one tick --------------------------------------------------------------------------------

    def tick(
        self,
        now: datetime,
        view: GridView,
        registrations: Sequence[Registration],
        updates: Sequence[WindowUpdate],
        hall: Hall,
        desk: BookingDesk,
    ) -> TickResult:
        """Take in what happened, negotiate if there is cause, and say what follows."""
        number = half_hour_number(now)
        figures = self._figures(view)
        changed = {contract.key: contract for contract in self.ledger.advance(number)}
        fresh = self._register(registrations, view, figures)
        changed.update({contract.key: contract for contract in fresh})
        why = self._cause(number, view, fresh=bool(fresh), updates=updates)
        if why is None:
            return TickResult(tellings=self._tell(changed.values()))
        conversation = _Conversation(self, now, view, figures, why)
        result = conversation.hold(hall, desk)
        changed.update(conversation.changed)
        self._remember(number, view)
        return TickResult(
            negotiations=tuple(conversation.log.rows),
            schedules=tuple(conversation.schedules),
            tellings=self._tell(changed.values()),
            conversation=result,
        )

    def _register(
        self, registrations: Sequence[Registration], view: GridView, figures: Figures
    ) -> list[Contract]:
        value = view.value(self._options.carbon_value_gbp_per_kg)
        known = value[np.isfinite(value)]
        dearest = float(known.max()) if known.size else 0.0
        fresh: list[Contract] = []
        for registration in sorted(registrations, key=lambda item: item.organisation):
            fresh += self.ledger.register(registration, dearest_gbp_per_kwh=dearest)
        for contract in fresh:
            self._accounts[contract.key] = records.Accounts(account_baseline(contract, figures))
            self.digest.add("register", contract.organisation, contract.name, contract.power_w)
        return fresh

    def _figures(self, view: GridView) -> Figures:
        for offer in view.windows:
            self._offers[offer.window_id] = offer
        figures = view.figures()
        known = {key: offer for key, offer in self._offers.items() if offer.unusable() is None}
        return Figures(
            origin=figures.origin,
            intensity=figures.intensity,
            price=figures.price,
            window_intensity={
                key: float(offer.intensity_gco2_per_kwh or 0.0) for key, offer in known.items()
            },
            window_price={key: float(offer.price_per_kwh or 0.0) for key, offer in known.items()},
        )

    def _cause(
        self, number: int, view: GridView, *, fresh: bool, updates: Sequence[WindowUpdate]
    ) -> str | None:
        lost = self._apply_updates(updates)
        if not self.ledger.participants(number, self._options.horizon):
            return None
        if fresh:
            return "workloads arrived"
        if lost:
            return "a window changed"
        if self._last is not None and number - self._last >= self._options.renegotiate_every:
            return f"{self._options.renegotiate_every // 2} hours passed"
        if self._shift(view) > self._options.forecast_shift:
            return "the forecast moved"
        return None

    def _apply_updates(self, updates: Sequence[WindowUpdate]) -> bool:
        for update in updates:
            window_id = self._window_id(update.key)
            self.bookings.forget(window_id, update.organisation)
            if update.lost:
                self._refused_windows.add(window_id)
        return bool(updates)

    def _window_id(self, key: tuple[str, str, datetime]) -> str:
        return records.window_id(*key)

    def _shift(self, view: GridView) -> float:
        """Mean change of the grid's value since the last conversation, as a part of its mean."""
        if self._value is None:
            return 0.0
        value = view.value(self._options.carbon_value_gbp_per_kg)
        moved = view.origin - self._value_origin
        before = self._value[:, moved:]
        both = before.shape[1]
        now = value[:, :both]
        known = np.isfinite(before) & np.isfinite(now)
        if not known.any():
            return 0.0
        mean = float(np.abs(before[known]).mean())
        return float(np.abs(now[known] - before[known]).mean()) / max(mean, 1e-9)

    def _remember(self, number: int, view: GridView) -> None:
        self._last = number
        self._value = view.value(self._options.carbon_value_gbp_per_kg)
        self._value_origin = view.origin

    def _tell(
        self, contracts: Sequence[Contract] | object
    ) -> dict[str, tuple[records.StatusUpdate, ...]]:
        told: dict[str, list[records.StatusUpdate]] = {}
        for contract in contracts:  # type: ignore[attr-defined]
            update = records.status_update(contract, self._accounts[contract.key])
            told.setdefault(contract.organisation, []).append(update)
        return {organisation: tuple(updates) for organisation, updates in told.items()}

    # -- the end of a run --------------------------------------------------------------------------
