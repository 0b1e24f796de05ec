"""``start`` for a while against sources that fail at random: nothing lost, doubled or leaking.

``GRIDPACT_SOAK_MINUTES`` says how long; ``GRIDPACT_SOAK_SEED`` draws other faults. By hand:

    GRIDPACT_SOAK_MINUTES=30 .venv/bin/python -m pytest -m long tests/end_to_end/test_live_soak.py
"""

from __future__ import annotations

import os
import time
from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from itertools import combinations
from pathlib import Path
from statistics import median
from typing import Any
from urllib.parse import urlsplit

import pytest
from live_truth import falsehoods
from live_upstream import Upstream, doubled, run_row, served, tables_of
from process_kit import Launched, command_line
from replay_world import World

# Read before a test's environment is cleaned.
MINUTES = float(os.environ.get("GRIDPACT_SOAK_MINUTES", "2"))
SEED = int(os.environ.get("GRIDPACT_SOAK_SEED", "1"))

pytestmark = [
    pytest.mark.ray,
    pytest.mark.embedded,
    pytest.mark.long,
    pytest.mark.timeout(MINUTES * 60 + 400),
]

INTERVAL_S = 5
SAMPLE_S = 5.0
STOP_WITHIN_S = 10.0
LAG_S = 1.0
SOURCES = ("carbon_intensity", "neso", "elexon", "beckn")
#: Feeds come half-hourly: what fails at the start is asked again, whatever is drawn later.
FAULTS = f"all:error=503:0-45,random:{SEED}"
#: Shorter runs have not settled: what Python keeps for later looks like growth.
JUDGED_FROM_MINUTES = 20
MOST_GROWTH_MIB_PER_H = 30.0
MOST_MIB = 2_000.0


@dataclass
class Memory:
    """Proportional set size of every process over time, MiB."""

    samples: dict[str, list[tuple[float, float]]] = field(default_factory=lambda: defaultdict(list))

    def look(self, launched: Launched, at_s: float) -> None:
        for pid in (launched.pid, *launched.workers()):
            size = _pss_mib(pid)
            if size is not None:
                self.samples[_name(pid, launched)].append((at_s, size))

    def slopes(self, drop: float) -> dict[str, tuple[float, float, float]]:
        """Give (slope in MiB/h, first and last MiB) of each process that lived all the time."""
        found = {}
        longest = max(len(points) for points in self.samples.values())
        for name, points in sorted(self.samples.items()):
            kept = points[int(len(points) * drop) :]
            if len(points) > 0.8 * longest and len(kept) > 3:
                found[name] = (theil_sen(kept) * 3600, kept[0][1], kept[-1][1])
        return found


def theil_sen(points: Sequence[tuple[float, float]]) -> float:
    """Give the median slope of all pairs of points."""
    return median((b[1] - a[1]) / (b[0] - a[0]) for a, b in combinations(points, 2))


def test_theil_sen_is_the_slope_that_outliers_do_not_bend() -> None:
    line = [(float(x), 2.0 * x + 1.0) for x in range(20)]
    assert theil_sen(line) == pytest.approx(2.0)
    assert theil_sen([*line[:-1], (19.0, 500.0)]) == pytest.approx(2.0)


def _pss_mib(pid: int) -> float | None:
    try:
        text = Path(f"/proc/{pid}/smaps_rollup").read_text()
    except OSError:
        return None  # it has just ended
    return (
        next(int(line.split()[1]) for line in text.splitlines() if line.startswith("Pss:")) / 1024
    )


def _name(pid: int, launched: Launched) -> str:
    if pid == launched.pid:
        return "driver"
    line = command_line(pid)
    title = line.split("(")[0].split(".")[0].split(" ")[0].rpartition("/")[2]
    return f"{title} {pid}"


@dataclass(frozen=True)
class Soaked:
    code: int
    err: str
    stopped_after_s: float
    left: list[str]
    memory: Memory
    requests: list[dict[str, Any]]
    upstream: Upstream
    tables: dict[str, list[dict[str, Any]]]
    doubled: dict[str, int]
    run: dict[str, Any]


@pytest.fixture(scope="module")
def soaked(world: World) -> Soaked:
    memory = Memory()
    with served(world, "soak", "--faults", FAULTS) as upstream:
        launched = world.launch("start", "--interval", str(INTERVAL_S), **upstream.environment)
        launched.until("a tick", lambda: " tick 1:" in launched.said, 120)
        began = time.monotonic()
        while (at := time.monotonic() - began) < MINUTES * 60:
            memory.look(launched, at)
            launched.until("next look", lambda at=at: time.monotonic() - began > at + SAMPLE_S, 60)
        pressed = time.monotonic()
        launched.terminate()
        finished = launched.wait(60)
        stopped_after_s = time.monotonic() - pressed
        requests = upstream.requests()
    # What was in the spool at the end is sent by the next start.
    with served(world, "after") as calm:
        offset = {"GRIDPACT_CLOCK_OFFSET_S": upstream.environment["GRIDPACT_CLOCK_OFFSET_S"]}
        answer = world.launch(
            *("start", "--once", "--json", "--interval", "5", "--sources", "beckn"),
            **{**calm.environment, **offset},
        ).wait(120)
        run_id = answer.json()["run_id"]
    return Soaked(
        code=finished.code,
        err=finished.err,
        stopped_after_s=stopped_after_s,
        left=launched.left_running(),
        memory=memory,
        requests=requests,
        upstream=upstream,
        tables=tables_of(world, run_id),
        doubled=doubled(world, run_id),
        run=run_row(world, run_id),
    )


def test_it_runs_until_it_is_told_to_stop_and_stops_in_time(soaked: Soaked) -> None:
    assert soaked.code == 130, soaked.err
    assert soaked.stopped_after_s <= STOP_WITHIN_S
    assert soaked.left == []
    assert "Traceback" not in soaked.err
    # A slot is 5 s; the first minute belongs to the start.
    assert soaked.err.count(" tick ") >= 0.9 * MINUTES * 60 / INTERVAL_S


def test_no_source_is_asked_late(soaked: Soaked) -> None:
    lags = {
        row["capabilities"]["source"]: row["capabilities"]["lag_s"]
        for row in soaked.tables["agents"]
        if row["capabilities"]
    }
    assert sorted(lags) == sorted(SOURCES)
    assert max(lags.values()) <= LAG_S, lags


def test_no_row_is_doubled_and_none_is_false(soaked: Soaked) -> None:
    assert soaked.doubled == {}
    assert falsehoods(soaked.upstream.scenario, soaked.tables) == []
    assert len(soaked.tables["carbon_intensity_regional"]) > 0


def test_every_request_that_arrived_is_in_the_log(soaked: Soaked) -> None:
    arrived = Counter((line["source"], line["path"]) for line in soaked.requests)
    logged = Counter(
        (log["source"], _path(log["url"]))
        for log in soaked.tables["api_logs"]
        if log["outcome"] != "breaker_open"
    )
    missing = arrived - logged
    # One a source may have been under way at the end.
    assert max(Counter(source for source, _ in missing.elements()).values(), default=0) <= 1, (
        missing
    )
    hit = Counter(line["source"] for line in soaked.requests if line["fault"])
    assert set(hit) == set(SOURCES), "the sources were too well for this to prove anything"


def test_every_source_is_read_again_after_its_outage(soaked: Soaked) -> None:
    # NESO's breaker may be open until the end of a short run: nothing urges it to be tried.
    for name in SOURCES if MINUTES >= 5 else ("carbon_intensity", "elexon", "beckn"):
        logs = [log for log in soaked.tables["api_logs"] if log["source"] == name]
        logs.sort(key=lambda log: log["requested_at"])
        outcomes = [log["outcome"] for log in logs]
        assert outcomes[0] != "ok", name
        assert "ok" in outcomes, name


def test_figures_made_up_say_so_and_real_ones_stand_beside_them(soaked: Soaked) -> None:
    rows = soaked.tables["carbon_intensity_regional"]
    kinds = Counter(row["quality"] for row in rows)
    assert set(kinds) == {"published", "synthetic"}
    made_up = [row for row in rows if row["quality"] == "synthetic"]
    assert all("is out" in row["reason"] and row["seed"] is not None for row in made_up)
    real = {(row["region_id"], row["valid_from"]) for row in rows if row["quality"] == "published"}
    assert {(row["region_id"], row["valid_from"]) for row in made_up} <= real


def test_the_limits_of_neso_are_kept_by_the_servers_count(soaked: Soaked) -> None:
    moments: dict[str, list[datetime]] = {"catalogue": [], "datastore": []}
    for line in soaked.requests:
        if line["source"] == "neso":
            kind = "datastore" if "datastore" in line["path"] else "catalogue"
            moments[kind].append(datetime.fromisoformat(line["at"]))
    assert most_within(moments["datastore"], 60.0) <= 2
    assert most_within(moments["catalogue"], 1.0) <= 1
    assert moments["datastore"]


def most_within(moments: Iterable[datetime], seconds: float) -> int:
    """Give the most moments that any stretch of that length holds."""
    seen = sorted(moment.timestamp() for moment in moments)
    return max((sum(a <= b < a + seconds for b in seen) for a in seen), default=0)


def test_windows_of_requests_are_counted_as_they_slide() -> None:
    at = [datetime.fromtimestamp(second) for second in (0, 59, 60, 119)]  # noqa: DTZ006
    assert most_within(at, 60.0) == 2
    assert most_within(at, 61.0) == 3


def test_memory_does_not_grow(soaked: Soaked, capsys: pytest.CaptureFixture[str]) -> None:
    slopes = soaked.memory.slopes(drop=1 / 3)
    total = sum(last for _, _, last in slopes.values())
    with capsys.disabled():
        print(f"\n{MINUTES:g} minutes, seed {SEED}: {len(soaked.requests)} requests,")
        print(f"{sum(map(len, soaked.tables.values()))} rows, {total:.0f} MiB in all")
        for name, (slope, first, last) in slopes.items():
            print(f"  {name:<32} {first:7.1f} -> {last:7.1f} MiB  {slope:+8.1f} MiB/h")
    assert total < MOST_MIB
    assert "driver" in slopes
    if MINUTES >= JUDGED_FROM_MINUTES:
        growing = {name: s for name, (s, _, _) in slopes.items() if s > MOST_GROWTH_MIB_PER_H}
        assert growing == {}


def _path(url: str) -> str:
    parts = urlsplit(url)
    return f"{parts.path}?{parts.query}" if parts.query else parts.path
