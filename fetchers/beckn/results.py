"""What an order's end makes of its window: a standing in the book, and the window's rows."""

from __future__ import annotations

from fetchers.beckn.book import BookedOrder, OrderBook, key_text
from fetchers.beckn.orders import OrderIds
from schema.orders import OrderOutcome, OrderResult, WindowTerms
from schema.rows import OfferRow, Row
from schema.rows.beckn import WindowState

LONGEST_REASON = 1000
_STATE_OF = {
    OrderOutcome.BOOKED: WindowState.BOOKED,
    OrderOutcome.REFUSED: WindowState.REFUSED,
    OrderOutcome.CHANGED: WindowState.CHANGED,
}


def note_result(book: OrderBook, ids: OrderIds, result: OrderResult) -> list[Row]:
    """Note in the book how an order ended; give the window's rows."""
    order = ids.order
    if result.outcome is OrderOutcome.BOOKED and result.terms is not None:
        booked = BookedOrder(order, ids.order_id, ids.transaction_id, result.terms)
        book.orders[ids.order_id] = booked
    holders = sorted(one.order.organisation for one in book.booked_for(order.key))
    state, reason = _STATE_OF[result.outcome], result.reason
    if holders and state is WindowState.REFUSED:
        # Another organisation holds the window: it is not lost to the market.
        state = WindowState.BOOKED
        reason = f"booked for {', '.join(holders)}; refused to {order.organisation}: {reason}"
    elif state is WindowState.BOOKED:
        reason = f"booked for {', '.join(holders)}"
    book.settle(order.key, state, reason, order.decided_at)
    return window_rows(book, ids, result.terms, state, reason)


def window_rows(
    book: OrderBook,
    ids: OrderIds,
    terms: WindowTerms | None,
    state: WindowState,
    reason: str | None,
) -> list[Row]:
    """Give a window's row after an order's step, and its offer where the price moved."""
    key = ids.order.key
    row = book.windows.get(key_text(key))
    if row is None:
        return []
    version = book.next_version(key, ids.order.decided_at)
    update: dict[str, object] = {
        "state": state,
        "state_reason": reason[:LONGEST_REASON] if reason else None,
        "version": version,
    }
    rows: list[Row] = []
    if terms is not None:
        update |= {"capacity_kw": terms.capacity_kw, "slot_id": terms.slot_id}
        update |= {"intensity_gco2_per_kwh": terms.intensity_gco2_per_kwh}
        listed = book.terms_of(key)
        if listed is not None and listed.price_per_kwh != terms.price_per_kwh:
            rows.append(
                OfferRow(
                    bpp_id=terms.bpp_id,
                    offer_id=terms.offer_id,
                    item_id=terms.item_id,
                    window_starts_at=terms.starts_at,
                    price_per_kwh=terms.price_per_kwh,
                    currency=terms.currency,
                    price_stability=terms.price_stability,
                    version=version,
                )
            )
    return [row.model_copy(update=update), *rows]
