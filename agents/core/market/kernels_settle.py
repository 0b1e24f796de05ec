"""Settlement: workloads move one by one at prices that react to every move.

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

from agents.core.market.fleet import Rows
from agents.core.market.jit import kernel
from agents.core.market.kernels_respond import pick_smallest, price_halves, smallest_sum
from agents.core.market.order import shuffled
from agents.core.market.units import NANO_PER_QW, NEVER, Bools, Floats, Ints

VISIT_ALL = 0
VISIT_OVERFULL = 1
VISIT_MISSING = 2

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
            soft = soft if soft > 0.0 else 0.0
            over = (excess[t] + p) * inverse
            over = over if over > 0.0 else 0.0
            over = over if over < 1.0 else 1.0
            price = grid[t] + np.int64(soft + ramp[t] * over)
            out[t] = price if capacity[t] >= power else NEVER


@kernel
def cheapest_run(
    quotes: Ints, width: int, duration: int, slope: int, sums: Ints
) -> tuple[int, int]:
    """Give the least sum of ``duration`` consecutive quotes plus slope times start, and the start.

    ``sums`` is scratch of at least ``width + 1``.
    """
    total = np.int64(0)
    sums[0] = 0
    prices = quotes[:width]
    running = sums[1 : width + 1]
    for t in range(width):
        total += prices[t]
        running[t] = total
    low = sums[: width + 1 - duration]
    high = sums[duration : width + 1]
    least = np.int64(NEVER) * 2
    for t in range(low.shape[0]):
        least = min(least, high[t] - low[t] + slope * t)
    for t in range(low.shape[0]):
        if high[t] - low[t] + slope * t == least:
            return least, t
    return least, 0


@kernel
def best_slot(
    power: int, grid: int, slots: Ints, offer: Ints, room: Ints
) -> int:
    """Give the first of a cell's slots (rising offers) with room and an offer below the grid's.

    ``slots`` are the first slot and the one after the last.
    """
    for v in range(slots[0], slots[1]):
        if offer[v] >= grid:
            return -1
        if room[v] >= power:
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
        if t != taken and room[v] >= power and offer[v] < grid[t]:
            out[t] += offer[v] - grid[t]
            taken = t


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
def smallest_first(rows: Rows, order: Ints, scratch: Ints, count: int) -> None:
    """Sort by the power of two of power times duration, small first; equals keep their order.

    In a repair the small give way, so that the big, which hardly fit elsewhere, may stay.
    """
    starts = np.zeros(65, np.int64)
    for j in range(count):
        starts[size_class(rows.power[order[j]] * rows.duration[order[j]]) + 1] += 1
        scratch[j] = order[j]
    for level in range(64):
        starts[level + 1] += starts[level]
    for j in range(count):
        level = size_class(rows.power[scratch[j]] * rows.duration[scratch[j]])
        order[starts[level]] = scratch[j]
        starts[level] += 1


@kernel
def size_class(size: int) -> int:
    """Give the number of binary digits of a positive number."""
    level = 0
    while size > 0:
        size >>= 1
        level += 1
    return level


@kernel
def largest_missing(rows: Rows, site: Ints, members: Ints, count: int) -> int:
    """Keep the members without a place, largest power times duration first; gives how many."""
    missing = 0
    for j in range(count):
        if site[members[j]] < 0:
            members[missing] = members[j]
            missing += 1
    size = np.empty(missing, np.int64)
    for j in range(missing):
        size[j] = -rows.power[members[j]] * rows.duration[members[j]]
    ordered = members[:missing][np.argsort(size, kind="mergesort")]
    members[:missing] = ordered
    return missing


@kernel
def sweep_groups(
    rows: Rows,
    place: Ints,
    plan: Plan,
    all_excess: Floats,
    all_room: Ints,
    prices: Prices,
    supplies: Supplies,
    salts: NDArray[np.uint64],
    active: Bools,
    outside: Bools,
    chosen: NDArray[np.uint8],
    hard: bool,
    visit: int,
    moved: Ints,
) -> None:
    """Let workloads move one by one, group after group, in every active start.

    Args:
        rows: Sorted workloads of the shard.
        place: [G + 1] bounds of the groups in ``rows``.
        plan: Where they stand; changed.
        all_excess: [B, S, T] load minus capacity in watts; changed.
        all_room: [B, V] free power of each slot; changed.
        prices: What this step charges.
        supplies: The windows.
        salts: [B] salt of each start's order.
        active: [B] starts that take part.
        outside: [B] whether a workload may refuse when its priced cost passes its refusal value.
        chosen: [n] workloads that take part; empty for all.
        hard: Hard capacity instead of soft.
        visit: Who is asked: VISIT_ALL; VISIT_OVERFULL, unprotected work that touches an overfull
            cell; VISIT_MISSING, work without a place, largest first.
        moved: [B] number of moves, added to.
    """
    horizon = all_excess.shape[2]
    n = rows.key.shape[0]
    quotes = np.empty(horizon, np.int64)
    sums = np.empty(horizon + 1, np.int64)
    values = np.empty(horizon, np.int64)
    scratch = np.empty(horizon, np.int64)
    picked = np.empty(horizon, np.int64)
    members = np.empty(n, np.int64)
    order = np.empty(n, np.int64)
    range_of = np.empty(2, np.int64)
    windows = all_room.shape[1] > 0
    grid = prices.grid
    capacity = prices.capacity
    mask_site = rows.mask_site
    area = supplies.area
    ptr = supplies.ptr
    slot_period = supplies.period
    for b in range(active.shape[0]):
        if not active[b]:
            continue
        excess = all_excess[b]
        room = all_room[b]
        mu = prices.mu[b]
        rho = prices.rho[b]
        ramp = prices.ramp[b]
        offer = prices.offer[b]
        for g in range(place.shape[0] - 1):
            count = 0
            for i in range(place[g], place[g + 1]):
                if chosen.shape[0] == 0 or chosen[i] != 0:
                    members[count] = i
                    count += 1
            if visit == VISIT_MISSING:
                count = largest_missing(rows, plan.site[b], members, count)
            if count == 0:
                continue
            if visit == VISIT_MISSING:
                order[:count] = members[:count]
            else:
                shuffled(rows.key, salts[b], members, count, order)
                if visit == VISIT_OVERFULL:
                    smallest_first(rows, order, members, count)
            for turn in range(count):
                i = order[turn]
                now = plan.site[b, i]
                power = rows.power[i]
                watts = np.float64(power)
                d = rows.duration[i]
                first = rows.earliest[i]
                end = rows.last[i] + d - 1
                width = end - first
                apart = rows.interruptible[i] != 0
                began = plan.start[b, i]
                periods = plan.periods[b, rows.period_ptr[i] : rows.period_ptr[i + 1]]
                supply = plan.supply[b, rows.supply_ptr[i] : rows.supply_ptr[i + 1]]
                if visit == VISIT_OVERFULL:
                    if now < 0 or plan.protected[b, i] != 0:
                        continue
                    if apart:
                        if not any_overfull_at(excess[now], periods):
                            continue
                    elif not any_overfull(excess[now, began : began + d]):
                        continue
                omega = rows.omega[i]
                delay = omega * (first - rows.release[i])
                current = np.int64(NEVER) * 2
                if now >= 0:
                    if apart:
                        add_power_at(excess[now], periods, -watts)
                    else:
                        add_power(excess[now, began : began + d], -watts)
                    if windows:
                        draw_slots(room, supply, -power)
                best = current
                best_site = -1
                best_start = 0
                limit = np.int64(0)
                m = rows.mask[i]
                for j in range(rows.mask_ptr[m] - 1, rows.mask_ptr[m + 1]):
                    if j < rows.mask_ptr[m]:
                        s = now
                        if s < 0:
                            continue
                    else:
                        s = mask_site[j]
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
                        quotes[:width],
                    )
                    if s == now:
                        # Where it stands is priced before offers: it keeps its own supplies.
                        current = np.int64(0)
                        for h in range(d):
                            t = periods[h] - first if apart else began - first + h
                            current += quotes[t] + omega * t
                            if windows and supply[h] >= 0:
                                current += offer[supply[h]] - grid[s, first + t]
                        current += delay * d
                        best = current - LEAST_GAIN
                        if current < NEVER:
                            limit = current // d
                    if windows:
                        range_of[0] = ptr[area[s] * horizon + first]
                        range_of[1] = ptr[area[s] * horizon + end]
                        if range_of[1] > range_of[0]:
                            add_offers(
                                power,
                                first,
                                range_of,
                                grid[s, first:end],
                                slot_period,
                                offer,
                                room,
                                quotes,
                            )
                    if apart:
                        lower = price_halves(quotes[:width], delay, omega, limit, values)
                        if d * limit + lower >= best:
                            continue
                        total, cut = smallest_sum(values, width, d, scratch)
                        if total < best:
                            best = total
                            best_site = s
                            limit = cut
                            pick_smallest(values, width, d, cut, picked)
                    else:
                        total, at = cheapest_run(quotes, width, d, omega * d, sums)
                        total += omega * (d * (d - 1) // 2) + d * delay
                        if total < best:
                            best = total
                            best_site = s
                            best_start = first + at
                if best >= NEVER:
                    best_site = -1
                if rows.accepted[i] == 0 and (outside[b] or (hard and now < 0)):
                    standing = current if best_site < 0 else best
                    if np.float64(standing) * watts * NANO_PER_QW > np.float64(rows.refusal[i]):
                        plan.site[b, i] = -1
                        if now >= 0:
                            moved[b] += 1
                        continue
                if best_site < 0:
                    if now >= 0:
                        if apart:
                            add_power_at(excess[now], periods, watts)
                        else:
                            add_power(excess[now, began : began + d], watts)
                        if windows:
                            draw_slots(room, supply, power)
                    continue
                moved[b] += 1
                plan.site[b, i] = best_site
                if apart:
                    for h in range(d):
                        periods[h] = first + picked[h]
                    plan.start[b, i] = periods[0]
                    add_power_at(excess[best_site], periods, watts)
                else:
                    plan.start[b, i] = best_start
                    add_power(excess[best_site, best_start : best_start + d], watts)
                if windows:
                    for h in range(d):
                        t = periods[h] if apart else best_start + h
                        cell = area[best_site] * horizon + t
                        supply[h] = best_slot(
                            power, grid[best_site, t], ptr[cell : cell + 2], offer, room
                        )
                    draw_slots(room, supply, power)
