"""HiGHS as referee of a negotiation without windows: exact LP by column generation, then integers.

The restricted master chooses among known places of each workload; its prices of full cells go to
every workload, which answers with its best place, and new ones join the master until nobody has
a better one. The LP's optimum is the highest bound that prices can certify. Price-and-branch
then solves the integer problem over the places found, which gives a schedule, not always the
best one.
"""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import highspy
import numpy as np

from agents.bench.case import Case, Work, all_work
from agents.core.market.contractors import InProcessContractors, make_books
from agents.core.market.plans import Places
from agents.core.market.questions import Begin, Describe, NamePlaces, Open
from agents.core.market.tables import class_edges
from agents.core.market.units import NANO, NANO_PER_QW, Ints, Q
from schema.errors import InputError

LARGEST = 5_000
"""Most workloads; above, column generation takes longer than anybody waits."""
_ROUNDS = 400
_GBP_PER_Q = 1.0 / Q
#: How far the prices that are asked lie towards the best ones so far.
_INWARD = 0.65
#: Part of the optimum that may stay unproven.
_ENOUGH = 1e-4
_KW = 1000.0
_MIP_SECONDS = 60.0


@dataclass(frozen=True, slots=True)
class Verdict:
    """What the solver found.

    Attributes:
        lp_gbp: Optimum of the LP, up to ``lp_slack``, the part of it that is unproven.
        integer_gbp: Cost of the schedule of price-and-branch; None where it was not asked for.
        columns: Places known in the end.
        seconds: Of the LP; ``integer_seconds`` of what follows.
    """

    workloads: int
    trace: str
    seed: int
    lp_gbp: float
    lp_slack: float
    integer_gbp: float | None
    columns: int
    rounds: int
    seconds: float
    integer_seconds: float


@contextmanager
def _standard_output_kept_free() -> Iterator[None]:
    """HiGHS greets on file descriptor 1 before any option is set; answers as JSON go there."""
    sys.stdout.flush()
    kept = os.dup(1)
    os.dup2(2, 1)
    try:
        yield
    finally:
        os.dup2(kept, 1)
        os.close(kept)


class Master:
    """The restricted master: a row a workload and a row a cell that anybody uses."""

    def __init__(self, case: Case, work: Work) -> None:
        self._work = work
        self._count = len(work.power_w)
        self._shape = case.market.grid_q.shape
        self._grid = case.market.grid_q
        self.columns = 0
        self._known: set[bytes] = set()
        with _standard_output_kept_free():
            solver: Any = highspy.Highs()  # type: ignore[no-untyped-call]
        solver.setOptionValue("output_flag", False)
        solver.setOptionValue("threads", 1)
        # Masters are so degenerate that simplex pivots for longer than interior points need.
        solver.setOptionValue("solver", "ipm")
        solver.setOptionValue("run_crossover", "off")
        none = np.zeros(0, np.int32)
        rows = self._count + self._grid.size
        capacity = case.market.capacity_w.ravel() / _KW
        low = np.concatenate((np.ones(self._count), np.full(self._grid.size, -highspy.kHighsInf)))
        high = np.concatenate((np.ones(self._count), capacity))
        solver.addRows(rows, low, high, 0, none, none, np.zeros(0))
        refused = work.refusal_nano / NANO
        self._solver = solver
        self._add(refused, np.arange(self._count + 1), np.arange(self._count), np.ones(self._count))

    def take(self, places: Places) -> int:
        """Add the places that are new; gives how many."""
        work, halves = self._work, np.diff(places.ptr)
        costs, starts, indices, values = [], [0], [], []
        for i in np.flatnonzero(places.site >= 0).tolist():
            period = places.half_hours(i)
            cell = int(places.site[i]) * self._shape[1] + period
            name = i.to_bytes(4, "little") + cell.astype(np.int32).tobytes()
            if name in self._known:
                continue
            self._known.add(name)
            price = self._grid[places.site[i], period] + work.omega_q[i] * (
                period - work.release[i]
            )
            costs.append(float(price.sum()) * float(work.power_w[i]) * NANO_PER_QW / NANO)
            indices.append(np.concatenate(([i], self._count + cell)))
            values.append(np.concatenate(([1.0], np.full(halves[i], work.power_w[i] / _KW))))
            starts.append(starts[-1] + 1 + int(halves[i]))
        if costs:
            self._add(
                np.array(costs), np.array(starts), np.concatenate(indices), np.concatenate(values)
            )
        return len(costs)

    def solve(self) -> tuple[float, Ints]:
        """Give the master's optimum in GBP, and congestion prices [S, T] in Q units."""
        self._solver.run()
        dual = np.array(self._solver.getSolution().row_dual[self._count :])
        # GBP per kW in a half hour is half of GBP/kWh.
        prices = np.maximum(-2.0 * dual, 0.0).reshape(self._shape)
        return self._objective(), np.rint(prices / _GBP_PER_Q).astype(np.int64)

    def solve_whole(self) -> float:
        """Give the cost of the best schedule found among the known places, in GBP."""
        self._solver.changeColsIntegrality(
            self.columns,
            np.arange(self.columns, dtype=np.int32),
            np.full(self.columns, highspy.HighsVarType.kInteger),
        )
        self._solver.setOptionValue("time_limit", self._solver.getRunTime() + _MIP_SECONDS)
        self._solver.setOptionValue("mip_rel_gap", 1e-3)
        self._solver.run()
        return self._objective()

    def _objective(self) -> float:
        return float(self._solver.getInfo().objective_function_value)

    def _add(
        self, cost: np.typing.NDArray[np.float64], starts: Ints, rows: Ints, values: Any
    ) -> None:
        count = len(cost)
        self._solver.addCols(
            count,
            cost,
            np.zeros(count),
            np.full(count, highspy.kHighsInf),
            len(rows),
            starts.astype(np.int32),
            rows.astype(np.int32),
            values,
        )
        self.columns += count


def judge(case: Case, *, whole: bool) -> Verdict:
    """Solve a case exactly.

    Args:
        case: Without windows, at most ``LARGEST`` workloads.
        whole: Also look for a schedule, for at most a minute.

    Raises:
        InputError: The case has windows or is too large.
    """
    if case.market.windows or case.workloads > LARGEST:
        raise InputError(
            f"the exact solver judges at most {LARGEST} workloads without windows, not "
            f"{case.workloads} with {len(case.market.windows)}; leave out `--vs highs`"
        )
    begun = time.perf_counter()
    work = all_work(case)
    (book,) = make_books(case.fleets)
    contractors = InProcessContractors([book])
    (about,) = contractors.ask(Describe())
    edges = class_edges(about.powers, case.market)
    contractors.ask(Open(case.market, edges, (), int(about.powers[0])))
    master = Master(case, work)
    nobody = np.zeros(1, np.bool_)
    supply = case.market.area_grid_q()
    highest, rounds, fresh = -np.inf, 0, 1
    optimum, centre = master.solve()
    prices = centre
    while rounds < _ROUNDS and fresh and optimum - highest > _ENOUGH * abs(optimum):
        # Prices of a master swing; asking near the best ones so far finds better places. Where
        # that finds none, the master's own decide.
        for weight in (_INWARD, 0.0):
            rounds += 1
            asked = np.rint(weight * centre + (1.0 - weight) * prices).astype(np.int64)
            contractors.ask(Begin(asked, supply, nobody, nobody))
            (answer,) = contractors.ask(NamePlaces())
            bound = _bound(case, work, answer, asked)
            if bound > highest:
                highest, centre = bound, asked
            fresh = master.take(answer)
            if fresh:
                break
        optimum, prices = master.solve()
    seconds = time.perf_counter() - begun
    begun = time.perf_counter()
    integer = master.solve_whole() if whole else None
    return Verdict(
        workloads=case.workloads,
        trace=case.trace,
        seed=case.seed,
        lp_gbp=optimum,
        lp_slack=max((optimum - highest) / optimum, 0.0),
        integer_gbp=integer,
        columns=master.columns,
        rounds=rounds,
        seconds=seconds,
        integer_seconds=time.perf_counter() - begun,
    )


def _bound(case: Case, work: Work, places: Places, prices: Ints) -> float:
    """Give the bound that best responses certify at prices, in GBP."""
    count = np.diff(places.ptr)
    owner = np.repeat(np.arange(len(places)), count)
    site = np.repeat(places.site, count)
    each = (case.market.grid_q + prices)[site, places.period] + work.omega_q[owner] * (
        places.period - work.release[owner]
    )
    total = np.bincount(owner, weights=each, minlength=len(places))
    cost = np.where(
        places.site >= 0,
        np.minimum(total * work.power_w * NANO_PER_QW, work.refusal_nano),
        work.refusal_nano,
    )
    priced = float((prices.astype(np.float64) * case.market.capacity_w).sum()) * NANO_PER_QW
    return (float(cost.sum()) - priced) / NANO
