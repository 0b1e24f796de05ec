"""A scenario's workloads as arrays, with the planted schedule and the capacity made from it."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from scenarios.rng import Ints
from schema.regions import REGION_IDS

MASK_ALL = (1 << len(REGION_IDS)) - 1


@dataclass(frozen=True, slots=True)
class Fleet:
    """All workloads, one row each; periods count from the scenario's start.

    ``organisation`` indexes the scenario's organisations. ``regions`` is a bit mask, bit r for
    region r + 1. ``release`` and ``deadline`` are whole half hours (rounded up and down);
    ``early_min`` and ``late_min`` are the minutes that the real earliest start lies before the one
    and the real deadline after the other. ``delay_micro`` is GBP 1e-6 per kWh and hour.
    ``planted_site`` (index into the sites) and ``planted_start`` are the planted schedule, -1
    where there is none.
    """

    number: Ints
    organisation: Ints
    power_w: Ints
    duration_min: Ints
    release: Ints
    deadline: Ints
    early_min: Ints
    late_min: Ints
    regions: Ints
    home: Ints
    interruptible: Ints
    priority: Ints
    delay_micro: Ints
    arrival_tick: Ints
    planted_site: Ints
    planted_start: Ints

    @property
    def count(self) -> int:
        """How many workloads."""
        return len(self.number)

    @property
    def periods(self) -> Ints:
        """Half hours each runs, rounded up."""
        return -(-self.duration_min // 30)


@dataclass(frozen=True, slots=True)
class PlantedSlot:
    """Where and when one workload runs in the planted schedule; ``end`` is exclusive."""

    organisation: str
    workload_name: str
    site_organisation: str
    site: str
    region_id: int
    start: int
    end: int


def planted_load(fleet: Fleet, sites: int, periods: int) -> Ints:
    """Give the planted load ``[sites, periods]`` in W."""
    steps = np.zeros((sites, periods + 1), dtype=np.int64)
    placed = fleet.planted_start >= 0
    where = fleet.planted_site[placed]
    start = fleet.planted_start[placed]
    power = fleet.power_w[placed]
    np.add.at(steps, (where, start), power)
    np.add.at(steps, (where, start + fleet.periods[placed]), -power)
    load: Ints = np.cumsum(steps, axis=1)[:, :periods]
    return load


def capacity_from_planted(load: Ints, *, load_factor: float, headroom: float, usable: int) -> Ints:
    """Give capacity ``[sites, periods]`` in W that holds the planted load.

    Each cell gets the planted load times ``headroom``, or a floor in proportion to its site's mean
    load, whichever is higher. The floor's factor is the largest one (in 1/1000) at which the
    load still is at least ``load_factor`` of all capacity in the first ``usable`` half hours. A
    site without planted work gets a tenth of the mean floor, so that it is there at all.
    """
    need = np.rint(load * headroom).astype(np.int64)
    mean = load[:, :usable].sum(axis=1) // usable
    mean = np.maximum(mean, max(1, int(mean.sum()) // (10 * len(mean))))
    energy = int(load[:, :usable].sum())

    def capacity(per_mille: int) -> Ints:
        cells: Ints = np.maximum(need, (mean * per_mille // 1000)[:, None])
        return cells

    low, high = 0, 100_000
    while low < high:
        middle = (low + high + 1) // 2
        if energy >= load_factor * int(capacity(middle)[:, :usable].sum()):
            low = middle
        else:
            high = middle - 1
    return capacity(low)
