"""What every negotiation ends with, whatever its instance: slots, capacity, money, reasons."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from market_samples import half_hearted, in_pairs, instances, overloaded
from outcome_checks import check_outcome, hold, hold_watched

from agents.core.market import negotiate as module
from agents.core.market.contractors import InProcessContractors, make_books
from agents.core.market.instances import Instance, Trace, make_instance
from agents.core.market.negotiate import Options, Quality, negotiate
from agents.core.market.order import workload_keys

#: Nobody settles in a lead: filtered sweeps at standing quotes, as in large fleets.
AS_LARGE = -1


@given(instances(), st.sampled_from(Quality), st.integers(1, 8))
@settings(max_examples=10, deadline=None)
def test_an_outcome_keeps_every_rule(
    drawn: tuple[Instance, int], quality: Quality, shards: int
) -> None:
    made, seed = drawn
    options = Options(seed=seed, quality=quality, starts=3)
    outcome, _ = hold_watched(made.market, made.fleets, options, shards=shards)
    check_outcome(made.market, made.fleets, outcome)
    assert outcome.dropped == 0


@given(instances(largest=120), st.integers(1, 8))
@settings(max_examples=8, deadline=None)
def test_an_outcome_of_the_ways_of_large_fleets_keeps_every_rule(
    drawn: tuple[Instance, int], shards: int
) -> None:
    made, seed = drawn
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(module, "SAMPLE_FROM", 20)
        patch.setattr(module, "CLASSES_UP_TO", 0)
        patch.setattr(module, "MULTI_START_UP_TO", 60)
        options = Options(seed=seed, starts=2, muster_up_to=AS_LARGE)
        outcome, _ = hold_watched(made.market, made.fleets, options, shards=shards)
    assert not outcome.mustered
    check_outcome(made.market, made.fleets, outcome)


@pytest.mark.parametrize("trace", Trace)
@pytest.mark.parametrize("seed", [1, 2])
def test_a_batch_with_a_planted_schedule_has_no_miss(trace: Trace, seed: int) -> None:
    made = make_instance(300, seed=seed, trace=trace, utilisation=0.60)
    outcome = hold(made.market, made.fleets, Options(seed=seed))
    assert outcome.refused == 0
    check_outcome(made.market, made.fleets, outcome)


def test_a_place_for_everybody_stays_though_a_refusal_would_be_cheaper_for_now() -> None:
    # One short workload fits only after others were moved for it, which costs more than its
    # refusal until the finish has polished their places.
    made = make_instance(300, seed=0, utilisation=0.60)
    assert hold(made.market, made.fleets, Options(seed=0)).refused == 0


@pytest.mark.parametrize("count", [1, 3, 10, 40, 100])
def test_a_small_batch_with_slack_has_no_miss(count: int) -> None:
    for seed in range(4):
        made = make_instance(count, seed=seed, periods=96, utilisation=0.5, organisations=2)
        assert hold(made.market, made.fleets, Options(seed=seed, starts=4)).refused == 0


def test_planted_work_settled_as_a_large_fleet_has_no_miss() -> None:
    made = make_instance(5000, seed=3, periods=96, utilisation=0.70, organisations=2)
    outcome = hold(made.market, made.fleets, Options(seed=3, muster_up_to=AS_LARGE), shards=2)
    assert (outcome.refused, outcome.mustered) == (0, False)
    check_outcome(made.market, made.fleets, outcome)
    assert outcome.gap < 0.01


def test_whoever_would_pay_more_than_a_refusal_costs_is_refused_by_coalitions_too() -> None:
    # Coalitions gain most where many would rather be refused: one member's loss is paid for by
    # the others' gain, and still it must not be made to stay.
    for seed in (100, 102, 103):
        made = make_instance(200, seed=seed, periods=48, organisations=3, window_share=0.15)
        made = half_hearted(overloaded(made, 0.6), seed)
        outcome = hold(made.market, made.fleets, Options(seed=seed))
        assert outcome.refused > 0
        check_outcome(made.market, made.fleets, outcome)


@pytest.mark.parametrize("seed", range(3))
def test_no_place_with_room_is_left_to_those_refused_in_a_large_overload(seed: int) -> None:
    made = overloaded(make_instance(600, seed=seed, periods=48, organisations=3), 0.6)
    made = half_hearted(made, seed)
    outcome = hold(made.market, made.fleets, Options(seed=seed, starts=1, muster_up_to=AS_LARGE))
    assert outcome.refused > 0
    check_outcome(made.market, made.fleets, outcome)


@pytest.mark.parametrize(
    ("count", "periods", "muster_up_to"), [(200, 192, 20_000), (3000, 96, AS_LARGE)]
)
def test_other_names_change_the_cost_by_less_than_half_a_percent(
    count: int, periods: int, muster_up_to: int
) -> None:
    made = make_instance(count, seed=5, periods=periods, organisations=2, window_share=0.1)
    options = Options(seed=5, muster_up_to=muster_up_to)
    costs = []
    for prefix in ("", "x", "y"):
        fleets = []
        for fleet in made.fleets:
            names = tuple(f"{prefix}{name}" for name in fleet.names)
            key = workload_keys(fleet.organisation, names)
            fleets.append(replace(fleet, names=names, key=key))
        costs.append(hold(made.market, fleets, options).cost_nano)
    assert max(costs) - min(costs) < 0.005 * min(costs)
    assert len(set(costs)) > 1


def test_the_order_workloads_are_given_in_changes_nothing() -> None:
    made = make_instance(150, seed=6, periods=96, window_share=0.1)
    (fleet,) = made.fleets
    turned = fleet.take(np.random.default_rng(6).permutation(len(fleet)))
    one, other = hold(made.market, [fleet]), hold(made.market, [turned])
    assert one.cost_nano == other.cost_nano
    assert one.places[0].site.tolist() == other.places[0].site.tolist()
    assert one.places[0].period.tolist() == other.places[0].period.tolist()


def test_the_cheapest_of_the_starts_that_miss_nobody_stands() -> None:
    made = make_instance(100, seed=7, periods=96, utilisation=0.4, organisations=2)
    outcome = hold(made.market, made.fleets, Options(seed=7))
    assert len(outcome.starts_nano) == 8
    assert outcome.refused == 0
    assert outcome.cost_nano == min(outcome.starts_nano) == outcome.starts_nano[outcome.winner]
    # More effort never makes a start dearer, and here it pays.
    eager = hold(made.market, made.fleets, Options(seed=7, starts=1, quality=Quality.FAST))
    assert outcome.cost_nano < eager.cost_nano


def test_the_published_bound_only_rises_and_every_phase_is_told() -> None:
    made = make_instance(100, seed=8, periods=48, organisations=2, window_share=0.1)
    heard: list[int] = []
    phases: list[str] = []
    outcome = negotiate(
        made.market,
        InProcessContractors(make_books(made.fleets)),
        Options(),
        on_round=lambda one: heard.append(one.bound_nano),
        on_phase=phases.append,
    )
    best = np.maximum.accumulate(heard)
    assert outcome.bound_nano == best[-1] >= best[0]
    # Prices climb: the last bound is far better than that without any congestion.
    assert best[-1] > heard[0]
    assert phases == ["open", "discovery", "settlement", "coalitions", "certificate"]
    assert [one.bound_nano for one in outcome.rounds] == heard


def test_windows_are_used_and_never_make_it_dearer() -> None:
    made = make_instance(300, seed=9, periods=96, window_share=0.3)
    bare = replace(
        made.market,
        windows=(),
        window_q=made.market.window_q[:0],
        window_w=made.market.window_w[:0],
    )
    with_windows = hold(made.market, made.fleets)
    without = hold(bare, made.fleets)
    assert sum(int((places.window >= 0).sum()) for places in with_windows.places) > 100
    assert with_windows.cost_nano < without.cost_nano
    assert with_windows.bound_nano < without.bound_nano


def test_two_sites_of_one_region_share_its_windows() -> None:
    made = in_pairs(make_instance(200, seed=10, periods=48, window_share=0.3))
    outcome = hold(made.market, made.fleets)
    check_outcome(made.market, made.fleets, outcome)
    places = outcome.places[0]
    sites = {
        (int(window), int(places.site[at]))
        for at in range(len(places))
        for window in places.supplies(at).tolist()
        if window >= 0
    }
    # Some window supplies both sites of its region.
    assert len(sites) > len({window for window, _ in sites})
