"""First come, first served under capacity: the inner loops of the schedulers compared with."""

from __future__ import annotations

import numpy as np

from agents.core.market.jit import allocating
from agents.core.market.units import Bools, Floats, Ints


@allocating
def take_cheapest(
    order: Ints,
    power: Ints,
    duration: Ints,
    earliest: Ints,
    deadline: Ints,
    apart: np.typing.NDArray[np.uint8],
    sites: Bools,
    value: Floats,
    slope: Floats,
    free: Ints,
    site_of: Ints,
    ptr: Ints,
    periods: Ints,
) -> None:
    """Let each workload take the half hours of the least total value that have room.

    Args:
        order: Who comes when.
        power, duration, earliest, deadline: [n] the workloads.
        apart: Whether half hours may be apart.
        sites: [n, S] where each may run.
        value: [S, T] of a half hour; of equals the first is taken.
        slope: [n] added for each half hour of waiting.
        free: [S, T] watts; changed.
        site_of: [n] out.
        ptr: [n] place of a workload's half hours in ``periods``.
        periods: Out.
    """
    horizon = value.shape[1]
    ranked = np.empty(horizon, np.float64)
    for i in order:
        d = duration[i]
        first = earliest[i]
        end = deadline[i]
        best = np.inf
        site_of[i] = -1
        for s in range(value.shape[0]):
            if not sites[i, s]:
                continue
            if apart[i] != 0:
                count = 0
                for t in range(first, end):
                    if free[s, t] >= power[i]:
                        ranked[count] = value[s, t] + slope[i] * (t - first)
                        count += 1
                if count < d:
                    continue
                ordered = np.sort(ranked[:count])
                total = 0.0
                for h in range(d):
                    total += ordered[h]
                if total < best:
                    best = total
                    site_of[i] = s
                    left = d
                    for t in range(first, end):
                        worth = value[s, t] + slope[i] * (t - first)
                        if free[s, t] >= power[i] and worth < ordered[d - 1]:
                            left -= 1
                    found = 0
                    for t in range(first, end):
                        if free[s, t] < power[i]:
                            continue
                        worth = value[s, t] + slope[i] * (t - first)
                        if worth > ordered[d - 1]:
                            continue
                        if worth == ordered[d - 1]:
                            if left == 0:
                                continue
                            left -= 1
                        periods[ptr[i] + found] = t
                        found += 1
                continue
            total = 0.0
            since = 0
            for t in range(first, end):
                total += value[s, t] + slope[i] * (t - first)
                since = since + 1 if free[s, t] >= power[i] else 0
                if t - first >= d:
                    total -= value[s, t - d] + slope[i] * (t - d - first)
                if since >= d and total < best - 1e-9:
                    best = total
                    site_of[i] = s
                    for h in range(d):
                        periods[ptr[i] + h] = t - d + 1 + h
        if site_of[i] >= 0:
            for h in range(d):
                free[site_of[i], periods[ptr[i] + h]] -= power[i]


@allocating
def take_carbon_time(
    order: Ints,
    power: Ints,
    duration: Ints,
    earliest: Ints,
    deadline: Ints,
    home: Ints,
    running: Floats,
    guess: Ints,
    free: Ints,
    site_of: Ints,
    ptr: Ints,
    periods: Ints,
) -> None:
    """Let each workload start where carbon saved / time until completion is largest.

    Args:
        order, power, duration, earliest, deadline, free, site_of, ptr, periods: As in
            ``take_cheapest``.
        home: [n] the only site of each.
        running: [S, T + 1] running sums of intensity.
        guess: [n] duration that is reckoned with: the mean of the queue.
    """
    horizon = running.shape[1] - 1
    for i in order:
        s = home[i]
        d = duration[i]
        first = earliest[i]
        length = guess[i]
        stop = min(first + length, horizon)
        now = (running[s, stop] - running[s, first]) / (stop - first)
        best = -np.inf
        begin = -1
        since = 0
        for t in range(first, deadline[i]):
            since = since + 1 if free[s, t] >= power[i] else 0
            start = t - d + 1
            if since < d or start < first:
                continue
            stop = min(start + length, horizon)
            then = (running[s, stop] - running[s, start]) / (stop - start)
            score = (now - then) * length / (start - first + length)
            if score > best:
                best = score
                begin = start
        site_of[i] = -1
        if begin >= 0:
            site_of[i] = s
            for h in range(d):
                periods[ptr[i] + h] = begin + h
                free[s, begin + h] -= power[i]
