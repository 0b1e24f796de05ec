"""Coalitions: a few workloads in each other's way give up their places and choose again.

The result is kept if it is cheaper. One trial takes a workload, a place it would like, and those
of its own organisation who stand there; all of them give up their places and choose again one
after the other at hard capacity.
"""

from __future__ import annotations

import numpy as np

from agents.core.market.fleet import Rows
from agents.core.market.jit import allocating, kernel
from agents.core.market.kernels_search import (
    Plan,
    Prices,
    Scratch,
    Supplies,
    cheapest_run,
    make_scratch,
)
from agents.core.market.kernels_settle import price_above
from agents.core.market.kernels_undo import (
    LARGEST,
    Before,
    end_of,
    go_back,
    lay,
    lift,
    make_before,
    search,
    true_cost,
)
from agents.core.market.order import mix
from agents.core.market.units import Floats, Ints

STRIDE = np.uint64(0x9E3779B97F4A7C15)


@kernel
def order_coalition(
    size: int, by_size: bool, draw: np.uint64, rows: Rows, members: Ints, rank: Ints, out: Ints
) -> None:
    """Write the order of awards: the leader, then the others, big first or at random.

    ``rank`` is scratch of at least ``size``.
    """
    for j in range(size):
        i = members[j]
        if by_size:
            rank[j] = -rows.power[i] * rows.duration[i]
        else:
            rank[j] = np.int64(mix(draw ^ rows.key[i]) >> np.uint64(2))
    out[0] = members[0]
    for j in range(1, size):
        k = j
        while k > 1 and rank[j] < rank[k - 1]:
            k -= 1
        moving = rank[j]
        for h in range(j, k, -1):
            rank[h] = rank[h - 1]
            out[h] = out[h - 1]
        rank[k] = moving
        out[k] = members[j]


@kernel
def list_missing(site: Ints, out: Ints) -> int:
    """Write who has no place into ``out``; gives how many."""
    count = 0
    for i in range(site.shape[0]):
        if site[i] < 0:
            out[count] = i
            count += 1
    return count


@kernel
def gather(
    leader: np.int64,
    site: int,
    begin: int,
    end: int,
    turned: np.int64,
    most: np.int64,
    plan: Plan,
    b: int,
    ends: Ints,
    members: Ints,
) -> int:
    """Write the leader, then those that run at a site within [begin, end), into ``members``.

    Looks from row ``turned`` on and round; gives how many there are, at most ``most``.
    """
    members[0] = leader
    size = 1
    for low, high in ((turned, ends.shape[0]), (0, turned)):
        for at in range(low, high):
            i = np.uint64(at)
            if (
                plan.site[b, i] == site
                and plan.start[b, i] < end
                and ends[i] > begin
                and at != leader
                and plan.protected[b, i] < 2
            ):
                members[size] = at
                size += 1
                if size >= most:
                    return size
    return size


@allocating
def improve_start(
    rows: Rows,
    plan: Plan,
    b: int,
    excess: Floats,
    room: Ints,
    prices: Prices,
    supplies: Supplies,
    congestion: Ints,
    trials: int,
    largest: int,
    tolerance: float,
    weight: float,
    salt: np.uint64,
) -> int:
    """Run trials on one start.

    Args:
        rows: Sorted workloads of one organisation.
        plan: Where they stand; row ``b`` is changed.
        b: The start.
        excess: [S, T] load minus capacity in watts; changed.
        room: [V] free power of each slot; changed.
        prices: Hard prices: ``mu`` 0 or some part of the congestion prices.
        supplies: The windows.
        congestion: [S, T] congestion prices, Q units; they say where work would like to be.
        trials: How many.
        largest: Most workloads of a coalition, at most LARGEST.
        tolerance: A trial may cost this much more (1e-9 GBP) times a random share.
        weight: What being refused counts, in refusal values.
        salt: Salt of the random choices.

    Returns:
        How many trials were kept.
    """
    n = rows.key.shape[0]
    if n == 0:
        return 0
    horizon = excess.shape[1]
    return _improve(
        rows,
        plan,
        b,
        excess,
        room,
        prices,
        supplies,
        congestion,
        trials,
        largest,
        tolerance,
        weight,
        salt,
        make_scratch(horizon),
        make_before(horizon),
        np.empty(LARGEST, np.int64),
        np.empty(LARGEST, np.int64),
        np.empty(LARGEST, np.int64),
        np.zeros(n, np.int64),
        np.empty(n, np.int64),
    )


@kernel
def _improve(
    rows: Rows,
    plan: Plan,
    b: int,
    excess: Floats,
    room: Ints,
    prices: Prices,
    supplies: Supplies,
    congestion: Ints,
    trials: int,
    largest: int,
    tolerance: float,
    weight: float,
    salt: np.uint64,
    scratch: Scratch,
    before: Before,
    members: Ints,
    rank: Ints,
    order: Ints,
    ends: Ints,
    missing: Ints,
) -> int:
    """Do the work of ``improve_start`` in the space it made; ``ends`` [n] begins with zeros."""
    n = rows.key.shape[0]
    for i in range(n):
        if plan.site[b, i] >= 0:
            ends[i] = end_of(i, rows, plan, b)
    absent = list_missing(plan.site[b], missing)
    kept = 0
    state = salt
    for _ in range(trials):
        state += STRIDE
        draw = mix(state)
        leader = np.int64(draw % np.uint64(n))
        if absent > 0 and (draw >> np.uint64(62)) == np.uint64(1):
            leader = missing[leader % absent]
        m = rows.mask[leader]
        sites = rows.mask_site[rows.mask_ptr[m] : rows.mask_ptr[m + 1]]
        if sites.shape[0] == 0 or plan.protected[b, leader] > 1:
            continue
        draw = mix(draw)
        target = sites[np.int64(draw % np.uint64(sites.shape[0]))]
        d = rows.duration[leader]
        first = rows.earliest[leader]
        width = rows.last[leader] + d - 1 - first
        if (draw >> np.uint64(62)) == np.uint64(0):
            starts = np.uint64(width - d + 1)
            begin = first + np.int64((draw >> np.uint64(20)) % starts)
        else:
            # The place it would take if all others let it: value plus a share of congestion.
            share = np.int64((draw >> np.uint64(40)) & np.uint64(3))
            for t in range(width):
                scratch.quotes[0, t] = (
                    prices.grid[target, first + t] + congestion[target, first + t] * share // 4
                )
            _, at = cheapest_run(scratch.quotes, width, d, rows.omega[leader] * d, scratch.sums)
            begin = first + at
        end = begin + d
        most = 2 + np.int64(mix(draw) % np.uint64(largest - 1))
        turned = np.int64((draw >> np.uint64(30)) % np.uint64(n))
        size = gather(leader, target, begin, end, turned, most, plan, b, ends, members)
        if size == 1 and plan.site[b, leader] >= 0:
            continue
        cost = 0.0
        for j in range(size):
            cost += true_cost(members[j], rows, plan, b, prices.grid, supplies.value, weight)
        for j in range(size):
            lift(members[j], j, rows, plan, b, excess, room, before)
        order_coalition(
            size, (draw >> np.uint64(61)) & np.uint64(1) != 0, draw, rows, members, rank, order
        )
        luck = np.float64(mix(draw + np.uint64(1)) >> np.uint64(32)) / 4294967296.0
        allowance = cost + tolerance * luck
        after = 0.0
        for j in range(size):
            i = order[j]
            price, site, start = search(
                i, True, prices.ramp[b], rows, plan, b, prices, supplies, excess, room, scratch
            )
            if rows.accepted[i] == 0 and price_above(price, i, rows):
                # It would rather be refused, whatever the others gain.
                site = -1
            if site >= 0:
                lay(i, site, start, scratch.picked, rows, plan, b, prices, supplies, excess, room)
            after += true_cost(i, rows, plan, b, prices.grid, supplies.value, weight)
            if site < 0 and after > allowance:
                break
        if after < allowance and after != cost:
            kept += 1
            for j in range(size):
                i = order[j]
                if plan.site[b, i] >= 0:
                    ends[i] = end_of(i, rows, plan, b)
            absent = list_missing(plan.site[b], missing)
            continue
        go_back(size, rows, plan, b, excess, room, before)
    return kept
