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
from agents.core.market.jit import allocating, kernel
from agents.core.market.kernels_respond import (
    REFUSED,
    pick_smallest,
    price_halves,
    smallest_sum,
)
from agents.core.market.kernels_search import (
    LEAST_GAIN,
    Plan,
    Prices,
    Scratch,
    Supplies,
    add_offers,
    choose_slots,
    in_overfull,
    make_scratch,
    quote_cells,
    quote_table,
    shift,
)
from agents.core.market.kernels_settle import price_above
from agents.core.market.order import shuffled
from agents.core.market.units import NEVER, UNUSABLE, Bools, Floats, Ints

VISIT_OVERFULL = 1


@kernel
def sum_row(quotes: Ints, sums: Ints, row: int, first: int, width: int) -> None:
    """Bring a row's running sums up to date from ``first`` on; ``sums[row, first]`` stands."""
    r = np.uint64(row)
    total = sums[r, np.uint64(first)]
    for t in range(first, first + width):
        total += quotes[r, np.uint64(t)]
        sums[r, np.uint64(t) + np.uint64(1)] = total


@kernel
def least_run(sums: Ints, row: int, first: int, starts: int, duration: int, slope: int) -> int:
    """Give the least sum of a run from ``first + j`` on, plus ``slope * j``, for j < starts."""
    r = np.uint64(row)
    low = np.uint64(first)
    high = np.uint64(first + duration)
    least = 2 * NEVER
    for j in range(starts):
        u = np.uint64(j)
        least = min(least, sums[r, high + u] - sums[r, low + u] + slope * j)
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


@allocating
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
    members = np.empty(n, np.int64)
    order = np.empty(n, np.int64)
    quotes = np.empty((sites + 1, horizon), np.int64)
    sums = np.zeros((sites + 1, horizon + 1), np.int64)
    counts = np.zeros((sites, horizon + 1), np.int64)
    only_overfull = visit == VISIT_OVERFULL
    for b in range(active.shape[0]):
        if not active[b]:
            continue
        excess = all_excess[b]
        room = all_room[b]
        quote_table(
            typical,
            False,
            excess,
            prices.grid,
            prices.capacity,
            prices.mu[b],
            prices.rho[b],
            prices.ramp[b],
            prices.offer[b],
            room,
            supplies,
            quotes,
        )
        for s in range(sites):
            sum_row(quotes, sums, s, 0, horizon)
        for g in range(place.shape[0] - 1):
            if only_overfull:
                count_overfull(excess, counts)
            count = members_of(
                place[g], place[g + 1], rows, plan, b, chosen, only_overfull, counts, members
            )
            if count == 0:
                continue
            shuffled(rows.key, salts[b], members, count, order)
            moved[b] += flow_in_order(
                order,
                count,
                rows,
                plan,
                b,
                excess,
                room,
                prices,
                supplies,
                outside[b],
                only_overfull,
                typical,
                scratch,
                quotes,
                sums,
            )


@kernel
def flow_in_order(
    order: Ints,
    count: int,
    rows: Rows,
    plan: Plan,
    b: int,
    excess: Floats,
    room: Ints,
    prices: Prices,
    supplies: Supplies,
    outside: bool,
    only_overfull: bool,
    typical: int,
    scratch: Scratch,
    quotes: Ints,
    sums: Ints,
) -> int:
    """Let ``order[:count]`` move one by one in start ``b``; gives how many moved.

    ``quotes`` [S + 1, T] and ``sums`` [S + 1, T + 1] are kept up to date. Their last row is for the
    site where a workload stands, without its own load.
    """
    moved = 0
    horizon = quotes.shape[1]
    own = quotes.shape[0] - 1
    windows = room.shape[0] > 0
    grid = prices.grid
    capacity = prices.capacity
    mu = prices.mu[b]
    rho = prices.rho[b]
    ramp = prices.ramp[b]
    offer = prices.offer[b]
    for turn in range(count):
        i = order[turn]
        now = plan.site[b, i]
        if only_overfull and not in_overfull(i, rows, plan, b, excess):
            continue
        power = rows.power[i]
        d = rows.duration[i]
        apart = rows.interruptible[i] != 0
        began = plan.start[b, i]
        period_at = rows.period_ptr[i]
        first = rows.earliest[i]
        width = rows.last[i] + d - 1 - first
        starts = width + 1 - d
        omega = rows.omega[i]
        delay = omega * (first - rows.release[i])
        slope = omega * d
        base = omega * (d * (d - 1) // 2) + d * delay
        if now >= 0:
            shift(i, -1, rows, plan, b, excess, room)
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
                row = own
                quote_cells(
                    typical,
                    False,
                    s,
                    first,
                    width,
                    excess,
                    grid,
                    capacity,
                    mu,
                    rho,
                    ramp,
                    0.0,
                    quotes,
                    row,
                    first,
                )
                current = 0
                supply_at = rows.supply_ptr[i]
                for h in range(d):
                    t = plan.periods[b, period_at + h] if apart else began + h
                    current += quotes[row, t] + omega * (t - first)
                    if windows and plan.supply[b, supply_at + h] >= 0:
                        current += offer[plan.supply[b, supply_at + h]] - grid[s, t]
                current += delay * d
                best = current - LEAST_GAIN
                if current < UNUSABLE:
                    limit = current // d
                if windows:
                    slot = supplies.area[s] * horizon + first
                    low = supplies.ptr[slot]
                    high = supplies.ptr[slot + width]
                    if high > low:
                        add_offers(
                            power,
                            s,
                            first,
                            low,
                            high,
                            grid,
                            supplies.period,
                            offer,
                            room,
                            quotes,
                            row,
                            first,
                        )
                if not apart:
                    sums[row, first] = 0
                    sum_row(quotes, sums, row, first, width)
            else:
                s = rows.mask_site[j]
                if s == now:
                    continue
                row = s
            if apart:
                lower = price_halves(quotes, row, first, width, delay, omega, limit, scratch.values)
                if d * limit + lower >= best:
                    continue
                total, cut = smallest_sum(scratch.values, width, d, scratch.order)
                if total < best:
                    best = total
                    best_site = s
                    limit = cut
                    pick_smallest(scratch.values, width, d, cut, scratch.picked)
            else:
                total = least_run(sums, row, first, starts, d, slope) + base
                if total < best:
                    best = total
                    best_site = s
                    for t in range(starts):
                        run = sums[row, first + d + t] - sums[row, first + t]
                        if run + slope * t + base == total:
                            best_start = first + t
                            break
        if best >= UNUSABLE:
            best_site = -1
        if outside and rows.accepted[i] == 0:
            standing = current if best_site < 0 else best
            if price_above(standing, i, rows):
                best_site = -2
        if best_site == -1:
            if now >= 0:
                shift(i, 1, rows, plan, b, excess, room)
            continue
        if now >= 0 or best_site >= 0:
            moved += 1
        if now >= 0:
            from_t = plan.periods[b, period_at] if apart else began
            to_t = plan.periods[b, period_at + d - 1] + 1 if apart else began + d
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
                supplies,
                quotes,
                sums,
            )
        if best_site < 0:
            plan.site[b, i] = REFUSED
            continue
        plan.site[b, i] = best_site
        if apart:
            for h in range(d):
                plan.periods[b, period_at + h] = first + scratch.picked[h]
            best_start = plan.periods[b, period_at]
            to_t = plan.periods[b, period_at + d - 1] + 1
        else:
            to_t = best_start + d
        plan.start[b, i] = best_start
        if windows:
            choose_slots(i, rows, plan, b, grid, supplies, offer, room)
        shift(i, 1, rows, plan, b, excess, room)
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
            supplies,
            quotes,
            sums,
        )
    return moved


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
    supplies: Supplies,
    quotes: Ints,
    sums: Ints,
) -> None:
    """Bring the quotes of one site's half hours up to date, and the sums from there on.

    Sites of one region share its windows: where there are any, all of these are quoted anew.
    """
    horizon = grid.shape[1]
    area = supplies.area
    low = 0
    high = 0
    if room.shape[0] > 0:
        low = supplies.ptr[area[site] * horizon + first]
        high = supplies.ptr[area[site] * horizon + end]
    width = end - first
    for s in range(grid.shape[0]):
        if s != site and not (high > low and area[s] == area[site]):
            continue
        quote_cells(
            power,
            False,
            s,
            first,
            width,
            excess,
            grid,
            capacity,
            mu,
            rho,
            ramp,
            0.0,
            quotes,
            s,
            first,
        )
        if high > low:
            add_offers(
                power,
                s,
                first,
                low,
                high,
                grid,
                supplies.period,
                offer,
                room,
                quotes,
                s,
                first,
            )
        sum_row(quotes, sums, s, first, horizon - first)
