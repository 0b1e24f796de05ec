"""Recording: the live sources polled as a live run polls them, every answer kept as a file.

What the sources told before is asked first, so that a replay has the day (of prices the week)
before its start. Answers are on disk as they come; a recording that is cut off keeps them.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import date, datetime, timedelta
from pathlib import Path
from typing import Protocol

import httpx

from fetchers.capture import seal
from fetchers.fetcher import Fetcher
from fetchers.history import Days, HistoryFeed, stretches
from fetchers.history_reader import HISTORIES, HistoryReader, history_of
from fetchers.reply import Reply
from fetchers.request import Request
from scenarios.axis import PRICES_BEFORE, TABLE_BEFORE
from scenarios.ops.recorded import REPLIES
from schema.clock import Clock
from schema.errors import GridpactError, SourceError
from schema.periods import LONDON
from schema.readings import Source
from schema.rows.system import Outcome

INTERVAL_S = 60.0
#: The feeds of the past that a scenario's tables are made of, and how far back they are needed.
PAST: Mapping[str, tuple[tuple[str, timedelta], ...]] = {
    Source.CARBON_INTENSITY: (("intensity", TABLE_BEFORE), ("regional", TABLE_BEFORE)),
    Source.ELEXON: (("market-index", PRICES_BEFORE), ("system-prices", TABLE_BEFORE)),
}
_SOUND = frozenset({Outcome.OK, Outcome.NOT_MODIFIED, Outcome.NOT_YET_PUBLISHED})
Tell = Callable[[str], None]


class Replies:
    """The folder of replies; each is sealed and written as it comes.

    Args:
        folder: Of the recording.
        clock: Says when a reply came.
        secrets: Exact texts that must not stand in a file.
    """

    def __init__(self, folder: Path, clock: Clock, secrets: Collection[str]) -> None:
        self._folder = folder / REPLIES
        self._clock = clock
        self._secrets = secrets
        self.count: Counter[str] = Counter()

    def keep(self, request: Request, reply: Reply) -> None:
        """Write a reply."""
        at = self._clock.now()
        place = self._folder / request.source
        place.mkdir(parents=True, exist_ok=True)
        self.count[request.source] += 1
        # The number keeps replies of one moment apart and in order.
        number = self.count[request.source]
        name = f"{at:%Y%m%dT%H%M%S}.{at.microsecond // 1000:03}-{number:06}-{request.endpoint}.json"
        (place / name).write_bytes(seal(request, reply, at, self._secrets))


class MakeFetcher(Protocol):
    """Makes the fetcher of a source that is recorded."""

    def __call__(self, source: str, replies: Replies) -> Fetcher:
        """Give the fetcher; it tells ``replies`` of every answer."""
        ...


@dataclass(slots=True)
class Recorder:
    """One recording.

    Attributes:
        sources: What is recorded.
        replies: Where answers go.
        clock: The live clock.
        make: Makes fetchers.
        address: Address of a source.
        tell: Told what goes on.
        transport: In place of the network, for the past; tests give their own.
        interval_s: Time between two polls.
        faults: What could not be had, in words.
    """

    sources: Sequence[str]
    replies: Replies
    clock: Clock
    make: MakeFetcher
    address: Callable[[str], str]
    tell: Tell
    transport: Callable[[str], httpx.AsyncBaseTransport | None] = lambda _source: None
    interval_s: float = INTERVAL_S
    faults: list[str] = field(default_factory=list)

    async def past(self, start: datetime) -> None:
        """Ask for what a replay from ``start`` on needs of the time before now."""
        await asyncio.gather(
            *(self._past_of(source, start) for source in self.sources if source in PAST)
        )

    async def live(self, until: datetime | None) -> None:
        """Poll every source until a moment, and once more then; only once where there is none."""
        fetchers = {source: self.make(source, self.replies) for source in self.sources}
        try:
            while True:
                now = self.clock.now().replace(microsecond=0)
                last = until is None or now >= until
                began_s = self.clock.monotonic_s()
                await asyncio.gather(
                    *(self._poll(name, fetcher, now) for name, fetcher in fetchers.items())
                )
                if last:
                    return
                assert until is not None
                rest_s = self.interval_s - (self.clock.monotonic_s() - began_s)
                left_s = (until - self.clock.now()).total_seconds()
                await self.clock.sleep(max(0.0, min(rest_s, left_s)))
        finally:
            for fetcher in fetchers.values():
                await fetcher.close()

    async def _poll(self, name: str, fetcher: Fetcher, now: datetime) -> None:
        try:
            report = await fetcher.poll(now)
        except GridpactError as exc:
            self._fault(f"{name}: {exc.message}")
            return
        for asked in report.asked:
            if asked.outcome not in _SOUND:
                self._fault(f"{name} {asked.feed}: {asked.error or asked.outcome.value}")
        if report.requests:
            self.tell(f"{now:%H:%M:%S}Z {name}: {report.requests} requests")

    async def _past_of(self, source: str, start: datetime) -> None:
        reader = HistoryReader(
            history_of(source, self.address(source)),
            clock=self.clock,
            transport=self.transport(source),
            incarnation=f"record-{source}",
            on_reply=self.replies.keep,
        )
        feeds = {feed.name: feed for feed in HISTORIES[source].feeds}
        try:
            for name, back in PAST[source]:
                await self._stretches_of(reader, feeds[name], start - back)
        finally:
            await reader.close()

    async def _stretches_of(
        self, reader: HistoryReader, feed: HistoryFeed, since: datetime
    ) -> None:
        days = Days(_day(since), _day(self.clock.now()))
        for stretch in stretches(feed, days.each()):
            try:
                await reader.read(feed, stretch)
            except SourceError as exc:
                self._fault(f"{reader.plan.source.value} {feed.name}, {stretch}: {exc.message}")
                return
        self.tell(f"{reader.plan.source.value}: {feed.name} from {days.first} on")

    def _fault(self, said: str) -> None:
        self.faults.append(said)
        self.tell(said)


def _day(moment: datetime) -> date:
    return moment.astimezone(LONDON).date()
