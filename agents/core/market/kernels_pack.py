"""Packing: which of the workloads that stand in a region and half hour draw on its windows.

Places stay as they are, and every half hour is decided by itself, so a packing that saves more
is better without touching anything else.
"""

from __future__ import annotations

from agents.core.market.jit import kernel
from agents.core.market.units import Ints

#: Above so many workloads in one region and half hour the greedy fill leaves nothing to swap.
SWAP_UP_TO = 256


@kernel
def fill_windows(
    power: Ints,
    first: int,
    end: int,
    low: int,
    high: int,
    grid: int,
    value: Ints,
    capacity: Ints,
    out: Ints,
) -> int:
    """Fill the slots ``low`` to ``high`` of one region and half hour.

    Args:
        power: Powers of all entries; those of this half hour, ``first`` to ``end``, fall.
        first, end: The entries.
        low, high: The slots, rising in value.
        grid: Grid value.
        value, capacity: [V] of all slots.
        out: Slot of each entry, -1 for the grid; written.

    Returns:
        Watts times saving.
    """
    saved = 0
    for k in range(first, end):
        out[k] = -1
    for v in range(low, high):
        if value[v] >= grid:
            continue
        room = capacity[v]
        for k in range(first, end):
            if out[k] < 0 and power[k] <= room:
                out[k] = v
                room -= power[k]
        if end - first <= SWAP_UP_TO:
            for k in range(first, end):
                if out[k] >= 0 or room == 0:
                    continue
                # The largest gain that fits: give one of this slot's places to this load.
                best = -1
                for j in range(k + 1, end):
                    gain = power[k] - power[j]
                    if (
                        out[j] == v
                        and gain <= room
                        and gain > 0
                        and (best < 0 or gain > power[k] - power[best])
                    ):
                        best = j
                if best >= 0:
                    room -= power[k] - power[best]
                    out[best] = -1
                    out[k] = v
        saved += (capacity[v] - room) * (grid - value[v])
    return saved


@kernel
def pack_cells(
    cell: Ints,
    power: Ints,
    slot: Ints,
    grid: Ints,
    ptr: Ints,
    value: Ints,
    capacity: Ints,
    out: Ints,
) -> int:
    """Pack every region and half hour and keep what saves more, the present or the new filling.

    Args:
        cell: Region times T plus half hour of each entry, rising.
        power: Watts, falling within a cell.
        slot: Present slot, -1 for the grid.
        grid: [A * T] grid value.
        ptr: [A * T + 1] first slot of each cell.
        value, capacity: [V]
        out: New slot of each entry; written.

    Returns:
        Number of entries whose supply changed.
    """
    changed = 0
    first = 0
    while first < cell.shape[0]:
        end = first
        while end < cell.shape[0] and cell[end] == cell[first]:
            end += 1
        here = cell[first]
        saved = fill_windows(
            power, first, end, ptr[here], ptr[here + 1], grid[here], value, capacity, out
        )
        before = 0
        for k in range(first, end):
            if slot[k] >= 0:
                before += power[k] * (grid[here] - value[slot[k]])
        if before >= saved:
            for k in range(first, end):
                out[k] = slot[k]
        else:
            for k in range(first, end):
                if out[k] != slot[k]:
                    changed += 1
        first = end
    return changed
