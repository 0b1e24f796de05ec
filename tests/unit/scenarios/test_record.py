"""Recording live sources: what is kept, what scenario it makes, what a replay of it then says."""

from __future__ import annotations

import asyncio
import csv
import json
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from recording_world import CANARY, World, record_once

from scenarios.loader import check, load
from scenarios.model import WireFault
from scenarios.ops.recorded import Forecast, Recording, read_recording
from scenarios.ops.recorded_scenario import Made, RecordedPlan, make_scenario, slug
from scenarios.publication import Published
from scenarios.scenario import Scenario
from schema.errors import ScenarioError
from schema.periods import HALF_HOUR, floor_half_hour

Tape = tuple[World, Made, RecordedPlan]
ALL = ("carbon_intensity", "elexon", "beckn")


@pytest.fixture
def world(windy: Scenario, tmp_path: Path) -> World:
    return World(windy, windy.start + timedelta(hours=6, minutes=12), tmp_path / "tape")


@pytest.fixture(scope="module")
def tape(windy: Scenario, tmp_path_factory: pytest.TempPathFactory) -> Tape:
    """Record once for all tests that only look."""
    folder = tmp_path_factory.mktemp("once") / "tape"
    world = World(windy, windy.start + timedelta(hours=6, minutes=12), folder)
    return (world, *asyncio.run(record_once(world)))


def rows(path: Path) -> list[dict[str, str]]:
    with path.open(encoding="utf-8") as file:
        return list(csv.DictReader(file))


# -- one asking ------------------------------------------------------------------------------


def test_one_asking_makes_a_valid_scenario_of_the_last_day(tape: Tape) -> None:
    world, made, plan = tape
    found, faults = check(world.folder)
    assert faults == []
    assert found is not None
    assert (found.start, found.ticks) == (plan.start, 48)
    assert world.faults == []
    # 24 h before, 24 h of replay, 48 h after: 192 half hours, all of them told by the source.
    assert made.tables["national"].recorded == 192
    assert made.tables["regional"].recorded == 192 * 14
    assert made.tables["national"].estimated == made.tables["regional"].estimated == 0
    # Prices: a week before and the day are known but for the last minutes; the two days after it
    # nobody publishes ahead.
    assert made.tables["prices"].estimated == 96 + (336 + 48 - made.tables["prices"].recorded)
    assert made.tables["prices"].recorded >= 336 + 47


def test_its_figures_are_those_the_source_told(tape: Tape) -> None:
    world, made, plan = tape
    told = Published(world.scenario, world.clock.now())
    axis = world.scenario.axis
    national = {row["valid_from"]: row for row in rows(world.folder / "national.csv")}
    regional = {
        (int(row["region_id"]), row["valid_from"]): row
        for row in rows(world.folder / "regional.csv")
    }
    for hours in (1, 20, 30, 60):
        at = plan.start + timedelta(hours=hours)
        when = at.strftime("%Y-%m-%dT%H:%M:%SZ")
        index = axis.index(at)
        assert int(national[when]["forecast_gco2_per_kwh"]) == told.national_forecast(index)
        values = told.regional_forecast(index)
        assert values is not None
        assert [
            int(regional[region, when]["forecast_gco2_per_kwh"]) for region in range(1, 15)
        ] == values.tolist()
        actual = told.national_actual(index)
        assert national[when]["actual_gco2_per_kwh"] == ("" if actual is None else str(actual))
    # The replay of the recording tells them again, in the source's own form.
    again = Published(made.scenario, plan.start + timedelta(hours=20))
    index = made.scenario.axis.index(plan.start + timedelta(hours=19))
    there = axis.index(plan.start + timedelta(hours=19))
    assert again.national_actual(index) == told.national_actual(there)


def test_the_scenario_says_that_it_is_recorded_and_what_is_not(tape: Tape) -> None:
    world, made, _ = tape
    file = made.scenario.file
    assert file.story.startswith("Recorded from the live sources (carbon_intensity, elexon, beckn)")
    method = file.grid.method or ""
    assert "192 half hours recorded, 0 estimated" in method
    assert "Generation mix, demand and flexibility are synthesised" in method
    notice = (world.folder / "NOTICE.md").read_text(encoding="utf-8")
    assert "CC BY 4.0" in notice
    assert "Contains BMRS data © Elexon Limited copyright and database right 2026" in notice
    assert "National Energy SO" not in notice


def test_windows_are_taken_as_first_seen(tape: Tape) -> None:
    world, made, plan = tape
    offered = {window.item_id: window for window in world.scenario.windows_at(world.clock.now())}
    taken = {window.item_id: window for window in made.scenario.windows}
    assert taken
    assert made.windows == (len(taken), 0)
    for item, window in taken.items():
        known = offered[item]
        assert (window.starts_at, window.ends_at) == (known.starts_at, known.ends_at)
        assert (window.capacity_w, window.intensity) == (known.capacity_w, known.intensity)
        assert window.price_pence_per_mwh == known.price_pence_per_mwh
        assert window.currency == known.currency
        assert window.region_id == known.region_id
        assert plan.start <= window.published_at <= plan.end


def test_no_secret_stands_in_any_file(tape: Tape) -> None:
    world, _, _ = tape
    files = [path for path in world.folder.rglob("*") if path.is_file()]
    assert len(files) > 10
    assert [path.name for path in files if CANARY.encode() in path.read_bytes()] == []
    replies = list((world.folder / "replies").rglob("*.json"))
    keys = {key for path in replies for key in json.loads(path.read_bytes())}
    assert keys == {
        *("envelope_version", "source", "endpoint", "method"),
        *("url", "status", "captured_at", "payload"),
    }


# -- some hours ------------------------------------------------------------------------------


@pytest.mark.long
async def test_hours_of_recording_keep_the_revisions_of_forecasts(
    windy: Scenario, tmp_path: Path
) -> None:
    world = World(windy, windy.start + timedelta(hours=2), tmp_path / "tape")
    start = world.clock.now()
    recording = await world.record(ALL, start, start + timedelta(hours=7))
    plan = RecordedPlan("tape", start, 14, workloads=10)
    made = make_scenario(world.folder, recording, plan)
    assert made.tables["national"].estimated == 0
    # windy-night revises its forecasts every 3 hours; the last poll is at the end, in its hour 9.
    # Asking for the past took some seconds first, one a request.
    issued = made.scenario.national.issued
    assert [(at - windy.start) // timedelta(hours=1) for at in issued[1:]] == [3, 6, 9]
    # At each moment the replay tells the forecast that the source told at that moment.
    for hours in (0, 2, 5):
        now = start + timedelta(hours=hours)
        ours, theirs = Published(made.scenario, now), Published(windy, now)
        for ahead in (1, 10, 50):
            at = now + timedelta(hours=ahead)
            mine = ours.national_forecast(made.scenario.axis.index(at))
            assert mine == theirs.national_forecast(windy.axis.index(at)), (hours, ahead)


async def test_a_window_of_every_day_is_named_once_a_day(world: World) -> None:
    recording = await world.record(("beckn",), world.clock.now(), None)
    # The same windows again a day later, as a catalogue's times of day say.
    for (bpp, item, starts), seen in list(recording.windows.items()):
        moved = {
            "starts_at": starts + timedelta(days=1),
            "ends_at": seen.row.ends_at + timedelta(days=1),
        }
        row = seen.row.model_copy(update=moved)
        recording.windows[bpp, item, row.starts_at] = type(seen)(
            row, seen.zone, seen.offer, seen.seen_at
        )
    start = floor_half_hour(world.clock.now())
    made = make_scenario(world.folder, recording, RecordedPlan("tape", start, 48, workloads=5))
    items = [window.item_id for window in made.scenario.windows]
    assert len(set(items)) == len(items) > len({item[:20] for item in items}) > 0
    assert any(item.endswith("-20260204") for item in items)


# -- what is missing -------------------------------------------------------------------------


async def test_sources_that_were_not_recorded_are_left_to_the_synthesiser(world: World) -> None:
    made, _ = await record_once(world, ("beckn",))
    assert made.tables == {}
    assert "national: too little was recorded; synthesised." in (
        made.scenario.file.grid.method or ""
    )
    assert made.scenario.windows


async def test_a_source_that_is_out_leaves_replies_of_the_others(
    windy: Scenario, tmp_path: Path
) -> None:
    fault = WireFault.model_validate(
        {"kind": "html", "source": "carbon_intensity", "from_h": -24, "to_h": 48}
    )
    broken = Scenario(
        windy.file.model_copy(update={"faults": (fault,)}), windy.folder, windy.seed, windy.given
    )
    world = World(broken, windy.start + timedelta(hours=6), tmp_path / "tape")
    made, _ = await record_once(world)
    assert set(made.tables) == {"prices"}
    assert any(said.startswith("carbon_intensity") for said in world.faults)
    # The pages are kept: they say what came.
    pages = list((world.folder / "replies" / "carbon_intensity").glob("*.json"))
    assert all("<html" in json.loads(path.read_bytes())["payload"].lower() for path in pages)


async def test_holes_are_filled_from_a_near_day_and_say_so(world: World) -> None:
    end = floor_half_hour(world.clock.now())
    plan = RecordedPlan("tape", end - timedelta(hours=24), 48, workloads=5)
    recording = await world.record(ALL, plan.start, None)
    hole = plan.start + timedelta(hours=3)
    before = recording.forecasts[0, hole - timedelta(days=1)].first
    del recording.forecasts[0, hole]
    made = make_scenario(world.folder, recording, plan)
    assert made.tables["national"].estimated == 1
    (row,) = [
        row
        for row in rows(world.folder / "national.csv")
        if row["valid_from"] == hole.strftime("%Y-%m-%dT%H:%M:%SZ")
    ]
    assert (row["forecast_gco2_per_kwh"], row["quality"]) == (str(round(before or 0)), "estimated")


def test_nothing_recorded_makes_no_scenario(tmp_path: Path) -> None:
    plan = RecordedPlan("tape", load("windy-night").start, 48)
    with pytest.raises(ScenarioError, match="nothing was recorded"):
        make_scenario(tmp_path, read_recording(tmp_path), plan)


# -- small rules -----------------------------------------------------------------------------


def test_only_what_changes_is_a_revision() -> None:
    at = load("windy-night").start
    cell = Forecast()
    assert not cell.known
    cell.take_past(100)
    for minutes, value in ((0, 100), (30, 110), (60, 110), (90, 100)):
        cell.take_live(at + timedelta(minutes=minutes), value)
    # The last forecast, told afterwards, changes nothing any more.
    cell.take_past(95)
    assert cell.first == 100
    assert cell.revisions == [(at + HALF_HOUR, 110), (at + 3 * HALF_HOUR, 100)]


@pytest.mark.parametrize(
    ("text", "name"),
    [("My Tape_2", "my-tape-2"), ("--", "recorded"), ("x" * 80, "x" * 60), ("ä", "recorded")],
)
def test_a_folders_name_becomes_a_scenarios_name(text: str, name: str) -> None:
    assert slug(text) == name


def test_the_index_of_the_usual_provider_stands() -> None:
    at = load("windy-night").start
    recording = Recording()
    figures: dict[str, Any] = {"N2EXMIDP": 40.0, "OTHER": 41.0}
    for provider, price in figures.items():
        recording.index[provider] = {at: (price, 100.0)}
    assert recording.price(at) == (40.0, 100.0)
    recording.index["APXMIDP"] = {at: (39.0, None)}
    assert recording.price(at) == (39.0, None)
    assert recording.price(at + HALF_HOUR) is None
