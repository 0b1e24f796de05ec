"""Best responses at fixed prices, for many workloads at once.

Prices are whole numbers, so sums are exact. Ties of contiguous work are decided by the earliest
start, then the first site; interruptible work stays at its last site if none is cheaper. A cell
that cannot be used costs ``NEVER``.

Inner loops run over slices from index 0: an index that might be negative keeps the compiler from
vectorising, which costs a factor of ten.
"""

from __future__ import annotations

import numpy as np

from agents.core.market.fleet import Rows
from agents.core.market.jit import kernel
from agents.core.market.units import MONEY_EPS, NANO_PER_QW, NEVER, UNUSABLE, Ints

REFUSED = -1
"""Site of a workload without a place."""


@kernel
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
def least_sloped(values: Ints, slope: int) -> tuple[int, int]:
    """Give the least of ``values[j] + slope * j`` and the first place that has it."""
    best = 2 * NEVER
    for j in range(values.shape[0]):
        best = min(best, values[j] + slope * j)
    for j in range(values.shape[0]):
        if values[j] + slope * j == best:
            return best, j
    return best, 0


@kernel
def price_halves(row: Ints, base: int, omega: int, limit: int, out: Ints) -> int:
    """Write price plus delay of consecutive half hours into ``out``.

    Returns:
        The sum of min(value - limit, 0): with it, ``wanted * limit`` is a lower bound on the sum
        of any ``wanted`` of them.
    """
    lower = 0
    values = out[: row.shape[0]]
    for j in range(row.shape[0]):
        v = row[j] + base + omega * j
        values[j] = v
        lower += min(v - limit, 0)
    return lower


@kernel
def nth_smallest(values: Ints, count: int, rank: int) -> int:
    """Give the value of that rank (from 0) among ``values[:count]``, which it reorders."""
    low = 0
    high = count - 1
    while low < high:
        middle = (low + high) >> 1
        a = values[low]
        b = values[middle]
        c = values[high]
        pivot = max(min(a, b), min(max(a, b), c))
        left = low
        right = high
        while left <= right:
            while values[left] < pivot:
                left += 1
            while values[right] > pivot:
                right -= 1
            if left <= right:
                values[left], values[right] = values[right], values[left]
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
        scratch[j] = values[j]
    limit = nth_smallest(scratch, count, wanted - 1)
    total = 0
    below = 0
    for j in range(count):
        if values[j] < limit:
            total += values[j]
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


@kernel
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
    steps = np.zeros((sites, horizon + 1), np.int64)
    least = np.empty(horizon + 1, np.int64)
    values = np.empty(horizon, np.int64)
    scratch = np.empty(horizon, np.int64)
    picked = np.empty(horizon, np.int64)
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
                into = least[low_at:high_at]
                for t in range(into.shape[0]):
                    into[t] = 2 * NEVER
                for j in range(first_site, last_site):
                    row = sums[k, rows.mask_site[j]]
                    low = row[low_at:high_at]
                    high = row[low_at + d : high_at + d]
                    for t in range(into.shape[0]):
                        into[t] = min(into[t], high[t] - low[t])
            slope = omega * d
            # Delay counts from the first start on: from period 0 on, dear delays late in a long
            # horizon would look like a price that cannot be paid.
            best, at = least_sloped(least[first:last], slope)
            if best < UNUSABLE:
                best_start = first + at
                for j in range(first_site, last_site):
                    s = rows.mask_site[j]
                    if sums[k, s, best_start + d] - sums[k, s, best_start] == least[best_start]:
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
                lower = price_halves(table[k, s, first : first + count], base, omega, limit, values)
                if best_site >= 0 and d * limit + lower >= best:
                    continue
                total, cut = smallest_sum(values, count, d, scratch)
                if total < best:
                    best = total
                    limit = cut
                    best_site = s
            if best < UNUSABLE:
                base = omega * (first - rows.release[i])
                price_halves(table[k, best_site, first : first + count], base, omega, limit, values)
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
