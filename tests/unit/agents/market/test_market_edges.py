"""Markets at their edges: alike, exact, empty, free, below zero, overloaded, beyond all figures."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest
from market_samples import (
    OMEGA,
    Work,
    fleet_of,
    market_of_prices,
    overloaded,
    window,
    worth_nothing,
)
from outcome_checks import check_outcome, hold, hold_watched
from referee import optimum_gbp

from agents.core.market.certificate import gap_of
from agents.core.market.digest import digest_of
from agents.core.market.instances import make_instance
from agents.core.market.negotiate import Options
from agents.core.market.order import workload_keys
from agents.core.market.outcome import Outcome
from agents.core.market.problem import Market
from agents.core.market.reasons import ReasonKind
from agents.core.market.units import MAX_DELAY, MAX_PRICE, NANO, Q
from schema.errors import InputError

AS_LARGE = -1
WAYS = pytest.mark.parametrize("muster_up_to", [20_000, AS_LARGE], ids=["small", "large"])


def settled(market: Market, works: list[Work], muster_up_to: int = 20_000) -> Outcome:
    fleet = fleet_of("acme", works, market.site_count)
    options = Options(muster_up_to=muster_up_to)
    outcome, _ = hold_watched(market, [fleet], options, shards=2)
    check_outcome(market, [fleet], outcome)
    return outcome


def reasons(outcome: Outcome) -> list[ReasonKind]:
    return [refusal.kind for refusal in outcome.refusals]


# -- how many --------------------------------------------------------------------------------------


@WAYS
def test_nobody_asks_and_nothing_costs(muster_up_to: int) -> None:
    market = market_of_prices(np.full((2, 4), 0.2), 5.0, windows=(window(1, 0, 2, 0.1, 1.0),))
    outcome = settled(market, [], muster_up_to)
    assert (outcome.workloads, outcome.cost_nano, outcome.bound_nano) == (0, 0, 0)
    assert outcome.gap == 0.0
    assert len(digest_of(outcome)) == 64


@WAYS
def test_an_organisation_without_work_takes_part_beside_one_with_work(muster_up_to: int) -> None:
    market = market_of_prices(np.full((1, 4), 0.2), 5.0)
    fleets = [fleet_of("acme", [], 1), fleet_of("birch", [Work(1000, 2, 0, 4, (0,))], 1)]
    outcome = hold(market, fleets, Options(muster_up_to=muster_up_to))
    check_outcome(market, fleets, outcome)
    assert (outcome.workloads, outcome.refused) == (1, 0)


@WAYS
@pytest.mark.parametrize("apart", [False, True])
def test_one_workload_gets_the_cheapest_place_and_a_gap_of_nothing(
    muster_up_to: int, apart: bool
) -> None:
    market = market_of_prices(np.array([[0.3, 0.1, 0.4, 0.1], [0.3, 0.3, 0.2, 0.15]]), 5.0)
    outcome = settled(market, [Work(2000, 2, 0, 4, (0, 1), apart=apart)], muster_up_to)
    # Apart: half hours 1 and 3 of site 0; together: 2 and 3 of site 1. A kWh each.
    assert outcome.cost_gbp == pytest.approx(0.2 if apart else 0.35, abs=1e-8)
    assert outcome.gap == pytest.approx(0.0, abs=1e-7)
    assert outcome.places[0].site.tolist() == [0 if apart else 1]
    assert outcome.places[0].period.tolist() == ([1, 3] if apart else [2, 3])


# -- capacity exactly as needed --------------------------------------------------------------------


@WAYS
def test_workloads_all_alike_fill_the_cheapest_cells_exactly(muster_up_to: int) -> None:
    # Three to a cell, and as many cells as needed: everybody has a place, and every cell is full.
    price = np.linspace(0.1, 0.3, 12).reshape(2, 6)
    market = market_of_prices(price, 3.0)
    outcome = settled(market, [Work(1000, 1, 0, 6, (0, 1)) for _ in range(36)], muster_up_to)
    # 36 x half a kWh at the mean price, 0.2 GBP.
    assert outcome.refused == 0
    assert outcome.cost_gbp == pytest.approx(3.6, abs=1e-6)
    assert outcome.gap < 0.06


@WAYS
def test_one_more_than_fits_is_refused_for_want_of_room(muster_up_to: int) -> None:
    market = market_of_prices(np.full((1, 4), 0.2), 1.0)
    works = [Work(1000, 1, 0, 4, (0,), refusal_gbp=1.0) for _ in range(5)]
    outcome = settled(market, works, muster_up_to)
    assert reasons(outcome) == [ReasonKind.NO_ROOM]
    assert outcome.refusals[0].room_w == 0
    # Four at 0.1 GBP and one refused.
    assert outcome.cost_gbp == pytest.approx(1.4, abs=1e-6)


@WAYS
def test_long_work_that_leaves_no_other_way_is_laid_that_way(muster_up_to: int) -> None:
    # Windows as long as the work itself: there is one schedule, and it uses every watt.
    market = market_of_prices(np.full((1, 6), 0.2), np.array([[3.0, 3.0, 2.0, 2.0, 1.0, 1.0]]))
    works = [Work(1000, end, 0, end, (0,), apart=bool(end % 4)) for end in (2, 4, 6)]
    outcome = settled(market, works, muster_up_to)
    assert outcome.refused == 0
    # 12 half hours of half a kWh at 0.2 GBP.
    assert outcome.cost_gbp == pytest.approx(1.2, abs=1e-6)


@pytest.mark.parametrize("count", [1, 7, 50])
def test_work_as_long_as_the_whole_horizon_fits_beside_itself(count: int) -> None:
    market = market_of_prices(np.full((2, 8), 0.1), float(count))
    outcome = settled(market, [Work(1000, 8, 0, 8, (0, 1)) for _ in range(2 * count)])
    assert outcome.refused == 0


# -- one region, odd prices ------------------------------------------------------------------------


@WAYS
def test_one_region_alone_spreads_work_over_time(muster_up_to: int) -> None:
    made = make_instance(1, seed=1, periods=48)
    price = made.market.grid_q[:1] / Q
    works = [Work(900 + at, 1 + at % 5, at % 20, 40, (0,), omega_q=at % 3) for at in range(40)]
    outcome = settled(market_of_prices(price, 4.0), works, muster_up_to)
    assert outcome.refused == 0
    assert outcome.gap < 0.1


@WAYS
def test_prices_below_zero_are_earned(muster_up_to: int) -> None:
    price = np.full((2, 8), -0.05)
    price[0, 3] = -0.30
    works = [Work(1000, 1, 0, 8, (0, 1)) for _ in range(6)]
    outcome = settled(market_of_prices(price, 2.0), works, muster_up_to)
    # Two earn 0.15 GBP each in the best cell, four 0.025.
    assert outcome.cost_gbp == pytest.approx(-0.4, abs=1e-6)
    # Against a tenth of 3 kWh at the mean value of 0.065625 GBP, since the bound is below zero.
    floor = 0.1 * 3 * (15 * 0.05 + 0.30) / 16
    assert outcome.gap == pytest.approx((-0.4 - outcome.bound_gbp) / floor, abs=1e-6)


@WAYS
def test_negative_prices_in_a_random_batch_keep_every_rule(muster_up_to: int) -> None:
    made = make_instance(
        120, seed=2, periods=48, price_weight=-1.0, carbon_value_gbp_per_kg=0.0, window_share=0.1
    )
    assert (made.market.grid_q < 0).mean() > 0.9
    outcome = hold(made.market, made.fleets, Options(muster_up_to=muster_up_to))
    check_outcome(made.market, made.fleets, outcome)
    assert outcome.cost_nano < 0


@WAYS
def test_energy_worth_nothing_leaves_delay_to_decide(muster_up_to: int) -> None:
    # Zero carbon everywhere, and carbon is all that counts: each wants to start at once.
    market = market_of_prices(np.zeros((1, 8)), 2.0)
    works = [Work(1000, 1, 0, 8, (0,), omega_q=OMEGA) for _ in range(16)]
    outcome = settled(market, works, muster_up_to)
    # Two a half hour wait 0, 1, … 7 half hours: 56 x half a kWh x 0.01 GBP.
    assert outcome.cost_gbp == pytest.approx(0.28, abs=1e-6)


@pytest.mark.parametrize("seed", range(3))
def test_a_large_batch_of_energy_worth_nothing_has_no_miss(seed: int) -> None:
    made = worth_nothing(make_instance(4000, seed=seed, periods=96, organisations=2))
    outcome = hold(made.market, made.fleets, Options(seed=seed, muster_up_to=AS_LARGE))
    assert outcome.refused == 0
    assert outcome.gap < 0.01


def test_a_refusal_where_energy_is_worth_nothing_shows_in_the_gap() -> None:
    # Two for one cell, refusing costs a GBP: the LP says so, congestion prices climb slowly, and a
    # bound below the cost must not be called a gap of 0.
    market = market_of_prices(np.zeros((1, 1)), 1.0)
    works = [Work(1000, 1, 0, 1, (0,), refusal_gbp=1.0) for _ in range(2)]
    outcome = settled(market, works)
    assert outcome.cost_gbp == 1.0
    assert outcome.bound_gbp < 0.99
    assert outcome.gap >= 1.0 - outcome.bound_gbp


# -- too much --------------------------------------------------------------------------------------


@WAYS
@pytest.mark.parametrize("apart", [False, True])
def test_power_above_every_capacity_is_the_reason_given(muster_up_to: int, apart: bool) -> None:
    capacity = np.array([[2.0, 3.0, 2.0], [1.0, 1.0, 1.0]])
    works = [
        Work(3001, 1, 0, 3, (0, 1), apart=apart, refusal_gbp=2.0),
        Work(1500, 1, 0, 3, (1,), apart=apart, refusal_gbp=2.0),
        Work(1500, 1, 0, 3, (), apart=apart, refusal_gbp=2.0),
        Work(3000, 1, 0, 3, (0, 1), apart=apart),
    ]
    outcome = settled(market_of_prices(np.full((2, 3), 0.2), capacity), works, muster_up_to)
    found = {refusal.key: refusal for refusal in outcome.refusals}
    keys = [int(key) for key in workload_keys("acme", ["w00000", "w00001", "w00002"])]
    assert sorted(found) == sorted(keys)
    first, second, third = (found[key] for key in keys)
    assert (first.kind, first.site, first.period, first.room_w) == (
        ReasonKind.TOO_POWERFUL,
        0,
        1,
        3000,
    )
    assert (second.kind, second.site, second.room_w) == (ReasonKind.TOO_POWERFUL, 1, 1000)
    assert (third.kind, third.site) == (ReasonKind.NO_SITE, -1)


@WAYS
def test_whoever_values_its_place_least_is_refused_as_too_dear(muster_up_to: int) -> None:
    market = market_of_prices(np.full((1, 4), 0.2), 5.0)
    works = [Work(1000, 1, 0, 4, (0,), refusal_gbp=0.0999), Work(1000, 1, 0, 4, (0,))]
    outcome = settled(market, works, muster_up_to)
    assert reasons(outcome) == [ReasonKind.PRICED_OUT]
    assert outcome.cost_gbp == pytest.approx(0.1999, abs=1e-8)
    assert outcome.gap == pytest.approx(0.0, abs=1e-6)


@WAYS
@pytest.mark.parametrize("factor", [0.6, 0.3])
def test_an_overload_refuses_some_and_keeps_every_rule(factor: float, muster_up_to: int) -> None:
    made = make_instance(200, seed=3, periods=48, organisations=2, window_share=0.1)
    made = overloaded(made, factor)
    outcome = hold(made.market, made.fleets, Options(seed=3, muster_up_to=muster_up_to))
    check_outcome(made.market, made.fleets, outcome)
    assert outcome.refused > 0


def test_no_capacity_at_all_refuses_everybody_and_says_why() -> None:
    made = overloaded(make_instance(30, seed=4, periods=24, window_share=0.2), 0.0)
    outcome = hold(made.market, made.fleets)
    check_outcome(made.market, made.fleets, outcome)
    assert outcome.refused == 30
    assert set(reasons(outcome)) == {ReasonKind.TOO_POWERFUL}
    assert outcome.gap == 0.0


@WAYS
def test_windows_smaller_than_any_work_are_left_alone(muster_up_to: int) -> None:
    market = market_of_prices(
        np.full((1, 4), 0.2),
        5.0,
        windows=(window(1, 0, 4, 0.0, 0.5), window(1, 0, 4, 0.1, 1.0, "fits")),
    )
    outcome = settled(market, [Work(1000, 4, 0, 4, (0,)), Work(900, 4, 0, 4, (0,))], muster_up_to)
    assert outcome.unusable_windows == (0,)
    used = [places.window.tolist() for places in outcome.places]
    # The larger one draws all its half hours from the window that fits, the other cannot.
    assert sorted(used[0]) == [-1] * 4 + [1] * 4
    # 2 kWh at 0.1 GBP and 1.8 kWh at 0.2 GBP.
    assert outcome.cost_gbp == pytest.approx(0.56, abs=1e-6)


def test_windows_outside_the_horizon_or_of_regions_without_a_site_do_nothing() -> None:
    windows = (window(1, -5, 0, 0.0, 5.0), window(1, 4, 9, 0.0, 5.0), window(9, 0, 4, 0.0, 5.0))
    market = market_of_prices(np.full((1, 4), 0.2), 5.0, windows=windows)
    assert len(market.slot_q) == 0
    outcome = settled(market, [Work(1000, 2, 0, 4, (0,))])
    assert outcome.places[0].window.tolist() == [-1, -1]


# -- figures at the limits of what can be counted --------------------------------------------------


@WAYS
@pytest.mark.parametrize("refusal_gbp", [0.0, 1e-9, 1e6, 1e8])
def test_any_refusal_value_gives_an_outcome_that_adds_up(
    refusal_gbp: float, muster_up_to: int
) -> None:
    market = market_of_prices(np.full((2, 6), 0.2), 1.0)
    works = [Work(1000, 2, 0, 6, (0, 1), refusal_gbp=refusal_gbp) for _ in range(10)]
    outcome = settled(market, works, muster_up_to)
    placed = 6 if refusal_gbp > 0.2 else 0
    assert outcome.refused == 10 - placed
    # A kWh each at 0.2 GBP.
    expected = 0.2 * placed + refusal_gbp * (10 - placed)
    assert outcome.cost_gbp == pytest.approx(expected, rel=1e-9, abs=1e-7)


def test_refusal_values_that_cannot_be_added_up_are_not_accepted() -> None:
    # 1e9 GBP is 1e18 units, and ten of them are beyond 63 bits.
    works = [Work(1000, 1, 0, 2, (0,), refusal_gbp=1e9) for _ in range(10)]
    with pytest.raises(InputError, match="refusal values of acme"):
        fleet_of("acme", works, 1)
    assert len(fleet_of("acme", works[:2], 1)) == 2


def test_refusal_values_of_all_organisations_together_cannot_overflow() -> None:
    market = market_of_prices(np.full((1, 2), 0.2), 1.0)
    works = [Work(1000, 1, 0, 2, (0,), refusal_gbp=1e9) for _ in range(2)]
    fleets = [fleet_of(f"org-{number}", works, 1) for number in range(6)]
    with pytest.raises(InputError, match="refusal values"):
        hold(market, fleets)


def test_a_negative_refusal_value_is_not_accepted() -> None:
    with pytest.raises(InputError, match="refusal"):
        fleet_of("acme", [Work(1000, 1, 0, 2, (0,), refusal_gbp=-1.0)], 1)


@WAYS
@pytest.mark.parametrize("share", [1.0, 0.001])
def test_the_dearest_delay_that_can_be_counted_is(share: float, muster_up_to: int) -> None:
    # Four half hours in a window of eight.
    omega = int(MAX_DELAY / 32 * share)
    market = market_of_prices(np.full((1, 60), 0.2), 1.0)
    works = [
        Work(1000, 4, 50, 58, (0,), apart=apart, omega_q=omega, refusal_gbp=1e7)
        for apart in (False, True)
    ]
    outcome = settled(market, works, muster_up_to)
    assert outcome.refused == 0
    assert sorted(outcome.places[0].period.tolist()) == list(range(50, 58))


def test_a_delay_beyond_what_can_be_counted_is_not_accepted() -> None:
    with pytest.raises(InputError, match="delay cost of workload w00000 of acme"):
        fleet_of("acme", [Work(1000, 4, 0, 8, (0,), omega_q=MAX_DELAY // 32 + 1)], 1)


@WAYS
def test_the_dearest_and_the_cheapest_energy_that_can_be_counted(muster_up_to: int) -> None:
    price = np.array([[128.0, -128.0, 128.0, -128.0]])
    works = [Work(1000, 2, 0, 4, (0,), apart=apart, refusal_gbp=1e3) for apart in (False, True)]
    outcome = settled(market_of_prices(price, 2.0), works, muster_up_to)
    # One pays and earns, the other earns twice: half a kWh each at 128 GBP.
    assert outcome.cost_gbp == pytest.approx(-128.0)


@pytest.mark.parametrize("price", [129.0, -129.0, 1e12, -1e12, 1e300])
def test_energy_beyond_what_can_be_counted_is_not_accepted(price: float) -> None:
    with pytest.raises(InputError, match="128 GBP/kWh"):
        market_of_prices(np.array([[0.1, price]]), 1.0)


def test_a_window_that_pays_beyond_all_measure_is_not_accepted() -> None:
    with pytest.raises(InputError, match="window w-1-0 offers energy worth -129"):
        market_of_prices(np.array([[0.1]]), 1.0, windows=(window(1, 0, 1, -129.0, 1.0),))


@pytest.mark.parametrize("price", [129.0, 1e12, 1e300])
def test_a_window_dearer_than_can_be_counted_is_never_drawn_from(price: float) -> None:
    market = market_of_prices(np.array([[0.1]]), 1.0, windows=(window(1, 0, 1, price, 1.0),))
    assert market.window_q.tolist() == [MAX_PRICE]
    outcome = settled(market, [Work(1000, 1, 0, 1, (0,))])
    assert outcome.places[0].window.tolist() == [-1]


@pytest.mark.parametrize("bad", [math.nan, math.inf, -math.inf])
def test_figures_that_are_no_numbers_are_not_accepted(bad: float) -> None:
    fine = np.full((1, 2), 0.1)
    with pytest.raises(InputError, match="not a finite number"):
        market_of_prices(np.array([[0.1, bad]]), 1.0)
    with pytest.raises(InputError, match="not a finite number"):
        market_of_prices(fine, np.array([[1.0, bad]]))
    for broken in (window(1, 0, 1, bad, 1.0), window(1, 0, 1, 0.1, bad)):
        with pytest.raises(InputError, match="window w-1-0"):
            market_of_prices(fine, 1.0, windows=(broken,))


@pytest.mark.parametrize("capacity_kw", [-0.001, -1.0])
def test_a_capacity_below_zero_is_not_accepted(capacity_kw: float) -> None:
    with pytest.raises(InputError, match="capacity"):
        market_of_prices(np.array([[0.1]]), capacity_kw)
    with pytest.raises(InputError, match="window w-1-0"):
        market_of_prices(np.array([[0.1]]), 1.0, windows=(window(1, 0, 1, 0.1, capacity_kw),))


@pytest.mark.parametrize("capacity_kw", [1e13, 1e300])
def test_a_capacity_beyond_all_grids_is_as_good_as_no_limit(capacity_kw: float) -> None:
    windows = (window(1, 0, 1, 0.05, capacity_kw),)
    market = market_of_prices(np.array([[0.1]]), capacity_kw, windows=windows)
    outcome = settled(market, [Work(1000, 1, 0, 1, (0,)) for _ in range(4)])
    # Four times half a kWh from the window at 0.05 GBP.
    assert outcome.cost_gbp == pytest.approx(0.1, abs=1e-8)


def test_power_beyond_all_machines_is_not_accepted() -> None:
    with pytest.raises(InputError, match="power_w of workload w00000"):
        fleet_of("acme", [Work(2**32 + 1, 1, 0, 1, (0,))], 1)


def test_capacity_without_a_limit_is_just_large() -> None:
    market = market_of_prices(np.array([[0.1, 0.2]]), 1e9)
    outcome = settled(market, [Work(10**9, 1, 0, 2, (0,), refusal_gbp=1e6) for _ in range(5)])
    # Five times half a GWh at 0.1 GBP/kWh.
    assert outcome.cost_gbp == pytest.approx(250_000.0)


def test_a_price_of_the_least_unit_is_a_price() -> None:
    market = market_of_prices(np.full((1, 2), 1.0), 1.0)
    market = replace(market, grid_q=np.array([[2, 1]], np.int64))
    outcome = settled(market, [Work(1000, 1, 0, 2, (0,))])
    assert outcome.places[0].period.tolist() == [1]


def test_a_tiny_overload_is_refused_at_the_least_cost() -> None:
    # Three for two places: the LP and the optimum refuse the one that minds least.
    market = market_of_prices(np.full((1, 2), 0.2), 1.0)
    works = [Work(1000, 1, 0, 2, (0,), refusal_gbp=value) for value in (0.5, 0.9, 0.7)]
    outcome = settled(market, works)
    fleet = fleet_of("acme", works, 1)
    # 0.1 GBP each for two places, and 0.5 GBP.
    assert optimum_gbp(market, [fleet], integer=True) == pytest.approx(0.7)
    assert outcome.cost_gbp == pytest.approx(0.7, abs=1e-6)


def test_a_gap_is_measured_against_the_bound_or_a_tenth_of_the_energy() -> None:
    market = market_of_prices(np.array([[0.2, -0.2]]), 1.0)
    # 2 kWh: a tenth at the mean of 0.2 GBP is 0.04 GBP.
    assert gap_of(11 * NANO, 10 * NANO, 4000, market) == pytest.approx(0.1)
    assert gap_of(0, -NANO, 4000, market) == pytest.approx(1 / 0.04)
    assert gap_of(5, 5, 0, market) == 0.0
    nothing = market_of_prices(np.zeros((1, 2)), 1.0)
    # A tenth of 2 kWh at 0.001 GBP.
    assert gap_of(NANO, 0, 4000, nothing) == pytest.approx(1 / 0.0002)
    assert gap_of(0, 0, 0, nothing) == 0.0
    assert MAX_PRICE == 128 * Q
