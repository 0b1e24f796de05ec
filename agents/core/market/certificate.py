"""Bound, cost and gap, and the conditions an outcome must meet.

gap = (cost - bound) / max(bound, 0.1 * energy * mean |g|): cost / bound - 1, except where negative
prices bring the bound near or below zero. The mean counts at least 0.001 GBP/kWh, so that energy
worth nothing does not hide a gap.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from agents.core.market.plans import Places
from agents.core.market.problem import Market
from agents.core.market.units import NANO, Ints, Q


def gap_of(cost_nano: int, bound_nano: int, energy_w: int, market: Market) -> float:
    """Give the gap.

    Args:
        cost_nano, bound_nano: In 1e-9 GBP.
        energy_w: Watts times half hours of all work.
        market: For the mean absolute value of energy.
    """
    floor = 0.1 * energy_w / 2000.0 * market.scale_q / Q * NANO
    base = max(float(bound_nano), floor)
    if base <= 0.0:
        return 0.0
    return (cost_nano - bound_nano) / base


@dataclass(frozen=True, slots=True)
class Violation:
    """A broken condition: which, and where."""

    rule: str
    where: str


def check_places(
    market: Market,
    places: Places,
    names: dict[int, str],
    *,
    earliest: Ints,
    deadline: Ints,
    allowed: dict[int, frozenset[int]],
    interruptible: Ints,
) -> list[Violation]:
    """Check every place by itself: window, site, number of half hours, contiguity.

    Args:
        market: The public side.
        places: Places by rising key.
        names: Names by position, for the report.
        earliest, deadline, interruptible: By position in ``places``.
        allowed: Allowed sites by position.
    """
    out: list[Violation] = []
    for at in range(len(places)):
        site = int(places.site[at])
        if site < 0:
            continue
        halves = places.half_hours(at)
        name = names.get(at, str(int(places.key[at])))
        steps = np.diff(halves)
        if len(halves) != places.duration[at] or (steps < 1).any():
            out.append(Violation("duration", f"{name}: {len(halves)} half hours"))
        elif not interruptible[at] and (steps != 1).any():
            out.append(Violation("contiguous", f"{name}: {halves.tolist()}"))
        if len(halves) and (halves[0] < earliest[at] or halves[-1] >= deadline[at]):
            out.append(Violation("window", f"{name}: {halves[0]} to {halves[-1] + 1}"))
        if site not in allowed[at]:
            out.append(Violation("site", f"{name}: {market.sites[site]}"))
        out.extend(
            Violation("supply", f"{name}: window {window} in half hour {half}")
            for half, window in zip(halves.tolist(), places.supplies(at).tolist(), strict=True)
            if window >= 0 and not _covers(market, window, site, half)
        )
    return out


def _covers(market: Market, window: int, site: int, half: int) -> bool:
    offered = market.windows[window]
    return offered.first <= half < offered.last and offered.region_id == int(market.region_id[site])


def loads_of(market: Market, parts: list[Places]) -> tuple[Ints, Ints]:
    """Give the watts in every cell [S, T] and on every window and half hour [W, T]."""
    loads = np.zeros(market.capacity_w.shape, np.int64)
    drawn = np.zeros((len(market.windows), market.periods), np.int64)
    for places in parts:
        count = np.diff(places.ptr)
        site = np.repeat(places.site, count)
        power = np.repeat(places.power_w, count)
        np.add.at(loads, (site, places.period), power)
        supplied = places.window >= 0
        np.add.at(drawn, (places.window[supplied], places.period[supplied]), power[supplied])
    return loads, drawn


def check_capacity(market: Market, parts: list[Places]) -> list[Violation]:
    """Check that no cell and no window carries more than it has."""
    loads, drawn = loads_of(market, parts)
    out = [
        Violation(
            "capacity",
            f"{market.sites[site]} half hour {half}: {loads[site, half]} W of "
            f"{market.capacity_w[site, half]} W",
        )
        for site, half in np.argwhere(loads > market.capacity_w).tolist()
    ]
    out.extend(
        Violation(
            "window capacity",
            f"{market.windows[window].window_id} half hour {half}: {drawn[window, half]} W of "
            f"{market.window_w[window]} W",
        )
        for window, half in np.argwhere(drawn > market.window_w[:, None]).tolist()
    )
    return out


def nearly_full(market: Market, loads: Ints, largest_w: int) -> np.typing.NDArray[np.bool_]:
    """[S, T] cells where the largest workload would not fit, or at least 90 % used."""
    room = market.capacity_w - loads
    return (room < largest_w) | (10 * loads >= 9 * market.capacity_w)


def check_prices(market: Market, mu_q: Ints, loads: Ints, largest_w: int) -> list[Violation]:
    """Check that congestion prices are at least 0, and above 0 only in nearly full cells."""
    out = [
        Violation("price below 0", f"{market.sites[site]} half hour {half}")
        for site, half in np.argwhere(mu_q < 0).tolist()
    ]
    priced = (mu_q > 0) & ~nearly_full(market, loads, largest_w)
    out.extend(
        Violation(
            "price without scarcity",
            f"{market.sites[site]} half hour {half}: {loads[site, half]} W of "
            f"{market.capacity_w[site, half]} W",
        )
        for site, half in np.argwhere(priced).tolist()
    )
    return out
