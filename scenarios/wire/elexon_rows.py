"""Rows of Elexon's price data: market index and system prices."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime
from functools import lru_cache

from scenarios.axis import Axis
from scenarios.publication import Published
from schema.periods import SettlementPeriod, ceil_half_hour

Row = dict[str, object]

_APX = "APXMIDP"
#: The eight volumes of a system-price row; the scenario has no figures for them.
_VOLUMES = (
    "totalAcceptedOfferVolume",
    "totalAcceptedBidVolume",
    "totalAdjustmentSellVolume",
    "totalAdjustmentBuyVolume",
    "totalSystemTaggedAcceptedOfferVolume",
    "totalSystemTaggedAcceptedBidVolume",
    "totalSystemTaggedAdjustmentSellVolume",
    "totalSystemTaggedAdjustmentBuyVolume",
)


@lru_cache(maxsize=4096)
def second(at: datetime) -> str:
    """Write a UTC instant as Elexon does."""
    return at.strftime("%Y-%m-%dT%H:%M:%SZ")


@lru_cache(maxsize=4096)
def settlement(at: datetime) -> Mapping[str, str | int]:
    """Give the settlement date and period that contain an instant."""
    period = SettlementPeriod.at(at)
    return {
        "settlementDate": period.settlement_date.isoformat(),
        "settlementPeriod": period.number,
    }


def between(axis: Axis, start: datetime, end: datetime) -> range:
    """Give the half hours that start in ``[start, end]``, both included."""
    first = axis.index(ceil_half_hour(start))
    return axis.clamp(first, axis.index(end) + 1)


def market_index_rows(
    out: Published, start: datetime, end: datetime, providers: Sequence[str]
) -> list[Row]:
    """Give the market index; N2EX reports price and volume 0, which means no index."""
    axis, prices = out.scenario.axis, out.scenario.prices
    rows: list[Row] = []
    for index in between(axis, start, end):
        if not out.market_index_out(index):
            continue
        at = axis.at(index)
        for provider in providers:
            known = provider == _APX
            rows.append(
                {
                    "startTime": second(at),
                    "dataProvider": provider,
                    **settlement(at),
                    "price": int(prices.mid[index]) / 100 if known else 0.0,
                    "volume": int(prices.mid_volume[index]) / 1000 if known else 0.0,
                }
            )
    return rows


def system_price_rows(out: Published, indices: range) -> list[Row]:
    """Give system prices; a revision has a newer ``createdDateTime`` and nothing else tells it."""
    axis = out.scenario.axis
    rows: list[Row] = []
    for index in indices:
        price = out.system_price(index)
        if price is None:
            continue
        at = axis.at(index)
        gbp = price.pence / 100
        rows.append(
            {
                **settlement(at),
                "startTime": second(at),
                "createdDateTime": second(price.created_at),
                "systemSellPrice": gbp,
                "systemBuyPrice": gbp,
                "bsadDefaulted": False,
                "priceDerivationCode": "N",
                "reserveScarcityPrice": 0.0,
                "netImbalanceVolume": price.imbalance_kwh / 1000,
                "sellPriceAdjustment": 0.0,
                "buyPriceAdjustment": 0.0,
                "replacementPrice": None,
                "replacementPriceReferenceVolume": None,
                **dict.fromkeys(_VOLUMES),
            }
        )
    return rows
