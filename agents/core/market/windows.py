"""The manager's packing of windows: who draws on them, given where everybody stands."""

from __future__ import annotations

import numpy as np

from agents.core.market.contractors import Contractors
from agents.core.market.kernels_pack import pack_cells
from agents.core.market.problem import Market
from agents.core.market.questions import ListSupplies, SetSupplies
from agents.core.market.replies import Supplied
from agents.core.market.units import Ints


def pack(market: Market, contractors: Contractors, starts: int) -> int:
    """Pack the windows in every start; gives the number of half hours that change supply."""
    changed = 0
    for start in range(starts):
        parts = contractors.ask(ListSupplies(start))
        slots, moved = packed(market, parts)
        if moved:
            contractors.ask(
                SetSupplies(
                    start,
                    tuple((part.organisation, part.groups) for part in parts),
                    tuple(slots),
                )
            )
        changed += moved
    return changed


def packed(market: Market, parts: list[Supplied]) -> tuple[list[Ints], int]:
    """Decide on the slots of all listed half hours; gives them by shard, and how many change."""
    cell = np.concatenate([part.cell for part in parts])
    power = np.concatenate([part.power_w for part in parts])
    key = np.concatenate([part.key for part in parts])
    slot = np.concatenate([part.slot for part in parts])
    order = np.lexsort((key, -power, cell))
    out = np.empty(len(cell), np.int64)
    moved = pack_cells(
        cell[order],
        power[order],
        slot[order],
        np.ascontiguousarray(market.area_grid_q().ravel()),
        market.slot_ptr,
        market.slot_q,
        market.slot_w,
        out,
    )
    back = np.empty(len(cell), np.int64)
    back[order] = out
    cuts = np.cumsum([len(part.cell) for part in parts])[:-1]
    return [np.ascontiguousarray(part) for part in np.split(back, cuts)], int(moved)


def unusable_windows(market: Market, powers: Ints) -> list[int]:
    """Give the windows smaller than every workload."""
    least = int(powers.min()) if len(powers) else 0
    return [index for index, watts in enumerate(market.window_w.tolist()) if watts < least]
