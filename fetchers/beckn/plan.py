"""Beckn's plan: discover windows, ask after orders, take in what providers send by themselves."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from datetime import datetime, timedelta
from hashlib import blake2b
from typing import Any, Protocol, runtime_checkable

import orjson

from fetchers.beckn.admission import is_late
from fetchers.beckn.book import (
    BookedOrder,
    OrderBook,
    catalogue,
    window_version,
)
from fetchers.beckn.catalog import add_catalogs
from fetchers.beckn.endpoints import (
    BecknParty,
    OrderDraft,
    Stamp,
    build_discover,
    build_status,
)
from fetchers.beckn.keys import KeyRing
from fetchers.beckn.messages import received_row, sent_row
from fetchers.beckn.news import take_status, take_update
from fetchers.beckn.orders import OrderIds
from fetchers.beckn.parse import ENDPOINTS
from fetchers.beckn.signing import sign
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
from schema.rows import ComputeWindowRow, OfferRow, Row
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
        callbacks: Where messages come from that providers send by themselves.
        tells_all: Every change comes that way: a booked order's status is asked only once its
            window is over. Otherwise (the synchronous sandbox, and providers of whom we do not
            know whether they call back) it is asked while the window is ahead, too.
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
        tells_all: bool = True,
    ) -> None:
        super().__init__(base_url)
        self.run_id = run_id
        self.party = party or BecknParty()
        self.book = OrderBook()
        self.keys = KeyRing()
        self._callbacks = callbacks
        self._tells_all = tells_all and callbacks is not None

    def prepare(self, request: Request, now: datetime) -> Request:
        """Sign a message, if we have a key: anew for each attempt, as a signature holds minutes."""
        own = self.keys.own
        if own is None or request.body is None:
            return request
        signature = sign(
            request.body,
            private_key=own.private_key,
            subscriber=own.subscriber_id,
            key_id=own.key_id,
            created=now,
        )
        return replace(request, headers=(*request.headers, ("Authorization", signature)))

    def requests(self, turn: FeedTurn) -> Sequence[Request]:
        """Ask for the catalogue, or after each order that may have news."""
        if turn.feed is DISCOVER:
            return [self.discovery(turn.planned)]
        return [
            self.status_request(booked, turn.planned)
            for booked in self.book.booked_before(turn.planned)
            if not self._tells_all or booked.order.ends_at <= turn.planned
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
                updates += take_update(self.book, envelope, turn.planned, context, sink)
                continue
            elif envelope.message is not None and action == "on_status":
                updates += take_status(self.book, envelope, turn.planned, context, sink)
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
    ) -> bool:
        """Record a received message under the transaction it answers; False if it is known.

        Ids of callbacks are the provider's affair: some repeat the same id for ever. A message
        whose id was used before with other content is recorded under a name of its own.
        """
        row = received_row(envelope, retrieved_at=context.now, message_id=message_id)
        row = row.model_copy(update={"transaction_id": transaction_id})
        digest = blake2b(orjson.dumps(row.body), digest_size=8).hexdigest()
        name = f"{transaction_id}|{row.message_id}|{row.action}"
        new = self.book.first_seen(name, digest)
        if new is False:
            row = row.model_copy(update={"message_id": f"{row.message_id[:200]}#{digest}"})
            new = self.book.first_seen(f"{transaction_id}|{row.message_id}|{row.action}", digest)
        sink.add("context", type(row), **dict(row))
        return new is not None

    def take_callbacks(self, take: Callable[[Reading, datetime], None], planned: datetime) -> None:
        """Take in what providers sent since the last poll; a repeated message counts once."""
        if self._callbacks is not None:
            since = self.book.callbacks_until or EPOCH
            for callback in self._callbacks.callbacks(since, planned):
                take(self.read_callback(callback.body, planned, callback.at), callback.at)
            self.book.callbacks_until = planned
        self.book.forget(planned)

    def read_callback(
        self, body: bytes, planned: datetime, arrived: datetime | None = None
    ) -> Reading:
        """Read one message that came by itself; one that cannot be read is rejected.

        Args:
            body: As it came.
            planned: The poll's moment.
            arrived: When it came; an answer after its time to live has no effect any more.
        """
        context = ParseContext(now=planned)
        sink = RowSink()
        updates: list[WindowUpdate] = []
        try:
            for envelope in read_envelopes(body):
                late = arrived is not None and is_late(envelope, arrived)
                updates += self._take_message(envelope, planned, context, sink, late=late)
        except SourcePayloadInvalid as exc:
            sink.reject("callback", exc.message)
        return Reading(sink.done(), updates=tuple(updates))

    def take_answer(self, envelope: Envelope, planned: datetime, context: ParseContext) -> Reading:
        """Take in an answer that came to our own address while somebody waited for it."""
        sink = RowSink()
        updates = self._take_message(envelope, planned, context, sink, late=False)
        return Reading(sink.done(), updates=tuple(updates))

    def _take_message(
        self,
        envelope: Envelope,
        planned: datetime,
        context: ParseContext,
        sink: RowSink,
        *,
        late: bool,
    ) -> list[WindowUpdate]:
        """Take one message in; what an order waited for was taken when it came, and is known."""
        action = envelope.context.action
        if action == "on_update" and envelope.message is not None:
            return take_update(self.book, envelope, planned, context, sink)
        transaction = envelope.context.transaction_id or "unsolicited"
        received = RowSink(rejected=sink.rejected)
        if not self.add_received(envelope, context, received, transaction):
            return []
        sink.rows.extend(received.rows)
        if envelope.message is None:
            return []
        if action == "on_discover" and not late:
            self._take_catalogue(envelope, planned, context, sink)
        if action in {"on_status", "on_cancel"}:
            return take_status(self.book, envelope, planned, context, sink)
        return []

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


def draft_of(booked: BookedOrder) -> OrderDraft:
    """Give a booked order as its messages name it."""
    return OrderDraft(
        order_id=booked.order_id,
        transaction_id=booked.transaction_id,
        terms=booked.terms,
        buyer=booked.order.organisation,
        load_kw=booked.order.load_kw,
    )
