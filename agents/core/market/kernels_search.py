"""Finding the cheapest place of one workload at prices that depend on present loads.

Price of a cell for power p, with ``x`` the load above capacity without the workload's own:

    soft: value + max(0, mu + rho * (x + p / 2)) + k * clip((x + p) / p, 0, 1)
    hard: value + mu where x + p <= 0, else unusable

``value`` is the grid's, or a window's offer where one has room for p. All price tables are in
Q units; prices are cut to whole units before they are added.

Inner loops take whole tables and an unsigned place in them: an index that might be negative keeps
the compiler from vectorising, which costs a factor of ten.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from agents.core.market.fleet import Rows
from agents.core.market.jit import allocating, kernel
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
    site: int,
    first: int,
    width: int,
    excess: Floats,
    grid: Ints,
    capacity: Ints,
    mu: Floats,
    rho: Floats,
    ramp: Floats,
    least: float,
    out: Ints,
    row: int,
    at: int,
) -> None:
    """Write the grid-supplied prices of one site's half hours from ``first`` on.

    They go to ``out[row, at:]``; the tables are [S, T].
    """
    p = np.float64(power)
    s = np.uint64(site)
    r = np.uint64(row)
    if hard:
        for t in range(width):
            u = np.uint64(first) + np.uint64(t)
            price = grid[s, u] + np.int64(mu[s, u])
            out[r, np.uint64(at) + np.uint64(t)] = price if excess[s, u] + p <= 0.0 else NEVER
    else:
        half = 0.5 * p
        inverse = 1.0 / p
        for t in range(width):
            u = np.uint64(first) + np.uint64(t)
            x = excess[s, u]
            soft = mu[s, u] + rho[s, u] * (x + half)
            soft = max(0.0, soft)
            over = (x + p) * inverse
            over = max(0.0, over)
            over = min(1.0, over)
            over = least + (1.0 - least) * over if over > 0.0 else 0.0
            price = grid[s, u] + np.int64(soft + ramp[s, u] * over)
            out[r, np.uint64(at) + np.uint64(t)] = price if capacity[s, u] >= power else NEVER


@kernel
def cheapest_run(
    quotes: Ints, width: int, duration: int, slope: int, sums: Ints
) -> tuple[int, int]:
    """Give the least sum of ``duration`` consecutive quotes plus slope times start, and the start.

    ``quotes`` is [1, T], ``sums`` scratch of at least ``width + 1``.
    """
    total = 0
    sums[0] = 0
    one = np.uint64(1)
    for t in range(width):
        total += quotes[0, np.uint64(t)]
        sums[np.uint64(t) + one] = total
    d = np.uint64(duration)
    least = 2 * NEVER
    for t in range(width + 1 - duration):
        u = np.uint64(t)
        least = min(least, sums[u + d] - sums[u] + slope * t)
    for t in range(width + 1 - duration):
        u = np.uint64(t)
        if sums[u + d] - sums[u] + slope * t == least:
            return least, t
    return least, 0


@kernel
def best_slot(power: int, grid: int, low: int, high: int, offer: Ints, room: Ints) -> int:
    """Give the first of a cell's slots (rising offers) with room and an offer below the grid's.

    The slots are ``low`` up to, not including, ``high``. A lost window's offer is NEVER.
    """
    for v in range(low, high):
        if offer[v] < grid and room[v] >= power:
            return v
    return -1


@kernel
def add_offers(
    power: int,
    site: int,
    first: int,
    low: int,
    high: int,
    grid: Ints,
    period: Ints,
    offer: Ints,
    room: Ints,
    out: Ints,
    row: int,
    at: int,
) -> None:
    """Lower the quotes of half hours where a window is offered below the grid.

    Args:
        power: Watts that must fit.
        site, first: Site and half hour of ``out[row, at]``.
        low, high: First slot of that half hour and the one after the last wanted.
        grid: [S, T] grid values.
        period, offer, room: [V] of all slots.
        out: Quotes; changed.
        row, at: Where the quotes begin.
    """
    taken = -1
    for v in range(low, high):
        t = period[v]
        if t != taken and room[v] >= power and offer[v] < grid[site, t]:
            place = at + t - first
            if out[row, place] < UNUSABLE:
                out[row, place] += offer[v] - grid[site, t]
                taken = t


class Scratch(NamedTuple):
    """Working space of a search; [T] unless said."""

    quotes: Ints
    """[1, T]"""
    sums: Ints
    """[T + 1]"""
    values: Ints
    order: Ints
    picked: Ints
    """Places of the best interruptible choice, counted from its first usable half hour."""


@allocating
def make_scratch(horizon: int) -> Scratch:
    """Give working space for a horizon."""
    return Scratch(
        np.empty((1, horizon), np.int64),
        np.empty(horizon + 1, np.int64),
        np.empty(horizon, np.int64),
        np.empty(horizon, np.int64),
        np.empty(horizon, np.int64),
    )


@kernel
def find_place(
    i: int,
    rows: Rows,
    plan: Plan,
    b: int,
    now: int,
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
    supplies: Supplies,
    scratch: Scratch,
) -> tuple[int, int, int, int]:
    """Find the cheapest place of a workload whose own load is taken out.

    Args:
        i, rows: The workload.
        plan, b: Where it stands, in one start.
        now: Its site there; negative to leave its present place out.
        hard: Hard capacity instead of soft.
        excess, room: [S, T] load above capacity, [V] free power of slots.
        grid, capacity, mu, rho, ramp, least, offer: This start's prices.
        supplies: The windows.
        scratch: Working space; ``picked`` holds the choice of interruptible work.

    Returns:
        Price sum where it stands (2 * NEVER without a place), the best price sum, its site
        (negative if none is better by LEAST_GAIN), its first period.
    """
    horizon = grid.shape[1]
    power = rows.power[i]
    duration = rows.duration[i]
    apart = rows.interruptible[i] != 0
    omega = rows.omega[i]
    first = rows.earliest[i]
    end = rows.last[i] + duration - 1
    width = end - first
    windows = room.shape[0] > 0
    delay = omega * (first - rows.release[i])
    quotes = scratch.quotes
    current = 2 * NEVER
    best = current
    best_site = -1
    best_start = 0
    limit = 0
    m = rows.mask[i]
    for j in range(rows.mask_ptr[m] - 1, rows.mask_ptr[m + 1]):
        if j < rows.mask_ptr[m]:
            s = now
            if s < 0:
                continue
        else:
            s = rows.mask_site[j]
            if s == now:
                continue
        quote_cells(
            power,
            hard,
            s,
            first,
            width,
            excess,
            grid,
            capacity,
            mu,
            rho,
            ramp,
            least,
            quotes,
            0,
            0,
        )
        if s == now:
            # Where it stands is priced before offers: it keeps its own supplies.
            current = 0
            period_at = rows.period_ptr[i]
            supply_at = rows.supply_ptr[i]
            began = plan.start[b, i] - first
            for h in range(duration):
                t = plan.periods[b, period_at + h] - first if apart else began + h
                current += quotes[0, t] + omega * t
                if windows and plan.supply[b, supply_at + h] >= 0:
                    current += offer[plan.supply[b, supply_at + h]] - grid[s, first + t]
            current += delay * duration
            best = current - LEAST_GAIN
            if current < UNUSABLE:
                limit = current // duration
        if windows:
            low = supplies.ptr[supplies.area[s] * horizon + first]
            high = supplies.ptr[supplies.area[s] * horizon + end]
            if high > low:
                add_offers(
                    power, s, first, low, high, grid, supplies.period, offer, room, quotes, 0, 0
                )
        if apart:
            lower = price_halves(quotes, 0, 0, width, delay, omega, limit, scratch.values)
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
    supplies: Supplies,
    out: Ints,
) -> None:
    """Write the quotes of all cells [S, T] for one power into the first S rows of ``out``."""
    sites, horizon = grid.shape
    for s in range(sites):
        quote_cells(
            power, hard, s, 0, horizon, excess, grid, capacity, mu, rho, ramp, 0.0, out, s, 0
        )
        if room.shape[0] > 0:
            low = supplies.ptr[supplies.area[s] * horizon]
            high = supplies.ptr[(supplies.area[s] + 1) * horizon]
            add_offers(power, s, 0, low, high, grid, supplies.period, offer, room, out, s, 0)


@kernel
def shift(i: int, sign: int, rows: Rows, plan: Plan, b: int, excess: Floats, room: Ints) -> None:
    """Put a placed workload's load on its cells and slots (sign 1) or take it away (-1)."""
    power = rows.power[i] * sign
    watts = np.float64(power)
    s = np.uint64(plan.site[b, i])
    if rows.interruptible[i] != 0:
        for at in range(rows.period_ptr[i], rows.period_ptr[i + 1]):
            excess[s, np.uint64(plan.periods[b, np.uint64(at)])] += watts
    else:
        start = np.uint64(plan.start[b, i])
        for h in range(rows.duration[i]):
            excess[s, start + np.uint64(h)] += watts
    if room.shape[0] > 0:
        for at in range(rows.supply_ptr[i], rows.supply_ptr[i + 1]):
            slot = plan.supply[b, at]
            if slot >= 0:
                room[slot] -= power


@kernel
def in_overfull(i: int, rows: Rows, plan: Plan, b: int, excess: Floats) -> bool:
    """Tell whether a workload stands in a cell above capacity."""
    s = np.uint64(plan.site[b, i])
    if rows.interruptible[i] != 0:
        for at in range(rows.period_ptr[i], rows.period_ptr[i + 1]):
            if excess[s, np.uint64(plan.periods[b, np.uint64(at)])] > 0.0:
                return True
    else:
        start = np.uint64(plan.start[b, i])
        for h in range(rows.duration[i]):
            if excess[s, start + np.uint64(h)] > 0.0:
                return True
    return False


@kernel
def choose_slots(
    i: int,
    rows: Rows,
    plan: Plan,
    b: int,
    grid: Ints,
    supplies: Supplies,
    offer: Ints,
    room: Ints,
) -> None:
    """Choose the supply of each half hour of a workload's place, as it was priced."""
    horizon = grid.shape[1]
    site = plan.site[b, i]
    at = rows.period_ptr[i]
    supply_at = rows.supply_ptr[i]
    for h in range(rows.duration[i]):
        t = plan.periods[b, at + h] if rows.interruptible[i] != 0 else plan.start[b, i] + h
        cell = supplies.area[site] * horizon + t
        plan.supply[b, supply_at + h] = best_slot(
            rows.power[i], grid[site, t], supplies.ptr[cell], supplies.ptr[cell + 1], offer, room
        )
