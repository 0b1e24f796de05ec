"""``start`` as a user runs it: real Ray, the embedded Supabase, sources served over HTTP."""

from __future__ import annotations

import json
import time
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime
from itertools import pairwise
from typing import Any

import pytest
from live_truth import checked, counts, falsehoods
from live_upstream import (
    SITES,
    Upstream,
    doubled,
    run_row,
    sent_by_source,
    served,
    status_of,
    submit,
    tables_of,
)
from process_kit import Finished, Launched, run
from replay_world import World

from scenarios.live.run import live_run_id
from schema.settings import Settings

pytestmark = [pytest.mark.ray, pytest.mark.embedded, pytest.mark.timeout(600)]

STOP_WITHIN_S = 10.0
SOURCES = ("carbon_intensity", "neso", "elexon", "beckn")
FIGURES = [
    "requests",
    "rows",
    "fallbacks",
    "rejected",
    "last_success",
    "lag_s",
    "breaker",
    "next_due",
    "waiting",
    "problem",
]


@dataclass(frozen=True)
class Once:
    """One iteration, and what was served to it."""

    finished: Finished
    answer: dict[str, Any]
    tables: dict[str, list[dict[str, Any]]]
    requests: list[dict[str, Any]]
    began: datetime
    upstream: Upstream


def start_once(world: World, name: str, *options: str) -> Iterator[Once]:
    with served(world, name) as upstream:
        began = upstream.now
        finished = world.launch("start", "--once", "--json", *options, **upstream.environment).wait(
            560
        )
        answer = finished.json()
        tables = tables_of(world, answer["run_id"])
        yield Once(finished, answer, tables, upstream.requests(), began, upstream)


@pytest.fixture(scope="module")
def once(world: World) -> Iterator[Once]:
    # 16 of 20 seconds are a poll's: enough for one of NESO's nine files, two a minute.
    yield from start_once(world, "once", "--interval", "20")


def test_one_iteration_answers_with_the_promised_document(once: Once) -> None:
    answer = once.answer
    assert list(answer) == ["run_id", "wall_s", "sources", "rows", "supabase"]
    assert tuple(answer["sources"]) == SOURCES
    for name, figures in answer["sources"].items():
        assert list(figures) == FIGURES, name
        assert figures["problem"] is None, name
        assert (figures["fallbacks"], figures["rejected"]) == (0, 0), name
        assert figures["breaker"] == "closed", name
        assert figures["lag_s"] < 1.0, name
        assert figures["last_success"] is not None, name
    assert "nothing is placed" in once.finished.err


def test_one_iteration_stores_what_the_scenario_implies(once: Once) -> None:
    scenario = once.upstream.scenario
    for table, by_source in counts(scenario, once.began).items():
        found = Counter(row.get("source", "beckn") for row in once.tables[table])
        assert {name: found[name] for name in by_source} == by_source, table
    assert falsehoods(scenario, once.tables) == []
    assert all(checked(once.tables).values())
    told = once.answer["rows"]
    assert {name: told[name] for name in once.tables} == {
        name: len(rows) for name, rows in once.tables.items()
    }


def test_every_request_that_was_served_is_in_the_log_and_no_other(once: Once) -> None:
    logs = once.tables["api_logs"]
    assert {log["outcome"] for log in logs} == {"ok"}
    assert sum(log["rows_rejected"] for log in logs) == 0
    served_to = Counter(request["source"] for request in once.requests)
    assert sent_by_source(logs) == served_to
    told = {name: figures["requests"] for name, figures in once.answer["sources"].items()}
    assert told == served_to


def test_what_a_rate_limit_keeps_back_is_told_and_stays_due(once: Once) -> None:
    waiting = once.answer["sources"]["neso"]["waiting"]
    assert len(waiting) in {7, 8}
    for name in ("carbon_intensity", "elexon", "beckn"):
        assert once.answer["sources"][name]["waiting"] == []


def test_the_run_and_its_actors_are_marked_as_ended(once: Once, world: World) -> None:
    row = run_row(world, once.answer["run_id"])
    assert (row["kind"], row["state"]) == ("live", "done")
    assert {agent["status"] for agent in once.tables["agents"]} == {"stopped"}
    assert len(once.tables["agents"]) == 5


def test_inspect_shows_how_the_sources_of_the_live_run_are(once: Once, world: World) -> None:
    found = {
        line["source"]: line
        for line in world.run("inspect", "sources", "--run", "live", "--json").json()
    }
    assert sorted(found) == sorted(SOURCES)
    for name, line in found.items():
        assert line["requests"] == once.answer["sources"][name]["requests"]
        assert (line["breaker"], line["fetcher"]) == ("closed", "stopped")
        assert line["lag_s"] < 1.0
        assert line["next_due"] is not None


def test_a_run_on_the_real_clock_would_be_another(once: Once) -> None:
    assert once.answer["run_id"] != live_run_id(Settings.model_construct())


@pytest.mark.long
def test_a_pipeline_goes_on_through_killed_actors_and_stops_in_time(world: World) -> None:
    """One run: work submitted, a dead source, every kind of actor killed, SIGTERM twice."""
    sites = world.folder / "sites.toml"
    world.folder.mkdir(parents=True, exist_ok=True)
    sites.write_text(SITES)
    with served(world, "killed", "--faults", "neso:hang") as upstream:
        offset_s = float(upstream.environment["GRIDPACT_CLOCK_OFFSET_S"])
        run_id = live_run_id(Settings.model_construct(clock_offset_s=offset_s))
        settings = {**upstream.environment, "GRIDPACT_SITES": str(sites)}
        launched = world.launch("start", "--interval", "5", **settings)
        launched.until("a tick", lambda: " tick 1:" in launched.said, 120)
        second = run(
            "start",
            home=world.home,
            folder=world.folder,
            environment={**world.environment, **settings},
        )
        assert second.code == 2
        assert f"process {launched.pid}" in second.complaint()
        _place(world, launched, run_id, "before", upstream)

        for title in ("FetcherActor", "StorageActor", "OrchestratorShell", "ComputeShell"):
            before = set(launched.actors(title))
            ticks = launched.said.count(" tick ")
            launched.kill(title)
            launched.until(
                f"{title} anew",
                lambda title=title, before=before: set(launched.actors(title)) - before,
                60,
            )
            launched.until(
                "two ticks", lambda ticks=ticks: launched.said.count(" tick ") > ticks + 1
            )
        _place(world, launched, run_id, "after", upstream)

        pressed = time.monotonic()
        launched.terminate()
        # An impatient operator: it must change nothing.
        time.sleep(1.0)
        launched.terminate()
        finished = launched.wait(60)
        took = time.monotonic() - pressed
    assert finished.code == 130, finished.err
    assert took <= STOP_WITHIN_S
    assert launched.left_running() == []
    assert "Traceback" not in finished.err

    assert doubled(world, run_id) == {}
    tables = tables_of(world, run_id)
    assert falsehoods(upstream.scenario, tables) == []
    told = {
        row["capabilities"]["source"]: row["capabilities"]
        for row in tables["agents"]
        if row["capabilities"]
    }
    # Whoever was killed was away for some seconds; nobody else was asked late.
    assert told["neso"]["problem"] is not None
    assert all(told[name]["lag_s"] <= 1.0 for name in SOURCES), told
    found = world.run("inspect", "audit", "--run", run_id, "--json").json()
    assert (found["ok"], found["awarded"]) == (True, 2)
    _logs_are_json_without_the_key(world)


def _place(world: World, launched: Launched, run_id: str, name: str, upstream: Upstream) -> None:
    submit(world, run_id, name, upstream.now)
    launched.until(f"a place for {name}", lambda: status_of(world, run_id, name) == "awarded", 60)


def _logs_are_json_without_the_key(world: World) -> None:
    text = (world.home / "logs" / "gridpact.log").read_text()
    assert world.server.endpoint.secret_key not in text
    lines = [json.loads(line) for line in text.splitlines()]
    assert {"event", "level", "logger", "timestamp"} <= set(lines[0])


@pytest.mark.long
def test_one_long_iteration_reads_all_files_of_neso(world: World) -> None:
    # Nine files at two a minute take four minutes and a quarter.
    (once,) = start_once(world, "long-once", "--interval", "400")
    assert once.answer["sources"]["neso"]["waiting"] == []
    assert falsehoods(once.upstream.scenario, once.tables) == []
    services = {row["service"] for row in once.tables["flexibility_prices"]}
    assert len(services) == 10
    products = Counter(row["product"] for row in once.tables["demand_forecast_national"])
    assert len(products) == 8
    arrivals = [
        datetime.fromisoformat(request["at"])
        for request in once.requests
        if request["source"] == "neso" and "datastore" in request["path"]
    ]
    assert len(arrivals) == 9
    pauses = [(b - a).total_seconds() for a, b in pairwise(arrivals)]
    assert min(pauses) >= 30.0
