"""Small CSV files for tests of the planner, written by hand."""

from __future__ import annotations

from pathlib import Path

from agents.plan_batch import WORKLOAD_COLUMNS, Batch, build_batch
from agents.plan_grid import GRID_COLUMNS, PlanGrid, build_grid
from agents.plan_table import parse_table

GRID_HEADER = ",".join(GRID_COLUMNS)
WORKLOAD_HEADER = ",".join(WORKLOAD_COLUMNS)

#: Two regions, four half hours from midnight. Region 1 is clean and dear at first, region 13 the
#: other way round.
GRID = f"""{GRID_HEADER}
1,2026-01-01T00:00Z,100,50,10
1,2026-01-01T00:30Z,100,50,10
1,2026-01-01T01:00Z,10,50,10
1,2026-01-01T01:30Z,10,50,10
13,2026-01-01T00:00Z,200,20,5
13,2026-01-01T00:30Z,200,20,5
13,2026-01-01T01:00Z,200,-20,5
13,2026-01-01T01:30Z,200,-20,5
"""

#: An hour of 4 kW at any time, and half an hour of 2 kW in region 13 alone.
WORKLOADS = f"""{WORKLOAD_HEADER}
a,4,60,2026-01-01T00:00Z,2026-01-01T02:00Z,1;13,false,,,
b,2,30,2026-01-01T00:00Z,2026-01-01T02:00Z,13,true,13,0.01,5
"""


def grid_of(text: str = GRID) -> PlanGrid:
    return build_grid(parse_table(text.encode(), "G.csv", GRID_COLUMNS))


def batch_of(text: str = WORKLOADS, grid: PlanGrid | None = None) -> Batch:
    table = parse_table(text.encode(), "W.csv", WORKLOAD_COLUMNS, label="workload_id")
    return build_batch(table, grid_of() if grid is None else grid)


def write_samples(folder: Path, *, grid: str = GRID, workloads: str = WORKLOADS) -> tuple[str, str]:
    (folder / "G.csv").write_text(grid, encoding="utf-8")
    (folder / "W.csv").write_text(workloads, encoding="utf-8")
    return str(folder / "G.csv"), str(folder / "W.csv")
