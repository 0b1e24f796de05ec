"""The message of each step of an order; the same order builds the same bytes."""

from __future__ import annotations

from fetchers.beckn.endpoints import (
    BecknParty,
    OrderDraft,
    Stamp,
    build_cancel,
    build_confirm,
    build_init,
    build_select,
    build_status,
)
from fetchers.beckn.orders import OrderIds, OrderState, Step
from fetchers.request import Request

LONGEST_REASON = 200


def step_message(base_url: str, party: BecknParty, ids: OrderIds, state: OrderState) -> Request:
    """Build what is to be sent for ``state.step``."""
    order = ids.order
    stamp = Stamp(ids.message_id(state.step.value), order.decided_at)
    draft = OrderDraft(
        order_id=ids.order_id,
        transaction_id=ids.transaction_id,
        terms=state.terms,
        buyer=order.organisation,
        load_kw=order.load_kw,
    )
    match state.step:
        case Step.SELECT:
            return build_select(base_url, party, stamp, draft)
        case Step.INIT:
            return build_init(base_url, party, stamp, draft)
        case Step.CONFIRM:
            return build_confirm(base_url, party, stamp, draft)
        case Step.STATUS:
            return build_status(base_url, party, stamp, draft)
        case Step.CANCEL | Step.DONE:
            reason = state.result.reason if state.result is not None else ""
            return build_cancel(base_url, party, stamp, draft, reason=reason[:LONGEST_REASON])
