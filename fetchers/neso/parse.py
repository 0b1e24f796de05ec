"""NESO's endpoints: which parser reads which data file."""

from __future__ import annotations

from collections.abc import Callable

from fetchers.neso.catalogue import check_package_show, check_resource_show
from fetchers.neso.demand import parse_demand, parse_embedded, parse_generation_mix
from fetchers.neso.endpoints import DATA_FILES, PACKAGE_SHOW, RESOURCE_SHOW
from fetchers.neso.flexibility import parse_dfs_summary, parse_dfs_utilisation, parse_eac_results
from fetchers.neso.forecasts import (
    HALF_HOURLY_14D,
    POINTS_1D,
    POINTS_2D,
    POINTS_7D,
    POINTS_14D,
    parse_either,
    parse_half_hourly,
    parse_points,
)
from fetchers.parsing import EndpointParser, ParseContext, Parser
from schema.readings import Parsed
from schema.rows import (
    DemandActualNationalRow,
    DemandForecastNationalRow,
    DemandRegionalRow,
    FlexibilityPriceRow,
    GenerationMixNationalRow,
)

_FORECAST = (DemandForecastNationalRow.TABLE,)
_OUTTURN = (DemandActualNationalRow.TABLE, DemandRegionalRow.TABLE)
_FLEXIBILITY = (FlexibilityPriceRow.TABLE,)


def _as(read: Callable[[bytes, str, ParseContext], Parsed], product: str) -> Parser:
    def parse(body: bytes, context: ParseContext) -> Parsed:
        return read(body, product, context)

    return parse


def _fourteen_days(body: bytes, context: ParseContext) -> Parsed:
    return parse_either(body, POINTS_14D, HALF_HOURLY_14D, context)


_PARSERS: dict[str, tuple[tuple[str, ...], Parser]] = {
    "demand-forecast-1d": (_FORECAST, _as(parse_points, POINTS_1D)),
    "demand-forecast-2d": (_FORECAST, _as(parse_points, POINTS_2D)),
    "demand-forecast-7d": (_FORECAST, _as(parse_points, POINTS_7D)),
    "demand-forecast-14d": (_FORECAST, _as(parse_half_hourly, HALF_HOURLY_14D)),
    "demand-forecast-14d-points": (_FORECAST, _as(parse_points, POINTS_14D)),
    "demand-forecast-1d-historic": (_FORECAST, _as(parse_points, POINTS_1D)),
    "demand-forecast-2d-historic": (_FORECAST, _as(parse_points, POINTS_2D)),
    "demand-forecast-7d-historic": (_FORECAST, _as(parse_points, POINTS_7D)),
    "demand-forecast-14d-historic": (_FORECAST, _fourteen_days),
    "demand-update": (_OUTTURN, parse_demand),
    "historic-demand": (_OUTTURN, parse_demand),
    "embedded-forecast": (_FORECAST, parse_embedded),
    "historic-generation-mix": ((GenerationMixNationalRow.TABLE,), parse_generation_mix),
    "dfs-utilisation": (_FLEXIBILITY, parse_dfs_utilisation),
    "dfs-summary": (_FLEXIBILITY, parse_dfs_summary),
    "eac-results": (_FLEXIBILITY, parse_eac_results),
}

ENDPOINTS: dict[str, EndpointParser] = {
    name: EndpointParser(tables, DATA_FILES[name].content, parse)
    for name, (tables, parse) in _PARSERS.items()
} | {
    PACKAGE_SHOW: EndpointParser((), "a package and its data files", check_package_show),
    RESOURCE_SHOW: EndpointParser(
        (), "one data file's entry, to see a change", check_resource_show
    ),
}
