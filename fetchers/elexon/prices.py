"""Elexon's prices into rows: the market index and the imbalance price, GBP/MWh.

Prices may be negative; a price of zero without volume is a provider's word for "no index" and is
left out. A price of zero with volume is real.
"""

from __future__ import annotations

from fetchers.elexon.wire import Fields, collect, read_half_hour
from fetchers.parsing import ParseContext, RowSink
from fetchers.wire import Unusable, epoch_seconds, number, optional_instant, required_number, text
from schema.readings import Parsed, Source
from schema.rows import WholesalePriceRow

_NAME = Source.ELEXON.value
MARKET_SYSTEM = "system"
SKIP_NO_INDEX = "provider rows without an index (price and volume 0)"


def parse_market_index(body: bytes, context: ParseContext) -> Parsed:
    """Read the short-term market index (MID) by provider; it is not the day-ahead auction."""
    del context
    return collect(body, "dataProvider", _add_index)


def _add_index(sink: RowSink, where: str, row: Fields) -> None:
    start, end = read_half_hour(row)
    provider = text(row.get("dataProvider"), "dataProvider")
    price = required_number(row.get("price"), "price")
    volume = number(row.get("volume"), "volume")
    if price == 0 and volume == 0:
        sink.skip(SKIP_NO_INDEX)
        return
    sink.add(
        where,
        WholesalePriceRow,
        source=_NAME,
        valid_from=start,
        valid_to=end,
        market=provider,
        price_gbp_per_mwh=price,
        volume_mwh=volume,
    )


def parse_system_prices(body: bytes, context: ParseContext) -> Parsed:
    """Read imbalance prices; each revision has a newer ``createdDateTime``, the version.

    ``volume_mwh`` is the net imbalance volume, positive when the system was short.
    """
    del context
    return collect(body, "systemSellPrice", _add_system_price)


def _add_system_price(sink: RowSink, where: str, row: Fields) -> None:
    start, end = read_half_hour(row)
    sell = required_number(row.get("systemSellPrice"), "systemSellPrice")
    buy = number(row.get("systemBuyPrice"), "systemBuyPrice")
    if buy is not None and buy != sell:
        raise Unusable(
            f"systemSellPrice is {sell} and systemBuyPrice is {buy}; "
            "since single pricing they are equal"
        )
    created = optional_instant(row.get("createdDateTime"), "createdDateTime")
    sink.add(
        where,
        WholesalePriceRow,
        source=_NAME,
        valid_from=start,
        valid_to=end,
        issued_at=created,
        version=epoch_seconds(created),
        market=MARKET_SYSTEM,
        price_gbp_per_mwh=sell,
        volume_mwh=number(row.get("netImbalanceVolume"), "netImbalanceVolume"),
    )
