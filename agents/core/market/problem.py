"""The public side of a negotiation: sites, half hours, grid prices, capacity and windows.

A cell is one site in one half hour. Its ``capacity_w`` limits all work there. Energy comes from
the grid at ``grid_q`` without a further limit, or from a Beckn window of the site's region and
half hour at the window's price while its capacity lasts.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np

from agents.core.market.units import (
    LEAST_SCALE,
    MAX_CAPACITY_W,
    MAX_PERIODS,
    MAX_PRICE,
    Bools,
    Floats,
    Ints,
    Q,
    price_to_q,
)
from schema.errors import InputError

#: UK government central carbon value for 2026, 2020 prices, in GBP/kgCO2e.
CARBON_VALUE_GBP_PER_KG = 0.264

_DEAREST = MAX_PRICE / Q
_TOO_DEAR = f"the value of energy in some cell is beyond {_DEAREST:g} GBP/kWh"

GRID = -1
"""Supply of a workload period that draws from the grid."""


@dataclass(frozen=True, slots=True)
class Window:
    """Limited cheap or clean energy of one region: half hours ``first`` to ``last`` (excluded).

    ``price_gbp_per_kwh`` and ``intensity_gco2_per_kwh`` are the window's own; its capacity holds
    in each half hour by itself.
    """

    window_id: str
    region_id: int
    first: int
    last: int
    price_gbp_per_kwh: float
    intensity_gco2_per_kwh: float
    capacity_kw: float


@dataclass(frozen=True, eq=False)
class Market:
    """Everything all parties know. Arrays are never changed after construction.

    Attributes:
        sites: Site names, unique; row order of every table.
        region_id: [S] region of each site, 1 to 14.
        grid_q: [S, T] value of grid energy in Q units of GBP/kWh; may be negative.
        capacity_w: [S, T] free power in whole watts.
        windows: The windows in use, in the caller's order.
        window_q: [W] value of a window's energy in Q units.
        window_w: [W] capacity of a window in whole watts.
        area: [S] index of the site's region among those present.
        slot_window, slot_area, slot_period: [V] one entry a window and half hour, ordered by
            area, half hour, price, window.
        slot_ptr: [A * T + 1] first slot of each area and half hour.
    """

    sites: tuple[str, ...]
    region_id: Ints
    grid_q: Ints
    capacity_w: Ints
    windows: tuple[Window, ...] = ()
    window_q: Ints = field(default_factory=lambda: np.zeros(0, np.int64))
    window_w: Ints = field(default_factory=lambda: np.zeros(0, np.int64))
    area: Ints = field(init=False)
    slot_window: Ints = field(init=False)
    slot_area: Ints = field(init=False)
    slot_period: Ints = field(init=False)
    slot_ptr: Ints = field(init=False)

    def __post_init__(self) -> None:
        _check(self)
        regions, area = np.unique(self.region_id, return_inverse=True)
        put = object.__setattr__
        put(self, "area", area.astype(np.int64))
        periods = self.periods
        known = {int(region): index for index, region in enumerate(regions)}
        slots = sorted(
            (known[window.region_id], period, int(self.window_q[index]), index)
            for index, window in enumerate(self.windows)
            if window.region_id in known
            for period in range(max(window.first, 0), min(window.last, periods))
        )
        table = np.array(slots, dtype=np.int64).reshape(-1, 4)
        put(self, "slot_area", table[:, 0].copy())
        put(self, "slot_period", table[:, 1].copy())
        put(self, "slot_window", table[:, 3].copy())
        cell = table[:, 0] * periods + table[:, 1]
        edges = np.arange(len(regions) * periods + 1)
        put(self, "slot_ptr", np.searchsorted(cell, edges).astype(np.int64))

    @property
    def periods(self) -> int:
        """Half hours of the horizon."""
        return int(self.grid_q.shape[1])

    @property
    def site_count(self) -> int:
        """Number of sites."""
        return int(self.grid_q.shape[0])

    @property
    def area_count(self) -> int:
        """Number of regions that have a site."""
        return int(self.area.max()) + 1

    @property
    def slot_q(self) -> Ints:
        """[V] value of each slot's energy."""
        return self.window_q[self.slot_window]

    @property
    def slot_w(self) -> Ints:
        """[V] capacity of each slot."""
        return self.window_w[self.slot_window]

    @property
    def scale_q(self) -> float:
        """Mean absolute value of grid energy, at least LEAST_SCALE: the measure of price steps."""
        return max(float(np.abs(self.grid_q).mean()), float(LEAST_SCALE))

    def area_grid_q(self) -> Ints:
        """[A, T] grid value by region; only asked for where windows make it unique."""
        first = np.unique(self.area, return_index=True)[1]
        return self.grid_q[first]


def build_market(
    sites: Sequence[str],
    region_id: Sequence[int],
    *,
    price_gbp_per_mwh: Floats,
    intensity_gco2_per_kwh: Floats,
    capacity_kw: Floats,
    windows: Sequence[Window] = (),
    carbon_value_gbp_per_kg: float = CARBON_VALUE_GBP_PER_KG,
    price_weight: float = 1.0,
) -> Market:
    """Value energy in one currency and quantise everything.

    Value of a cell = price_weight * price / 1000 + carbon value * intensity / 1000, GBP/kWh. The
    three tables are [S, T]. A carbon value of 0 asks for the cheapest, a price weight of 0 for
    the cleanest plan. Capacity is rounded down to whole watts. A window dearer than can be counted
    is as good as none and counts as the dearest.

    Raises:
        InputError: A figure is not finite or cannot be counted, a capacity is negative, shapes
            differ.
    """
    for name, table in (
        ("price_gbp_per_mwh", price_gbp_per_mwh),
        ("intensity_gco2_per_kwh", intensity_gco2_per_kwh),
        ("capacity_kw", capacity_kw),
    ):
        if not np.all(np.isfinite(table)):
            site, period = np.argwhere(~np.isfinite(table))[0]
            msg = f"{name} of site {sites[site]} in period {period} is not a finite number"
            raise InputError(msg, field=name)
    per_gram = carbon_value_gbp_per_kg / 1000.0
    grid = price_weight * np.asarray(price_gbp_per_mwh) / 1000.0 + per_gram * np.asarray(
        intensity_gco2_per_kwh
    )
    if grid.size and float(np.abs(grid).max()) > _DEAREST:
        raise InputError(_TOO_DEAR, field="grid_q")
    value = [
        price_weight * window.price_gbp_per_kwh + per_gram * window.intensity_gco2_per_kwh
        for window in windows
    ]
    _check_windows(windows, value)
    return Market(
        sites=tuple(sites),
        region_id=np.asarray(region_id, dtype=np.int64),
        grid_q=price_to_q(grid),
        capacity_w=_whole_watts(capacity_kw),
        windows=tuple(windows),
        window_q=price_to_q(np.minimum(np.array(value, dtype=np.float64), _DEAREST)),
        window_w=_whole_watts([window.capacity_kw for window in windows]),
    )


def usable_cells(market: Market, power_w: int) -> Bools:
    """[S, T] cells whose whole capacity can hold that power."""
    return market.capacity_w >= power_w


def _whole_watts(power_kw: Floats | Sequence[float]) -> Ints:
    watts = np.floor(np.asarray(power_kw, dtype=np.float64) * 1000.0 + 1e-6)
    return np.minimum(watts, MAX_CAPACITY_W).astype(np.int64)


def _check_windows(windows: Sequence[Window], value: Sequence[float]) -> None:
    for window, worth in zip(windows, value, strict=True):
        if not (np.isfinite(worth) and worth >= -_DEAREST):
            msg = (
                f"window {window.window_id} offers energy worth {worth} GBP/kWh; a number of at "
                f"least {-_DEAREST:g} is allowed"
            )
            raise InputError(msg, field="windows")
        if not (np.isfinite(window.capacity_kw) and window.capacity_kw >= 0.0):
            msg = (
                f"window {window.window_id} has a capacity of {window.capacity_kw} kW; a finite "
                "number of at least 0 is allowed"
            )
            raise InputError(msg, field="windows")


def _check(market: Market) -> None:
    sites, periods = market.grid_q.shape
    if len(market.sites) != sites or len(set(market.sites)) != sites:
        msg = f"a market of {sites} rows needs as many different site names, got {market.sites}"
        raise InputError(msg, field="sites")
    if market.capacity_w.shape != (sites, periods) or market.region_id.shape != (sites,):
        msg = (
            f"tables differ in shape: value {market.grid_q.shape}, capacity "
            f"{market.capacity_w.shape}, region {market.region_id.shape}"
        )
        raise InputError(msg, field="capacity_w")
    if not 1 <= periods <= MAX_PERIODS:
        msg = f"the horizon has {periods} half hours; 1 to {MAX_PERIODS} are allowed"
        raise InputError(msg, field="periods")
    if int(market.capacity_w.min()) < 0:
        msg = f"capacity {int(market.capacity_w.min())} W is negative; at least 0 is allowed"
        raise InputError(msg, field="capacity_w")
    if int(np.abs(market.grid_q).max()) > MAX_PRICE:
        raise InputError(_TOO_DEAR, field="grid_q")
    if market.windows:
        for region in np.unique(market.region_id):
            rows = market.grid_q[market.region_id == region]
            if np.any(rows != rows[0]):
                msg = f"sites of region {int(region)} differ in grid value; windows need one value"
                raise InputError(msg, field="grid_q")
