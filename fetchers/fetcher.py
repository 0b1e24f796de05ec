"""The fetcher: one source, from what is due to rows that storage holds.

A plain class on an injected clock, transport and storage. Live and replay differ in those alone.
``poll`` is idempotent: the same moment asked twice gives the same report, and after a crash the
same rows with the same ids.
"""

from __future__ import annotations

import asyncio
from collections import Counter, deque
from collections.abc import AsyncIterator, Callable, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from pathlib import Path
from random import Random

import httpx

from fetchers.accepted import Accepted, Key
from fetchers.asking import Asker, BreakerOpen, Limits, OutOfTime, Turn
from fetchers.attempts import AttemptLog, outcome_of, poll_incarnation
from fetchers.definition import STALE_AFTER
from fetchers.http import HttpClient
from fetchers.outage import bridged_feeds, feeds_out
from fetchers.parsing import ParseContext
from fetchers.plan import (
    EPOCH,
    Feed,
    FeedState,
    after_failure,
    after_nothing_yet,
    after_success,
    due_feeds,
    next_due,
)
from fetchers.quality import screen
from fetchers.reply import Reply, Validators
from fetchers.report import Asked, PollReport
from fetchers.request import Request
from fetchers.retry import RetryPolicy
from fetchers.sources import BasePlan, FeedTurn, Reading
from fetchers.state import FetcherState, StateFile
from schema.clock import Clock, VirtualClock
from schema.errors import GridpactError, RecordConflict, SourceError, SourceRejected
from schema.orders import WindowUpdate
from schema.periods import format_instant
from schema.rows import Record, Row
from schema.rows.system import Outcome
from storage.ports import StoragePort

OnReply = Callable[[Request, Reply], None]

#: Share of the time between polls that one poll may take before it leaves the rest to the next.
BUDGET_SHARE = 0.8
#: Log rows kept for the next poll while storage takes none; live only.
MOST_OWED = 5000


@dataclass(frozen=True, slots=True)
class FetcherSettings:
    """How a fetcher behaves, whatever its source.

    Attributes:
        interval_s: Time between polls; a replay's tick.
        stale_after: Silence after which synthetic readings stand in.
        retry: When to try again.
        state_path: File of what must survive the process; None keeps it in memory.
    """

    interval_s: float = 60.0
    stale_after: timedelta = STALE_AFTER
    retry: RetryPolicy = field(default_factory=RetryPolicy)
    state_path: Path | None = None


@dataclass(slots=True)
class Gathered:
    """What one poll has read before anything is handed on."""

    planned: datetime
    turn: Turn
    rows: list[Row] = field(default_factory=list)
    arrived: dict[Key, datetime] = field(default_factory=dict)
    rejected: int = 0
    conflicts_before: int = 0
    asked: list[Asked] = field(default_factory=list)
    updates: list[WindowUpdate] = field(default_factory=list)
    feeds: dict[str, FeedState] = field(default_factory=dict)
    validators: dict[str, Validators] = field(default_factory=dict)

    def take(self, reading: Reading, arrived: datetime) -> None:
        """Add what one answer gave."""
        rows, doubtful = screen(reading.parsed.rows)
        self.arrived.update({(row.TABLE, row.key()): arrived for row in rows})
        self.rows.extend(rows)
        self.rejected += len(reading.parsed.rejected) + len(doubtful)
        self.updates.extend(reading.updates)


class Fetcher:
    """Polls one source.

    Args:
        plan: What the source is asked and how its answers are read.
        run_id: The run that rows belong to.
        clock: The run's clock. In a replay each fetcher has a virtual clock of its own, which
            its transport reads too: waiting for a rate limit then moves no other source.
        transport: None for the network.
        storage: Where rows go.
        seed: Seed of jitter and of synthetic readings.
        incarnation: Minted once a start, live; None in a replay, where attempts are named after
            the poll.
        settings: How it behaves.
        on_reply: Told every answer of a feed as it came, before it is read: recording, checks.
    """

    def __init__(
        self,
        plan: BasePlan,
        *,
        run_id: str,
        clock: Clock,
        transport: httpx.AsyncBaseTransport | None,
        storage: StoragePort,
        seed: int,
        incarnation: str | None = None,
        settings: FetcherSettings | None = None,
        on_reply: OnReply | None = None,
    ) -> None:
        self.plan = plan
        self.run_id = run_id
        self.clock = clock
        self.seed = seed
        self.settings = settings or FetcherSettings()
        self._on_reply = on_reply
        self._storage = storage
        self._incarnation = incarnation
        self.conflicts = 0
        self._sequence = 0
        self._totals: Counter[str] = Counter()
        self._owed: list[Record] = []
        self._owed_lost = 0
        self._http = HttpClient(
            source=self.source,
            base_url=plan.base_url,
            clock=clock,
            transport=transport,
            wall_deadline=not isinstance(clock, VirtualClock),
        )
        self._file = StateFile(self.settings.state_path)
        self._state: FetcherState = self._file.load()
        self._accepted = Accepted()
        self._lock = asyncio.Lock()
        self._asker = Asker(
            self.source,
            http=self._http,
            clock=clock,
            retry=self.settings.retry,
            state=self._state,
            save=self._save,
            prepare=plan.prepare,
        )
        plan.restore(self._state.extra)

    @property
    def source(self) -> str:
        """The source's name."""
        return str(self.plan.source)

    async def close(self) -> None:
        """Let go of connections; what must survive is on disk already."""
        await self._http.close()

    async def poll(self, now: datetime) -> PollReport:
        """Ask for what is due at a planned moment and hand the news to storage.

        Args:
            now: The planned moment. It is the version of the rows, so it rises from poll to poll.

        Raises:
            StorageError: Storage did not take the rows. Nothing is noted as done: asking for the
                same moment again repeats the poll.
        """
        async with self._lock:
            last = self._state.last
            if last is not None and last.at == now:
                return last
            if isinstance(self.clock, VirtualClock):
                self.clock.set(now)
            poll = Gathered(now, self._turn(poll_incarnation(self.source, now)))
            poll.conflicts_before = self.conflicts
            before = self.plan.checkpoint()
            bridged = self._bridged(now)
            if bridged:
                self._state.breaker = self._state.breaker.probing(now)
            try:
                for feed in due_feeds(self.plan.feeds, self._state.feeds, now, eager=bridged):
                    await self._ask_feed(feed, poll)
                self.plan.take_callbacks(poll.take, now)
                return await self._finish(poll)
            except GridpactError:
                # What the source noted on the way was not stored: the repeated poll notes it anew.
                self.plan.rollback(before)
                raise

    def status(self) -> dict[str, object]:
        """Describe the source for ``inspect sources``: last success, breaker, next due."""
        now = self.clock.now()
        state = self._state
        answered = [feed.last_ok for feed in state.feeds.values() if feed.last_ok]
        return {
            "source": self.source,
            "last_success": format_instant(max(answered)) if answered else None,
            "breaker": state.breaker.state(now).value,
            "failures": state.breaker.failures,
            "next_due": format_instant(next_due(self.plan.feeds, state.feeds, now)),
            "due": [feed.name for feed in due_feeds(self.plan.feeds, state.feeds, now)],
            # Of the last poll: whoever died before passing them on asks for them again.
            "updates": list(state.last.updates) if state.last is not None else [],
            "bridged": list(self._bridged(now)),
            "remembered_rows": len(self._accepted),
            "conflicts": self.conflicts,
            "log_rows_lost": self._owed_lost,
            "since_start": {
                name: self._totals[name] for name in ("requests", "rows", "fallbacks", "rejected")
            },
            "feeds": {
                name: {
                    "last_ok": format_instant(feed.last_ok) if feed.last_ok else None,
                    "failures": feed.failures,
                }
                for name, feed in sorted(state.feeds.items())
            },
        }

    def _turn(self, replay_name: str) -> Turn:
        if self._incarnation is None:
            log = AttemptLog(self.source, replay_name)
        else:
            log = AttemptLog(self.source, self._incarnation, self._sequence)
        return Turn(
            log=log,
            rng=Random(f"{self.seed}|{replay_name}"),  # noqa: S311
            ends_at_s=self.clock.monotonic_s() + self.settings.interval_s * BUDGET_SHARE,
        )

    async def _ask_feed(self, feed: Feed, poll: Gathered) -> None:
        """Ask one feed. What was read before a later request failed is good all the same."""
        state = self._state.feeds.get(feed.name, FeedState())
        before = poll.turn.requests
        outcome, problem, seen = Outcome.OK, None, state.seen
        try:
            async for reading in self._readings(FeedTurn(feed, state, poll.planned), poll.turn):
                poll.take(reading, self.clock.now())
                seen = reading.seen or seen
                if reading.refused is not None:
                    outcome, problem = Outcome.REJECTED, reading.refused
        except OutOfTime:
            # Nothing was sent, so nothing is logged: the feed stays due and the next poll asks.
            poll.turn.validators.clear()
            return
        except BreakerOpen as exc:
            outcome, problem = Outcome.BREAKER_OPEN, exc.message
        except SourceError as exc:
            outcome, problem = outcome_of(exc), exc.message
        poll.asked.append(Asked(feed.name, outcome, poll.turn.requests - before, problem))
        if outcome is Outcome.OK:
            # Only of a feed that was read whole: what a failed one has read must come again.
            poll.validators.update(poll.turn.validators)
        poll.turn.validators.clear()
        if outcome is Outcome.OK:
            done = after_success(feed, state, poll.planned, self.clock.now())
            poll.feeds[feed.name] = replace(done, seen=seen)
        elif outcome is Outcome.NOT_YET_PUBLISHED:
            poll.feeds[feed.name] = after_nothing_yet(state, self.clock.now())
        elif outcome is not Outcome.BREAKER_OPEN:
            poll.feeds[feed.name] = after_failure(state, self.clock.now())

    async def _readings(self, feed_turn: FeedTurn, turn: Turn) -> AsyncIterator[Reading]:
        """Give the answers to a feed's requests, those that follow from others included."""
        waiting = deque(self.plan.requests(feed_turn))
        while waiting:
            request = waiting.popleft()

            def read(reply: Reply, request: Request = request) -> Reading:
                context = ParseContext(now=self.clock.now())
                if self._on_reply is not None:
                    self._on_reply(request, reply)
                return self.plan.read(feed_turn, request, reply, context)

            limits = self._limits(feed_turn.feed, request)
            try:
                reading = await self._asker.ask(request, read, limits, turn)
            except SourceRejected as exc:
                other = self.plan.recover(feed_turn, request, exc)
                if other is None:
                    raise
                waiting.extendleft(reversed(other))
                continue
            waiting.extendleft(reversed(reading.then))
            yield reading

    def _limits(self, feed: Feed, request: Request) -> Limits:
        name = self.plan.bucket(feed, request)
        rate = self.plan.rates[name] if name is not None else None
        return Limits(feed.max_bytes, feed.deadline_s, name, rate)

    async def _finish(self, poll: Gathered) -> PollReport:
        fresh = self._accepted.changed(poll.rows)
        derived = self._accepted.changed(list(self.plan.derive(fresh)))
        synthetic = self._accepted.changed(list(self._fallback(poll, fresh)))
        if synthetic:
            poll.turn.log.mark_fallback()
        new = [*fresh, *derived, *synthetic]
        await self._hand_over(new, poll.turn.log, version=int(poll.planned.timestamp()), poll=poll)
        self._state.feeds.update(poll.feeds)
        self._state.covered = self._coverage(new)
        self._state.keep_validators(poll.validators)
        now = self.clock.now()
        report = PollReport(
            source=self.source,
            at=poll.planned,
            requests=poll.turn.requests,
            rows=len(new),
            rows_by_table=dict(sorted(Counter(row.TABLE for row in new).items())),
            unchanged=len(poll.rows) - len(fresh),
            rejected=poll.rejected,
            fallbacks=len(synthetic),
            conflicts=self.conflicts - poll.conflicts_before,
            asked=tuple(poll.asked),
            updates=tuple(poll.updates),
            breaker=self._state.breaker.state(now).value,
            next_due=next_due(self.plan.feeds, self._state.feeds, now),
        )
        self._state.last = report
        self._totals.update(
            requests=report.requests,
            rows=report.rows,
            fallbacks=report.fallbacks,
            rejected=report.rejected,
        )
        self._save()
        return report

    async def _hand_over(
        self, new: Sequence[Row], log: AttemptLog, *, version: int, poll: Gathered | None = None
    ) -> None:
        """Stamp rows and log, put them into storage, and remember them once it has them."""
        arrived = poll.arrived if poll is not None else {}
        now = self.clock.now()
        records = [
            row.to_record(
                self.run_id,
                retrieved_at=arrived.get((row.TABLE, row.key()), now),
                version=version,
            )
            for row in new
        ]
        logged = [row.to_record(self.run_id) for row in log.rows]
        self._sequence = max(self._sequence, log.next_sequence)
        try:
            await self._put([*self._owed, *records, *logged])
        except GridpactError:
            if self._incarnation is not None:
                # The attempts were made whatever became of their rows. A replay's poll is
                # repeated and logs the same attempts again.
                owed = [*self._owed, *logged]
                self._owed_lost += max(0, len(owed) - MOST_OWED)
                self._owed = owed[-MOST_OWED:]
            raise
        self._owed = []
        self._accepted.remember(new)

    async def _put(self, records: Sequence[Record]) -> None:
        """Put records; one that contradicts an earlier one of its key is left out and counted.

        A source that repeats an id or a timestamp with other content (some providers do, after a
        restart we cannot tell) must not keep everything else out for ever.
        """
        waiting = list(records)
        while waiting:
            try:
                await self._storage.put(waiting)
            except RecordConflict as exc:
                refused = exc.details.get("id")
                left = [record for record in waiting if record.id != refused]
                if len(left) == len(waiting):
                    raise
                self.conflicts += len(waiting) - len(left)
                waiting = left
            else:
                return

    def _coverage(self, rows: Sequence[Row]) -> dict[str, datetime]:
        """Give until when published figures reach, series by series, these rows included."""
        covered = dict(self._state.covered)
        for row in rows:
            series = self.plan.series(row)
            until = getattr(row, "valid_to", None)
            if series is not None and isinstance(until, datetime):
                covered[series] = max(covered.get(series, EPOCH), until)
        return covered

    def _fallback(self, poll: Gathered, fresh: Sequence[Row]) -> Sequence[Row]:
        """Give synthetic rows where a feed the market needs is out."""
        out = feeds_out(
            self.plan.needed(),
            {**self._state.feeds, **poll.feeds},
            {asked.feed: asked.outcome for asked in poll.asked},
            poll.planned,
            self.settings.stale_after,
        )
        if not out:
            return ()
        reason = f"{self.source} is out: no answer for {', '.join(out)}"
        return self.plan.fallback(
            planned=poll.planned, covered=self._coverage(fresh), seed=self.seed, reason=reason
        )

    def _bridged(self, now: datetime) -> list[str]:
        needed, states = self.plan.needed(), self._state.feeds
        return bridged_feeds(needed, states, now, self.settings.stale_after)

    def _save(self) -> None:
        if self.settings.state_path is None:
            return
        self._state.extra = self.plan.export()
        self._file.save(self._state)
