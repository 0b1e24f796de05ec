"""A scenario is checked whole: every fault with file, field, value and what is allowed."""

from __future__ import annotations

import os
import time
import tracemalloc
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from scenarios.json_schema import SCHEMA_FILE, schema_text
from scenarios.loader import bundled, check, find, load
from schema.errors import ScenarioError
from storage.outages import StoreFault

MakeScenario = Any


def _faults(folder: Path) -> list[tuple[str, str, str, str]]:
    return [(f.file, f.field, f.value, f.allowed) for f in check(folder)[1]]


def test_all_bundled_scenarios_are_valid() -> None:
    assert set(bundled()) >= {
        "windy-night",
        "winter-evening-peak",
        "scottish-surplus",
        "beckn-window-rush",
        "clock-change-autumn",
    }
    for name in bundled():
        assert check(name)[1] == []


def test_an_unknown_scenario_gets_the_nearest_right_name() -> None:
    with pytest.raises(ScenarioError, match=r"did you mean 'windy-night'"):
        find("wind-nihgt")


def test_a_folder_without_a_scenario_file_says_so(tmp_path: Path) -> None:
    with pytest.raises(ScenarioError, match=r"holds no scenario\.toml"):
        find(tmp_path)


def test_a_scenario_is_found_by_folder_and_by_file(edited: MakeScenario) -> None:
    folder = edited()
    assert find(folder) == folder
    assert find(folder / "scenario.toml") == folder


@pytest.mark.parametrize(
    ("old", "new", "field", "value", "allowed"),
    [
        ("count = 200", "count = 0", "workloads.count", "0", "greater than or equal to 1"),
        ("count = 200", "count = nan", "workloads.count", "nan", "finite number"),
        ("load_factor = 0.5", "load_factor = inf", "capacity.load_factor", "inf", "finite"),
        ("region_id = 13", "region_id = 15", "organisations[2].sites[3].region_id", "15", "14"),
        ('name = "leeds"', 'name = "derby"', "organisations", "", "'derby' of 'thames-ai' is"),
        ('name = "thames-ai"', 'name = "severn-compute"', "organisations", "", "is there twice"),
        ("2026-02-03T15:00:00Z", "2026-02-03T15:10:00Z", "start", "", "half-hour boundary"),
        ("2026-02-03T15:00:00Z", "2026-02-03T15:00:00", "start", "", "timezone info"),
        ("duration_h = 24", "duration_h = -1", "duration_h", "-1", "greater than 0"),
        ("seed = 2026", "sead = 2026", "sead", "2026", "Extra inputs are not permitted"),
        ("horizon_periods = 96", "horizon_periods = 200", "horizon_periods", "200", "96"),
        ('model = "mixed"', 'model = "mixd"', "workloads.model", "'mixd'", "'batch'"),
        ('kind = "generated"', 'kind = "made"', "workloads", "", "'generated', 'listed', 'csv'"),
        ("late_share = 0.15", "one_region = 0.9", "workloads", "", "together they are at most 1"),
        ("hour = 5, value = 0.55", "hour = -30, value = 0.55", "grid.weather.wind", "", "rise"),
        ("hour = 5, value = 0.55", "hour = 5, value = 1.5", "grid.weather.wind", "", "0 to 1"),
        ("[6, 12, 20, 28]", "[6, 60]", "workloads.arrival_ticks[1]", "60", "below the 48 ticks"),
        ('file = "windows.csv"', 'file = "../windows.csv"', "windows.file", "", "pattern"),
    ],
)
def test_a_wrong_field_is_named_with_value_and_what_is_allowed(
    edited: MakeScenario, old: str, new: str, field: str, value: str, allowed: str
) -> None:
    faults = _faults(edited((old, new)))
    match = [f for f in faults if f[0] == "scenario.toml" and f[1] == field]
    assert match, faults
    assert value in match[0][2]
    assert allowed in match[0][3]


@pytest.mark.parametrize(
    ("from_h", "to_h", "kind", "field", "allowed"),
    [
        (5, 5, "refuse", "database_faults[0]", "to_h 5 must be after from_h 5"),
        (-1, 5, "refuse", "database_faults[0].from_h", "greater than or equal to 0"),
        (5, 6, "gone", "database_faults[0].kind", "'refuse', 'server_error' or 'no_answer'"),
        # The last of the 48 ticks of half an hour is at hour 23.5.
        (5, 24, "refuse", "", "back at the last tick, hour 23.5"),
    ],
)
def test_a_wrong_database_fault_is_told(
    edited: MakeScenario, from_h: int, to_h: int, kind: str, field: str, allowed: str
) -> None:
    fault = f'[[database_faults]]\nkind = "{kind}"\nfrom_h = {from_h}\nto_h = {to_h}\n'
    (told,) = _faults(edited(("[capacity]", f"{fault}\n[capacity]")))
    assert told[1] == field
    assert allowed in told[3]


def test_database_faults_become_outages_of_the_runs_clock(edited: MakeScenario) -> None:
    fault = '[[database_faults]]\nkind = "no_answer"\nfrom_h = 5\nto_h = 7.5\n'
    (outage,) = load(edited(("[capacity]", f"{fault}\n[capacity]"))).outages
    # The scenario starts at 15:00.
    assert outage.starts_at == datetime(2026, 2, 3, 20, tzinfo=UTC)
    assert outage.ends_at == datetime(2026, 2, 3, 22, 30, tzinfo=UTC)
    assert outage.fault is StoreFault.NO_ANSWER


def test_every_fault_is_told_not_only_the_first(edited: MakeScenario) -> None:
    folder = edited(("count = 200", "count = 0"), ("region_id = 13", "region_id = 0"))
    with pytest.raises(ScenarioError) as told:
        load(folder)
    text = str(told.value)
    assert "has 2 faults" in text
    assert "workloads.count" in text
    assert "organisations[2].sites[3].region_id" in text
    assert told.value.exit_code == 2


def test_broken_toml_gives_line_and_column(edited: MakeScenario) -> None:
    folder = edited(("duration_h = 24", "duration_h = = 24"))
    ((file, _, _, allowed),) = _faults(folder)
    assert file == "scenario.toml"
    assert "no valid TOML" in allowed
    # name, six lines of story, start, then duration_h.
    assert "line 9" in allowed


def test_a_weight_for_a_region_without_a_site_is_a_fault(edited: MakeScenario) -> None:
    folder = edited(
        ('    { name = "inverness", region_id = 1 },\n', ""),
        ("late_share = 0.15", "home_weights = { 1 = 1.0 }"),
    )
    faults = _faults(folder)
    assert faults[0][:3] == ("scenario.toml", "workloads.home_weights.1", "")
    assert "has no site" in faults[0][3]


def test_a_change_of_an_unknown_window_is_a_fault(edited: MakeScenario) -> None:
    folder = edited(
        ('item_id = "item-ce-rush-020"', 'item_id = "item-x"'), name="beckn-window-rush"
    )
    assert _faults(folder)[0][1] == "window_changes[0].item_id"


# -- listed and CSV workloads -------------------------------------------------------------------

_HEADER = (
    "organisation,arrival_tick,workload_id,power_kw,duration_min,earliest_start,deadline,regions,"
    "interruptible,home_region,delay_cost_gbp_per_kwh_h,refusal_value_gbp\n"
)
_GOOD = "north,0,job-1,5,120,2026-02-03T16:00Z,2026-02-04T06:00Z,1;2,false,1,,\n"
_SMALL = """
name = "small"
story = "Two sites."
start = 2026-02-03T15:00:00Z
duration_h = 24
seed = 1
[[organisations]]
name = "north"
sites = [
  { name = "a", region_id = 1, capacity_kw = 50 },
  { name = "b", region_id = 2, capacity_kw = 50 },
]
[workloads]
kind = "csv"
[grid.weather]
wind = [{ hour = 0, value = 0.4 }]
"""


def _small(folder: Path, workloads: str, toml: str = _SMALL) -> Path:
    folder.mkdir(exist_ok=True)
    (folder / "scenario.toml").write_text(toml)
    (folder / "workloads.csv").write_text(workloads)
    return folder


def test_workloads_from_csv_are_loaded_with_their_ticks(tmp_path: Path) -> None:
    scenario = load(_small(tmp_path / "s", _HEADER + _GOOD))
    ((tick, workload),) = scenario.workloads("north")
    assert tick == 0
    assert workload.workload_name == "job-1"
    assert workload.allowed_regions == (1, 2)
    assert workload.periods == 4
    # 50 kW, the replay's 48 half hours and 96 more.
    assert [a.capacity_kw for a in scenario.assets("north")] == [[50.0] * 144] * 2
    assert scenario.workload_counts() == {"north": 1}


@pytest.mark.parametrize(
    ("row", "field", "allowed"),
    [
        (_GOOD.replace("2026-02-04T06:00Z", "2026-02-03T15:30Z"), "line 2", "not after earliest"),
        (_GOOD.replace("120", "3000"), "line 2", "needs 100 whole half hours"),
        (_GOOD.replace(",5,", ",0,"), "line 2, power_kw", "greater than 0"),
        (_GOOD.replace(",5,", ",nan,"), "line 2, power_kw", "finite number"),
        (_GOOD.replace("1;2", "1;15"), "line 2, regions", "less than or equal to 14"),
        (_GOOD.replace("1;2", "one"), "line 2, regions", "region numbers"),
        (_GOOD.replace("16:00Z", "16:00"), "line 2, earliest_start", "timezone info"),
        (_GOOD.replace("north", "south"), "workload job-1, organisation", "are north"),
        (_GOOD.replace(",0,job", ",48,job"), "workload job-1, arrival_tick", "below the 48 ticks"),
        (_GOOD.replace("-03T16:00Z", "-03T14:00Z"), "workload job-1, earliest_start", "is before"),
        (_GOOD.replace("-04T06:00Z", "-09T06:00Z"), "workload job-1, deadline", "tables end"),
        (_GOOD + _GOOD, "workload job-1", "is there twice"),
        (_GOOD.replace(",1,,", ",3,,"), "line 2", "not among allowed_regions"),
        (_GOOD.replace("false", "maybe"), "line 2, interruptible", "true or false"),
        ("north,0\n", "line 2", "expected 12"),
        ("", "rows", "at least one workload"),
    ],
)
def test_an_impossible_workload_is_told_with_its_line(
    tmp_path: Path, row: str, field: str, allowed: str
) -> None:
    faults = _faults(_small(tmp_path / "s", _HEADER + row))
    assert [f for f in faults if f[0] == "workloads.csv" and f[1] == field and allowed in f[3]], (
        faults
    )


def test_a_missing_csv_column_is_named(tmp_path: Path) -> None:
    ((file, field, _, allowed),) = [
        f
        for f in _faults(_small(tmp_path / "s", _HEADER.replace("deadline,", "")))
        if f[1] == "header"
    ]
    assert (file, field) == ("workloads.csv", "header")
    assert "column 'deadline' is missing" in allowed


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    folder = _small(tmp_path / "s", _HEADER + _GOOD)
    (folder / "workloads.csv").unlink()
    assert next(f[0] for f in _faults(folder)) == "workloads.csv"


def test_listed_sites_without_capacity_are_a_fault(tmp_path: Path) -> None:
    toml = _SMALL.replace(", capacity_kw = 50 },\n]", " },\n]")
    faults = _faults(_small(tmp_path / "s", _HEADER + _GOOD, toml))
    assert [f[1] for f in faults] == ["organisations[0].sites[1].capacity_kw"]


def test_a_listed_workload_is_a_plain_workload(tmp_path: Path) -> None:
    listed = """
[workloads]
kind = "listed"
[[workloads.items]]
organisation = "north"
workload_name = "w"
power_kw = 3
duration_min = 60
earliest_start = 2026-02-03T16:00:00Z
deadline = 2026-02-03T20:00:00Z
allowed_regions = [2]
"""
    toml = _SMALL.replace('[workloads]\nkind = "csv"\n', listed)
    scenario = load(_small(tmp_path / "s", "", toml))
    ((_, workload),) = scenario.workloads("north")
    assert type(workload).__name__ == "Workload"
    broken = toml.replace("T20:00:00Z\nallowed", "T15:30:00Z\nallowed")
    faults = _faults(_small(tmp_path / "t", "", broken))
    assert faults[0][1] == "workloads.items[0]"
    assert "deadline" in faults[0][3]


# -- grid tables --------------------------------------------------------------------------------


def _national(tmp_path: Path, rows: list[str]) -> Path:
    toml = _SMALL.replace("[grid.weather]", '[grid]\ntables = {national="n.csv"}\n[grid.weather]')
    folder = _small(tmp_path / "s", _HEADER + _GOOD, toml)
    header = "valid_from,forecast_gco2_per_kwh,actual_gco2_per_kwh\n"
    (folder / "n.csv").write_text(header + "".join(rows))
    return folder


def _half_hours() -> list[str]:
    # 24 h before the start at 15:00 on the 3rd to 48 h after the end: 2 x (24 + 24 + 48) rows.
    from datetime import UTC, datetime, timedelta

    first = datetime(2026, 2, 2, 15, tzinfo=UTC)
    rows = [
        f"{first + timedelta(minutes=30 * i):%Y-%m-%dT%H:%MZ},{100 + i % 7},\n" for i in range(192)
    ]
    assert rows[-1].startswith("2026-02-06T14:30Z")
    return rows


def test_a_whole_table_is_taken(tmp_path: Path) -> None:
    scenario = load(_national(tmp_path, _half_hours()))
    index = scenario.axis.index(scenario.start)
    # The start is row 48 of the table: 100 + 48 % 7 = 106.
    assert scenario.national.values[0, 0, index - scenario.national.first] == 106


@pytest.mark.parametrize(
    ("change", "field", "allowed"),
    [
        (lambda r: [*r[:50], *r[53:]], "valid_from 2026-02-03T16:00:00Z", "first of 3 holes"),
        (lambda r: [*r, r[7]], "line 194, valid_from", "is there twice"),
        (lambda r: [*r[:-1], r[-1].replace(",1", ",x1")], "line 193, forecast", "gCO2/kWh"),
        (lambda r: [*r[:-1], r[-1].replace(",1", ",-1")], "line 193, forecast", "from 0 to 700"),
        (lambda r: [*r[:-1], r[-1].replace(":30Z", ":15Z")], "line 193, valid_from", "half hour"),
        (lambda r: [*r[:-1], r[-1].replace("Z,", ",")], "line 193, valid_from", "zone"),
        (lambda r: r[:-1], "valid_from 2026-02-06T14:30:00Z", "first of 1 holes"),
    ],
)
def test_holes_doubles_and_wrong_figures_are_told(
    tmp_path: Path, change: Any, field: str, allowed: str
) -> None:
    faults = _faults(_national(tmp_path, change(_half_hours())))
    assert [f for f in faults if f[1].startswith(field) and allowed in f[3]], faults


def test_estimated_rows_need_a_method(tmp_path: Path) -> None:
    folder = _national(tmp_path, _half_hours())
    header, *rows = (folder / "n.csv").read_text().splitlines()
    marked = [f"{header},quality", *(f"{row},estimated" for row in rows)]
    (folder / "n.csv").write_text("\n".join(marked) + "\n")
    assert [f[1] for f in _faults(folder)] == ["grid.method"]


# -- hostile files ------------------------------------------------------------------------------


def _bomb(kind: str, folder: Path) -> None:
    toml = folder / "scenario.toml"
    match kind:
        case "brackets":
            toml.write_text("a = " + "[" * 200_000)
        case "dotted key":
            toml.write_text("a" + ".a" * 200_000 + " = 1")
        case "dotted table":
            toml.write_text("[a" + ".a" * 200_000 + "]")
        case "large":
            toml.write_text("a = 1 # " + "x" * 600_000)
        case "long number":
            toml.write_text("a = " + "9" * 400_000)
        case "many errors":
            toml.write_text(_SMALL.replace("seed = 1", f"seed = {[0.5] * 50_000}"))
        case "not text":
            toml.write_bytes(b"\xff\xfe\x00name")
        case "pipe":
            toml.unlink()
            os.mkfifo(toml)
        case "wide line":
            (folder / "workloads.csv").write_text(_HEADER + "x" * 5_000_000)
        case "many rows":
            (folder / "workloads.csv").write_text(_HEADER + "a,b\n" * 1_000_000)
        case "large csv":
            (folder / "workloads.csv").write_text(_HEADER + _GOOD * 600_000)
        case "many vintages":
            rows = "".join(
                f"2026-02-03T15:00Z,1,,2026-01-01T{i // 3600:02}:{i // 60 % 60:02}:{i % 60:02}Z\n"
                for i in range(80_000)
            )
            (folder / "n.csv").write_text(
                "valid_from,forecast_gco2_per_kwh,actual_gco2_per_kwh,issued_at\n" + rows
            )


@pytest.mark.parametrize(
    "kind",
    [
        "brackets",
        "dotted key",
        "dotted table",
        "large",
        "long number",
        "many errors",
        "not text",
        "pipe",
        "wide line",
        "many rows",
        "large csv",
        "many vintages",
    ],
)
def test_a_hostile_file_is_refused_in_two_seconds_and_200_mb(tmp_path: Path, kind: str) -> None:
    folder = _national(tmp_path, _half_hours())
    _bomb(kind, folder)
    if kind == "pipe":
        with pytest.raises(ScenarioError, match=r"holds no scenario\.toml"):
            check(folder)
        return
    begin = time.process_time()
    faults = check(folder)[1]
    took = time.process_time() - begin
    tracemalloc.start()
    check(folder)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert faults
    assert took < 2
    assert peak < 200_000_000


# -- the JSON Schema ----------------------------------------------------------------------------


def test_the_committed_json_schema_is_that_of_the_model() -> None:
    # Refresh with: python -m scenarios.json_schema
    assert SCHEMA_FILE.read_text(encoding="utf-8") == schema_text()
