"""Past days into the live run: once each, resumed, beside what a live run wrote. No network."""

from __future__ import annotations

import copy
from collections.abc import Callable
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Any

import httpx
import pytest

from fetchers.history import Days
from fetchers.history_reader import HistoryReader, history_of
from fetchers.retry import RetryPolicy
from scenarios.ops.backfill import Backfill, BackfillOutcome, Book, Step, checked_days
from scenarios.ops.merging import merge
from schema.clock import VirtualClock
from schema.rows import CarbonIntensityNationalRow, Record, ScenarioRunRow
from schema.rows.system import RunKind, RunState
from storage.client import StorageClient
from storage.memory import MemoryStore
from storage.service import StorageService
from storage.spool_file import SpoolSettings

NOW = datetime(2031, 2, 20, 12, tzinfo=UTC)
RUN = "00000000-0000-0000-0000-00000000000b"
HALF_HOUR = timedelta(minutes=30)
FACTS = ("carbon_intensity_national", "generation_mix_national", "carbon_intensity_regional")
Answer = Callable[[httpx.Request], httpx.Response]


def minute(at: datetime) -> str:
    return at.strftime("%Y-%m-%dT%H:%MZ")


def half_hours(path: str) -> list[datetime]:
    """The half hours that a range's path asks for: those that end in it, its start included."""
    start, end = (datetime.fromisoformat(text) for text in path.rstrip("/").split("/")[-2:])
    count = (end - start) // HALF_HOUR + 1
    return [start + (n - 1) * HALF_HOUR for n in range(count)]


class Api:
    """The Carbon Intensity API's ranges; figures follow from the half hour."""

    def __init__(self) -> None:
        self.paths: list[str] = []
        self.fail_from: int | None = None
        self.revised = 0
        self.broken = False

    def __call__(self, request: httpx.Request) -> httpx.Response:
        path = request.url.path
        self.paths.append(path)
        if self.fail_from is not None and len(self.paths) >= self.fail_from:
            return httpx.Response(503)
        rows = []
        for at in half_hours(path):
            figure = 100 + at.hour + self.revised
            span = {"from": minute(at), "to": minute(at + HALF_HOUR)}
            mix = [{"fuel": "wind", "perc": 60.0}, {"fuel": "gas", "perc": 40.0}]
            forecast = {"forecast": figure, "index": "low"}
            if path.startswith("/regional"):
                regions = [
                    {"regionid": n, "shortname": name, "intensity": forecast, "generationmix": mix}
                    for n, name in ((13, "London"), (14, "South East England"))
                ]
                rows.append({**span, "regions": regions})
            elif path.startswith("/generation"):
                rows.append({**span, "generationmix": mix})
            else:
                rows.append({**span, "intensity": {**forecast, "actual": figure - 1}})
        if self.broken and path.startswith("/intensity"):
            rows[-1] = {"from": "never", "intensity": {}}
        return httpx.Response(200, json={"data": rows})


class World:
    """One database over several backfills, each with a process's own parts."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.store = MemoryStore()
        self.api = Api()
        self.clock = VirtualClock(NOW)
        self.steps: list[Step] = []

    async def fill(self, first: int, last: int, *, again: bool = False) -> BackfillOutcome:
        """Fill days of February 2031."""
        reader = HistoryReader(
            history_of("carbon_intensity", "https://api.example"),
            clock=self.clock,
            transport=httpx.MockTransport(self.api),
            incarnation=f"backfill-{len(self.api.paths)}",
            retry=RetryPolicy(attempts=1),
        )
        service = StorageService(
            self.folder / "spool", self.store, spool=SpoolSettings(ballast_bytes=0)
        ).open()
        work = Backfill(
            reader,
            StorageClient(service, patience_s=0.0),
            RUN,
            self.clock,
            Book(self.folder / "book" / "carbon_intensity.json"),
            self.steps.append,
        )
        try:
            return await work.run(Days(date(2031, 2, first), date(2031, 2, last)), again=again)
        finally:
            await reader.close()
            await service.stop()

    def facts(self) -> dict[str, dict[str, Any]]:
        """Rows of readings as they stand in the database."""
        return copy.deepcopy({table: self.store.tables[table] for table in FACTS})

    async def put(self, *records: Record) -> None:
        for record in records:
            await self.store.ingest({record.table: [record.body]})


@pytest.fixture
def world(tmp_path: Path) -> World:
    return World(tmp_path)


def national(at: datetime, **figures: Any) -> CarbonIntensityNationalRow:
    return CarbonIntensityNationalRow(
        source="carbon_intensity", valid_from=at, valid_to=at + HALF_HOUR, **figures
    )


async def test_days_are_filled_whole_and_no_further(world: World) -> None:
    outcome = await world.fill(3, 4)
    # Two days of 48 half hours: national, 2 regions, and mixes of 2 fuels of nation and regions.
    counts = {table: len(rows) for table, rows in world.facts().items()}
    assert counts == {
        "carbon_intensity_national": 96,
        "generation_mix_national": 192,
        "carbon_intensity_regional": 192,
    }
    assert len(world.store.tables["generation_mix_regional"]) == 384
    assert (outcome.new, outcome.changed, outcome.known) == (864, 0, 0)
    assert (outcome.requests, outcome.stretches, outcome.failed) == (3, 3, [])
    starts = {row["valid_from"] for row in world.store.tables[FACTS[0]].values()}
    assert (min(starts), max(starts)) == ("2031-02-03T00:00:00Z", "2031-02-04T23:30:00Z")
    assert [(step.number, step.count) for step in world.steps] == [(1, 3), (2, 3), (3, 3)]
    # Requests are logged in the run, as a live run's are.
    assert len(world.store.tables["api_logs"]) == 3
    assert world.store.tables["scenario_runs"][RUN]["kind"] == "live"


async def test_a_second_run_asks_nobody_and_writes_nothing(world: World) -> None:
    await world.fill(3, 4)
    before = copy.deepcopy(world.store.tables)
    asked = len(world.api.paths)
    outcome = await world.fill(3, 4)
    assert (outcome.requests, outcome.read, outcome.days_done_before) == (0, 0, 6)
    assert len(world.api.paths) == asked
    assert world.store.tables == before


async def test_asked_again_the_same_figures_are_written_once(world: World) -> None:
    await world.fill(3, 4)
    before = world.facts()
    world.clock.advance(timedelta(hours=1))
    outcome = await world.fill(3, 4, again=True)
    assert (outcome.requests, outcome.new, outcome.changed, outcome.known) == (3, 0, 0, 864)
    assert world.facts() == before


async def test_asked_again_a_revision_replaces_and_keeps_the_id(world: World) -> None:
    await world.fill(3, 3)
    before = world.facts()
    world.api.revised = 5
    world.clock.advance(timedelta(hours=1))
    outcome = await world.fill(3, 3, again=True)
    # 48 national and 96 regional intensities moved; the mixes did not.
    assert (outcome.new, outcome.changed) == (0, 144)
    after = world.facts()
    assert {table: set(rows) for table, rows in after.items()} == {
        table: set(rows) for table, rows in before.items()
    }
    assert {row["forecast_gco2_per_kwh"] for row in after[FACTS[0]].values()} == {
        float(105 + hour) for hour in range(24)
    }


async def test_it_goes_on_where_it_was_cut_off(world: World) -> None:
    # 1 to 17 February are two stretches of intensity (13 days each at most), three of regions (7)
    # and two of mixes (13). From the fourth request on the source fails.
    world.api.fail_from = 4
    outcome = await world.fill(1, 17)
    assert len(world.steps) == 3
    assert {fault["feed"] for fault in outcome.failed} == {"regional", "generation"}
    assert outcome.failed[0]["days"] == "2031-02-08 to 2031-02-14"
    asked = len(world.api.paths)
    world.api.fail_from = None
    world.clock.advance(timedelta(hours=1))
    outcome = await world.fill(1, 17)
    assert outcome.failed == []
    # Two stretches of regions and two of mixes were left.
    assert len(world.api.paths) - asked == 4
    assert len(world.store.tables["carbon_intensity_regional"]) == 17 * 48 * 2
    assert len(world.store.tables["generation_mix_national"]) == 17 * 48 * 2


async def test_a_stretch_with_rows_that_cannot_be_used_is_asked_again(world: World) -> None:
    world.api.broken = True
    outcome = await world.fill(3, 3)
    assert (outcome.rejected, outcome.failed) == (1, [])
    world.api.broken = False
    world.clock.advance(timedelta(hours=1))
    outcome = await world.fill(3, 3)
    # Regions and mixes are done; of the national figures one was missing.
    assert (outcome.requests, outcome.days_done_before) == (1, 2)
    assert (outcome.new, outcome.known) == (1, 47)


async def test_a_day_whose_figures_still_settle_is_asked_again(world: World) -> None:
    # Now is noon of the 20th: the 17th ended two and a half days ago, the 18th one and a half.
    await world.fill(17, 18)
    world.clock.advance(timedelta(hours=1))
    outcome = await world.fill(17, 18)
    assert (outcome.days_done_before, outcome.requests, outcome.known) == (3, 3, 432)
    assert all("2031-02-18" in path for path in world.api.paths[-3:])


async def test_rows_of_the_live_run_are_met_with_their_own_ids(world: World) -> None:
    at = datetime(2031, 2, 3, tzinfo=UTC)
    run = ScenarioRunRow(kind=RunKind.LIVE, clock_at=NOW, state=RunState.RUNNING)
    later = int(NOW.timestamp()) + 5
    same = national(at, forecast_gco2_per_kwh=100, actual_gco2_per_kwh=99, intensity_index="low")
    other = national(at + HALF_HOUR, forecast_gco2_per_kwh=77)
    await world.put(
        run.to_record(RUN, version=41),
        same.to_record(RUN, retrieved_at=at, version=7),
        # Polled a moment after our clock's now, as on a machine whose clock was set back.
        other.to_record(RUN, retrieved_at=at, version=later),
    )
    outcome = await world.fill(3, 3)
    rows = world.store.tables["carbon_intensity_national"]
    assert len(rows) == 48
    assert outcome.changed == 1
    kept, changed = rows[same.row_id(RUN)], rows[other.row_id(RUN)]
    assert (kept["version"], kept["retrieved_at"]) == (7, "2031-02-03T00:00:00Z")
    assert (changed["version"], changed["forecast_gco2_per_kwh"]) == (later + 1, 100.0)
    # The run's own row is the live run's to write.
    there = world.store.tables["scenario_runs"][RUN]
    assert (there["version"], there["state"]) == (41, "running")


async def test_what_an_earlier_backfill_could_not_send_goes_first(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    opened = StorageService(
        world.folder / "spool", world.store, spool=SpoolSettings(ballast_bytes=0)
    )

    async def away(_batch: object) -> dict[str, int]:
        raise httpx.ConnectError("away")

    with monkeypatch.context() as patch:
        patch.setattr(world.store, "ingest", away)
        opened.open()
        row = national(
            datetime(2031, 2, 3, tzinfo=UTC),
            forecast_gco2_per_kwh=100,
            actual_gco2_per_kwh=99,
            intensity_index="low",
        )
        await opened.put(
            [
                ScenarioRunRow(kind=RunKind.LIVE, state=RunState.DONE).to_record(RUN, version=0),
                row.to_record(RUN, retrieved_at=NOW, version=3),
            ]
        )
        await opened.stop()
    outcome = await world.fill(3, 3)
    assert (outcome.known, outcome.changed) == (1, 0)
    assert world.store.tables["carbon_intensity_national"][row.row_id(RUN)]["version"] == 3


# -- merging ---------------------------------------------------------------------------------


def test_a_reply_without_a_forecast_does_not_blank_one() -> None:
    at = datetime(2031, 2, 3, tzinfo=UTC)
    held = national(at, forecast_gco2_per_kwh=120, intensity_index="low")
    ours = national(at, actual_gco2_per_kwh=118)
    columns = held.to_record(RUN, retrieved_at=at, version=5).columns()
    merged = merge([ours], {held.row_id(RUN): columns}, RUN, NOW)
    (record,) = merged.changed
    found = record.columns()
    assert (found["forecast_gco2_per_kwh"], found["actual_gco2_per_kwh"]) == (120.0, 118.0)
    assert found["intensity_index"] == "low"


@pytest.mark.parametrize(("own", "written"), [(4, 0), (5, 0), (6, 1)])
def test_a_row_with_a_version_of_its_own_replaces_only_older_ones(own: int, written: int) -> None:
    at = datetime(2031, 2, 3, tzinfo=UTC)
    held = national(at, forecast_gco2_per_kwh=120).to_record(RUN, retrieved_at=at, version=5)
    ours = national(at, forecast_gco2_per_kwh=130, version=own)
    merged = merge([ours], {held.id: held.columns()}, RUN, NOW)
    assert (len(merged.changed), merged.known) == (written, 1 - written)


def test_two_spellings_of_an_instant_are_one() -> None:
    at = datetime(2031, 2, 3, tzinfo=UTC)
    row = national(at, forecast_gco2_per_kwh=120)
    columns = row.to_record(RUN, retrieved_at=at, version=5).columns()
    spelt = {"valid_from": "2031-02-03T00:00:00+00:00", "valid_to": "2031-02-03T01:30:00+01:00"}
    assert merge([row], {row.row_id(RUN): columns | spelt}, RUN, NOW).known == 1
    moved = {"valid_to": "2031-02-03T01:30:00+00:00"}
    assert merge([row], {row.row_id(RUN): columns | moved}, RUN, NOW).known == 0


# -- days ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("first", "last", "said"),
    [
        ("2031-02-04", "2031-02-03", "ends before it begins"),
        ("2031-02-20", "2031-02-21", "has not begun yet; today is 2031-02-20"),
        ("2011-02-20", "2031-02-20", "more than ten years"),
    ],
)
def test_days_that_cannot_be_filled_are_refused(first: str, last: str, said: str) -> None:
    with pytest.raises(ValueError, match=said):
        checked_days(date.fromisoformat(first), date.fromisoformat(last), NOW)


def test_a_damaged_book_only_costs_requests(tmp_path: Path) -> None:
    path = tmp_path / "book.json"
    path.write_text("{")
    book = Book(path)
    assert not book.holds("intensity", date(2031, 2, 3))
    book.note("intensity", [date(2031, 2, 3)])
    assert Book(path).holds("intensity", date(2031, 2, 3))
