"""Beckn's plan: discover windows, ask after orders, take in what providers send by themselves."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from datetime import datetime, timedelta
from hashlib import blake2b
from typing import Any, Protocol, runtime_checkable

import orjson

from fetchers.beckn.book import (
    BookedOrder,
    OrderBook,
    catalogue,
    key_text,
    window_version,
)
from fetchers.beckn.callbacks import OrderedWindow, OrderView, add_order, alert_text, read_order
from fetchers.beckn.catalog import add_catalogs
from fetchers.beckn.endpoints import (
    BecknParty,
    OrderDraft,
    Stamp,
    build_discover,
    build_status,
)
from fetchers.beckn.messages import received_row, sent_row
from fetchers.beckn.orders import OrderIds
from fetchers.beckn.parse import ENDPOINTS
from fetchers.beckn.wire import Envelope, read_envelopes
from fetchers.parsing import ParseContext, RowSink
from fetchers.plan import EPOCH, Feed
from fetchers.reply import Reply
from fetchers.request import Request
from fetchers.sources import BasePlan, FeedTurn, Reading
from schema.errors import SourcePayloadInvalid
from schema.ids import row_id
from schema.orders import WindowKey, WindowUpdate
from schema.readings import Source
from schema.rows import ComputeWindowRow, GridZoneRow, OfferRow, Row
from schema.rows.beckn import WindowState

DISCOVER = Feed("on-discover", timedelta(minutes=5))
STATUS = Feed("on-status", timedelta(minutes=30))


class Callback(Protocol):
    """One message that a provider sent by itself."""

    @property
    def at(self) -> datetime:
        """When it was sent."""
        ...

    @property
    def body(self) -> bytes:
        """Its exact bytes."""
        ...


@runtime_checkable
class CallbackSource(Protocol):
    """Where unsolicited messages come from: a replay's transport, or our own address."""

    def callbacks(self, since: datetime, until: datetime) -> Sequence[Callback]:
        """Give those sent after ``since`` and up to ``until``."""
        ...


class BecknPlan(BasePlan):
    """Windows on offer, and the orders we hold.

    Args:
        base_url: Address of the network.
        run_id: The run; ids of messages follow from it.
        party: Who we are.
        callbacks: Where unsolicited messages come from. Without it (the synchronous sandbox) a
            booked order's status is asked while its window is ahead, else only once it is over.
    """

    source = Source.BECKN
    feeds = (DISCOVER, STATUS)
    parsers = ENDPOINTS

    def __init__(
        self,
        base_url: str,
        *,
        run_id: str,
        party: BecknParty | None = None,
        callbacks: CallbackSource | None = None,
    ) -> None:
        super().__init__(base_url)
        self.run_id = run_id
        self.party = party or BecknParty()
        self.book = OrderBook()
        self._callbacks = callbacks

    def requests(self, turn: FeedTurn) -> Sequence[Request]:
        """Ask for the catalogue, or after each order that may have news."""
        if turn.feed is DISCOVER:
            return [self.discovery(turn.planned)]
        return [
            self.status_request(booked, turn.planned)
            for booked in self.book.booked_before(turn.planned)
            if self._callbacks is None or booked.order.ends_at <= turn.planned
        ]

    def discovery(self, planned: datetime) -> Request:
        """Give the discover of one poll; the same poll has the same ids."""
        transaction_id = row_id("beckn_discover", self.run_id, planned)
        stamp = Stamp(row_id("beckn_message", transaction_id), planned)
        return build_discover(self.base_url, self.party, stamp, transaction_id=transaction_id)

    def status_request(self, booked: BookedOrder, planned: datetime) -> Request:
        """Give the status call for an order at one poll."""
        ids = OrderIds(self.run_id, booked.order)
        stamp = Stamp(ids.message_id("status", planned), planned)
        return build_status(self.base_url, self.party, stamp, draft_of(booked))

    def read(
        self, turn: FeedTurn, request: Request, reply: Reply, context: ParseContext
    ) -> Reading:
        """Read a catalogue, or how an order stands."""
        body = orjson.loads(request.body or b"{}")
        sent = sent_row(body, occurred_at=turn.planned)
        sink = RowSink(rows=[sent])
        refused = None
        updates: list[WindowUpdate] = []
        for envelope in read_envelopes(reply.body):
            action = envelope.context.action
            if envelope.refused:
                refused = f"the provider refused: {envelope.error or 'NACK without a reason'}"
            elif envelope.message is not None and action == "on_discover":
                self._take_catalogue(envelope, turn.planned, context, sink)
            elif envelope.message is not None and action == "on_update":
                updates += self._take_update(envelope, turn.planned, context, sink)
                continue
            elif envelope.message is not None and action == "on_status":
                self._take_status(envelope, turn.planned, context, sink)
            elif envelope.message is not None:
                msg = f"{request.endpoint} was answered with {action!r}"
                raise SourcePayloadInvalid(msg, source=self.source.value)
            self.add_received(envelope, context, sink, sent.transaction_id, sent.message_id)
        return Reading(sink.done(), updates=tuple(updates), refused=refused)

    def add_received(
        self,
        envelope: Envelope,
        context: ParseContext,
        sink: RowSink,
        transaction_id: str,
        message_id: str | None = None,
    ) -> None:
        """Record a received message under the transaction it answers.

        Ids of callbacks are the provider's affair: some repeat the same id for ever. A message
        whose id was used before with other content is recorded under a name of its own.
        """
        row = received_row(envelope, retrieved_at=context.now, message_id=message_id)
        row = row.model_copy(update={"transaction_id": transaction_id})
        digest = blake2b(orjson.dumps(row.body), digest_size=8).hexdigest()
        name = f"{transaction_id}|{row.message_id}|{row.action}"
        if self.book.first_seen(name, digest) is False:
            row = row.model_copy(update={"message_id": f"{row.message_id[:200]}#{digest}"})
        sink.add("context", type(row), **dict(row))

    def take_callbacks(self, take: Callable[[Reading, datetime], None], planned: datetime) -> None:
        """Take in what providers sent since the last poll; a repeated message counts once."""
        if self._callbacks is not None:
            since = self.book.callbacks_until or EPOCH
            for callback in self._callbacks.callbacks(since, planned):
                take(self.read_callback(callback.body, planned), callback.at)
            self.book.callbacks_until = planned
        self.book.forget(planned)

    def read_callback(self, body: bytes, planned: datetime) -> Reading:
        """Read one unsolicited message; one that cannot be read is rejected with its reason."""
        context = ParseContext(now=planned)
        sink = RowSink()
        updates: list[WindowUpdate] = []
        try:
            for envelope in read_envelopes(body):
                if envelope.message is not None and envelope.context.action == "on_update":
                    updates += self._take_update(envelope, planned, context, sink)
                else:
                    transaction = envelope.context.transaction_id or "unsolicited"
                    self.add_received(envelope, context, sink, transaction)
        except SourcePayloadInvalid as exc:
            sink.reject("callback", exc.message)
        return Reading(sink.done(), updates=tuple(updates))

    def checkpoint(self) -> OrderBook:
        """Give a copy of the order book."""
        return self.book.copied()

    def rollback(self, checkpoint: OrderBook) -> None:
        """Put a copy back."""
        self.book = checkpoint

    def export(self) -> dict[str, Any]:
        """Give the order book."""
        return self.book.export()

    def restore(self, extra: Mapping[str, Any]) -> None:
        """Take the order book back."""
        self.book = OrderBook.restored(extra)

    # -- catalogue ---------------------------------------------------------------------------

    def _take_catalogue(
        self, envelope: Envelope, planned: datetime, context: ParseContext, sink: RowSink
    ) -> None:
        """Add a catalogue's rows, with what became of windows through our own orders."""
        found = RowSink(rejected=sink.rejected)
        terms = add_catalogs(envelope, found, observed_at=envelope.context.timestamp or context.now)
        windows = [row for row in found.rows if isinstance(row, ComputeWindowRow)]
        self.book.take_catalogue(windows, terms)
        standing: set[WindowKey] = set()
        kept: list[Row] = []
        for row in found.rows:
            if isinstance(row, ComputeWindowRow):
                adjusted = self._standing_row(row, planned)
                if adjusted is None:
                    standing.add((row.bpp_id, row.item_id, row.starts_at))
                    continue
                kept.append(adjusted)
            elif isinstance(row, OfferRow):
                if (row.bpp_id, row.item_id, row.window_starts_at) not in standing:
                    kept.append(row.model_copy(update={"version": window_version(planned)}))
            else:
                kept.append(row)
        sink.rows.extend(kept)

    def _standing_row(self, row: ComputeWindowRow, planned: datetime) -> ComputeWindowRow | None:
        """Give a catalogue's window with its standing; None where what stands is to stay."""
        key = (row.bpp_id, row.item_id, row.starts_at)
        version = {"version": window_version(planned)}
        standing = self.book.standing(key, planned)
        if standing is None or row.state is WindowState.UNUSABLE:
            return row.model_copy(update=version)
        if standing.state is WindowState.BOOKED:
            booked = {"state": WindowState.BOOKED, "state_reason": standing.reason}
            return row.model_copy(update=version | booked)
        if standing.catalogue == catalogue(row, self.book.terms_of(key)):
            return None
        return row.model_copy(update=version)

    # -- orders ------------------------------------------------------------------------------

    def _take_status(
        self, envelope: Envelope, planned: datetime, context: ParseContext, sink: RowSink
    ) -> None:
        view = read_order(envelope, sink)
        if view is None:
            return
        found = RowSink(rejected=sink.rejected)
        add_order(envelope, view, found, observed_at=envelope.context.timestamp or context.now)
        kinds = (ComputeWindowRow, OfferRow, GridZoneRow)
        sink.rows.extend(row for row in found.rows if not isinstance(row, kinds))
        booked = self.book.orders.get(view.order_id or "")
        if booked is not None and (booked.order.ends_at <= planned or view.lost):
            self.book.orders[booked.order_id] = replace(booked, settled=True)

    def _take_update(
        self, envelope: Envelope, planned: datetime, context: ParseContext, sink: RowSink
    ) -> list[WindowUpdate]:
        """Add an update's rows and say which orders it concerns; a repeated one does nothing."""
        arrived = envelope.context.timestamp or context.now or planned
        row = received_row(envelope, retrieved_at=arrived)
        digest = blake2b(orjson.dumps(row.body), digest_size=8).hexdigest()
        if self.book.first_seen(f"{row.message_id}|{row.action}", digest) is not True:
            return []
        sink.add("context", type(row), **dict(row))
        view = read_order(envelope, sink)
        if view is None:
            return []
        found = RowSink(rejected=sink.rejected)
        add_order(envelope, view, found, observed_at=arrived)
        known = (ComputeWindowRow, OfferRow, GridZoneRow)
        sink.rows.extend(one for one in found.rows if not isinstance(one, known))
        updates: list[WindowUpdate] = []
        for line in view.windows:
            updates += self._changed_window(view, line, row.message_id, planned, sink)
        return updates

    def _changed_window(
        self,
        view: OrderView,
        line: OrderedWindow,
        message_id: str,
        planned: datetime,
        sink: RowSink,
    ) -> list[WindowUpdate]:
        orders = self._concerned(view, line)
        state = WindowState.REFUSED if view.lost else WindowState.CHANGED
        reason = alert_text(view) or f"the provider sent {view.action} ({view.status})"
        for key in dict.fromkeys([booked.order.key for booked in orders] or self._keys_of(line)):
            self._add_changed_rows(key, line, state, reason, planned, sink)
            self.book.settle(key, state, reason, planned)
        for booked in orders:
            if view.lost:
                self.book.orders[booked.order_id] = replace(booked, settled=True)
        facts = line.facts
        return [
            WindowUpdate(
                bpp_id=booked.order.bpp_id,
                item_id=booked.order.item_id,
                starts_at=booked.order.starts_at,
                organisation=booked.order.organisation,
                conversation_id=booked.order.conversation_id,
                order_id=booked.order_id,
                message_id=message_id,
                received_at=planned,
                lost=view.lost,
                capacity_kw=facts.available_kw,
                limit_kw=facts.active_kw,
                price_per_kwh=line.price_per_kwh,
                currency=line.currency,
                intensity_gco2_per_kwh=facts.intensity_gco2_per_kwh,
                reason=reason,
            )
            for booked in orders
        ]

    def _concerned(self, view: OrderView, line: OrderedWindow) -> list[BookedOrder]:
        """Give the orders that an update is about: the one it names, or all of that window."""
        named = self.book.orders.get(view.order_id or "")
        if named is not None:
            return [named]
        starts = line.facts.starts_at
        return sorted(
            (
                booked
                for booked in self.book.orders.values()
                if booked.order.item_id == line.item_id
                and starts in (None, booked.order.starts_at)
                and not booked.settled
            ),
            key=lambda booked: (booked.order.organisation, booked.order_id),
        )

    def _keys_of(self, line: OrderedWindow) -> list[WindowKey]:
        starts = line.facts.starts_at
        return [
            (row.bpp_id, row.item_id, row.starts_at)
            for row in self.book.windows.values()
            if row.item_id == line.item_id and starts in (None, row.starts_at)
        ]

    def _add_changed_rows(
        self,
        key: WindowKey,
        line: OrderedWindow,
        state: WindowState,
        reason: str,
        planned: datetime,
        sink: RowSink,
    ) -> None:
        row = self.book.windows.get(key_text(key))
        terms = self.book.terms_of(key)
        version = self.book.next_version(key, planned)
        facts = line.facts
        if row is not None:
            news = {
                "capacity_kw": facts.available_kw,
                "intensity_gco2_per_kwh": facts.intensity_gco2_per_kwh,
                "renewable_pct": facts.renewable_pct,
                "slot_id": facts.slot_id,
            }
            said = {name: value for name, value in news.items() if value is not None}
            fixed = {"state": state, "state_reason": reason, "version": version}
            sink.rows.append(row.model_copy(update=said | fixed))
        if terms is not None and line.price_per_kwh is not None and line.currency:
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


def draft_of(booked: BookedOrder) -> OrderDraft:
    """Give a booked order as its messages name it."""
    return OrderDraft(
        order_id=booked.order_id,
        transaction_id=booked.transaction_id,
        terms=booked.terms,
        buyer=booked.order.organisation,
        load_kw=booked.order.load_kw,
    )
