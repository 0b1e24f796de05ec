"""The Carbon Intensity API's plan: four requests a half hour feed intensity and mixes.

After a gap (the program was off, the source was out) the past is asked for too: outturns and the
national mix as far back as the API gives them in one reply, regional figures of the last day.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta

from fetchers.carbon_intensity.endpoints import (
    MAX_RANGE_DAYS,
    Span,
    build_generation,
    build_generation_past,
    build_generation_range,
    build_intensity_range,
    build_intensity_span,
    build_regional_span,
)
from fetchers.carbon_intensity.parse import ENDPOINTS
from fetchers.plan import Feed
from fetchers.quality import series_of, synthetic_intensity
from fetchers.request import Request
from fetchers.sources import BasePlan, FeedTurn
from schema.periods import HALF_HOUR
from schema.readings import Source
from schema.rows import Row

FORECAST = Feed("intensity-fw48h", HALF_HOUR)
#: The outturn of a half hour appears about ten minutes after its end.
PAST = Feed("intensity-pt24h", HALF_HOUR, offset=timedelta(minutes=12))
MIX = Feed("generation", HALF_HOUR, offset=timedelta(minutes=5))
#: 18 regions by 96 half hours with a mix each: about 2.8 MB as the API writes it.
REGIONAL = Feed("regional-fw48h", HALF_HOUR, deadline_s=30.0)

DAY = timedelta(days=1)
#: With answers this far apart no half hour was missed.
NO_GAP = timedelta(hours=1)
#: A little less than the API's longest range, because ends are rounded to minutes.
LONGEST_RANGE = timedelta(days=MAX_RANGE_DAYS) - HALF_HOUR


class CarbonIntensityPlan(BasePlan):
    """Forecasts for 48 hours, the past day with its outturn, and the current mixes."""

    source = Source.CARBON_INTENSITY
    feeds = (FORECAST, PAST, MIX, REGIONAL)
    parsers = ENDPOINTS

    def requests(self, turn: FeedTurn) -> Sequence[Request]:
        """Give a feed's request, and after a gap one for the past."""
        feed, planned, base = turn.feed, turn.planned, self.base_url
        since = turn.state.last_ok
        gap = planned - since if since is not None else timedelta(0)
        start = planned - min(gap, LONGEST_RANGE)
        if feed is FORECAST:
            return [build_intensity_span(planned, Span.NEXT_48H, base)]
        if feed is PAST:
            if gap > DAY:
                return [build_intensity_range(start, planned, base)]
            return [build_intensity_span(planned, Span.PAST_24H, base)]
        if feed is MIX:
            if gap > DAY:
                return [build_generation_range(start, planned, base)]
            if gap > NO_GAP:
                return [build_generation_past(planned, base)]
            return [build_generation(base)]
        ahead = build_regional_span(planned, Span.NEXT_48H, base_url=base)
        if gap > NO_GAP:
            return [ahead, build_regional_span(planned, Span.PAST_24H, base_url=base)]
        return [ahead]

    def needed(self) -> Sequence[str]:
        """Name the feeds the market cannot do without."""
        return (FORECAST.name, REGIONAL.name)

    def series(self, row: Row) -> str | None:
        """Name a row's series."""
        return series_of(row)

    def fallback(
        self, *, planned: datetime, covered: Mapping[str, datetime], seed: int, reason: str
    ) -> Sequence[Row]:
        """Make up the intensities of the coming 48 hours that no forecast covers."""
        return synthetic_intensity(
            planned, covered, source=self.source.value, seed=seed, reason=reason
        )
