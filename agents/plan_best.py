"""When is best for one job: every start in every region compared, on figures that say whence.

One job alone needs no negotiation: its cheapest stretch is the market's answer too.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

import numpy as np

from agents.core.market.units import Bools, Floats, Ints
from agents.plan_grid import PlanGrid
from agents.plan_objective import Objective, value_weights
from schema.errors import InputError
from schema.periods import (
    ceil_half_hour,
    floor_half_hour,
    format_instant,
    half_hour_number,
    half_hour_start,
)
from schema.units import GRAMS_PER_KG, HOURS_PER_PERIOD, KWH_PER_MWH

#: Starts that differ by less than this, in GBP/kWh summed over half hours, are equally good.
_EQUAL = 1e-9


@dataclass(frozen=True, slots=True, eq=False)
class Figures:
    """A grid with its origin; NaN where a figure is unknown.

    Attributes:
        grid: Intensity, price and capacity (infinite where nothing is said of it).
        origin: Where the figures come from, in words.
        simulated: They are of a scenario, not of the real grid.
        notes: What else a reader must know.
    """

    grid: PlanGrid
    origin: str
    simulated: bool
    notes: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Question:
    """One job that may not be interrupted.

    Attributes:
        duration_min: Minutes; whole half hours are looked at.
        power_kw: Constant power.
        regions: Where it may run; empty for anywhere. The first is home.
        earliest_start: None for the start of the figures.
        deadline: Latest finish; None for the end of the figures.
        objective: What counts.
        carbon_value_gbp_per_kg: Value of carbon.
    """

    duration_min: int
    power_kw: float
    regions: tuple[int, ...]
    earliest_start: datetime | None
    deadline: datetime | None
    objective: Objective
    carbon_value_gbp_per_kg: float

    @property
    def periods(self) -> int:
        """Half hours, rounded up."""
        return -(-self.duration_min // 30)


@dataclass(frozen=True, slots=True)
class Slot:
    """A place for the job; half-hour numbers, None where a figure is unknown."""

    region_id: int
    first: int
    end: int
    energy_kwh: float
    gco2: float | None
    cost_gbp: float | None


@dataclass(frozen=True, slots=True)
class Answer:
    """The best place, what running at once would be, and other good places, best first."""

    best: Slot
    at_once: Slot
    others: tuple[Slot, ...]


def find_best(question: Question, figures: Figures, *, others: int = 4) -> Answer:
    """Compare all starts.

    A half hour counts only where all that the objective needs is known and the capacity holds the
    power. Of equally good starts the earliest is best, then the first region. Other places do not
    overlap one that is better in the same region.

    Raises:
        InputError: The figures do not cover what is asked, or no stretch of them is usable.
    """
    grid = figures.grid
    rows = _rows(question, grid)
    low, high = _window(question, figures)
    price_weight, carbon_value = value_weights(question.objective, question.carbon_value_gbp_per_kg)
    value = np.zeros_like(grid.intensity_gco2_per_kwh)
    if price_weight:
        value = value + grid.price_gbp_per_mwh / KWH_PER_MWH * price_weight
    if carbon_value:
        value = value + grid.intensity_gco2_per_kwh / GRAMS_PER_KG * carbon_value
    usable = np.isfinite(value) & (grid.capacity_kw >= question.power_kw)
    cost = _stretches(value, usable, question.periods)[rows, low : high - question.periods + 1]
    chosen = _pick(cost, question.periods, 1 + others)
    if not chosen:
        raise InputError(
            _why_none(question, figures, usable[rows, low:high], value[rows, low:high])
        )
    slots = [_slot(question, grid, int(rows[row]), low + start) for row, start in chosen]
    home = int(rows[0]) if question.regions else int(rows[chosen[0][0]])
    return Answer(slots[0], _slot(question, grid, home, low), tuple(slots[1:]))


def _rows(question: Question, grid: PlanGrid) -> Ints:
    if not question.regions:
        return np.arange(len(grid.regions))
    row_of = grid.row_of()
    for region in question.regions:
        if row_of[region] < 0:
            raise InputError(
                f"--region {region} is not in {grid.source}, which has {grid.named()}",
                field="region",
                value=region,
            )
    return row_of[list(question.regions)]


def _window(question: Question, figures: Figures) -> tuple[int, int]:
    """Give the first column that may be used and the one behind the last."""
    grid = figures.grid
    first, end = half_hour_start(grid.origin), half_hour_start(grid.end)
    start, stop = question.earliest_start or first, question.deadline or end
    if stop <= start:
        raise InputError(
            f"--deadline {format_instant(stop)} is not after the earliest start "
            f"{format_instant(start)}",
            field="deadline",
        )
    if start < first or stop > end:
        raise InputError(
            f"{figures.origin} reaches from {format_instant(first)} to {format_instant(end)}, "
            f"which does not cover {format_instant(start)} to {format_instant(stop)}",
            field="deadline" if stop > end else "earliest_start",
        )
    low = half_hour_number(ceil_half_hour(start)) - grid.origin
    high = half_hour_number(floor_half_hour(stop)) - grid.origin
    if high - low < question.periods:
        raise InputError(
            f"--duration {question.duration_min} min needs {question.periods} whole half hours, "
            f"but between {format_instant(start)} and {format_instant(stop)} lie "
            f"{max(high - low, 0)}; give a later --deadline",
            field="duration",
        )
    return low, high


def _stretches(value: Floats, usable: Bools, periods: int) -> Floats:
    """[S, T - periods + 1] sums over each stretch; infinite where a half hour is not usable."""
    total = _running(np.where(usable, value, 0.0))
    gaps = _running((~usable).astype(np.float64))
    sums = total[:, periods:] - total[:, :-periods]
    # Rounded, or the order of additions would decide between equal starts.
    sums = np.round(sums / _EQUAL) * _EQUAL
    return np.where(gaps[:, periods:] == gaps[:, :-periods], sums, np.inf)


def _running(table: Floats) -> Floats:
    return np.concatenate((np.zeros((len(table), 1)), np.cumsum(table, axis=1)), axis=1)


def _pick(cost: Floats, periods: int, count: int) -> list[tuple[int, int]]:
    """Choose the cheapest, then the cheapest that overlaps none before it in its region."""
    left = cost.copy()
    chosen: list[tuple[int, int]] = []
    while len(chosen) < count and np.isfinite(left).any():
        start, row = divmod(int(np.argmin(left.T)), len(left))
        chosen.append((row, start))
        left[row, max(0, start - periods + 1) : start + periods] = np.inf
    return chosen


def _slot(question: Question, grid: PlanGrid, row: int, start: int) -> Slot:
    each_kwh = question.power_kw * HOURS_PER_PERIOD
    stretch = slice(start, start + question.periods)
    return Slot(
        region_id=int(grid.regions[row]),
        first=grid.origin + start,
        end=grid.origin + start + question.periods,
        energy_kwh=each_kwh * question.periods,
        gco2=_total(grid.intensity_gco2_per_kwh[row, stretch], each_kwh),
        cost_gbp=_total(grid.price_gbp_per_mwh[row, stretch], each_kwh / KWH_PER_MWH),
    )


def _total(values: Floats, weight: float) -> float | None:
    return float(values.sum() * weight) if bool(np.isfinite(values).all()) else None


def _why_none(question: Question, figures: Figures, usable: Bools, value: Floats) -> str:
    if not np.isfinite(value).any():
        what = {Objective.CARBON: "intensity", Objective.COST: "price"}
        lacking = what.get(question.objective, "intensity or price")
        return (
            f"{figures.origin} knows no {lacking} there; try --objective carbon or cost, or give "
            "--grid"
        )
    if not usable.any():
        return f"--power {question.power_kw:g} kW is above the capacity there, in every half hour"
    return (
        f"no stretch of {question.periods} half hours is wholly known and has room for "
        f"{question.power_kw:g} kW; give a later --deadline, a shorter --duration or more regions"
    )
