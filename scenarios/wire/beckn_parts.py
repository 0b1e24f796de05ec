"""Pieces of compute-energy messages: catalogue, order line, fulfilment, changes."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import date, timedelta
from typing import Any

from scenarios.windows import PROVIDER_ID, Window
from schema.periods import format_instant

Json = dict[str, Any]

DOMAIN = "beckn.one:DEG:compute-energy:1.0"
_DRAFT = "https://raw.githubusercontent.com/beckn/protocol-specifications-new/refs/heads/draft"
CORE = f"{_DRAFT}/schema/core/v2/context.jsonld"
ENERGY = f"{_DRAFT}/schema/ComputeEnergy/v1/context.jsonld"
_PENCE_PER_MWH = 100_000
_HALF_DEGREE = 0.25


def catalog(day: date, windows: Sequence[Window]) -> Json:
    """Give one day's catalogue; its validity is what dates the times of day."""
    return {
        "@context": CORE,
        "@type": "beckn:Catalog",
        "beckn:id": f"catalog-ce-{day:%Y%m%d}",
        "beckn:descriptor": {
            "@type": "beckn:Descriptor",
            "schema:name": "Grid Flexibility Windows",
            "beckn:shortDesc": f"Low-carbon compute windows for {day:%Y-%m-%d}",
        },
        "beckn:validity": {
            "@type": "beckn:TimePeriod",
            "schema:startDate": f"{day:%Y-%m-%d}T00:00:00Z",
            "schema:endDate": f"{day:%Y-%m-%d}T23:59:59Z",
        },
        "beckn:provider": {
            "@context": CORE,
            "@type": "beckn:Provider",
            "beckn:id": PROVIDER_ID,
            "beckn:descriptor": {
                "@type": "beckn:Descriptor",
                "schema:name": "GridFlex Agent",
                "beckn:shortDesc": "Grid flexibility and carbon intensity",
            },
        },
        "beckn:items": [_item(window) for window in windows],
        "beckn:offers": [_offer(w) for w in windows if w.price_pence_per_mwh is not None],
    }


def _item(window: Window) -> Json:
    return {
        "@context": CORE,
        "@type": "beckn:Item",
        "beckn:id": window.item_id,
        "beckn:descriptor": {
            "@type": "beckn:Descriptor",
            "schema:name": window.name,
            "beckn:shortDesc": "Renewable energy window for compute workloads",
        },
        "beckn:rateable": False,
        "beckn:availableAt": {
            "@type": "beckn:Location",
            "geo": {"type": "Polygon", "coordinates": [_square(window)]},
            "address": {
                "streetAddress": f"{window.area} Grid Zone",
                "addressLocality": window.area,
                "addressCountry": window.country,
            },
        },
        "beckn:itemAttributes": {
            "@context": ENERGY,
            "@type": "beckn:ComputeEnergyWindow",
            "beckn:gridParameters": {**_grid(window), "renewableMixUnit": "percent"},
            "beckn:timeWindow": {
                "start": f"{window.starts_at:%H:%M:%S}Z",
                "end": f"{window.ends_at:%H:%M:%S}Z",
                "duration": _duration(window.ends_at - window.starts_at),
            },
            "beckn:capacityParameters": {
                **_capacity(window),
                "reservationRequired": True,
            },
        },
    }


def _square(window: Window) -> list[list[float]]:
    west, south = window.longitude - _HALF_DEGREE, window.latitude - _HALF_DEGREE
    east, north = window.longitude + _HALF_DEGREE, window.latitude + _HALF_DEGREE
    corners = ((west, south), (east, south), (east, north), (west, north), (west, south))
    return [[round(lon, 4), round(lat, 4)] for lon, lat in corners]


def _offer(window: Window) -> Json:
    return {
        **_offer_head(window),
        # In a catalogue the price is text under ``value``, in an order a number under ``price``.
        "beckn:price": {"value": f"{price_of(window):.5f}", "currency": window.currency},
        "beckn:offerAttributes": _pricing(window),
    }


def _offer_head(window: Window) -> Json:
    return {
        "@context": CORE,
        "@type": "beckn:Offer",
        "beckn:id": window.offer_id,
        "beckn:descriptor": {"@type": "beckn:Descriptor", "schema:name": f"{window.name} slot"},
        "beckn:provider": PROVIDER_ID,
        "beckn:items": [window.item_id],
    }


def _pricing(window: Window) -> Json:
    return {
        "@context": ENERGY,
        "@type": "beckn:ComputeEnergyPricing",
        "beckn:unit": "per_kWh",
        "beckn:priceStability": window.stability,
    }


def price_of(window: Window) -> float:
    """Give the price per kWh; 0 where there is no offer."""
    return (window.price_pence_per_mwh or 0) / _PENCE_PER_MWH


def _grid(window: Window) -> Json:
    return {
        "gridArea": window.area,
        "gridZone": window.zone_code,
        "renewableMix": window.renewable_pct,
        "carbonIntensity": window.intensity,
        "carbonIntensityUnit": "gCO2/kWh",
    }


def _capacity(window: Window) -> Json:
    return {"availableCapacity": window.capacity_w / 1e6, "capacityUnit": "MW"}


def _dated(window: Window) -> Json:
    return {
        "start": format_instant(window.starts_at),
        "end": format_instant(window.ends_at),
        "duration": _duration(window.ends_at - window.starts_at),
    }


def _spot(window: Window) -> Json:
    return {
        "spotPrice": price_of(window),
        "currency": window.currency,
        "unit": "per_kWh",
        "priceStability": window.stability,
    }


def order_line(line: Json, window: Window, *, reserved_mw: float | None) -> Json:
    """Give an order's line with the window's slot, figures and price as they stand."""
    capacity = _capacity(window)
    grid = _grid(window)
    attributes: Json = {
        "@context": ENERGY,
        "@type": "beckn:ComputeEnergyWindow",
        "beckn:slotId": window.slot_id,
        "beckn:gridParameters": grid,
        "beckn:timeWindow": _dated(window),
        "beckn:pricingParameters": _spot(window),
        "beckn:capacityParameters": capacity,
    }
    if reserved_mw is not None:
        capacity["reservedCapacity"] = reserved_mw
        grid.update(frequency=50.0, frequencyUnit="Hz")
        hours = (window.ends_at - window.starts_at) / timedelta(hours=1)
        cost = round(price_of(window) * reserved_mw * 1000 * hours, 2)
        attributes["beckn:pricingParameters"]["estimatedCost"] = cost
    return {
        "@type": "beckn:OrderItem",
        "beckn:lineId": line.get("beckn:lineId", "order-item-1"),
        "beckn:orderedItem": window.item_id,
        "beckn:quantity": line.get("beckn:quantity", 1),
        "beckn:acceptedOffer": _accepted(window),
        "beckn:orderItemAttributes": attributes,
    }


def _accepted(window: Window) -> Json:
    return {
        **_offer_head(window),
        "beckn:price": {"currency": window.currency, "price": price_of(window)},
        "beckn:offerAttributes": _pricing(window),
    }


def fulfillment(order: Json) -> Json:
    """Give the fulfilment of a quote."""
    return {
        "@context": CORE,
        "@type": "beckn:Fulfillment",
        "beckn:id": f"fulfillment-{order.get('beckn:id', 'order')}",
        "beckn:mode": "GRID-BASED",
        "beckn:status": "QUOTED",
    }


def payment() -> Json:
    """Give the payment terms that on_init adds."""
    return {
        "@context": ENERGY,
        "@type": "beckn:ComputeEnergyPayment",
        "beckn:settlement": "next-billing-cycle",
    }


def updated_order(before: Window, after: Window, event: Json) -> Json:
    """Give the order of an unsolicited on_update: the window's new figures, and what changed."""
    grid = _grid(after)
    _change(grid, "renewableMixChange", before.renewable_pct, after.renewable_pct, "percent")
    _change(grid, "carbonIntensityChange", before.intensity, after.intensity, "gCO2/kWh")
    spot = _spot(after)
    _change(spot, "spotPriceChange", price_of(before), price_of(after), f"{after.currency}/kWh")
    return {
        "@context": CORE,
        "@type": "beckn:Order",
        "beckn:id": event["eventId"],
        "beckn:orderStatus": "IN_PROGRESS",
        "beckn:seller": PROVIDER_ID,
        "beckn:orderItems": [
            {
                "@type": "beckn:OrderItem",
                "beckn:lineId": "order-item-1",
                "beckn:orderedItem": after.item_id,
                "beckn:quantity": 1,
                "beckn:acceptedOffer": _accepted(before),
                "beckn:orderItemAttributes": {
                    "@context": ENERGY,
                    "@type": "beckn:ComputeEnergyWindow",
                    "beckn:slotId": after.slot_id,
                    "beckn:gridParameters": grid,
                    "beckn:timeWindow": _dated(after),
                    "beckn:pricingParameters": spot,
                    "beckn:capacityParameters": _capacity(after),
                },
            }
        ],
        "beckn:fulfillment": {
            "@context": CORE,
            "@type": "beckn:Fulfillment",
            "beckn:id": f"fulfillment-{event['eventId']}",
            "beckn:mode": "GRID-BASED",
            "beckn:status": "IN_PROGRESS",
            "beckn:deliveryAttributes": {
                "@context": ENERGY,
                "@type": "beckn:ComputeEnergyFulfillment",
                "beckn:gridEventAlert": event,
            },
        },
    }


def _change(into: Json, name: str, previous: float, current: float, unit: str) -> None:
    if previous != current:
        into[name] = {
            "previousValue": previous,
            "currentValue": current,
            "change": round(current - previous, 6),
            "changeUnit": unit,
            "changeType": "increase" if current > previous else "decrease",
        }


def _duration(length: timedelta) -> str:
    minutes = int(length.total_seconds()) // 60
    hours, rest = divmod(minutes, 60)
    return f"PT{f'{hours}H' if hours else ''}{f'{rest}M' if rest else ''}"
