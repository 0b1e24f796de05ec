"""Asks a source of past days: one stretch of one feed after the other, under all its rules."""

from __future__ import annotations

from collections import deque
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from random import Random

import httpx

from fetchers.asking import Asker, Limits, Turn
from fetchers.attempts import AttemptLog
from fetchers.fetcher import OnReply
from fetchers.history import CarbonIntensityHistory, Days, ElexonHistory, HistoryFeed, HistoryPlan
from fetchers.http import HttpClient
from fetchers.neso.history import NesoHistory
from fetchers.parsing import ParseContext, coalesce
from fetchers.quality import screen
from fetchers.reply import Reply
from fetchers.request import Request
from fetchers.retry import RetryPolicy
from fetchers.sources import Reading
from fetchers.state import StateFile
from schema.clock import Clock, VirtualClock
from schema.errors import InputError, NotYetPublished
from schema.readings import Source
from schema.rows import Row
from schema.rows.system import ApiLogRow

HISTORIES: Mapping[str, type[HistoryPlan]] = {
    Source.CARBON_INTENSITY: CarbonIntensityHistory,
    Source.NESO: NesoHistory,
    Source.ELEXON: ElexonHistory,
}


def history_of(source: str, base_url: str) -> HistoryPlan:
    """Give the past of a source.

    Raises:
        InputError: It tells nothing of past days.
    """
    plan = HISTORIES.get(source)
    if plan is None:
        known = ", ".join(HISTORIES)
        msg = f"{source!r} tells nothing of past days; sources with a history are {known}"
        raise InputError(msg, field="source", value=source)
    return plan(base_url)


@dataclass(frozen=True, slots=True)
class Past:
    """What one stretch gave; ``rows`` are one a key and begin within it."""

    rows: tuple[Row, ...]
    rejected: int
    requests: int


class HistoryReader:
    """Reads the past of one source.

    Args:
        plan: What is asked.
        clock: The wall clock; limits and pauses go by it.
        transport: None for the network.
        incarnation: Names this reading in the request log.
        state_path: File of limits and breaker, which must survive the process; None keeps them
            in memory.
        retry: When to try again.
        on_reply: Told every answer as it came.
    """

    def __init__(
        self,
        plan: HistoryPlan,
        *,
        clock: Clock,
        transport: httpx.AsyncBaseTransport | None,
        incarnation: str,
        state_path: Path | None = None,
        retry: RetryPolicy | None = None,
        on_reply: OnReply | None = None,
    ) -> None:
        self.plan = plan
        self._clock = clock
        self._on_reply = on_reply
        self._http = HttpClient(
            source=plan.source.value,
            base_url=plan.base_url,
            clock=clock,
            transport=transport,
            wall_deadline=not isinstance(clock, VirtualClock),
        )
        file = StateFile(state_path)
        state = file.load()
        self._asker = Asker(
            plan.source.value,
            http=self._http,
            clock=clock,
            # Nobody waits for a backfill: it can sit out longer pauses than a live poll.
            retry=retry or RetryPolicy(attempts=5, base_s=2.0, patience_s=120.0),
            state=state,
            save=lambda: file.save(state),
        )
        self._turn = Turn(
            log=AttemptLog(plan.source.value, incarnation),
            rng=Random(incarnation),  # noqa: S311  # jitter, no secret
            ends_at_s=float("inf"),
        )

    async def close(self) -> None:
        """Let go of connections."""
        await self._http.close()

    def take_log(self) -> list[ApiLogRow]:
        """Give the log of requests since the last time, each once."""
        rows = list(self._turn.log.rows)
        self._turn.log.rows.clear()
        return rows

    async def read(self, feed: HistoryFeed, days: Days) -> Past:
        """Ask for a stretch and give its rows, what follows from them included.

        A stretch of which the source has nothing gives no row.

        Raises:
            SourceError: The source could not be asked or read; ask for the stretch again later.
        """
        before = self._turn.requests
        found: list[Row] = []
        rejected = 0
        waiting = deque(self.plan.requests(feed, days))
        while waiting:
            request = waiting.popleft()
            name = self.plan.bucket(feed, request)
            limits = Limits(feed.max_bytes, feed.deadline_s, name, self.plan.rates[name])

            def read(reply: Reply, request: Request = request) -> Reading:
                if self._on_reply is not None:
                    self._on_reply(request, reply)
                context = ParseContext(now=self._clock.now())
                return self.plan.read(feed, days, request, reply, context)

            try:
                reading = await self._asker.ask(request, read, limits, self._turn)
            except NotYetPublished:
                continue
            waiting.extendleft(reversed(reading.then))
            sound, doubtful = screen(reading.parsed.rows)
            found += sound
            rejected += len(reading.parsed.rejected) + len(doubtful)
        rows = [row for row in coalesce(found) if _begins_in(row, days)]
        derived = coalesce(self.plan.derive(rows))
        return Past((*rows, *derived), rejected, self._turn.requests - before)


def _begins_in(row: Row, days: Days) -> bool:
    """Say whether a row begins in a stretch: a reply may hold a half hour more, or a whole file."""
    starts = getattr(row, "valid_from", None) or getattr(row, "starts_at", None)
    return starts is None or days.start <= starts < days.end
