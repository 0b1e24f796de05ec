"""``start`` for a while against sources that fail at random: nothing lost, doubled or leaking.

It runs at ten times the live rate: the served day and the clock of ``start`` go by ten times as
fast, and a minute of theirs, the interval between two polls unless told, is six seconds. Work is
submitted all along. ``GRIDPACT_SOAK_MINUTES`` says how long, ``GRIDPACT_SOAK_SPEED`` how many times
the live rate, ``GRIDPACT_SOAK_SEED`` draws other faults. By hand, with -s for the table:

    GRIDPACT_SOAK_MINUTES=60 .venv/bin/python -m pytest -m long tests/end_to_end/test_live_soak.py
"""

from __future__ import annotations

import os
import time
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from itertools import count
from random import Random
from typing import Any
from urllib.parse import urlsplit

import pytest
from live_truth import falsehoods
from live_upstream import (
    SITES,
    Upstream,
    doubled,
    run_row,
    served,
    submit,
    tables_of,
    workloads_by_status,
)
from process_kit import waiting_rows
from replay_world import World
from vital_signs import FIGURES, Sign, VitalSigns, slope_of, table_of

# Read before a test's environment is cleaned.
MINUTES = float(os.environ.get("GRIDPACT_SOAK_MINUTES", "2"))
SEED = int(os.environ.get("GRIDPACT_SOAK_SEED", "1"))
SPEED = float(os.environ.get("GRIDPACT_SOAK_SPEED", "10"))

pytestmark = [
    pytest.mark.ray,
    pytest.mark.embedded,
    pytest.mark.long,
    pytest.mark.timeout(MINUTES * 60 + 400),
]

#: ``start`` polls every 60 s unless told, on the run's clock; 5 s is the least it takes.
INTERVAL_S = max(5.0, 60.0 / SPEED)
SAMPLE_S = min(5.0, MINUTES)
#: Work comes in all along, a piece every five minutes of the run's clock.
SUBMIT_S = 300.0 / SPEED
STOP_WITHIN_S = 10.0
LAG_S = 1.0
SOURCES = ("carbon_intensity", "neso", "elexon", "beckn")
#: Feeds come half-hourly: what fails at the start is asked again, whatever is drawn later.
FAULTS = f"all:error=503:0-{45 * SPEED:g},random:{SEED}"
#: Left out before judging: what Python and PostgreSQL keep for later looks like growth.
WARM_UP_S = 600.0
#: With less than this after the warm-up no slope can be told from noise.
JUDGED_FROM_MINUTES = 30
MOST_GROWTH_AN_HOUR = {"private, MiB": 5.0, "files": 1.0, "threads": 1.0}
MOST_MIB = 2_000.0
MOST_LOG_BYTES = 8 * 1024 * 1024


def test_a_slope_and_its_interval_come_from_the_means_of_ten_stretches() -> None:
    line = [Sign(float(s), 1.0, 2.0 + s / 3600, 3, 4) for s in range(1000)]
    slope = slope_of(line, lambda sign: sign.private)
    # 1 MiB in 3,600 s, without noise.
    assert (slope.an_hour, slope.low, slope.high) == pytest.approx((1.0, 1.0, 1.0))
    assert slope_of(line, lambda sign: sign.files).an_hour == 0.0


def test_the_interval_holds_the_true_slope_also_where_samples_hang_together() -> None:
    # Noise that is forgotten after 20 samples: a plain line through 600 of them is sure of a
    # wrong slope more often than not, ten means are wrong about once in twenty times.
    wrong = 0
    for seed in range(200):
        rng, level, signs = Random(seed), 0.0, []
        for number in range(600):
            level = 0.95 * level + rng.gauss(0.0, 0.3)
            signs.append(Sign(number * 5.0, 0.0, 100.0 + level + number * 5.0 / 3600, 0, 0))
        slope = slope_of(signs, lambda sign: sign.private)
        wrong += not slope.low <= 1.0 <= slope.high
    assert wrong <= 24


@dataclass(frozen=True)
class Soaked:
    code: int
    err: str
    stopped_after_s: float
    left: list[str]
    signs: VitalSigns
    submitted: int
    statuses: dict[str, int]
    unsent: int
    requests: list[dict[str, Any]]
    upstream: Upstream
    tables: dict[str, list[dict[str, Any]]]
    doubled: dict[str, int]
    run: dict[str, Any]


@pytest.fixture(scope="module")
def soaked(world: World) -> Soaked:
    signs = VitalSigns()
    world.folder.mkdir(parents=True, exist_ok=True)
    sites = world.folder / "sites.toml"
    sites.write_text(SITES)
    names = count(1)
    with served(world, "soak", "--faults", FAULTS, speed=SPEED) as upstream:
        settings = {**upstream.environment, "GRIDPACT_SITES": str(sites)}
        launched = world.launch("start", "--interval", f"{INTERVAL_S:g}", **settings)
        launched.until("a tick", lambda: " tick 1:" in launched.said, 120)
        began = time.monotonic()
        submit_at = 0.0
        while (at := time.monotonic() - began) < MINUTES * 60:
            signs.look(launched, world, at)
            # Not in the last quarter of a minute: what came in must also have been placed.
            if submit_at <= at < MINUTES * 60 - 15:
                submit(world, upstream.run_id, f"work-{next(names)}", upstream.now)
                submit_at += SUBMIT_S
            launched.until("next look", lambda at=at: time.monotonic() - began > at + SAMPLE_S, 60)
        pressed = time.monotonic()
        launched.terminate()
        finished = launched.wait(60)
        stopped_after_s = time.monotonic() - pressed
        requests = upstream.requests()
    unsent = sum(waiting_rows(world.home, live=True).values())
    # What was in the spool at the end is sent by the next start.
    with served(world, "after") as calm:
        answer = world.launch(
            *("start", "--once", "--json", "--interval", "5", "--sources", "beckn"),
            **{**calm.environment, **upstream.clock},
        ).wait(120)
        run_id = answer.json()["run_id"]
    assert run_id == upstream.run_id
    return Soaked(
        code=finished.code,
        err=finished.err,
        stopped_after_s=stopped_after_s,
        left=launched.left_running(),
        signs=signs,
        submitted=next(names) - 1,
        statuses=workloads_by_status(world, run_id),
        unsent=unsent,
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
    assert soaked.err.count(" tick ") >= 0.9 * MINUTES * 60 / INTERVAL_S


def test_no_source_is_asked_late(soaked: Soaked) -> None:
    lags = {
        row["capabilities"]["source"]: row["capabilities"]["lag_s"]
        for row in soaked.tables["agents"]
        if row["capabilities"]
    }
    assert sorted(lags) == sorted(SOURCES)
    assert max(lags.values()) <= LAG_S, lags


def test_all_work_that_came_in_was_answered(soaked: Soaked) -> None:
    assert soaked.submitted >= (MINUTES * 60 - 20) // SUBMIT_S
    assert sum(soaked.statuses.values()) == soaked.submitted
    # What was placed may have begun and ended since.
    assert soaked.statuses.get("submitted", 0) == 0
    assert soaked.statuses.get("awarded", 0) > 0


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
    # Served seconds: the limits go by the run's clock, and so does the server's.
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


def test_memory_files_and_threads_do_not_grow(
    soaked: Soaked, capsys: pytest.CaptureFixture[str]
) -> None:
    warm_up_s = min(WARM_UP_S, MINUTES * 60 / 3)
    lasting = soaked.signs.lasting(warm_up_s)
    total = sum(signs[-1].private for signs in lasting.values())
    wal = [wal for _, _, wal in soaked.signs.disk]
    spool = [size for _, size, _ in soaked.signs.disk]
    minutes = max(signs[-1].at_s for signs in lasting.values()) / 60
    with capsys.disabled():
        print(f"\n{minutes:.1f} minutes at {SPEED:g} times the live rate, seed {SEED}:")
        print(f"{len(soaked.requests)} requests, {sum(map(len, soaked.tables.values()))} rows,")
        print(f"{soaked.submitted} pieces of work ({soaked.statuses}), {total:.0f} MiB private;")
        print(f"spool {spool[0]} to {spool[-1]} bytes, its log at most {max(wal)} bytes,")
        print(f"{soaked.unsent} rows unsent at the stop; the first {warm_up_s:g} s are left out")
        print("\n".join(table_of(lasting)))
    assert total < MOST_MIB
    assert {"driver", "PostgreSQL, all of it", "REST API"} <= set(lasting)
    assert max(wal) <= MOST_LOG_BYTES
    if MINUTES >= JUDGED_FROM_MINUTES:
        assert grown(lasting) == {}


def grown(lasting: Mapping[str, Sequence[Sign]]) -> dict[str, list[str]]:
    """Name what has grown for certain: the whole interval of its slope lies above the limit."""
    found: dict[str, list[str]] = {}
    for name, signs in lasting.items():
        for what, most in MOST_GROWTH_AN_HOUR.items():
            slope = slope_of(signs, FIGURES[what])
            if slope.low > most:
                found.setdefault(name, []).append(f"{what} {slope}")
    return found


def test_what_grows_is_named() -> None:
    rng = Random(1)
    flat = [Sign(s * 5.0, 9.0, 100.0 + rng.gauss(0, 1), 20, 5) for s in range(600)]
    leak = [Sign(s * 5.0, 9.0, 100.0 + 20 * s * 5 / 3600, 20 + s // 100, 5) for s in range(600)]
    # 20 MiB and 7.2 files an hour against 5 and 1.
    assert list(grown({"flat": flat, "leak": leak})) == ["leak"]
    assert [text.split()[0] for text in grown({"leak": leak})["leak"]] == ["private,", "files"]


def _path(url: str) -> str:
    parts = urlsplit(url)
    return f"{parts.path}?{parts.query}" if parts.query else parts.path
