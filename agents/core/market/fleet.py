"""The workloads of one organisation as arrays, sorted so that kernels can share work.

A ``Fleet`` is what an organisation knows, in its own order and with its private delay costs.
``Rows`` is the same, cut into groups and sorted by (power class, interruptible, sites, duration,
first period): neighbours then share price tables. The sorted order follows from the workloads
alone, so it is the same for any number of shards.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from hashlib import blake2b
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from agents.core.market.order import GROUPS, Keys, groups_of
from agents.core.market.units import (
    MAX_DELAY,
    MAX_PERIODS,
    MAX_POWER_W,
    MAX_REFUSALS,
    NANO,
    Bools,
    Ints,
)
from schema.errors import InputError

Names = Sequence[str] | NDArray[np.str_]


@dataclass(frozen=True, eq=False)
class Fleet:
    """Workloads of one organisation; all arrays have one entry a workload.

    Periods count from the horizon's start. ``earliest`` is the first period a workload may use
    (never negative); ``release`` is where its delay cost starts and may lie before the horizon.

    Attributes:
        organisation: The contractor's name.
        names: Workload ids as people know them.
        key: 64-bit keys (``workload_keys``).
        power_w: Whole watts, PUE included.
        duration: Half hours.
        earliest, deadline: First usable period and the end (excluded).
        release: Period from which delay costs.
        masks: [M, S] sets of allowed sites; ``mask`` is each workload's set.
        home: Site of the baseline.
        interruptible: Whether its half hours may be apart.
        omega_q: Private delay cost, Q units of GBP/kWh per half hour.
        refusal_nano: Value of not being refused, 1e-9 GBP.
        accepted: Contract in force; such a workload is never dropped for a newcomer.
    """

    organisation: str
    names: Names
    key: Keys
    power_w: Ints
    duration: Ints
    earliest: Ints
    deadline: Ints
    release: Ints
    masks: Bools
    mask: Ints
    home: Ints
    interruptible: Bools
    omega_q: Ints
    refusal_nano: Ints
    accepted: Bools

    def __len__(self) -> int:
        return int(self.key.shape[0])

    def __post_init__(self) -> None:
        _check(self)

    def take(self, chosen: Ints) -> Fleet:
        """Give the workloads at those positions."""
        names = self.names
        return Fleet(
            organisation=self.organisation,
            names=names[chosen]
            if isinstance(names, np.ndarray)
            else tuple(names[position] for position in chosen.tolist()),
            key=self.key[chosen],
            power_w=self.power_w[chosen],
            duration=self.duration[chosen],
            earliest=self.earliest[chosen],
            deadline=self.deadline[chosen],
            release=self.release[chosen],
            masks=self.masks,
            mask=self.mask[chosen],
            home=self.home[chosen],
            interruptible=self.interruptible[chosen],
            omega_q=self.omega_q[chosen],
            refusal_nano=self.refusal_nano[chosen],
            accepted=self.accepted[chosen],
        )


class Rows(NamedTuple):
    """Sorted workloads of a shard as the kernels see them; [n] unless said."""

    key: Keys
    power: Ints
    duration: Ints
    earliest: Ints
    last: Ints
    """Last period a contiguous start may have, plus one: deadline - duration + 1."""
    release: Ints
    mask: Ints
    interruptible: NDArray[np.uint8]
    omega: Ints
    refusal: Ints
    accepted: NDArray[np.uint8]
    power_class: Ints
    period_ptr: Ints
    """[n + 1] place of an interruptible workload's periods."""
    supply_ptr: Ints
    """[n + 1] place of a workload's supplies; all zero without windows."""
    mask_ptr: Ints
    """[M + 1] first allowed site of each set."""
    mask_site: Ints
    """Allowed sites, set after set, rising."""


def sort_rows(
    fleet: Fleet, groups: Sequence[int], class_edges: Ints, *, with_supplies: bool
) -> tuple[Rows, Ints, Ints]:
    """Cut a fleet into groups and sort each.

    Args:
        fleet: The organisation's workloads, in any order.
        groups: The groups wanted, rising.
        class_edges: Lowest power of each power class but the first, rising.
        with_supplies: Whether supplies of single half hours are kept (windows exist).

    Returns:
        The rows, the place of each group's rows [len(groups) + 1], and for each row its
        position in the fleet.
    """
    group = groups_of(fleet.key)
    wanted = np.zeros(GROUPS, np.bool_)
    wanted[list(groups)] = True
    chosen = np.flatnonzero(wanted[group])
    power_class = np.searchsorted(class_edges, fleet.power_w[chosen], side="right")
    masks, canonical = np.unique(fleet.masks, axis=0, return_inverse=True)
    mask = canonical.reshape(-1)[fleet.mask].astype(np.int64)
    packed = _packed(fleet, chosen, group, power_class, _mask_hashes(masks)[mask])
    order = np.argsort(packed)
    chosen = chosen[order]
    power_class = power_class[order].astype(np.int64)
    _settle_ties(fleet.key, packed[order], chosen)
    sorted_group = group[chosen]
    place = np.searchsorted(sorted_group, np.asarray([*groups, GROUPS])).astype(np.int64)
    duration = fleet.duration[chosen]
    interruptible = fleet.interruptible[chosen]
    supplies = duration if with_supplies else np.zeros_like(duration)
    counts = masks.sum(axis=1)
    rows = Rows(
        key=fleet.key[chosen],
        power=fleet.power_w[chosen],
        duration=duration,
        earliest=fleet.earliest[chosen],
        last=fleet.deadline[chosen] - duration + 1,
        release=fleet.release[chosen],
        mask=mask[chosen],
        interruptible=interruptible.astype(np.uint8),
        omega=fleet.omega_q[chosen],
        refusal=fleet.refusal_nano[chosen],
        accepted=fleet.accepted[chosen].astype(np.uint8),
        power_class=power_class,
        period_ptr=_places(np.where(interruptible, duration, 0)),
        supply_ptr=_places(supplies),
        mask_ptr=_places(counts),
        mask_site=np.nonzero(masks)[1].astype(np.int64),
    )
    return rows, place, chosen


def _places(counts: Ints) -> Ints:
    return np.concatenate((np.zeros(1, np.int64), np.cumsum(counts, dtype=np.int64)))


def _mask_hashes(masks: Bools) -> Ints:
    """Give each set of sites 12 bits that follow from its members alone.

    A rank among the sets present would differ between shards, and with it the sorted order.
    """
    return np.array(
        [
            int.from_bytes(blake2b(np.packbits(row).tobytes(), digest_size=2).digest()) >> 4
            for row in masks
        ],
        dtype=np.int64,
    )


def _packed(
    fleet: Fleet, chosen: Ints, group: Ints, power_class: Ints, sites: Ints
) -> NDArray[np.uint64]:
    """Pack the sort fields into 64 bits: 3 group, 4 class, 1 interruptible, 12 sites, 11, 11.

    The other 22 bits come from the key, so that ties are rare and the same everywhere.
    """
    high = group[chosen] << 4 | np.minimum(power_class, 15)
    high = high << 1 | fleet.interruptible[chosen]
    high = high << 12 | sites[chosen]
    high = high << 11 | fleet.duration[chosen]
    high = high << 11 | fleet.earliest[chosen]
    low = fleet.key[chosen] & np.uint64((1 << 22) - 1)
    return high.astype(np.uint64) << np.uint64(22) | low


def _settle_ties(key: Keys, packed: NDArray[np.uint64], chosen: Ints) -> None:
    """Order entries of equal packed value by their whole key, in place."""
    equal = np.flatnonzero(packed[1:] == packed[:-1])
    for start in equal.tolist():
        stop = start + 1
        while stop < len(packed) and packed[stop] == packed[start]:
            stop += 1
        run = chosen[start:stop]
        chosen[start:stop] = run[np.argsort(key[run], kind="stable")]


def check_refusals(whose: str, total_nano: float) -> None:
    """Check that refusal values can be added up.

    Raises:
        InputError: They cannot.
    """
    if total_nano > MAX_REFUSALS:
        msg = (
            f"the refusal values of {whose} add up to {total_nano / NANO:.3g} GBP; at most "
            f"{MAX_REFUSALS / NANO:.3g} GBP can be counted; give lower ones"
        )
        raise InputError(msg, field="refusal_value_gbp")


def _check(fleet: Fleet) -> None:
    if len(fleet) == 0:
        return
    unique, counts = np.unique(fleet.key, return_counts=True)
    if len(unique) != len(fleet):
        double = int(unique[np.argmax(counts)])
        names = [fleet.names[int(at)] for at in np.flatnonzero(fleet.key == np.uint64(double))[:2]]
        msg = f"workload ids {names} of {fleet.organisation} are the same; each may occur once"
        raise InputError(msg, field="workload_id")
    horizon = fleet.deadline - fleet.earliest
    for bad, field, allowed in (
        (fleet.power_w < 1, "power_w", "at least 1 W is allowed"),
        (fleet.power_w > MAX_POWER_W, "power_w", f"at most {MAX_POWER_W} W is allowed"),
        (fleet.duration < 1, "duration", "at least one half hour is allowed"),
        (fleet.earliest < 0, "earliest", "periods count from the horizon's start"),
        (fleet.deadline > MAX_PERIODS, "deadline", f"at most {MAX_PERIODS} is allowed"),
        (horizon < fleet.duration, "deadline", "the window must hold the duration"),
        (fleet.omega_q < 0, "omega_q", "a delay cost is never negative"),
        (fleet.refusal_nano < 0, "refusal_nano", "a refusal value is never negative"),
    ):
        if np.any(bad):
            at = int(np.argmax(bad))
            msg = f"{field} of workload {fleet.names[at]} of {fleet.organisation}: {allowed}"
            raise InputError(msg, field=field, workload=str(fleet.names[at]))
    check_refusals(fleet.organisation, float(fleet.refusal_nano.astype(np.float64).sum()))
    delay = fleet.omega_q.astype(np.float64) * fleet.duration * (fleet.deadline - fleet.release)
    if float(delay.max()) > MAX_DELAY:
        at = int(np.argmax(delay))
        msg = (
            f"the delay cost of workload {fleet.names[at]} of {fleet.organisation} over its whole "
            "window is beyond what the market can count: "
            f"{float(delay.max()) / MAX_DELAY:.1f} times the limit; lower it or shorten the window"
        )
        raise InputError(msg, field="delay_cost", workload=str(fleet.names[at]))
