"""Settlement: workloads move one by one at prices that react to every move."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from agents.core.market.fleet import Rows
from agents.core.market.jit import allocating, kernel
from agents.core.market.kernels_search import (
    Plan,
    Prices,
    Scratch,
    Supplies,
    choose_slots,
    find_place,
    in_overfull,
    make_scratch,
    shift,
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
def price_above(price: int, i: int, rows: Rows) -> bool:
    """Tell whether being refused would cost a workload less than this price sum."""
    return bool(
        np.float64(price) * np.float64(rows.power[i]) * NANO_PER_QW > np.float64(rows.refusal[i])
    )


@kernel
def size_of(i: int, rows: Rows) -> int:
    """Give a workload's size, power times duration."""
    return int(rows.power[i] * rows.duration[i])


@kernel
def site_overfull(excess: Floats, site: int) -> bool:
    """Tell whether some cell of a site is above capacity."""
    for t in range(excess.shape[1]):
        if excess[site, t] > 0.0:
            return True
    return False


@kernel
def any_excess(excess: Floats) -> bool:
    """Tell whether some cell is above capacity."""
    for s in range(excess.shape[0]):
        if site_overfull(excess, s):
            return True
    return False


@kernel
def grow_ramp(excess: Floats, ramp: Floats, growth: float, step: float) -> None:
    """Make overfull cells dearer; the others keep what they have."""
    for s in range(excess.shape[0]):
        for t in range(excess.shape[1]):
            if excess[s, t] > 0.0:
                ramp[s, t] = min(growth * ramp[s, t] + step, MAX_RAMP)


@allocating
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
def visit_in_order(
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
    hard: bool,
    only_overfull: bool,
    crowded: Bools,
    scratch: Scratch,
) -> int:
    """Let ``order[:count]`` move one by one in start ``b``; gives how many moved.

    Arguments as in ``sweep_groups``, of this start; ``crowded`` [S] are the sites that may have a
    cell above capacity.
    """
    moved = 0
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
        if only_overfull and (
            now < 0
            or not crowded[now]
            or plan.protected[b, i] != 0
            or not in_overfull(i, rows, plan, b, excess)
        ):
            continue
        if now >= 0:
            shift(i, -1, rows, plan, b, excess, room)
        current, best, best_site, best_start = find_place(
            i,
            rows,
            plan,
            b,
            now,
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
            supplies,
            scratch,
        )
        if rows.accepted[i] == 0 and (outside or (hard and now < 0)):
            standing = current if best_site < 0 else best
            if price_above(standing, i, rows):
                plan.site[b, i] = -1
                if now >= 0:
                    moved += 1
                continue
        if best_site < 0:
            if now >= 0:
                shift(i, 1, rows, plan, b, excess, room)
            continue
        moved += 1
        crowded[best_site] = True
        plan.site[b, i] = best_site
        plan.start[b, i] = best_start
        if rows.interruptible[i] != 0:
            at = rows.period_ptr[i]
            for h in range(rows.duration[i]):
                plan.periods[b, at + h] = rows.earliest[i] + scratch.picked[h]
        if windows:
            choose_slots(i, rows, plan, b, grid, supplies, offer, room)
        shift(i, 1, rows, plan, b, excess, room)
    return moved


@allocating
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
    for b in range(active.shape[0]):
        if not active[b]:
            continue
        excess = all_excess[b]
        for turn_pass in range(passes):
            if visit == VISIT_OVERFULL and not any_excess(excess):
                break
            salt = salts[b] + np.uint64(turn_pass) * STRIDE
            for s in range(sites):
                crowded[s] = site_overfull(excess, s)
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
                moved[b] += visit_in_order(
                    order,
                    count,
                    rows,
                    plan,
                    b,
                    all_excess[b],
                    all_room[b],
                    prices,
                    supplies,
                    outside[b],
                    hard,
                    visit == VISIT_OVERFULL,
                    crowded,
                    scratch,
                )
            if visit == VISIT_OVERFULL and growth > 0.0:
                grow_ramp(excess, prices.ramp[b], growth, growth_step[b])
