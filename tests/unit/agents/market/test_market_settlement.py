"""Steps of the settlement one by one: what each may and may not do to costs, loads and places."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from market_samples import (
    Work,
    fleet_of,
    half_hearted,
    instances,
    market_of_prices,
    overloaded,
    window,
)
from outcome_checks import Watched

from agents.core.market.contractors import make_books
from agents.core.market.discovery import Level, Prices, decay, discover, opening_prices
from agents.core.market.fleet import Fleet
from agents.core.market.instances import Instance, make_instance
from agents.core.market.problem import Market
from agents.core.market.questions import Begin, Muster, Open
from agents.core.market.replies import Crowd, Standing, Terms, Token
from agents.core.market.settlement import (
    SMALL,
    SMALL_REPAIR,
    Floor,
    Starts,
    ask_standing,
    below,
    chosen_to_leave,
    evict,
    finish,
    improve,
    lay_floor,
    let_choose,
    merged,
    place_missing,
    ranks,
    repair,
    settle_rest,
    sweep_softly,
)
from agents.core.market.tables import class_edges
from agents.core.market.units import Ints
from agents.core.market.windows import pack

STARTS = 3


def laid(
    market: Market, fleets: Sequence[Fleet], *, mustered: bool = True, outside: bool = False
) -> tuple[Floor, Watched]:
    """Open a conversation and put everybody at the best responses to a few rounds of prices."""
    watched = Watched(make_books(fleets, 2))
    powers = np.concatenate([fleet.power_w for fleet in fleets])
    watched.ask(Open(market, class_edges(powers, market), (), int(powers.min())))
    energy = sum(int((fleet.power_w * fleet.duration).sum()) for fleet in fleets)
    found = discover(
        market, watched, opening_prices(market), (Level(10, 0.3),), energy_w=energy
    ).prices
    if mustered:
        watched.ask(Muster(len(powers)))
    starts = Starts(
        mu_q=np.repeat(found.mu_q[None], STARTS, axis=0),
        supply_q=np.repeat(found.supply_q[None], STARTS, axis=0),
        outside=np.full(STARTS, outside),
        in_force=np.zeros(STARTS, np.bool_),
        naive=np.arange(STARTS) == 2,
    )
    standing = merged(
        watched.ask(Begin(starts.mu_q, starts.supply_q, starts.outside, starts.in_force))
    )
    typical = int(np.median(powers))
    floor = lay_floor(market, starts, standing, seed=1, mustered=mustered, typical_w=typical)
    return floor, watched


def feasible(floor: Floor) -> bool:
    return bool((floor.excess <= 0).all() and (floor.room >= 0).all())


def everyone() -> np.ndarray:
    return np.ones(STARTS, np.bool_)


@given(instances(largest=80), st.booleans(), st.sampled_from([0.0, 0.3, 1.0, 3.0]))
@settings(max_examples=20, deadline=None)
def test_the_finish_never_raises_the_true_total(
    drawn: tuple[Instance, int], mustered: bool, theta: float
) -> None:
    made, _ = drawn
    assume(any(len(fleet) for fleet in made.fleets))
    floor, watched = laid(made.market, made.fleets, mustered=mustered)
    sweep_softly(floor, watched, SMALL, everyone())
    evict(floor, watched)
    place_missing(floor, watched, everyone())
    before = ask_standing(watched)
    assert feasible(floor)
    after = finish(floor, watched, (theta, 0.0))
    assert (after.cost_nano <= before.cost_nano).all()
    assert feasible(floor)
    # What comes after only lowers it too.
    moved = pack(made.market, watched, STARTS) if len(made.market.slot_q) else 0
    packed = ask_standing(watched)
    floor.take(packed)
    assert (packed.cost_nano <= after.cost_nano).all()
    assert moved == 0 or (packed.cost_nano < after.cost_nano).any()
    last = let_choose(floor, watched)
    assert (last.cost_nano <= packed.cost_nano).all()
    assert feasible(floor)


def test_a_finish_that_made_it_dearer_goes_back() -> None:
    # Three times the congestion prices drive work away from cells that are full and cheap.
    made = make_instance(150, seed=2, periods=48, organisations=2)
    floor, watched = laid(made.market, made.fleets)
    sweep_softly(floor, watched, SMALL, everyone())
    settle_rest(floor, watched, everyone(), 0.4, SMALL_REPAIR)
    before = finish(floor, watched, (0.0, 0.0, 0.0))
    loads = floor.loads.copy()
    after = finish(floor, watched, (3.0,))
    back = after.cost_nano == before.cost_nano
    _, moved = floor.moves[-1]
    assert (moved[back] > 0).any()
    assert np.array_equal(floor.loads[back], loads[back])


@pytest.mark.parametrize("mustered", [True, False])
def test_after_an_eviction_no_cell_is_overfull_and_only_who_must_has_left(mustered: bool) -> None:
    made = overloaded(make_instance(120, seed=3, periods=24, organisations=2), 0.7)
    floor, watched = laid(made.market, made.fleets, mustered=mustered)
    over = floor.excess > 0
    assert over.any()
    evict(floor, watched)
    assert feasible(floor)
    standing = ask_standing(watched)
    assert (standing.refused > 0).all()
    # Cells that were not overfull have lost nobody but those who also stood in one that was.
    place_missing(floor, watched, everyone(), theta=0.0)
    again = ask_standing(watched)
    assert (again.refused <= standing.refused).all()
    assert (again.cost_nano <= standing.cost_nano).all()
    assert feasible(floor)


def test_a_repair_empties_overfull_cells_without_refusing_anybody() -> None:
    made = make_instance(200, seed=4, periods=96, utilisation=0.5, organisations=2)
    floor, watched = laid(made.market, made.fleets)
    assert (floor.excess > 0).any(axis=(1, 2)).all()
    refused = ask_standing(watched).refused
    repair(floor, watched, everyone(), ramp=0.4, plan=replace(SMALL_REPAIR, enough=STARTS))
    assert (ask_standing(watched).refused == refused).all()
    assert (floor.excess <= 0).all()


def test_prices_follow_loads_and_never_fall_below_zero() -> None:
    made = make_instance(100, seed=5, periods=24)
    floor, watched = laid(made.market, made.fleets)
    before, excess = floor.mu_q.copy(), floor.excess.copy()
    active = np.array([True, True, False])
    floor.follow(1.0, active)
    assert (floor.mu_q >= 0).all()
    assert (floor.mu_q[:2] >= before[:2])[excess[:2] > 0].all()
    assert (floor.mu_q[:2] <= before[:2])[excess[:2] < 0].all()
    assert np.array_equal(floor.mu_q[2], before[2])
    assert len(watched.answers) > 0


def test_coalitions_only_make_a_start_cheaper_and_leave_others_alone() -> None:
    made = make_instance(150, seed=6, periods=48, organisations=2, window_share=0.1)
    floor, watched = laid(made.market, half_hearted(made, 6).fleets)
    sweep_softly(floor, watched, SMALL, everyone())
    settle_rest(floor, watched, everyone(), 0.4, SMALL_REPAIR)
    before = finish(floor, watched, (0.3, 0.0))
    loads = floor.loads.copy()
    active = np.array([True, False, True])
    after = improve(floor, watched, active, trials=1500, rounds=2)
    assert (after.cost_nano[active] < before.cost_nano[active]).all()
    assert after.cost_nano[1] == before.cost_nano[1]
    assert np.array_equal(floor.loads[1], loads[1])
    assert feasible(floor)


def test_whoever_would_rather_be_refused_leaves_and_whoever_is_worth_it_comes_in() -> None:
    # One cell of 1 kW. The first stands there though 0.1 GBP is more than its refusal costs; the
    # second has no place. In the other cell the third stays: it is worth it.
    market = market_of_prices(np.array([[0.2, 0.3]]), 1.0)
    works = [
        Work(1000, 1, 0, 1, (0,), refusal_gbp=0.09),
        Work(1000, 1, 0, 1, (0,), refusal_gbp=5.0),
        Work(1000, 1, 1, 2, (0,), refusal_gbp=0.2),
    ]
    fleet = fleet_of("acme", works, 1)
    floor, watched = laid(market, [fleet])
    # Both stand in the first cell at first; the second is sent away.
    for book in watched.books:
        book.evict(np.arange(STARTS), np.repeat(fleet.key[[1]], STARTS))
    floor.take(ask_standing(watched))
    assert floor.loads.tolist() == [[[1000, 1000]]] * STARTS
    standing = let_choose(floor, watched)
    # 0.09 refused, 0.1 and 0.15 placed.
    assert standing.refused.tolist() == [1] * STARTS
    assert standing.cost_nano.tolist() == pytest.approx([0.34e9] * STARTS, abs=3)
    assert floor.loads.tolist() == [[[1000, 1000]]] * STARTS


def test_accepted_work_does_not_leave_though_it_is_dear() -> None:
    market = market_of_prices(np.array([[0.2]]), 1.0)
    works = [Work(1000, 1, 0, 1, (0,), refusal_gbp=0.01, accepted=True)]
    floor, watched = laid(market, [fleet_of("acme", works, 1)])
    assert let_choose(floor, watched).refused.tolist() == [0] * STARTS


# -- pieces without shards -------------------------------------------------------------------------


def crowd(*rows: tuple[int, int, bool, bool, list[int]], cut: bool = False) -> Crowd:
    """(key, watts, accepted, forced, half hours) at site 0."""
    spans = [span for *_, span in rows]
    return Crowd(
        start=0,
        key=np.array([row[0] for row in rows], np.uint64),
        power_w=np.array([row[1] for row in rows]),
        size=np.array([row[1] * len(row[4]) for row in rows]),
        accepted=np.array([row[2] for row in rows]),
        forced=np.array([row[3] for row in rows]),
        site=np.zeros(len(rows), np.int64),
        ptr=np.cumsum([0, *map(len, spans)]),
        period=np.array([half for span in spans for half in span]),
        cut=cut,
    )


def test_newcomers_leave_before_the_forced_and_the_accepted_and_small_before_large() -> None:
    here = crowd(
        (1, 100, True, False, [0]),
        (2, 300, False, True, [0]),
        (3, 500, False, False, [0]),
        (4, 400, False, False, [0]),
        (5, 10, False, False, [1]),
    )
    # 350 W too many in half hour 0: the smallest newcomer there is enough.
    assert chosen_to_leave(np.array([[350, -1]]), [here]) == [4]
    # 850 W: both newcomers; 1,000 W: the forced one too, before the accepted.
    assert chosen_to_leave(np.array([[850, 0]]), [here]) == [4, 3]
    assert chosen_to_leave(np.array([[1000, 0]]), [here]) == [4, 3, 2]
    assert chosen_to_leave(np.array([[1250, 0]]), [here]) == [4, 3, 2, 1]
    assert chosen_to_leave(np.array([[0, 0]]), [here]) == []
    # Shards' lists are one list.
    split = [crowd((3, 500, False, False, [0])), crowd((4, 400, False, False, [0]))]
    assert chosen_to_leave(np.array([[350, 0]]), split) == [4]


def test_nobody_leaves_before_those_a_shard_has_not_named() -> None:
    # One shard names 100 and 300 W and holds back what is larger; so the other's 400 W waits.
    one = crowd((1, 100, False, False, [0]), (2, 300, False, False, [0]), cut=True)
    other = crowd((3, 200, False, False, [0]), (4, 400, False, False, [0]))
    assert chosen_to_leave(np.array([[900, 0]]), [one, other]) == [1, 3, 2]
    # A shard that named all holds nobody back.
    assert chosen_to_leave(np.array([[900, 0]]), [replace(one, cut=False), other]) == [1, 3, 2, 4]


def standing_of(dropped: list[int], refused: list[int], cost: list[int]) -> Standing:
    nothing: Ints = np.zeros((len(cost), 1, 1), np.int64)
    return Standing(
        "", nothing, nothing[:, 0], np.array(cost), np.array(refused), np.array(dropped), nothing
    )


def test_starts_rank_by_contracts_kept_then_places_for_all_then_cost() -> None:
    one = ranks(standing_of([0, 0, 0, 1], [0, 5, 2, 0], [9, 3, 4, 1]))
    other = ranks(standing_of([0, 0, 0, 0], [1, 0, 1, 9], [1, 9, 5, 9]))
    # A place for all beats any cost; two refusals at 4 beat one at 5; a contract beats all.
    assert below(one, other).tolist() == [True, False, True, False]
    assert below(other, one).tolist() == [False, True, False, True]
    assert not below(one, one).any()


def test_the_parts_of_shards_are_added_up() -> None:
    whole = merged([standing_of([0], [1], [5]), standing_of([1], [1], [7])])
    assert (whole.cost_nano[0], whole.refused[0], whole.dropped[0]) == (12, 2, 1)


def test_the_steps_of_a_climb_fall_smoothly_to_nothing() -> None:
    # (1 - x^2)^2 at 0, a half and 1: 1, 0.5625 and 0.
    assert [decay(turn, 4) for turn in (0, 2, 4)] == [1.0, 0.5625, 0.0]


def test_opening_prices_are_free_of_congestion_and_at_the_cheapest_supply() -> None:
    market = market_of_prices(
        np.array([[0.2, 0.3], [0.5, 0.6]]),
        1.0,
        windows=(window(1, 0, 1, 0.1, 1.0), window(1, 0, 2, 0.4, 1.0), window(2, 1, 2, -0.1, 1.0)),
    )
    start = opening_prices(market)
    assert isinstance(start, Prices)
    assert not start.mu_q.any()
    # A window dearer than the grid is no supply.
    assert (start.supply_q / 2**32).round(6).tolist() == [[0.1, 0.3], [0.5, -0.1]]


def test_a_token_and_terms_cross_processes_read_only() -> None:
    made = make_instance(20, seed=7, periods=24)
    floor, watched = laid(made.market, made.fleets)
    terms = floor.terms(kappa=1.0)
    assert isinstance(terms, Terms)
    token = Token(floor.loads, floor.room, np.zeros(STARTS, np.int64))
    for table in (token.loads, token.room, token.moved, terms.mu_q):
        table.setflags(write=False)
    (book, *_) = watched.books
    after = book.sweep(terms, token)
    assert after.loads is not token.loads
    assert after.loads.flags.writeable
