"""What every outcome of the market must keep, checked in plain Python from fleets and places."""

from __future__ import annotations

import pickle
from collections.abc import Sequence
from dataclasses import replace
from typing import Any, TypeVar

import numpy as np

from agents.core.market.contractors import InProcessContractors, make_books
from agents.core.market.fleet import Fleet
from agents.core.market.instances import Instance
from agents.core.market.negotiate import Options, WarmStart, negotiate
from agents.core.market.outcome import Outcome
from agents.core.market.plans import Places
from agents.core.market.problem import GRID, Market
from agents.core.market.questions import Question, Step
from agents.core.market.reasons import ReasonKind, Refusal
from agents.core.market.replies import Token
from agents.core.market.shard import ShardBook
from agents.core.market.units import NANO, Ints, Q

R = TypeVar("R")

ORDINARY = Options()


def sent(value: R) -> R:
    """Give a value as it arrives in another process: a copy whose arrays cannot be written."""
    buffers: list[pickle.PickleBuffer] = []
    data = pickle.dumps(value, protocol=5, buffer_callback=buffers.append)
    return pickle.loads(data, buffers=[bytes(buffer.raw()) for buffer in buffers])  # type: ignore[no-any-return]


class Watched:
    """Contractors behind a wall: all that passes is copied, read-only, and remembered.

    After every step the token must say what the shards' workloads add up to.
    """

    def __init__(self, books: Sequence[ShardBook]) -> None:
        self.books = tuple(books)
        self.answers: list[Any] = []
        self._market: Market | None = None

    def ask(self, question: Question[R]) -> list[R]:
        arrived = sent(question)
        self._market = getattr(arrived, "market", self._market)
        answers = [sent(arrived.put(book)) for book in self.books]
        self.answers += answers
        return answers

    def relay(self, step: Step, token: Token) -> Token:
        for book in self.books:
            if 0 in book.groups or not step.lead_only:
                token = sent(sent(step).take(book, sent(token)))
                self.answers.append(token)
        loads, used = self.standing()
        assert np.array_equal(token.loads, loads)
        assert self._market is not None
        assert np.array_equal(token.room, self._market.slot_w[None] - used)
        return token

    def leads(self) -> Watched:
        """Only these hold anything from now on."""
        self.books = tuple(book for book in self.books if 0 in book.groups)
        return self

    def standing(self) -> tuple[Ints, Ints]:
        """Loads [B, S, T] and what is drawn from windows [B, V], as the shards have them."""
        parts = [book.standing() for book in self.books]
        return (
            sum((part.loads for part in parts), np.zeros_like(parts[0].loads)),
            sum((part.used for part in parts), np.zeros_like(parts[0].used)),
        )


def hold(
    market: Market,
    fleets: Sequence[Fleet],
    options: Options = ORDINARY,
    *,
    shards: int = 1,
    warm: WarmStart | None = None,
    in_force: Sequence[Places] = (),
) -> Outcome:
    """Negotiate in this process."""
    contractors = InProcessContractors(make_books(fleets, shards))
    return negotiate(market, contractors, options, warm=warm, in_force=in_force)


def hold_watched(
    market: Market,
    fleets: Sequence[Fleet],
    options: Options = ORDINARY,
    *,
    shards: int = 1,
    warm: WarmStart | None = None,
    in_force: Sequence[Places] = (),
) -> tuple[Outcome, Watched]:
    """Negotiate behind a wall, and look at the capacity of every start after every phase."""
    watched = Watched(make_books(fleets, shards))

    def look(phase: str) -> None:
        if phase not in {"open", "discovery", "settlement"}:
            loads, used = watched.standing()
            assert (loads <= market.capacity_w[None]).all(), phase
            assert (used <= market.slot_w[None]).all(), phase

    outcome = negotiate(market, watched, options, warm=warm, in_force=in_force, on_phase=look)
    look("end")
    return outcome, watched


def with_some_accepted(
    made: Instance, outcome: Outcome, seed: int, share: float = 0.5
) -> tuple[Instance, list[Places]]:
    """Make a share of the awards contracts in force; gives them as places too."""
    random = np.random.default_rng(seed)
    fleets, in_force = [], []
    for fleet in made.fleets:
        (places,) = (one for one in outcome.places if one.organisation == fleet.organisation)
        kept = np.flatnonzero((places.site >= 0) & (random.random(len(places)) < share))
        halves = [places.half_hours(at) for at in kept.tolist()]
        windows = [places.supplies(at) for at in kept.tolist()]
        nothing = np.zeros(0, np.int64)
        in_force.append(
            Places(
                organisation=fleet.organisation,
                key=places.key[kept],
                power_w=places.power_w[kept],
                duration=places.duration[kept],
                site=places.site[kept],
                ptr=np.concatenate((np.zeros(1, np.int64), np.cumsum(places.duration[kept]))),
                period=np.concatenate([nothing, *halves]),
                window=np.concatenate([nothing, *windows]),
            )
        )
        fleets.append(replace(fleet, accepted=np.isin(fleet.key, places.key[kept])))
    return replace(made, fleets=tuple(fleets)), in_force


# -- the outcome -----------------------------------------------------------------------------------


def check_outcome(market: Market, fleets: Sequence[Fleet], outcome: Outcome) -> None:
    """Check places, loads, money, prices, bound and refusals."""
    by_name = {fleet.organisation: fleet for fleet in fleets}
    assert [places.organisation for places in outcome.places] == sorted(by_name)
    for places in outcome.places:
        check_slots(market, by_name[places.organisation], places)
    loads, drawn = loads_of_places(market, outcome.places)
    assert (loads <= market.capacity_w).all()
    assert (drawn <= market.window_w[:, None]).all()
    check_money(market, by_name, outcome)
    check_prices(market, fleets, outcome, loads)
    check_bound(outcome)
    check_refusals(market, by_name, outcome, market.capacity_w - loads)


def position_of(fleet: Fleet) -> dict[int, int]:
    """Give each key's position in the fleet."""
    return {key: at for at, key in enumerate(fleet.key.tolist())}


def check_slots(market: Market, fleet: Fleet, places: Places) -> None:
    """Everybody is named once; slots are whole, in time, at an allowed site, on their windows."""
    where = position_of(fleet)
    assert places.key.tolist() == sorted(fleet.key.tolist())
    for at, key in enumerate(places.key.tolist()):
        i = where[key]
        site, halves = int(places.site[at]), places.half_hours(at).tolist()
        if site < 0:
            assert halves == []
            continue
        assert fleet.masks[fleet.mask[i], site]
        assert len(halves) == fleet.duration[i]
        assert halves == sorted(set(halves))
        assert fleet.earliest[i] <= halves[0]
        assert halves[-1] < fleet.deadline[i]
        if not fleet.interruptible[i]:
            assert halves == list(range(halves[0], halves[0] + len(halves)))
        for half, index in zip(halves, places.supplies(at).tolist(), strict=True):
            if index != GRID:
                offered = market.windows[index]
                assert offered.first <= half < offered.last
                assert offered.region_id == market.region_id[site]


def loads_of_places(market: Market, parts: Sequence[Places]) -> tuple[Ints, Ints]:
    """Add up watts by site and half hour, and by window and half hour."""
    loads = np.zeros(market.grid_q.shape, np.int64)
    drawn = np.zeros((len(market.windows), market.periods), np.int64)
    for places in parts:
        for at in range(len(places)):
            halves, windows = places.half_hours(at), places.supplies(at)
            loads[int(places.site[at]), halves] += int(places.power_w[at])
            supplied = windows != GRID
            np.add.at(drawn, (windows[supplied], halves[supplied]), int(places.power_w[at]))
    return loads, drawn


def true_nano(market: Market, fleet: Fleet, i: int, places: Places, at: int) -> float:
    """Give what a place truly costs, delay included, in 1e-9 GBP."""
    total = 0
    for half, index in zip(
        places.half_hours(at).tolist(), places.supplies(at).tolist(), strict=True
    ):
        energy = market.grid_q[places.site[at], half] if index == GRID else market.window_q[index]
        total += int(energy) + int(fleet.omega_q[i]) * (half - int(fleet.release[i]))
    return total * int(fleet.power_w[i]) * NANO / (2000 * Q)


def check_money(market: Market, by_name: dict[str, Fleet], outcome: Outcome) -> None:
    """The cost is that of the places and refusals, each rounded up; no place is worse than none."""
    total, refused_nano, refused, count = 0.0, 0, 0, 0
    for places in outcome.places:
        fleet = by_name[places.organisation]
        where = position_of(fleet)
        for at, key in enumerate(places.key.tolist()):
            i = where[key]
            count += 1
            if places.site[at] < 0:
                refused += 1
                refused_nano += int(fleet.refusal_nano[i])
                continue
            nano = true_nano(market, fleet, i, places, at)
            total += nano
            if not fleet.accepted[i]:
                assert nano <= int(fleet.refusal_nano[i]) + 1, fleet.names[i]
    assert (outcome.refused, outcome.refused_nano) == (refused, refused_nano)
    assert outcome.workloads == count
    assert -1 <= outcome.cost_nano - refused_nano - total <= count + 1 + 1e-9 * abs(total)


def check_prices(market: Market, fleets: Sequence[Fleet], outcome: Outcome, loads: Ints) -> None:
    """Congestion prices are never below 0, and above 0 only where hardly anything fits."""
    largest = max((int(fleet.power_w.max()) for fleet in fleets if len(fleet)), default=0)
    room = market.capacity_w - loads
    scarce = (room < largest) | (loads >= 0.9 * market.capacity_w)
    assert (outcome.mu_q >= 0).all()
    assert scarce[outcome.mu_q > 0].all()
    if len(market.slot_q):
        cells = (market.slot_area, market.slot_period)
        assert (outcome.supply_q[cells] <= market.area_grid_q()[cells]).all()


def check_bound(outcome: Outcome) -> None:
    """The bound is the best one announced, below the cost, and no round's passes the cost."""
    certified = [one.bound_nano for one in outcome.rounds if not one.sampled]
    assert outcome.bound_nano == max(certified)
    assert outcome.bound_nano <= outcome.cost_nano
    assert outcome.posted_bound_nano == certified[-1]
    assert outcome.gap >= 0.0
    assert [one.number for one in outcome.rounds] == list(range(1, len(outcome.rounds) + 1))


def check_refusals(market: Market, by_name: dict[str, Fleet], outcome: Outcome, room: Ints) -> None:
    """Everybody without a place has one reason, and it is true."""
    without = {
        (places.organisation, int(key))
        for places in outcome.places
        for key, site in zip(places.key.tolist(), places.site.tolist(), strict=True)
        if site < 0
    }
    assert [(one.organisation, one.key) for one in outcome.refusals] == sorted(without)
    for refusal in outcome.refusals:
        fleet = by_name[refusal.organisation]
        check_reason(market, fleet, position_of(fleet)[refusal.key], refusal, room)
        assert refusal.text(market.sites)


def check_reason(market: Market, fleet: Fleet, i: int, refusal: Refusal, room: Ints) -> None:
    sites = np.flatnonzero(fleet.masks[fleet.mask[i]]).tolist()
    power = int(fleet.power_w[i])
    span = range(int(fleet.earliest[i]), int(fleet.deadline[i]))
    most = max((int(market.capacity_w[s, t]) for s in sites for t in span), default=0)
    assert refusal.power_w == power
    match refusal.kind:
        case ReasonKind.NO_SITE:
            assert sites == []
        case ReasonKind.TOO_POWERFUL:
            assert refusal.room_w == most < power
            assert market.capacity_w[refusal.site, refusal.period] == most
        case ReasonKind.NO_ROOM:
            assert most >= power
            assert cheapest_with_room(market, fleet, i, room) is None
            assert room[refusal.site, refusal.period] == refusal.room_w < power
            assert refusal.site in sites
            assert refusal.period in span
        case ReasonKind.PRICED_OUT:
            nano = cheapest_with_room(market, fleet, i, room)
            assert nano is not None
            # At the grid's price; room in a window may be left to others.
            assert nano >= int(fleet.refusal_nano[i]) - 1


def cheapest_with_room(market: Market, fleet: Fleet, i: int, room: Ints) -> float | None:
    """Give the least true cost of a place on the grid with room, None if there is none."""
    power, d = int(fleet.power_w[i]), int(fleet.duration[i])
    first, end = int(fleet.earliest[i]), int(fleet.deadline[i])
    best: int | None = None
    for site in np.flatnonzero(fleet.masks[fleet.mask[i]]).tolist():
        cost = {
            t: int(market.grid_q[site, t]) + int(fleet.omega_q[i]) * (t - int(fleet.release[i]))
            for t in range(first, end)
            if room[site, t] >= power
        }
        if fleet.interruptible[i]:
            sums = [sum(sorted(cost.values())[:d])] if len(cost) >= d else []
        else:
            sums = [
                sum(cost[t] for t in range(start, start + d))
                for start in range(first, end - d + 1)
                if all(t in cost for t in range(start, start + d))
            ]
        best = min([*sums, *([] if best is None else [best])], default=None)
    return None if best is None else best * power * NANO / (2000 * Q)
