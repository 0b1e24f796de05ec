"""Accepted work back at its contract's place."""

from __future__ import annotations

import numpy as np

from agents.core.market.fleet import Rows
from agents.core.market.kernels_search import Plan
from agents.core.market.plans import Places
from agents.core.market.problem import GRID, Market
from agents.core.market.units import Ints


class InForce:
    """The plan in force, as far as it concerns a shard.

    Args:
        rows: The shard's.
        force: Places in force of its organisation; None if there are none.
        market: Whose slots the contracts' windows are looked up in.
    """

    def __init__(self, rows: Rows, force: Places | None, market: Market) -> None:
        self._rows, self._force, self._market = rows, force, market
        self.position = _old_positions(force, rows)
        """[n] of each accepted row in the plan in force, -1 where it has none."""

    def put_back(self, plan: Plan, b: int, found: Ints) -> None:
        """Put some rows of one start where their contracts say."""
        rows, force = self._rows, self._force
        assert force is not None or len(found) == 0, "a contract in force has a place"
        for row in found.tolist():
            assert force is not None
            position = int(self.position[row])
            halves = force.half_hours(position)
            plan.site[b, row] = force.site[position]
            plan.start[b, row] = halves[0]
            if rows.interruptible[row]:
                plan.periods[b, rows.period_ptr[row] : rows.period_ptr[row + 1]] = halves
            if len(self._market.slot_q):
                slots = self._slots(int(force.site[position]), halves, force.supplies(position))
                plan.supply[b, rows.supply_ptr[row] : rows.supply_ptr[row + 1]] = slots

    def _slots(self, site: int, periods: Ints, windows: Ints) -> Ints:
        market = self._market
        out = np.full(len(periods), GRID, np.int64)
        for place in np.flatnonzero(windows >= 0).tolist():
            cell = int(market.area[site]) * market.periods + int(periods[place])
            low, high = int(market.slot_ptr[cell]), int(market.slot_ptr[cell + 1])
            match = np.flatnonzero(market.slot_window[low:high] == windows[place])
            if len(match):
                out[place] = low + int(match[0])
        return out


def _old_positions(force: Places | None, rows: Rows) -> Ints:
    out = np.full(len(rows.key), -1, np.int64)
    if force is None or len(force) == 0:
        return out
    at = np.minimum(np.searchsorted(force.key, rows.key), len(force) - 1)
    match = (force.key[at] == rows.key) & (force.site[at] >= 0) & (rows.accepted != 0)
    return np.where(match, at, out)
