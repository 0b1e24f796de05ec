"""What a shard is made of: rows with their last answers, copies of plans, spelled-out places."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor

import numpy as np

from agents.core.market.fleet import Rows
from agents.core.market.kernels_places import spell_rows
from agents.core.market.kernels_respond import REFUSED
from agents.core.market.kernels_search import Plan
from agents.core.market.problem import GRID
from agents.core.market.reasons import ReasonKind, Refusal
from agents.core.market.units import Bools, Floats, Ints

FORCED = 1
"""Protection of work that was forced in: a repair does not move it, an eviction may."""
RESTORED = 2
"""Protection of accepted work back at its contract's place: nothing moves it."""


#: Starts that move at the same time, each in a thread of its own; they do not touch each other.
_THREADS = ThreadPoolExecutor(2, thread_name_prefix="starts")


def side_by_side(work: Callable[[int], None], starts: Sequence[int]) -> None:
    """Do the work of several starts, whose order does not matter."""
    if len(starts) < 2:  # noqa: PLR2004
        for start in starts:
            work(start)
        return
    for _ in _THREADS.map(work, starts):
        pass


class Level:
    """Some of a shard's rows with their last answers."""

    def __init__(self, rows: Rows) -> None:
        count = len(rows.key)
        self.rows = rows
        self.site = np.full(count, REFUSED, np.int64)
        self.start = np.zeros(count, np.int64)
        self.periods = np.zeros(int(rows.period_ptr[-1]), np.int64)
        self.value = np.zeros(count, np.int64)
        self.energy_w = int((rows.power * rows.duration).sum())


def subset(rows: Rows, chosen: Ints) -> Rows:
    """Give some rows, with places of their own for periods and supplies."""
    duration = rows.duration[chosen]
    apart = np.where(rows.interruptible[chosen] != 0, duration, 0)
    start = np.zeros(1, np.int64)
    return Rows(
        key=rows.key[chosen],
        power=rows.power[chosen],
        duration=duration,
        earliest=rows.earliest[chosen],
        last=rows.last[chosen],
        release=rows.release[chosen],
        mask=rows.mask[chosen],
        interruptible=rows.interruptible[chosen],
        omega=rows.omega[chosen],
        refusal=rows.refusal[chosen],
        accepted=rows.accepted[chosen],
        power_class=rows.power_class[chosen],
        period_ptr=np.concatenate((start, np.cumsum(apart))),
        supply_ptr=np.zeros(len(chosen) + 1, np.int64),
        mask_ptr=rows.mask_ptr,
        mask_site=rows.mask_site,
    )


def spread(table: Floats, shape: tuple[int, ...]) -> Floats:
    """Copy a table that may be the same for all starts or cells to its full shape."""
    return np.array(np.broadcast_to(table, shape), dtype=np.float64, order="C")


def why_refused(organisation: str, rows: Rows, i: int, capacity: Ints, room: Ints) -> Refusal:
    """Find the constraint that kept row ``i`` out."""
    m = int(rows.mask[i])
    sites = rows.mask_site[rows.mask_ptr[m] : rows.mask_ptr[m + 1]]
    power, d = int(rows.power[i]), int(rows.duration[i])
    first, end = int(rows.earliest[i]), int(rows.last[i]) + d - 1

    def refusal(kind: ReasonKind, site: int, period: int, room_w: int) -> Refusal:
        return Refusal(organisation, int(rows.key[i]), kind, site, period, power, room_w)

    if len(sites) == 0:
        return refusal(ReasonKind.NO_SITE, -1, -1, 0)
    own = capacity[sites, first:end]
    largest = int(own.max())
    if power > largest:
        row, column = divmod(int(own.argmax()), end - first)
        return refusal(ReasonKind.TOO_POWERFUL, int(sites[row]), first + column, largest)
    free = room[sites, first:end]
    if rows.interruptible[i]:
        ranked = np.argsort(-free, axis=1, kind="stable")
        least = np.take_along_axis(free, ranked, axis=1)[:, d - 1]
        row = int(least.argmax())
        column = int(ranked[row, d - 1])
    else:
        runs = np.lib.stride_tricks.sliding_window_view(free, d, axis=1).min(axis=2)
        row, start = divmod(int(runs.argmax()), runs.shape[1])
        column = start + int(free[row, start : start + d].argmin())
        least = runs.max(axis=1)
    if int(least.max()) >= power:
        return refusal(ReasonKind.PRICED_OUT, -1, -1, 0)
    return refusal(ReasonKind.NO_ROOM, int(sites[row]), first + column, int(free[row, column]))


def copy_plan(plan: Plan) -> Plan:
    """Copy a plan."""
    return Plan(
        plan.site.copy(),
        plan.start.copy(),
        plan.periods.copy(),
        plan.supply.copy(),
        plan.protected.copy(),
    )


def copy_starts(source: Plan, into: Plan, starts: Bools) -> None:
    """Copy some starts of a plan over those of another."""
    into.site[starts] = source.site[starts]
    into.start[starts] = source.start[starts]
    into.periods[starts] = source.periods[starts]
    into.supply[starts] = source.supply[starts]
    into.protected[starts] = source.protected[starts]


def spell(rows: Rows, plan: Plan, b: int, found: Ints) -> tuple[Ints, Ints, Ints]:
    """Write out the half hours and slots of some rows; none for refused ones.

    Returns:
        [len(found) + 1] first half hour of each row, the half hours, and their slots.
    """
    placed = plan.site[b][found] >= 0
    count = np.where(placed, rows.duration[found], 0)
    ptr = np.concatenate((np.zeros(1, np.int64), np.cumsum(count)))
    period = np.empty(int(ptr[-1]), np.int64)
    slot = np.full(len(period), GRID, np.int64)
    spell_rows(rows, plan, b, found, period, slot)
    return ptr, period, slot
