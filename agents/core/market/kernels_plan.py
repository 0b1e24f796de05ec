"""What a plan adds up to: loads, true cost, price at posted tables."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from agents.core.market.fleet import Rows
from agents.core.market.jit import kernel
from agents.core.market.kernels_search import Plan
from agents.core.market.units import MONEY_EPS, NANO_PER_QW, NEVER, Bools, Floats, Ints


@kernel
def add_loads(rows: Rows, plan: Plan, b: int, loads: Ints, used: Ints) -> None:
    """Add the watts of one start's plan to ``loads`` [S, T] and to its slots ``used`` [V]."""
    windows = used.shape[0] > 0
    for i in range(rows.key.shape[0]):
        site = plan.site[b, i]
        if site < 0:
            continue
        at = rows.period_ptr[i]
        supply_at = rows.supply_ptr[i]
        apart = rows.interruptible[i] != 0
        for j in range(rows.duration[i]):
            t = plan.periods[b, at + j] if apart else plan.start[b, i] + j
            loads[site, t] += rows.power[i]
            if windows:
                v = plan.supply[b, supply_at + j]
                if v >= 0:
                    used[v] += rows.power[i]


@kernel
def price_rows(
    rows: Rows, plan: Plan, b: int, cell_price: Ints, slot_price: Ints, out: Ints
) -> None:
    """Write each workload's price sum incl. delay into ``out`` [n]; 0 without a place.

    A half hour on grid energy pays ``cell_price`` [S, T], one on slot v of a site pays
    ``slot_price`` [S, V].
    """
    windows = slot_price.shape[1] > 0
    for i in range(rows.key.shape[0]):
        site = plan.site[b, i]
        out[i] = 0
        if site < 0:
            continue
        at = rows.period_ptr[i]
        supply_at = rows.supply_ptr[i]
        apart = rows.interruptible[i] != 0
        total = 0
        for j in range(rows.duration[i]):
            t = plan.periods[b, at + j] if apart else plan.start[b, i] + j
            price = cell_price[site, t]
            if windows:
                v = plan.supply[b, supply_at + j]
                if v >= 0:
                    price = slot_price[site, v]
            total += price + rows.omega[i] * (t - rows.release[i])
        out[i] = total


@kernel
def touching_overfull(rows: Rows, plan: Plan, b: int, over: Bools, out: NDArray[np.uint8]) -> None:
    """Mark the workloads of one start that stand in a cell marked ``over`` [S, T]."""
    for i in range(rows.key.shape[0]):
        site = plan.site[b, i]
        if site < 0:
            continue
        at = rows.period_ptr[i]
        apart = rows.interruptible[i] != 0
        for j in range(rows.duration[i]):
            t = plan.periods[b, at + j] if apart else plan.start[b, i] + j
            if over[site, t]:
                out[i] = 1
                break


@kernel
def tally_rows(
    rows: Rows,
    plan: Plan,
    grid: Ints,
    slot_value: Ints,
    cost: Ints,
    refused: Ints,
    dropped: Ints,
    lost: Ints,
) -> None:
    """Add each start's true cost (1e-9 GBP, each rounded up, refusals at their value).

    ``refused`` counts workloads without a place, ``dropped`` those of them that are accepted,
    ``lost`` adds up their refusal values.
    """
    windows = slot_value.shape[0] > 0
    for b in range(plan.site.shape[0]):
        for i in range(rows.key.shape[0]):
            site = plan.site[b, i]
            if site < 0:
                cost[b] += rows.refusal[i]
                refused[b] += 1
                lost[b] += rows.refusal[i]
                if rows.accepted[i] != 0:
                    dropped[b] += 1
                continue
            at = rows.period_ptr[i]
            supply_at = rows.supply_ptr[i]
            apart = rows.interruptible[i] != 0
            total = 0
            for j in range(rows.duration[i]):
                t = plan.periods[b, at + j] if apart else plan.start[b, i] + j
                price = grid[site, t]
                if windows:
                    v = plan.supply[b, supply_at + j]
                    if v >= 0:
                        price = slot_value[v]
                total += price + rows.omega[i] * (t - rows.release[i])
            exact = np.float64(total) * np.float64(rows.power[i]) * NANO_PER_QW
            cost[b] += np.int64(np.ceil(exact + abs(exact) * MONEY_EPS))


@kernel
def standing_rows(
    rows: Rows,
    plan: Plan,
    b: int,
    hard: bool,
    excess: Floats,
    grid: Ints,
    mu: Floats,
    rho: Floats,
    ramp: Floats,
    offer: Ints,
    out: Ints,
) -> None:
    """Write each workload's price sum incl. delay where it stands, own load taken out, into out.

    The prices are those of a sweep (``kernels_search``), quoted for the workload's own power.
    """
    windows = offer.shape[0] > 0
    for i in range(rows.key.shape[0]):
        site = plan.site[b, i]
        out[i] = NEVER
        if site < 0:
            continue
        at = rows.period_ptr[i]
        supply_at = rows.supply_ptr[i]
        apart = rows.interruptible[i] != 0
        p = np.float64(rows.power[i])
        total = 0
        for j in range(rows.duration[i]):
            t = plan.periods[b, at + j] if apart else plan.start[b, i] + j
            x = excess[site, t]
            if hard:
                extra = mu[site, t]
            else:
                extra = max(0.0, mu[site, t] + rho[site, t] * (x - 0.5 * p))
                extra += ramp[site, t] * min(max(x / p, 0.0), 1.0)
            price = grid[site, t] + np.int64(extra)
            if windows:
                v = plan.supply[b, supply_at + j]
                if v >= 0:
                    price += offer[v] - grid[site, t]
            total += price + rows.omega[i] * (t - rows.release[i])
        out[i] = total
