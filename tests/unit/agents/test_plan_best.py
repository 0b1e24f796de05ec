"""When is best: the cheapest stretch, on figures that say where they come from."""

from __future__ import annotations

import dataclasses
from datetime import UTC, datetime, timedelta
from pathlib import Path

import numpy as np
import pytest
from plan_samples import GRID, WORKLOAD_HEADER, batch_of, grid_of, write_samples

from agents.core.market.contractors import InProcessContractors, make_books
from agents.plan import build_job, hold, schedule_of
from agents.plan_answer import (
    answer,
    answer_json,
    not_before,
    parse_duration,
    parse_power,
    parse_region,
    parse_when,
)
from agents.plan_best import Figures, Question, find_best
from agents.plan_figures import bundled_figures, newest_run
from agents.plan_grid import PlanGrid
from agents.plan_objective import Objective
from schema.errors import InputError
from schema.periods import half_hour_number, parse_instant
from schema.readings import Quality
from schema.rows import CarbonIntensityRegionalRow, ScenarioRunRow, WholesalePriceRow
from schema.rows.system import RunKind
from schema.settings import Settings
from storage.memory import MemoryStore

MIDNIGHT = half_hour_number(parse_instant("2026-01-01T00:00Z"))
ASKED = Question(
    duration_min=60,
    power_kw=4.0,
    regions=(),
    earliest_start=None,
    deadline=None,
    objective=Objective.BALANCED,
    carbon_value_gbp_per_kg=0.264,
)


def asked(**changes: object) -> Question:
    return dataclasses.replace(ASKED, **changes)  # type: ignore[arg-type]


def figures_of(grid: PlanGrid) -> Figures:
    return Figures(grid, "the test's grid", simulated=False)


FIGURES = figures_of(grid_of())


def refused(question: Question, figures: Figures = FIGURES) -> str:
    with pytest.raises(InputError) as caught:
        find_best(question, figures)
    return str(caught.value)


# -- the answer ------------------------------------------------------------------------------


def test_the_cheapest_stretch_of_all_regions_is_best() -> None:
    # Value of an hour from 01:00: region 13 2 x 0.0328, region 1 2 x 0.05264.
    found = find_best(asked(), FIGURES)
    assert (found.best.region_id, found.best.first - MIDNIGHT) == (13, 2)
    # 4 kWh at 200 g and at -0.02 GBP/kWh.
    assert found.best.gco2 == pytest.approx(800)
    assert found.best.cost_gbp == pytest.approx(-0.08)
    # At once in the same region: 4 kWh at 0.02 GBP/kWh.
    assert (found.at_once.region_id, found.at_once.first) == (13, MIDNIGHT)
    assert found.at_once.cost_gbp == pytest.approx(0.08)


def test_other_places_are_the_next_best_and_overlap_nothing_better_in_their_region() -> None:
    places = [
        (slot.region_id, slot.first - MIDNIGHT) for slot in find_best(asked(), FIGURES).others
    ]
    # An hour: 1 from 01:00 (0.1053), 13 from 00:00 (0.1456), 1 from 00:00 (0.1528).
    assert places == [(1, 2), (13, 0), (1, 0)]


@pytest.mark.parametrize(
    ("objective", "region", "first"),
    [(Objective.CARBON, 1, 2), (Objective.COST, 13, 2)],
)
def test_an_objective_looks_at_one_thing_alone(
    objective: Objective, region: int, first: int
) -> None:
    best = find_best(asked(objective=objective), FIGURES).best
    assert (best.region_id, best.first - MIDNIGHT) == (region, first)


def test_regions_power_and_times_are_kept() -> None:
    # 6 kW do not fit into region 13 (5 kW).
    assert find_best(asked(power_kw=6.0), FIGURES).best.region_id == 1
    assert find_best(asked(regions=(1,)), FIGURES).best.region_id == 1
    # 01:10 is rounded up to 01:30, 01:20 down to 01:00.
    late = asked(duration_min=30, earliest_start=parse_instant("2026-01-01T01:10Z"))
    assert find_best(late, FIGURES).best.first - MIDNIGHT == 3
    soon = asked(duration_min=30, deadline=parse_instant("2026-01-01T01:20Z"))
    assert find_best(soon, FIGURES).best.end - MIDNIGHT <= 2


def test_of_equal_starts_the_earliest_is_best() -> None:
    # 0.1 + 0.2 and 0.3 + 0.0 differ in binary; nothing may follow from that.
    grid = grid_of(
        GRID.split("\n")[0]
        + "\n"
        + "\n".join(
            f"5,2026-01-01T0{n // 2}:{'30' if n % 2 else '00'}Z,0,{price},10"
            for n, price in enumerate((100, 200, 100, 200, 0.1 + 0.2 + 299.7))
        )
    )
    found = find_best(asked(objective=Objective.COST), figures_of(grid))
    assert found.best.first - MIDNIGHT == 0


def test_at_once_is_in_the_first_region_asked_for_from_the_earliest_start() -> None:
    start = parse_instant("2026-01-01T00:30Z")
    found = find_best(asked(regions=(1, 13), earliest_start=start), FIGURES)
    assert found.best.region_id == 13
    assert (found.at_once.region_id, found.at_once.first - MIDNIGHT) == (1, 1)


@pytest.mark.parametrize("seed", range(5))
def test_one_job_alone_gets_the_same_place_from_the_market(seed: int) -> None:
    draw = np.random.default_rng(seed)
    header = GRID.split("\n")[0]
    rows = [
        f"{region},2026-01-01T{n // 2:02}:{'30' if n % 2 else '00'}Z,"
        f"{draw.integers(0, 300)},{draw.integers(-50, 150)},{draw.integers(2, 9)}"
        for region in (3, 4, 9)
        for n in range(40)
    ]
    grid = grid_of("\n".join([header, *rows]))
    row = "w,3,150,2026-01-01T00:00Z,2026-01-01T20:00Z,3;4;9,false,,,"
    job = build_job(grid, batch_of(f"{WORKLOAD_HEADER}\n{row}\n", grid))
    schedule = schedule_of(job, hold(job, InProcessContractors(make_books([job.fleet])), seed=0))
    best = find_best(asked(duration_min=150, power_kw=3.0), figures_of(grid)).best
    market = (int(schedule.region[0]), int(schedule.first[0]), int(schedule.end[0]))
    assert market == (best.region_id, best.first, best.end)


# -- what cannot be answered -------------------------------------------------------------------


def test_figures_that_do_not_cover_the_question_are_named() -> None:
    late = asked(deadline=parse_instant("2026-01-02T00:00Z"))
    assert "the test's grid reaches from 2026-01-01T00:00:00Z to 2026-01-01T02:00:00Z" in refused(
        late
    )
    early = asked(earliest_start=parse_instant("2025-12-31T00:00Z"))
    assert "does not cover 2025-12-31T00:00:00Z" in refused(early)


def test_a_window_that_cannot_hold_the_job_is_refused() -> None:
    assert "needs 5 whole half hours" in refused(asked(duration_min=121))
    both = parse_instant("2026-01-01T01:00Z")
    assert "is not after the earliest start" in refused(asked(earliest_start=both, deadline=both))


def test_a_region_that_the_grid_lacks_and_too_much_power_are_refused() -> None:
    assert "--region 2 is not in G.csv, which has 1, 13" in refused(asked(regions=(2,)))
    assert "--power 11 kW is above the capacity" in refused(asked(power_kw=11.0))


def test_unknown_figures_are_never_used_and_their_totals_never_invented() -> None:
    grid = grid_of()
    price = grid.price_gbp_per_mwh.copy()
    price[:, 2:] = np.nan
    figures = figures_of(dataclasses.replace(grid, price_gbp_per_mwh=price))
    # From 01:00 no price is known: the balanced answer stays before it, the carbon one need not.
    assert find_best(asked(), figures).best.end - MIDNIGHT <= 2
    best = find_best(asked(objective=Objective.CARBON), figures).best
    assert (best.first - MIDNIGHT, best.cost_gbp) == (2, None)
    nothing = figures_of(dataclasses.replace(grid, price_gbp_per_mwh=np.full((2, 4), np.nan)))
    assert "knows no price" in refused(asked(objective=Objective.COST), nothing)


# -- options ---------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "minutes"),
    [("3h", 180), ("90min", 90), ("1h30min", 90), ("0.5h", 30), ("0.1h", 6), ("1min", 1)],
)
def test_durations_are_read(text: str, minutes: int) -> None:
    assert parse_duration(text) == minutes


@pytest.mark.parametrize("text", ["", "3", "h", "0h", "-1h", "3 h", "3d", "nanh", "99999h"])
def test_what_is_no_duration_is_refused(text: str) -> None:
    with pytest.raises(InputError, match="90min or 1h30min is allowed"):
        parse_duration(text)


@pytest.mark.parametrize(("text", "power"), [("5kW", 5.0), ("500W", 0.5), ("1.2MW", 1200.0)])
def test_powers_are_read(text: str, power: float) -> None:
    assert parse_power(text) == pytest.approx(power)


@pytest.mark.parametrize("text", ["", "5", "kW", "0kW", "-5kW", "infkW", "5 kW", "5GW", "9999MW"])
def test_what_is_no_power_is_refused(text: str) -> None:
    with pytest.raises(InputError, match=r"5kW or 1\.2MW is allowed"):
        parse_power(text)


def test_regions_are_read_by_number_and_by_name() -> None:
    assert [parse_region(text) for text in ("13", "london", "North Wales and Merseyside")] == [
        13,
        13,
        6,
    ]
    for text in ("0", "15", "Paris", ""):
        with pytest.raises(InputError, match="a number 1 to 14"):
            parse_region(text)


def test_a_time_without_a_zone_is_refused_by_the_option_s_name() -> None:
    assert parse_when("--deadline", None) is None
    with pytest.raises(InputError, match=r"--deadline '2026-01-01T00:00'.*no time zone"):
        parse_when("--deadline", "2026-01-01T00:00")


# -- where figures come from -------------------------------------------------------------------

RUN = "00000000-0000-0000-0000-0000000000aa"
NOW = datetime(2026, 1, 5, 12, 10, tzinfo=UTC)


async def store_with(kind: RunKind, scenario: str | None) -> MemoryStore:
    """A run at 12:10 that knows four half hours of region 13, and the last day's prices."""
    store = MemoryStore()
    start = datetime(2026, 1, 5, 12, tzinfo=UTC)
    rows = [ScenarioRunRow(kind=kind, scenario=scenario, clock_at=NOW)]
    half = timedelta(minutes=30)
    rows += [  # type: ignore[misc]
        CarbonIntensityRegionalRow(
            source="carbon_intensity",
            region_id=13,
            valid_from=start + n * half,
            valid_to=start + (n + 1) * half,
            forecast_gco2_per_kwh=100 - 10 * n,
            quality=Quality.PUBLISHED,
        )
        for n in range(4)
    ]
    rows += [  # type: ignore[misc]
        WholesalePriceRow(
            source="elexon",
            market="APXMIDP",
            valid_from=start + n * half,
            valid_to=start + (n + 1) * half,
            price_gbp_per_mwh=80.0,
            volume_mwh=10.0,
        )
        for n in range(-48, 1)
    ]
    batch: dict[str, list[bytes]] = {}
    for row in rows:
        record = row.to_record(RUN, retrieved_at=NOW)
        batch.setdefault(record.table, []).append(record.body)
    await store.ingest(batch)
    return store


async def test_the_newest_run_gives_its_figures_and_says_what_is_estimated() -> None:
    store = await store_with(RunKind.REPLAY, "windy-night")
    figures = await newest_run(store)
    assert figures is not None
    assert figures.simulated
    assert figures.origin == "run 00000000 (replay of windy-night) as of 2026-01-05T12:10:00Z"
    assert figures.notes == ("prices ahead are those of the last comparable day (estimated)",)
    best = find_best(asked(regions=(13,), duration_min=30), figures).best
    # The last half hour that is known, 70 g at 4 kW; Sunday is no day comparable to Monday, but the
    # only one with a price.
    assert best.gco2 == pytest.approx(140)
    assert best.first == half_hour_number(datetime(2026, 1, 5, 13, 30, tzinfo=UTC))


async def test_a_live_run_is_not_simulated_and_a_store_without_runs_gives_nothing() -> None:
    figures = await newest_run(await store_with(RunKind.LIVE, None))
    assert figures is not None
    assert not figures.simulated
    assert await newest_run(MemoryStore()) is None


def test_on_live_figures_the_past_is_no_answer() -> None:
    live = Figures(grid_of(), "a live run", simulated=False)
    late = parse_instant("2026-01-01T00:40Z")
    assert not_before(asked(), live, late).earliest_start == late
    # Asked for on purpose, and on simulated figures, the past is fine.
    assert not_before(asked(earliest_start=NOW), live, late).earliest_start == NOW
    replayed = dataclasses.replace(live, simulated=True)
    assert not_before(asked(), replayed, late).earliest_start is None


def test_the_bundled_scenario_covers_two_days_of_all_regions_and_is_marked() -> None:
    figures = bundled_figures()
    assert figures.simulated
    assert figures.grid.periods == 96
    assert len(figures.grid.regions) == 14
    assert np.isfinite(figures.grid.intensity_gco2_per_kwh).all()
    assert np.isfinite(figures.grid.price_gbp_per_mwh).all()


def test_without_a_grid_and_without_supabase_a_scenario_answers_and_says_so(
    tmp_path: Path,
) -> None:
    settings = Settings(home=tmp_path / "home")
    question = asked(deadline=parse_instant("2026-02-04T12:00Z"))
    found, figures = answer(question, None, settings, NOW)
    told = answer_json(question, found, figures)
    assert told["figures"]["simulated"] is True
    assert "windy-night" in told["figures"]["origin"]
    assert told["figures"]["notes"] == ["no Supabase is up"]
    assert told["avoided_gco2"] == pytest.approx(told["at_once"]["gco2"] - told["best"]["gco2"])
    # Asking leaves nothing behind.
    assert not (tmp_path / "home").exists()


def test_where_nothing_covers_the_question_each_source_says_why(tmp_path: Path) -> None:
    settings = Settings(home=tmp_path)
    with pytest.raises(InputError) as caught:
        answer(asked(deadline=parse_instant("2031-01-01T00:00Z")), None, settings, NOW)
    message = str(caught.value)
    assert "no Supabase is up" in message
    assert "windy-night reaches from 2026-02-03" in message
    assert "--grid" in message


def test_with_a_grid_nothing_else_is_looked_at(tmp_path: Path) -> None:
    grid, _ = write_samples(tmp_path)
    found, figures = answer(asked(), Path(grid), Settings(home=tmp_path), NOW)
    assert found.best.region_id == 13
    assert not figures.simulated
    assert figures.origin == f"the grid {grid}"
