"""What a catalogue of windows becomes: zones, windows, offers, one snapshot a zone."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import datetime

from fetchers.beckn.messages import storable
from fetchers.beckn.window import WindowFacts, read_currency, read_price, read_window
from fetchers.beckn.wire import Envelope, Node
from fetchers.beckn.zones import region_of_zone
from fetchers.parsing import RowSink
from fetchers.wire import instant
from schema.orders import WindowTerms
from schema.rows.beckn import (
    ComputeWindowRow,
    GridSnapshotRow,
    GridZoneRow,
    OfferRow,
    WindowState,
)

#: The market's currency; prices in others are recorded and not used.
MARKET_CURRENCY = "GBP"
LARGEST_GEOMETRY = 64 * 1024


@dataclass(frozen=True, slots=True)
class _Priced:
    """An offer's price, before it is tied to its windows."""

    offer_id: str
    items: tuple[str, ...]
    price_per_kwh: float
    currency: str
    price_stability: str | None
    path: str


@dataclass(frozen=True, slots=True)
class _Item:
    """A catalogue item that is a usable window."""

    bpp_id: str
    seller: str
    item_id: str
    name: str | None
    path: str
    facts: WindowFacts
    starts_at: datetime
    ends_at: datetime
    zone_code: str
    region_id: int | None
    geometry: dict[str, object] | None
    capacity_kw: float
    active: bool


@dataclass(slots=True)
class _Reading:
    """Everything read from one reply before rows are made of it."""

    items: list[_Item] = field(default_factory=list)
    offers: list[_Priced] = field(default_factory=list)


def add_catalogs(
    envelope: Envelope, sink: RowSink, *, observed_at: datetime | None
) -> list[WindowTerms]:
    """Add the rows of every catalogue of an on_discover message.

    Items and offers are many to many by id, across the whole reply. A window in an unmapped
    zone, without an offer, or with offers in other currencies only is recorded as unusable.

    Args:
        envelope: The message.
        sink: Receives rows and rejections.
        observed_at: Moment of the zones' snapshots; None leaves them out.

    Returns:
        The windows that can be ordered.
    """
    message = envelope.message
    catalogs = message.get("catalogs", "catalog") if message is not None else None
    if catalogs is None:
        return []
    reading = _Reading()
    for catalog in catalogs.items():
        if isinstance(catalog.value, dict):
            _read_catalog(catalog, envelope, reading, sink)
        else:
            sink.reject(catalog.path, "is no object; a catalogue has items and offers")
    _add_zones(reading.items, sink)
    _add_windows(reading, sink)
    _add_offers(reading, sink)
    if observed_at is not None:
        _add_snapshots(reading.items, observed_at, sink)
    return _terms(reading, envelope.context.bpp_uri)


def _terms(reading: _Reading, bpp_uri: str | None) -> list[WindowTerms]:
    found = []
    for item in reading.items:
        offers = [
            offer
            for offer in reading.offers
            if item.item_id in offer.items and offer.currency == MARKET_CURRENCY
        ]
        if not offers:
            continue
        offer = min(offers, key=lambda offer: (offer.price_per_kwh, offer.offer_id))
        found.append(
            WindowTerms(
                bpp_id=item.bpp_id,
                bpp_uri=bpp_uri,
                seller=item.seller,
                item_id=item.item_id,
                starts_at=item.starts_at,
                ends_at=item.ends_at,
                zone_code=item.zone_code,
                capacity_kw=item.capacity_kw,
                offer_id=offer.offer_id,
                price_per_kwh=offer.price_per_kwh,
                currency=offer.currency,
                price_stability=offer.price_stability,
                intensity_gco2_per_kwh=item.facts.intensity_gco2_per_kwh,
                renewable_pct=item.facts.renewable_pct,
                slot_id=item.facts.slot_id,
            )
        )
    return found


def _read_catalog(catalog: Node, envelope: Envelope, reading: _Reading, sink: RowSink) -> None:
    anchor = _validity_start(catalog, sink)
    provider = catalog.reference("provider", "providerId")
    bpp_id = envelope.context.bpp_id or catalog.text("bppId")
    for item in _members(catalog, "items"):
        try:
            own = _validity_start(item, sink) or anchor
            found = _read_item(item, own, bpp_id, provider, sink)
        except ValueError as exc:
            sink.reject(item.path, str(exc))
            continue
        if found is not None:
            reading.items.append(found)
    for offer in _members(catalog, "offers"):
        try:
            reading.offers.append(_read_offer(offer))
        except ValueError as exc:
            sink.reject(offer.path, str(exc))


def _members(node: Node, name: str) -> list[Node]:
    found = node.get(name)
    return list(found.items()) if found is not None else []


def _validity_start(node: Node, sink: RowSink) -> datetime | None:
    validity = node.get("validity")
    text = validity.text("startDate", "start") if validity is not None else None
    if text is None:
        return None
    try:
        bare_date = len(text) == len("2025-11-17")
        return instant(f"{text}T00:00Z" if bare_date else text, "startDate")
    except ValueError as exc:
        sink.reject(f"{validity.path if validity else node.path}.startDate", str(exc))
        return None


def _read_item(
    item: Node, anchor: datetime | None, bpp_id: str | None, provider: str | None, sink: RowSink
) -> _Item | None:
    item_id = item.text("id")
    if item_id is None:
        msg = "the item has no id; it could never be ordered"
        raise ValueError(msg)
    attributes = item.get("itemAttributes")
    if attributes is None:
        msg = f"item {item_id} has no itemAttributes, so it is no compute-energy window"
        raise ValueError(msg)
    owner = bpp_id or item.text("bppId") or item.reference("provider", "providerId") or provider
    if owner is None:
        msg = f"item {item_id}: neither context.bpp_id nor a provider says whose window it is"
        raise ValueError(msg)
    facts = read_window(attributes, anchor=anchor, problems=sink.rejected)
    if facts.starts_at is None or facts.ends_at is None:
        msg = f"item {item_id} has no timeWindow"
        raise ValueError(msg)
    if facts.available_kw is None:
        msg = f"item {item_id} has no capacityParameters.availableCapacity"
        raise ValueError(msg)
    zone_code = facts.zone_code or facts.area
    if zone_code is None:
        msg = f"item {item_id} has neither gridZone nor gridArea"
        raise ValueError(msg)
    place = next(iter(_members(item, "availableAt")), Node({}, item.path))
    address = place.get("address") or Node({}, place.path)
    descriptor = item.get("descriptor") or Node({}, item.path)
    return _Item(
        bpp_id=owner,
        seller=item.reference("provider", "providerId") or provider or owner,
        item_id=item_id,
        name=descriptor.text("name"),
        path=item.path,
        facts=facts,
        starts_at=facts.starts_at,
        ends_at=facts.ends_at,
        zone_code=zone_code,
        region_id=region_of_zone(
            zone_code,
            address_region=address.text("addressRegion"),
            country=address.text("addressCountry"),
        ),
        geometry=_geometry(place),
        capacity_kw=facts.available_kw,
        active=item.boolean("isActive") is not False,
    )


def _geometry(place: Node) -> dict[str, object] | None:
    geometry = place.mapping("geo")
    if geometry is None or len(repr(geometry)) > LARGEST_GEOMETRY:
        return None
    kept: dict[str, object] = storable(geometry)
    return kept


def _read_offer(offer: Node) -> _Priced:
    offer_id = offer.text("id")
    if offer_id is None:
        msg = "the offer has no id; it could never be accepted"
        raise ValueError(msg)
    price = offer.get("price")
    attributes = offer.get("offerAttributes") or Node({}, offer.path)
    if price is None:
        msg = f"offer {offer_id} has no price"
        raise ValueError(msg)
    figure = read_price(price, attributes.text("unit"), "value", "price")
    currency = read_currency(price)
    if figure is None or currency is None:
        msg = f"offer {offer_id} needs price.value (or price.price) and price.currency"
        raise ValueError(msg)
    wanted = [
        node.value if isinstance(node.value, str) else node.text("id")
        for node in _members(offer, "items")
    ]
    return _Priced(
        offer_id=offer_id,
        items=tuple(dict.fromkeys(name for name in wanted if name)),
        price_per_kwh=figure,
        currency=currency,
        price_stability=attributes.text("priceStability"),
        path=offer.path,
    )


def _add_zones(items: list[_Item], sink: RowSink) -> None:
    zones: dict[str, _Item] = {}
    for item in items:
        held = zones.get(item.zone_code)
        # A zone is mapped as soon as one of its items says where it lies.
        if held is None or (held.region_id is None and item.region_id is not None):
            zones[item.zone_code] = item
    for item in zones.values():
        sink.add(
            item.path,
            GridZoneRow,
            zone_code=item.zone_code,
            area=item.facts.area,
            region_id=item.region_id,
            geometry=item.geometry,
        )


def _add_windows(reading: _Reading, sink: RowSink) -> None:
    mapped = {item.zone_code for item in reading.items if item.region_id is not None}
    for item in reading.items:
        reason = _unusable(item, item.zone_code in mapped, reading.offers)
        sink.add(
            item.path,
            ComputeWindowRow,
            bpp_id=item.bpp_id,
            item_id=item.item_id,
            starts_at=item.starts_at,
            ends_at=item.ends_at,
            name=item.name,
            zone_code=item.zone_code,
            capacity_kw=item.capacity_kw,
            intensity_gco2_per_kwh=item.facts.intensity_gco2_per_kwh,
            renewable_pct=item.facts.renewable_pct,
            slot_id=item.facts.slot_id,
            reservation_required=item.facts.reservation_required,
            state=WindowState.UNUSABLE if reason else WindowState.OFFERED,
            state_reason=reason,
        )


def _unusable(item: _Item, mapped: bool, offers: list[_Priced]) -> str | None:  # noqa: FBT001
    if not mapped:
        return f"zone {item.zone_code} is mapped to no distribution area of Great Britain"
    if not item.active:
        return "the provider marks the item as not active"
    currencies = sorted({offer.currency for offer in offers if item.item_id in offer.items})
    if not currencies:
        return "no offer names this window, so it has no price"
    if MARKET_CURRENCY not in currencies:
        return f"offered in {', '.join(currencies)} only; the market counts in {MARKET_CURRENCY}"
    return None


def _add_offers(reading: _Reading, sink: RowSink) -> None:
    windows: dict[str, list[_Item]] = {}
    for item in reading.items:
        windows.setdefault(item.item_id, []).append(item)
    for offer in reading.offers:
        for item_id in offer.items:
            if item_id not in windows:
                reason = f"offer {offer.offer_id} names item {item_id}, which is not in this reply"
                sink.reject(offer.path, reason)
            for item in windows.get(item_id, ()):
                sink.add(
                    offer.path,
                    OfferRow,
                    bpp_id=item.bpp_id,
                    offer_id=offer.offer_id,
                    item_id=item_id,
                    window_starts_at=item.starts_at,
                    price_per_kwh=offer.price_per_kwh,
                    currency=offer.currency,
                    price_stability=offer.price_stability,
                )


def _add_snapshots(items: list[_Item], observed_at: datetime, sink: RowSink) -> None:
    """Add one snapshot a zone: the window in force, or else the one nearest to the moment."""
    nearest: dict[str, _Item] = {}
    for item in sorted(items, key=lambda item: (_distance(item, observed_at), item.item_id)):
        nearest.setdefault(item.zone_code, item)
    for item in nearest.values():
        facts = item.facts
        figures = (facts.renewable_pct, facts.intensity_gco2_per_kwh, facts.frequency_hz)
        if any(figure is not None for figure in figures):
            sink.add(
                item.path,
                GridSnapshotRow,
                zone_code=item.zone_code,
                observed_at=observed_at,
                renewable_pct=facts.renewable_pct,
                intensity_gco2_per_kwh=facts.intensity_gco2_per_kwh,
                frequency_hz=facts.frequency_hz,
                changes=storable(facts.changes) if facts.changes else None,
            )


def _distance(item: _Item, moment: datetime) -> float:
    if item.starts_at <= moment < item.ends_at:
        return 0.0
    edge = item.starts_at if moment < item.starts_at else item.ends_at
    return abs((edge - moment).total_seconds())
