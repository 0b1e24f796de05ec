"""NESO's past: a file a year of demand, the running one since last month, the generation mix.

Demand of a day comes from one file only: of a day that both have, the two may differ for weeks,
and a second reading would undo the first. Limits are those of the live plan.
"""

from __future__ import annotations

from dataclasses import replace
from datetime import date, timedelta

from fetchers.history import Days, HistoryFeed, HistoryPlan
from fetchers.neso.catalogue import find_resource, parse_package_show
from fetchers.neso.demand import MIX_FUELS
from fetchers.neso.endpoints import (
    DEMAND_UPDATE,
    EAC_RESULTS,
    HISTORIC_DEMAND_2025,
    HISTORIC_GENERATION_MIX,
    PACKAGE_SHOW,
    ROW_CAP,
    build_datastore_search,
    build_datastore_sql,
    build_package_show,
)
from fetchers.neso.fetcher import CATALOGUE, DATASTORE, RATES
from fetchers.parsing import ParseContext
from fetchers.reply import Reply
from fetchers.request import Request
from fetchers.sources import Reading
from schema.errors import SourceRejected
from schema.readings import Parsed, Source

_MIX_COLUMNS = (
    "DATETIME",
    *(column.upper() for column in MIX_FUELS),
    *(f"{column.upper()}_perc" for column in MIX_FUELS),
)
_FINANCIAL_YEAR_STARTS = (4, 1)


def _mix_request(base_url: str, days: Days) -> Request:
    # Times of the file are UTC and have no zone.
    start, end = (f"{at:%Y-%m-%dT%H:%M:%S}" for at in (days.start, days.end))
    where = f"\"DATETIME\" >= '{start}' AND \"DATETIME\" < '{end}'"
    return build_datastore_sql(HISTORIC_GENERATION_MIX, _MIX_COLUMNS, where, base_url=base_url)


DEMAND = HistoryFeed(
    "historic-demand",
    366,
    lambda url, _days: build_package_show(HISTORIC_DEMAND_2025.package, url),
    bucket=DATASTORE,
    within_year=True,
)
RECENT_DEMAND = HistoryFeed(
    "demand-update",
    366,
    lambda url, _days: build_datastore_search(DEMAND_UPDATE, limit=ROW_CAP, base_url=url),
    bucket=DATASTORE,
)
MIX = HistoryFeed("historic-generation-mix", 90, _mix_request, bucket=DATASTORE)
AUCTIONS = HistoryFeed(
    "eac-results",
    366,
    lambda url, _days: build_datastore_search(EAC_RESULTS, limit=ROW_CAP, base_url=url),
    bucket=DATASTORE,
)


class NesoHistory(HistoryPlan):
    """Demand outturn, generation mix, and the auctions of this financial year."""

    source = Source.NESO
    feeds = (DEMAND, RECENT_DEMAND, MIX, AUCTIONS)
    rates = RATES

    def holds(self, feed: HistoryFeed, day: date, today: date) -> bool:
        """Say which file has a day: the running ones hold no more than their own time."""
        if day > today:
            return False
        last_month = (today.replace(day=1) - timedelta(days=1)).replace(day=1)
        if feed is DEMAND:
            return day < last_month
        if feed is RECENT_DEMAND:
            return day >= last_month
        if feed is AUCTIONS:
            month, number = _FINANCIAL_YEAR_STARTS
            start = date(today.year, month, number)
            return day >= (start if start <= today else start.replace(year=today.year - 1))
        return True

    def read(
        self, feed: HistoryFeed, days: Days, request: Request, reply: Reply, context: ParseContext
    ) -> Reading:
        """Read a data file, or the package that names the year's file."""
        if request.endpoint != PACKAGE_SHOW:
            return super().read(feed, days, request, reply, context)
        name = f"Historic Demand Data {days.first.year}"
        resources, rejected = parse_package_show(reply.body)
        try:
            found = find_resource(resources, name)
        except SourceRejected as exc:
            msg = f"{exc.message}; other years may be there"
            raise SourceRejected(msg, **exc.details) from exc
        file = replace(HISTORIC_DEMAND_2025, name=name, resource_id=found.id)
        data = build_datastore_search(file, base_url=self.base_url)
        return Reading(Parsed(rejected=rejected), then=(data,))

    def bucket(self, feed: HistoryFeed, request: Request) -> str:
        """Catalogue and data files have limits of their own."""
        del feed
        return CATALOGUE if request.endpoint == PACKAGE_SHOW else DATASTORE
