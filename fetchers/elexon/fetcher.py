"""Elexon's plan: prices, demand, generation by fuel, and regional demand estimated from them.

After a gap (the program was off, the source was out) index, outturn and fuels are asked from the
last answer on, at most a week back; system prices come with the daily round of revisions.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import date, datetime, timedelta
from typing import Any

from fetchers.elexon.endpoints import (
    MAX_RANGE_DAYS,
    build_demand_forecast,
    build_demand_outturn,
    build_fuelhh,
    build_market_index,
    build_system_prices,
    split_days,
)
from fetchers.elexon.parse import ENDPOINTS
from fetchers.elexon.regional_demand import estimate_regional_demand
from fetchers.elexon.revisions import days_to_ask_again
from fetchers.parsing import ParseContext
from fetchers.plan import Feed
from fetchers.quality import series_of, synthetic_prices
from fetchers.reply import Reply
from fetchers.request import Request
from fetchers.sources import BasePlan, FeedTurn, Reading
from schema.errors import GridpactError, NotYetPublished
from schema.periods import HALF_HOUR, LONDON
from schema.readings import Source
from schema.rows import Row

BAD_REQUEST = 400
HOUR = timedelta(hours=1)
DAY = timedelta(days=1)
#: The market reads the half hour of the last comparable day, up to a week back.
PRICE_HISTORY = timedelta(days=MAX_RANGE_DAYS)
#: Late and revised index prices are caught by asking for some hours again.
PRICE_OVERLAP = timedelta(hours=6)

INDEX = Feed("market-index", HALF_HOUR, offset=timedelta(minutes=6))
SYSTEM = Feed("system-prices", HALF_HOUR, offset=timedelta(minutes=21))
#: Yesterday's system prices are revised during the day.
SYSTEM_BEFORE = Feed("system-prices-yesterday", HOUR, offset=timedelta(minutes=25))
#: Once a day, after the night's settlement runs were published.
SYSTEM_REVISED = Feed("system-prices-revised", DAY, offset=timedelta(hours=10, minutes=40))
OUTTURN = Feed("demand-outturn", HALF_HOUR, offset=timedelta(minutes=16))
FUELS = Feed("fuelhh", HALF_HOUR, offset=timedelta(minutes=6))
FORECAST = Feed("demand-forecast", HOUR)
ZONAL = Feed("demand-forecast-zonal", HOUR)


class ElexonPlan(BasePlan):
    """Index and system prices, demand outturn and forecast, half-hourly generation by fuel."""

    source = Source.ELEXON
    feeds = (INDEX, SYSTEM, SYSTEM_BEFORE, OUTTURN, FUELS, FORECAST, ZONAL, SYSTEM_REVISED)
    parsers = ENDPOINTS

    def __init__(self, base_url: str) -> None:
        super().__init__(base_url)
        #: First settlement day whose prices are wanted: a week before the first poll.
        self._since: date | None = None

    def requests(self, turn: FeedTurn) -> Sequence[Request]:
        """Give the requests of a feed: one, but for the round of revisions."""
        feed, planned, last_ok = turn.feed, turn.planned, turn.state.last_ok
        today = _local_day(planned)
        self._since = self._since or _local_day(planned - PRICE_HISTORY)
        if feed is INDEX:
            since = (last_ok or planned - PRICE_HISTORY) - PRICE_OVERLAP
            start = max(since, planned - PRICE_HISTORY)
            return [build_market_index(start, planned, base_url=self.base_url)]
        if feed is SYSTEM:
            return [build_system_prices(today, base_url=self.base_url)]
        if feed is SYSTEM_BEFORE:
            return [build_system_prices(today - DAY, base_url=self.base_url)]
        if feed is SYSTEM_REVISED:
            last = _local_day(last_ok) if last_ok is not None else None
            days = days_to_ask_again(today, since=self._since, last=last)
            return [build_system_prices(day, base_url=self.base_url) for day in days]
        if feed is OUTTURN:
            return [build_demand_outturn(_first_day(turn, DAY), today, self.base_url)]
        if feed is FUELS:
            # Shortly after midnight the last periods of the day before are still news.
            return [build_fuelhh(_first_day(turn, 2 * HOUR), today, self.base_url)]
        return [build_demand_forecast(zonal=feed is ZONAL, base_url=self.base_url)]

    def read(
        self, turn: FeedTurn, request: Request, reply: Reply, context: ParseContext
    ) -> Reading:
        """Read an answer; a past day without prices has none, and the other days go on."""
        try:
            return super().read(turn, request, reply, context)
        except NotYetPublished:
            if turn.feed is SYSTEM_REVISED:
                return Reading()
            raise

    def recover(
        self, turn: FeedTurn, request: Request, error: GridpactError
    ) -> Sequence[Request] | None:
        """Ask day by day for a range that was refused; it may have been too long."""
        del turn
        if error.details.get("status") != BAD_REQUEST:
            return None
        return split_days(request) or None

    def export(self) -> dict[str, Any]:
        """Remember since when prices are wanted."""
        return {"since": self._since.isoformat()} if self._since is not None else {}

    def restore(self, extra: Mapping[str, Any]) -> None:
        """Take it back."""
        since = extra.get("since")
        self._since = date.fromisoformat(since) if isinstance(since, str) else None

    def derive(self, rows: Sequence[Row]) -> Sequence[Row]:
        """Estimate regional demand from new national figures."""
        return estimate_regional_demand(rows)

    def needed(self) -> Sequence[str]:
        """Name the feed the market cannot do without."""
        return (INDEX.name,)

    def series(self, row: Row) -> str | None:
        """Name a row's series."""
        return series_of(row)

    def fallback(
        self, *, planned: datetime, covered: Mapping[str, datetime], seed: int, reason: str
    ) -> Sequence[Row]:
        """Make up the prices of past half hours that are missing."""
        return synthetic_prices(
            planned, covered, source=self.source.value, seed=seed, reason=reason
        )


def _local_day(moment: datetime) -> date:
    return moment.astimezone(LONDON).date()


def _first_day(turn: FeedTurn, back: timedelta) -> date:
    """Give the first settlement day to ask for: as of some time ago, or of the last answer."""
    since = turn.planned - back
    if turn.state.last_ok is not None:
        since = min(since, turn.state.last_ok)
    return max(_local_day(since), _local_day(turn.planned) - (MAX_RANGE_DAYS - 1) * DAY)
