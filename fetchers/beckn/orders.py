"""One order for one window, from select to confirm, as a pure state machine.

    select ──on_select──▶ init ──on_init──▶ confirm ──on_confirm──▶ booked
       │                    │                  │ no answer, or neither confirmed nor refused
       ├─ NACK, lost        ├─ NACK, lost      ▼
       │  no answer         │  no answer     status ──confirmed──▶ booked
       ▼                    ▼                  │ anything else
    refused              refused             cancel ──▶ refused
       other capacity or price at any step ▶ changed (after confirm: cancel first)

Ids follow from the run, the window, the organisation and the attempt, so that a process which
starts again sends the same messages, and a provider can tell them for repeats.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from datetime import datetime
from enum import StrEnum

from fetchers.beckn.callbacks import OrderedWindow, OrderView
from fetchers.beckn.wire import Envelope
from schema.ids import row_id
from schema.orders import OrderOutcome, OrderResult, WindowOrder, WindowTerms

#: Powers and prices that differ by less are the same figure, written twice.
TOLERANCE = 1e-6


@dataclass(frozen=True, slots=True)
class OrderIds:
    """The ids of one order; the same whenever the same order is made."""

    run_id: str
    order: WindowOrder

    @property
    def transaction_id(self) -> str:
        """Spans select to cancel."""
        return self._named("transaction")

    @property
    def order_id(self) -> str:
        """The order's own id, chosen by the buyer."""
        return self._named("order")

    def message_id(self, action: str, at: datetime | None = None) -> str:
        """Give the id of the message for an action; ``at`` where an action is repeated."""
        return self._named("message", action, at)

    def _named(self, *what: str | datetime | None) -> str:
        order = self.order
        return row_id(
            "beckn_order",
            self.run_id,
            *order.key,
            order.organisation,
            order.conversation_id,
            order.attempt,
            *what,
        )


class Step(StrEnum):
    """What is to be sent next."""

    SELECT = "select"
    INIT = "init"
    CONFIRM = "confirm"
    STATUS = "status"
    CANCEL = "cancel"
    DONE = "done"


@dataclass(frozen=True, slots=True)
class OrderState:
    """Where an order stands: the next step, the terms so far, and the end once it is known."""

    step: Step
    terms: WindowTerms
    result: OrderResult | None = None


@dataclass(frozen=True, slots=True)
class Answer:
    """What came back for one step: a callback, or the reason why none did."""

    envelope: Envelope | None = None
    view: OrderView | None = None
    failure: str | None = None


def start(terms: WindowTerms) -> OrderState:
    """Give the state of an order that is still to be sent."""
    return OrderState(Step.SELECT, terms)


def apply_answer(ids: OrderIds, state: OrderState, answer: Answer) -> OrderState:
    """Give the state after the answer to ``state.step``."""
    refusal = _refusal(state.step, answer)
    match state.step:
        case Step.SELECT | Step.INIT:
            return _after_quote(ids, state, answer, refusal)
        case Step.CONFIRM:
            return _after_confirm(ids, state, answer, refusal)
        case Step.STATUS:
            return _after_status(ids, state, answer, refusal)
        case Step.CANCEL | Step.DONE:
            # Whatever a provider answers to a cancellation, we do not use the window.
            return replace(state, step=Step.DONE)


def _after_quote(
    ids: OrderIds, state: OrderState, answer: Answer, refusal: str | None
) -> OrderState:
    if refusal is not None:
        return _ended(ids, state, OrderOutcome.REFUSED, refusal)
    quoting = state.step is Step.SELECT
    terms = _terms(ids.order, state.terms, answer, quoting=quoting)
    change = _change(ids.order, terms, answer, reserved=not quoting)
    state = replace(state, terms=terms)
    if change is not None:
        return _ended(ids, state, OrderOutcome.CHANGED, change)
    return replace(state, step=Step.INIT if quoting else Step.CONFIRM)


def _after_status(
    ids: OrderIds, state: OrderState, answer: Answer, refusal: str | None
) -> OrderState:
    if refusal is None and answer.view is not None and answer.view.booked:
        return _ended(ids, state, OrderOutcome.BOOKED, "")
    shown = refusal or f"the order's status is {_status(answer)}"
    reason = f"confirm was not answered clearly; asked again, {shown}; cancelled"
    return _cancelling(ids, state, OrderOutcome.REFUSED, reason)


def _after_confirm(
    ids: OrderIds, state: OrderState, answer: Answer, refusal: str | None
) -> OrderState:
    if answer.failure is not None:
        # The message may have arrived: only the provider knows, so it is asked.
        return replace(state, step=Step.STATUS)
    if refusal is not None:
        return _ended(ids, state, OrderOutcome.REFUSED, refusal)
    if answer.view is None or not answer.view.booked:
        return replace(state, step=Step.STATUS)
    terms = _terms(ids.order, state.terms, answer, quoting=False)
    change = _change(ids.order, terms, answer, reserved=True)
    state = replace(state, terms=terms)
    if change is not None:
        return _cancelling(ids, state, OrderOutcome.CHANGED, f"{change}; cancelled")
    return _ended(ids, state, OrderOutcome.BOOKED, "")


def _refusal(step: Step, answer: Answer) -> str | None:
    if answer.failure is not None:
        return f"{step.value} was not answered: {answer.failure}"
    envelope, view = answer.envelope, answer.view
    if envelope is None:
        return f"{step.value} was not answered"
    if envelope.refused:
        return f"{step.value} was refused: {envelope.error or 'NACK without a reason'}"
    if view is None:
        return f"{step.value} was answered without an order"
    if view.lost:
        return f"{step.value} was answered with order status {view.status}"
    return None


def _status(answer: Answer) -> str:
    status = answer.view.status if answer.view is not None else None
    return status or "unknown"


def _line(order: WindowOrder, answer: Answer) -> OrderedWindow | None:
    return answer.view.window(order.item_id) if answer.view is not None else None


def _terms(order: WindowOrder, known: WindowTerms, answer: Answer, *, quoting: bool) -> WindowTerms:
    """Give the terms after an answer: what it says, and what was known for the rest.

    Only a quote changes the capacity: later answers show what is left beside our own order.
    """
    line = _line(order, answer)
    if line is None:
        return known
    facts = line.facts
    price = line.price_per_kwh
    return replace(
        known,
        ends_at=facts.ends_at or known.ends_at,
        capacity_kw=(
            facts.available_kw if quoting and facts.available_kw is not None else known.capacity_kw
        ),
        price_per_kwh=known.price_per_kwh if price is None else price,
        currency=line.currency or known.currency,
        price_stability=line.price_stability or known.price_stability,
        slot_id=facts.slot_id or known.slot_id,
        intensity_gco2_per_kwh=(
            known.intensity_gco2_per_kwh
            if facts.intensity_gco2_per_kwh is None
            else facts.intensity_gco2_per_kwh
        ),
        renewable_pct=known.renewable_pct if facts.renewable_pct is None else facts.renewable_pct,
    )


def _change(
    order: WindowOrder, terms: WindowTerms, answer: Answer, *, reserved: bool
) -> str | None:
    """Say which term is no longer the one the market counted on.

    Before the reservation the free capacity must cover the order; from init on the provider
    shows what it reserved, and its free capacity is already without it.
    """
    line = _line(order, answer)
    facts = line.facts if line is not None else None
    room = None
    if facts is not None:
        room = facts.reserved_kw if reserved else facts.available_kw
    if terms.currency != order.currency:
        return f"the price is now in {terms.currency}, ordered in {order.currency}"
    if abs(terms.price_per_kwh - order.price_per_kwh) > TOLERANCE:
        return (
            f"the price is now {terms.price_per_kwh:g} {terms.currency}/kWh, "
            f"ordered at {order.price_per_kwh:g}"
        )
    if facts is not None and facts.starts_at not in (None, order.starts_at):
        return f"the window now starts at {facts.starts_at:%Y-%m-%dT%H:%MZ}"
    if facts is not None and facts.ends_at is not None and facts.ends_at < order.ends_at:
        return f"the window now ends at {facts.ends_at:%Y-%m-%dT%H:%MZ}"
    if room is not None and room < order.peak_kw * (1 - TOLERANCE):
        what = "reserved" if reserved else "offered"
        return f"{room:g} kW are {what}, ordered are {order.peak_kw:g} kW"
    return None


def _ended(ids: OrderIds, state: OrderState, outcome: OrderOutcome, reason: str) -> OrderState:
    result = OrderResult(ids.order, outcome, ids.order_id, reason, state.terms)
    return replace(state, step=Step.DONE, result=result)


def _cancelling(ids: OrderIds, state: OrderState, outcome: OrderOutcome, reason: str) -> OrderState:
    ended = _ended(ids, state, outcome, reason)
    return replace(ended, step=Step.CANCEL)
