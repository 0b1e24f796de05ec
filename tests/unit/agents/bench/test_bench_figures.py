"""Figures of a measurement: carbon by hand, the worst of cases, growth, and the exact solver."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from test_rivals import case_of

from agents.bench.carbon import at_once_kg, least_kg, placed_kg
from agents.bench.case import all_work, made_case, on_top
from agents.bench.measure import Measured, figures, growth_exponent, timed, worst
from agents.bench.referee import judge
from agents.bench.report import results
from agents.core.market.contractors import InProcessContractors, make_books
from agents.core.market.instances import Trace
from agents.core.market.negotiate import Options
from agents.plan_objective import Objective
from schema.errors import InputError


def measured(case_size: int = 60, **case_of_it: object) -> Measured:
    case = made_case(
        case_size,
        seed=2,
        trace=Trace.PAI,
        objective=Objective.BALANCED,
        carbon_value_gbp_per_kg=0.264,
        **case_of_it,
    )
    books = make_books(case.fleets, 2)
    outcome, time = timed(case, lambda talk: talk(InProcessContractors(books)), Options())
    return figures(case, outcome, [time], shards=2, load_s=0.1, peak_mib=None)


def test_carbon_at_once_placed_and_least_possible_by_hand() -> None:
    # Two workloads of 0.6 kW for an hour at home from half hour 0: 0.3 (100 + 500) g each.
    case = case_of(powers=[600, 600])
    at_once = at_once_kg(case, all_work(case))
    assert at_once == pytest.approx([0.18, 0.18])
    # The cleaner site holds one at a time, 33 g in half hours 0 and 1 and 45 g in 2 and 3. The
    # bound may cut workloads up: 1 kW has room for 5 / 3 of one.
    least = (5 / 3 * 33 + 1 / 3 * 45) / 1000.0
    assert least * (1.0 - 1e-3) < least_kg(case) <= least
    books = make_books(case.fleets, 1)
    outcome, _ = timed(case, lambda talk: talk(InProcessContractors(books)), Options())
    assert placed_kg(case, outcome.places, at_once) == pytest.approx(0.078)


def test_a_measured_negotiation_misses_nobody_and_times_every_phase() -> None:
    found = measured()
    assert (found.workloads, found.shards, found.refused, found.above_refusal) == (60, 2, 0, 0)
    assert found.negotiate_s >= 0.99 * sum(found.phases.values()) > 0.0
    assert list(found.phases) == [
        "open", "discovery", "settlement", "coalitions", "certificate",
    ]  # fmt: skip
    assert found.carbon_possible is not None
    assert found.carbon_saved <= found.carbon_possible
    assert 0.0 <= found.gap < 1.0


def test_where_somebody_must_miss_no_most_possible_saving_is_claimed() -> None:
    found = measured(overload=0.3)
    assert found.refused > 0
    assert found.carbon_possible is None


def test_windows_hold_a_tenth_of_the_energy_whatever_their_number() -> None:
    for count in (5, 40):
        case = made_case(
            300,
            seed=1,
            trace=Trace.AZURE,
            objective=Objective.COST,
            carbon_value_gbp_per_kg=0.264,
            windows=count,
        )
        work, windows = all_work(case), case.market.windows
        assert len(windows) == count
        offered = sum(one.capacity_kw * (one.last - one.first) for one in windows)
        assert offered == pytest.approx(0.1 * float((work.power_w * work.duration).sum()) / 1000.0)


def test_the_worst_of_cases_takes_each_figure_where_it_is_worst() -> None:
    one = measured()
    wide = replace(one, gap=0.5, negotiate_s=1.0, refused=0, cost_gbp=9.0, peak_mib=10.0)
    slow = replace(one, gap=0.1, negotiate_s=3.0, refused=2, cost_gbp=4.0, peak_mib=30.0)
    both = worst([slow, wide])
    assert (both.gap, both.cost_gbp) == (0.5, 9.0)
    assert (both.negotiate_s, both.refused, both.peak_mib) == (3.0, 2, 30.0)
    assert [row.gap for row in results([slow, wide, replace(slow, workloads=61)])] == [0.5, 0.1]


def test_the_growth_exponent_is_that_between_the_two_largest_sizes() -> None:
    one = measured()
    rows = [
        replace(one, workloads=size, negotiate_s=seconds)
        for size, seconds in ((10, 99.0), (1000, 2.0), (100_000, 200.0))
    ]
    # A hundred times the work takes a hundred times as long.
    assert growth_exponent(rows, lambda row: row.negotiate_s) == pytest.approx(1.0)
    assert growth_exponent(rows[:1], lambda row: row.negotiate_s) is None


def test_newcomers_are_left_only_the_power_that_the_settled_do_not_use() -> None:
    whole = made_case(
        200, seed=1, trace=Trace.PAI, objective=Objective.BALANCED, carbon_value_gbp_per_kg=0.264
    )
    rest = on_top(whole, 20)
    assert rest.workloads == 20
    taken = whole.market.capacity_w.sum() - rest.market.capacity_w.sum()
    newcomers = all_work(rest)
    everybody = all_work(whole)
    energy = (everybody.power_w * everybody.duration).sum()
    assert taken == energy - (newcomers.power_w * newcomers.duration).sum()
    assert int(rest.market.capacity_w.min()) >= 0


def test_the_exact_solver_lies_between_bound_and_cost() -> None:
    case = made_case(
        60, seed=2, trace=Trace.PAI, objective=Objective.BALANCED, carbon_value_gbp_per_kg=0.264
    )
    verdict, market = judge(case, whole=True), measured()
    assert market.bound_gbp <= verdict.lp_gbp * (1.0 + 1e-9)
    assert verdict.lp_slack <= 1e-4
    assert verdict.integer_gbp is not None
    assert verdict.lp_gbp * (1.0 - 1e-6) <= verdict.integer_gbp
    assert verdict.lp_gbp * (1.0 - 1e-6) <= market.cost_gbp


def test_the_exact_solver_refuses_what_it_cannot_judge() -> None:
    case = made_case(
        60,
        seed=2,
        trace=Trace.PAI,
        objective=Objective.BALANCED,
        carbon_value_gbp_per_kg=0.264,
        windows=3,
    )
    with pytest.raises(InputError, match="without windows, not 60 with 3"):
        judge(case, whole=False)
    assert np.all(case.market.window_w > 0)
