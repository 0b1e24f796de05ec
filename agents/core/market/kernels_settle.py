"""Settlement: workloads move one by one at prices that react to every move."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from agents.core.market.fleet import Rows
from agents.core.market.jit import kernel
from agents.core.market.kernels_search import (
    Plan,
    Prices,
    Supplies,
    add_power,
    add_power_at,
    any_overfull,
    any_overfull_at,
    choose_slots,
    draw_slots,
    find_place,
    make_scratch,
)
from agents.core.market.order import shuffled
from agents.core.market.units import NANO_PER_QW, Bools, Floats, Ints

STRIDE = np.uint64(0x9E3779B97F4A7C15)
#: Dearest ramp, Q units.
MAX_RAMP = float(1 << 39)

VISIT_ALL = 0
VISIT_OVERFULL = 1
VISIT_MISSING = 2


@kernel
def size_of(i: int, rows: Rows) -> int:
    """Give a workload's size, power times duration."""
    return int(rows.power[i] * rows.duration[i])


@kernel
def any_excess(excess: Floats) -> bool:
    """Tell whether some cell is above capacity."""
    for s in range(excess.shape[0]):
        for t in range(excess.shape[1]):
            if excess[s, t] > 0.0:
                return True
    return False


@kernel
def grow_ramp(excess: Floats, ramp: Floats, growth: float, step: float) -> None:
    """Make overfull cells dearer; the others keep what they have."""
    for s in range(excess.shape[0]):
        for t in range(excess.shape[1]):
            if excess[s, t] > 0.0:
                ramp[s, t] = min(growth * ramp[s, t] + step, MAX_RAMP)


@kernel
def largest_missing(rows: Rows, site: Ints, members: Ints, count: int) -> int:
    """Keep the members without a place, the largest first; gives how many."""
    missing = 0
    for j in range(count):
        if site[members[j]] < 0:
            members[missing] = members[j]
            missing += 1
    size = np.empty(missing, np.int64)
    for j in range(missing):
        size[j] = -size_of(members[j], rows)
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
    passes: int,
    growth: float,
    growth_step: Floats,
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
        chosen: [B, n] workloads that take part; empty for all.
        hard: Hard capacity instead of soft.
        visit: Who is asked: VISIT_ALL; VISIT_OVERFULL, unprotected work that touches an overfull
            cell; VISIT_MISSING, work without a place, largest first.
        passes: Rounds through all groups before the token goes on; more than one only where a
            shard owns all groups of its organisation.
        growth: With VISIT_OVERFULL the ramp of overfull cells becomes growth * ramp +
            growth_step after each pass; ``prices.ramp`` is changed.
        growth_step: [B]
        moved: [B] number of moves, added to.
    """
    sites, horizon = all_excess.shape[1:]
    crowded = np.ones(sites, np.bool_)
    n = rows.key.shape[0]
    scratch = make_scratch(horizon)
    members = np.empty(n, np.int64)
    order = np.empty(n, np.int64)
    windows = all_room.shape[1] > 0
    grid = prices.grid
    capacity = prices.capacity
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
        for turn_pass in range(passes):
            if visit == VISIT_OVERFULL and not any_excess(excess):
                break
            salt = salts[b] + np.uint64(turn_pass) * STRIDE
            for s in range(sites):
                crowded[s] = any_overfull(excess[s])
            for g in range(place.shape[0] - 1):
                count = 0
                for i in range(place[g], place[g + 1]):
                    if chosen.shape[0] == 0 or chosen[b, i] != 0:
                        members[count] = i
                        count += 1
                if visit == VISIT_MISSING:
                    count = largest_missing(rows, plan.site[b], members, count)
                if count == 0:
                    continue
                if visit == VISIT_MISSING:
                    order[:count] = members[:count]
                else:
                    shuffled(rows.key, salt, members, count, order)
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
                    if visit == VISIT_OVERFULL:
                        if now < 0 or not crowded[now] or plan.protected[b, i] != 0:
                            continue
                        if apart:
                            if not any_overfull_at(excess[now], periods):
                                continue
                        elif not any_overfull(excess[now, began : began + d]):
                            continue
                    if now >= 0:
                        if apart:
                            add_power_at(excess[now], periods, -watts)
                        else:
                            add_power(excess[now, began : began + d], -watts)
                        if windows:
                            draw_slots(room, supply, -power)
                    m = rows.mask[i]
                    first = rows.earliest[i]
                    current, best, best_site, best_start = find_place(
                        power,
                        d,
                        apart,
                        rows.omega[i],
                        first,
                        rows.last[i] + d - 1,
                        rows.release[i],
                        rows.mask_site[rows.mask_ptr[m] : rows.mask_ptr[m + 1]],
                        now,
                        began,
                        periods,
                        supply,
                        hard,
                        excess,
                        room,
                        grid,
                        capacity,
                        mu,
                        rho,
                        ramp,
                        prices.least,
                        offer,
                        area,
                        ptr,
                        slot_period,
                        scratch,
                    )
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
                    crowded[best_site] = True
                    plan.site[b, i] = best_site
                    plan.start[b, i] = best_start
                    if apart:
                        for h in range(d):
                            periods[h] = first + scratch.picked[h]
                        add_power_at(excess[best_site], periods, watts)
                    else:
                        add_power(excess[best_site, best_start : best_start + d], watts)
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
            if visit == VISIT_OVERFULL and growth > 0.0:
                grow_ramp(excess, ramp, growth, growth_step[b])
