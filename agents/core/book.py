"""An organisation's workloads as columns, with what only it may know.

The book is private to its compute agent. What leaves it is a ``Registration`` (without delay
costs) and, for each conversation, the fleet that its own shards compute on.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np

from agents.core.market.fleet import Fleet
from agents.core.market.order import Keys, groups_of, workload_keys
from agents.core.market.units import NANO, Bools, Ints, price_to_q
from schema.periods import ceil_half_hour, floor_half_hour, half_hour_number
from schema.regions import REGION_COUNT
from schema.units import HOURS_PER_PERIOD, WATTS_PER_KW
from schema.workloads import Workload

NOT_STATED = -1
"""Refusal value of a workload whose owner gave none."""


@dataclass(frozen=True, slots=True, eq=False)
class Registration:
    """What an organisation tells about workloads that arrived; one entry a workload.

    Periods are half-hour numbers. ``refusal_nano`` is ``NOT_STATED`` where the owner gave no
    value. Delay costs are absent by design. In a live run an agent tells everything it holds at
    every tick; there ``cancelled`` names what owners have called off, and ``revision`` counts the
    awards a workload had before its manager knew it.
    """

    organisation: str
    names: tuple[str, ...]
    key: Keys
    power_w: Ints
    duration: Ints
    release: Ints
    deadline: Ints
    regions: Bools
    """[n, 14] allowed distribution areas."""
    home: Ints
    """Region number of the baseline."""
    interruptible: Bools
    priority: Ints
    refusal_nano: Ints
    revision: Ints | None = None
    cancelled: Keys = field(default_factory=lambda: np.zeros(0, np.uint64))

    def __len__(self) -> int:
        return len(self.names)


@dataclass(frozen=True, slots=True, eq=False)
class Participants:
    """Which of an organisation's workloads take part in a conversation, in the manager's order."""

    key: Keys
    refusal_nano: Ints
    accepted: Bools


class WorkloadBook:
    """Columns of all workloads an organisation has, arrivals included that lie ahead.

    Args:
        organisation: The contractor's name.
        arrivals: Pairs of arrival tick and workload.
    """

    def __init__(self, organisation: str, arrivals: Sequence[tuple[int, Workload]]) -> None:
        self.organisation = organisation
        self.workloads = tuple(workload for _, workload in arrivals)
        work = self.workloads
        self._names = np.array([workload.workload_name for workload in work], dtype=np.str_)
        self._arrival = np.array([tick for tick, _ in arrivals], dtype=np.int64)
        self._key = workload_keys(organisation, self._names)
        self._power_w = np.array(
            [round(workload.power_kw * workload.pue * WATTS_PER_KW) for workload in work], np.int64
        )
        self._duration = np.array([workload.periods for workload in work], np.int64)
        self._release = np.array(
            [half_hour_number(ceil_half_hour(workload.earliest_start)) for workload in work],
            np.int64,
        )
        self._deadline = np.array(
            [half_hour_number(floor_half_hour(workload.deadline)) for workload in work], np.int64
        )
        self._regions = np.zeros((len(work), REGION_COUNT), np.bool_)
        for row, workload in enumerate(work):
            self._regions[row, np.array(workload.allowed_regions) - 1] = True
        self._home = np.array([workload.home for workload in work], np.int64)
        self._interruptible = np.array([workload.interruptible for workload in work], np.bool_)
        self._priority = np.array([workload.priority for workload in work], np.int64)
        self._refusal = np.array(
            [
                NOT_STATED
                if workload.refusal_value_gbp is None
                else round(workload.refusal_value_gbp * NANO)
                for workload in work
            ],
            np.int64,
        )
        # Per kWh and half hour: the owner's figure is per hour.
        self._omega_q = price_to_q(
            np.array([workload.delay_cost_gbp_per_kwh_h for workload in work], np.float64)
            * HOURS_PER_PERIOD
        )
        self._by_key = np.argsort(self._key)

    def __len__(self) -> int:
        return len(self.workloads)

    @property
    def keys(self) -> Keys:
        """Key of each workload, in order of arrival."""
        return self._key

    def held(self, groups: Sequence[int]) -> int:
        """Count the workloads of some groups."""
        return int(np.isin(groups_of(self._key), np.array(groups)).sum())

    def arrived(self, tick: int) -> Ints:
        """Give the positions of the workloads that arrive at exactly that tick."""
        return np.flatnonzero(self._arrival == tick)

    def registration(self, positions: Ints) -> Registration:
        """Give what may be told about some workloads."""
        return Registration(
            organisation=self.organisation,
            names=tuple(self._names[positions].tolist()),
            key=self._key[positions],
            power_w=self._power_w[positions],
            duration=self._duration[positions],
            release=self._release[positions],
            deadline=self._deadline[positions],
            regions=self._regions[positions],
            home=self._home[positions],
            interruptible=self._interruptible[positions],
            priority=self._priority[positions],
            refusal_nano=self._refusal[positions],
        )

    def positions(self, key: Keys) -> Ints:
        """Find workloads by key.

        Raises:
            KeyError: A key that is not in this book.
        """
        place = np.searchsorted(self._key, key, sorter=self._by_key)
        found = self._by_key[np.minimum(place, len(self) - 1)]
        if len(self) == 0 or np.any(self._key[found] != key):
            missing = "an empty book" if len(self) == 0 else "unknown keys"
            raise KeyError(f"{self.organisation}: participants named from {missing}")
        return found

    def fleet(self, who: Participants, *, origin: int, periods: int, site_region: Ints) -> Fleet:
        """Lay participants out for a market whose period 0 is half hour ``origin``.

        Args:
            who: The participants.
            origin: Half-hour number of the horizon's start.
            periods: Half hours of the horizon; later deadlines end there.
            site_region: [S] region of each site.
        """
        at = self.positions(who.key)
        masks, mask = np.unique(self._regions[at], axis=0, return_inverse=True)
        home_site = np.zeros(REGION_COUNT + 1, np.int64)
        for site in range(len(site_region) - 1, -1, -1):
            home_site[site_region[site]] = site
        return Fleet(
            organisation=self.organisation,
            names=self._names[at],
            key=self._key[at],
            power_w=self._power_w[at],
            duration=self._duration[at],
            earliest=np.maximum(self._release[at] - origin, 0),
            deadline=np.minimum(self._deadline[at] - origin, periods),
            release=self._release[at] - origin,
            masks=masks[:, site_region - 1],
            mask=mask.reshape(-1).astype(np.int64),
            home=home_site[self._home[at]],
            interruptible=self._interruptible[at],
            omega_q=self._omega_q[at],
            refusal_nano=who.refusal_nano,
            accepted=who.accepted,
        )


def default_refusal_nano(
    power_w: Ints, duration: Ints, priority: Ints, dearest_gbp_per_kwh: float
) -> Ints:
    """Value of not being refused where the owner stated none, in 1e-9 GBP.

    Energy times the larger of three times the dearest value of the horizon and 0.50 GBP/kWh,
    scaled by priority: 5 is 1, 9 is 1.8, 0 is 0.2.

    Source: docs/explanation/market.md, "What a refusal costs".
    """
    energy_kwh = power_w.astype(np.float64) / WATTS_PER_KW * duration * HOURS_PER_PERIOD
    scale = np.maximum(priority, 1) / 5.0
    each = max(3.0 * dearest_gbp_per_kwh, 0.50)
    return np.rint(energy_kwh * each * scale * NANO).astype(np.int64)
