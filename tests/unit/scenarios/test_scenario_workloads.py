"""Workloads: possible by construction, tight enough that first-come fails."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import numpy as np
import pytest
from bundled_names import LARGE, bundled_one_by_one

from scenarios.fleet import capacity_from_planted
from scenarios.loader import bundled, load
from scenarios.scenario import Scenario
from schema.periods import HALF_HOUR, ceil_half_hour, floor_half_hour
from schema.workloads import Workload

MakeScenario = Any
_SEEDS = (None, 7)


def _window(scenario: Scenario, workload: Workload) -> tuple[int, int]:
    release = (ceil_half_hour(workload.earliest_start) - scenario.start) // HALF_HOUR
    return release, (floor_half_hour(workload.deadline) - scenario.start) // HALF_HOUR


def first_come_misses(scenario: Scenario) -> int:
    """Award in order of arrival and earliest start: home first, then the greenest region.

    Each workload takes the first feasible start in the first region that has one; capacity is
    enforced. Returns how many find none.
    """
    sites = [asset for name in scenario.organisations for asset in scenario.assets(name)]
    free = np.array([asset.capacity_w for asset in sites])
    region = np.array([asset.region_id for asset in sites])
    first = scenario.start_index - scenario.regional.first
    green = scenario.regional.values[-1][:, first : first + 96].mean(axis=1)
    jobs = sorted(
        (tick, workload.earliest_start, workload.workload_name, workload)
        for name in scenario.organisations
        for tick, workload in scenario.workloads(name)
    )
    misses = 0
    for _, _, _, workload in jobs:
        release, deadline = _window(scenario, workload)
        watts, length = round(workload.power_kw * 1000), workload.periods
        others = [r for r in workload.allowed_regions if r != workload.home]
        order = [workload.home, *sorted(others, key=lambda r: green[r - 1])]
        place = next(
            (
                (site, start)
                for r in order
                for site in np.flatnonzero(region == r)
                for start in range(release, deadline - length + 1)
                if free[site, start : start + length].min() >= watts
            ),
            None,
        )
        if place is None:
            misses += 1
        else:
            free[place[0], place[1] : place[1] + length] -= watts
    return misses


@pytest.mark.parametrize("seed", _SEEDS)
@pytest.mark.parametrize("name", bundled_one_by_one())
def test_the_planted_schedule_is_feasible(name: str, seed: int | None) -> None:
    scenario = load(name, seed)
    load_w = {
        (asset.organisation, asset.name): np.zeros(scenario.capacity_periods, dtype=np.int64)
        for o in scenario.organisations
        for asset in scenario.assets(o)
    }
    workloads = {
        w.workload_name: (tick, w)
        for o in scenario.organisations
        for tick, w in scenario.workloads(o)
    }
    planted = scenario.planted()
    assert {slot.workload_name for slot in planted} == set(workloads)
    for slot in planted:
        tick, workload = workloads[slot.workload_name]
        release, deadline = _window(scenario, workload)
        assert release <= slot.start
        assert slot.end <= deadline
        assert slot.end - slot.start == workload.periods
        assert slot.region_id in workload.allowed_regions
        assert workload.earliest_start >= scenario.start + tick * scenario.tick
        watts = round(workload.power_kw * 1000)
        load_w[slot.site_organisation, slot.site][slot.start : slot.end] += watts
    for o in scenario.organisations:
        for asset in scenario.assets(o):
            assert (load_w[o, asset.name] <= asset.capacity_w).all()


@pytest.mark.parametrize("name", bundled_one_by_one())
def test_energy_over_capacity_is_as_the_scenario_says(name: str) -> None:
    scenario = load(name)
    capacity = sum(
        int(asset.capacity_w[: scenario.usable_periods].sum())
        for o in scenario.organisations
        for asset in scenario.assets(o)
    )
    energy = sum(
        round(w.power_kw * 1000) * w.periods
        for o in scenario.organisations
        for _, w in scenario.workloads(o)
    )
    assert energy / capacity == pytest.approx(scenario.file.capacity.load_factor, abs=0.01)
    assert 0.45 <= energy / capacity <= 0.7


def test_first_come_leaves_misses_in_at_least_three_scenarios() -> None:
    misses = {name: first_come_misses(load(name)) for name in bundled() if name != LARGE}
    assert sum(count > 0 for count in misses.values()) >= 3, misses


def test_sizes_are_as_promised() -> None:
    count = {name: sum(load(name).workload_counts().values()) for name in bundled()}
    assert count.pop("windy-night") == 200
    assert count.pop("fleet-100k") == 100_000
    assert all(500 <= number <= 2000 for number in count.values())


@pytest.mark.parametrize("name", bundled())
def test_a_few_organisations_hold_one_site_a_region(name: str) -> None:
    scenario = load(name)
    assert len(scenario.organisations) == (4 if name == LARGE else 3)
    regions = [a.region_id for o in scenario.organisations for a in scenario.assets(o)]
    assert sorted(regions) == list(range(1, 15))


def test_workloads_are_counted_as_they_would_be_made(windy: Scenario) -> None:
    made = {name: len(windy.workloads(name)) for name in windy.organisations}
    assert windy.workload_counts() == made


def test_ids_are_unique_over_all_organisations(windy: Scenario) -> None:
    names = [w.workload_name for o in windy.organisations for _, w in windy.workloads(o)]
    assert len(set(names)) == len(names) == 200


def test_workloads_are_varied(autumn: Scenario) -> None:
    workloads = [w for o in autumn.organisations for _, w in autumn.workloads(o)]
    periods = np.array([w.periods for w in workloads])
    # Heavy-tailed: the mean lies well above the median, and the longest hits the cap of 9 h.
    assert periods.mean() > 1.25 * np.median(periods)
    assert periods.max() == 18
    counts = [len(w.allowed_regions) for w in workloads]
    assert {1, 3, 4, 5, 14} == set(counts)
    assert 0.2 < np.mean([c == 1 for c in counts]) < 0.4
    assert 0.2 < np.mean([w.interruptible for w in workloads]) < 0.4
    assert len({w.priority for w in workloads}) >= 6
    assert 0.3 < np.mean([w.delay_cost_gbp_per_kwh_h == 0 for w in workloads]) < 0.5
    assert any(w.earliest_start.minute % 30 for w in workloads)
    assert all(w.home == w.allowed_regions[0] for w in workloads)


def test_most_work_is_there_at_the_start_and_some_comes_later(windy: Scenario) -> None:
    ticks = [tick for o in windy.organisations for tick, _ in windy.workloads(o)]
    assert set(ticks) == {0, 6, 12, 20, 28}
    assert 0.75 < np.mean([tick == 0 for tick in ticks]) < 0.95


@pytest.mark.parametrize("name", bundled_one_by_one())
def test_deadlines_lie_within_the_replay_and_the_horizon_of_the_arrival(name: str) -> None:
    scenario = load(name)
    for o in scenario.organisations:
        for tick, workload in scenario.workloads(o):
            arrives = scenario.start + tick * scenario.tick
            assert arrives <= workload.earliest_start
            assert workload.deadline <= scenario.end
            assert workload.deadline - arrives <= timedelta(hours=48)


def test_patience_ends_the_time_of_each_workload_after_its_own_arrival(
    edited: MakeScenario,
) -> None:
    folder = edited(
        ("max_duration_h = 9", "max_duration_h = 9\npatience_h = 6"),
        ("late_share = 0.15", "late_share = 0.9"),
    )
    scenario = load(folder)
    workloads = [entry for o in scenario.organisations for entry in scenario.workloads(o)]
    spans = [
        (w.deadline - scenario.start - tick * scenario.tick) / timedelta(hours=1)
        for tick, w in workloads
    ]
    # The loosest use all of their six hours, and no work is longer than that.
    assert max(spans) == 6.0
    assert max(w.periods for _, w in workloads) <= 12
    # Without it the loosest of those that arrive at 15:00 may run until the end, 24 hours on.
    assert max(w.deadline for _, w in load("windy-night").workloads("thames-ai")) == scenario.end


def test_another_seed_gives_other_work_and_the_argument_equals_the_bound_seed() -> None:
    one, seven = load("windy-night", 1), load("windy-night", 7)
    name = one.organisations[0]
    assert one.workloads(name) != seven.workloads(name)
    assert one.workloads(name, 7) == seven.workloads(name)
    assert [a.capacity_w.tolist() for a in one.assets(name, 7)] == [
        a.capacity_w.tolist() for a in seven.assets(name)
    ]


def test_everyone_may_go_to_scotland_in_the_scottish_surplus() -> None:
    scenario = load("scottish-surplus")
    workloads = [w for o in scenario.organisations for _, w in scenario.workloads(o)]
    scots = [w for w in workloads if {1, 2} & set(w.allowed_regions)]
    wanted = sum(round(w.power_kw * 1000) * w.periods for w in scots)
    there = [
        asset
        for o in scenario.organisations
        for asset in scenario.assets(o)
        if asset.region_id in {1, 2}
    ]
    held = sum(int(asset.capacity_w[: scenario.usable_periods].sum()) for asset in there)
    assert wanted > 4 * held


def test_a_wrong_organisation_is_refused_with_the_right_names(windy: Scenario) -> None:
    with pytest.raises(KeyError, match="caledonia-cloud, severn-compute, thames-ai"):
        windy.workloads("northern-lights")


def test_capacity_holds_the_load_and_meets_the_load_factor() -> None:
    # Two sites, four half hours. Loads 8,0,0,0 and 4,4,4,4: means 2 and 4, energy 24. A factor f
    # gives max(8,2f) + 3*2f and 4*max(4,4f); f = 1.5 gives 8 + 9 + 24 = 41, f = 1.818 gives
    # 8 + 10.9 + 29.1 = 48 = 24 / 0.5. Whole watts round the floors down, so in mW-like units:
    load_w = np.array([[8000, 0, 0, 0], [4000, 4000, 4000, 4000]])
    cells = capacity_from_planted(load_w, load_factor=0.5, headroom=1.0, usable=4)
    assert (cells >= load_w).all()
    assert cells[0].tolist() == [8000, 3636, 3636, 3636]
    assert cells[1].tolist() == [7272] * 4
    assert 24_000 / cells.sum() == pytest.approx(0.5, abs=0.001)
