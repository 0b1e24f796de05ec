"""What a folder of recorded replies says: forecasts with revisions, outturns, prices, windows.

Works from the files alone, so a recording that was cut off says what it has.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from pathlib import Path

import orjson

from fetchers import registry
from fetchers.beckn.catalog import MARKET_CURRENCY
from fetchers.capture import open_capture
from fetchers.parsing import ParseContext
from schema.errors import SourceError
from schema.periods import HALF_HOUR
from schema.readings import Source
from schema.rows import (
    CarbonIntensityNationalRow,
    CarbonIntensityRegionalRow,
    ComputeWindowRow,
    GridZoneRow,
    OfferRow,
    Row,
    WholesalePriceRow,
)

REPLIES = "replies"
#: Forecasts of a moment; other replies tell of the past and have the last forecast only.
_LIVE_FORECASTS = frozenset({"intensity-fw48h", "regional-fw48h"})
#: Providers of the index, the first that has a figure stands.
_INDEX = ("APXMIDP", "N2EXMIDP")
_SYSTEM = "system"
#: A window of a whole day is the longest that a catalogue's times of day can say.
_LONGEST_WINDOW = timedelta(hours=24)

Cell = tuple[int, datetime]
"""Region (0 is the nation) and half hour."""


@dataclass(slots=True)
class Forecast:
    """One cell's forecasts: the one before all live replies, then the changes, in order."""

    first: float | None = None
    revisions: list[tuple[datetime, float]] = field(default_factory=list)

    def take_past(self, value: float) -> None:
        """Take the last forecast issued, as told afterwards."""
        if self.first is None and not self.revisions:
            self.first = value

    def take_live(self, at: datetime, value: float) -> None:
        """Take what was told at a moment."""
        held = self.revisions[-1][1] if self.revisions else self.first
        if held is None:
            self.first = value
        elif held != value:
            self.revisions.append((at, value))

    @property
    def known(self) -> bool:
        """Say whether anything was told."""
        return self.first is not None


@dataclass(frozen=True, slots=True)
class SeenWindow:
    """A window as first offered, with its price, and when it was first seen."""

    row: ComputeWindowRow
    zone: GridZoneRow | None
    offer: OfferRow | None
    seen_at: datetime


@dataclass(slots=True)
class Recording:
    """Everything that the replies of a folder say.

    Attributes:
        forecasts: By cell.
        outturn: National outturn by half hour, gCO2/kWh.
        index: Market index by provider and half hour: GBP/MWh and MWh.
        system: Imbalance price by half hour, GBP/MWh.
        windows: By provider, item and start.
        replies: How many there are, by source.
        unreadable: How many could not be read.
        first, last: When the first and the last reply came.
    """

    forecasts: dict[Cell, Forecast] = field(default_factory=dict)
    outturn: dict[datetime, float] = field(default_factory=dict)
    index: dict[str, dict[datetime, tuple[float, float | None]]] = field(default_factory=dict)
    system: dict[datetime, float] = field(default_factory=dict)
    windows: dict[tuple[str, str, datetime], SeenWindow] = field(default_factory=dict)
    replies: dict[str, int] = field(default_factory=dict)
    unreadable: int = 0
    first: datetime | None = None
    last: datetime | None = None

    def price(self, at: datetime) -> tuple[float, float | None] | None:
        """Give the market index of a half hour, as the market would read it: price and volume."""
        for provider in (*_INDEX, *sorted(self.index.keys() - set(_INDEX))):
            found = self.index.get(provider, {}).get(at)
            if found is not None:
                return found
        return None


def read_recording(folder: Path) -> Recording:
    """Read all replies of a folder, in the order in which they came."""
    found = Recording()
    for path in _in_order(folder / REPLIES):
        source = path.parent.name
        envelope = orjson.loads(path.read_bytes())
        capture = open_capture(path.read_bytes(), path.name)
        at = capture.captured_at
        assert at is not None, "every reply of a recording is sealed with its moment"
        endpoint = str(envelope["endpoint"])
        found.replies[source] = found.replies.get(source, 0) + 1
        found.first, found.last = found.first or at, at
        try:
            parser = registry.find(source, endpoint)
            rows = parser.parse(capture.body, ParseContext(now=at)).rows
        except SourceError:
            # A page or an empty answer: it came, it is kept, it says nothing.
            found.unreadable += 1
            continue
        _take(found, endpoint, rows, at)
    return found


def _in_order(folder: Path) -> Iterator[Path]:
    # Names begin with the moment at which the reply came.
    yield from sorted(folder.glob("*/*.json"), key=lambda path: (path.name, path.parent.name))


def _take(found: Recording, endpoint: str, rows: Sequence[Row], at: datetime) -> None:
    live = endpoint in _LIVE_FORECASTS
    for row in rows:
        match row:
            case CarbonIntensityNationalRow():
                if row.actual_gco2_per_kwh is not None:
                    found.outturn[row.valid_from] = row.actual_gco2_per_kwh
                if row.forecast_gco2_per_kwh is not None:
                    _forecast(found, 0, row.valid_from, row.forecast_gco2_per_kwh, at, live=live)
            case CarbonIntensityRegionalRow(region_id=region, forecast_gco2_per_kwh=value):
                _forecast(found, region, row.valid_from, value, at, live=live)
            case WholesalePriceRow(market=market, price_gbp_per_mwh=price):
                if market == _SYSTEM:
                    found.system[row.valid_from] = price
                else:
                    index = found.index.setdefault(market, {})
                    index[row.valid_from] = (price, row.volume_mwh)
            case _:
                pass
    _take_windows(found, rows, at)


def _take_windows(found: Recording, rows: Sequence[Row], at: datetime) -> None:
    zones = {row.zone_code: row for row in rows if isinstance(row, GridZoneRow)}
    offers: dict[tuple[str, str, datetime], OfferRow] = {}
    for offer in (row for row in rows if isinstance(row, OfferRow)):
        key = (offer.bpp_id, offer.item_id, offer.window_starts_at)
        # A price in the market's currency before others, which the market does not read.
        if key not in offers or offers[key].currency != MARKET_CURRENCY:
            offers[key] = offer
    for row in (row for row in rows if isinstance(row, ComputeWindowRow)):
        key = (row.bpp_id, row.item_id, row.starts_at)
        if row.ends_at - row.starts_at <= _LONGEST_WINDOW:
            seen = SeenWindow(row, zones.get(row.zone_code), offers.get(key), at)
            found.windows.setdefault(key, seen)


def _forecast(
    found: Recording, region: int, half_hour: datetime, value: float, at: datetime, *, live: bool
) -> None:
    cell = found.forecasts.setdefault((region, half_hour), Forecast())
    if not live:
        cell.take_past(value)
    elif at < half_hour + HALF_HOUR:
        # What is told of a half hour that is over is no forecast any more.
        cell.take_live(at, value)


def sources_of(recording: Recording) -> list[str]:
    """Name the sources that were recorded, ours in their order first."""
    ours = [source.value for source in Source if source.value in recording.replies]
    return ours + sorted(recording.replies.keys() - set(ours))
