"""Best responses at fixed prices, for many workloads at once.

Prices are whole numbers, so sums are exact. Ties of contiguous work are decided by the earliest
start, then the first site; interruptible work stays at its last site if none is cheaper. A cell
that cannot be used costs ``NEVER``.

Inner loops take whole tables and an unsigned place in them: an index that might be negative keeps
the compiler from vectorising, which costs a factor of ten.
"""

from __future__ import annotations

import numpy as np

from agents.core.market.fleet import Rows
from agents.core.market.jit import allocating, kernel
from agents.core.market.units import MONEY_EPS, NANO_PER_QW, NEVER, UNUSABLE, Ints

REFUSED = -1
"""Site of a workload without a place."""


@allocating
def prefix_sums(table: Ints) -> Ints:
    """Give [K, S, T + 1] running sums over periods of a [K, S, T] table."""
    classes, sites, periods = table.shape
    out = np.zeros((classes, sites, periods + 1), np.int64)
    for k in range(classes):
        for s in range(sites):
            total = 0
            for t in range(periods):
                total += table[k, s, t]
                out[k, s, t + 1] = total
    return out


@kernel
def least_sloped(values: Ints, first: int, count: int, slope: int) -> tuple[int, int]:
    """Give the least of ``values[first + j] + slope * j`` and the first ``j`` that has it."""
    best = 2 * NEVER
    at = np.uint64(first)
    for j in range(count):
        best = min(best, values[at + np.uint64(j)] + slope * j)
    for j in range(count):
        if values[at + np.uint64(j)] + slope * j == best:
            return best, j
    return best, 0


@kernel
def price_halves(
    table: Ints, row: int, first: int, count: int, base: int, omega: int, limit: int, out: Ints
) -> int:
    """Write price plus delay of half hours ``table[row, first:]`` into ``out``.

    Returns:
        The sum of min(value - limit, 0): with it, ``wanted * limit`` is a lower bound on the sum
        of any ``wanted`` of them.
    """
    lower = 0
    r = np.uint64(row)
    at = np.uint64(first)
    for j in range(count):
        v = table[r, at + np.uint64(j)] + base + omega * j
        out[np.uint64(j)] = v
        lower += min(v - limit, 0)
    return lower


@kernel
def nth_smallest(values: Ints, count: int, rank: int) -> int:
    """Give the value of that rank (from 0) among ``values[:count]``, which it reorders."""
    low = 0
    high = count - 1
    while low < high:
        middle = (low + high) >> 1
        a = values[np.uint64(low)]
        b = values[np.uint64(middle)]
        c = values[np.uint64(high)]
        pivot = max(min(a, b), min(max(a, b), c))
        left = low
        right = high
        while left <= right:
            while values[np.uint64(left)] < pivot:
                left += 1
            while values[np.uint64(right)] > pivot:
                right -= 1
            if left <= right:
                value = values[np.uint64(left)]
                values[np.uint64(left)] = values[np.uint64(right)]
                values[np.uint64(right)] = value
                left += 1
                right -= 1
        if rank <= right:
            high = right
        elif rank >= left:
            low = left
        else:
            break
    return int(values[rank])


@kernel
def smallest_sum(values: Ints, count: int, wanted: int, scratch: Ints) -> tuple[int, int]:
    """Give the sum of the ``wanted`` smallest of ``values[:count]`` and the largest among them."""
    for j in range(count):
        scratch[np.uint64(j)] = values[np.uint64(j)]
    limit = nth_smallest(scratch, count, wanted - 1)
    total = 0
    below = 0
    for j in range(count):
        value = values[np.uint64(j)]
        if value < limit:
            total += value
            below += 1
    return int(total + (wanted - below) * limit), limit


@kernel
def pick_smallest(values: Ints, count: int, wanted: int, limit: int, out: Ints) -> None:
    """Write the places of the ``wanted`` smallest values into ``out``, rising; ties: earliest."""
    equal = wanted
    for j in range(count):
        if values[j] < limit:
            equal -= 1
    found = 0
    for j in range(count):
        if values[j] < limit:
            out[found] = j
            found += 1
        elif values[j] == limit and equal > 0:
            out[found] = j
            found += 1
            equal -= 1


@allocating
def respond_rows(
    rows: Rows,
    table: Ints,
    sums: Ints,
    outside: bool,
    site: Ints,
    start: Ints,
    periods: Ints,
    value: Ints,
    loads: Ints,
) -> tuple[int, int, int]:
    """Find every workload's cheapest place at fixed prices.

    Args:
        rows: Sorted workloads.
        table: [K, S, T] prices of each power class.
        sums: Running sums of ``table``.
        outside: Whether a workload whose best cost passes its refusal value refuses.
        site: Out, [n]; on entry the last answer, tried first by interruptible work.
        start: Out, [n] first period.
        periods: Out, periods of interruptible work at ``rows.period_ptr``.
        value: Out, [n] price sum incl. delay cost, Q units; UNUSABLE or more if impossible.
        loads: Out, [S, T] watts of those who do not refuse.

    Returns:
        The sum of min(best cost, refusal value) in 1e-9 GBP, each rounded down; how many would
        rather refuse; how many have no usable place at all.
    """
    sites = table.shape[1]
    horizon = table.shape[2]
    return _respond(
        rows,
        table.reshape(table.shape[0] * sites, horizon),
        sums.reshape(table.shape[0] * sites, horizon + 1),
        outside,
        site,
        start,
        periods,
        value,
        loads,
        np.zeros((sites, horizon + 1), np.int64),
        np.empty(horizon + 1, np.int64),
        np.empty(horizon, np.int64),
        np.empty(horizon, np.int64),
        np.empty(horizon, np.int64),
    )


@kernel
def _respond(
    rows: Rows,
    prices: Ints,
    running: Ints,
    outside: bool,
    site: Ints,
    start: Ints,
    periods: Ints,
    value: Ints,
    loads: Ints,
    steps: Ints,
    least: Ints,
    values: Ints,
    scratch: Ints,
    picked: Ints,
) -> tuple[int, int, int]:
    """Do the work of ``respond_rows``; ``prices`` and ``running`` have a row a class and site."""
    sites, horizon = loads.shape
    bound = 0
    refusing = 0
    impossible = 0
    run_class = -1
    run_mask = -1
    run_duration = -1
    count_rows = rows.key.shape[0]
    for i in range(count_rows):
        d = rows.duration[i]
        k = rows.power_class[i]
        m = rows.mask[i]
        omega = rows.omega[i]
        first = rows.earliest[i]
        last = rows.last[i]
        first_site = rows.mask_ptr[m]
        last_site = rows.mask_ptr[m + 1]
        best = 2 * NEVER
        best_site = -1
        best_start = first
        if rows.interruptible[i] == 0:
            if k != run_class or m != run_mask or d != run_duration:
                run_class = k
                run_mask = m
                run_duration = d
                # A run of one needs its own starts only.
                low_at = 0
                high_at = horizon + 1 - d
                if i + 1 == count_rows or (
                    rows.power_class[i + 1] != k
                    or rows.mask[i + 1] != m
                    or rows.duration[i + 1] != d
                ):
                    low_at = first
                    high_at = last
                low = np.uint64(low_at)
                high = np.uint64(low_at + d)
                for t in range(high_at - low_at):
                    least[low + np.uint64(t)] = 2 * NEVER
                for j in range(first_site, last_site):
                    row = np.uint64(k * sites + rows.mask_site[j])
                    for t in range(high_at - low_at):
                        u = low + np.uint64(t)
                        run = running[row, high + np.uint64(t)] - running[row, u]
                        least[u] = min(least[u], run)
            slope = omega * d
            # Delay counts from the first start on: from period 0 on, dear delays late in a long
            # horizon would look like a price that cannot be paid.
            best, at = least_sloped(least, first, last - first, slope)
            if best < UNUSABLE:
                best_start = first + at
                for j in range(first_site, last_site):
                    s = rows.mask_site[j]
                    if (
                        running[k * sites + s, best_start + d] - running[k * sites + s, best_start]
                        == least[best_start]
                    ):
                        best_site = s
                        break
                best += slope * (first - rows.release[i]) + omega * (d * (d - 1) // 2)
        else:
            # The next run may be of the kind before, in another group: its starts are its own.
            run_class = -1
            count = last + d - 1 - first
            limit = 0
            guess = site[i]
            for turn in range(first_site - 1, last_site):
                if turn < first_site:
                    s = guess
                    if s < 0:
                        continue
                else:
                    s = rows.mask_site[turn]
                    if s == guess:
                        continue
                base = omega * (first - rows.release[i])
                lower = price_halves(
                    prices, k * sites + s, first, count, base, omega, limit, values
                )
                if best_site >= 0 and d * limit + lower >= best:
                    continue
                total, cut = smallest_sum(values, count, d, scratch)
                if total < best:
                    best = total
                    limit = cut
                    best_site = s
            if best < UNUSABLE:
                base = omega * (first - rows.release[i])
                price_halves(
                    prices, k * sites + best_site, first, count, base, omega, limit, values
                )
                pick_smallest(values, count, d, limit, picked)
                place = rows.period_ptr[i]
                for j in range(d):
                    periods[place + j] = first + picked[j]
                best_start = first + picked[0]
            else:
                best_site = -1
        value[i] = best
        start[i] = best_start
        if best >= UNUSABLE:
            site[i] = -1
            bound += rows.refusal[i]
            impossible += 1
            continue
        site[i] = best_site
        cost = np.float64(best) * np.float64(rows.power[i]) * NANO_PER_QW
        low_nano = int(np.floor(cost - abs(cost) * MONEY_EPS))
        if low_nano > rows.refusal[i]:
            bound += rows.refusal[i]
            refusing += 1
            if outside:
                continue
        else:
            bound += low_nano
        if rows.interruptible[i] == 0:
            steps[best_site, best_start] += rows.power[i]
            steps[best_site, best_start + d] -= rows.power[i]
        else:
            place = rows.period_ptr[i]
            for j in range(d):
                loads[best_site, periods[place + j]] += rows.power[i]
    for s in range(sites):
        load = 0
        for t in range(horizon):
            load += steps[s, t]
            loads[s, t] += load
    return bound, refusing, impossible
