"""Requests to Elexon Insights.

Source: the OpenAPI file of data.elexon.co.uk/bmrs/api/v1. No key. ``from`` and ``to`` are both
inclusive, so neighbouring chunks repeat a row. Limits that the file does not state are taken from
other clients: at most 7 days a call, 1 day for five-minute and zonal data.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from datetime import date, datetime, timedelta

from fetchers.request import Request
from schema.periods import MAX_PERIODS, format_instant, parse_instant
from schema.readings import Source

BASE_URL = "https://data.elexon.co.uk/bmrs/api/v1"
MAX_RANGE_DAYS = 7
MAX_RANGE_DAYS_FINE = 1
"""For FUELINST (288 rows a fuel and day), NDF and TSDF."""

APX = "APXMIDP"
N2EX = "N2EXMIDP"


def _request(
    endpoint: str, path: str, base_url: str, params: tuple[tuple[str, str], ...] = ()
) -> Request:
    return Request(Source.ELEXON, endpoint, f"{base_url.rstrip('/')}{path}", params=params)


def _span(
    start: datetime, end: datetime, names: tuple[str, str], max_days: int
) -> tuple[tuple[str, str], tuple[str, str]]:
    seconds = (end - start).total_seconds()
    if not 0 <= seconds <= max_days * 86_400:
        msg = (
            f"{start.isoformat()} to {end.isoformat()}: a range does not end before it starts "
            f"and lasts at most {max_days} day(s); split it"
        )
        raise ValueError(msg)
    return ((names[0], format_instant(start)), (names[1], format_instant(end)))


def _days(start: date, end: date) -> tuple[tuple[str, str], tuple[str, str]]:
    if not 0 <= (end - start).days < MAX_RANGE_DAYS:
        msg = f"{start} to {end}: at most {MAX_RANGE_DAYS} settlement days a call; split it"
        raise ValueError(msg)
    return (("settlementDateFrom", start.isoformat()), ("settlementDateTo", end.isoformat()))


def build_market_index(
    start: datetime,
    end: datetime,
    providers: Sequence[str] = (APX, N2EX),
    base_url: str = BASE_URL,
) -> Request:
    """Ask for the market index (MID), both ends included; at most 7 days."""
    wanted = tuple(("dataProviders", name) for name in providers)
    params = (*_span(start, end, ("from", "to"), MAX_RANGE_DAYS), *wanted)
    return _request("market-index", "/balancing/pricing/market-index", base_url, params)


def build_market_index_stream(
    start: datetime,
    end: datetime,
    providers: Sequence[str] = (APX, N2EX),
    base_url: str = BASE_URL,
) -> Request:
    """Ask for the same as a bare array, newest first; the route meant for large pulls."""
    wanted = tuple(("dataProviders", name) for name in providers)
    params = (*_span(start, end, ("from", "to"), MAX_RANGE_DAYS), *wanted)
    return _request("mid-stream", "/datasets/MID/stream", base_url, params)


def build_system_prices(day: date, period: int | None = None, base_url: str = BASE_URL) -> Request:
    """Ask for the imbalance prices of one settlement day, or one period of it."""
    path = f"/balancing/settlement/system-prices/{day.isoformat()}"
    if period is not None:
        if not 1 <= period <= MAX_PERIODS:
            msg = f"settlement period {period}: 1 to {MAX_PERIODS} exist"
            raise ValueError(msg)
        path += f"/{period}"
    return _request("system-prices", path, base_url)


def build_demand_outturn(start: date, end: date, base_url: str = BASE_URL) -> Request:
    """Ask for initial demand outturn of settlement days, both ends included; at most 7."""
    return _request("demand-outturn", "/demand/outturn", base_url, _days(start, end))


def build_indo(
    start: datetime | None = None, end: datetime | None = None, base_url: str = BASE_URL
) -> Request:
    """Ask for initial national demand by publish time; the latest without times."""
    return _request("indo", "/datasets/INDO", base_url, _published(start, end))


def build_itsdo(
    start: datetime | None = None, end: datetime | None = None, base_url: str = BASE_URL
) -> Request:
    """Ask for initial transmission system demand by publish time; the latest without times."""
    return _request("itsdo", "/datasets/ITSDO", base_url, _published(start, end))


def _published(start: datetime | None, end: datetime | None) -> tuple[tuple[str, str], ...]:
    if start is None or end is None:
        return ()
    return _span(start, end, ("publishDateTimeFrom", "publishDateTimeTo"), MAX_RANGE_DAYS)


def build_fuelinst(start: datetime, end: datetime, base_url: str = BASE_URL) -> Request:
    """Ask for five-minute generation by fuel, by publish time; at most one day."""
    names = ("publishDateTimeFrom", "publishDateTimeTo")
    params = _span(start, end, names, MAX_RANGE_DAYS_FINE)
    return _request("fuelinst", "/datasets/FUELINST/stream", base_url, params)


def build_fuelhh(start: date, end: date, base_url: str = BASE_URL) -> Request:
    """Ask for half-hourly generation by fuel of settlement days, both ends included."""
    return _request("fuelhh", "/datasets/FUELHH/stream", base_url, _days(start, end))


def build_generation_current(base_url: str = BASE_URL) -> Request:
    """Ask for the snapshot of generation by fuel; its reply holds no time."""
    return _request("generation-current", "/generation/outturn/current", base_url)


def build_demand_forecast(*, zonal: bool = False, base_url: str = BASE_URL) -> Request:
    """Ask for the newest day-ahead demand forecast, national or by zone."""
    name = "demand-forecast-zonal" if zonal else "demand-forecast"
    params = (("boundary", "zonal"),) if zonal else ()
    return _request(name, "/forecast/demand/day-ahead/latest", base_url, params)


def build_ndf(start: datetime, end: datetime, base_url: str = BASE_URL) -> Request:
    """Ask for day-ahead national demand forecasts by publish time; at most one day."""
    names = ("publishDateTimeFrom", "publishDateTimeTo")
    return _request("ndf", "/datasets/NDF", base_url, _span(start, end, names, MAX_RANGE_DAYS_FINE))


def build_tsdf(start: datetime, end: datetime, base_url: str = BASE_URL) -> Request:
    """Ask for day-ahead transmission demand forecasts by publish time; at most one day."""
    names = ("publishDateTimeFrom", "publishDateTimeTo")
    return _request(
        "tsdf", "/datasets/TSDF", base_url, _span(start, end, names, MAX_RANGE_DAYS_FINE)
    )


def split_days(request: Request) -> list[Request]:
    """Give a request of a range as one a day; empty where it asks for a day or less.

    The file states no longest range for most routes, and others have met shorter ones than 7 days.
    """
    given = dict(request.params)
    pieces: list[tuple[tuple[str, str], tuple[str, str]]] = []
    if "settlementDateFrom" in given:
        first = date.fromisoformat(given["settlementDateFrom"])
        last = date.fromisoformat(given["settlementDateTo"])
        days = [first + timedelta(days=count) for count in range((last - first).days + 1)]
        if len(days) > 1:
            pieces = [_days(day, day) for day in days]
    elif "from" in given:
        start, end = parse_instant(given["from"]), parse_instant(given["to"])
        names = ("from", "to")
        while end - start > timedelta(days=1):
            pieces.append(_span(start, start + timedelta(days=1), names, 1))
            start += timedelta(days=1)
        if pieces:
            pieces.append(_span(start, end, names, 1))
    bounds = {"settlementDateFrom", "settlementDateTo", "from", "to"}
    others = tuple(pair for pair in request.params if pair[0] not in bounds)
    return [replace(request, params=(*piece, *others)) for piece in pieces]
