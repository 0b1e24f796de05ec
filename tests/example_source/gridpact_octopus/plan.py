"""What Octopus is asked: once an hour, the rates from midnight to the end of tomorrow."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import timedelta

from fetchers.plan import Feed
from fetchers.request import Request
from fetchers.sources import BasePlan, FeedTurn
from gridpact_octopus.parse import ENDPOINTS, NAME
from schema.periods import LONDON, format_instant, local_midnight

#: Source: developer.octopus.energy. No key is needed for tariffs.
BASE_URL = "https://api.octopus.energy/v1"
PRODUCT = "AGILE-24-10-01"
#: C is London; the letters are those of the GSP groups.
TARIFF = f"E-1R-{PRODUCT}-C"
#: More than the 100 half hours of two days with a clock change: the reply has one page.
PAGE_SIZE = "150"

UNIT_RATES = Feed("unit-rates", timedelta(hours=1))


class OctopusPlan(BasePlan):
    """One feed of one request, read by its parser."""

    source = NAME
    feeds = (UNIT_RATES,)
    parsers = ENDPOINTS

    def requests(self, turn: FeedTurn) -> Sequence[Request]:
        """Give the request; it is the same all day, so that its answer can be asked for by ETag."""
        today = turn.planned.astimezone(LONDON).date()
        path = f"/products/{PRODUCT}/electricity-tariffs/{TARIFF}/standard-unit-rates/"
        params = (
            ("period_from", format_instant(local_midnight(today))),
            ("period_to", format_instant(local_midnight(today + timedelta(days=2)))),
            ("page_size", PAGE_SIZE),
        )
        return [Request(NAME, UNIT_RATES.name, f"{self.base_url}{path}", params=params)]
