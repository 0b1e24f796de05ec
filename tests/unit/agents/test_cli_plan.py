"""``plan`` as a command: answers, exit codes, and what it leaves alone."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from plan_samples import GRID, WORKLOADS, write_samples

ROOT = Path(__file__).resolve().parents[3]
KEYS = [
    "workloads",
    "awarded",
    "refused",
    "cost_gbp",
    "bound_gbp",
    "gap",
    "rounds",
    "messages",
    "baseline_kg",
    "scheduled_kg",
    "negotiate_s",
    "wall_s",
    "digest",
]


@pytest.fixture(autouse=True)
def _own_home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GRIDPACT_HOME", str(tmp_path / "home"))
    monkeypatch.setenv("COLUMNS", "200")


def run(*words: str) -> int:
    from run_cluster import run as run_command

    return run_command(["plan", *words])


def test_a_batch_is_planned_and_its_json_has_the_promised_fields(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    grid, workloads = write_samples(tmp_path)
    out = tmp_path / "S.csv"
    assert run("--grid", grid, "--workloads", workloads, "--out", str(out), "--json") == 0
    told = json.loads(capsys.readouterr().out)
    assert list(told) == KEYS
    assert told["cost_gbp"] == pytest.approx(0.204, abs=1e-6)
    assert 0 < told["negotiate_s"] < told["wall_s"]
    assert out.read_text().splitlines() == [
        "workload_id,status,region_id,starts_at,ends_at",
        "a,awarded,13,2026-01-01T01:00:00Z,2026-01-01T02:00:00Z",
        "b,awarded,13,2026-01-01T00:00:00Z,2026-01-01T00:30:00Z",
    ]
    assert sorted(path.name for path in tmp_path.iterdir()) == ["G.csv", "S.csv", "W.csv"]


def test_without_json_a_person_reads_cost_carbon_and_a_short_schedule(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    grid, workloads = write_samples(tmp_path)
    assert run("--grid", grid, "--workloads", workloads) == 0
    told = capsys.readouterr().out
    assert "2: 2 awarded, 0 refused" in told
    assert "1.0 kg, run at once at home 0.6 kg" in told
    assert "2026-01-01T01:00:00Z" in told


def test_the_carbon_value_of_the_settings_counts(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("GRIDPACT_CARBON_VALUE_GBP_PER_TONNE", "0")
    grid, workloads = write_samples(tmp_path)
    assert run("--grid", grid, "--workloads", workloads, "--json") == 0
    # Price alone: a earns 4 x 0.02, b pays 0.02.
    assert json.loads(capsys.readouterr().out)["cost_gbp"] == pytest.approx(-0.06, abs=1e-6)


@pytest.mark.parametrize(
    ("grid", "workloads", "words"),
    [
        pytest.param(
            GRID,
            WORKLOADS.replace("a,4,", "a,nan,"),
            ["W.csv", "line 2", "power_kw", "'nan'"],
            id="NaN",
        ),
        pytest.param(
            GRID,
            WORKLOADS.replace("1;13", "99"),
            ["W.csv", "line 2", "regions", "'99'"],
            id="unknown region",
        ),
        pytest.param(
            GRID.replace("13,2026-01-01T00:30Z,200,20,5\n", ""),
            WORKLOADS,
            ["G.csv", "hole", "region 13"],
            id="hole",
        ),
        pytest.param("", WORKLOADS, ["G.csv", "empty"], id="empty"),
        pytest.param(
            GRID,
            WORKLOADS.replace(",deadline", ",due"),
            ["W.csv", "'deadline' is missing"],
            id="missing column",
        ),
    ],
)
def test_bad_input_ends_with_2_and_writes_nothing(
    grid: str,
    workloads: str,
    words: list[str],
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    paths = write_samples(tmp_path, grid=grid, workloads=workloads)
    out = tmp_path / "S.csv"
    out.write_text("what stood there")
    assert run("--grid", paths[0], "--workloads", paths[1], "--out", str(out), "--json") == 2
    told = capsys.readouterr()
    assert told.out == ""
    assert [word for word in words if word not in told.err] == []
    assert out.read_text() == "what stood there"
    assert sorted(path.name for path in tmp_path.iterdir()) == ["G.csv", "S.csv", "W.csv"]


@pytest.mark.parametrize(
    ("out", "words"),
    [
        (".", "is a folder"),
        ("none/S.csv", "there is no folder"),
        ("W.csv", "is an input too"),
    ],
)
def test_a_place_that_cannot_be_written_is_told_before_any_work(
    out: str, words: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    grid, workloads = write_samples(tmp_path, workloads="not even looked at")
    assert run("--grid", grid, "--workloads", workloads, "--out", str(tmp_path / out)) == 2
    assert words in capsys.readouterr().err


def test_a_device_is_written_to_and_not_replaced(tmp_path: Path) -> None:
    grid, workloads = write_samples(tmp_path)
    assert run("--grid", grid, "--workloads", workloads, "--out", "/dev/null", "--json") == 0
    assert Path("/dev/null").is_char_device()


@pytest.mark.parametrize(
    ("words", "told"),
    [
        ([], "--grid is missing"),
        (["--grid", "G.csv"], "--workloads is missing"),
        (["--workloads", "W.csv"], "--grid is missing"),
        (["--grid", "G.csv", "--workloads", "W.csv", "--shards", "3"], "1, 2, 4 or 8"),
        (["--grid", "G.csv", "--workloads", "W.csv", "--duration", "3h"], "give one of them"),
        (["--duration", "3h"], "--power is missing"),
        (["--power", "5kW"], "--duration is missing"),
        (["--deadline", "2026-01-01T00:00Z"], "--duration is missing"),
        (["--duration", "3h", "--power", "5kW", "--out", "S.csv"], "--out is for a batch"),
        (["--duration", "3h", "--power", "5kW", "--shards", "2"], "--shards is for a batch"),
        (["--duration", "3h", "--power", "5kW", "--address", "h:1"], "--address is for a batch"),
        (["--grid", "G.csv", "--workloads", "W.csv", "--address", "h:1"], "add --shards 2, 4 or 8"),
        (["--duration", "3h", "--power", "5kW", "--region", "Atlantis"], "'Atlantis'"),
    ],
    ids=" ".join,
)
def test_options_that_do_not_belong_together_end_with_2(
    words: list[str], told: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(*words) == 2
    assert told in " ".join(capsys.readouterr().err.split())


def test_when_is_best_says_where_its_figures_come_from(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    grid, _ = write_samples(tmp_path)
    words = ["--duration", "1h", "--power", "4kW", "--region", "13", "--region", "1"]
    assert run(*words, "--grid", grid, "--json") == 0
    told = json.loads(capsys.readouterr().out)
    assert told["best"]["starts_at"] == "2026-01-01T01:00:00Z"
    assert told["figures"]["origin"].endswith("G.csv")
    assert run(*words, "--deadline", "2026-02-04T12:00Z") == 0
    assert "SIMULATED figures: the bundled scenario windy-night" in capsys.readouterr().out


def test_neither_ray_nor_the_kernels_are_loaded_before_they_are_needed(tmp_path: Path) -> None:
    grid, workloads = write_samples(tmp_path)
    code = (
        "import sys\n"
        "from pathlib import Path\n"
        "import agents.cli_plan as cli\n"
        "assert 'numba' not in sys.modules, 'numba is loaded by the command itself'\n"
        f"cli.plan(grid=Path({grid!r}), workloads=Path({workloads!r}), as_json=True)\n"
        "assert 'ray' not in sys.modules, 'ray is loaded for one process'\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", code],
        cwd=ROOT,
        env={**os.environ, "GRIDPACT_HOME": str(tmp_path / "home")},
        capture_output=True,
        text=True,
        timeout=100,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["awarded"] == 2
    assert not (tmp_path / "home").exists()
