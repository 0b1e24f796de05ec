"""Elexon's plan: prices, demand, generation by fuel, and regional demand estimated from them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import date, datetime, timedelta

from fetchers.elexon.endpoints import (
    MAX_RANGE_DAYS,
    build_demand_forecast,
    build_demand_outturn,
    build_fuelhh,
    build_market_index,
    build_system_prices,
)
from fetchers.elexon.parse import ENDPOINTS
from fetchers.elexon.regional_demand import estimate_regional_demand
from fetchers.plan import Feed
from fetchers.quality import series_of, synthetic_prices
from fetchers.request import Request
from fetchers.sources import BasePlan, FeedTurn
from schema.periods import HALF_HOUR, LONDON
from schema.readings import Source
from schema.rows import Row

HOUR = timedelta(hours=1)
#: The market reads the half hour of the last comparable day, up to a week back.
PRICE_HISTORY = timedelta(days=MAX_RANGE_DAYS)
#: Late and revised index prices are caught by asking for some hours again.
PRICE_OVERLAP = timedelta(hours=6)

INDEX = Feed("market-index", HALF_HOUR, offset=timedelta(minutes=6))
SYSTEM = Feed("system-prices", HALF_HOUR, offset=timedelta(minutes=21))
#: Yesterday's system prices are revised during the day.
SYSTEM_BEFORE = Feed("system-prices-yesterday", HOUR, offset=timedelta(minutes=25))
OUTTURN = Feed("demand-outturn", HALF_HOUR, offset=timedelta(minutes=16))
FUELS = Feed("fuelhh", HALF_HOUR, offset=timedelta(minutes=6))
FORECAST = Feed("demand-forecast", HOUR)
ZONAL = Feed("demand-forecast-zonal", HOUR)


class ElexonPlan(BasePlan):
    """Index and system prices, demand outturn and forecast, half-hourly generation by fuel."""

    source = Source.ELEXON
    feeds = (INDEX, SYSTEM, SYSTEM_BEFORE, OUTTURN, FUELS, FORECAST, ZONAL)
    parsers = ENDPOINTS

    def requests(self, turn: FeedTurn) -> Sequence[Request]:
        """Give the one request of a feed."""
        feed, planned = turn.feed, turn.planned
        today = _local_day(planned)
        if feed is INDEX:
            since = (turn.state.last_ok or planned - PRICE_HISTORY) - PRICE_OVERLAP
            start = max(since, planned - PRICE_HISTORY)
            return [build_market_index(start, planned, base_url=self.base_url)]
        if feed is SYSTEM:
            return [build_system_prices(today, base_url=self.base_url)]
        if feed is SYSTEM_BEFORE:
            return [build_system_prices(today - timedelta(days=1), base_url=self.base_url)]
        if feed is OUTTURN:
            return [build_demand_outturn(today - timedelta(days=1), today, self.base_url)]
        if feed is FUELS:
            # Shortly after midnight the last periods of the day before are still news.
            return [build_fuelhh(_local_day(planned - 2 * HOUR), today, self.base_url)]
        return [build_demand_forecast(zonal=feed is ZONAL, base_url=self.base_url)]

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
