"""The workloads of a plan, as columns that fit its grid.

    workload_id,power_kw,duration_min,earliest_start,deadline,regions,interruptible,home_region,
    delay_cost_gbp_per_kwh_h,refusal_value_gbp

``regions`` are separated by ``;``; the last three columns may be empty. Without ``home_region`` the
first of ``regions`` that the grid has is home. What is needed in whole half hours is rounded so
that a plan never promises too much: starts and durations up, deadlines down, power up to
whole watts.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from agents.core.market.units import MAX_DELAY, NANO, Bools, Floats, Ints, price_to_q
from agents.plan_grid import HALF_HOUR_US, PlanGrid
from agents.plan_table import Table, read_table
from schema.regions import REGION_COUNT
from schema.units import HOURS_PER_PERIOD, WATTS_PER_KW

WORKLOAD_COLUMNS = (
    "workload_id",
    "power_kw",
    "duration_min",
    "earliest_start",
    "deadline",
    "regions",
    "interruptible",
    "home_region",
    "delay_cost_gbp_per_kwh_h",
    "refusal_value_gbp",
)
NOT_STATED = -1
"""Refusal value of a workload whose owner gave none."""

_LEAST_POWER_KW = 1.0 / WATTS_PER_KW
_MOST_POWER_KW = 1e6
_MOST_MINUTES = 10_000_000
_MOST_DELAY = 1_000.0
_MOST_REFUSAL_GBP = 1e9
_LONGEST_NAME = 256
#: A power given in decimals of a watt is rounded up; one that is whole is not, despite binary.
_ROUNDING = 1e-6


@dataclass(frozen=True, slots=True, eq=False)
class Batch:
    """Checked workloads; [n] unless said, periods counted from the grid's start.

    Attributes:
        names: Ids in the file's order.
        power_kw: As given.
        power_w: Whole watts, rounded up.
        duration: Half hours, rounded up.
        earliest: First usable period, never negative.
        release: Period from which delay costs; negative where it lies before the grid.
        deadline: End, excluded; never beyond the grid.
        masks: [M, S] sets of regions as rows of the grid; ``mask`` is each workload's.
        home: Row of the baseline's region.
        interruptible: Whether half hours may be apart.
        omega_q: Delay cost, Q units of GBP/kWh per half hour.
        refusal_nano: 1e-9 GBP; ``NOT_STATED`` where none was given.
    """

    names: NDArray[np.str_]
    power_kw: Floats
    power_w: Ints
    duration: Ints
    earliest: Ints
    release: Ints
    deadline: Ints
    masks: Bools
    mask: Ints
    home: Ints
    interruptible: Bools
    omega_q: Ints
    refusal_nano: Ints

    def __len__(self) -> int:
        return len(self.names)


def read_batch(path: Path, grid: PlanGrid) -> Batch:
    """Read workloads for a grid.

    Raises:
        InputError: The file, or values in it; names line, field, value and what is allowed.
    """
    return build_batch(read_table(path, WORKLOAD_COLUMNS, label="workload_id"), grid)


def build_batch(table: Table, grid: PlanGrid) -> Batch:
    """Check a table of workloads against a grid; see ``read_batch``."""
    _check_names(table)
    power = table.numbers(
        "power_kw",
        _LEAST_POWER_KW,
        _MOST_POWER_KW,
        f"a number {_LEAST_POWER_KW:g} (one watt) to {_MOST_POWER_KW:g}",
    )
    minutes = table.integers(
        "duration_min", 1, _MOST_MINUTES, f"a whole number of minutes 1 to {_MOST_MINUTES}"
    )
    start = table.instants("earliest_start")
    stop = table.instants("deadline")
    interruptible = table.flags("interruptible")
    delay = table.numbers(
        "delay_cost_gbp_per_kwh_h",
        0.0,
        _MOST_DELAY,
        f"a number 0 to {_MOST_DELAY:g}, or empty for 0",
        empty=0.0,
    )
    refusal = table.numbers(
        "refusal_value_gbp",
        0.0,
        _MOST_REFUSAL_GBP,
        f"a number 0 to {_MOST_REFUSAL_GBP:g}, or empty for the default",
        empty=math.nan,
    )
    masks, mask, home = _regions(table, grid)
    table.faults.stop_here()
    duration = -(-minutes // 30)
    release = -(-start // HALF_HOUR_US) - grid.origin
    deadline = stop // HALF_HOUR_US - grid.origin
    _check_windows(table, start, stop, duration, deadline - release)
    earliest = np.maximum(release, 0)
    deadline = np.minimum(deadline, grid.periods)
    _check_horizon(table, grid, duration, deadline - earliest)
    omega_q = price_to_q(delay * HOURS_PER_PERIOD)
    waiting = omega_q.astype(np.float64) * duration * (deadline - release)
    table.fault_where(
        waiting > MAX_DELAY,
        "delay_cost_gbp_per_kwh_h",
        "over the whole window this delay cost is beyond what can be counted; give a lower one, or "
        "a later earliest_start",
    )
    table.faults.stop_here()
    stated = np.isfinite(refusal)
    return Batch(
        names=np.array(table.columns["workload_id"], dtype=np.str_),
        power_kw=power,
        power_w=np.ceil(power * WATTS_PER_KW - _ROUNDING).astype(np.int64),
        duration=duration,
        earliest=earliest,
        release=release,
        deadline=deadline,
        masks=masks,
        mask=mask,
        home=home,
        interruptible=interruptible,
        omega_q=omega_q,
        refusal_nano=np.where(
            stated, np.rint(np.where(stated, refusal, 0.0) * NANO), NOT_STATED
        ).astype(np.int64),
    )


def _check_names(table: Table) -> None:
    names = table.columns["workload_id"]
    first: dict[str, int] = {}
    for at, name in enumerate(names):
        if not 1 <= len(name) <= _LONGEST_NAME:
            table.fault(at, "workload_id", f"1 to {_LONGEST_NAME} characters are needed")
        seen = first.setdefault(name, at)
        if seen != at and name:
            line = table.lines[seen]
            table.fault(at, "workload_id", f"is at line {line} already; each may be there once")


def _regions(table: Table, grid: PlanGrid) -> tuple[Bools, Ints, Ints]:
    """Give the sets of allowed rows of the grid, each workload's set, and its home row."""
    row_of = grid.row_of()

    def allowed(text: str) -> tuple[int, ...]:
        return _allowed(text, grid)

    def home_of(text: str) -> int:
        return _home(text, grid) if text else 0

    nothing: tuple[int, ...] = ()
    sets = table.each("regions", allowed, nothing)
    homes = table.each("home_region", home_of, 0)
    masks = np.zeros((len(dict.fromkeys(sets)), len(grid.regions)), np.bool_)
    number: dict[tuple[int, ...], int] = {}
    first_home: list[int] = []
    for regions in dict.fromkeys(sets):
        number[regions] = len(number)
        rows = row_of[list(regions)]
        masks[number[regions], rows[rows >= 0]] = True
        first_home.append(int(rows[rows >= 0][0]) if regions else 0)
    mask = np.array([number[regions] for regions in sets], dtype=np.int64)
    home = np.array(first_home, dtype=np.int64)[mask]
    for at, (region, regions) in enumerate(zip(homes, sets, strict=True)):
        if region:
            home[at] = row_of[region]
            if regions and region not in regions:
                table.fault(at, "home_region", f"must be one of its regions {list(regions)}")
    return masks, mask, home


def _allowed(text: str, grid: PlanGrid) -> tuple[int, ...]:
    """Read a list of regions, in the order given; one of them must be in the grid."""
    hint = f"region numbers 1 to {REGION_COUNT} separated by ';' are needed"
    try:
        found = tuple(int(part) for part in text.split(";"))
    except ValueError:
        raise ValueError(hint) from None
    for region in found:
        if not 1 <= region <= REGION_COUNT:
            raise ValueError(f"region {region} is unknown; {hint}")
    if len(set(found)) != len(found):
        raise ValueError("a region is named twice; once each is allowed")
    if not set(found) & set(grid.regions.tolist()):
        raise ValueError(f"none of these is in the grid, which has region {grid.named()}")
    return found


def _home(text: str, grid: PlanGrid) -> int:
    hint = f"one of the grid's regions {grid.named()} is needed, or nothing"
    try:
        region = int(text)
    except ValueError:
        raise ValueError(hint) from None
    if region not in grid.regions.tolist():
        raise ValueError(hint)
    return region


def _check_windows(table: Table, start: Ints, stop: Ints, duration: Ints, room: Ints) -> None:
    """Note deadlines that come too early for the workload by itself."""
    early = stop <= start
    for at in np.flatnonzero(early).tolist():
        given = table.columns["earliest_start"][at]
        table.fault(at, "deadline", f"must be after earliest_start, which is {given!r}")
    for at in np.flatnonzero(~early & (room < duration)).tolist():
        table.fault(
            at,
            "duration_min",
            f"needs {int(duration[at])} whole half hours, but between earliest_start "
            f"{table.columns['earliest_start'][at]!r} and deadline "
            f"{table.columns['deadline'][at]!r} lie {max(int(room[at]), 0)}",
        )
    table.faults.stop_here()


def _check_horizon(table: Table, grid: PlanGrid, duration: Ints, room: Ints) -> None:
    """Note workloads that the grid's half hours cannot hold."""
    for at in np.flatnonzero(room < duration).tolist():
        start = table.columns["earliest_start"][at]
        table.fault(
            at,
            "duration_min",
            f"needs {int(duration[at])} half hours, but the grid ({grid.span()}) has "
            f"{max(int(room[at]), 0)} between earliest_start {start!r} "
            f"and deadline {table.columns['deadline'][at]!r}; use a grid that covers them",
        )
    table.faults.stop_here()
