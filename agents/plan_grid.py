"""The grid of a plan: intensity, price and capacity of regions over a run of half hours.

    region_id,valid_from,intensity_gco2_per_kwh,price_gbp_per_mwh,capacity_kw

UTC half hours, every region and half hour exactly once, in any order.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from agents.core.market.units import MAX_PERIODS, Floats, Ints
from agents.plan_table import Table, read_table
from schema.errors import InputError
from schema.periods import format_instant, half_hour_start
from schema.regions import REGION_COUNT

GRID_COLUMNS = (
    "region_id",
    "valid_from",
    "intensity_gco2_per_kwh",
    "price_gbp_per_mwh",
    "capacity_kw",
)
HALF_HOUR_US = 1_800_000_000
_MAX_INTENSITY = 2_000.0
_MAX_PRICE = 100_000.0
_MAX_CAPACITY = 1e8
_SHOWN = 5


@dataclass(frozen=True, slots=True, eq=False)
class PlanGrid:
    """Figures of some regions over consecutive half hours.

    Attributes:
        source: Where they come from, for messages.
        regions: [S] region numbers, rising; the order of rows.
        origin: Half-hour number of column 0.
        intensity_gco2_per_kwh, price_gbp_per_mwh, capacity_kw: [S, T].
    """

    source: str
    regions: Ints
    origin: int
    intensity_gco2_per_kwh: Floats
    price_gbp_per_mwh: Floats
    capacity_kw: Floats

    @property
    def periods(self) -> int:
        """Number of half hours."""
        return int(self.intensity_gco2_per_kwh.shape[1])

    @property
    def end(self) -> int:
        """Half-hour number behind the last."""
        return self.origin + self.periods

    def span(self) -> str:
        """Say from when to when."""
        first, last = half_hour_start(self.origin), half_hour_start(self.end)
        return f"{format_instant(first)} to {format_instant(last)}"

    def named(self) -> str:
        """List the regions."""
        return ", ".join(str(region) for region in self.regions.tolist())

    def row_of(self) -> Ints:
        """[15] row of each region number, -1 where the grid lacks it."""
        rows = np.full(REGION_COUNT + 1, -1, np.int64)
        rows[self.regions] = np.arange(len(self.regions))
        return rows


def read_grid(path: Path) -> PlanGrid:
    """Read a grid.

    Raises:
        InputError: The file, a value, or a hole or double cell in the table; names them.
    """
    return build_grid(read_table(path, GRID_COLUMNS))


def build_grid(table: Table) -> PlanGrid:
    """Check a table and lay it out by region and half hour; see ``read_grid``."""
    region = table.integers("region_id", 1, REGION_COUNT, f"a whole number 1 to {REGION_COUNT}")
    instants = table.instants("valid_from")
    intensity = table.numbers(
        "intensity_gco2_per_kwh", 0.0, _MAX_INTENSITY, f"a number 0 to {_MAX_INTENSITY:g}"
    )
    price = table.numbers(
        "price_gbp_per_mwh", -_MAX_PRICE, _MAX_PRICE, f"a number within ±{_MAX_PRICE:g}"
    )
    capacity = table.numbers("capacity_kw", 0.0, _MAX_CAPACITY, f"a number 0 to {_MAX_CAPACITY:g}")
    table.fault_where(
        instants % HALF_HOUR_US != 0, "valid_from", "the start of a half hour is needed"
    )
    table.faults.stop_here()
    number = instants // HALF_HOUR_US
    origin, periods = int(number.min()), int(number.max() - number.min()) + 1
    if periods > MAX_PERIODS:
        raise InputError(
            f"{table.faults.file}: valid_from spans {periods} half hours; at most {MAX_PERIODS} "
            "can be planned at once",
            file=table.faults.file,
            field="valid_from",
        )
    regions = np.unique(region)
    cell = np.searchsorted(regions, region) * periods + (number - origin)
    _check_complete(table, regions, cell, origin, periods)
    shape = (len(regions), periods)
    order = np.argsort(cell)
    return PlanGrid(
        source=table.faults.file,
        regions=regions,
        origin=origin,
        intensity_gco2_per_kwh=intensity[order].reshape(shape),
        price_gbp_per_mwh=price[order].reshape(shape),
        capacity_kw=capacity[order].reshape(shape),
    )


def _check_complete(table: Table, regions: Ints, cell: Ints, origin: int, periods: int) -> None:
    """Note cells that are there twice, and those that are missing."""
    order = np.argsort(cell, kind="stable")
    again = np.flatnonzero(np.diff(cell[order]) == 0)
    for at in order[again + 1].tolist():
        first = table.lines[int(np.flatnonzero(cell == cell[at])[0])]
        table.fault(
            at,
            "valid_from",
            f"region {table.columns['region_id'][at]} has this half hour at line {first} already; "
            "each may be there once",
        )
    missing = np.setdiff1d(np.arange(len(regions) * periods), cell)
    for hole in missing[:_SHOWN].tolist():
        region = int(regions[hole // periods])
        start = format_instant(half_hour_start(origin + hole % periods))
        table.faults.add(
            "valid_from",
            None,
            f"the grid has a hole: region {region} lacks {start} ({len(missing)} missing in all); "
            "every region needs every half hour once",
        )
    table.faults.stop_here()
