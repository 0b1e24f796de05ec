"""Requests to the Carbon Intensity API: every selector is a path segment, instants to the minute.

Source: api.carbonintensity.org.uk documentation. No key, no query string, no paging. Ranges are
at most 14 days. When the instant asked from is exactly on a half hour, the reply starts one half
hour earlier; readers key on ``from``.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import date, datetime
from enum import StrEnum

from fetchers.request import Request
from schema.periods import MAX_PERIODS, require_utc
from schema.readings import Source

BASE_URL = "https://api.carbonintensity.org.uk"
MAX_RANGE_DAYS = 14


class Span(StrEnum):
    """A stretch relative to an instant, as the path spells it."""

    NEXT_24H = "fw24h"
    NEXT_48H = "fw48h"
    PAST_24H = "pt24h"


class Country(StrEnum):
    """An aggregate that has its own path."""

    ENGLAND = "england"
    SCOTLAND = "scotland"
    WALES = "wales"


@dataclass(frozen=True, slots=True)
class Place:
    """One area of a regional request: its number, or the outward half of a postcode."""

    region_id: int | None = None
    postcode: str | None = None

    def __post_init__(self) -> None:
        if (self.region_id is None) == (self.postcode is None):
            msg = "a place is a region id or a postcode, exactly one of them"
            raise ValueError(msg)
        if self.postcode is not None and not self.postcode.isalnum():
            msg = f"postcode {self.postcode!r}: only the outward code is taken, such as RG10"
            raise ValueError(msg)

    @property
    def path(self) -> str:
        """The segments that select the place."""
        if self.region_id is not None:
            return f"/regionid/{self.region_id}"
        return f"/postcode/{self.postcode}"

    @property
    def suffix(self) -> str:
        """What the endpoint's name ends in."""
        return "-id" if self.region_id is not None else "-postcode"


def format_minute(instant: datetime) -> str:
    """Write an instant as the paths need it: ``2026-05-01T10:30Z``."""
    return require_utc(instant).strftime("%Y-%m-%dT%H:%MZ")


def _request(endpoint: str, path: str, base_url: str) -> Request:
    return Request(Source.CARBON_INTENSITY, endpoint, f"{base_url.rstrip('/')}{path}")


def build_intensity(base_url: str = BASE_URL) -> Request:
    """Ask for the half hour last completed."""
    return _request("intensity", "/intensity", base_url)


def build_intensity_date(
    day: date | None = None, period: int | None = None, base_url: str = BASE_URL
) -> Request:
    """Ask for a London day (today by default), or one of its settlement periods."""
    path = "/intensity/date"
    if day is not None:
        path += f"/{day.isoformat()}"
    if period is not None:
        if day is None or not 1 <= period <= MAX_PERIODS:
            msg = f"period {period} of {day}: give a day and a period from 1 to {MAX_PERIODS}"
            raise ValueError(msg)
        path += f"/{period}"
    return _request("intensity-date", path, base_url)


def build_intensity_at(at: datetime, base_url: str = BASE_URL) -> Request:
    """Ask for the half hour that contains an instant."""
    return _request("intensity-at", f"/intensity/{format_minute(at)}", base_url)


def build_intensity_span(at: datetime, span: Span, base_url: str = BASE_URL) -> Request:
    """Ask for the 24 or 48 hours after an instant, or the 24 before it."""
    return _request(f"intensity-{span}", f"/intensity/{format_minute(at)}/{span}", base_url)


def build_intensity_range(start: datetime, end: datetime, base_url: str = BASE_URL) -> Request:
    """Ask for ``[start, end)``; at most 14 days."""
    return _request("intensity-range", f"/intensity/{_range(start, end)}", base_url)


def build_generation(base_url: str = BASE_URL) -> Request:
    """Ask for the national mix of the half hour last completed."""
    return _request("generation", "/generation", base_url)


def build_generation_past(at: datetime, base_url: str = BASE_URL) -> Request:
    """Ask for the national mix of the 24 hours before an instant."""
    return _request("generation-pt24h", f"/generation/{format_minute(at)}/pt24h", base_url)


def build_generation_range(start: datetime, end: datetime, base_url: str = BASE_URL) -> Request:
    """Ask for the national mix over ``[start, end)``; at most 14 days."""
    return _request("generation-range", f"/generation/{_range(start, end)}", base_url)


def build_regional(place: Place | Country | None = None, base_url: str = BASE_URL) -> Request:
    """Ask for the current half hour of all areas, of a country, or of one place."""
    match place:
        case None:
            return _request("regional", "/regional", base_url)
        case Country():
            return _request(f"regional-{place}", f"/regional/{place}", base_url)
        case Place():
            return _request(f"regional{place.suffix}", f"/regional{place.path}", base_url)


def build_regional_span(
    at: datetime, span: Span, place: Place | None = None, base_url: str = BASE_URL
) -> Request:
    """Ask for the 24 or 48 hours after an instant, or the 24 before it, by area."""
    path = f"/regional/intensity/{format_minute(at)}/{span}"
    return _placed(f"regional-{span}", path, place, base_url)


def build_regional_range(
    start: datetime, end: datetime, place: Place | None = None, base_url: str = BASE_URL
) -> Request:
    """Ask for ``[start, end)`` by area; at most 14 days."""
    return _placed("regional-range", f"/regional/intensity/{_range(start, end)}", place, base_url)


def _placed(endpoint: str, path: str, place: Place | None, base_url: str) -> Request:
    if place is None:
        return _request(endpoint, path, base_url)
    return _request(endpoint + place.suffix, path + place.path, base_url)


def _range(start: datetime, end: datetime) -> str:
    length = require_utc(end) - require_utc(start)
    if not 0 < length.total_seconds() <= MAX_RANGE_DAYS * 86_400:
        msg = (
            f"{format_minute(start)} to {format_minute(end)}: a range ends after it starts and "
            f"lasts at most {MAX_RANGE_DAYS} days; split it"
        )
        raise ValueError(msg)
    return f"{format_minute(start)}/{format_minute(end)}"
