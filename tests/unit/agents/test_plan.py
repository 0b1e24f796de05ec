"""A plan: its cost, carbon, schedule and digest, worked out by hand on a small grid.

Values of energy with carbon at 0.264 GBP/kg, GBP/kWh, by half hour of ``plan_samples.GRID``:

    region  1   0.0764  0.0764   0.05264  0.05264
    region 13   0.0728  0.0728   0.0328   0.0328
"""

from __future__ import annotations

import numpy as np
import pytest
from plan_samples import GRID_HEADER, WORKLOAD_HEADER, WORKLOADS, batch_of, grid_of

from agents.core.market.contractors import InProcessContractors, make_books
from agents.core.market.digest import digest_of
from agents.core.market.outcome import Outcome
from agents.plan import Job, PlanReport, build_job, hold, report_of, schedule_of
from agents.plan_objective import Objective
from agents.plan_schedule import schedule_csv
from schema.errors import InputError
from schema.periods import format_instant, half_hour_start


def job_of(
    workloads: str = WORKLOADS,
    objective: Objective = Objective.BALANCED,
    *,
    grid: str | None = None,
) -> Job:
    figures = grid_of() if grid is None else grid_of(grid)
    return build_job(figures, batch_of(workloads, figures), objective)


def held(job: Job, *, seed: int = 0, shards: int = 1) -> Outcome:
    return hold(job, InProcessContractors(make_books([job.fleet], shards)), seed=seed)


def told(job: Job) -> tuple[PlanReport, list[str]]:
    outcome = held(job)
    schedule = schedule_of(job, outcome)
    report = report_of(job, outcome, schedule, negotiate_s=0.0, wall_s=0.0)
    return report, schedule_csv(job, schedule).splitlines()


def test_two_that_want_the_same_cell_are_placed_at_the_least_cost() -> None:
    report, rows = told(job_of())
    # Both want region 13 from 01:00, which holds 5 kW: a for 4 kWh x 0.0328 = 0.1312 GBP, and b for
    # 1 kWh x (0.0328 + 2 x 0.005 for waiting). The cheapest of all pairs is a there and b at
    # once for 0.0728: 0.204 GBP.
    assert rows == [
        "workload_id,status,region_id,starts_at,ends_at",
        "a,awarded,13,2026-01-01T01:00:00Z,2026-01-01T02:00:00Z",
        "b,awarded,13,2026-01-01T00:00:00Z,2026-01-01T00:30:00Z",
    ]
    assert report.cost_gbp == pytest.approx(0.204, abs=1e-6)
    assert report.bound_gbp <= report.cost_gbp
    # Run at once at home: 4 kWh at 100 g in region 1, 1 kWh at 200 g in region 13.
    assert report.baseline_kg == pytest.approx(0.6)
    # 4 kWh and 1 kWh at 200 g.
    assert report.scheduled_kg == pytest.approx(1.0)
    assert (report.workloads, report.awarded, report.refused) == (2, 2, 0)
    # A call and an answer a round, the settled tables, two first proposals, two awards.
    assert report.messages == 2 * report.rounds + 1 + 2 + 2


@pytest.mark.parametrize(
    ("objective", "cost", "kg", "first"),
    [
        # a in region 1 from 01:00: 4 kWh at 10 g; b at once: 1 kWh at 200 g. Times 0.264 GBP/kg.
        (Objective.CARBON, 0.24 * 0.264, 0.24, "a,awarded,1,2026-01-01T01:00:00Z"),
        # a in region 13 from 01:00 earns 4 x 0.02; b at once pays 0.02.
        (Objective.COST, -0.06, 1.0, "a,awarded,13,2026-01-01T01:00:00Z"),
    ],
)
def test_an_objective_looks_at_one_thing_alone(
    objective: Objective, cost: float, kg: float, first: str
) -> None:
    report, rows = told(job_of(objective=objective))
    assert report.cost_gbp == pytest.approx(cost, abs=1e-6)
    assert report.scheduled_kg == pytest.approx(kg)
    assert rows[1].startswith(first)


def test_a_refused_workload_has_one_row_with_empty_fields_and_costs_its_refusal() -> None:
    row = "c,6,30,2026-01-01T00:00Z,2026-01-01T02:00Z,13,false,,,"
    report, rows = told(job_of(f"{WORKLOAD_HEADER}\n{row}\n"))
    assert rows[1:] == ["c,refused,,,"]
    assert (report.awarded, report.refused) == (0, 1)
    # 3 kWh at the larger of 3 x 0.0764 and 0.50 GBP/kWh.
    assert report.cost_gbp == pytest.approx(1.5)
    # Refused: the carbon of running at once counts on both sides, 3 kWh at 200 g.
    assert report.baseline_kg == report.scheduled_kg == pytest.approx(0.6)


def test_work_that_may_be_interrupted_has_a_row_for_each_stretch() -> None:
    prices = (10, 90, 10, 90)
    grid = "\n".join(
        [
            GRID_HEADER,
            *(
                f"1,2026-01-01T0{n // 2}:{'30' if n % 2 else '00'}Z,100,{price},10"
                for n, price in enumerate(prices)
            ),
        ]
    )
    row = "w,2,60,2026-01-01T00:00Z,2026-01-01T02:00Z,1,true,,,"
    _, rows = told(job_of(f"{WORKLOAD_HEADER}\n{row}\n", grid=grid))
    assert rows[1:] == [
        "w,awarded,1,2026-01-01T00:00:00Z,2026-01-01T00:30:00Z",
        "w,awarded,1,2026-01-01T01:00:00Z,2026-01-01T01:30:00Z",
    ]


def test_a_stated_refusal_value_lets_work_refuse_a_dear_place() -> None:
    row = "w,2,30,2026-01-01T00:00Z,2026-01-01T02:00Z,1,false,,,{}"
    # The cheapest place costs 1 kWh x 0.05264 GBP.
    _, dear = told(job_of(f"{WORKLOAD_HEADER}\n{row.format(0.05)}\n"))
    _, cheap = told(job_of(f"{WORKLOAD_HEADER}\n{row.format(0.06)}\n"))
    assert dear[1] == "w,refused,,,"
    assert cheap[1] == "w,awarded,1,2026-01-01T01:00:00Z,2026-01-01T01:30:00Z"


def test_refusal_values_that_cannot_be_added_up_are_refused() -> None:
    rows = "\n".join(
        f"w{n},1,30,2026-01-01T00:00Z,2026-01-01T02:00Z,1,no,,,1000000000" for n in range(6)
    )
    with pytest.raises(InputError, match="refusal values"):
        job_of(f"{WORKLOAD_HEADER}\n{rows}\n")


# -- larger batches ----------------------------------------------------------------------------

PERIODS = 24


def random_files(count: int, *, seed: int) -> tuple[str, str]:
    """Draw a grid of three regions and work for it."""
    draw = np.random.default_rng(seed)
    origin = grid_of().origin
    times = [format_instant(half_hour_start(origin + n)) for n in range(PERIODS + 1)]
    grid = [GRID_HEADER]
    for region in (2, 7, 11):
        grid += [
            f"{region},{times[n]},{draw.integers(0, 400)},{draw.integers(-50, 200)},"
            f"{draw.integers(count, 2 * count)}"
            for n in range(PERIODS)
        ]
    rows = [WORKLOAD_HEADER]
    for number in range(count):
        first = int(draw.integers(0, PERIODS - 6))
        last = int(draw.integers(first + 6, PERIODS + 1))
        regions = ";".join(str(r) for r in draw.permutation([2, 7, 11])[: draw.integers(1, 4)])
        rows.append(
            f"job {number},{draw.integers(1, 12)},{draw.integers(1, 181)},{times[first]},"
            f"{times[last]},{regions},{str(bool(draw.integers(0, 2))).lower()},,"
            f"{draw.choice(['', '0.01'])},{draw.choice(['', '2.5'])}"
        )
    return "\n".join(grid), "\n".join(rows)


def test_the_digest_is_the_same_for_any_number_of_shards_and_any_order_of_rows() -> None:
    grid, workloads = random_files(120, seed=5)
    job = job_of(workloads, grid=grid)
    digests = {digest_of(held(job, shards=shards)) for shards in (1, 2, 4, 8)}
    header, *rows = workloads.split("\n")
    turned = job_of("\n".join([header, *reversed(rows)]), grid=grid)
    digests.add(digest_of(held(turned)))
    assert len(digests) == 1


def test_the_digest_follows_the_seed_and_the_work() -> None:
    grid, workloads = random_files(120, seed=1)
    job = job_of(workloads, grid=grid)
    other = job_of(workloads.replace("job 7,", "job seven,"), grid=grid)
    digests = {digest_of(held(job)), digest_of(held(job, seed=1)), digest_of(held(other))}
    assert len(digests) == 3


def test_every_row_of_a_schedule_keeps_what_was_asked_for() -> None:
    grid, workloads = random_files(150, seed=9)
    job = job_of(workloads, grid=grid)
    _, rows = told(job)
    asked = {row.split(",")[0]: row.split(",") for row in workloads.split("\n")[1:]}
    room = {tuple(row.split(",")[:2]): float(row.split(",")[4]) for row in grid.split("\n")[1:]}
    ran: dict[str, int] = {}
    places: dict[str, set[str]] = {}
    times = [format_instant(half_hour_start(job.grid.origin + n)) for n in range(PERIODS + 1)]
    for name, status, region, starts_at, ends_at in (row.split(",") for row in rows[1:]):
        if status == "refused":
            assert (region, starts_at, ends_at) == ("", "", "")
            continue
        _, power, _, earliest, deadline, regions, interruptible, *_ = asked[name]
        assert earliest <= starts_at < ends_at <= deadline
        assert region in regions.split(";")
        assert interruptible == "true" or name not in ran
        for n in range(times.index(starts_at), times.index(ends_at)):
            room[region, times[n]] -= float(power)
            ran[name] = ran.get(name, 0) + 1
        places.setdefault(name, set()).add(region)
    assert min(room.values()) >= 0
    assert {len(found) for found in places.values()} == {1}
    assert ran == {name: -(-int(asked[name][2]) // 30) for name in ran}
    assert list(dict.fromkeys(row.split(",")[0] for row in rows[1:])) == list(asked)
