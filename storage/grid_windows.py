"""Beckn windows as the market sees them: the newest state, the region, the cheapest offer."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime

from schema.periods import parse_instant
from storage.grid_facts import Fact, Value


@dataclass(frozen=True, slots=True)
class WindowFact:
    """A Beckn window as last heard of, with its cheapest offer.

    Among several offers one in GBP goes before others, then the cheapest, then the first by id.
    ``region_id`` is None while the zone's is unknown. Price and currency are None without an
    offer; the price is per kWh in that currency.
    """

    bpp_id: str
    item_id: str
    starts_at: datetime
    ends_at: datetime
    zone_code: str
    region_id: int | None
    capacity_kw: float
    intensity_gco2_per_kwh: float | None
    renewable_pct: float | None
    slot_id: str | None
    state: str
    offer_id: str | None
    price_per_kwh: float | None
    currency: str | None


def windows_of(
    facts: Mapping[str, Iterable[Fact]], after: datetime, before: datetime
) -> tuple[WindowFact, ...]:
    """List the windows that end after one instant and start before another, by start and key.

    Args:
        facts: By table; ``compute_windows``, ``offers`` and ``grid_zones`` are read.
        after: Windows that have ended by then are left out.
        before: Windows that start then or later are left out.
    """
    regions = {zone.values[0]: zone.values[1] for zone in facts.get("grid_zones", ())}
    offers = _cheapest(facts.get("offers", ()))
    found: list[WindowFact] = []
    for fact in facts.get("compute_windows", ()):
        bpp, item, ends_at, zone, capacity, intensity, renewable, slot, state = fact.values
        starts = datetime.fromtimestamp(fact.starts_at, UTC)
        ends = parse_instant(str(ends_at))
        if ends <= after or starts >= before:
            continue
        region = regions.get(zone)
        offer = offers.get((bpp, item, fact.starts_at))
        found.append(
            WindowFact(
                bpp_id=str(bpp),
                item_id=str(item),
                starts_at=starts,
                ends_at=ends,
                zone_code=str(zone),
                region_id=region if isinstance(region, int) else None,
                capacity_kw=_number(capacity) or 0.0,
                intensity_gco2_per_kwh=_number(intensity),
                renewable_pct=_number(renewable),
                slot_id=_text(slot),
                state=str(state),
                offer_id=None if offer is None else _text(offer.values[1]),
                price_per_kwh=None if offer is None else _number(offer.values[3]),
                currency=None if offer is None else _text(offer.values[4]),
            )
        )
    return tuple(sorted(found, key=lambda w: (w.starts_at, w.bpp_id, w.item_id)))


def _cheapest(offers: Iterable[Fact]) -> dict[tuple[Value, Value, int], Fact]:
    best: dict[tuple[Value, Value, int], Fact] = {}
    for offer in sorted(offers, key=_preference):
        best.setdefault((offer.values[0], offer.values[2], offer.starts_at), offer)
    return best


def _preference(offer: Fact) -> tuple[bool, float, str]:
    _, offer_id, _, price, currency = offer.values
    return (currency != "GBP", _number(price) or 0.0, str(offer_id))


def _number(value: Value) -> float | None:
    return float(value) if isinstance(value, int | float) else None


def _text(value: Value) -> str | None:
    return value if isinstance(value, str) else None
