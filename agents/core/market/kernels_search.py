"""Finding the cheapest place of one workload at prices that depend on present loads.

Price of a cell for power p, with ``x`` the load above capacity without the workload's own:

    soft: value + max(0, mu + rho * (x + p / 2)) + k * clip((x + p) / p, 0, 1)
    hard: value + mu where x + p <= 0, else unusable

``value`` is the grid's, or a window's offer where one has room for p. All price tables are in
Q units; prices are cut to whole units before they are added.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from agents.core.market.jit import kernel
from agents.core.market.kernels_respond import pick_smallest, price_halves, smallest_sum
from agents.core.market.units import NEVER, UNUSABLE, Floats, Ints

#: A move must be better by this price sum (1e-7 GBP/kWh).
LEAST_GAIN = 430


class Supplies(NamedTuple):
    """Windows as the kernels see them; V slots, one a window and half hour."""

    area: Ints
    """[S] area of each site."""
    ptr: Ints
    """[A * T + 1] first slot of an area and half hour."""
    period: Ints
    """[V] half hour."""
    value: Ints
    """[V] true value of the slot's energy, rising within a half hour."""


class Plan(NamedTuple):
    """Where a shard's workloads stand in each of B starts; changed in place."""

    site: Ints
    """[B, n], REFUSED without a place."""
    start: Ints
    """[B, n] first period."""
    periods: Ints
    """[B, I] periods of interruptible work."""
    supply: Ints
    """[B, Z] slot of each half hour, GRID from the grid."""
    protected: NDArray[np.uint8]
    """[B, n] never pushed out by a repair."""


class Prices(NamedTuple):
    """What a step charges; tables are [B, S, T] unless said."""

    grid: Ints
    """[S, T]"""
    capacity: Ints
    """[S, T]"""
    mu: Floats
    rho: Floats
    ramp: Floats
    """The k of the soft price."""
    least: float
    """Least part of k that a cell above capacity costs."""
    offer: Ints
    """[B, V] what a slot is offered at."""


@kernel
def quote_cells(
    power: int,
    hard: bool,
    excess: Floats,
    grid: Ints,
    capacity: Ints,
    mu: Floats,
    rho: Floats,
    ramp: Floats,
    least: float,
    out: Ints,
) -> None:
    """Write the grid-supplied price of consecutive half hours of one site into ``out``."""
    p = np.float64(power)
    if hard:
        for t in range(excess.shape[0]):
            price = grid[t] + np.int64(mu[t])
            out[t] = price if excess[t] + p <= 0.0 else NEVER
    else:
        half = 0.5 * p
        inverse = 1.0 / p
        for t in range(excess.shape[0]):
            soft = mu[t] + rho[t] * (excess[t] + half)
            soft = max(0.0, soft)
            over = (excess[t] + p) * inverse
            over = max(0.0, over)
            over = min(1.0, over)
            over = least + (1.0 - least) * over if over > 0.0 else 0.0
            price = grid[t] + np.int64(soft + ramp[t] * over)
            out[t] = price if capacity[t] >= power else NEVER


@kernel
def cheapest_run(
    quotes: Ints, width: int, duration: int, slope: int, sums: Ints
) -> tuple[int, int]:
    """Give the least sum of ``duration`` consecutive quotes plus slope times start, and the start.

    ``sums`` is scratch of at least ``width + 1``.
    """
    total = 0
    sums[0] = 0
    prices = quotes[:width]
    running = sums[1 : width + 1]
    for t in range(width):
        total += prices[t]
        running[t] = total
    low = sums[: width + 1 - duration]
    high = sums[duration : width + 1]
    least = 2 * NEVER
    for t in range(low.shape[0]):
        least = min(least, high[t] - low[t] + slope * t)
    for t in range(low.shape[0]):
        if high[t] - low[t] + slope * t == least:
            return least, t
    return least, 0


@kernel
def best_slot(power: int, grid: int, slots: Ints, offer: Ints, room: Ints) -> int:
    """Give the first of a cell's slots (rising offers) with room and an offer below the grid's.

    ``slots`` are the first slot and the one after the last. A lost window's offer is NEVER.
    """
    for v in range(slots[0], slots[1]):
        if offer[v] < grid and room[v] >= power:
            return v
    return -1


@kernel
def add_offers(
    power: int,
    first: int,
    slots: Ints,
    grid: Ints,
    period: Ints,
    offer: Ints,
    room: Ints,
    out: Ints,
) -> None:
    """Lower the quotes of half hours where a window is offered below the grid.

    Args:
        power: Watts that must fit.
        first: Half hour of ``out[0]`` and ``grid[0]``.
        slots: First slot of that half hour and the one after the last wanted.
        grid: Grid values from ``first`` on.
        period, offer, room: [V] of all slots.
        out: Quotes; changed.
    """
    taken = -1
    for v in range(slots[0], slots[1]):
        t = period[v] - first
        if t != taken and room[v] >= power and offer[v] < grid[t] and out[t] < UNUSABLE:
            out[t] += offer[v] - grid[t]
            taken = t


class Scratch(NamedTuple):
    """Working space of a search; [T] unless said."""

    quotes: Ints
    sums: Ints
    """[T + 1]"""
    values: Ints
    order: Ints
    picked: Ints
    """Places of the best interruptible choice, counted from its first usable half hour."""
    slots: Ints
    """[2]"""


@kernel
def make_scratch(horizon: int) -> Scratch:
    """Give working space for a horizon."""
    return Scratch(
        np.empty(horizon, np.int64),
        np.empty(horizon + 1, np.int64),
        np.empty(horizon, np.int64),
        np.empty(horizon, np.int64),
        np.empty(horizon, np.int64),
        np.empty(2, np.int64),
    )


@kernel
def find_place(
    power: int,
    duration: int,
    apart: bool,
    omega: int,
    first: int,
    end: int,
    release: int,
    sites: Ints,
    now: int,
    began: int,
    periods: Ints,
    supply: Ints,
    hard: bool,
    excess: Floats,
    room: Ints,
    grid: Ints,
    capacity: Ints,
    mu: Floats,
    rho: Floats,
    ramp: Floats,
    least: float,
    offer: Ints,
    area: Ints,
    ptr: Ints,
    slot_period: Ints,
    scratch: Scratch,
) -> tuple[int, int, int, int]:
    """Find the cheapest place of a workload whose own load is taken out.

    Args:
        power, duration, apart, omega, first, end, release: The workload.
        sites: Allowed sites.
        now: Site where it stands, negative without a place.
        began, periods, supply: Its first period, its periods if ``apart``, its slots.
        hard: Hard capacity instead of soft.
        excess, room: [S, T] load above capacity, [V] free power of slots.
        grid, capacity, mu, rho, ramp, offer: This start's prices.
        area, ptr, slot_period: The windows.
        scratch: Working space; ``picked`` holds the choice of interruptible work.

    Returns:
        Price sum where it stands (2 * NEVER without a place), the best price sum, its site
        (negative if none is better by LEAST_GAIN), its first period.
    """
    horizon = grid.shape[1]
    width = end - first
    windows = room.shape[0] > 0
    delay = omega * (first - release)
    quotes = scratch.quotes[:width]
    current = 2 * NEVER
    best = current
    best_site = -1
    best_start = 0
    limit = 0
    for j in range(-1, sites.shape[0]):
        if j < 0:
            s = now
            if s < 0:
                continue
        else:
            s = sites[j]
            if s == now:
                continue
        quote_cells(
            power,
            hard,
            excess[s, first:end],
            grid[s, first:end],
            capacity[s, first:end],
            mu[s, first:end],
            rho[s, first:end],
            ramp[s, first:end],
            least,
            quotes,
        )
        if s == now:
            # Where it stands is priced before offers: it keeps its own supplies.
            current = 0
            for h in range(duration):
                t = periods[h] - first if apart else began - first + h
                current += quotes[t] + omega * t
                if windows and supply[h] >= 0:
                    current += offer[supply[h]] - grid[s, first + t]
            current += delay * duration
            best = current - LEAST_GAIN
            if current < UNUSABLE:
                limit = current // duration
        if windows:
            slots = scratch.slots
            slots[0] = ptr[area[s] * horizon + first]
            slots[1] = ptr[area[s] * horizon + end]
            if slots[1] > slots[0]:
                add_offers(
                    power, first, slots, grid[s, first:end], slot_period, offer, room, quotes
                )
        if apart:
            lower = price_halves(quotes, delay, omega, limit, scratch.values)
            if duration * limit + lower >= best:
                continue
            total, cut = smallest_sum(scratch.values, width, duration, scratch.order)
            if total < best:
                best = total
                best_site = s
                limit = cut
                pick_smallest(scratch.values, width, duration, cut, scratch.picked)
        else:
            total, at = cheapest_run(quotes, width, duration, omega * duration, scratch.sums)
            total += omega * (duration * (duration - 1) // 2) + duration * delay
            if total < best:
                best = total
                best_site = s
                best_start = first + at
    if best >= UNUSABLE:
        best_site = -1
    if apart and best_site >= 0:
        best_start = first + scratch.picked[0]
    return current, best, best_site, best_start


@kernel
def quote_table(
    power: int,
    hard: bool,
    excess: Floats,
    grid: Ints,
    capacity: Ints,
    mu: Floats,
    rho: Floats,
    ramp: Floats,
    offer: Ints,
    room: Ints,
    area: Ints,
    ptr: Ints,
    slot_period: Ints,
    out: Ints,
) -> None:
    """Write the quotes of all cells [S, T] for one power into ``out``."""
    sites, horizon = grid.shape
    slots = np.empty(2, np.int64)
    for s in range(sites):
        quote_cells(
            power, hard, excess[s], grid[s], capacity[s], mu[s], rho[s], ramp[s], 0.0, out[s]
        )
        if room.shape[0] > 0:
            slots[0] = ptr[area[s] * horizon]
            slots[1] = ptr[(area[s] + 1) * horizon]
            add_offers(power, 0, slots, grid[s], slot_period, offer, room, out[s])


@kernel
def add_power(excess: Floats, power: float) -> None:
    """Add watts to consecutive cells."""
    for t in range(excess.shape[0]):
        excess[t] += power


@kernel
def add_power_at(excess: Floats, periods: Ints, power: float) -> None:
    """Add watts to single cells."""
    for j in range(periods.shape[0]):
        excess[periods[j]] += power


@kernel
def draw_slots(room: Ints, slots: Ints, power: int) -> None:
    """Take watts from the slots of a workload's half hours."""
    for j in range(slots.shape[0]):
        if slots[j] >= 0:
            room[slots[j]] -= power


@kernel
def any_overfull(excess: Floats) -> bool:
    """Tell whether a cell is above capacity."""
    for t in range(excess.shape[0]):
        if excess[t] > 0.0:
            return True
    return False


@kernel
def any_overfull_at(excess: Floats, periods: Ints) -> bool:
    """Tell whether one of these cells is above capacity."""
    for j in range(periods.shape[0]):
        if excess[periods[j]] > 0.0:
            return True
    return False


@kernel
def choose_slots(
    power: int,
    duration: int,
    apart: bool,
    site: int,
    start: int,
    periods: Ints,
    grid: Ints,
    area: Ints,
    ptr: Ints,
    offer: Ints,
    room: Ints,
    supply: Ints,
) -> None:
    """Choose the supply of each half hour of a place, as it was priced."""
    horizon = grid.shape[1]
    for h in range(duration):
        t = periods[h] if apart else start + h
        cell = area[site] * horizon + t
        supply[h] = best_slot(power, grid[site, t], ptr[cell : cell + 2], offer, room)
