"""``scenarios serve`` as a process: what it prints, and how it ends."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path

import httpx
import orjson
import pytest

from storage.system_clock import SystemClock

ROOT = Path(__file__).resolve().parents[2]
_NAMES = [
    "GRIDPACT_CARBON_INTENSITY_URL",
    "GRIDPACT_NESO_URL",
    "GRIDPACT_ELEXON_URL",
    "GRIDPACT_BECKN_URL",
]


def _command(*options: str) -> list[str]:
    program = str(ROOT / "run_cluster.py")
    return [sys.executable, program, "scenarios", "serve", "windy-night", *options]


@contextmanager
def _serving(*options: str, lines: int = 5) -> Iterator[tuple[subprocess.Popen[str], list[str]]]:
    process = subprocess.Popen(
        _command(*options), stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    try:
        assert process.stdout is not None
        yield process, [process.stdout.readline().strip() for _ in range(lines)]
    finally:
        process.kill()
        process.communicate()


def _exports(lines: list[str]) -> dict[str, str]:
    return dict(line.removeprefix("export ").split("=", 1) for line in lines)


@pytest.mark.parametrize("wish", [signal.SIGINT, signal.SIGTERM])
def test_it_prints_settings_serves_and_stops_within_two_seconds(
    tmp_path: Path, wish: signal.Signals
) -> None:
    log = tmp_path / "access.jsonl"
    with _serving("--log", str(log), "--from-h", "2", "--faults", "elexon:error") as (
        process,
        lines,
    ):
        exports = _exports(lines)
        assert list(exports) == [*_NAMES, "GRIDPACT_CLOCK_OFFSET_S"]
        # Two hours into the scenario, which starts at 15:00Z, now.
        served = datetime.now(UTC) + timedelta(seconds=float(exports["GRIDPACT_CLOCK_OFFSET_S"]))
        assert timedelta(0) <= served - datetime(2026, 2, 3, 17, tzinfo=UTC) < timedelta(minutes=1)
        reply = httpx.get(f"{exports['GRIDPACT_CARBON_INTENSITY_URL']}/intensity")
        assert reply.json()["data"][0]["from"] == "2026-02-03T16:30Z"
        elexon = httpx.get(f"{exports['GRIDPACT_ELEXON_URL']}/generation/outturn/current")
        assert elexon.status_code == 500
        kept = [orjson.loads(line) for line in log.read_bytes().splitlines()]
        assert [(line["source"], line["fault"]) for line in kept] == [
            ("carbon_intensity", None),
            ("elexon", "error"),
        ]
        began = time.monotonic()
        process.send_signal(wish)
        _, told = process.communicate(timeout=10)
        assert time.monotonic() - began < 2
        assert process.returncode == 130
        assert "serving windy-night from 2026-02-03T17:00:00Z on" in told


def test_a_clock_that_programs_can_follow_is_exported_with_its_speed() -> None:
    with _serving("--clock", "virtual", "--speed", "60", "--from-h", "2", lines=6) as (_, lines):
        exports = _exports(lines)
        assert exports["GRIDPACT_CLOCK_SPEED"] == "60"
        ours = SystemClock(float(exports["GRIDPACT_CLOCK_OFFSET_S"]), 60)
        # Two hours into the scenario, which starts at 15:00Z; a second of ours is a minute of it.
        began = datetime(2026, 2, 3, 17, tzinfo=UTC)
        assert timedelta(0) <= ours.now() - began < timedelta(hours=1)


def test_a_clock_too_fast_to_follow_is_not_exported_and_goes_faster() -> None:
    with _serving("--clock", "virtual", "--speed", "3600", lines=4) as (_, lines):
        exports = _exports(lines)
        assert list(exports) == _NAMES
        url = f"{exports['GRIDPACT_CARBON_INTENSITY_URL']}/intensity"
        first = httpx.get(url).json()["data"][0]["from"]
        time.sleep(1)
        assert httpx.get(url).json()["data"][0]["from"] > first


@pytest.mark.parametrize(
    ("options", "says"),
    [
        (["--faults", "neso:hung"], "did you mean 'hang'"),
        (["--port-base", "70000"], "1 to 65532 is allowed"),
        (["--speed", "0"], "above 0"),
        (["--from-h", "24"], "0 to below 24 is allowed"),
    ],
)
def test_a_wrong_option_ends_with_2_and_what_is_allowed(options: list[str], says: str) -> None:
    done = subprocess.run(
        _command(*options),
        check=False,
        capture_output=True,
        text=True,
        timeout=60,
        env={**os.environ, "COLUMNS": "200"},
    )
    assert done.returncode == 2
    assert done.stdout == ""
    assert says in done.stderr
