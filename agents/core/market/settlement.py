"""From prices to places: soft capacity first, hard capacity last, several starts at once.

The manager holds the load tables and passes them round as a token; it sees no workload. Each of
the B starts differs in its order and may allow refusals. After every soft sweep the congestion
prices follow the loads, which also improves the bound.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from operator import itemgetter

import numpy as np

from agents.core.market.contractors import Contractors
from agents.core.market.kernels_settle import (
    MAX_RAMP,
    VISIT_ALL,
    VISIT_MISSING,
    VISIT_OVERFULL,
)
from agents.core.market.order import salt_of
from agents.core.market.problem import Market
from agents.core.market.questions import (
    Begin,
    Choose,
    Evict,
    Improve,
    NameCrowds,
    Renounce,
    Restore,
    Revert,
    Stand,
    Sweep,
)
from agents.core.market.replies import Crowd, Standing, Terms, Token
from agents.core.market.units import Bools, Floats, Ints
from agents.core.market.windows import pack

#: Least gain, a half hour and as part of the mean value of energy, that brings a workload into a
#: filtered sweep.
LEAST_GAIN = 0.002
#: How far congestion prices follow the loads after a sweep.
FOLLOW = 0.3


@dataclass(frozen=True, slots=True)
class Schedule:
    """Sweeps of one settlement: kappa and k of each soft one, theta of each hard one, in order."""

    kappa: tuple[float, ...]
    ramp: tuple[float, ...]
    theta: tuple[float, ...]


@dataclass(frozen=True, slots=True)
class RepairPlan:
    """Rounds of the token in a repair, passes of one shard in each, and tries with force."""

    first: int
    """Rounds of the first repair: few, where those without a place are better forced in soon."""
    rounds: int
    passes: int
    tries: int
    growth: float = 1.2
    """Factor of an overfull cell's ramp after a pass, and what is added, in mean prices."""
    step: float = 0.3
    enough: int = 3
    """Once a quarter of the rounds are over: stop as soon as so many starts are clean."""
    least: float = 0.0
    """Least part of the ramp that load above capacity costs: a big workload that stands a few watts
    too high is in the way of others all the same."""
    hasty: bool = False
    """Settle once more with a ramp that rises fast where in every start somebody has no place."""


#: No more forcing once so many starts have a place for everybody.
ENOUGH_CLEAN = 2

ALONE_REPAIR = RepairPlan(
    first=2, rounds=12, passes=40, tries=4, growth=1.1, step=0.05, least=0.25, hasty=True
)
"""One organisation in one shard: many passes before it has to speak."""
SMALL_REPAIR = RepairPlan(
    first=30, rounds=60, passes=3, tries=4, growth=1.1, step=0.05, least=0.25, hasty=True
)
"""Several organisations: too many passes of one drive it away from work it could share with."""
LARGE_REPAIR = RepairPlan(first=40, rounds=40, passes=1, tries=6, growth=1.3, step=0.5)
SMALL = Schedule(
    kappa=(1.0,) * 8,
    ramp=(0.0, 0.0, 0.05, 0.1, 0.15, 0.2, 0.3, 0.4),
    theta=(0.3, 0.0, 0.0, 0.0),
)
LARGE = Schedule(
    kappa=(1.0, 1.0, 2.0, 2.0, 4.0, 4.0),
    ramp=(0.0, 0.0, 0.0, 0.02, 0.05, 0.1),
    # Nearly the whole congestion price keeps most from asking for cells where nothing is free. In a
    # third sweep at true cost one in a thousand would still ask, and next to none would move.
    theta=(0.8, 0.0),
)

HUGE = Schedule(kappa=(1.0, 2.0, 4.0, 4.0), ramp=(0.0, 0.0, 0.05, 0.1), theta=(0.8,))
"""With thousands of workloads a cell, two more soft sweeps and one at true cost would take a third
of the time and win 0.03 % of the cost."""


@dataclass(frozen=True, slots=True, eq=False)
class Starts:
    """How the B starts of a settlement differ.

    Attributes:
        mu_q, supply_q: [B, S, T], [B, A, T] prices each begins with.
        outside: Refusing is open from the beginning.
        in_force: Begins with the contracts in force instead of best responses.
        naive: Leaves the windows out until they are packed.
    """

    mu_q: Ints
    supply_q: Ints
    outside: Bools
    in_force: Bools
    naive: Bools


@dataclass(slots=True, eq=False)
class Floor:
    """What the manager knows of B starts while they settle; changed step by step."""

    market: Market
    supply_q: Ints
    """[B, A, T]"""
    naive: Bools
    """[B] starts that leave the windows out until they are packed."""
    loads: Ints
    room: Ints
    mu_q: Ints
    """[B, S, T]"""
    mean_price: Floats
    """[B] mean positive congestion price, Q units."""
    outside: Bools
    seed: int
    mustered: bool
    typical_w: int
    """Typical power of a workload."""
    least: float = 0.0
    """Least part of the ramp that load above capacity costs."""
    steps: int = 0
    moves: list[tuple[str, Ints]] = field(default_factory=list)

    @property
    def starts(self) -> int:
        """Number of starts."""
        return int(self.loads.shape[0])

    @property
    def excess(self) -> Ints:
        """[B, S, T] watts above capacity; negative where there is room."""
        return self.loads - self.market.capacity_w[None]

    def overfull(self) -> Bools:
        """[B] starts with some cell above capacity."""
        return np.asarray((self.excess > 0).any(axis=(1, 2)))

    def run(
        self, contractors: Contractors, name: str, terms: Terms, ramp: Floats | None = None
    ) -> Ints:
        """Send one step round; gives the moves of each start. ``ramp`` is changed in place."""
        token = Token(self.loads, self.room, np.zeros(self.starts, np.int64), ramp)
        token = contractors.relay(Sweep(terms, self.mustered), token)
        self.loads, self.room = token.loads, token.room
        if ramp is not None and token.ramp is not None:
            ramp[:] = token.ramp
        self.steps += 1
        self.moves.append((name, token.moved))
        return token.moved

    def choose(self, contractors: Contractors, terms: Terms) -> None:
        """Let shards choose who takes part in a filtered step; nothing to do where all do."""
        if terms.filtered:
            token = Token(self.loads, self.room, np.zeros(self.starts, np.int64))
            least = int(LEAST_GAIN * self.market.scale_q)
            contractors.ask(Choose(terms, token, self.typical_w, least))

    def terms(
        self,
        *,
        mu_q: Ints | None = None,
        kappa: float = 0.0,
        ramp: Floats | float = 0.0,
        hard: bool = False,
        share: float = 1.0,
        active: Bools | None = None,
        outside: Bools | None = None,
        visit: int = VISIT_ALL,
        use_naive: bool = True,
        protect: bool = False,
        passes: int = 1,
        growth: float = 0.0,
        growth_step: Floats | None = None,
        coalition: int = 12,
        tolerance: float = 0.0,
        refusal_weight: float = 1.0,
    ) -> Terms:
        """Put the terms of a step together."""
        table = np.asarray(ramp, dtype=np.float64)
        return Terms(
            mu_q=self.mu_q if mu_q is None else mu_q,
            supply_q=self.supply_q,
            rho_scale=kappa * self.mean_price,
            ramp=table if table.ndim == 3 else np.reshape(table * self.mean_price, (-1, 1, 1)),  # noqa: PLR2004
            share=share,
            hard=hard,
            naive=self.naive if use_naive else None,
            outside=self.outside if outside is None else outside,
            active=np.ones(self.starts, np.bool_) if active is None else active,
            salts=tuple(int(salt_of(self.seed, start, self.steps)) for start in range(self.starts)),
            visit=visit,
            typical_w=0 if self.mustered or hard or visit == VISIT_MISSING else self.typical_w,
            filtered=not self.mustered and visit == VISIT_ALL,
            protect=protect,
            least=self.least,
            passes=passes,
            growth=growth,
            growth_step=growth_step,
            coalition=coalition,
            tolerance=tolerance,
            refusal_weight=refusal_weight,
        )

    def take(self, standing: Standing) -> None:
        """Replace loads and room by what the shards added up."""
        self.loads = standing.loads
        self.room = self.market.slot_w[None] - standing.used

    def follow(self, kappa: float, active: Bools) -> None:
        """Let congestion prices follow the loads."""
        capacity = np.maximum(self.market.capacity_w, 1)[None]
        rho = kappa * self.mean_price[:, None, None] / capacity
        moved = np.maximum(0.0, self.mu_q + FOLLOW * rho * self.excess)
        self.mu_q = np.where(active[:, None, None], np.rint(moved), self.mu_q).astype(np.int64)


def merged(parts: list[Standing]) -> Standing:
    """Add the shards' standings up."""
    return Standing(
        organisation="",
        loads=sum((part.loads for part in parts[1:]), parts[0].loads),
        used=sum((part.used for part in parts[1:]), parts[0].used),
        cost_nano=sum((part.cost_nano for part in parts[1:]), parts[0].cost_nano),
        refused=sum((part.refused for part in parts[1:]), parts[0].refused),
        dropped=sum((part.dropped for part in parts[1:]), parts[0].dropped),
        refused_nano=sum((part.refused_nano for part in parts[1:]), parts[0].refused_nano),
    )


def lay_floor(
    market: Market,
    starts: Starts,
    standing: Standing,
    *,
    seed: int,
    mustered: bool,
    typical_w: int,
) -> Floor:
    """Give the state of the starts right after their best responses."""
    least = 0.05 * market.scale_q
    mean = [
        max(float(mu[mu > 0].mean()) if bool((mu > 0).any()) else 0.0, least) for mu in starts.mu_q
    ]
    return Floor(
        market=market,
        supply_q=starts.supply_q,
        naive=starts.naive,
        loads=standing.loads,
        room=market.slot_w[None] - standing.used,
        mu_q=starts.mu_q,
        mean_price=np.array(mean),
        outside=starts.outside,
        seed=seed,
        mustered=mustered,
        typical_w=typical_w,
    )


def sweep_softly(floor: Floor, contractors: Contractors, schedule: Schedule, active: Bools) -> None:
    """Run the soft sweeps; prices follow after each."""
    for kappa, ramp in zip(schedule.kappa, schedule.ramp, strict=True):
        terms = floor.terms(kappa=kappa, ramp=ramp, active=active)
        floor.choose(contractors, terms)
        floor.run(contractors, "sweep", terms)
        floor.follow(kappa, active)


def repair(
    floor: Floor, contractors: Contractors, active: Bools, *, ramp: float, plan: RepairPlan
) -> None:
    """Empty the overfull cells: their ramp grows pass by pass, that of others stays."""
    table = np.full(floor.loads.shape, ramp) * floor.mean_price[:, None, None]
    step = plan.step * floor.mean_price
    for turn in range(plan.rounds):
        over = floor.overfull() & active
        clean = int((active & ~over).sum())
        if not over.any() or (clean >= plan.enough and turn >= plan.rounds // 4):
            break
        terms = floor.terms(
            kappa=1.0,
            ramp=table,
            active=over,
            visit=VISIT_OVERFULL,
            passes=plan.passes,
            # Several shards of one organisation must not each let the ramp grow: the outcome
            # would depend on their number.
            growth=plan.growth if floor.mustered else 0.0,
            growth_step=step,
        )
        floor.run(contractors, "repair", terms, table)
        if not floor.mustered:
            grown = np.minimum(plan.growth * table + step[:, None, None], MAX_RAMP)
            table = np.where(floor.excess > 0, grown, table)


def evict(floor: Floor, contractors: Contractors, *, everyone: bool = False) -> None:
    """Take places from workloads in overfull cells until none is overfull.

    Newcomers go before accepted work, small ones before big ones; ``everyone`` reaches also those
    who are back at their contract's place.
    """
    while floor.overfull().any():
        over = floor.overfull()
        crowds = contractors.ask(NameCrowds(floor.loads, over, everyone))
        start_of: list[int] = []
        keys: list[int] = []
        for start in np.flatnonzero(over).tolist():
            here = [crowd for part in crowds for crowd in part if crowd.start == start]
            for key in chosen_to_leave(floor.excess[start].copy(), here):
                start_of.append(start)
                keys.append(key)
        if not keys:
            break
        answer = contractors.ask(
            Evict(np.array(start_of, dtype=np.int64), np.array(keys, dtype=np.uint64))
        )
        floor.take(merged(answer))


def chosen_to_leave(excess: Ints, crowds: list[Crowd]) -> list[int]:
    """Choose who leaves the overfull cells of one start; ``excess`` [S, T] is used up.

    Where a shard named only its first, nobody behind the last of those may leave yet: others of
    that shard may come before. So who leaves does not depend on how the work is dealt to shards.
    """
    ranked = sorted(
        ((*rank_in(crowd, at), crowd, at) for crowd in crowds for at in range(len(crowd.key))),
        key=itemgetter(slice(4)),
    )
    last = min((rank_in(crowd, len(crowd.key) - 1) for crowd in crowds if crowd.cut), default=None)
    leaving = []
    for accepted, forced, size, key, crowd, at in ranked:
        if last is not None and (accepted, forced, size, key) > last:
            break
        site = int(crowd.site[at])
        halves = crowd.period[crowd.ptr[at] : crowd.ptr[at + 1]]
        if (excess[site, halves] > 0).any():
            excess[site, halves] -= crowd.power_w[at]
            leaving.append(key)
            if not (excess > 0).any():
                break
    return leaving


def rank_in(crowd: Crowd, at: int) -> tuple[bool, bool, int, int]:
    """Give what those who leave are ranked by: newcomers, the unforced and small ones first."""
    return (
        bool(crowd.accepted[at]),
        bool(crowd.forced[at]),
        int(crowd.size[at]),
        int(crowd.key[at]),
    )


def place_missing(
    floor: Floor,
    contractors: Contractors,
    active: Bools,
    *,
    theta: float = 0.3,
    use_naive: bool = True,
) -> None:
    """Give those without a place the cheapest that is free, the largest first."""
    mu = np.rint(floor.mu_q * theta).astype(np.int64)
    terms = floor.terms(
        mu_q=mu,
        hard=True,
        share=theta,
        active=active,
        visit=VISIT_MISSING,
        use_naive=use_naive,
    )
    floor.run(contractors, "place", terms)


def force_missing(floor: Floor, contractors: Contractors, active: Bools, ramp: float) -> None:
    """Put those without a place where they disturb least, whatever is there; they stay."""
    terms = floor.terms(
        kappa=1.0,
        ramp=ramp,
        active=active,
        visit=VISIT_MISSING,
        protect=True,
        outside=np.zeros(floor.starts, np.bool_),
    )
    floor.run(contractors, "force", terms)


def settle_rest(
    floor: Floor, contractors: Contractors, active: Bools, ramp: float, plan: RepairPlan
) -> Standing:
    """Make every start feasible and find a place for everybody if there is one.

    The best state of each start on the way is the one that stays; a place for everybody is better
    than any refusal, though it cost more before the finish.
    """
    best = np.full((3, floor.starts), np.iinfo(np.int64).max)
    for turn in range(plan.tries):
        evict(floor, contractors)
        place_missing(floor, contractors, active)
        standing = ask_standing(contractors)
        rank = ranks(standing)
        better = below(rank, best)
        contractors.ask(Stand(save=better))
        best = np.where(better, rank, best)
        stuck = active & (standing.refused > 0) & ~floor.outside
        clean = int(((standing.refused == 0) | ~active).sum())
        if turn == plan.tries - 1 or not stuck.any() or clean >= ENOUGH_CLEAN:
            break
        force_missing(floor, contractors, stuck, ramp)
        repair(floor, contractors, stuck, ramp=ramp, plan=plan)
    worse = below(best, rank)
    if worse.any():
        standing = merged(contractors.ask(Revert(worse)))
        floor.take(standing)
    return standing


def ranks(standing: Standing) -> Ints:
    """[3, B] what starts are ranked by: accepted work dropped, whether any is refused, the cost."""
    some = (standing.refused > 0).astype(np.int64)
    return np.stack([standing.dropped, some, standing.cost_nano])


def below(one: Ints, other: Ints) -> Bools:
    """[B] where the first row that differs is lower in ``one``."""
    less, same = one < other, one == other
    return np.asarray(less[0] | (same[0] & less[1]) | (same[0] & same[1] & less[2]))


def restore_accepted(floor: Floor, contractors: Contractors, standing: Standing) -> Standing:
    """Give accepted work without a place its contract's place back and push others out.

    Whoever is restored is never pushed by another, so this ends. Only where capacity itself was
    withdrawn can contracts overfill a cell; then the smallest of them lose their places.
    """
    while (standing.dropped > 0).any():
        lost = standing.dropped
        answer = merged(contractors.ask(Restore(lost > 0)))
        floor.take(answer)
        evict(floor, contractors)
        withdrawn = bool(floor.overfull().any())
        if withdrawn:
            evict(floor, contractors, everyone=True)
        place_missing(floor, contractors, lost > 0)
        standing = ask_standing(contractors)
        if withdrawn or (answer.dropped == lost).all():
            break
    return standing


def finish(
    floor: Floor,
    contractors: Contractors,
    thetas: tuple[float, ...],
    *,
    use_naive: bool = True,
) -> Standing:
    """Run hard sweeps at value + theta * mu; a start whose true total rose goes back.

    With theta 0 every move lowers the true total by itself.
    """
    before = merged(contractors.ask(Stand(save=np.ones(floor.starts, np.bool_))))
    active = np.ones(floor.starts, np.bool_)
    for theta in thetas:
        mu = np.rint(floor.mu_q * theta).astype(np.int64)
        terms = floor.terms(
            mu_q=mu,
            hard=True,
            share=theta,
            active=active,
            outside=active & (theta == 0.0),
            use_naive=use_naive,
        )
        floor.choose(contractors, terms)
        moved = floor.run(contractors, "finish", terms)
        if theta == 0.0:
            active = active & (moved > 0)
            if not active.any():
                break
    after = ask_standing(contractors)
    worse = after.cost_nano > before.cost_nano
    if worse.any():
        after = merged(contractors.ask(Revert(worse)))
        floor.take(after)
    return after


def let_choose(floor: Floor, contractors: Contractors) -> Standing:
    """Ask everybody once more whether a place is worth it; lowers the true total or leaves it.

    Whoever would rather be refused leaves, and whoever has no place takes the cheapest that is
    free if it is worth it. So nobody pays more than being refused would cost, and no refusal is
    for want of asking.
    """
    standing = merged(contractors.ask(Renounce()))
    floor.take(standing)
    if (standing.refused > 0).any():
        place_missing(floor, contractors, standing.refused > 0, theta=0.0, use_naive=False)
        standing = ask_standing(contractors)
    return standing


def ask_standing(contractors: Contractors) -> Standing:
    """Ask all shards where they stand."""
    return merged(contractors.ask(Stand()))


def settle(
    market: Market,
    contractors: Contractors,
    starts: Starts,
    *,
    schedule: Schedule,
    plan: RepairPlan,
    seed: int,
    mustered: bool,
    typical_w: int,
) -> tuple[Floor, Standing]:
    """Settle all starts; gives the manager's state and where each start stands."""
    standing = merged(
        contractors.ask(Begin(starts.mu_q, starts.supply_q, starts.outside, starts.in_force))
    )
    floor = lay_floor(market, starts, standing, seed=seed, mustered=mustered, typical_w=typical_w)
    floor.least = plan.least
    fresh = ~starts.in_force
    if fresh.any():
        sweep_softly(floor, contractors, schedule, fresh)
        first = replace(plan, rounds=plan.first)
        repair(floor, contractors, fresh, ramp=schedule.ramp[-1], plan=first)
    everyone = np.ones(floor.starts, np.bool_)
    standing = settle_rest(floor, contractors, everyone, schedule.ramp[-1], plan)
    if plan.hasty and bool((standing.refused > 0).all()) and not starts.outside.any():
        # Prices say that all fit. A ramp that rises fast drives more of them apart.
        plan = replace(plan, hasty=False, first=plan.rounds, growth=1.2, step=0.3, least=0.0)
        return settle(
            market,
            contractors,
            starts,
            schedule=schedule,
            plan=plan,
            seed=seed,
            mustered=mustered,
            typical_w=typical_w,
        )
    standing = restore_accepted(floor, contractors, standing)
    standing = finish(floor, contractors, schedule.theta)
    if len(market.slot_q) and pack(market, contractors, floor.starts):
        floor.take(ask_standing(contractors))
        standing = finish(floor, contractors, schedule.theta, use_naive=False)
        if pack(market, contractors, floor.starts):
            standing = ask_standing(contractors)
            floor.take(standing)
    return floor, standing


def improve(
    floor: Floor,
    contractors: Contractors,
    active: Bools,
    *,
    trials: int,
    rounds: int,
    coalition: int = 8,
    tolerance: float = 0.0,
    refusal_weight: float = 1.0,
) -> Standing:
    """Try coalitions within organisations; the best state of each start stays.

    Args:
        floor: The manager's state.
        contractors: Mustered shards.
        active: [B] starts to improve.
        trials: Trials of each start in all.
        rounds: Rounds of the token they are dealt to.
        coalition: Most workloads of a coalition.
        tolerance: What a trial may lose in the first round, 1e-9 GBP; falls to 0.
        refusal_weight: What being refused counts, in refusal values.
    """
    standing = merged(contractors.ask(Stand(save=np.ones(floor.starts, np.bool_))))
    best = standing.cost_nano
    for turn in range(rounds):
        left = 1.0 - (turn + 1) / rounds
        terms = floor.terms(
            hard=True,
            share=0.0,
            active=active,
            coalition=coalition,
            tolerance=tolerance * left * left,
            refusal_weight=refusal_weight,
            use_naive=False,
        )
        token = Token(floor.loads, floor.room, np.zeros(floor.starts, np.int64))
        token = contractors.relay(Improve(terms, trials // rounds), token)
        floor.loads, floor.room = token.loads, token.room
        floor.steps += 1
        floor.moves.append(("improve", token.moved))
    standing = ask_standing(contractors)
    worse = standing.cost_nano > best
    if worse.any():
        standing = merged(contractors.ask(Revert(worse)))
        floor.take(standing)
    return standing
