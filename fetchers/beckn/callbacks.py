"""What the callbacks of an order say: its status, its windows' terms, alerts, settlement."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

from fetchers.beckn.messages import order_id_of, status_of, storable
from fetchers.beckn.window import WindowFacts, read_currency, read_price, read_times, read_window
from fetchers.beckn.wire import Envelope, Node
from fetchers.beckn.zones import region_of_zone
from fetchers.parsing import RowSink
from schema.readings import Source
from schema.rows.beckn import (
    ComputeWindowRow,
    GridSnapshotRow,
    GridZoneRow,
    JsonObject,
    OfferRow,
    WindowState,
)
from schema.rows.prices import FlexDirection, FlexibilityPriceRow

#: Statuses that mean the window is ours. Spellings vary (IN_PROGRESS, INPROGRESS, in-progress).
BOOKED_STATUSES = frozenset({"CONFIRMED", "INPROGRESS", "COMPLETED", "PARTIALLYFULFILLED"})
LOST_STATUSES = frozenset({"CANCELLED", "CANCELED", "REJECTED", "FAILED", "RETURNED", "REFUNDED"})


@dataclass(frozen=True, slots=True)
class OrderedWindow:
    """One line of an order: which window, on which terms; what is not said is None."""

    item_id: str
    offer_id: str | None
    offer_price_per_kwh: float | None
    offer_currency: str | None
    price_stability: str | None
    facts: WindowFacts
    path: str

    @property
    def price_per_kwh(self) -> float | None:
        """The price now: the spot price where given, else the offer's.

        An on_update still carries the accepted offer with its old price beside the new spot price.
        """
        if self.facts.spot_price_per_kwh is not None:
            return self.facts.spot_price_per_kwh
        return self.offer_price_per_kwh

    @property
    def currency(self) -> str | None:
        """The currency of ``price_per_kwh``."""
        if self.facts.spot_price_per_kwh is not None:
            return self.facts.currency or self.offer_currency
        return self.offer_currency


@dataclass(frozen=True, slots=True)
class OrderView:
    """An order as one callback shows it."""

    action: str | None
    order_id: str | None
    status: str | None
    windows: tuple[OrderedWindow, ...]
    alert: JsonObject | None
    delivery: tuple[datetime, datetime] | None

    @property
    def booked(self) -> bool:
        """Say whether the provider holds the order as confirmed or later."""
        return plain_status(self.status) in BOOKED_STATUSES

    @property
    def lost(self) -> bool:
        """Say whether the provider has ended or refused the order."""
        return plain_status(self.status) in LOST_STATUSES

    def window(self, item_id: str) -> OrderedWindow | None:
        """Find the line of an item; a lone line without an id of its own counts."""
        return next((line for line in self.windows if line.item_id == item_id), None)


def plain_status(status: str | None) -> str:
    """Give a status without case and separators."""
    return "".join(char for char in status.upper() if char.isalpha()) if status else ""


def read_order(envelope: Envelope, sink: RowSink) -> OrderView | None:
    """Read the order of a callback; None where the message holds none (rating, support)."""
    message = envelope.message
    order = message.get("order", "contract") if message is not None else None
    if order is None:
        return None
    windows = []
    lines = order.get("orderItems", "items")
    for line in lines.items() if lines is not None else ():
        try:
            windows.append(_read_line(line, sink))
        except ValueError as exc:
            sink.reject(line.path, str(exc))
    delivery = order.at("fulfillment", "deliveryAttributes") or Node({}, order.path)
    return OrderView(
        action=envelope.context.action,
        order_id=order_id_of(message),
        status=status_of(message),
        windows=tuple(windows),
        alert=delivery.mapping("gridEventAlert") or delivery.mapping("shiftDetails"),
        delivery=_delivery_times(delivery),
    )


def _read_line(line: Node, sink: RowSink) -> OrderedWindow:
    item_id = line.reference("orderedItem", "itemId", "id")
    if item_id is None:
        msg = "the order line names no orderedItem"
        raise ValueError(msg)
    offer = line.get("acceptedOffer") or Node({}, line.path)
    price = offer.get("price") or Node({}, offer.path)
    terms = offer.get("offerAttributes") or Node({}, offer.path)
    attributes = line.get("orderItemAttributes") or Node({}, line.path)
    facts = read_window(attributes, anchor=None, problems=sink.rejected)
    return OrderedWindow(
        item_id=item_id,
        offer_id=offer.text("id"),
        offer_price_per_kwh=read_price(price, terms.text("unit"), "price", "value"),
        offer_currency=read_currency(price),
        price_stability=terms.text("priceStability") or facts.price_stability,
        facts=facts,
        path=line.path,
    )


def _delivery_times(delivery: Node) -> tuple[datetime, datetime] | None:
    times = delivery.get("timeWindow")
    if times is None:
        return None
    try:
        return read_times(times, None)
    except ValueError:
        return None


def window_state(view: OrderView, *, refused: bool = False) -> WindowState:
    """Give what a callback makes of its order's windows."""
    if refused or view.lost:
        return WindowState.REFUSED
    if view.action == "on_update":
        return WindowState.CHANGED
    if view.booked:
        return WindowState.BOOKED
    return WindowState.SELECTED


def add_order(
    envelope: Envelope, view: OrderView, sink: RowSink, *, observed_at: datetime | None
) -> None:
    """Add the rows of an order's callback: zone, window, offer, snapshot, incentive.

    A line without dated times, zone or capacity (an on_status has none of them) gives no window
    row: what it leaves unsaid would overwrite what is known.
    """
    bpp_id = envelope.context.bpp_id
    state = window_state(view, refused=envelope.refused)
    for line in view.windows:
        facts = line.facts
        if facts.zone_code is not None:
            _add_zone_rows(line, facts.zone_code, observed_at, sink)
        if bpp_id is None or facts.starts_at is None or facts.ends_at is None:
            continue
        if facts.zone_code is None or facts.capacity_kw is None:
            continue
        sink.add(
            line.path,
            ComputeWindowRow,
            bpp_id=bpp_id,
            item_id=line.item_id,
            starts_at=facts.starts_at,
            ends_at=facts.ends_at,
            zone_code=facts.zone_code,
            capacity_kw=facts.capacity_kw,
            intensity_gco2_per_kwh=facts.intensity_gco2_per_kwh,
            renewable_pct=facts.renewable_pct,
            slot_id=facts.slot_id,
            reservation_required=facts.reservation_required,
            state=state,
            state_reason=alert_text(view),
        )
        if line.offer_id and line.price_per_kwh is not None and line.currency:
            sink.add(
                line.path,
                OfferRow,
                bpp_id=bpp_id,
                offer_id=line.offer_id,
                item_id=line.item_id,
                window_starts_at=facts.starts_at,
                price_per_kwh=line.price_per_kwh,
                currency=line.currency,
                price_stability=line.price_stability,
            )
    if view.action == "on_status":
        # What was paid is known at the end; elsewhere such details are a provider's slip.
        _add_incentive(envelope, view, sink)


def alert_text(view: OrderView) -> str | None:
    """Give an update's reason in words, for a person who reads the window's row."""
    if view.alert is None:
        return None
    alert = Node(view.alert)
    said = [alert.text("eventType", "shiftReason"), alert.text("severity"), alert.text("message")]
    return ": ".join(part for part in said if part)[:1000] or None


def _add_zone_rows(
    line: OrderedWindow, zone_code: str, observed_at: datetime | None, sink: RowSink
) -> None:
    facts = line.facts
    sink.add(
        line.path,
        GridZoneRow,
        zone_code=zone_code,
        area=facts.area,
        region_id=region_of_zone(zone_code),
    )
    figures = (facts.renewable_pct, facts.intensity_gco2_per_kwh, facts.frequency_hz)
    if observed_at is not None and any(figure is not None for figure in figures):
        sink.add(
            line.path,
            GridSnapshotRow,
            zone_code=zone_code,
            observed_at=observed_at,
            renewable_pct=facts.renewable_pct,
            intensity_gco2_per_kwh=facts.intensity_gco2_per_kwh,
            frequency_hz=facts.frequency_hz,
            changes=storable(facts.changes) if facts.changes else None,
        )


def _add_incentive(envelope: Envelope, view: OrderView, sink: RowSink) -> None:
    """Add what the grid paid for flexibility: a sum for one order, labelled as such."""
    message = envelope.message
    found = message.at("order", "fulfillment", "deliveryAttributes") if message else None
    details = found.get("settlementDetails") if found is not None else None
    if details is None or view.order_id is None or view.delivery is None:
        return
    try:
        amount = details.number("incentiveAmount")
    except ValueError as exc:
        sink.reject(details.path, str(exc))
        return
    if amount is None:
        return
    currency = (details.text("incentiveCurrency") or "").upper()
    if not currency:
        sink.reject(f"{details.path}.incentiveCurrency", "is missing; an amount needs a currency")
        return
    sink.add(
        details.path,
        FlexibilityPriceRow,
        source=Source.BECKN.value,
        service=f"beckn incentive {view.order_id}",
        starts_at=view.delivery[0],
        ends_at=view.delivery[1],
        direction=FlexDirection.DOWN,
        price=amount,
        unit=f"{currency} per order",
    )
