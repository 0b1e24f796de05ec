"""The Beckn fetcher: polls like the others, and places orders for the orchestrator.

An answer comes in the reply itself, as the sandbox gives it, or later to our own address, as the
network has it: there the reply only acknowledges, and the answer is waited for as long as our
messages say they live.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterable
from dataclasses import replace
from datetime import datetime
from http import HTTPStatus
from random import Random
from typing import Any

from fetchers.asking import Limits, Turn
from fetchers.attempts import AttemptLog, poll_incarnation
from fetchers.beckn.callbacks import OrderView, add_order, read_order
from fetchers.beckn.inbox import answered_within
from fetchers.beckn.line import CallbackLine, Sent
from fetchers.beckn.messages import order_id_of, sent_row
from fetchers.beckn.orders import Answer, OrderIds, OrderState, Step, apply_answer, start
from fetchers.beckn.plan import DISCOVER, BecknPlan
from fetchers.beckn.results import note_result, window_rows
from fetchers.beckn.steps import step_message
from fetchers.beckn.wire import Envelope, Node, read_envelope, read_json
from fetchers.fetcher import Fetcher
from fetchers.http import DEADLINE_S
from fetchers.parsing import ParseContext, RowSink
from fetchers.plan import EPOCH, FeedState
from fetchers.reply import Reply
from fetchers.report import PollReport
from fetchers.request import Request
from fetchers.sources import FeedTurn, Reading
from schema.clock import VirtualClock
from schema.errors import GridpactError, SourceError, SourcePayloadInvalid
from schema.orders import OrderOutcome, OrderResult, WindowOrder, WindowTerms
from schema.rows import ComputeWindowRow, GridSnapshotRow, Row
from schema.rows.beckn import BecknTransactionRow, WindowState
from storage.grid_windows import WindowFact

#: Longest time for one order, all its messages together.
ORDER_BUDGET_S = 120.0
#: Least time for asking after an order, and for giving it up.
CLOSING_S = 15.0
#: How long a poll waits for a catalogue that was acknowledged; a later one is read by the next.
CATALOGUE_S = 5.0


class BecknFetcher(Fetcher):
    """A fetcher whose plan is a ``BecknPlan``; one order or poll at a time.

    ``line`` is our own address, where we have one; it opens with the first poll or order.
    """

    plan: BecknPlan
    line: CallbackLine | None = None

    async def open(self) -> None:
        """Open our own address, so that messages can name it; nothing to do if it is.

        Raises:
            ConfigurationError: Its port is taken.
        """
        if self.line is None:
            return
        self.line.inbox.rise(self.plan.book.callbacks_until or EPOCH)
        await self.line.listener.open()
        self.plan.party = replace(self.plan.party, bap_uri=self.line.url)

    async def close(self) -> None:
        """Let go of connections and of our own address."""
        if self.line is not None:
            await self.line.close()
        await super().close()

    async def poll(self, now: datetime) -> PollReport:
        """See ``Fetcher.poll``."""
        await self.open()
        return await super().poll(now)

    def status(self) -> dict[str, object]:
        """See ``Fetcher.status``; our own address and what came there, too."""
        if self.line is None:
            return super().status()
        listener = self.line.listener
        callbacks = {"url": self.line.url, "received": dict(sorted(listener.counts.items()))}
        return super().status() | {"callbacks": callbacks if listener.port is not None else None}

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
            await self.open()
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
        rows += note_result(self.plan.book, ids, result)
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
        found: list[Row] = []
        try:
            async for reading in self._catalogues(
                self._asked(request, read, limits, turn), request, at, self.plan.party.ttl_s
            ):
                found += reading.parsed.rows
        except SourceError:
            pass  # the attempt is logged; without a catalogue there is nothing to order
        rows = self._accepted.changed(found)
        await self._hand_over(rows, turn.log, version=int(at.timestamp()))
        return self.plan.book.terms_of(ids.order.key)

    async def _asked(
        self, request: Request, read: Any, limits: Limits, turn: Turn
    ) -> AsyncIterator[Reading]:
        yield await self._asker.ask(request, read, limits, turn)

    async def _readings(self, feed_turn: FeedTurn, turn: Turn) -> AsyncIterator[Reading]:
        """See ``Fetcher``; a catalogue that was only acknowledged is waited for a little."""
        readings = super()._readings(feed_turn, turn)
        if feed_turn.feed is DISCOVER:
            request = self.plan.discovery(feed_turn.planned)
            readings = self._catalogues(readings, request, feed_turn.planned, CATALOGUE_S)
        async for reading in readings:
            yield reading

    async def _catalogues(
        self,
        readings: AsyncIterator[Reading],
        request: Request,
        planned: datetime,
        patience_s: float,
    ) -> AsyncIterator[Reading]:
        """Give a discover's readings, and after an acknowledgement the catalogue that follows."""
        if self.line is None:
            async for reading in readings:
                yield reading
            return
        sent = _sent(request)
        with self.line.inbox.expecting(sent.answered_by()) as coming:
            answered = False
            async for reading in readings:
                answered = answered or reading.refused is not None or _has(reading, sent.answer)
                yield reading
            if answered:
                return
            envelope = await answered_within(coming, patience_s, self.clock)
            if envelope is not None:
                context = ParseContext(now=self.clock.now())
                yield self.plan.take_answer(envelope, planned, context)

    async def _converse(
        self, ids: OrderIds, terms: WindowTerms, turn: Turn, rows: list[Row]
    ) -> OrderResult:
        state = start(terms)
        while state.step is not Step.DONE:
            if state.step in {Step.STATUS, Step.CANCEL}:
                # What may have been booked is asked after and given up, however late it is.
                least_s = self.clock.monotonic_s() + CLOSING_S
                turn.ends_at_s = max(turn.ends_at_s, least_s)
            request = step_message(self.plan.base_url, self.plan.party, ids, state)
            answer = await self._exchange(ids, state, request, turn, rows)
            following = apply_answer(ids, state, answer)
            if state.step is Step.SELECT and following.step is Step.INIT:
                rows += window_rows(
                    self.plan.book, ids, following.terms, WindowState.SELECTED, None
                )
            state = following
        assert state.result is not None
        return state.result

    async def _exchange(
        self, ids: OrderIds, state: OrderState, request: Request, turn: Turn, rows: list[Row]
    ) -> Answer:
        """Send one message; records it and whatever comes back, at once or later."""
        order = ids.order
        row = sent_row(
            read_json(request.body or b"{}"),
            occurred_at=order.decided_at,
            agent_name=order.organisation,
        )
        rows.append(row)
        sent = _sent(request)
        if self.line is None:
            answer, _ = await self._send(ids, state, request, turn, rows)
            return _or_unanswered(answer, state, "")
        with self.line.inbox.expecting(sent.answered_by()) as coming:
            answer, follows = await self._send(ids, state, request, turn, rows)
            if answer.failure is not None or not follows:
                return _or_unanswered(answer, state, "")
            # A process that starts again repeats its message; the answer may be there already.
            envelope = self.line.inbox.answer(sent.transaction_id, sent.message_id, sent.answer)
            left_s = max(0.0, turn.ends_at_s - self.clock.monotonic_s())
            patience_s = min(float(self.plan.party.ttl_s), left_s)
            if envelope is None:
                envelope = await answered_within(coming, patience_s, self.clock)
        if envelope is None:
            return _or_unanswered(answer, state, f" within {patience_s:g} s")
        sink = RowSink()
        try:
            answer = self._take(state, envelope, sink, sent)
        except SourcePayloadInvalid as exc:
            answer = Answer(failure=exc.message)
        rows += _owned(sink.rows, ids)
        return answer

    async def _send(
        self, ids: OrderIds, state: OrderState, request: Request, turn: Turn, rows: list[Row]
    ) -> tuple[Answer, bool]:
        """Send one message; give what the reply says, and whether the answer is still to come."""
        received: list[tuple[Answer, int]] = []
        sent = _sent(request)

        def read(reply: Reply) -> Reading:
            envelope = read_envelope(reply.body)
            sink = RowSink()
            received.append((self._take(state, envelope, sink, sent), reply.status))
            refused = str(envelope.error or "NACK") if envelope.refused else None
            return Reading(sink.done(), refused=refused)

        try:
            reading = await self._asker.ask(
                request, read, Limits(DISCOVER.max_bytes, DEADLINE_S), turn
            )
        except SourceError as exc:
            return Answer(failure=exc.message), False
        rows += _owned(reading.parsed.rows, ids)
        answer, status = received[-1]
        acknowledged = answer.envelope is not None and not answer.envelope.refused
        # 202 is the network's word for: taken, and nothing will follow.
        follows = acknowledged and answer.view is None and status != HTTPStatus.ACCEPTED
        return answer, follows

    def _take(self, state: OrderState, envelope: Envelope, sink: RowSink, sent: Sent) -> Answer:
        """Read one message of the provider's and record it."""
        context = ParseContext(now=self.clock.now())
        view = self._read_view(envelope, state, sink, context)
        self.plan.add_received(envelope, context, sink, sent.transaction_id, sent.message_id)
        return Answer(envelope=envelope, view=view)

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

    async def cancel(self, order: WindowOrder, reason: str) -> bool:
        """Give a booked order up; False when we hold no such order.

        Whatever the provider answers, the market uses the window no more for that organisation.
        """
        async with self._lock:
            ids = OrderIds(self.run_id, order)
            booked = self.plan.book.orders.get(ids.order_id)
            if booked is None or booked.settled:
                return False
            await self.open()
            if isinstance(self.clock, VirtualClock):
                self.clock.set(max(order.decided_at, self.clock.now()))
            turn = self._order_turn(ids, "cancel")
            rows: list[Row] = []
            result = OrderResult(order, OrderOutcome.REFUSED, ids.order_id, reason, booked.terms)
            state = OrderState(Step.CANCEL, booked.terms, result)
            await self._exchange(
                ids,
                state,
                step_message(self.plan.base_url, self.plan.party, ids, state),
                turn,
                rows,
            )
            rows = self._accepted.changed(rows)
            await self._hand_over(rows, turn.log, version=int(order.decided_at.timestamp()))
            self.plan.book.orders[ids.order_id] = replace(booked, settled=True)
            self._save()
            return True


def _sent(request: Request) -> Sent:
    """Give what the answer to one of our messages can be told by."""
    document = read_json(request.body or b"{}")
    context = document["context"]
    return Sent(
        action=context["action"],
        transaction_id=context["transaction_id"],
        message_id=context["message_id"],
        order_id=order_id_of(Node(document["message"])),
    )


def _has(reading: Reading, action: str) -> bool:
    return any(
        isinstance(row, BecknTransactionRow) and row.action == action for row in reading.parsed.rows
    )


def _owned(rows: Iterable[Row], ids: OrderIds) -> list[Row]:
    """Give rows with the order's owner and id in those of its messages."""
    update = {"agent_name": ids.order.organisation, "order_id": ids.order_id}
    return [
        row.model_copy(update=update) if isinstance(row, BecknTransactionRow) else row
        for row in rows
    ]


def _or_unanswered(answer: Answer, state: OrderState, waited: str) -> Answer:
    """Give an answer; an acknowledgement that nothing followed is none."""
    envelope = answer.envelope
    if envelope is None or envelope.refused or answer.view is not None:
        return answer
    return Answer(failure=f"acknowledged without an on_{state.step.value}{waited}")
