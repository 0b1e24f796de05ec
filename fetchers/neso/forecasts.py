"""National demand forecasts of NESO's files into rows: turning points and half hours.

A cardinal-point file holds about 12 rows a day, each a point or a stretch of the day on the
London clock, labelled at its half hours' ends. It is stored as it is, never drawn out to half
hours. The current files carry no issue time; the historic ones do, in an unclear zone, so it
orders revisions and is not stored as an instant.
"""

from __future__ import annotations

from functools import partial
from typing import Protocol

from fetchers.neso.demand import require_rows
from fetchers.neso.times import (
    is_ordinary,
    label_of,
    read_clock_label,
    read_date,
    read_half_hour_end,
    read_utc,
    stretch,
)
from fetchers.neso.wire import Cells, Table, collect, read_table
from fetchers.parsing import ParseContext, RowSink
from fetchers.wire import (
    Unusable,
    describe,
    epoch_seconds,
    integer,
    optional_text,
    required_number,
)
from schema.periods import HALF_HOUR
from schema.readings import Parsed, Source
from schema.rows import DemandForecastNationalRow

_NAME = Source.NESO.value

POINTS_1D = "1-day-ahead-points"
POINTS_2D = "2-day-ahead-points"
POINTS_7D = "7-day-ahead-points"
POINTS_14D = "2-14-day-ahead-points"
HALF_HOURLY_14D = "2-14-day-ahead"

_POINT_COLUMNS = ("targetdate", "forecastdemand", "cp_st_time", "cp_end_time")
_HALF_HOUR_COLUMNS = ("gdatetime", "nationaldemand")


def parse_points(body: bytes, product: str, context: ParseContext) -> Parsed:
    """Read a file of cardinal points as one product."""
    return _each(read_table(body, _POINT_COLUMNS), _add_point, product, context)


def parse_half_hourly(body: bytes, product: str, context: ParseContext) -> Parsed:
    """Read the half-hourly forecast as one product."""
    return _each(read_table(body, _HALF_HOUR_COLUMNS), _add_half_hour, product, context)


def parse_either(body: bytes, points: str, half_hourly: str, context: ParseContext) -> Parsed:
    """Read the historic 2 to 14 day file, whose columns tell which of the two it holds."""
    table = read_table(body, ())
    if set(_HALF_HOUR_COLUMNS) <= table.columns:
        return parse_half_hourly(body, half_hourly, context)
    return parse_points(body, points, context)


class _Add(Protocol):
    def __call__(
        self, sink: RowSink, where: str, cells: Cells, product: str, context: ParseContext
    ) -> None: ...


def _each(table: Table, add: _Add, product: str, context: ParseContext) -> Parsed:
    return collect(require_rows(table), partial(add, product=product, context=context)).done()


def _add_point(
    sink: RowSink, where: str, cells: Cells, product: str, context: ParseContext
) -> None:
    day = read_date(cells.get("targetdate"), "TARGETDATE")
    start, end = stretch(
        day,
        read_clock_label(cells.get("cp_st_time"), "CP_ST_TIME"),
        read_clock_label(cells.get("cp_end_time"), "CP_END_TIME"),
    )
    sink.add(
        where,
        DemandForecastNationalRow,
        source=_NAME,
        valid_from=start,
        valid_to=end,
        issued_at=context.issued_at,
        version=_version(cells),
        product=product,
        point=_point_name(cells),
        demand_mw=required_number(cells.get("forecastdemand"), "FORECASTDEMAND"),
    )


def _point_name(cells: Cells) -> str | None:
    # "4" comes as text in CSV and as a number in JSON.
    name = cells.get("cardinalpoint")
    if isinstance(name, int | float):
        return str(integer(name, "CARDINALPOINT"))
    return optional_text(name, "CARDINALPOINT")


def _add_half_hour(
    sink: RowSink, where: str, cells: Cells, product: str, context: ParseContext
) -> None:
    start = read_half_hour_end(cells.get("gdatetime"), "GDATETIME")
    if cells.get("date") is not None and cells.get("ctime") is not None:
        day, label = label_of(start)
        written = read_date(cells["date"], "DATE"), integer(cells["ctime"], "CTIME")
        # How the file counts the hours of a clock-change day is not known; UTC is trusted there.
        if written != (day, label) and is_ordinary(day):
            raise Unusable(
                f"GDATETIME {describe(cells['gdatetime'])} ends the half hour with DATE {day} and "
                f"CTIME {label}; the row says {written[0]} and {written[1]}"
            )
    sink.add(
        where,
        DemandForecastNationalRow,
        source=_NAME,
        valid_from=start,
        valid_to=start + HALF_HOUR,
        issued_at=context.issued_at,
        version=_version(cells),
        product=product,
        demand_mw=required_number(cells.get("nationaldemand"), "NATIONALDEMAND"),
    )


def _version(cells: Cells) -> int | None:
    written = cells.get("forecast_timestamp")
    if optional_text(written, "FORECAST_TIMESTAMP") is None:
        return None
    return epoch_seconds(read_utc(written, "FORECAST_TIMESTAMP"))
