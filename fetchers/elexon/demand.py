"""Elexon's demand outturn and day-ahead forecast into rows, MW.

Where one series of this source would share a key with another, its name is part of ``source``
(``elexon/indo``): rows that know only half must not blank each other.
"""

from __future__ import annotations

from fetchers.elexon.wire import (
    GB,
    SKIP_EMPTY,
    Fields,
    collect,
    published_at,
    read_half_hour,
    version_of,
)
from fetchers.parsing import ParseContext, RowSink
from fetchers.wire import number, optional_text
from schema.readings import Parsed, Source
from schema.rows import DemandActualNationalRow, DemandForecastNationalRow, DemandRegionalRow

_NAME = Source.ELEXON.value
SOURCE_INDO = f"{_NAME}/indo"
SOURCE_ITSDO = f"{_NAME}/itsdo"
DAY_AHEAD = "day-ahead"
DAY_AHEAD_TRANSMISSION = "day-ahead-transmission"
ZONE_METHOD = "Elexon day-ahead forecast of transmission system demand in a zone; no outturn"
SKIP_ZONES = "zones of the national series"


def parse_demand_outturn(body: bytes, context: ParseContext) -> Parsed:
    """Read initial national and transmission demand outturn of each half hour, MW."""
    del context
    return collect(body, "initialDemandOutturn", _add_outturn)


def _add_outturn(sink: RowSink, where: str, row: Fields) -> None:
    # Two datasets joined under one publish time: a figure may fill in later under the same one,
    # so it cannot be the version; the shell stamps the poll.
    national = _positive(row, "initialDemandOutturn")
    transmission = _positive(row, "initialTransmissionSystemDemandOutturn")
    _add_actual(sink, where, row, _NAME, (national, transmission), version=None)


def parse_indo(body: bytes, context: ParseContext) -> Parsed:
    """Read initial national demand outturn alone."""
    del context
    return collect(body, "demand", _add_indo)


def _add_indo(sink: RowSink, where: str, row: Fields) -> None:
    demand = _positive(row, "demand")
    _add_actual(sink, where, row, SOURCE_INDO, (demand, None), version=version_of(row))


def parse_itsdo(body: bytes, context: ParseContext) -> Parsed:
    """Read initial transmission system demand outturn alone."""
    del context
    return collect(body, "demand", _add_itsdo)


def _add_itsdo(sink: RowSink, where: str, row: Fields) -> None:
    demand = _positive(row, "demand")
    _add_actual(sink, where, row, SOURCE_ITSDO, (None, demand), version=version_of(row))


def _add_actual(
    sink: RowSink,
    where: str,
    row: Fields,
    source: str,
    demand: tuple[float | None, float | None],
    version: int | None,
) -> None:
    start, end = read_half_hour(row)
    national, transmission = demand
    if national is None and transmission is None:
        sink.skip(SKIP_EMPTY)
        return
    sink.add(
        where,
        DemandActualNationalRow,
        source=source,
        valid_from=start,
        valid_to=end,
        issued_at=published_at(row),
        version=version,
        national_demand_mw=national,
        transmission_demand_mw=transmission,
    )


def _positive(row: Fields, name: str) -> float | None:
    # A country never uses 0 MW: zero and below is a figure not there yet.
    value = number(row.get(name), name)
    return value if value is not None and value > 0 else None


def parse_demand_forecast(body: bytes, context: ParseContext) -> Parsed:
    """Read the day-ahead forecast: two national series, or one of each zone."""
    del context
    return collect(body, "transmissionSystemDemand", _add_day_ahead)


def _add_day_ahead(sink: RowSink, where: str, row: Fields) -> None:
    if _zone(row) is not None:
        _add_zone(sink, where, row, "transmissionSystemDemand")
        return
    _add_forecast(sink, where, row, "nationalDemand", DAY_AHEAD)
    _add_forecast(sink, where, row, "transmissionSystemDemand", DAY_AHEAD_TRANSMISSION)


def parse_ndf(body: bytes, context: ParseContext) -> Parsed:
    """Read day-ahead national demand forecasts; of several issues the newest stands."""
    del context
    return collect(body, "demand", _add_ndf)


def _add_ndf(sink: RowSink, where: str, row: Fields) -> None:
    if _zone(row) is not None:
        # Zones are read from the transmission series; both would share a key.
        sink.skip(SKIP_ZONES)
        return
    _add_forecast(sink, where, row, "demand", DAY_AHEAD)


def parse_tsdf(body: bytes, context: ParseContext) -> Parsed:
    """Read day-ahead transmission demand forecasts, national and by zone."""
    del context
    return collect(body, "demand", _add_tsdf)


def _add_tsdf(sink: RowSink, where: str, row: Fields) -> None:
    if _zone(row) is not None:
        _add_zone(sink, where, row, "demand")
    else:
        _add_forecast(sink, where, row, "demand", DAY_AHEAD_TRANSMISSION)


def _zone(row: Fields) -> str | None:
    code = optional_text(row.get("boundary"), "boundary")
    return None if code is None or code.upper() in GB else code


def _add_forecast(sink: RowSink, where: str, row: Fields, name: str, product: str) -> None:
    start, end = read_half_hour(row)
    demand = number(row.get(name), name)
    if demand is None:
        sink.skip(SKIP_EMPTY)
        return
    sink.add(
        where,
        DemandForecastNationalRow,
        source=_NAME,
        valid_from=start,
        valid_to=end,
        issued_at=published_at(row),
        version=version_of(row),
        product=product,
        demand_mw=demand,
    )


def _add_zone(sink: RowSink, where: str, row: Fields, name: str) -> None:
    start, end = read_half_hour(row)
    code = _zone(row)
    demand = number(row.get(name), name)
    if demand is None:
        sink.skip(SKIP_EMPTY)
        return
    sink.add(
        where,
        DemandRegionalRow,
        source=_NAME,
        valid_from=start,
        valid_to=end,
        issued_at=published_at(row),
        version=version_of(row),
        area=f"zone-{code}",
        demand_mw=demand,
        method=ZONE_METHOD,
    )
