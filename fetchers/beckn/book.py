"""What we know of windows and orders: catalogue, standings, booked orders, messages seen.

Pure bookkeeping. A standing is what became of a window through our orders or a provider's update;
the next catalogues must not wash it away. Standings and orders count from the poll after the one
whose tick made them, so that a poll which is repeated after a crash sees what it saw before.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, fields, replace
from datetime import datetime, timedelta
from typing import Any

from pydantic import TypeAdapter

from schema.orders import OrderResult, WindowKey, WindowOrder, WindowTerms
from schema.rows.beckn import ComputeWindowRow, WindowState
from storage.grid_windows import WindowFact

#: Steps of a window's version within one second of the run's clock: the catalogue has step 0,
#: what happens to a window at that same moment counts up from there.
VERSION_STEPS = 100_000
MOST_SEEN = 2000
#: A settled order, and a window long over, are forgotten after this.
KEPT = timedelta(days=2)

Catalogue = tuple[float, str, str | None, float | None, str | None]
"""Capacity, end, slot, price, currency: what a provider must change for a new offer."""


def window_version(moment: datetime) -> int:
    """Give the version of a window's row as a catalogue read at that moment shows it."""
    return int(moment.timestamp()) * VERSION_STEPS


@dataclass(frozen=True, slots=True)
class Standing:
    """What became of a window, since when, and the catalogue's terms at that time."""

    state: WindowState
    reason: str | None
    since: datetime
    catalogue: Catalogue | None


@dataclass(frozen=True, slots=True)
class BookedOrder:
    """An order that the provider confirmed."""

    order: WindowOrder
    order_id: str
    transaction_id: str
    terms: WindowTerms
    settled: bool = False


@dataclass(slots=True)
class OrderBook:
    """All of it, for one run."""

    standings: dict[str, Standing] = field(default_factory=dict)
    orders: dict[str, BookedOrder] = field(default_factory=dict)
    results: dict[str, OrderResult] = field(default_factory=dict)
    terms: dict[str, WindowTerms] = field(default_factory=dict)
    windows: dict[str, ComputeWindowRow] = field(default_factory=dict)
    versions: dict[str, int] = field(default_factory=dict)
    seen: dict[str, str] = field(default_factory=dict)
    callbacks_until: datetime | None = None

    def standing(self, key: WindowKey, before: datetime) -> Standing | None:
        """Give what became of a window before a moment."""
        found = self.standings.get(key_text(key))
        return found if found is not None and found.since < before else None

    def settle(
        self, key: WindowKey, state: WindowState, reason: str | None, since: datetime
    ) -> None:
        """Note what became of a window."""
        self.standings[key_text(key)] = Standing(state, reason, since, self.catalogue_of(key))

    def next_version(self, key: WindowKey, moment: datetime) -> int:
        """Give the version of a window's next row: after the catalogue's and after any before."""
        name = key_text(key)
        version = max(window_version(moment), self.versions.get(name, 0)) + 1
        self.versions[name] = version
        return version

    def booked_for(self, key: WindowKey) -> list[BookedOrder]:
        """Give the orders that hold a window now."""
        return [one for one in self.orders.values() if one.order.key == key and not one.settled]

    def catalogue_of(self, key: WindowKey) -> Catalogue | None:
        """Give the terms that the newest catalogue names for a window."""
        row = self.windows.get(key_text(key))
        return catalogue(row, self.terms.get(key_text(key))) if row is not None else None

    def take_catalogue(
        self, rows: Iterable[ComputeWindowRow], terms: Iterable[WindowTerms]
    ) -> None:
        """Replace what the newest catalogue says of the windows it names."""
        named = {key_text(_key(row)): row for row in rows}
        self.windows.update(named)
        for key in named:
            self.terms.pop(key, None)
        self.terms.update({key_text(term.key): term for term in terms})

    def terms_of(self, key: WindowKey) -> WindowTerms | None:
        """Give the terms on which a window can be ordered; None when it is not on offer."""
        return self.terms.get(key_text(key))

    def booked_before(self, moment: datetime) -> list[BookedOrder]:
        """Give the orders booked before a moment and not settled, in the order of their ids."""
        found = [
            booked
            for booked in self.orders.values()
            if booked.order.decided_at < moment and not booked.settled
        ]
        return sorted(found, key=lambda booked: booked.order_id)

    def first_seen(self, name: str, digest: str) -> bool | None:
        """Note a message; True when new, None when known, False when known with other content."""
        held = self.seen.get(name)
        if held is None:
            self.seen[name] = digest
            if len(self.seen) > MOST_SEEN:
                del self.seen[next(iter(self.seen))]
            return True
        return None if held == digest else False

    def forget(self, now: datetime) -> None:
        """Drop windows that are long over, so that a live run's memory stays bounded."""
        over = {key for key, row in self.windows.items() if row.ends_at + KEPT < now}
        for held in (self.standings, self.terms, self.windows, self.versions):
            for key in over & held.keys():
                del held[key]
        ended = [name for name, one in self.orders.items() if one.order.ends_at + KEPT < now]
        for name in ended:
            del self.orders[name]
        gone = [name for name, one in self.results.items() if one.order.ends_at + KEPT < now]
        for name in gone:
            del self.results[name]

    def take_facts(self, facts: Iterable[WindowFact], epoch: datetime) -> None:
        """Take over what storage knows of windows, where we know nothing ourselves."""
        for fact in facts:
            key = key_text((fact.bpp_id, fact.item_id, fact.starts_at))
            state = WindowState(fact.state)
            if key not in self.standings and state in {
                WindowState.BOOKED,
                WindowState.REFUSED,
                WindowState.CHANGED,
            }:
                slot = fact.slot_id
                terms = (
                    fact.capacity_kw,
                    fact.ends_at.isoformat(),
                    slot,
                    fact.price_per_kwh,
                    fact.currency,
                )
                self.standings[key] = Standing(state, None, epoch, terms)

    def copied(self) -> OrderBook:
        """Give a copy; what it holds is frozen and shared."""
        copy = replace(self)
        for one in fields(self):
            value = getattr(self, one.name)
            if isinstance(value, dict):
                setattr(copy, one.name, dict(value))
        return copy

    def export(self) -> dict[str, Any]:
        """Give it as plain JSON values."""
        plain: dict[str, Any] = _ADAPTER.dump_python(self, mode="json")
        return plain

    @classmethod
    def restored(cls, extra: Mapping[str, Any]) -> OrderBook:
        """Take back what ``export`` gave; nothing gives an empty book."""
        return _ADAPTER.validate_python(dict(extra)) if extra else cls()


_ADAPTER = TypeAdapter(OrderBook)


def key_text(key: WindowKey) -> str:
    """Give a window's key as one text, for JSON."""
    bpp_id, item_id, starts_at = key
    return f"{bpp_id}|{item_id}|{int(starts_at.timestamp())}"


def _key(row: ComputeWindowRow) -> WindowKey:
    return (row.bpp_id, row.item_id, row.starts_at)


def catalogue(row: ComputeWindowRow, terms: WindowTerms | None) -> Catalogue:
    """Give the terms that tell one offer from the next."""
    return (
        row.capacity_kw,
        row.ends_at.isoformat(),
        row.slot_id,
        terms.price_per_kwh if terms is not None else None,
        terms.currency if terms is not None else None,
    )
