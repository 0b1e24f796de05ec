"""When the materialized views are brought up to date. Pure.

They are a reader's convenience: nobody in gridpact decides by them. So they follow the tables at a
leisurely pace, only when a table they show has changed, and never while rows are piling up.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

#: Tables that some view shows.
SHOWN_TABLES = frozenset(
    {
        "scenario_runs",
        "grid_zones",
        "compute_windows",
        "offers",
        "grid_snapshots",
        "carbon_intensity_national",
        "carbon_intensity_regional",
        "generation_mix_national",
        "demand_forecast_national",
        "demand_actual_national",
        "wholesale_prices",
        "compute_assets",
        "compute_workloads",
        "workload_schedules",
    }
)
#: A backlog above this is sent first.
BACKLOG_ROWS = 20_000


@dataclass(frozen=True, slots=True)
class Refreshed:
    """The last refresh: when, in monotonic seconds, and how much had been sent by then."""

    at_s: float
    shown_rows: int


def shown_rows(sent: Mapping[str, int]) -> int:
    """Count the rows sent to tables that a view shows."""
    return sum(count for table, count in sent.items() if table in SHOWN_TABLES)


def is_due(
    last: Refreshed | None,
    *,
    now_s: float,
    sent: Mapping[str, int],
    backlog: int,
    interval_s: float,
) -> bool:
    """Say whether to refresh now.

    Args:
        last: The last refresh; None when there was none since the start.
        now_s: Monotonic seconds.
        sent: Rows sent since the start, by table.
        backlog: Rows still in the spool.
        interval_s: Least seconds between two.
    """
    if backlog > BACKLOG_ROWS:
        return False
    if last is None:
        return shown_rows(sent) > 0
    return now_s - last.at_s >= interval_s and shown_rows(sent) > last.shown_rows
