"""Taking workloads out, putting them in, and going back: what every trial is made of."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from agents.core.market.fleet import Rows
from agents.core.market.jit import allocating, kernel
from agents.core.market.kernels_search import (
    Plan,
    Prices,
    Scratch,
    Supplies,
    choose_slots,
    find_place,
    shift,
)
from agents.core.market.units import NANO_PER_QW, Floats, Ints

#: Most workloads one trial may touch.
LARGEST = 64
#: Cost of accepted work without a place, 1e-9 GBP: never worth it.
DROPPED = 1.0e18


class Before(NamedTuple):
    """Where the workloads of a trial stood; [LARGEST] or [LARGEST, T]."""

    member: Ints
    site: Ints
    start: Ints
    periods: Ints
    supply: Ints


@allocating
def make_before(horizon: int) -> Before:
    """Give an empty record."""
    return Before(
        np.empty(LARGEST, np.int64),
        np.empty(LARGEST, np.int64),
        np.empty(LARGEST, np.int64),
        np.empty((LARGEST, horizon), np.int64),
        np.empty((LARGEST, horizon), np.int64),
    )


@kernel
def lift(
    i: int, slot: int, rows: Rows, plan: Plan, b: int, excess: Floats, room: Ints, before: Before
) -> None:
    """Note where a workload stands as entry ``slot`` of the record and take its load away."""
    before.member[slot] = i
    before.site[slot] = plan.site[b, i]
    before.start[slot] = plan.start[b, i]
    at = rows.period_ptr[i]
    for h in range(rows.period_ptr[i + 1] - at):
        before.periods[slot, h] = plan.periods[b, at + h]
    at = rows.supply_ptr[i]
    for h in range(rows.supply_ptr[i + 1] - at):
        before.supply[slot, h] = plan.supply[b, at + h]
    if plan.site[b, i] >= 0:
        shift(i, -1, rows, plan, b, excess, room)
        plan.site[b, i] = -1


@kernel
def lay(
    i: int,
    site: int,
    start: int,
    picked: Ints,
    rows: Rows,
    plan: Plan,
    b: int,
    prices: Prices,
    supplies: Supplies,
    excess: Floats,
    room: Ints,
) -> None:
    """Give a workload the place a search found and put its load there."""
    plan.site[b, i] = site
    plan.start[b, i] = start
    if rows.interruptible[i] != 0:
        at = rows.period_ptr[i]
        for h in range(rows.duration[i]):
            plan.periods[b, at + h] = rows.earliest[i] + picked[h]
    if room.shape[0] > 0:
        choose_slots(i, rows, plan, b, prices.grid, supplies, prices.offer[b], room)
    shift(i, 1, rows, plan, b, excess, room)


@kernel
def go_back(
    size: int, rows: Rows, plan: Plan, b: int, excess: Floats, room: Ints, before: Before
) -> None:
    """Put the recorded workloads back where they stood."""
    for slot in range(size):
        i = before.member[slot]
        if plan.site[b, i] >= 0:
            shift(i, -1, rows, plan, b, excess, room)
        plan.site[b, i] = before.site[slot]
        plan.start[b, i] = before.start[slot]
        at = rows.period_ptr[i]
        for h in range(rows.period_ptr[i + 1] - at):
            plan.periods[b, at + h] = before.periods[slot, h]
        at = rows.supply_ptr[i]
        for h in range(rows.supply_ptr[i + 1] - at):
            plan.supply[b, at + h] = before.supply[slot, h]
        if plan.site[b, i] >= 0:
            shift(i, 1, rows, plan, b, excess, room)


@kernel
def true_cost(
    i: int, rows: Rows, plan: Plan, b: int, grid: Ints, slot_value: Ints, weight: float
) -> float:
    """Cost of where a workload stands in 1e-9 GBP; without a place weight * refusal value."""
    site = plan.site[b, i]
    if site < 0:
        if rows.accepted[i] != 0:
            return DROPPED
        return weight * np.float64(rows.refusal[i])
    total = 0
    apart = rows.interruptible[i] != 0
    at = rows.period_ptr[i]
    supply_at = rows.supply_ptr[i]
    windows = slot_value.shape[0] > 0
    for h in range(rows.duration[i]):
        t = plan.periods[b, at + h] if apart else plan.start[b, i] + h
        price = grid[site, t]
        if windows and plan.supply[b, supply_at + h] >= 0:
            price = slot_value[plan.supply[b, supply_at + h]]
        total += price + rows.omega[i] * (t - rows.release[i])
    return np.float64(total) * np.float64(rows.power[i]) * NANO_PER_QW


@kernel
def end_of(i: int, rows: Rows, plan: Plan, b: int) -> int:
    """Give the period after a workload's last."""
    if rows.interruptible[i] != 0:
        return int(plan.periods[b, rows.period_ptr[i + 1] - 1] + 1)
    return int(plan.start[b, i] + rows.duration[i])


@kernel
def search(
    i: int,
    hard: bool,
    ramp: Floats,
    rows: Rows,
    plan: Plan,
    b: int,
    prices: Prices,
    supplies: Supplies,
    excess: Floats,
    room: Ints,
    scratch: Scratch,
) -> tuple[int, int, int]:
    """Find the best place of a lifted workload: price sum, site, start."""
    _, best, site, start = find_place(
        i,
        rows,
        plan,
        b,
        -1,
        hard,
        excess,
        room,
        prices.grid,
        prices.capacity,
        prices.mu[b],
        prices.rho[b],
        ramp,
        prices.least,
        prices.offer[b],
        supplies,
        scratch,
    )
    return best, site, start
