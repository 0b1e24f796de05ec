"""Ray's own processes die under a command: it ends soon and says why, and the next one goes on.

A run on this machine alone has one raylet and one GCS, and does not outlive them. What it has
accepted does: it waits in the spool for whoever comes next.
"""

from __future__ import annotations

import os
import signal
import sqlite3
import time
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import psycopg
import pytest
from live_upstream import served
from process_kit import MINI, Finished, Launched, run, waiting_rows
from ray_nodes import RayCluster
from replay_world import World, make_home
from spool_reading import lying_rows

pytestmark = [
    pytest.mark.ray,
    pytest.mark.embedded,
    pytest.mark.long,
    pytest.mark.timeout(300),
]

END_WITHIN_S = 60.0
PROGRAMS = {"raylet": "/raylet/raylet ", "GCS": "/gcs/gcs_server "}


@pytest.mark.parametrize("part", PROGRAMS)
def test_a_replay_ends_with_words_and_its_rows_go_with_the_next(
    world: World, digest_in_process: Callable[..., str], part: str
) -> None:
    gate = world.gate
    before = gate.ingests
    launched = world.launch("replay", MINI, "--json")
    try:
        launched.until("some rows in Supabase", lambda: gate.ingests >= before + 3)
        gate.hold()
        launched.until("a reply held back", lambda: gate.held_back)
        launched.until("rows that wait", lambda: sum(waiting_rows(world.home).values()) > 100)
        finished = _ended(launched, part)
    finally:
        gate.release()
    _says_what_died(finished, part)
    accepted = _accepted(world.home)
    assert len(accepted) > 100
    outcome = world.run("replay", MINI, "--json").json()
    assert _states(world)[-2:] == ["failed", "done"]
    assert waiting_rows(world.home) == {}
    assert outcome["digest"] == digest_in_process(MINI)
    tables = world.rows(outcome["run_id"])
    assert outcome["rows"] == {name: len(rows) for name, rows in tables.items()}
    assert accepted - _ids(world) == set()


def test_the_embedded_supabase_ends_with_the_command_too(
    tmp_path: Path, digest_in_process: Callable[..., str]
) -> None:
    home = make_home(tmp_path / "home")
    launched = Launched(["replay", MINI, "--json"], home, tmp_path, {})
    launched.until("a conversation", lambda: launched.actors("OrchestratorShell.tick"))
    assert [line for line in launched.workers().values() if "postgres" in line]
    _says_what_died(_ended(launched, "raylet"), "raylet")
    outcome = run("replay", MINI, "--json", home=home, folder=tmp_path).json()
    assert outcome["digest"] == digest_in_process(MINI)


@pytest.mark.parametrize("part", PROGRAMS)
def test_a_live_run_ends_with_words_too(world: World, part: str) -> None:
    with served(world, f"{part}-dies") as upstream:
        launched = world.launch("start", "--interval", "5", **upstream.environment)
        launched.until("polls", upstream.requests)
        launched.until("polls at work", lambda: launched.actors("FetcherActor"))
        _says_what_died(_ended(launched, part), part)


def test_a_command_on_a_cluster_of_others_ends_when_its_head_is_lost(world: World) -> None:
    cluster = RayCluster(world.home)
    try:
        launched = world.launch("replay", MINI, "--json", "--address", cluster.address)
        launched.until("an orchestrator", lambda: "OrchestratorShell" in cluster.head.actors)
        cluster.head.kill()
        killed = time.monotonic()
        finished = launched.wait(END_WITHIN_S)
        print(f"head: ended after {time.monotonic() - killed:.1f} s")
    finally:
        cluster.end()
    _says_what_died(finished, "GCS")


def _states(world: World) -> list[str]:
    """Give where all runs stand, the oldest first."""
    url = world.server.endpoint.database_url
    assert url is not None
    with closing(psycopg.connect(url)) as connection:
        return [
            state
            for (state,) in connection.execute(
                "select state from scenario_runs order by recorded_at"
            )
        ]


def _ended(launched: Launched, part: str) -> Finished:
    """Kill a part of Ray, and wait for the end of everything."""
    (pid,) = (pid for pid, line in launched.workers().items() if PROGRAMS[part] in line)
    launched._note_processes()
    killed = time.monotonic()
    os.kill(pid, signal.SIGKILL)
    finished = launched.wait(END_WITHIN_S)
    print(f"{part}: ended after {time.monotonic() - killed:.1f} s\n{finished.err}")
    assert launched.left_running() == []
    return finished


def _says_what_died(finished: Finished, part: str) -> None:
    assert finished.code == 1, finished.err
    complaint = finished.complaint()
    assert f"Ray's {part} (127.0.0.1:" in complaint
    assert "Nothing that was accepted is lost" in complaint
    assert "the same command again" in complaint


def _accepted(home: Path) -> set[str]:
    """Give the ids of all rows that the spool has accepted and not forgotten."""
    (path,) = (
        path
        for path in (home / "spool").glob("*/spool.db")
        if not path.parent.name.endswith("-live")
    )
    with closing(sqlite3.connect(f"file:{path}?mode=ro", uri=True)) as connection:
        return {row.id.hex() for row in lying_rows(connection)}


def _ids(world: World) -> set[str]:
    url = world.server.endpoint.database_url
    assert url is not None
    with closing(psycopg.connect(url)) as connection:
        tables = [
            name
            for (name,) in connection.execute(
                "select distinct table_name from information_schema.columns join"
                " information_schema.tables using (table_schema, table_name) where"
                " table_schema = 'public' and column_name = 'run_id' and table_type = 'BASE TABLE'"
            )
        ]
        return {
            row_id.hex
            for name in tables
            for (row_id,) in connection.execute(f"select id from {name}")
        }
