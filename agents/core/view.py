"""The grid as the manager sees it at one tick, and the market made of it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime

import numpy as np
from numpy.typing import NDArray

from agents.core.market.problem import Market, Window, build_market
from agents.core.market.units import Floats, Ints
from schema.periods import half_hour_number
from storage.grid_prices import QualityCode
from storage.grid_state import GridState

SYNTHETIC = int(QualityCode.SYNTHETIC)


def window_id(bpp_id: str, item_id: str, starts_at: datetime) -> str:
    """Name a window within a run: its natural key as the log writes it."""
    return f"{bpp_id}|{item_id}|{starts_at.strftime('%Y-%m-%dT%H:%MZ')}"


def site_name(organisation: str, asset: str) -> str:
    """Name a site within a run."""
    return f"{organisation}/{asset}"


@dataclass(frozen=True, slots=True)
class Site:
    """A compute asset of an organisation, with its free power by half hour."""

    organisation: str
    asset: str
    region_id: int
    first: int
    """Half-hour number of ``capacity_kw[0]``; before it and after the last there is none."""
    capacity_kw: Floats
    pue: float = 1.0
    lasting: bool = False
    """Whether the last of ``capacity_kw`` holds for all time after it."""

    @property
    def name(self) -> str:
        """Name within a run."""
        return site_name(self.organisation, self.asset)


@dataclass(frozen=True, slots=True)
class WindowOffer:
    """A Beckn window as last heard of; ``price_per_kwh`` is in ``currency``."""

    bpp_id: str
    item_id: str
    starts_at: datetime
    ends_at: datetime
    region_id: int | None
    capacity_kw: float
    intensity_gco2_per_kwh: float | None
    price_per_kwh: float | None
    currency: str | None
    state: str

    @property
    def window_id(self) -> str:
        """Name within a run."""
        return window_id(self.bpp_id, self.item_id, self.starts_at)

    @property
    def first(self) -> int:
        """First half hour that lies wholly inside."""
        number = half_hour_number(self.starts_at)
        return number if self.starts_at.timestamp() == number * 1800 else number + 1

    @property
    def end(self) -> int:
        """First half hour that no longer lies wholly inside."""
        return half_hour_number(self.ends_at)

    @property
    def capacity_w(self) -> int:
        """Whole watts on offer, to all our orders together."""
        return int(self.capacity_kw * 1000.0 + 1e-6)

    def unusable(self) -> str | None:
        """Say why the market leaves it out; None if it does not."""
        if self.region_id is None:
            return "its zone lies in no known distribution area"
        if self.price_per_kwh is None or self.currency is None:
            return "it has no offer"
        if self.currency != "GBP":
            return f"its price is in {self.currency}"
        if self.intensity_gco2_per_kwh is None:
            return "its carbon intensity is not stated"
        if self.state in {"refused", "unusable"}:
            return f"it is {self.state}"
        if self.end <= self.first:
            return "no half hour lies wholly inside it"
        return None


@dataclass(frozen=True, slots=True, eq=False)
class GridView:
    """What is known from half hour ``origin`` on; regions are rows 0 to 13.

    Attributes:
        origin: Half-hour number of column 0.
        intensity: [14, periods] gCO2/kWh, NaN where unknown.
        intensity_quality: [14, periods] codes; ``SYNTHETIC`` is made up.
        price: [periods] GBP/MWh, NaN where unknown.
        price_quality: [periods] codes.
        windows: Beckn windows, usable or not.
        version: Rises with every change of a fact.
    """

    origin: int
    intensity: Floats
    intensity_quality: NDArray[np.uint8]
    price: Floats
    price_quality: NDArray[np.uint8]
    windows: tuple[WindowOffer, ...]
    version: int

    @property
    def periods(self) -> int:
        """Half hours known about."""
        return int(self.price.shape[0])

    def on_synthetic(self, periods: int) -> bool:
        """Say whether a figure of the first periods is made up."""
        return bool(
            np.any(self.intensity_quality[:, :periods] == SYNTHETIC)
            or np.any(self.price_quality[:periods] == SYNTHETIC)
        )

    def value(self, carbon_value_gbp_per_kg: float) -> Floats:
        """[14, periods] value of grid energy in GBP/kWh, carbon included; NaN where unknown."""
        per_gram = carbon_value_gbp_per_kg / 1000.0
        return np.asarray(self.price[None, :] / 1000.0 + per_gram * self.intensity)


def view_of(grid: GridState) -> GridView:
    """Take from a grid state what the manager needs."""
    return GridView(
        origin=half_hour_number(grid.origin),
        intensity=grid.intensity_gco2_per_kwh,
        intensity_quality=grid.intensity_quality,
        price=grid.price_gbp_per_mwh,
        price_quality=grid.price_quality,
        windows=tuple(
            WindowOffer(
                bpp_id=window.bpp_id,
                item_id=window.item_id,
                starts_at=window.starts_at,
                ends_at=window.ends_at,
                region_id=window.region_id,
                capacity_kw=window.capacity_kw,
                intensity_gco2_per_kwh=window.intensity_gco2_per_kwh,
                price_per_kwh=window.price_per_kwh,
                currency=window.currency,
                state=window.state,
            )
            for window in grid.windows
        ),
        version=grid.version,
    )


def capacity_kw(sites: Sequence[Site], origin: int, periods: int) -> Floats:
    """[S, periods] power of the sites from half hour ``origin`` on."""
    table = np.zeros((len(sites), periods))
    for row, site in enumerate(sites):
        first = site.first - origin
        low, high = max(first, 0), min(first + len(site.capacity_kw), periods)
        if low < high:
            table[row, low:high] = site.capacity_kw[low - first : high - first]
        if site.lasting:
            table[row, max(high, low) :] = site.capacity_kw[-1]
    return table


def market_of(
    view: GridView,
    sites: Sequence[Site],
    periods: int,
    *,
    committed_w: Ints,
    window_use_w: Mapping[str, Ints],
    carbon_value_gbp_per_kg: float,
) -> tuple[Market, Ints]:
    """Make the market of one conversation.

    A half hour whose intensity or price is unknown cannot be used: nobody could say what it
    costs. Windows keep what started work leaves of them, half hour by half hour.

    Returns:
        The market over the power that is free, and the sites' gross capacity in W.
    """
    rows = np.array([site.region_id for site in sites]) - 1
    intensity = view.intensity[rows, :periods]
    price = np.broadcast_to(view.price[:periods], intensity.shape)
    known = np.isfinite(intensity) & np.isfinite(price)
    gross_w = np.floor(capacity_kw(sites, view.origin, periods) * 1000.0 + 1e-6).astype(np.int64)
    free_w = np.where(known, np.maximum(gross_w - committed_w, 0), 0)
    market = build_market(
        [site.name for site in sites],
        [site.region_id for site in sites],
        price_gbp_per_mwh=np.where(known, price, 0.0),
        intensity_gco2_per_kwh=np.where(known, intensity, 0.0),
        capacity_kw=free_w / 1000.0,
        windows=_windows(view, periods, window_use_w),
        carbon_value_gbp_per_kg=carbon_value_gbp_per_kg,
    )
    return market, gross_w


def pieces(window: Window, room_w: Ints) -> list[Window]:
    """Cut a window into stretches of equal room; half hours without room are left out.

    Args:
        window: As offered.
        room_w: Watts free in each half hour of the horizon.
    """
    cut: list[Window] = []
    for period in range(window.first, window.last):
        room = int(room_w[period])
        last = cut[-1] if cut else None
        if room <= 0:
            continue
        if last is not None and last.last == period and round(last.capacity_kw * 1000) == room:
            cut[-1] = replace(last, last=period + 1)
        else:
            cut.append(replace(window, first=period, last=period + 1, capacity_kw=room / 1000.0))
    return cut


def _windows(view: GridView, periods: int, window_use_w: Mapping[str, Ints]) -> list[Window]:
    windows: list[Window] = []
    for offer in view.windows:
        first = max(offer.first - view.origin, 0)
        last = min(offer.end - view.origin, periods)
        if offer.unusable() is not None or first >= last:
            continue
        assert offer.region_id is not None
        whole = Window(
            window_id=offer.window_id,
            region_id=offer.region_id,
            first=first,
            last=last,
            price_gbp_per_kwh=float(offer.price_per_kwh or 0.0),
            intensity_gco2_per_kwh=float(offer.intensity_gco2_per_kwh or 0.0),
            capacity_kw=offer.capacity_kw,
        )
        used = window_use_w.get(offer.window_id, np.zeros(periods, np.int64))
        windows += pieces(whole, offer.capacity_w - used)
    return windows
