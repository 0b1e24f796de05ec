"""What follows when a provider refuses or changes a window that a plan counts on.

The half hours that drew from it draw from the grid where they stand, which is always possible.
Then only the work it touched negotiates again, over what the others leave, with the plan as it
stands now among the candidates; nobody else moves. The bound of the whole conversation still
holds, because taking supply away only raises the least possible cost.
"""

from __future__ import annotations

from collections.abc import Callable, Container, Mapping, Sequence
from dataclasses import replace

import numpy as np

from agents.core.accounting import Account
from agents.core.ledger import Contract, Segment, add_segments
from agents.core.market.certificate import gap_of, nearly_full
from agents.core.market.contractors import Contractors
from agents.core.market.discovery import opening_prices
from agents.core.market.outcome import Outcome
from agents.core.market.plans import Places
from agents.core.market.problem import GRID, Market, Window
from agents.core.market.questions import Begin, Open
from agents.core.market.units import Ints
from agents.core.run_state import Booked
from agents.core.view import pieces

Plan = Mapping[int, tuple[Segment, ...]]
"""Segments by workload key; empty for one without a place."""


def to_grid(plan: Plan, lost: set[str]) -> dict[int, tuple[Segment, ...]]:
    """Give the plan with the lost windows' half hours drawn from the grid."""
    return {
        key: tuple(
            replace(segment, window_id=None) if segment.window_id in lost else segment
            for segment in segments
        )
        for key, segments in plan.items()
    }


def touched(plan: Plan, lost: set[str]) -> set[int]:
    """Give the workloads that drew from a lost window."""
    return {
        key
        for key, segments in plan.items()
        if any(segment.window_id in lost for segment in segments)
    }


def withdrawn(
    booked: Sequence[Booked],
    closed: Container[str],
    now: int,
    account: Callable[[Segment], Account],
) -> tuple[Booked, ...]:
    """Give started work's segments with what lies ahead of closed windows drawn from the grid.

    Half hours before ``now`` have been drawn and stay as they were. Congestion was paid for the
    place and time, which do not change: it is shared out by energy.
    """
    kept: list[Booked] = []
    for item in booked:
        segment = item.segment
        if segment.window_id is None or segment.window_id not in closed or segment.end <= now:
            kept.append(item)
            continue
        cut = max(segment.first, now)
        parts = [
            replace(segment, periods=cut - segment.first),
            replace(segment, first=cut, periods=segment.end - cut, window_id=None),
        ]
        kept += [
            Booked(part, account(part), item.congestion_gbp * part.periods / segment.periods)
            for part in parts
            if part.periods > 0
        ]
    return tuple(kept)


def left_over(
    market: Market, contracts: Sequence[Contract], plan: Plan, keys: set[int], origin: int
) -> Market:
    """Give the market that remains for some workloads when all others stand as planned."""
    taken = np.zeros_like(market.capacity_w)
    drawn = {window.window_id: np.zeros(market.periods, np.int64) for window in market.windows}
    for contract in contracts:
        if contract.key in keys:
            continue
        add_segments(taken, contract.power_w, plan[contract.key], origin)
        for segment in plan[contract.key]:
            if segment.window_id in drawn:
                first = segment.first - origin
                drawn[segment.window_id][first : first + segment.periods] += contract.power_w
    windows: list[Window] = []
    values: list[int] = []
    for index, window in enumerate(market.windows):
        left = pieces(window, int(market.window_w[index]) - drawn[window.window_id])
        windows += left
        values += [int(market.window_q[index])] * len(left)
    return Market(
        sites=market.sites,
        region_id=market.region_id,
        grid_q=market.grid_q,
        capacity_w=market.capacity_w - taken,
        windows=tuple(windows),
        window_q=np.array(values, np.int64),
        window_w=np.array([round(window.capacity_kw * 1000) for window in windows], np.int64),
    )


def window_index(market: Market) -> dict[tuple[str, int], int]:
    """Find the market's window by name and period: a window may stand in several pieces."""
    return {
        (window.window_id, period): index
        for index, window in enumerate(market.windows)
        for period in range(window.first, window.last)
    }


def places_of(
    contracts: Sequence[Contract], plan: Plan, market: Market, origin: int
) -> list[Places]:
    """Write a plan as the market's places, by organisation; those without a place are left out."""
    known = window_index(market)
    placed = [contract for contract in contracts if plan.get(contract.key)]
    found: list[Places] = []
    for organisation in sorted({contract.organisation for contract in placed}):
        mine = sorted(
            (contract for contract in placed if contract.organisation == organisation),
            key=lambda contract: contract.key,
        )
        cells = [
            (
                half_hour - origin,
                GRID
                if segment.window_id is None
                else known.get((segment.window_id, half_hour - origin), GRID),
            )
            for contract in mine
            for segment in plan[contract.key]
            for half_hour in range(segment.first, segment.end)
        ]
        table = np.array(cells, np.int64).reshape(-1, 2)
        duration = np.array([contract.duration for contract in mine], np.int64)
        found.append(
            Places(
                organisation=organisation,
                key=np.array([contract.key for contract in mine], np.uint64),
                power_w=np.array([contract.power_w for contract in mine], np.int64),
                duration=duration,
                site=np.array([plan[contract.key][0].site for contract in mine], np.int64),
                ptr=np.concatenate((np.zeros(1, np.int64), np.cumsum(duration))),
                period=table[:, 0].copy(),
                window=table[:, 1].copy(),
            )
        )
    return found


def join(
    before: Outcome,
    market: Market,
    contracts: Sequence[Contract],
    plan: Plan,
    contractors: Contractors,
    origin: int,
) -> Outcome:
    """Give the conversation's outcome with the new plan in place of the old.

    Its cost is added up by the contractors themselves, since delay costs are theirs alone.

    Args:
        before: The outcome that counted on the lost windows.
        market: The whole market without them.
        contracts: All participants.
        plan: Where all of them stand now.
        contractors: A conversation with all of them, where those with a place are accepted.
        origin: Half-hour number of the market's period 0.
    """
    supply_q = np.clip(before.supply_q, opening_prices(market).supply_q, market.area_grid_q())
    places = places_of(contracts, plan, market, origin)
    contractors.ask(Open(market, np.zeros(0, np.int64), tuple(places)))
    parts = contractors.ask(
        Begin(before.mu_q, supply_q, np.zeros(1, np.bool_), np.ones(1, np.bool_))
    )
    cost = sum(int(part.cost_nano[0]) for part in parts)
    refused_nano = sum(int(part.refused_nano[0]) for part in parts)
    loads: Ints = sum((part.loads[0] for part in parts), np.zeros_like(market.capacity_w))
    largest = max(contract.power_w for contract in contracts)
    bound = before.bound_nano
    return replace(
        before,
        market=market,
        mu_q=np.where(nearly_full(market, loads, largest), before.mu_q, 0),
        supply_q=supply_q,
        cost_nano=cost,
        gap=gap_of(cost, bound, before.energy_w, market),
        gap_placed=gap_of(cost - refused_nano, bound - refused_nano, before.energy_w, market),
        places=_with_the_refused(places, before.places),
    )


def _with_the_refused(placed: Sequence[Places], before: Sequence[Places]) -> tuple[Places, ...]:
    """Take the workloads without a place over from the outcome before."""
    known = {places.organisation: places for places in placed}
    joined: list[Places] = []
    for old in before:
        new = known.get(old.organisation)
        away = np.flatnonzero(old.site < 0)
        if new is None:
            joined.append(old)
            continue
        key = np.concatenate((new.key, old.key[away]))
        order = np.argsort(key, kind="stable")
        count = np.concatenate((np.diff(new.ptr), np.zeros(len(away), np.int64)))
        first = np.concatenate((new.ptr[:-1], np.zeros(len(away), np.int64)))
        ptr = np.concatenate((np.zeros(1, np.int64), np.cumsum(count[order])))
        source = np.concatenate(
            [np.arange(first[row], first[row] + count[row]) for row in order.tolist()]
            or [np.zeros(0, np.int64)]
        ).astype(np.int64)
        joined.append(
            Places(
                organisation=old.organisation,
                key=key[order],
                power_w=np.concatenate((new.power_w, old.power_w[away]))[order],
                duration=np.concatenate((new.duration, old.duration[away]))[order],
                site=np.concatenate((new.site, old.site[away]))[order],
                ptr=ptr,
                period=new.period[source],
                window=new.window[source],
            )
        )
    return tuple(joined)
