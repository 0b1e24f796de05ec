"""Who of a shard stands in overfull cells, in the order in which they would have to leave."""

from __future__ import annotations

import numpy as np

from agents.core.market.fleet import Rows
from agents.core.market.kernels_plan import touching_overfull
from agents.core.market.kernels_search import Plan
from agents.core.market.replies import Crowd
from agents.core.market.shard_parts import RESTORED, spell
from agents.core.market.units import Bools, Ints

#: Most workloads a shard names from its overfull cells, in each start.
CROWD = 4096


def name_crowds(
    rows: Rows, plan: Plan, capacity: Ints, loads: Ints, starts: Bools, *, everyone: bool
) -> list[Crowd]:
    """Name the workloads in overfull cells, newcomers, unprotected and small ones first.

    Args:
        rows, plan: The shard's.
        capacity: [S, T] watts.
        loads: [B, S, T] watts of all shards.
        starts: [B] starts that are asked about.
        everyone: Also those who are back at their contract's place.
    """
    out: list[Crowd] = []
    for b in np.flatnonzero(starts).tolist():
        over = loads[b] > capacity
        touching = np.zeros(len(rows.key), np.uint8)
        touching_overfull(rows, plan, b, over, touching)
        found = np.flatnonzero((touching != 0) & (everyone | (plan.protected[b] != RESTORED)))
        size = rows.power[found] * rows.duration[found]
        forced = plan.protected[b][found] != 0
        order = np.lexsort((rows.key[found], size, forced, rows.accepted[found]))
        cut = len(found) > CROWD
        found, order = found[order[:CROWD]], order[:CROWD]
        ptr, period, _ = spell(rows, plan, b, found)
        out.append(
            Crowd(
                start=b,
                key=rows.key[found],
                power_w=rows.power[found],
                size=size[order],
                accepted=rows.accepted[found] != 0,
                forced=forced[order],
                site=plan.site[b][found],
                ptr=ptr,
                period=period,
                cut=cut,
            )
        )
    return out
