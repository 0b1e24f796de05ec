"""From rows to the board of one workload: settled tables, what others drew, and windows by cell."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from agents.core.auditing.reading import Cells, Tables, Workload, instant, planned_cells
from agents.core.explaining.choices import Board
from agents.core.market.units import NEVER, Ints
from agents.core.view import window_id
from schema.periods import ceil_half_hour, half_hour_number

Row = Mapping[str, Any]
Wall = tuple[int, int, int]
"""A window's region, its first half hour, and the first one after it."""


@dataclass(frozen=True, slots=True, eq=False)
class Drawn:
    """What all other work draws once a conversation is over.

    Attributes:
        load_w: [all sites, half hours] of the settled tables.
        window_w: By window and half-hour number.
    """

    load_w: Ints
    window_w: Mapping[tuple[str, int], int]


def drawn_by_others(
    tables: Tables,
    schedules: Sequence[Row],
    given_back: Mapping[Workload, int],
    *,
    conversation: str,
    but: Workload,
) -> Drawn:
    """Add up the contracts that stand after a conversation, without those of one workload.

    Args:
        tables: Settled in the conversation.
        schedules: Rows of ``workload_schedules``, every revision.
        given_back: Up to which revision a place was given back by then.
        conversation: Its id; ids count up within a run.
        but: The workload to leave out.
    """
    standing: dict[Workload, list[Row]] = {}
    for row in schedules:
        key = (row["agent_name"], row["workload_name"])
        if key == but or int(row["conversation_id"]) > int(conversation):
            continue
        known = standing.get(key)
        if known is None or known[0]["revision"] < row["revision"]:
            standing[key] = [row]
        elif known[0]["revision"] == row["revision"]:
            known.append(row)
    load = np.zeros_like(tables.capacity_w)
    windows: dict[tuple[str, int], int] = {}
    for key, rows in standing.items():
        if rows[0]["revision"] <= given_back.get(key, -1):
            continue
        power_w = round(float(rows[0]["power_kw"]) * 1000)
        _draw(tables, planned_cells(rows), power_w, load, windows)
    return Drawn(load, windows)


def _draw(
    tables: Tables,
    cells: Cells,
    power_w: int,
    load: Ints,
    windows: dict[tuple[str, int], int],
) -> None:
    for half_hour, (site, window) in cells.items():
        column = half_hour - tables.origin
        if not 0 <= column < load.shape[1] or site not in tables.sites:
            continue
        load[tables.sites[site], column] += power_w
        if window is not None:
            windows[window, half_hour] = windows.get((window, half_hour), 0) + power_w


def walls_of(windows: Sequence[Row], zones: Sequence[Row]) -> dict[str, Wall]:
    """Give where and when each window holds: the half hours wholly inside it.

    Args:
        windows: Rows of ``compute_windows``.
        zones: Rows of ``grid_zones``; a window of a zone in no known region is left out.
    """
    regions = {row["zone_code"]: row["region_id"] for row in zones}
    return {
        window_id(row["bpp_id"], row["item_id"], starts): (
            int(regions[row["zone_code"]]),
            half_hour_number(ceil_half_hour(starts)),
            half_hour_number(instant(row["ends_at"])),
        )
        for row in windows
        if regions.get(row["zone_code"]) is not None and (starts := instant(row["starts_at"]))
    }


def board_of(workload: Row, tables: Tables, drawn: Drawn, walls: Mapping[str, Wall]) -> Board:
    """Lay out what was on offer to a workload: its time window cut to the half hours settled."""
    power_w = round(float(workload["power_kw"]) * 1000)
    width = tables.mu_q.shape[1]
    low, high = (
        min(max(half_hour - tables.origin, 0), width)
        for half_hour in (
            half_hour_number(ceil_half_hour(instant(workload["earliest_start"]))),
            half_hour_number(instant(workload["deadline"])),
        )
    )
    allowed = set(workload["allowed_regions"])
    names = [name for name, row in tables.sites.items() if tables.regions[row] in allowed]
    at = np.ix_([tables.sites[name] for name in names], range(low, max(low, high)))
    regions = tuple(tables.regions[tables.sites[name]] for name in names)
    free = np.array(tables.row["content"]["free_w"], dtype=np.int64)[at]
    grid, mu, load = tables.grid_q[at], tables.mu_q[at], drawn.load_w[at]
    room = np.minimum(tables.capacity_w[at] - load, free)
    posted, left, first = grid.copy(), grid.copy(), tables.origin + low
    for row, name in enumerate(names):
        for column in range(grid.shape[1]):
            for offer, has_room in _offers(tables, drawn, walls, name, first + column, power_w):
                posted[row, column] = min(posted[row, column], offer)
                if has_room:
                    left[row, column] = min(left[row, column], offer)
    return Board(
        sites=tuple(names),
        regions=regions,
        first=first,
        power_w=power_w,
        duration=-(-int(workload["duration_min"]) // 30),
        interruptible=bool(workload["interruptible"]),
        grid_q=grid,
        mu_q=mu,
        posted_q=np.where(free >= power_w, posted + mu, NEVER),
        open_q=np.where(room >= power_w, left + mu, NEVER),
        load_w=load,
        capacity_w=tables.capacity_w[at],
        room_w=np.maximum(room, 0),
    )


def _offers(
    tables: Tables,
    drawn: Drawn,
    walls: Mapping[str, Wall],
    site: str,
    half_hour: int,
    power_w: int,
) -> Iterator[tuple[int, bool]]:
    """Give the price of each window that is large enough, and whether it has room left."""
    row = tables.sites[site]
    for window, own in tables.window_q.items():
        size = tables.window_w[window]
        region, begins, ends = walls.get(window, (0, 0, 0))
        if region == tables.regions[row] and begins <= half_hour < ends and size >= power_w:
            posted = int(tables.supply_q[tables.area_of_site[row], half_hour - tables.origin])
            used = drawn.window_w.get((window, half_hour), 0)
            yield max(own, posted), size - used >= power_w
