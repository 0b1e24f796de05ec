"""``bench negotiate`` as a command, in this process."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest
from plan_samples import write_samples

from agents.core.market.digest import digest_of


@pytest.fixture(autouse=True)
def _own_home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GRIDPACT_HOME", str(tmp_path / "home"))
    monkeypatch.setenv("COLUMNS", "200")


def run(*words: str) -> int:
    from run_cluster import run as run_command

    return run_command(["bench", "negotiate", "--in-process", "--runs", "1", *words])


def test_json_has_a_row_a_size_and_the_rivals_of_every_case(
    capsys: pytest.CaptureFixture[str],
) -> None:
    words = ["--workloads", "40,80", "--seeds", "1,2", "--traces", "pai", "--shards", "1,4"]
    assert run(*words, "--vs", "cats,at-once", "--json") == 0
    told = json.loads(capsys.readouterr().out)
    assert [(row["workloads"], row["shards"]) for row in told["results"]] == [
        (40, 1), (40, 4), (80, 1), (80, 4),
    ]  # fmt: skip
    assert len(told["cases"]) == 8
    assert len(told["rivals"]) == 8
    assert {"growth_exponent", "compile_s", "machine", "asked", "referee"} <= set(told)
    row = told["results"][0]
    assert {"rounds", "messages", "negotiate_s", "phases", "gap", "bound_gbp"} < set(row)
    assert {"cost_gbp", "refused", "carbon_saved", "carbon_possible", "peak_mib"} < set(row)
    by_case = {}
    for case in told["cases"]:
        by_case.setdefault((case["workloads"], case["seed"]), set()).add(case["digest"])
    assert all(len(digests) == 1 for digests in by_case.values()), "shards change nothing"


def test_json_stays_clean_beside_a_solver_that_greets_on_standard_output() -> None:
    # A process of its own: it greets once, past Python's own standard output.
    words = "bench negotiate --in-process --runs 1 --workloads 60 --seeds 2 --traces pai"
    finished = subprocess.run(
        [sys.executable, "run_cluster.py", *words.split(), "--vs", "highs", "--json"],
        capture_output=True,
        check=True,
        cwd=Path(__file__).parents[4],
    )
    assert len(json.loads(finished.stdout)["referee"]) == 1


def test_tables_name_what_was_measured(capsys: pytest.CaptureFixture[str]) -> None:
    assert run("--workloads", "40", "--seeds", "1", "--windows", "5", "--vs", "fcfs") == 0
    told = capsys.readouterr().out
    for words in ("Negotiations, the worst of all cases", "window/p", "Seconds by phase", "fcfs"):
        assert words in told


def test_given_work_is_negotiated_as_plan_does(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    from agents.core.market.contractors import InProcessContractors, make_books
    from agents.plan import build_job, hold
    from agents.plan_batch import read_batch
    from agents.plan_grid import read_grid

    grid, workloads = write_samples(tmp_path)
    assert run("--grid", grid, "--work", workloads, "--json") == 0
    (row,) = json.loads(capsys.readouterr().out)["results"]
    figures = read_grid(Path(grid))
    job = build_job(figures, read_batch(Path(workloads), figures))
    plan = hold(job, InProcessContractors(make_books([job.fleet])), seed=0)
    assert row["digest"] == digest_of(plan)
    assert row["cost_gbp"] == pytest.approx(0.204, abs=1e-6)


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (["--workloads", "0"], "--workloads 0: allowed are 1 to 2000000"),
        (["--workloads", "many"], "--workloads many: allowed are"),
        (["--shards", "3"], "--shards 3: allowed are 1, 2, 4, 8"),
        (["--traces", "borg"], "--traces borg: allowed are pai, azure"),
        (["--vs", "me"], "--vs me: allowed are highs, cats, cats-anywhere"),
        (["--quality", "great"], "--quality great: allowed are fast, normal, best"),
        (["--grid", "G.csv"], "--work is missing"),
        (["--work", "W.csv"], "--grid is missing"),
        (["--grid", "G", "--work", "W", "--workloads", "9"], "leave one of them out"),
    ],
)
def test_bad_input_says_what_is_allowed(
    words: list[str], told: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(*words) == 2
    assert told in " ".join(capsys.readouterr().err.split())
