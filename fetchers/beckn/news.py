"""What providers tell of orders and windows after they were booked: status, updates, ends; pure.

Each function notes the news in the order book, adds rows to the sink, and gives the updates that
the market must hear of. A message counts once; one about an order that is over or given up
concerns nobody any more.
"""

from __future__ import annotations

from dataclasses import replace
from datetime import datetime
from hashlib import blake2b

import orjson

from fetchers.beckn.book import BookedOrder, OrderBook, key_text
from fetchers.beckn.callbacks import OrderedWindow, OrderView, add_order, alert_text, read_order
from fetchers.beckn.messages import received_row
from fetchers.beckn.wire import Envelope
from fetchers.parsing import ParseContext, RowSink
from schema.orders import WindowKey, WindowUpdate
from schema.rows import ComputeWindowRow, GridZoneRow, OfferRow
from schema.rows.beckn import WindowState

_KNOWN = (ComputeWindowRow, OfferRow, GridZoneRow)
"""Rows that are made from what the book knows, not from a callback that leaves much unsaid."""


def take_status(
    book: OrderBook, envelope: Envelope, planned: datetime, context: ParseContext, sink: RowSink
) -> list[WindowUpdate]:
    """Take in how an order stands: on_status, or an on_cancel that came by itself."""
    view = read_order(envelope, sink)
    if view is None:
        return []
    _add_reported(envelope, view, sink, envelope.context.timestamp or context.now)
    return _ended(book, view, envelope.context.message_id, planned, sink)


def take_update(
    book: OrderBook, envelope: Envelope, planned: datetime, context: ParseContext, sink: RowSink
) -> list[WindowUpdate]:
    """Take in an on_update; a repeated one does nothing."""
    arrived = envelope.context.timestamp or context.now or planned
    row = received_row(envelope, retrieved_at=arrived)
    digest = blake2b(orjson.dumps(row.body), digest_size=8).hexdigest()
    if book.first_seen(f"{row.message_id}|{row.action}", digest) is not True:
        return []
    sink.add("context", type(row), **dict(row))
    view = read_order(envelope, sink)
    if view is None:
        return []
    _add_reported(envelope, view, sink, arrived)
    named = book.orders.get(view.order_id or "")
    if named is not None and named.settled:
        return []
    if not view.windows:
        return _ended(book, view, row.message_id, planned, sink)
    updates: list[WindowUpdate] = []
    for line in view.windows:
        updates += _changed_window(book, view, line, row.message_id, planned, sink)
    return updates


def _add_reported(
    envelope: Envelope, view: OrderView, sink: RowSink, observed_at: datetime | None
) -> None:
    found = RowSink(rejected=sink.rejected)
    add_order(envelope, view, found, observed_at=observed_at)
    sink.rows.extend(row for row in found.rows if not isinstance(row, _KNOWN))


def _ended(
    book: OrderBook, view: OrderView, message_id: str | None, planned: datetime, sink: RowSink
) -> list[WindowUpdate]:
    """Settle an order whose window is over, or that the provider ended; that one is news."""
    booked = book.orders.get(view.order_id or "")
    if booked is None or booked.settled:
        return []
    over = booked.order.ends_at <= planned
    if not over and not view.lost:
        return []
    book.orders[booked.order_id] = replace(booked, settled=True)
    if over:
        return []
    key, line, reason = booked.order.key, view.window(booked.order.item_id), _reason(view)
    _add_changed_rows(book, key, line, WindowState.REFUSED, reason, planned, sink)
    book.settle(key, WindowState.REFUSED, reason, planned)
    told = message_id or booked.order_id
    return [_update_of(booked, told, planned, line, reason, lost=True)]


def _changed_window(
    book: OrderBook,
    view: OrderView,
    line: OrderedWindow,
    message_id: str,
    planned: datetime,
    sink: RowSink,
) -> list[WindowUpdate]:
    orders = _concerned(book, view, line)
    state = WindowState.REFUSED if view.lost else WindowState.CHANGED
    reason = _reason(view)
    for key in dict.fromkeys([booked.order.key for booked in orders] or _keys_of(book, line)):
        _add_changed_rows(book, key, line, state, reason, planned, sink)
        book.settle(key, state, reason, planned)
    for booked in orders:
        if view.lost:
            book.orders[booked.order_id] = replace(booked, settled=True)
    return [
        _update_of(booked, message_id, planned, line, reason, lost=view.lost) for booked in orders
    ]


def _reason(view: OrderView) -> str:
    return alert_text(view) or f"the provider sent {view.action} ({view.status})"


def _concerned(book: OrderBook, view: OrderView, line: OrderedWindow) -> list[BookedOrder]:
    """Give the orders that an update is about: the one it names, or all of that window."""
    named = book.orders.get(view.order_id or "")
    if named is not None:
        return [named]
    starts = line.facts.starts_at
    return sorted(
        (
            booked
            for booked in book.orders.values()
            if booked.order.item_id == line.item_id
            and starts in (None, booked.order.starts_at)
            and not booked.settled
        ),
        key=lambda booked: (booked.order.organisation, booked.order_id),
    )


def _keys_of(book: OrderBook, line: OrderedWindow) -> list[WindowKey]:
    starts = line.facts.starts_at
    return [
        (row.bpp_id, row.item_id, row.starts_at)
        for row in book.windows.values()
        if row.item_id == line.item_id and starts in (None, row.starts_at)
    ]


def _add_changed_rows(
    book: OrderBook,
    key: WindowKey,
    line: OrderedWindow | None,
    state: WindowState,
    reason: str,
    planned: datetime,
    sink: RowSink,
) -> None:
    row = book.windows.get(key_text(key))
    terms = book.terms_of(key)
    version = book.next_version(key, planned)
    if row is not None:
        fixed = {"state": state, "state_reason": reason, "version": version}
        sink.rows.append(row.model_copy(update=_news(line) | fixed))
    if terms is None or line is None or line.price_per_kwh is None or not line.currency:
        return
    sink.add(
        line.path,
        OfferRow,
        bpp_id=key[0],
        offer_id=terms.offer_id,
        item_id=key[1],
        window_starts_at=key[2],
        price_per_kwh=line.price_per_kwh,
        currency=line.currency,
        price_stability=line.price_stability or terms.price_stability,
        version=version,
    )


def _news(line: OrderedWindow | None) -> dict[str, object]:
    """Give the columns of a window that an update names."""
    if line is None:
        return {}
    facts = line.facts
    named = {
        "capacity_kw": facts.available_kw,
        "intensity_gco2_per_kwh": facts.intensity_gco2_per_kwh,
        "renewable_pct": facts.renewable_pct,
        "slot_id": facts.slot_id,
    }
    return {name: value for name, value in named.items() if value is not None}


def _update_of(
    booked: BookedOrder,
    message_id: str,
    planned: datetime,
    line: OrderedWindow | None,
    reason: str,
    *,
    lost: bool,
) -> WindowUpdate:
    """Give a change to a booked window as the market is told of it."""
    order, facts = booked.order, line.facts if line is not None else None
    return WindowUpdate(
        bpp_id=order.bpp_id,
        item_id=order.item_id,
        starts_at=order.starts_at,
        organisation=order.organisation,
        conversation_id=order.conversation_id,
        order_id=booked.order_id,
        message_id=message_id,
        received_at=planned,
        lost=lost,
        capacity_kw=facts.available_kw if facts is not None else None,
        limit_kw=facts.active_kw if facts is not None else None,
        price_per_kwh=line.price_per_kwh if line is not None else None,
        currency=line.currency if line is not None else None,
        intensity_gco2_per_kwh=facts.intensity_gco2_per_kwh if facts is not None else None,
        reason=reason,
    )
