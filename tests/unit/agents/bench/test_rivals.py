"""Schedulers compared with the market: their rules on work small enough to do by hand."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from agents.bench.case import Case, all_work, made_case
from agents.bench.rivals import NOT_PLACED, Rival, schedule, stand
from agents.core.market.fleet import Fleet
from agents.core.market.instances import Trace
from agents.core.market.order import workload_keys
from agents.core.market.problem import build_market
from agents.core.market.units import NANO
from agents.plan_objective import Objective

#: Home is site 0. Its cleanest pair of half hours is 2 and 3; single ones are 0 and 3.
INTENSITY = np.array([[100.0, 500.0, 210.0, 150.0], [50.0, 60.0, 70.0, 80.0]])


def case_of(
    *, powers: list[int], duration: int = 2, apart: bool = False, capacity_kw: float = 1.0
) -> Case:
    """Give a case of like workloads over four half hours at two sites, prices all equal."""
    count = len(powers)
    names = [f"w{number}" for number in range(count)]
    market = build_market(
        ["home", "away"],
        [1, 2],
        price_gbp_per_mwh=np.full((2, 4), 100.0),
        intensity_gco2_per_kwh=INTENSITY,
        capacity_kw=np.full((2, 4), capacity_kw),
        price_weight=0.0,
    )
    fleet = Fleet(
        organisation="org",
        names=names,
        key=workload_keys("org", names),
        power_w=np.array(powers),
        duration=np.full(count, duration),
        earliest=np.zeros(count, np.int64),
        deadline=np.full(count, 4),
        release=np.zeros(count, np.int64),
        masks=np.array([[True, True]]),
        mask=np.zeros(count, np.int64),
        home=np.zeros(count, np.int64),
        interruptible=np.full(count, apart),
        omega_q=np.zeros(count, np.int64),
        refusal_nano=np.full(count, 7 * NANO),
        accepted=np.zeros(count, np.bool_),
    )
    return Case(market, (fleet,), INTENSITY, "hand", 0)


def place(rival: Rival, case: Case) -> list[tuple[int, list[int]]]:
    work = all_work(case)
    taken = schedule(rival, case, work)
    return [
        (int(site), taken.periods[low : low + d].tolist())
        for site, low, d in zip(taken.site, taken.ptr, work.duration.tolist(), strict=False)
    ]


@pytest.mark.parametrize(
    ("rival", "apart", "site", "halves"),
    [
        pytest.param(Rival.AT_ONCE, False, 0, [0, 1], id="at-once"),
        # Means at home: 300, 355, 180.
        pytest.param(Rival.CATS, False, 0, [2, 3], id="cats-takes-the-lowest-mean"),
        pytest.param(Rival.CATS, True, 0, [2, 3], id="cats-knows-no-interruption"),
        pytest.param(Rival.CATS_ANYWHERE, False, 1, [0, 1], id="cats-anywhere"),
        pytest.param(Rival.LWA, False, 0, [2, 3], id="lets-wait-awhile-in-one-piece"),
        pytest.param(Rival.LWA, True, 0, [0, 3], id="lets-wait-awhile-interrupted"),
        pytest.param(Rival.FCFS, True, 1, [0, 1], id="first-come-contract-net"),
        # Saved per half hour until completion: 0 / 2 at once, (300 - 355) 2 / 3 and
        # (300 - 180) 2 / 4 = 60 gCO2/kWh.
        pytest.param(Rival.GAIA, False, 0, [2, 3], id="gaia-waits-where-it-saves-enough"),
    ],
)
def test_an_empty_grid_is_used_by_the_rule(
    rival: Rival, apart: bool, site: int, halves: list[int]
) -> None:
    assert place(rival, case_of(powers=[1000], apart=apart)) == [(site, halves)]


def test_capacity_holds_and_who_finds_no_room_misses_the_deadline() -> None:
    # Home has room for one: the second takes the other pair, the third finds nothing.
    places = place(Rival.CATS, case_of(powers=[600, 600, 600]))
    assert places[:2] == [(0, [2, 3]), (0, [0, 1])]
    assert places[2][0] == NOT_PLACED


def test_a_missed_deadline_counts_as_run_at_once_and_costs_the_refusal_value() -> None:
    standing = stand(Rival.CATS, case_of(powers=[600, 600, 600]))
    # 0.6 kW over half hours: placed 0.3 (210 + 150) + 0.3 (100 + 500) g, missed another
    # 0.3 (100 + 500) g; all three at once 540 g. Saved 1 - 468 / 540.
    assert standing.missed == 1
    assert standing.carbon_saved == pytest.approx(1.0 - 468.0 / 540.0)
    # 288 g placed at 0.264 GBP/kg, and 7 GBP.
    assert standing.cost_gbp == pytest.approx(7.0 + 0.288 * 0.264, abs=1e-6)


@pytest.mark.parametrize("rival", [one for one in Rival if one is not Rival.HIGHS])
def test_no_rival_overfills_a_cell_or_leaves_a_window(rival: Rival) -> None:
    case = made_case(
        400, seed=3, trace=Trace.PAI, objective=Objective.BALANCED, carbon_value_gbp_per_kg=0.264
    )
    case = replace(case, market=replace(case.market, capacity_w=case.market.capacity_w // 2))
    work = all_work(case)
    taken = schedule(rival, case, work)
    load = np.zeros_like(case.market.capacity_w)
    for i in np.flatnonzero(taken.site >= 0).tolist():
        halves = taken.periods[taken.ptr[i] : taken.ptr[i + 1]]
        assert work.allowed[i, taken.site[i]]
        assert halves[0] >= work.earliest[i]
        assert halves[-1] < work.deadline[i]
        assert (np.diff(halves) >= 1).all()
        load[taken.site[i], halves] += work.power_w[i]
    assert (load <= case.market.capacity_w).all()
    # Half the capacity cannot hold everybody.
    assert (taken.site == NOT_PLACED).any()
