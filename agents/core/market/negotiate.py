"""The manager's side of one conversation, from the first call for proposals to the awards.

The rules here talk to contractors only through ``Contractors``; whether these are objects of
this process or actors elsewhere changes nothing that is decided.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from enum import StrEnum
from typing import TypeVar

import numpy as np

from agents.core.market.certificate import gap_of, nearly_full
from agents.core.market.contractors import Contractors
from agents.core.market.discovery import (
    Discovered,
    Level,
    Prices,
    Round,
    announce,
    discover,
    opening_prices,
)
from agents.core.market.fleet import check_refusals
from agents.core.market.order import salt_of
from agents.core.market.outcome import Outcome
from agents.core.market.plans import Places, Proposals, join_by_organisation
from agents.core.market.problem import Market
from agents.core.market.questions import (
    Describe,
    Explain,
    Keep,
    Muster,
    NamePlaces,
    Open,
    Propose,
    Question,
    Regret,
    Step,
)
from agents.core.market.replies import Description, Regrets, Standing, Token
from agents.core.market.settlement import (
    ALONE_REPAIR,
    HUGE,
    LARGE,
    LARGE_REPAIR,
    SMALL,
    SMALL_REPAIR,
    Floor,
    RepairPlan,
    Schedule,
    Starts,
    improve,
    let_choose,
    ranks,
    settle,
)
from agents.core.market.shard import MUSTER_UP_TO
from agents.core.market.tables import FEW_CLASSES, MAX_CLASSES, class_edges
from agents.core.market.units import Bools, Ints
from agents.core.market.windows import unusable_windows

R = TypeVar("R")

MULTI_START_UP_TO = 2_000
CLASSES_UP_TO = 9_999
#: Above so many workloads discovery asks samples.
SAMPLE_FROM = 20_000
#: Above so many workloads rounds after the settlement raise the bound.
POLISH_FROM = 1_000
#: Above so many workloads sweeps are fewer.
HUGE_FROM = 500_000


#: From this part of the capacity on, wanted energy needs prices that make some refuse.
CROWDED_FROM = 0.95
#: Steps of the discovery then, in mean values of energy.
CROWDED_STEPS = (0.3, 0.1, 0.03)
LIFT_ROUNDS = 10


class Quality(StrEnum):
    """How much effort goes into a conversation."""

    FAST = "fast"
    NORMAL = "normal"
    BEST = "best"


#: What being refused counts in coalitions where everybody can have a place.
DEADLINES_FIRST = 1000.0


@dataclass(frozen=True, slots=True)
class Effort:
    """Effort of a small conversation.

    Attributes:
        starts: How many where there are at most 2,000 workloads.
        enough: A repair may end once so many of them are clean.
        improved: Starts that go on to coalitions.
        trials_each: Coalitions tried in each of those, a workload.
        rounds: Rounds of the token in which they are tried.
    """

    starts: int
    enough: int
    improved: int
    trials_each: int
    rounds: int


EFFORT = {
    Quality.FAST: Effort(4, 1, 1, 2, 1),
    Quality.NORMAL: Effort(8, 2, 2, 12, 2),
    Quality.BEST: Effort(16, 4, 2, 70, 10),
}


@dataclass(frozen=True, slots=True)
class Options:
    """Settings of a negotiation; the same options and seed give the same outcome."""

    seed: int = 0
    quality: Quality = Quality.NORMAL
    starts: int | None = None
    """Starts where there are at most 2,000 workloads; None for what the quality asks for."""
    proposals_up_to: int = 200_000
    """Most workloads whose single proposals are kept for the log."""
    muster_up_to: int = MUSTER_UP_TO
    """Most workloads that settle in the lead shards of their organisations; never above the
    constant of that name."""


@dataclass(frozen=True, slots=True, eq=False)
class WarmStart:
    """Prices of an earlier conversation, moved to this horizon."""

    mu_q: Ints
    supply_q: Ints


class _Counted:
    """Counts what is asked; passes everything on."""

    def __init__(self, contractors: Contractors) -> None:
        self._contractors = contractors
        self.questions = 0
        self.token_rounds = 0

    def ask(self, question: Question[R]) -> list[R]:
        self.questions += 1
        return self._contractors.ask(question)

    def relay(self, step: Step, token: Token) -> Token:
        self.token_rounds += 1
        return self._contractors.relay(step, token)

    def leads(self) -> Contractors:
        self._contractors = self._contractors.leads()
        return self


def negotiate(
    market: Market,
    contractors: Contractors,
    options: Options = Options(),
    *,
    warm: WarmStart | None = None,
    in_force: Sequence[Places] = (),
    on_round: Callable[[Round], None] | None = None,
    on_phase: Callable[[str], None] | None = None,
) -> Outcome:
    """Negotiate once over a market.

    Args:
        market: The public side; capacity is what started work leaves free.
        contractors: All shards of all organisations.
        options: Seed and effort.
        warm: Prices to start from.
        in_force: Places of accepted, unstarted work, in this horizon's periods. That plan is
            always a candidate, and accepted work is never dropped for a newcomer.
        on_round: Told of every call for proposals as soon as it is answered.
        on_phase: Told the name of each phase when it begins.

    Raises:
        InputError: The refusal values of all workloads cannot be added up.
    """
    tell = on_phase if on_phase is not None else _ignore
    counted = _Counted(contractors)
    tell("open")
    about = counted.ask(Describe())
    check_refusals("all organisations", sum(part.refusals_nano for part in about))
    count = sum(part.workloads for part in about)
    edges = _edges(market, about, count)
    lowest = min((int(part.powers[0]) for part in about if len(part.powers)), default=0)
    counted.ask(Open(market, edges, tuple(in_force), lowest))
    mustered = count <= min(options.muster_up_to, MUSTER_UP_TO)
    if mustered:
        counted.ask(Muster(count))
        counted.leads()
    tell("discovery")
    start = Prices(warm.mu_q, _clipped(market, warm.supply_q)) if warm else opening_prices(market)
    logged = count <= options.proposals_up_to
    first = counted.ask(Propose(start.mu_q, start.supply_q)) if logged else []
    energy = sum(part.energy_w for part in about)
    crowded = energy > CROWDED_FROM * int(market.capacity_w.sum())
    levels = plan_levels(options, count, warm=warm is not None, crowded=crowded)
    found = discover(market, counted, start, levels, energy_w=energy, on_round=on_round)
    interim = counted.ask(Propose(found.prices.mu_q, found.prices.supply_q)) if logged else []
    tell("settlement")
    starts = _starts(market, counted, options, count, found, about)
    floor, standing = settle(
        market,
        counted,
        starts,
        schedule=_schedule(options, count, mustered=mustered),
        plan=_repair_plan(about, EFFORT[options.quality], mustered=mustered),
        mustered=mustered,
        seed=options.seed,
        typical_w=energy // max(sum(part.half_hours for part in about), 1) or 1,
    )
    if mustered and 1 < count <= MULTI_START_UP_TO:
        tell("coalitions")
        effort = EFFORT[options.quality]
        standing = improve(
            floor,
            counted,
            _front(standing, effort.improved),
            trials=effort.trials_each * count,
            rounds=effort.rounds,
            refusal_weight=DEADLINES_FIRST if bool((standing.refused == 0).any()) else 1.0,
        )
    standing = let_choose(floor, counted)
    winner = _ranked(standing)[0]
    counted.ask(Keep(winner))
    tell("certificate")
    return _close(
        market,
        counted,
        about,
        found,
        floor,
        standing,
        winner,
        starts,
        _by_organisation(first),
        _by_organisation(interim),
        plan_polish(options, count),
        on_round,
    )


def _close(
    market: Market,
    counted: _Counted,
    about: list[Description],
    found: Discovered,
    floor: Floor,
    standing: Standing,
    winner: int,
    starts: Starts,
    first: tuple[Proposals, ...],
    interim: tuple[Proposals, ...],
    polish: tuple[Level, ...],
    on_round: Callable[[Round], None] | None,
) -> Outcome:
    rounds = list(found.rounds)
    energy = sum(part.energy_w for part in about)

    def certify(prices: Prices) -> Round:
        current = announce(market, counted, prices, Level(1, 0.0), len(rounds) + 1)
        rounds.append(current)
        if on_round is not None:
            on_round(current)
        return current

    loads = floor.loads[winner]
    largest = max((int(part.powers[-1]) for part in about if len(part.powers)), default=0)
    scarce = nearly_full(market, loads, largest)
    settled = certify(Prices(floor.mu_q[winner], found.prices.supply_q))
    bound, prices = found.bound_nano, found.prices
    if settled.bound_nano > bound:
        bound, prices = settled.bound_nano, settled.prices
    if polish:
        polished = discover(
            market,
            counted,
            prices,
            polish,
            energy_w=energy,
            first_number=len(rounds) + 1,
            on_round=on_round,
        )
        rounds.extend(polished.rounds)
        if polished.bound_nano > bound:
            bound, prices = polished.bound_nano, polished.prices
    posted = certify(Prices(np.where(scarce, prices.mu_q, 0), prices.supply_q))
    bound = max(bound, posted.bound_nano)
    places = join_by_organisation(counted.ask(NamePlaces()))
    refusals = sorted(
        (refusal for part in counted.ask(Explain(loads)) for refusal in part),
        key=lambda refusal: (refusal.organisation, refusal.key),
    )
    cost = int(standing.cost_nano[winner])
    refused_nano = int(standing.refused_nano[winner])
    return Outcome(
        market=market,
        rounds=tuple(rounds),
        mu_q=posted.prices.mu_q,
        supply_q=posted.prices.supply_q,
        bound_nano=bound,
        cost_nano=cost,
        refused_nano=refused_nano,
        posted_bound_nano=posted.bound_nano,
        gap=gap_of(cost, bound, energy, market),
        gap_placed=gap_of(cost - refused_nano, bound - refused_nano, energy, market),
        energy_w=energy,
        workloads=sum(part.workloads for part in about),
        refused=int(standing.refused[winner]),
        dropped=int(standing.dropped[winner]),
        per_cell=_per_cell(market, about),
        places=places,
        proposals=first,
        interim=interim,
        refusals=tuple(refusals),
        regrets=_regrets(counted.ask(Regret(posted.prices.mu_q, posted.prices.supply_q))),
        starts_nano=tuple(int(nano) for nano in standing.cost_nano),
        winner=winner,
        in_force_stands=bool(starts.in_force[winner]),
        naive_stands=bool(starts.naive[winner]),
        unusable_windows=tuple(
            unusable_windows(market, np.concatenate([part.powers for part in about]))
        ),
        steps=tuple((name, int(moved.sum())) for name, moved in floor.moves),
        mustered=floor.mustered,
        questions=counted.questions,
        token_rounds=counted.token_rounds,
    )


def _ignore(_phase: str) -> None:
    return None


def _edges(market: Market, about: list[Description], count: int) -> Ints:
    """Power classes: for small conversations, and wherever free room is scarce for the largest."""
    powers = np.concatenate([part.powers for part in about]) if about else np.zeros(0, np.int64)
    if count == 0:
        return np.zeros(0, np.int64)
    tight = bool((market.capacity_w < int(powers.max())).any())
    if count > CLASSES_UP_TO and not tight:
        return np.zeros(0, np.int64)
    return class_edges(powers, market, MAX_CLASSES if count <= CLASSES_UP_TO else FEW_CLASSES)


def plan_levels(
    options: Options, count: int, *, warm: bool, crowded: bool = False
) -> tuple[Level, ...]:
    """Plan the discovery: all workloads where that is cheap, else growing samples.

    Where more is wanted than there is, prices have far to climb, up to refusal values: all rise
    together first, and two more stretches follow.
    """
    rounds = {Quality.FAST: 40, Quality.NORMAL: 60, Quality.BEST: 120}[options.quality]
    salt = int(salt_of(options.seed, 0))
    few = _sample(SAMPLE_FROM, count) if count > SAMPLE_FROM else 0
    if crowded:
        levels = tuple(
            Level(rounds, step, few, salt, LIFT_ROUNDS if turn == 0 else 0)
            for turn, step in enumerate(CROWDED_STEPS)
        )
    elif few:
        levels = (Level(rounds // 2 if warm else rounds, 0.1 if warm else 0.3, few, salt),)
    else:
        levels = (Level(rounds // 2, 0.05) if warm else Level(rounds, 0.1),)
    return (*levels, Level(15, 0.005, _sample(4 * SAMPLE_FROM, count), salt)) if few else levels


def plan_polish(options: Options, count: int) -> tuple[Level, ...]:
    """Plan the rounds after the settlement, whose prices are near the best.

    They raise the bound alone. In conversations so
    small that lumps make most of it, only the best effort takes the time.
    """
    best = options.quality is Quality.BEST
    if options.quality is Quality.FAST or (count <= POLISH_FROM and not best):
        return ()
    if count <= MULTI_START_UP_TO:
        level = Level(40, 0.005)
    elif count <= SAMPLE_FROM:
        level = Level(20, 0.002)
    elif count <= HUGE_FROM:
        level = Level(30, 0.003)
    else:
        level = Level(8, 0.001)
    return (replace(level, rounds=2 * level.rounds) if best else level,)


def _sample(wanted: int, count: int) -> int:
    """Give the share of workloads to ask, of 2^32; 0 asks all."""
    return 0 if wanted >= count else (wanted << 32) // count


def _starts(
    market: Market,
    contractors: Contractors,
    options: Options,
    count: int,
    found: Discovered,
    about: list[Description],
) -> Starts:
    """Lay out the starts.

    Several fresh ones where they are cheap, some open to refusing where prices ask for it, one
    that leaves windows out, and the plan in force.
    """
    wanted = EFFORT[options.quality].starts if options.starts is None else options.starts
    fresh = max(wanted, 1) if count <= MULTI_START_UP_TO else 1
    wanted_w = sum(part.energy_w for part in about)
    outside = [wanted_w > int(market.capacity_w.sum())] * fresh
    if not outside[0] and found.refusing * 100 > count:
        if fresh > 1:
            outside[fresh // 2 :] = [True] * (fresh - fresh // 2)
        else:
            outside.append(True)
    prices = [found.prices] * len(outside)
    in_force = [False] * len(outside)
    naive = [False] * len(outside)
    if len(market.slot_q):
        prices.append(_without_windows(market, contractors, found.prices, options, about))
        outside.append(False)
        in_force.append(False)
        naive.append(True)
    if any(part.accepted for part in about):
        prices.append(found.prices)
        outside.append(False)
        in_force.append(True)
        naive.append(False)
    return Starts(
        mu_q=np.stack([one.mu_q for one in prices]),
        supply_q=np.stack([one.supply_q for one in prices]),
        outside=np.array(outside),
        in_force=np.array(in_force),
        naive=np.array(naive),
    )


def _without_windows(
    market: Market,
    contractors: Contractors,
    prices: Prices,
    options: Options,
    about: list[Description],
) -> Prices:
    """Find congestion prices for a market whose windows nobody knows of."""
    bare = replace(market, windows=(), window_q=market.window_q[:0], window_w=market.window_w[:0])
    start = Prices(prices.mu_q, market.area_grid_q())
    count = sum(part.workloads for part in about)
    found = discover(
        bare,
        contractors,
        start,
        plan_levels(options, count, warm=True),
        energy_w=sum(part.energy_w for part in about),
    )
    return found.prices


def _schedule(options: Options, count: int, *, mustered: bool) -> Schedule:
    if mustered:
        return SMALL
    return HUGE if count > HUGE_FROM and options.quality is not Quality.BEST else LARGE


def _repair_plan(about: list[Description], effort: Effort, *, mustered: bool) -> RepairPlan:
    if not mustered:
        return LARGE_REPAIR
    alone = len({part.organisation for part in about}) == 1
    return replace(ALONE_REPAIR if alone else SMALL_REPAIR, enough=effort.enough)


def _ranked(standing: Standing) -> list[int]:
    """Rank the starts, the first of equals first.

    Fewest accepted dropped; then a place for everybody before any refusal, because a deadline
    that can be kept is kept; then the cheapest.
    """
    return [int(start) for start in np.lexsort(ranks(standing)[::-1])]


def _front(standing: Standing, count: int) -> Bools:
    """[B] the best starts."""
    out = np.zeros(len(standing.cost_nano), np.bool_)
    out[_ranked(standing)[:count]] = True
    return out


def _clipped(market: Market, supply_q: Ints) -> Ints:
    opening = opening_prices(market).supply_q
    return np.clip(supply_q, opening, market.area_grid_q())


def _per_cell(market: Market, about: list[Description]) -> float:
    cells = int((market.capacity_w > 0).sum())
    return sum(part.half_hours for part in about) / max(cells, 1)


def _by_organisation(parts: list[Proposals]) -> tuple[Proposals, ...]:
    out = []
    for name in sorted({part.organisation for part in parts}):
        mine = [part for part in parts if part.organisation == name]
        key = np.concatenate([part.key for part in mine])
        order = np.argsort(key, kind="stable")
        out.append(
            Proposals(
                name,
                key[order],
                np.concatenate([part.site for part in mine])[order],
                np.concatenate([part.start for part in mine])[order],
            )
        )
    return tuple(out)


def _regrets(parts: list[Regrets]) -> tuple[Regrets, ...]:
    out = []
    for name in sorted({part.organisation for part in parts}):
        mine = [part for part in parts if part.organisation == name]
        out.append(
            Regrets(
                name,
                sum(part.regret_nano for part in mine),
                sum(part.cost_nano for part in mine),
                sum(part.within_percent for part in mine),
                sum(part.placed for part in mine),
            )
        )
    return tuple(out)
