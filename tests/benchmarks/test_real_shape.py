"""The CSVs of real figures are a plan's input: complete, and everybody can be placed."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]


@pytest.mark.long
def test_real_prices_intensity_and_jobs_can_be_planned(shared_data: Path, tmp_path: Path) -> None:
    script = ROOT / "tests" / "benchmarks" / "real_shape.py"
    made = [sys.executable, str(script), str(shared_data), str(tmp_path), "--workloads", "2000"]
    subprocess.run(made, check=True, cwd=ROOT)
    # 14 regions and four days of half hours, and the header.
    assert len((tmp_path / "grid.csv").read_text().splitlines()) == 14 * 192 + 1
    plan = [sys.executable, "run_cluster.py", "plan", "--json"]
    files = [f"--{name}={tmp_path / name}.csv" for name in ("grid", "workloads")]
    done = subprocess.run([*plan, *files], check=True, cwd=ROOT, capture_output=True)
    answer = json.loads(done.stdout)
    assert (answer["workloads"], answer["awarded"]) == (2000, 2000)
    assert 0 < answer["gap"] < 0.05
    assert answer["scheduled_kg"] < 0.9 * answer["baseline_kg"]
