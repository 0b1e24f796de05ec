"""Importing real figures: re-dating, gaps, stated assumptions, nothing left behind on failure."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Any

import orjson
import pytest
from typer.testing import CliRunner

from scenarios.cli import app
from scenarios.import_series import GapPolicy, fill, read_national, read_prices, read_trace
from scenarios.importer import REGIONAL_FACTORS, ImportPlan, import_scenario
from scenarios.loader import load
from scenarios.transport import ReplayTransport
from schema.clock import VirtualClock
from schema.errors import ScenarioError
from schema.readings import Source

_START = datetime(2023, 3, 8, 6, tzinfo=UTC)
_HALF = timedelta(minutes=30)


def _national_csv(path: Path, *, without: tuple[datetime, ...] = ()) -> Path:
    first = datetime(2023, 3, 6, tzinfo=UTC)
    lines = ["from,to,forecast,actual,index"]
    for i in range(48 * 8):
        at = first + i * _HALF
        if at not in without:
            actual = "0.0" if at == _START else f"{150 + i % 48}.0"
            lines.append(f"{at.isoformat(sep=' ')},{at + _HALF},{160 + i % 48},{actual},moderate")
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")
    return path


def _prices_csv(path: Path, first: date = date(2018, 3, 1), days: int = 16) -> Path:
    lines = ["Settlement Date,Settlement Period,System Sell Price(£/MWh),System Buy Price(£/MWh)"]
    for day in range(days):
        when = first + timedelta(days=day)
        lines += [
            f"{when:%d/%m/%Y},{p},{day * 100 + p}.25,{day * 100 + p}.25" for p in range(1, 49)
        ]
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")
    return path


def _trace_csv(path: Path, jobs: int = 60) -> Path:
    lines = ["arrival_time,length,cpus"]
    lines += [f"{i * 0.5},{0.5 + i % 5},{2 if i % 3 else 8}" for i in range(jobs)]
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")
    return path


@pytest.fixture
def plan(tmp_path: Path) -> ImportPlan:
    return ImportPlan(
        name="real-week",
        out=tmp_path / "real-week",
        start=_START,
        hours=24,
        national=_national_csv(tmp_path / "national.csv"),
        prices=_prices_csv(tmp_path / "prices.csv"),
        prices_from=date(2018, 3, 1),
        prices_redate_to=date(2023, 3, 1),
        workload_trace=_trace_csv(tmp_path / "trace.csv"),
        workloads=40,
        seed=3,
    )


def test_figures_arrive_at_their_half_hours(plan: ImportPlan) -> None:
    scenario = import_scenario(plan)
    index = scenario.start_index
    # 06:00 on the 8th is row 2 x 48 + 12 of the file: 160 + 12.
    assert scenario.national.values[0, 0, index] == 172
    # An outturn of 0 is a fault of the source: it never appears. The next row has 150 + 13.
    assert scenario.national_actual[index] == -1
    assert scenario.national_actual[index + 1] == 163
    # 1 March 2018 became 1 March 2023: the 8th is day 7, 06:00 is period 13.
    assert scenario.prices.mid[index] == 71_325
    assert scenario.prices.system_revised[index] == 71_325


def test_regional_figures_are_the_national_ones_times_the_stated_factors(
    plan: ImportPlan,
) -> None:
    scenario = import_scenario(plan)
    values = scenario.regional.values[0, :, scenario.start_index]
    assert values.tolist() == [round(172 * factor) for factor in REGIONAL_FACTORS]
    assert scenario.given.regional is not None
    assert scenario.given.regional.estimated
    method = scenario.file.grid.method or ""
    for word in ("7=2.35", "re-dated to 2023-03-01", "1 kW a CPU", "last one issued"):
        assert word in method


def test_jobs_of_the_trace_become_workloads_that_fit(plan: ImportPlan) -> None:
    scenario = import_scenario(plan)
    arrivals = [entry for name in scenario.organisations for entry in scenario.workloads(name)]
    assert len(arrivals) == 40
    assert {w.power_kw for _, w in arrivals} == {2.0, 8.0}
    assert {w.duration_min for _, w in arrivals} == {30, 90, 150, 210, 270}
    assert {tick for tick, _ in arrivals} == {0, 12, 24}
    for tick, workload in arrivals:
        assert workload.earliest_start >= scenario.start + tick * scenario.tick
        assert workload.deadline <= scenario.end


def test_an_imported_scenario_is_loaded_and_answers_like_any_other(plan: ImportPlan) -> None:
    import_scenario(plan)
    again = load(plan.out)
    transport = ReplayTransport(again, Source.CARBON_INTENSITY, VirtualClock(again.start))
    assert transport.callbacks(again.start, again.end) == []
    assert again.summary()["tables"] == {"regional": "csv", "national": "csv", "prices": "csv"}


def test_a_gap_is_refused_and_named(plan: ImportPlan, tmp_path: Path) -> None:
    gap = (_START + timedelta(hours=3), _START + timedelta(hours=3, minutes=30))
    broken = replace(plan, national=_national_csv(tmp_path / "gap.csv", without=gap))
    with pytest.raises(ScenarioError, match=r"2 half hours are missing, first 2023-03-08T09:00"):
        import_scenario(broken)
    assert not plan.out.exists()
    assert [path.name for path in tmp_path.iterdir() if path.name.startswith(".")] == []


def test_a_gap_is_filled_from_the_day_before_when_asked_to(
    plan: ImportPlan, tmp_path: Path
) -> None:
    gap = (_START + timedelta(hours=3),)
    broken = replace(
        plan,
        national=_national_csv(tmp_path / "gap.csv", without=gap),
        gaps=GapPolicy.PREVIOUS_DAY,
    )
    scenario = import_scenario(broken)
    # 09:00 is half hour 18 of every day: 160 + 18, as on the day before.
    assert scenario.national.values[0, 0, scenario.start_index + 6] == 178
    assert "1 intensity and 0 price half hours filled (previous-day)" in (
        scenario.file.grid.method or ""
    )


def test_interpolation_draws_a_straight_line() -> None:
    at = [_START + i * _HALF for i in range(5)]
    series = {at[0]: 10.0, at[3]: 40.0, at[4]: 50.0}
    filled = fill(series, at[0], at[4], GapPolicy.INTERPOLATE, "x")
    assert [filled.values[t] for t in at[:4]] == [10.0, 20.0, 30.0, 40.0]
    assert filled.estimated == {at[1], at[2]}


def test_prices_off_the_file_are_a_gap(plan: ImportPlan) -> None:
    with pytest.raises(ScenarioError, match=r"prices\.csv: .* half hours are missing"):
        import_scenario(replace(plan, prices_redate_to=date(2023, 3, 3)))


def test_a_fifty_period_day_moved_to_an_ordinary_one_loses_its_extra_hour(
    tmp_path: Path,
) -> None:
    path = tmp_path / "p.csv"
    rows = [f"28/10/2018,{p},{p},{p}" for p in range(1, 51)]
    path.write_text(
        "Settlement Date,Settlement Period,System Sell Price(£/MWh),System Buy Price(£/MWh)\n"
        + "\n".join(rows),
        encoding="utf-8",
    )
    assert len(read_prices(path)) == 50
    moved = read_prices(path, shift_days=7)
    assert len(moved) == 48
    assert moved[datetime(2018, 11, 4, 23, 30, tzinfo=UTC)] == 48


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"prices_redate_to": None}, "--prices-from needs --prices-redate-to"),
        ({"workloads": 500}, "only 60 jobs"),
        ({"name": "No Slug"}, "name is 'No Slug'"),
        ({"factors": (1.0, 2.0)}, "2 regional factors; 14"),
    ],
)
def test_a_wrong_plan_is_refused_and_leaves_nothing(
    plan: ImportPlan, change: dict[str, Any], message: str
) -> None:
    with pytest.raises(ScenarioError, match=message):
        import_scenario(replace(plan, **change))
    assert not plan.out.exists()


def test_an_existing_folder_is_never_overwritten(plan: ImportPlan) -> None:
    plan.out.mkdir()
    with pytest.raises(ScenarioError, match="exists; choose another"):
        import_scenario(plan)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("a,b\n1,2\n", "column 'from' is missing"),
        ("from,to,forecast,actual\nsoon,x,1,1\n", "line 2, from is 'soon'"),
        ("from,to,forecast,actual\n2023-01-01T00:00,x,1,1\n", "with a time zone"),
        ("from,to,forecast,actual\n2023-01-01T00:10Z,x,1,1\n", "on a half hour"),
        ("from,to,forecast,actual\n2023-01-01T00:00Z,x,nan,1\n", "forecast is 'nan'"),
    ],
)
def test_a_broken_national_file_is_told_with_its_line(
    tmp_path: Path, text: str, message: str
) -> None:
    path = tmp_path / "n.csv"
    path.write_text(text)
    with pytest.raises(ScenarioError, match=message):
        read_national(path)


def test_a_job_without_length_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "t.csv"
    path.write_text("arrival_time,length,cpus\n0,0,4\n")
    with pytest.raises(ScenarioError, match="length is '0'"):
        read_trace(path)


# -- command line -------------------------------------------------------------------------------


def _run(*args: str) -> tuple[int, str, BaseException | None]:
    result = CliRunner().invoke(app, list(args))
    return result.exit_code, result.stdout, result.exception


def test_list_and_show_answer_in_json() -> None:
    code, out, _ = _run("list", "--json")
    assert code == 0
    names = [entry["name"] for entry in orjson.loads(out)]
    assert "windy-night" in names
    code, out, _ = _run("show", "windy-night", "--json", "--seed", "9")
    shown = orjson.loads(out)
    assert (shown["seed"], shown["ticks"], sum(shown["workloads"].values())) == (9, 48, 200)


def test_list_and_show_answer_in_words() -> None:
    assert "A winter storm crosses" in _run("show", "windy-night")[1]
    assert _run("list")[0] == 0


def test_validate_says_valid_or_lists_the_faults(edited: Any) -> None:
    assert _run("validate", "windy-night")[1].startswith("windy-night is valid: 48 ticks")
    folder = str(edited(("count = 200", "count = -5")))
    code, out, _ = _run("validate", folder, "--json")
    assert code == 2
    (fault,) = orjson.loads(out)["faults"]
    assert (fault["field"], fault["value"]) == ("workloads.count", "-5")
    code, _, error = _run("validate", folder)
    assert isinstance(error, ScenarioError)
    assert "workloads.count is -5" in str(error)


def test_the_import_command_builds_a_valid_folder(plan: ImportPlan, tmp_path: Path) -> None:
    factors = tmp_path / "factors.csv"
    factors.write_text("region_id,factor\n" + "".join(f"{r},1.0\n" for r in range(1, 15)))
    code, out, error = _run(
        "import",
        "--name=real-week",
        f"--out={plan.out}",
        f"--national={plan.national}",
        f"--prices={plan.prices}",
        "--prices-redate-to=2023-03-01",
        f"--workload-trace={plan.workload_trace}",
        "--start=2023-03-08T06:00Z",
        "--hours=24",
        "--workloads=40",
        f"--regional-factors={factors}",
        "--json",
    )
    assert error is None
    assert code == 0
    assert orjson.loads(out)["tables"]["regional"] == "csv"
    assert load(plan.out).regional.values[0, :, load(plan.out).start_index].tolist() == [172] * 14


@pytest.mark.parametrize(
    ("option", "message"),
    [("--start=tomorrow", "--start"), ("--prices-from=1/3/2018", "--prices-from is '1/3/2018'")],
)
def test_a_wrong_date_is_told(plan: ImportPlan, option: str, message: str) -> None:
    _, _, error = _run(
        "import",
        "--name=x",
        f"--out={plan.out}",
        f"--national={plan.national}",
        f"--prices={plan.prices}",
        f"--workload-trace={plan.workload_trace}",
        "--start=2023-03-08T06:00Z",
        option,
    )
    assert message in str(error)


# -- the real files -----------------------------------------------------------------------------


def _real(shared_data: Path, out: Path, **change: Any) -> ImportPlan:
    plan = ImportPlan(
        name="real-2023",
        out=out,
        start=datetime(2023, 3, 9, 6, tzinfo=UTC),
        national=shared_data / "grid" / "neso_2023_national_intensity.csv",
        prices=shared_data / "grid" / "3yp_sspsbpniv.csv",
        prices_from=date(2018, 3, 1),
        prices_redate_to=date(2023, 3, 1),
        workload_trace=shared_data / "traces" / "gaia_azure-100k.csv",
        workloads=500,
    )
    return replace(plan, **change)


def test_the_real_year_is_imported(shared_data: Path, tmp_path: Path) -> None:
    scenario = import_scenario(_real(shared_data, tmp_path / "real"))
    index = scenario.start_index
    # Read off the files: 2023-03-08 06:00Z has forecast 252, actual 259 (24 h before the start).
    assert scenario.national.values[0, 0, index - 48] == 252
    assert scenario.national_actual[index - 48] == 259
    assert sum(len(scenario.workloads(o)) for o in scenario.organisations) == 500


def test_the_real_gap_of_october_is_refused(shared_data: Path, tmp_path: Path) -> None:
    # The file lacks 91 half hours from 2023-10-20 22:00Z on.
    plan = _real(
        shared_data,
        tmp_path / "real",
        start=datetime(2023, 10, 19, 6, tzinfo=UTC),
        prices_from=date(2018, 10, 9),
        prices_redate_to=date(2023, 10, 9),
    )
    with pytest.raises(ScenarioError, match="first 2023-10-20T22:00:00Z"):
        import_scenario(plan)
