"""The Beckn fetcher: polls like the others, and places orders for the orchestrator."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from random import Random

from fetchers.asking import Limits, Turn
from fetchers.attempts import AttemptLog, poll_incarnation
from fetchers.beckn.book import BookedOrder, key_text
from fetchers.beckn.callbacks import OrderView, add_order, read_order
from fetchers.beckn.endpoints import (
    OrderDraft,
    Stamp,
    build_cancel,
    build_confirm,
    build_init,
    build_select,
    build_status,
)
from fetchers.beckn.messages import sent_row
from fetchers.beckn.orders import Answer, OrderIds, OrderState, Step, apply_answer, start
from fetchers.beckn.plan import DISCOVER, BecknPlan
from fetchers.beckn.wire import Envelope, read_envelope, read_json
from fetchers.fetcher import Fetcher
from fetchers.http import DEADLINE_S
from fetchers.parsing import ParseContext, RowSink
from fetchers.plan import EPOCH, FeedState
from fetchers.reply import Reply
from fetchers.request import Request
from fetchers.sources import FeedTurn, Reading
from schema.clock import VirtualClock
from schema.errors import GridpactError, SourceError, SourcePayloadInvalid
from schema.orders import OrderOutcome, OrderResult, WindowOrder, WindowTerms
from schema.rows import ComputeWindowRow, GridSnapshotRow, OfferRow, Row
from schema.rows.beckn import WindowState
from storage.grid_windows import WindowFact

#: Longest time for one order, all its messages together.
ORDER_BUDGET_S = 120.0
_STATE_OF = {
    OrderOutcome.BOOKED: WindowState.BOOKED,
    OrderOutcome.REFUSED: WindowState.REFUSED,
    OrderOutcome.CHANGED: WindowState.CHANGED,
}


class BecknFetcher(Fetcher):
    """A fetcher whose plan is a ``BecknPlan``; one order or poll at a time."""

    plan: BecknPlan

    def restore_windows(self, facts: Iterable[WindowFact]) -> None:
        """Take over from storage what became of windows before this process started."""
        self.plan.book.take_facts(facts, EPOCH)

    async def order(self, order: WindowOrder) -> OrderResult:
        """Place one order: select, init, confirm; never raises for what the provider says.

        The same order asked for again gives the first result. Messages, log rows and the window's
        new state are in storage before this returns.

        Raises:
            StorageError: Storage did not take the rows. Asking again repeats the same messages.
        """
        async with self._lock:
            ids = OrderIds(self.run_id, order)
            known = self.plan.book.results.get(ids.order_id)
            if known is not None:
                return known
            if isinstance(self.clock, VirtualClock):
                self.clock.set(order.decided_at)
            before = self.plan.checkpoint()
            try:
                return await self._place(ids)
            except GridpactError:
                self.plan.rollback(before)
                raise

    async def _place(self, ids: OrderIds) -> OrderResult:
        order = ids.order
        terms = self.plan.book.terms_of(order.key) or await self._discover(ids)
        turn = self._order_turn(ids)
        rows: list[Row] = []
        if terms is None:
            reason = "the window is not on offer (any more)"
            result = OrderResult(order, OrderOutcome.REFUSED, ids.order_id, reason)
        else:
            result = await self._converse(ids, terms, turn, rows)
        rows += self._note_result(ids, result)
        # A window's states are versions of one row and all go; of the rest only what is new.
        states = [row for row in rows if isinstance(row, ComputeWindowRow)]
        others = [row for row in rows if not isinstance(row, ComputeWindowRow)]
        new = [*self._accepted.changed(others), *states]
        await self._hand_over(new, turn.log, version=int(order.decided_at.timestamp()))
        self.plan.book.results[ids.order_id] = result
        self._save()
        return result

    def _order_turn(self, ids: OrderIds, what: str = "order") -> Turn:
        name = f"{poll_incarnation(self.source, ids.order.decided_at)}/{what}/{ids.order_id}"
        if self._incarnation is None:
            log = AttemptLog(self.source, name)
        else:
            log = AttemptLog(self.source, self._incarnation, self._sequence)
        return Turn(
            log=log,
            rng=Random(f"{self.seed}|{name}"),  # noqa: S311
            ends_at_s=self.clock.monotonic_s() + ORDER_BUDGET_S,
        )

    async def _discover(self, ids: OrderIds) -> WindowTerms | None:
        """Ask for the catalogue first: a process that started again does not know it."""
        at = ids.order.decided_at
        turn = self._order_turn(ids, "discover")
        request = self.plan.discovery(at)
        feed_turn = FeedTurn(DISCOVER, FeedState(), at)

        def read(reply: Reply) -> Reading:
            context = ParseContext(now=self.clock.now())
            return self.plan.read(feed_turn, request, reply, context)

        limits = Limits(DISCOVER.max_bytes, DISCOVER.deadline_s)
        try:
            reading = await self._asker.ask(request, read, limits, turn)
            rows = self._accepted.changed(reading.parsed.rows)
        except SourceError:
            rows = []  # the attempt is logged; without a catalogue there is nothing to order
        await self._hand_over(rows, turn.log, version=int(at.timestamp()))
        return self.plan.book.terms_of(ids.order.key)

    async def _converse(
        self, ids: OrderIds, terms: WindowTerms, turn: Turn, rows: list[Row]
    ) -> OrderResult:
        state = start(terms)
        while state.step is not Step.DONE:
            request = self._message(ids, state)
            answer = await self._exchange(ids, state, request, turn, rows)
            following = apply_answer(ids, state, answer)
            if state.step is Step.SELECT and following.step is Step.INIT:
                rows += self._window_rows(ids, following.terms, WindowState.SELECTED, None)
            state = following
        assert state.result is not None
        return state.result

    def _message(self, ids: OrderIds, state: OrderState) -> Request:
        """Build the message of a step; the same order builds the same bytes."""
        order = ids.order
        base, party = self.plan.base_url, self.plan.party
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
                return build_select(base, party, stamp, draft)
            case Step.INIT:
                return build_init(base, party, stamp, draft)
            case Step.CONFIRM:
                return build_confirm(base, party, stamp, draft)
            case Step.STATUS:
                return build_status(base, party, stamp, draft)
            case Step.CANCEL | Step.DONE:
                reason = state.result.reason if state.result is not None else ""
                return build_cancel(base, party, stamp, draft, reason=reason[:200])

    async def _exchange(
        self, ids: OrderIds, state: OrderState, request: Request, turn: Turn, rows: list[Row]
    ) -> Answer:
        """Send one message; records it and whatever comes back."""
        order = ids.order
        sent = sent_row(
            read_json(request.body or b"{}"),
            occurred_at=order.decided_at,
            agent_name=order.organisation,
        )
        rows.append(sent)
        received: list[Answer] = []

        def read(reply: Reply) -> Reading:
            context = ParseContext(now=self.clock.now())
            envelope = read_envelope(reply.body)
            sink = RowSink()
            view = self._read_view(envelope, state, sink, context)
            self.plan.add_received(envelope, context, sink, sent.transaction_id, sent.message_id)
            received.append(Answer(envelope=envelope, view=view))
            refused = str(envelope.error or "NACK") if envelope.refused else None
            return Reading(sink.done(), refused=refused)

        try:
            reading = await self._asker.ask(
                request, read, Limits(DISCOVER.max_bytes, DEADLINE_S), turn
            )
        except SourceError as exc:
            return Answer(failure=exc.message)
        for row in reading.parsed.rows:
            update = {"agent_name": order.organisation, "order_id": ids.order_id}
            own = row.TABLE == sent.TABLE
            rows.append(row.model_copy(update=update) if own else row)
        answer = received[-1]
        if answer.envelope is not None and not answer.envelope.refused and answer.view is None:
            return Answer(failure=f"acknowledged without an on_{state.step.value}")
        return answer

    def _read_view(
        self, envelope: Envelope, state: OrderState, sink: RowSink, context: ParseContext
    ) -> OrderView | None:
        """Read the order of a callback and keep the zone's snapshot; the rest is ours to say."""
        if envelope.message is None:
            return None
        expected = f"on_{state.step.value}"
        action = envelope.context.action
        if action not in {expected, "on_update"}:
            msg = f"{state.step.value} was answered with {action!r}, expected {expected!r}"
            raise SourcePayloadInvalid(msg, source=self.source)
        view = read_order(envelope, sink)
        if view is not None:
            found = RowSink(rejected=sink.rejected)
            add_order(envelope, view, found, observed_at=envelope.context.timestamp or context.now)
            sink.rows.extend(row for row in found.rows if isinstance(row, GridSnapshotRow))
        return view

    def _note_result(self, ids: OrderIds, result: OrderResult) -> list[Row]:
        """Note in the book how an order ended; give the window's rows."""
        order, book = ids.order, self.plan.book
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
        return self._window_rows(ids, result.terms, state, reason)

    def _window_rows(
        self, ids: OrderIds, terms: WindowTerms | None, state: WindowState, reason: str | None
    ) -> list[Row]:
        """Give a window's row after an order's step, and its offer where the price moved."""
        key = ids.order.key
        row = self.plan.book.windows.get(key_text(key))
        if row is None:
            return []
        version = self.plan.book.next_version(key, ids.order.decided_at)
        update: dict[str, object] = {
            "state": state,
            "state_reason": reason[:1000] if reason else None,
            "version": version,
        }
        rows: list[Row] = []
        if terms is not None:
            update |= {"capacity_kw": terms.capacity_kw, "slot_id": terms.slot_id}
            update |= {"intensity_gco2_per_kwh": terms.intensity_gco2_per_kwh}
            listed = self.plan.book.terms_of(key)
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

    async def cancel(self, order: WindowOrder, reason: str) -> bool:
        """Give a booked order up; False when we hold no such order.

        Whatever the provider answers, the market uses the window no more for that organisation.
        """
        async with self._lock:
            ids = OrderIds(self.run_id, order)
            booked = self.plan.book.orders.get(ids.order_id)
            if booked is None or booked.settled:
                return False
            if isinstance(self.clock, VirtualClock):
                self.clock.set(max(order.decided_at, self.clock.now()))
            turn = self._order_turn(ids, "cancel")
            rows: list[Row] = []
            result = OrderResult(order, OrderOutcome.REFUSED, ids.order_id, reason, booked.terms)
            state = OrderState(Step.CANCEL, booked.terms, result)
            await self._exchange(ids, state, self._message(ids, state), turn, rows)
            rows = self._accepted.changed(rows)
            await self._hand_over(rows, turn.log, version=int(order.decided_at.timestamp()))
            self.plan.book.orders[ids.order_id] = replace(booked, settled=True)
            self._save()
            return True
