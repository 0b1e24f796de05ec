"""Elexon's endpoints: which parser reads which reply."""

from __future__ import annotations

from fetchers.elexon.demand import (
    parse_demand_forecast,
    parse_demand_outturn,
    parse_indo,
    parse_itsdo,
    parse_ndf,
    parse_tsdf,
)
from fetchers.elexon.generation import parse_fuelhh, parse_fuelinst, parse_generation_current
from fetchers.elexon.prices import parse_market_index, parse_system_prices
from fetchers.parsing import EndpointParser, Parser
from schema.rows import (
    DemandActualNationalRow,
    DemandForecastNationalRow,
    DemandRegionalRow,
    GenerationMixNationalRow,
    WholesalePriceRow,
)


def _endpoint(table: str, description: str, parse: Parser) -> EndpointParser:
    return EndpointParser((table,), description, parse)


_PRICES = WholesalePriceRow.TABLE
_ACTUAL = DemandActualNationalRow.TABLE
_FORECAST = DemandForecastNationalRow.TABLE
_ZONES = DemandRegionalRow.TABLE
_MIX = GenerationMixNationalRow.TABLE

ENDPOINTS: dict[str, EndpointParser] = {
    "market-index": _endpoint(_PRICES, "short-term index by provider", parse_market_index),
    "mid-stream": _endpoint(_PRICES, "the same as a bare array", parse_market_index),
    "system-prices": _endpoint(_PRICES, "imbalance prices of a day", parse_system_prices),
    "demand-outturn": _endpoint(_ACTUAL, "initial demand outturn", parse_demand_outturn),
    "indo": _endpoint(_ACTUAL, "initial national demand alone", parse_indo),
    "itsdo": _endpoint(_ACTUAL, "initial transmission demand alone", parse_itsdo),
    "fuelhh": _endpoint(_MIX, "generation by fuel, half-hourly, MW", parse_fuelhh),
    "fuelinst": _endpoint(_MIX, "generation by fuel, five-minute, MW", parse_fuelinst),
    "generation-current": _endpoint(_MIX, "snapshot by fuel, no time", parse_generation_current),
    # Zones are told by their code in a row, so either reply may hold both.
    "demand-forecast": EndpointParser(
        (_FORECAST, _ZONES), "day-ahead demand forecast", parse_demand_forecast
    ),
    "demand-forecast-zonal": EndpointParser(
        (_FORECAST, _ZONES), "day-ahead demand forecast by zone", parse_demand_forecast
    ),
    "ndf": _endpoint(_FORECAST, "day-ahead national demand", parse_ndf),
    "tsdf": EndpointParser(
        (_FORECAST, _ZONES), "day-ahead transmission demand, national and by zone", parse_tsdf
    ),
}
