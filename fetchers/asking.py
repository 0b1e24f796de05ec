"""One request to a source under all its rules: breaker, rate limit, retry, and a log row a try.

Polls and orders ask through here, so that both keep the same limits and leave the same traces.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from random import Random

from fetchers.attempts import AttemptLog, outcome_of
from fetchers.breaker import BreakerState
from fetchers.bucket import Bucket, Rate
from fetchers.http import HttpClient
from fetchers.parsing import guarded
from fetchers.reply import Reply, Validators
from fetchers.request import Request
from fetchers.retry import RetryPolicy, retry_after_s
from fetchers.sources import Reading
from fetchers.state import FetcherState
from schema.clock import Clock
from schema.errors import (
    NotYetPublished,
    SourceError,
    SourceRejected,
    SourceUnavailable,
)
from schema.rows.system import Outcome


class BreakerOpen(SourceUnavailable):
    """The breaker kept a request from being made."""


class OutOfTime(SourceUnavailable):
    """The time for asking is up; what was to be asked stays due."""


@dataclass(slots=True)
class Turn:
    """One occasion to ask, a poll or an order: its log, its jitter, and when it must end.

    ``ends_at_s`` is on the clock's monotonic seconds; ``requests`` counts what was sent.
    ``validators`` collects, by address, what the answers can be asked for by next time; whoever
    gets their rows stored keeps them.
    """

    log: AttemptLog
    rng: Random
    ends_at_s: float
    requests: int = 0
    validators: dict[str, Validators] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Limits:
    """What one request may take; ``rate`` is the named limit it draws from."""

    max_bytes: int
    deadline_s: float
    bucket: str | None = None
    rate: Rate | None = None


class Asker:
    """Sends requests of one source and reads the answers."""

    def __init__(
        self,
        source: str,
        *,
        http: HttpClient,
        clock: Clock,
        retry: RetryPolicy,
        state: FetcherState,
        save: Callable[[], None],
        prepare: Callable[[Request, datetime], Request] | None = None,
    ) -> None:
        self._source = source
        self._http = http
        self._clock = clock
        self._retry = retry
        self._state = state
        self._save = save
        self._prepare = prepare

    async def ask(
        self, request: Request, read: Callable[[Reply], Reading], limits: Limits, turn: Turn
    ) -> Reading:
        """Send a request, as often as the policy allows, and read its answer.

        Args:
            request: What to send.
            read: Reads an answer; raises what a parser raises.
            limits: Size, time, rate.
            turn: The poll or order it is part of; gets a log row an attempt.

        Raises:
            BreakerOpen: The source is left alone for now.
            OutOfTime: The turn is over before the request could be made.
            SourceError: The last attempt's failure.
        """
        attempt = 0
        failed: SourceError | None = None
        while True:
            attempt += 1
            try:
                await self._admit(request, limits, turn, attempt)
            except OutOfTime:
                # What was tried and failed has failed, whether or not it could be tried again.
                if failed is not None:
                    raise failed from None
                raise
            started, started_s = self._clock.now(), self._clock.monotonic_s()
            turn.requests += 1
            reply: Reply | None = None
            try:
                reply = await self._send(request, limits, started)
                reading = self._reading(read, reply)
            except SourceError as exc:
                turn.log.add(
                    request,
                    outcome=outcome_of(exc),
                    attempt=attempt,
                    requested_at=started,
                    duration_s=self._clock.monotonic_s() - started_s,
                    reply=reply,
                    error=exc,
                )
                self._judge(exc, answered=reply is not None)
                if isinstance(exc, NotYetPublished):
                    raise  # retryable, but in minutes: its feed stays due
                wait = self._retry.wait_s(attempt, exc, turn.rng)
                if wait is None or self._shut() or self._late(turn, wait):
                    raise
                await self._clock.sleep(wait)
                failed = exc
                continue
            self._state.breaker = self._state.breaker.succeeded()
            if gets(request) and reply.validators is not None:
                turn.validators[request.full_url] = reply.validators
            refusal = SourceRejected(reading.refused) if reading.refused else None
            outcome = Outcome.NOT_MODIFIED if reply.unchanged else Outcome.OK
            turn.log.add(
                request,
                outcome=Outcome.REJECTED if refusal else outcome,
                attempt=attempt,
                requested_at=started,
                duration_s=self._clock.monotonic_s() - started_s,
                reply=reply,
                parsed=reading.parsed,
                error=refusal,
            )
            return reading

    def _reading(self, read: Callable[[Reply], Reading], reply: Reply) -> Reading:
        """Read an answer; one that is held already says nothing new."""
        return Reading() if reply.unchanged else guarded(self._source, lambda: read(reply))

    async def _admit(self, request: Request, limits: Limits, turn: Turn, attempt: int) -> None:
        """Wait for the rate limit; refuse where the breaker is open or the time is up."""
        now = self._clock.now()
        if self._shut():
            until = self._state.breaker.open_until
            message = f"{self._source} failed too often; left alone until {until}"
            error = BreakerOpen(message, source=self._source)
            turn.log.add(
                request,
                outcome=Outcome.BREAKER_OPEN,
                attempt=attempt,
                requested_at=now,
                error=error,
            )
            raise error
        name, rate = limits.bucket, limits.rate
        bucket = self._bucket(name, rate) if name is not None and rate is not None else None
        wait = self._state.breaker.asked_s(now)
        if bucket is not None:
            wait = max(wait, bucket.wait_s(now))
        if self._late(turn, wait):
            message = f"{request.endpoint} waits for the next poll: this one has used its time"
            raise OutOfTime(message, source=self._source)
        if wait > 0:
            await self._clock.sleep(wait)
        if bucket is not None and name is not None:
            self._state.buckets[name] = bucket.taken(self._clock.now())
            # Written before the request, so that a crash loop keeps the limit too.
            self._save()

    async def _send(self, request: Request, limits: Limits, started: datetime) -> Reply:
        """Send it; the pause that a rate limit wants before the next one begins with its end."""
        name = limits.bucket
        try:
            return await self._http.send(
                self._prepare(request, started) if self._prepare else request,
                max_bytes=limits.max_bytes,
                deadline_s=limits.deadline_s,
                known=self._state.validators.get(request.full_url) if gets(request) else None,
            )
        finally:
            if name is not None and name in self._state.buckets:
                self._state.buckets[name] = self._state.buckets[name].held(self._clock.now())

    def _shut(self) -> bool:
        return self._state.breaker.state(self._clock.now()) is BreakerState.OPEN

    def _late(self, turn: Turn, wait_s: float) -> bool:
        return self._clock.monotonic_s() + wait_s > turn.ends_at_s

    def _bucket(self, name: str, rate: Rate) -> Bucket:
        held = self._state.buckets.get(name)
        if held is None or held.rate != rate:
            return Bucket.full(rate, self._clock.now())
        return held

    def _judge(self, error: SourceError, *, answered: bool) -> None:
        """Tell the breaker: an answer we dislike is still an answer, silence is not."""
        if answered or not error.retryable:
            return
        # A pause we can sit out here is no reason to leave the source alone.
        asked = retry_after_s(error) or 0.0
        opens = asked if asked > self._retry.patience_s else 0.0
        self._state.breaker = self._state.breaker.failed(
            self._clock.now(),
            at_least=timedelta(seconds=opens),
            asked=timedelta(seconds=asked),
        )
        if asked:
            # Written now: a process that starts again must not ask before that.
            self._save()


def gets(request: Request) -> bool:
    """Say whether an answer to this request may be kept and asked for by its validators."""
    return request.method == "GET"
