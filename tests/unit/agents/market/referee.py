"""HiGHS as the referee: the exact LP bound and MILP optimum of small negotiations.

The model is written straight from the problem statement and shares no code with the market:
one variable a workload, site and start (contiguous), or a site's share and its half hours
(interruptible), one for refusing, and for windows the energy drawn from each.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import highspy
import numpy as np

from agents.core.market.fleet import Fleet
from agents.core.market.problem import Market
from agents.core.market.units import NANO, Q


@dataclass
class Model:
    """Columns with their cost, bound and entries, collected one by one."""

    cost: list[float] = field(default_factory=list)
    upper: list[float] = field(default_factory=list)
    entries: list[list[tuple[int, float]]] = field(default_factory=list)
    low: list[float] = field(default_factory=list)
    high: list[float] = field(default_factory=list)

    def row(self, low: float, high: float) -> int:
        self.low.append(low)
        self.high.append(high)
        return len(self.low) - 1

    def column(self, cost: float, upper: float, entries: list[tuple[int, float]]) -> int:
        self.cost.append(cost)
        self.upper.append(upper)
        self.entries.append(entries)
        return len(self.cost) - 1


def optimum_gbp(
    market: Market,
    fleets: Sequence[Fleet],
    *,
    integer: bool = False,
    seconds: float = 60.0,
) -> float:
    """Give the LP (or MILP) optimum in GBP, refusals included.

    Windows are supported for contiguous and interruptible work alike: a half hour of a workload
    may be drawn from a window in parts, which only lowers the LP.
    """
    model = Model()
    sites, periods = market.grid_q.shape
    infinity = highspy.kHighsInf
    grid = market.grid_q / Q
    cell = [
        [model.row(-infinity, float(market.capacity_w[s, t]) / 1000.0) for t in range(periods)]
        for s in range(sites)
    ]
    slots: dict[tuple[int, int], list[tuple[int, float, float]]] = {}
    for v in range(len(market.slot_window)):
        w = int(market.slot_window[v])
        row = model.row(-infinity, float(market.window_w[w]) / 1000.0)
        key = (int(market.slot_area[v]), int(market.slot_period[v]))
        slots.setdefault(key, []).append(
            (row, float(market.window_q[w]) / Q, float(market.window_w[w]) / 1000.0)
        )
    for fleet in fleets:
        for i in range(len(fleet)):
            _workload(model, market, fleet, i, grid, cell, slots)
    solver = highspy.Highs()
    solver.setOptionValue("output_flag", False)
    solver.setOptionValue("threads", 1)
    solver.setOptionValue("time_limit", seconds)
    solver.setOptionValue("mip_rel_gap", 1e-4)
    lp = highspy.HighsLp()
    lp.num_col_, lp.num_row_ = len(model.cost), len(model.low)
    lp.col_cost_ = np.array(model.cost)
    lp.col_lower_ = np.zeros(len(model.cost))
    lp.col_upper_ = np.array(model.upper)
    lp.row_lower_, lp.row_upper_ = np.array(model.low), np.array(model.high)
    lp.a_matrix_.format_ = highspy.MatrixFormat.kColwise
    lp.a_matrix_.start_ = np.cumsum([0, *map(len, model.entries)], dtype=np.int32)
    lp.a_matrix_.index_ = np.array([r for column in model.entries for r, _ in column], np.int32)
    lp.a_matrix_.value_ = np.array([x for column in model.entries for _, x in column])
    if integer:
        kind = [highspy.HighsVarType.kContinuous, highspy.HighsVarType.kInteger]
        lp.integrality_ = [kind[int(upper <= 1.0)] for upper in model.upper]
    solver.passModel(lp)
    solver.run()
    if integer:
        return float(solver.getInfo().objective_function_value)
    assert solver.getModelStatus() == highspy.HighsModelStatus.kOptimal
    return float(solver.getInfo().objective_function_value)


def _workload(
    model: Model,
    market: Market,
    fleet: Fleet,
    i: int,
    grid: np.ndarray,
    cell: list[list[int]],
    slots: dict[tuple[int, int], list[tuple[int, float, float]]],
) -> None:
    power = float(fleet.power_w[i]) / 1000.0
    d = int(fleet.duration[i])
    first, end = int(fleet.earliest[i]), int(fleet.deadline[i])
    omega = float(fleet.omega_q[i]) / Q
    release = int(fleet.release[i])
    once = model.row(1.0, 1.0)
    model.column(float(fleet.refusal_nano[i]) / NANO, 1.0, [(once, 1.0)])
    for s in np.flatnonzero(fleet.masks[fleet.mask[i]]).tolist():
        fits = market.capacity_w[s] >= fleet.power_w[i]
        price = [
            0.5 * power * (float(grid[s, t]) + omega * (t - release)) for t in range(first, end)
        ]
        relief: dict[int, int] = {}
        for t in range(first, end):
            usable = [
                slot
                for slot in slots.get((int(market.area[s]), t), [])
                if slot[2] >= power and slot[1] < grid[s, t]
            ]
            if usable:
                relief[t] = model.row(-highspy.kHighsInf, 0.0)
                for row, value, _ in usable:
                    saving = 0.5 * power * (value - float(grid[s, t]))
                    model.column(saving, 1.0, [(relief[t], 1.0), (row, power)])
        if fleet.interruptible[i]:
            share = model.row(0.0, 0.0)
            model.column(0.0, 1.0, [(once, 1.0), (share, -float(d))])
            here = model.column(0.0, 1.0, [(once, 0.0)])
            _ = here
            for t in range(first, end):
                if not fits[t]:
                    continue
                tie = model.row(-highspy.kHighsInf, 0.0)
                # x[t] <= y: a half hour is used only as far as the site is chosen.
                model.entries[here - 1].append((tie, -1.0))
                entries = [(share, 1.0), (cell[s][t], power), (tie, 1.0)]
                if t in relief:
                    entries.append((relief[t], -1.0))
                model.column(price[t - first], 1.0, entries)
            continue
        for start in range(first, end - d + 1):
            span = range(start, start + d)
            if not all(fits[t] for t in span):
                continue
            entries = [(once, 1.0), *((cell[s][t], power) for t in span)]
            entries += [(relief[t], -1.0) for t in span if t in relief]
            model.column(sum(price[t - first] for t in span), 1.0, entries)
