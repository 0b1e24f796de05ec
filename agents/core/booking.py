"""Beckn windows the market used: what must be ordered, and what stands booked.

One order a window and organisation. What is booked stays booked: an order is made again only
where a plan draws more in some half hour than was booked before.
"""

from __future__ import annotations

from collections.abc import Container, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Protocol

from agents.core.ledger import Contract
from agents.core.view import WindowOffer
from schema.orders import OrderOutcome, OrderResult, WindowOrder

Key = tuple[str, str]
"""Window id and organisation."""


class BookingDesk(Protocol):
    """Whoever can order windows: in a run, the Beckn fetcher."""

    def book(self, orders: Sequence[WindowOrder]) -> list[OrderResult]:
        """Order windows and wait for the end of each, in the order asked."""
        ...


@dataclass
class Bookings:
    """What stands booked: watts by half hour of each window and organisation."""

    loads: dict[Key, tuple[int, ...]] = field(default_factory=dict)
    attempts: dict[Key, int] = field(default_factory=dict)

    def orders(
        self,
        contracts: Iterable[Contract],
        offers: Mapping[str, WindowOffer],
        *,
        conversation_id: str,
        decided_at: datetime,
    ) -> list[WindowOrder]:
        """Give the orders that contracts need beyond what is booked, in a fixed order."""
        wanted: dict[Key, list[int]] = {}
        for contract in contracts:
            for segment in contract.segments:
                offer = offers.get(segment.window_id or "")
                if offer is None:
                    continue
                key = (offer.window_id, contract.organisation)
                load = wanted.setdefault(key, [0] * (offer.end - offer.first))
                for half_hour in range(segment.first, segment.end):
                    load[half_hour - offer.first] += contract.power_w
        orders: list[WindowOrder] = []
        for key in sorted(wanted):
            window_id, organisation = key
            load = wanted[key]
            booked = self.loads.get(key, (0,) * len(load))
            if all(now <= before for now, before in zip(load, booked, strict=True)):
                continue
            offer = offers[window_id]
            orders.append(
                WindowOrder(
                    bpp_id=offer.bpp_id,
                    item_id=offer.item_id,
                    starts_at=offer.starts_at,
                    ends_at=offer.ends_at,
                    organisation=organisation,
                    load_kw=tuple(watts / 1000 for watts in load),
                    price_per_kwh=float(offer.price_per_kwh or 0.0),
                    capacity_kw=offer.capacity_kw,
                    decided_at=decided_at,
                    conversation_id=conversation_id,
                    attempt=self.attempts.get(key, 0) + 1,
                )
            )
        return orders

    def take(self, window_id: str, result: OrderResult) -> None:
        """Remember the end of an order."""
        key = (window_id, result.order.organisation)
        self.attempts[key] = result.order.attempt
        if result.outcome is OrderOutcome.BOOKED:
            self.loads[key] = tuple(round(kw * 1000) for kw in result.order.load_kw)

    def drop(self, windows: Container[str]) -> None:
        """Drop all that is known of windows that are past."""
        for table in (self.loads, self.attempts):
            for key in [key for key in table if key[0] in windows]:
                del table[key]

    def forget(self, window_id: str, organisation: str) -> None:
        """Drop what was booked of a window that its provider withdrew or changed."""
        self.loads.pop((window_id, organisation), None)
