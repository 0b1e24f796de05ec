"""Orders for Beckn windows, as the market asks for them and learns how they ended."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum

from schema.periods import HALF_HOUR, ceil_half_hour, floor_half_hour

WindowKey = tuple[str, str, datetime]
"""``bpp_id``, ``item_id``, ``starts_at``: the natural key of ``compute_windows``."""


@dataclass(frozen=True, slots=True)
class WindowTerms:
    """A window on its present terms, with what an order for it must name.

    Powers in kW, price per kWh in ``currency``. ``seller`` is the provider; ``offer_id`` and
    price are those of the cheapest offer in the market's currency. ``capacity_kw`` is what the
    provider offered before our orders; the market takes its own bookings off by itself. A provider
    that takes them off too makes the market cautious, never overbooked.
    """

    bpp_id: str
    bpp_uri: str | None
    seller: str
    item_id: str
    starts_at: datetime
    ends_at: datetime
    zone_code: str
    capacity_kw: float
    offer_id: str
    price_per_kwh: float
    currency: str
    price_stability: str | None = None
    intensity_gco2_per_kwh: float | None = None
    renewable_pct: float | None = None
    slot_id: str | None = None

    @property
    def key(self) -> WindowKey:
        """The window's natural key."""
        return (self.bpp_id, self.item_id, self.starts_at)


@dataclass(frozen=True, slots=True)
class WindowOrder:
    """What the market wants of one window for one organisation.

    ``load_kw`` holds the mean power of each half hour that lies wholly inside the window, from
    its first one on. ``price_per_kwh`` and ``capacity_kw`` are the terms the market counted on.
    ``decided_at`` is when the market decided, and the timestamp of every message of the order.
    ``attempt`` rises when the same organisation orders the same window again within a
    conversation.
    """

    bpp_id: str
    item_id: str
    starts_at: datetime
    ends_at: datetime
    organisation: str
    load_kw: tuple[float, ...]
    price_per_kwh: float
    capacity_kw: float
    decided_at: datetime
    currency: str = "GBP"
    conversation_id: str = ""
    attempt: int = 1

    def __post_init__(self) -> None:
        room = max(0, (floor_half_hour(self.ends_at) - ceil_half_hour(self.starts_at)) // HALF_HOUR)
        if not 0 < len(self.load_kw) <= room:
            msg = (
                f"order of {self.organisation} for {self.item_id}: load_kw has "
                f"{len(self.load_kw)} half hours, the window holds {room}; give 1 to {room}"
            )
            raise ValueError(msg)
        if min(self.load_kw) < 0 or max(self.load_kw) <= 0:
            msg = (
                f"order of {self.organisation} for {self.item_id}: powers are 0 or more, one above"
            )
            raise ValueError(msg)

    @property
    def key(self) -> WindowKey:
        """The window's natural key."""
        return (self.bpp_id, self.item_id, self.starts_at)

    @property
    def peak_kw(self) -> float:
        """Largest draw of any half hour: what must be reserved."""
        return max(self.load_kw)

    @property
    def energy_kwh(self) -> float:
        """Energy over all half hours."""
        return sum(self.load_kw) / 2


class OrderOutcome(StrEnum):
    """How an order ended."""

    BOOKED = "booked"
    REFUSED = "refused"
    CHANGED = "changed"


@dataclass(frozen=True, slots=True)
class OrderResult:
    """The end of an order.

    ``reason`` is empty for a booking. ``terms`` are the provider's present terms as far as it
    named them: of a booking the booked ones, of a change the new ones. None when the window is
    not on offer at all.
    """

    order: WindowOrder
    outcome: OrderOutcome
    order_id: str
    reason: str = ""
    terms: WindowTerms | None = None


@dataclass(frozen=True, slots=True)
class WindowUpdate:
    """A change to a booked window that the provider announced by itself (on_update).

    ``capacity_kw`` is the window's new capacity for all orders, ``limit_kw`` the power it still
    grants this order, where it names them; ``lost`` says that the order is ended. Figures that it
    does not name are None: they stand as they were.
    """

    bpp_id: str
    item_id: str
    starts_at: datetime
    organisation: str
    conversation_id: str
    order_id: str
    message_id: str
    received_at: datetime
    lost: bool
    capacity_kw: float | None = None
    limit_kw: float | None = None
    price_per_kwh: float | None = None
    currency: str | None = None
    intensity_gco2_per_kwh: float | None = None
    reason: str | None = None

    @property
    def key(self) -> WindowKey:
        """The window's natural key."""
        return (self.bpp_id, self.item_id, self.starts_at)
