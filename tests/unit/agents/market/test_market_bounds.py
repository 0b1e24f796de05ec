"""The certificate against HiGHS: bound <= LP optimum <= MILP optimum <= cost."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from market_samples import (
    Work,
    fleet_of,
    half_hearted,
    in_pairs,
    market_of_prices,
    markets,
    overloaded,
    tables_for,
    window,
    work_for,
)
from outcome_checks import hold
from referee import optimum_gbp

from agents.core.market import negotiate as module
from agents.core.market.contractors import InProcessContractors, make_books
from agents.core.market.discovery import Level, Prices, announce, discover, opening_prices
from agents.core.market.instances import Instance, Trace, make_instance
from agents.core.market.negotiate import Options, Quality
from agents.core.market.problem import Market
from agents.core.market.questions import Open
from agents.core.market.tables import class_edges
from agents.core.market.units import NANO, Q

#: HiGHS keeps to its rows within 1e-7 of their size.
SLACK = 1e-6


def small(seed: int, *, count: int = 24, windows: float = 0.0, tight: float = 0.7) -> Instance:
    return make_instance(
        count,
        seed=seed,
        periods=24,
        utilisation=tight,
        organisations=2,
        interruptible=0.4,
        window_share=windows,
        window_ratio=(1.0, 3.0),
    )


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("kind", ["plain", "windows", "pairs", "overload", "half-hearted"])
def test_the_bound_is_below_the_lp_and_the_lp_below_the_cost(kind: str, seed: int) -> None:
    made = small(seed, windows=0.0 if kind == "plain" else 0.2)
    if kind == "pairs":
        made = in_pairs(made)
    if kind == "overload":
        made = overloaded(made, 0.5)
    if kind == "half-hearted":
        made = half_hearted(made, seed)
    outcome = hold(made.market, made.fleets, Options(seed=seed))
    lp = optimum_gbp(made.market, made.fleets)
    assert outcome.bound_gbp <= lp + SLACK * abs(lp)
    assert lp <= outcome.cost_gbp + SLACK * abs(lp)
    # Of the few figures a person can check: the bound finds most of the LP.
    assert outcome.bound_gbp >= 0.9 * lp


@pytest.mark.parametrize("seed", range(3))
def test_the_cost_of_a_tiny_batch_is_near_the_true_optimum(seed: int) -> None:
    made = small(seed, count=10, tight=0.5)
    outcome = hold(made.market, made.fleets, Options(seed=seed, quality=Quality.BEST))
    best = optimum_gbp(made.market, made.fleets, integer=True)
    assert outcome.bound_gbp <= best * (1 + SLACK)
    # The MILP stops within 1e-4 of its optimum.
    assert best * (1 - 2e-4) <= outcome.cost_gbp <= 1.01 * best


@pytest.mark.parametrize(
    ("count", "bar"), [(60, 0.998), pytest.param(200, 0.9995, marks=pytest.mark.long)]
)
def test_the_best_effort_finds_nearly_all_of_the_lp(count: int, bar: float) -> None:
    made = small(4, count=count)
    outcome = hold(made.market, made.fleets, Options(seed=4, starts=1, quality=Quality.BEST))
    lp = optimum_gbp(made.market, made.fleets)
    assert bar * lp <= outcome.bound_gbp <= lp * (1 + SLACK)


@st.composite
def tiny(draw: st.DrawFn) -> tuple[Market, list[Work], int]:
    market = draw(markets())
    works = draw(st.lists(work_for(market), min_size=1, max_size=6))
    return market, works, draw(st.integers(0, 1000))


@given(tiny())
@settings(max_examples=60, deadline=None)
def test_any_prices_at_all_give_a_bound(drawn: tuple[Market, list[Work], int]) -> None:
    market, works, seed = drawn
    fleet = fleet_of("acme", works, market.site_count)
    contractors = InProcessContractors(make_books([fleet], 2))
    lowest = int(fleet.power_w.min())
    contractors.ask(Open(market, class_edges(fleet.power_w, market), (), lowest))
    current = announce(market, contractors, Prices(*tables_for(market, seed)), Level(1, 0.0), 1)
    lp = optimum_gbp(market, [fleet])
    assert current.bound_nano / NANO <= lp + 1e-6


@given(tiny())
@settings(max_examples=40, deadline=None)
def test_a_negotiation_over_anything_ends_above_its_lp(
    drawn: tuple[Market, list[Work], int],
) -> None:
    market, works, seed = drawn
    fleet = fleet_of("acme", works, market.site_count)
    outcome = hold(market, [fleet], Options(seed=seed, starts=2, quality=Quality.FAST))
    lp = optimum_gbp(market, [fleet])
    assert outcome.bound_gbp - 1e-6 <= lp <= outcome.cost_gbp + 1e-6


def test_cells_and_windows_below_the_power_of_all_work_do_not_loosen_the_bound() -> None:
    # The cheap half hour has room for 900 W and the free window gives 500 W: both useless to work
    # of 1 kW, whose one place costs half a kWh at 0.30 GBP. The bound says exactly that.
    market = market_of_prices(
        np.array([[0.05, 0.30]]),
        np.array([[0.9, 2.0]]),
        windows=(window(1, 0, 2, 0.0, 0.5),),
    )
    outcome = hold(market, [fleet_of("acme", [Work(1000, 1, 0, 2, (0,))], 1)])
    assert outcome.cost_gbp == pytest.approx(0.15, abs=1e-8)
    assert outcome.bound_gbp == pytest.approx(0.15, abs=1e-8)
    assert outcome.unusable_windows == (0,)


def test_work_too_powerful_for_every_cell_is_certified_at_its_refusal_value() -> None:
    market = market_of_prices(np.full((2, 4), 0.2), 1.0)
    works = [Work(1500, 2, 0, 4, (0, 1), refusal_gbp=3.0)]
    outcome = hold(market, [fleet_of("acme", works, 2)])
    assert (outcome.cost_gbp, outcome.bound_gbp, outcome.gap) == (3.0, 3.0, 0.0)


def test_the_referee_itself_knows_a_case_done_by_hand() -> None:
    # Two workloads of 1 kW for half an hour and one cell of 1 kW at 0.10 GBP: one draws it from
    # the window at 0.04 GBP (0.02 GBP), the other is refused for 1 GBP.
    market = market_of_prices(np.array([[0.10]]), 1.0, windows=(window(1, 0, 1, 0.04, 1.0),))
    works = [Work(1000, 1, 0, 1, (0,), refusal_gbp=1.0) for _ in range(2)]
    fleet = fleet_of("acme", works, 1)
    assert optimum_gbp(market, [fleet]) == pytest.approx(1.02)
    assert optimum_gbp(market, [fleet], integer=True) == pytest.approx(1.02)
    outcome = hold(market, [fleet])
    assert outcome.cost_gbp == pytest.approx(1.02)
    bare = replace(market, windows=(), window_q=market.window_q[:0], window_w=market.window_w[:0])
    assert optimum_gbp(bare, [fleet]) == pytest.approx(1.05)


def test_where_too_much_is_wanted_all_prices_rise_until_some_refuse() -> None:
    # Four half hours of 1 kW; sixteen workloads of 500 W for one half hour want twice that. Each
    # would pay 0.50 GBP for its 0.25 kWh, 2 GBP/kWh; energy costs 0.10, so congestion costs 1.90.
    market = market_of_prices(np.full((1, 4), 0.1), 1.0)
    fleet = fleet_of("acme", [Work(500, 1, 0, 4, (0,), refusal_gbp=0.5)] * 16, 1)
    contractors = InProcessContractors(make_books([fleet]))
    contractors.ask(Open(market, np.zeros(0, np.int64), ()))

    found = discover(
        market, contractors, opening_prices(market), (Level(0, 0.1, lift=12),), energy_w=8_000
    )

    assert len(found.rounds) == 13
    assert np.ptp(found.prices.mu_q) == 0
    assert 1.8 < found.prices.mu_q[0, 0] / Q < 1.9 + 1e-6
    assert found.refusing == 0


@pytest.mark.parametrize("trace", Trace)
def test_an_overloaded_market_ends_within_a_tenth_of_its_bound(trace: Trace) -> None:
    made = overloaded(make_instance(4_000, seed=1, trace=trace, utilisation=0.70), 0.6)
    outcome = hold(made.market, made.fleets)
    assert 0 < outcome.refused < 1_000
    assert outcome.gap <= 0.10


def test_rounds_after_the_settlement_raise_the_bound_and_move_nobody(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    made = make_instance(2_500, seed=3, utilisation=0.70, organisations=2)
    polished = hold(made.market, made.fleets)
    monkeypatch.setattr(module, "plan_polish", lambda _options, _count: ())
    plain = hold(made.market, made.fleets)
    assert polished.cost_nano == plain.cost_nano
    assert [part.site.tolist() for part in polished.places] == [
        part.site.tolist() for part in plain.places
    ]
    assert plain.bound_nano < polished.bound_nano < polished.cost_nano
    assert len(polished.rounds) == len(plain.rounds) + 21
