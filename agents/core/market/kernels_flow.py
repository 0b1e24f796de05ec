"""Soft sweeps of large fleets: one standing table of quotes that every move brings up to date.

Where a workload is small against the cells, its own power hardly changes its quotes. So all are
quoted for one typical power, and the running sums of the quotes are kept per site: finding a
place then costs two reads a start instead of a price. Only the site where a workload stands is
quoted anew without its own load.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from agents.core.market.fleet import Rows
from agents.core.market.jit import kernel
from agents.core.market.kernels_respond import (
    pick_smallest,
    price_halves,
    smallest_sum,
)
from agents.core.market.kernels_search import (
    LEAST_GAIN,
    Plan,
    Prices,
    Supplies,
    add_offers,
    add_power,
    add_power_at,
    any_overfull,
    any_overfull_at,
    choose_slots,
    draw_slots,
    make_scratch,
    quote_cells,
    quote_table,
)
from agents.core.market.order import shuffled
from agents.core.market.units import NANO_PER_QW, NEVER, UNUSABLE, Bools, Floats, Ints

VISIT_OVERFULL = 1


@kernel
def sum_row(quotes: Ints, sums: Ints) -> None:
    """Bring a site's running sums up to date; ``sums[j + 1]`` follows ``sums[j]``."""
    total = sums[0]
    running = sums[1:]
    for t in range(quotes.shape[0]):
        total += quotes[t]
        running[t] = total


@kernel
def least_run(low: Ints, high: Ints, slope: int) -> int:
    """Give the least of ``high[j] - low[j] + slope * j``."""
    least = 2 * NEVER
    for t in range(low.shape[0]):
        least = min(least, high[t] - low[t] + slope * t)
    return least


@kernel
def count_overfull(excess: Floats, counts: Ints) -> None:
    """Write running counts of overfull cells by site, [S, T + 1]."""
    for s in range(excess.shape[0]):
        total = 0
        for t in range(excess.shape[1]):
            if excess[s, t] > 0.0:
                total += 1
            counts[s, t + 1] = total


@kernel
def members_of(
    low: int,
    high: int,
    rows: Rows,
    plan: Plan,
    b: int,
    chosen: NDArray[np.uint8],
    only_overfull: bool,
    counts: Ints,
    out: Ints,
) -> int:
    """Write the rows of one group that take part into ``out``; gives how many."""
    found = 0
    for i in range(low, high):
        if chosen.shape[0] > 0 and chosen[b, i] == 0:
            continue
        if only_overfull:
            site = plan.site[b, i]
            if site < 0 or plan.protected[b, i] != 0:
                continue
            first = plan.start[b, i]
            end = first + rows.duration[i]
            if rows.interruptible[i] != 0:
                end = plan.periods[b, rows.period_ptr[i + 1] - 1] + 1
            if counts[site, end] == counts[site, first]:
                continue
        out[found] = i
        found += 1
    return found


@kernel
def flow_groups(
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
    visit: int,
    typical: int,
    moved: Ints,
) -> None:
    """Let workloads move one by one at soft prices, group after group, in every active start.

    Arguments as in ``kernels_settle.sweep_groups``; ``typical`` is the power all are quoted for.
    """
    horizon = all_excess.shape[2]
    sites = all_excess.shape[1]
    n = rows.key.shape[0]
    scratch = make_scratch(horizon)
    own = np.empty(horizon, np.int64)
    members = np.empty(n, np.int64)
    order = np.empty(n, np.int64)
    quotes = np.empty((sites, horizon), np.int64)
    sums = np.zeros((sites, horizon + 1), np.int64)
    counts = np.zeros((sites, horizon + 1), np.int64)
    slots = np.empty(2, np.int64)
    windows = all_room.shape[1] > 0
    grid = prices.grid
    capacity = prices.capacity
    area = supplies.area
    ptr = supplies.ptr
    slot_period = supplies.period
    only_overfull = visit == VISIT_OVERFULL
    for b in range(active.shape[0]):
        if not active[b]:
            continue
        excess = all_excess[b]
        room = all_room[b]
        mu = prices.mu[b]
        rho = prices.rho[b]
        ramp = prices.ramp[b]
        offer = prices.offer[b]
        quote_table(
            typical,
            False,
            excess,
            grid,
            capacity,
            mu,
            rho,
            ramp,
            offer,
            room,
            area,
            ptr,
            slot_period,
            quotes,
        )
        for s in range(sites):
            sum_row(quotes[s], sums[s])
        for g in range(place.shape[0] - 1):
            if only_overfull:
                count_overfull(excess, counts)
            count = members_of(
                place[g], place[g + 1], rows, plan, b, chosen, only_overfull, counts, members
            )
            if count == 0:
                continue
            shuffled(rows.key, salts[b], members, count, order)
            for turn in range(count):
                i = order[turn]
                now = plan.site[b, i]
                power = rows.power[i]
                watts = np.float64(power)
                d = rows.duration[i]
                apart = rows.interruptible[i] != 0
                began = plan.start[b, i]
                periods = plan.periods[b, rows.period_ptr[i] : rows.period_ptr[i + 1]]
                supply = plan.supply[b, rows.supply_ptr[i] : rows.supply_ptr[i + 1]]
                if only_overfull:
                    if apart:
                        if not any_overfull_at(excess[now], periods):
                            continue
                    elif not any_overfull(excess[now, began : began + d]):
                        continue
                first = rows.earliest[i]
                end = rows.last[i] + d - 1
                width = end - first
                omega = rows.omega[i]
                delay = omega * (first - rows.release[i])
                slope = omega * d
                base = omega * (d * (d - 1) // 2) + d * delay
                if now >= 0:
                    if apart:
                        add_power_at(excess[now], periods, -watts)
                    else:
                        add_power(excess[now, began : began + d], -watts)
                    if windows:
                        draw_slots(room, supply, -power)
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
                        row = own[:width]
                        quote_cells(
                            typical,
                            False,
                            excess[s, first:end],
                            grid[s, first:end],
                            capacity[s, first:end],
                            mu[s, first:end],
                            rho[s, first:end],
                            ramp[s, first:end],
                            0.0,
                            row,
                        )
                        current = 0
                        for h in range(d):
                            t = periods[h] - first if apart else began - first + h
                            current += row[t] + omega * t
                            if windows and supply[h] >= 0:
                                current += offer[supply[h]] - grid[s, first + t]
                        current += delay * d
                        best = current - LEAST_GAIN
                        if current < UNUSABLE:
                            limit = current // d
                        if windows:
                            slots[0] = ptr[area[s] * horizon + first]
                            slots[1] = ptr[area[s] * horizon + end]
                            if slots[1] > slots[0]:
                                add_offers(
                                    power,
                                    first,
                                    slots,
                                    grid[s, first:end],
                                    slot_period,
                                    offer,
                                    room,
                                    row,
                                )
                        if not apart:
                            scratch.sums[0] = 0
                            sum_row(row, scratch.sums[: width + 1])
                            low = scratch.sums[: width + 1 - d]
                            high = scratch.sums[d : width + 1]
                    else:
                        s = rows.mask_site[j]
                        if s == now:
                            continue
                        row = quotes[s, first:end]
                        low = sums[s, first : end + 1 - d]
                        high = sums[s, first + d : end + 1]
                    if apart:
                        lower = price_halves(row, delay, omega, limit, scratch.values)
                        if d * limit + lower >= best:
                            continue
                        total, cut = smallest_sum(scratch.values, width, d, scratch.order)
                        if total < best:
                            best = total
                            best_site = s
                            limit = cut
                            pick_smallest(scratch.values, width, d, cut, scratch.picked)
                    else:
                        total = least_run(low, high, slope) + base
                        if total < best:
                            best = total
                            best_site = s
                            for t in range(low.shape[0]):
                                if high[t] - low[t] + slope * t + base == total:
                                    best_start = first + t
                                    break
                if best >= UNUSABLE:
                    best_site = -1
                if outside[b] and rows.accepted[i] == 0:
                    standing = current if best_site < 0 else best
                    if np.float64(standing) * watts * NANO_PER_QW > np.float64(rows.refusal[i]):
                        best_site = -2
                if best_site == -1:
                    if now >= 0:
                        if apart:
                            add_power_at(excess[now], periods, watts)
                        else:
                            add_power(excess[now, began : began + d], watts)
                        if windows:
                            draw_slots(room, supply, power)
                    continue
                if now >= 0 or best_site >= 0:
                    moved[b] += 1
                from_t = horizon
                to_t = 0
                if now >= 0:
                    from_t = periods[0] if apart else began
                    to_t = periods[d - 1] + 1 if apart else began + d
                    requote(
                        typical,
                        now,
                        from_t,
                        to_t,
                        excess,
                        room,
                        grid,
                        capacity,
                        mu,
                        rho,
                        ramp,
                        offer,
                        area,
                        ptr,
                        slot_period,
                        slots,
                        windows,
                        quotes,
                        sums,
                    )
                if best_site < 0:
                    plan.site[b, i] = -1
                    continue
                plan.site[b, i] = best_site
                if apart:
                    for h in range(d):
                        periods[h] = first + scratch.picked[h]
                    best_start = periods[0]
                    add_power_at(excess[best_site], periods, watts)
                    to_t = periods[d - 1] + 1
                else:
                    add_power(excess[best_site, best_start : best_start + d], watts)
                    to_t = best_start + d
                plan.start[b, i] = best_start
                if windows:
                    choose_slots(
                        power,
                        d,
                        apart,
                        best_site,
                        best_start,
                        periods,
                        grid,
                        area,
                        ptr,
                        offer,
                        room,
                        supply,
                    )
                    draw_slots(room, supply, power)
                requote(
                    typical,
                    best_site,
                    best_start,
                    to_t,
                    excess,
                    room,
                    grid,
                    capacity,
                    mu,
                    rho,
                    ramp,
                    offer,
                    area,
                    ptr,
                    slot_period,
                    slots,
                    windows,
                    quotes,
                    sums,
                )


@kernel
def requote(
    power: int,
    site: int,
    first: int,
    end: int,
    excess: Floats,
    room: Ints,
    grid: Ints,
    capacity: Ints,
    mu: Floats,
    rho: Floats,
    ramp: Floats,
    offer: Ints,
    area: Ints,
    ptr: Ints,
    slot_period: Ints,
    slots: Ints,
    windows: bool,
    quotes: Ints,
    sums: Ints,
) -> None:
    """Bring the quotes of one site's half hours up to date, and the sums from there on.

    Sites of one region share its windows: where there are any, all of these are quoted anew.
    """
    horizon = grid.shape[1]
    shared = False
    if windows:
        slots[0] = ptr[area[site] * horizon + first]
        slots[1] = ptr[area[site] * horizon + end]
        shared = slots[1] > slots[0]
    for s in range(grid.shape[0]):
        if s != site and not (shared and area[s] == area[site]):
            continue
        quote_cells(
            power,
            False,
            excess[s, first:end],
            grid[s, first:end],
            capacity[s, first:end],
            mu[s, first:end],
            rho[s, first:end],
            ramp[s, first:end],
            0.0,
            quotes[s, first:end],
        )
        if shared:
            add_offers(
                power,
                first,
                slots,
                grid[s, first:end],
                slot_period,
                offer,
                room,
                quotes[s, first:end],
            )
        sum_row(quotes[s, first:], sums[s, first:])
