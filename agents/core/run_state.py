"""Everything the manager knows of a run, as one value.

It can be pickled whole: a checkpoint after a tick is this value, and a manager that starts again
from it decides as the one before would have.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace

import numpy as np

from agents.core.accounting import Account, Figures
from agents.core.booking import Bookings
from agents.core.ledger import Ledger, Segment
from agents.core.market.negotiate import WarmStart
from agents.core.market.units import Floats, Ints
from agents.core.view import GridView, Site, WindowOffer
from schema.errors import ConfigurationError

_DAY = 48


@dataclass(slots=True)
class Booked:
    """One segment of an award, with what it costs at the posted prices."""

    segment: Segment
    account: Account
    congestion_gbp: float


@dataclass(slots=True)
class Accounts:
    """A workload's baseline, and its award where it has one, on the forecasts of the time."""

    baseline: Account
    conversation_id: str = ""
    booked: tuple[Booked, ...] = ()
    baseline_rescored_gco2: float | None = None
    rescored_gco2: tuple[float | None, ...] = ()


@dataclass(frozen=True, slots=True, eq=False)
class Posted:
    """Prices of the last conversation, to begin the next one with."""

    origin: int
    mu_q: Ints
    supply_q: Ints

    def at(self, origin: int, periods: int) -> WarmStart:
        """Move to a later horizon; a half hour beyond the old one takes that of a day before."""
        by = origin - self.origin
        return WarmStart(_moved(self.mu_q, by, periods), _moved(self.supply_q, by, periods))


def _moved(table: Ints, by: int, periods: int) -> Ints:
    width = table.shape[1]
    column = np.arange(by, by + periods)
    late = column >= width
    column[late] -= -(-(column[late] - width + 1) // _DAY) * _DAY
    return np.asarray(table[:, np.clip(column, 0, width - 1)])


@dataclass
class RunState:
    """What the ticks of a run share and change."""

    sites: tuple[Site, ...]
    ledger: Ledger = field(default_factory=Ledger)
    bookings: Bookings = field(default_factory=Bookings)
    accounts: dict[int, Accounts] = field(default_factory=dict)
    offers: dict[str, WindowOffer] = field(default_factory=dict)
    """Every usable window ever seen, on its last terms."""
    closed_windows: set[str] = field(default_factory=set)
    """Windows whose provider refused or withdrew them; not offered again."""
    posted: Posted | None = None
    value: Floats | None = None
    """[14, periods] grid value at the last conversation, from ``value_origin`` on."""
    value_origin: int = 0
    last: int | None = None
    """Half hour of the last conversation."""
    conversations: int = 0
    opened: int = 0
    """First half hour that was still open at the last tick; nothing starts before it."""
    unheard: set[int] = field(default_factory=set)
    """Workloads that have not taken part in a conversation yet, for want of figures."""

    @property
    def site_region(self) -> Ints:
        """[S] region of each site."""
        return np.array([site.region_id for site in self.sites], np.int64)

    def take_sites(self, sites: Sequence[Site]) -> frozenset[int]:
        """Take up the sites as they are announced; gives the places of those with less power.

        A site that is known keeps its place, which contracts name. One that is not announced any
        more has no power.

        Raises:
            ConfigurationError: A site has moved to another distribution area.
        """
        now = {site.name: site for site in sites}
        weaker = []
        kept: list[Site] = []
        for place, site in enumerate(self.sites):
            after = now.pop(site.name, None)
            if after is None:
                after = replace(site, first=0, capacity_kw=np.zeros(1), lasting=True)
            if after.region_id != site.region_id:
                raise ConfigurationError(
                    f"site {site.name} was in region {site.region_id} and is now in region "
                    f"{after.region_id}; give the new place another name",
                    site=site.name,
                )
            if after.lasting and after.capacity_kw[-1] < site.capacity_kw[-1]:
                weaker.append(place)
            kept.append(after)
        self.sites = (*kept, *now.values())
        return frozenset(weaker)

    def see(self, view: GridView) -> None:
        """Take up the windows on offer."""
        for offer in view.windows:
            if offer.unusable() is None:
                self.offers[offer.window_id] = offer

    def forget(self, before: int) -> None:
        """Drop what has been over since before a half hour: workloads, windows and their orders."""
        for contract in self.ledger.forget(before):
            del self.accounts[contract.key]
            self.unheard.discard(contract.key)
        gone = {name for name, offer in self.offers.items() if offer.end < before}
        for name in gone:
            del self.offers[name]
        self.closed_windows -= gone
        self.bookings.drop(gone)

    def figures(self, view: GridView) -> Figures:
        """Give what accounting needs, windows no longer on offer included."""
        return Figures(
            origin=view.origin,
            intensity=view.intensity,
            price=view.price,
            window_intensity={
                key: float(offer.intensity_gco2_per_kwh or 0.0)
                for key, offer in self.offers.items()
            },
            window_price={
                key: float(offer.price_per_kwh or 0.0) for key, offer in self.offers.items()
            },
        )
