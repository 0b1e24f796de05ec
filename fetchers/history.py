"""What a source still says of past days: which requests, how many days each, how often.

Pure, like the plans of a live run. Days are settlement days, by the London clock. A feed's
longest stretch is the source's own limit, less what a day of 25 hours may add.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import date, datetime, timedelta

from fetchers import registry
from fetchers.bucket import Rate
from fetchers.carbon_intensity.endpoints import (
    build_generation_range,
    build_intensity_range,
    build_regional_range,
)
from fetchers.elexon.endpoints import (
    build_demand_outturn,
    build_fuelhh,
    build_market_index,
    build_system_prices,
)
from fetchers.elexon.regional_demand import estimate_regional_demand
from fetchers.parsing import ParseContext
from fetchers.plan import MIB
from fetchers.reply import Reply
from fetchers.request import Request
from fetchers.sources import Reading
from schema.periods import local_midnight
from schema.readings import Source
from schema.rows import Row

ONE_DAY = timedelta(days=1)
#: Neither source publishes a limit; both ask for moderation and may block who lacks it.
POLITE = "polite"
_POLITE_RATES: Mapping[str, Rate] = {POLITE: Rate(1.0)}


@dataclass(frozen=True, slots=True, order=True)
class Days:
    """A stretch of settlement days, both ends included."""

    first: date
    last: date

    @property
    def start(self) -> datetime:
        """First instant, UTC."""
        return local_midnight(self.first)

    @property
    def end(self) -> datetime:
        """First instant after the last day, UTC."""
        return local_midnight(self.last + ONE_DAY)

    def each(self) -> list[date]:
        """Give the days in order."""
        return [self.first + n * ONE_DAY for n in range((self.last - self.first).days + 1)]

    def __str__(self) -> str:
        return f"{self.first}" if self.first == self.last else f"{self.first} to {self.last}"


@dataclass(frozen=True, slots=True)
class HistoryFeed:
    """One thing to ask a source of past days.

    Attributes:
        name: Unique in its source.
        longest: Most days one request may cover.
        build: Makes the request for an address and a stretch.
        bucket: Rate limit that its requests draw from.
        within_year: Whether a stretch may not reach over a turn of the year: a file a year.
        max_bytes: Largest decoded reply.
        deadline_s: Longest time for one request, body included.
    """

    name: str
    longest: int
    build: Callable[[str, Days], Request]
    bucket: str = POLITE
    within_year: bool = False
    max_bytes: int = 16 * MIB
    deadline_s: float = 60.0


class HistoryPlan:
    """The past of one source."""

    source: Source
    feeds: tuple[HistoryFeed, ...] = ()
    rates: Mapping[str, Rate] = _POLITE_RATES

    def __init__(self, base_url: str) -> None:
        self.base_url = base_url

    def holds(self, feed: HistoryFeed, day: date, today: date) -> bool:
        """Say whether a feed has that day, or another feed of the source does."""
        del feed
        return day <= today

    def bucket(self, feed: HistoryFeed, request: Request) -> str:
        """Give the rate limit that a request draws from."""
        del request
        return feed.bucket

    def requests(self, feed: HistoryFeed, days: Days) -> Sequence[Request]:
        """Give the requests for a stretch."""
        return [feed.build(self.base_url, days)]

    def read(
        self, feed: HistoryFeed, days: Days, request: Request, reply: Reply, context: ParseContext
    ) -> Reading:
        """Read an answer; raises what the parser raises."""
        del feed, days
        parser = registry.find(self.source.value, request.endpoint)
        return Reading(parser.parse(reply.body, context))

    def derive(self, rows: Sequence[Row]) -> Sequence[Row]:
        """Give estimates that follow from published rows."""
        del rows
        return ()


class CarbonIntensityHistory(HistoryPlan):
    """National intensity and mix, regional forecasts with the mix of their time.

    Fourteen days a request at most. A regional reply is about thirty times as large as a national
    one, so it is asked by the week.
    """

    source = Source.CARBON_INTENSITY
    feeds = (
        HistoryFeed("intensity", 13, lambda url, d: build_intensity_range(d.start, d.end, url)),
        HistoryFeed(
            "regional", 7, lambda url, d: build_regional_range(d.start, d.end, base_url=url)
        ),
        HistoryFeed("generation", 13, lambda url, d: build_generation_range(d.start, d.end, url)),
    )


class ElexonHistory(HistoryPlan):
    """Index and system prices, demand outturn, generation by fuel; seven days a request at most."""

    source = Source.ELEXON
    feeds = (
        HistoryFeed(
            "market-index", 6, lambda url, d: build_market_index(d.start, d.end, base_url=url)
        ),
        HistoryFeed("demand-outturn", 7, lambda url, d: build_demand_outturn(d.first, d.last, url)),
        HistoryFeed("fuelhh", 7, lambda url, d: build_fuelhh(d.first, d.last, url)),
        HistoryFeed("system-prices", 1, lambda url, d: build_system_prices(d.first, base_url=url)),
    )

    def derive(self, rows: Sequence[Row]) -> Sequence[Row]:
        """Estimate regional demand from national outturn, as a live run does."""
        return estimate_regional_demand(rows)


def stretches(feed: HistoryFeed, days: Iterable[date]) -> list[Days]:
    """Put days together into stretches that one request may cover, in order.

    Args:
        feed: Says how many.
        days: Rising; what is missing between them is not asked for.
    """
    found: list[Days] = []
    for day in days:
        last = found[-1] if found else None
        if (
            last is not None
            and day == last.last + ONE_DAY
            and (day - last.first).days < feed.longest
            and not (feed.within_year and day.year != last.first.year)
        ):
            found[-1] = Days(last.first, day)
        else:
            found.append(Days(day, day))
    return found
