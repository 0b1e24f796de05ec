"""Unit rates of the Agile tariff into rows.

A reply holds ``results``, newest first, in pence per kWh; prices may be negative. The rates are a
household's: with the network's charges, without VAT here. They are published a day ahead, in the
afternoon. A tariff is no market index, and a volume of 0 says so: the market never takes it for
one.
"""

from __future__ import annotations

from fetchers.parsing import EndpointParser, ParseContext, RowSink
from fetchers.wire import (
    Json,
    Unusable,
    describe,
    instant,
    invalid,
    load_reply,
    obj,
    required_number,
)
from schema.errors import NotYetPublished
from schema.periods import HALF_HOUR
from schema.readings import Parsed
from schema.rows import WholesalePriceRow

NAME = "octopus"
MARKET = "octopus-agile-c"
#: 1 p/kWh is 10 GBP/MWh.
GBP_PER_MWH = 10.0


def parse_unit_rates(body: bytes, context: ParseContext) -> Parsed:
    """Read the half-hourly unit rates of one tariff."""
    del context
    payload = load_reply(body, NAME)
    rates = payload.get("results") if isinstance(payload, dict) else None
    if not isinstance(rates, list):
        raise invalid(NAME, f"results is {describe(rates)}; a list of rates is expected", body)
    if not rates:
        raise NotYetPublished("octopus: no rates for what was asked", source=NAME)
    sink = RowSink()
    for index, rate in enumerate(rates):
        where = f"results[{index}]"
        try:
            _add_rate(sink, where, rate)
        except Unusable as exc:
            sink.reject(where, str(exc))
    return sink.done()


def _add_rate(sink: RowSink, where: str, value: Json) -> None:
    rate = obj(value, "rate")
    start = instant(rate.get("valid_from"), "valid_from")
    end = instant(rate.get("valid_to"), "valid_to")
    if end - start != HALF_HOUR:
        raise Unusable(f"the rate holds for {end - start}; Agile's hold for half an hour")
    sink.add(
        where,
        WholesalePriceRow,
        source=NAME,
        valid_from=start,
        valid_to=end,
        market=MARKET,
        price_gbp_per_mwh=required_number(rate.get("value_exc_vat"), "value_exc_vat") * GBP_PER_MWH,
        volume_mwh=0.0,
    )


ENDPOINTS = {
    "unit-rates": EndpointParser(
        (WholesalePriceRow.TABLE,), "half-hourly unit rates of Agile, London", parse_unit_rates
    )
}
