"""Prices of the demand flexibility service and of the response and reserve auctions.

Units stay as published: the service pays for energy (GBP/MWh), the auctions for availability
(GBP/MW/h). Negative auction prices are ordinary. ``direction`` says which way demand moves:
helping a low frequency or a short system means less demand.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import datetime
from functools import partial

from fetchers.neso.times import event_times, read_date, read_utc
from fetchers.neso.wire import Cells, Table, collect, read_table
from fetchers.parsing import ParseContext, RowSink
from fetchers.wire import Unusable, describe, invalid, number, optional_text, required_number, text
from schema.readings import Parsed, Quality, Source
from schema.rows import FlexibilityPriceRow
from schema.rows.prices import FlexDirection

_NAME = Source.NESO.value
GBP_PER_MWH = "GBP/MWh"
GBP_PER_MW_H = "GBP/MW/h"

EAC_DIRECTIONS = {
    "DCL": FlexDirection.DOWN,
    "DCH": FlexDirection.UP,
    "DML": FlexDirection.DOWN,
    "DMH": FlexDirection.UP,
    "DRL": FlexDirection.DOWN,
    "DRH": FlexDirection.UP,
    "PBR": FlexDirection.DOWN,
    "NBR": FlexDirection.UP,
    "PQR": FlexDirection.DOWN,
    "NQR": FlexDirection.UP,
    "PSR": FlexDirection.DOWN,
    "NSR": FlexDirection.UP,
}
"""Response for low (L) and high (H) frequency; positive (P) and negative (N) reserve."""

SKIP_REFUSED = "bids not accepted"
SKIP_NOTHING = "events without accepted bids"
SKIP_NO_PRICE = "products without a clearing price"

_Event = tuple[str, datetime, datetime, FlexDirection]


@dataclass(slots=True)
class _Bids:
    where: str
    prices: list[float] = field(default_factory=list)
    megawatts: float = 0.0


def parse_dfs_utilisation(body: bytes, context: ParseContext) -> Parsed:
    """Read every bid of each event; one row an event and half hour.

    No clearing price is published. The highest accepted bid stands for it, ``estimated``; the
    volume is the sum of accepted bids. "Procured MW" is filled on refused bids too.
    """
    del context
    table = read_table(body, ("delivery_date", "status", "utilisation_price_gbp_per_mwh"))
    _refuse_cut(table, body)
    events: dict[_Event, _Bids] = {}
    sink = collect(table, partial(_collect_bid, events=events))
    for (service, start, end, direction), bids in events.items():
        sink.add(
            bids.where,
            FlexibilityPriceRow,
            source=_NAME,
            service=service,
            starts_at=start,
            ends_at=end,
            direction=direction,
            price=max(bids.prices),
            unit=GBP_PER_MWH,
            volume_mw=bids.megawatts,
            quality=Quality.ESTIMATED,
            reason=f"highest of {len(bids.prices)} accepted bids",
        )
    return sink.done()


def _collect_bid(sink: RowSink, where: str, cells: Cells, events: dict[_Event, _Bids]) -> None:
    status = text(cells.get("status"), "Status").lower()
    if status not in ("accepted", "rejected"):
        raise Unusable(f"Status is {describe(status)}; Accepted or Rejected is allowed")
    if status == "rejected":
        sink.skip(SKIP_REFUSED)
        return
    price = required_number(cells.get("utilisation_price_gbp_per_mwh"), "Utilisation Price")
    megawatts = required_number(cells.get("dfs_procured_mw"), "DFS Procured MW")
    bids = events.setdefault(_event(cells, "DFS"), _Bids(where))
    bids.prices.append(price)
    bids.megawatts += megawatts


def parse_dfs_summary(body: bytes, context: ParseContext) -> Parsed:
    """Read one row an event and half hour; the mean accepted price is derived from it.

    Mean = accepted cost / (procured MW x hours), ``estimated``, under its own service name.
    """
    del context
    needed = ("delivery_date", "dfs_procured_mw", "dfs_provider_bids_accepted_total_cost_gbp")
    table = read_table(body, needed)
    return collect(table, _add_summary).done()


def _add_summary(sink: RowSink, where: str, cells: Cells) -> None:
    megawatts = number(cells.get("dfs_procured_mw"), "DFS Procured MW")
    name = "DFS Provider Bids Accepted Total Cost GBP"
    cost = number(cells.get("dfs_provider_bids_accepted_total_cost_gbp"), name)
    if megawatts is None or megawatts <= 0 or cost is None:
        sink.skip(SKIP_NOTHING)
        return
    service, start, end, direction = _event(cells, "DFS-MEAN")
    energy_mwh = megawatts * ((end - start).total_seconds() / 3600)
    if energy_mwh <= 0:
        raise Unusable(f"DFS Procured MW is {describe(megawatts)}; that is no energy")
    sink.add(
        where,
        FlexibilityPriceRow,
        source=_NAME,
        service=service,
        starts_at=start,
        ends_at=end,
        direction=direction,
        price=cost / energy_mwh,
        unit=GBP_PER_MWH,
        volume_mw=megawatts,
        quality=Quality.ESTIMATED,
        reason="accepted cost over procured energy",
    )


def _event(cells: Cells, service: str) -> _Event:
    start, end = event_times(
        read_date(cells.get("delivery_date"), "Delivery Date"),
        # Files before 2026 call the London times From and To.
        (cells.get("from_local", cells.get("from")), cells.get("to_local", cells.get("to"))),
        (cells.get("from_utc"), cells.get("to_utc")),
    )
    kind = optional_text(cells.get("service_requirement_type"), "Service Requirement Type")
    if kind is not None and kind.lower() not in ("live", "test"):
        raise Unusable(f"Service Requirement Type is {describe(kind)}; Live or Test is allowed")
    if kind is not None and kind.lower() == "test":
        service += "-TEST"
    return service, start, end, _direction(cells)


def _direction(cells: Cells) -> FlexDirection:
    kind = optional_text(cells.get("event_type"), "Event Type")
    if kind is None or kind.lower().startswith("down"):
        # Until April 2026 the service only turned demand down and had no such column.
        return FlexDirection.DOWN
    if kind.lower().startswith("up"):
        return FlexDirection.UP
    raise Unusable(f"Event Type is {describe(kind)}; Downwards or Upwards is allowed")


def _refuse_cut(table: Table, body: bytes) -> None:
    if table.total is not None and table.total > len(table.rows):
        msg = (
            f"the reply holds {len(table.rows)} of {table.total} bids; the highest of a part is "
            "not the highest: ask with a larger limit, or take the file"
        )
        raise invalid(_NAME, msg, body)


def parse_eac_results(body: bytes, context: ParseContext) -> Parsed:
    """Read auction results: one clearing price a product and delivery window, times in UTC."""
    del context
    needed = ("auctionproduct", "deliverystart", "deliveryend", "clearingprice")
    table = read_table(body, needed)
    return collect(table, _add_auction).done()


def _add_auction(sink: RowSink, where: str, cells: Cells) -> None:
    # The product, not serviceType, names what was bought.
    product = text(cells.get("auctionproduct"), "auctionProduct").upper()
    direction = EAC_DIRECTIONS.get(product)
    if direction is None:
        known = ", ".join(EAC_DIRECTIONS)
        raise Unusable(f"auctionProduct is {describe(product)}; known are {known}")
    start = read_utc(cells.get("deliverystart"), "deliveryStart")
    end = read_utc(cells.get("deliveryend"), "deliveryEnd")
    if end <= start:
        raise Unusable(
            f"deliveryEnd {describe(cells.get('deliveryend'))} is not after deliveryStart "
            f"{describe(cells.get('deliverystart'))}"
        )
    price = number(cells.get("clearingprice"), "clearingPrice")
    if price is None:
        sink.skip(SKIP_NO_PRICE)
        return
    sink.add(
        where,
        FlexibilityPriceRow,
        source=_NAME,
        service=f"EAC-{product}",
        starts_at=start,
        ends_at=end,
        direction=direction,
        price=price,
        unit=GBP_PER_MW_H,
        volume_mw=number(cells.get("clearedvolume"), "clearedVolume"),
    )
