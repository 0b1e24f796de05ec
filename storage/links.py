"""Which column of which table points at which parent; the foreign keys, for stores and drain."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType

RUN_COLUMN = "run_id"
RUN_TABLE = "scenario_runs"

#: Table to link column to parent table; every table but the runs also points at its run.
PARENTS: Mapping[str, Mapping[str, str]] = MappingProxyType(
    {
        "compute_windows": {"zone_id": "grid_zones"},
        "offers": {"window_id": "compute_windows"},
        "compute_assets": {"agent_id": "agents"},
        "compute_workloads": {"agent_id": "agents"},
        "agent_negotiations": {"workload_id": "compute_workloads"},
        "workload_schedules": {
            "workload_id": "compute_workloads",
            "asset_id": "compute_assets",
            "window_id": "compute_windows",
        },
    }
)


def parent_ids(table: str, columns: Mapping[str, object]) -> list[tuple[str, str]]:
    """List the parents that a row names: (table, id), without the run."""
    named = ((parent, columns.get(column)) for column, parent in PARENTS.get(table, {}).items())
    return [(parent, found) for parent, found in named if isinstance(found, str)]
