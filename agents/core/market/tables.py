"""Price tables as a workload sees them: congestion plus supply, one table a power class.

A workload of power p can never use a cell whose whole capacity is below p, nor a window smaller
than p. A table that says so keeps the bound tight; it is made for the lowest power of each class,
so that it never takes a choice from anybody.
"""

from __future__ import annotations

import numpy as np

from agents.core.market.kernels_search import Supplies
from agents.core.market.problem import Market
from agents.core.market.units import NEVER, Ints

#: Most power classes of one conversation.
MAX_CLASSES = 64
#: Most power classes where many workloads make tables dear.
FEW_CLASSES = 8


def class_edges(powers: Ints, market: Market, classes: int = MAX_CLASSES) -> Ints:
    """Cut powers into classes; gives the lowest power of each class but the first.

    Powers between two neighbouring capacities can use the same cells and windows and form one
    class; if that gives too many classes, neighbours are put together by number of workloads.

    Args:
        powers: Powers of all workloads, any order.
        market: For its capacities.
        classes: Most classes wanted.
    """
    if len(powers) == 0 or classes <= 1:
        return np.zeros(0, np.int64)
    ordered = np.sort(powers)
    limits = np.unique(np.concatenate((market.capacity_w.ravel(), market.window_w)))
    kind = np.searchsorted(limits, ordered, side="left")
    starts = np.flatnonzero(np.diff(kind)) + 1
    if len(starts) >= classes:
        wanted = (np.arange(1, classes) * len(ordered)) // classes
        starts = np.unique(starts[np.minimum(np.searchsorted(starts, wanted), len(starts) - 1)])
    return np.asarray(ordered[starts])


def supply_view(market: Market) -> Supplies:
    """Give the windows in the kernels' form."""
    return Supplies(
        area=np.array(market.area),
        ptr=np.array(market.slot_ptr),
        period=np.array(market.slot_period),
        value=np.array(market.slot_q),
    )


class ClassTables:
    """Makes the [K, S, T] price tables of a conversation from announced prices.

    Args:
        market: The public side.
        edges: Lowest power of each class but the first.
        lowest: Lowest power of the first class; 0 if unknown.
    """

    def __init__(self, market: Market, edges: Ints, lowest: int = 0) -> None:
        self._market = market
        floors = [lowest, *edges.tolist()]
        self._closed = np.stack([market.capacity_w < floor for floor in floors])
        self._slots = [np.flatnonzero(market.slot_w >= max(floor, 1)) for floor in floors]

    def prices(self, mu_q: Ints, supply_q: Ints) -> Ints:
        """Give what one half hour costs in each cell, by power class.

        Args:
            mu_q: [S, T] congestion prices.
            supply_q: [A, T] supply prices; read only where a region has windows.

        Returns:
            [K, S, T] in Q units, NEVER where the class cannot go.
        """
        market = self._market
        out = np.repeat((market.grid_q + mu_q)[None], len(self._slots), axis=0)
        if len(market.slot_q):
            announced = supply_q[market.slot_area, market.slot_period]
            offer = np.maximum(market.slot_q, announced)
            for k, slots in enumerate(self._slots):
                supply = market.area_grid_q().copy()
                cells = (market.slot_area[slots], market.slot_period[slots])
                np.minimum.at(supply, cells, offer[slots])
                out[k] = supply[market.area] + mu_q
        out[self._closed] = NEVER
        return np.ascontiguousarray(out)


def window_capacity_price_q(market: Market, supply_q: Ints) -> Ints:
    """[V] congestion price of each slot: max(0, s - g_w)."""
    announced = supply_q[market.slot_area, market.slot_period]
    return np.asarray(np.maximum(announced - market.slot_q, 0))
