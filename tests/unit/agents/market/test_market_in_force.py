"""Contracts in force: never dropped for a newcomer, always a candidate, back where they stood."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from market_samples import Work, fleet_of, instances, market_of_prices, window
from outcome_checks import (
    check_outcome,
    hold,
    hold_watched,
    loads_of_places,
    position_of,
    true_nano,
    with_some_accepted,
)

from agents.core.market.fleet import Fleet
from agents.core.market.instances import Instance, make_instance
from agents.core.market.negotiate import Options, Quality, WarmStart
from agents.core.market.outcome import Outcome
from agents.core.market.plans import Places
from agents.core.market.problem import Market

AS_LARGE = -1


def no_contract_dropped(fleets: Sequence[Fleet], outcome: Outcome) -> None:
    for fleet, places in zip(fleets, outcome.places, strict=True):
        where = position_of(fleet)
        for key, site in zip(places.key.tolist(), places.site.tolist(), strict=True):
            assert site >= 0 or not fleet.accepted[where[key]]
    assert outcome.dropped == 0


def shaken(made: Instance, in_force: Sequence[Places], seed: int) -> Market:
    """Move prices and take capacity away, but none that a contract needs."""
    random = np.random.default_rng(seed)
    market = made.market
    contracted, _ = loads_of_places(market, in_force)
    left = (market.capacity_w * random.uniform(0.3, 1.0, market.capacity_w.shape)).astype(np.int64)
    # One factor a half hour, so that sites of one region keep one price.
    factor = random.uniform(0.5, 1.5, market.periods)
    return replace(
        market,
        grid_q=np.rint(market.grid_q * factor).astype(np.int64),
        capacity_w=np.maximum(contracted, left),
    )


@given(instances(), st.integers(1, 8), st.sampled_from([20_000, AS_LARGE]))
@settings(max_examples=10, deadline=None)
def test_contracts_survive_whatever_becomes_of_prices_and_capacity(
    drawn: tuple[Instance, int], shards: int, muster_up_to: int
) -> None:
    made, seed = drawn
    options = Options(seed=seed, starts=2, quality=Quality.FAST, muster_up_to=muster_up_to)
    first = hold(made.market, made.fleets, options)
    later, in_force = with_some_accepted(made, first, seed)
    market = shaken(made, in_force, seed)
    outcome, _ = hold_watched(
        market,
        later.fleets,
        options,
        shards=shards,
        warm=WarmStart(first.mu_q, first.supply_q),
        in_force=in_force,
    )
    check_outcome(market, later.fleets, outcome)
    no_contract_dropped(later.fleets, outcome)


@pytest.mark.parametrize("seed", range(4))
def test_a_plan_in_force_for_everybody_is_never_made_dearer(seed: int) -> None:
    made = make_instance(150, seed=seed, periods=48, organisations=2, window_share=0.1)
    first = hold(made.market, made.fleets, Options(seed=seed))
    later, in_force = with_some_accepted(made, first, seed, share=1.1)
    assert first.refused == 0
    assert all(fleet.accepted.all() for fleet in later.fleets)
    market = shaken(made, in_force, seed)
    stands = 0.0
    for fleet, places in zip(later.fleets, in_force, strict=True):
        where = position_of(fleet)
        for at, key in enumerate(places.key.tolist()):
            stands += true_nano(market, fleet, where[key], places, at)
    outcome = hold(
        market,
        later.fleets,
        Options(seed=seed, starts=1, quality=Quality.FAST),
        warm=WarmStart(first.mu_q, first.supply_q),
        in_force=in_force,
    )
    # Each of 150 costs is rounded up to 1e-9 GBP.
    assert outcome.cost_nano <= stands + 151
    assert outcome.refused == 0


def test_the_same_market_again_keeps_the_plan_or_a_cheaper_one() -> None:
    made = make_instance(100, seed=5, periods=48)
    first = hold(made.market, made.fleets, Options(seed=5, quality=Quality.BEST))
    later, in_force = with_some_accepted(made, first, 5, share=1.1)
    again = hold(
        made.market,
        later.fleets,
        Options(seed=6, quality=Quality.FAST),
        warm=WarmStart(first.mu_q, first.supply_q),
        in_force=in_force,
    )
    assert again.cost_nano <= first.cost_nano
    assert again.bound_nano <= again.cost_nano


def contract(fleet: Fleet, at: int, site: int, halves: list[int], windows: list[int]) -> Places:
    return Places(
        organisation=fleet.organisation,
        key=fleet.key[[at]],
        power_w=fleet.power_w[[at]],
        duration=fleet.duration[[at]],
        site=np.array([site]),
        ptr=np.array([0, len(halves)]),
        period=np.array(halves),
        window=np.array(windows),
    )


@pytest.mark.parametrize("muster_up_to", [20_000, AS_LARGE])
def test_a_newcomer_who_would_pay_more_does_not_push_a_contract_out(muster_up_to: int) -> None:
    # One cell; the newcomer loses 50 GBP by being refused, the contract is worth a penny.
    market = market_of_prices(np.array([[0.2]]), 1.0)
    works = [
        Work(1000, 1, 0, 1, (0,), refusal_gbp=0.01, accepted=True),
        Work(1000, 1, 0, 1, (0,), refusal_gbp=50.0),
    ]
    fleet = fleet_of("acme", works, 1)
    outcome = hold(
        market,
        [fleet],
        Options(muster_up_to=muster_up_to),
        in_force=[contract(fleet, 0, 0, [0], [-1])],
    )
    no_contract_dropped([fleet], outcome)
    assert [refusal.key for refusal in outcome.refusals] == [int(fleet.key[1])]


@pytest.mark.parametrize("muster_up_to", [20_000, AS_LARGE])
def test_a_contract_makes_way_where_there_is_other_room_for_it(muster_up_to: int) -> None:
    # The contract stands in the only cell the newcomer can use, and may go to another.
    market = market_of_prices(np.array([[0.2, 0.3]]), 1.0)
    works = [
        Work(1000, 1, 0, 2, (0,), accepted=True),
        Work(1000, 1, 0, 1, (0,)),
    ]
    fleet = fleet_of("acme", works, 1)
    outcome = hold(
        market,
        [fleet],
        Options(muster_up_to=muster_up_to),
        in_force=[contract(fleet, 0, 0, [0], [-1])],
    )
    assert outcome.refused == 0
    # Half a kWh at 0.2 and half at 0.3 GBP.
    assert outcome.cost_gbp == pytest.approx(0.25, abs=1e-8)


@pytest.mark.parametrize("muster_up_to", [20_000, AS_LARGE])
def test_withdrawn_capacity_drops_as_few_contracts_as_it_must(muster_up_to: int) -> None:
    # Three contracts in a cell of 3 kW that has 1 kW left, and nowhere else to go.
    market = market_of_prices(np.array([[0.2]]), 1.0)
    works = [Work(1000, 1, 0, 1, (0,), accepted=True) for _ in range(3)]
    fleet = fleet_of("acme", works, 1)
    parts = [contract(fleet, at, 0, [0], [-1]) for at in np.argsort(fleet.key).tolist()]
    whole = replace(
        parts[0],
        key=np.concatenate([part.key for part in parts]),
        power_w=np.full(3, 1000),
        duration=np.ones(3, np.int64),
        site=np.zeros(3, np.int64),
        ptr=np.arange(4),
        period=np.zeros(3, np.int64),
        window=np.full(3, -1),
    )
    outcome = hold(market, [fleet], Options(muster_up_to=muster_up_to), in_force=[whole])
    assert (outcome.refused, outcome.dropped) == (2, 2)
    check_outcome(market, [fleet], outcome)


def test_a_contract_on_a_window_that_is_gone_draws_from_the_grid() -> None:
    market = market_of_prices(np.array([[0.2, 0.2]]), 1.0, windows=(window(1, 0, 1, 0.1, 1.0),))
    works = [Work(1000, 2, 0, 2, (0,), accepted=True)]
    fleet = fleet_of("acme", works, 1)
    # The plan drew both half hours from a window; the market has only the first of it left.
    outcome = hold(market, [fleet], in_force=[contract(fleet, 0, 0, [0, 1], [0, 0])])
    check_outcome(market, [fleet], outcome)
    assert outcome.places[0].window.tolist() == [0, -1]


@pytest.mark.parametrize("apart", [False, True])
def test_places_in_force_come_back_as_they_were(apart: bool) -> None:
    # Full everywhere else, so the contract must stay, apart or together.
    market = market_of_prices(np.array([[0.1, 0.3, 0.1, 0.3]]), np.array([[0.0, 1.0, 0.0, 1.0]]))
    halves = [1, 3]
    if not apart:
        market = market_of_prices(np.full((1, 4), 0.2), np.array([[0.0, 1.0, 1.0, 0.0]]))
        halves = [1, 2]
    fleet = fleet_of("acme", [Work(1000, 2, 0, 4, (0,), apart=apart, accepted=True)], 1)
    outcome = hold(market, [fleet], in_force=[contract(fleet, 0, 0, halves, [-1, -1])])
    assert outcome.places[0].period.tolist() == halves
    assert outcome.dropped == 0
