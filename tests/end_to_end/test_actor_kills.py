"""Fetchers, the orchestrator and shards of compute agents die by SIGKILL in the midst of a call.

One replay after the other, in each of them all kinds in turn. A kill counts only when the victim
was carrying out a call and rows waited in the spool. The ledger is a replay in which nobody was
killed: whoever loses, doubles or invents a row differs from it.
"""

from __future__ import annotations

import itertools
import os
import signal
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import closing
from dataclasses import dataclass, field
from typing import Any

import psycopg
import pytest
from chaos_table import Tally
from embedded_fixtures import serve
from process_kit import MINI, Launched, command_line, waiting_rows
from psycopg import sql
from replay_world import World, make_home
from supabase_gate import Gate

from storage.embedded.supervisor import Migrate

pytestmark = [
    pytest.mark.chaos,
    pytest.mark.xdist_group("ray"),
    pytest.mark.long,
    pytest.mark.ray,
    pytest.mark.embedded,
    pytest.mark.timeout(1500),
]

#: A kill and what it costs takes seconds, so of all trials there is one of each kind in so many.
SHARE = 50
#: Kills of each kind in one replay: as many as its ticks leave room for.
ROUND = 7
KINDS = ("FetcherActor", "OrchestratorShell", "ComputeShell")
REPLAY = ("replay", MINI, "--json", "--shards", "2")
#: Ray has a killed actor back within seconds; later than this its replay has no tick left.
CALL_WITHIN_S = 20.0
LOOK_AGAIN_S = 0.5
#: The log of requests: a fetcher that was started anew asks for more, or again, and says so.
NOT_COMPARED = {"api_logs"}


@pytest.fixture(scope="module")
def bare_world(tmp_path_factory: pytest.TempPathFactory, migrate_hook: Migrate) -> Iterator[World]:
    """Give a Supabase of this module's own that would take doubled rows."""
    folder = tmp_path_factory.mktemp("actor-kills")
    for server in serve(folder / "supabase", migrate_hook):
        url = server.endpoint.database_url
        assert url is not None
        with closing(psycopg.connect(url, autocommit=True)) as connection:
            for table, name in connection.execute(
                "select conrelid::regclass::text, conname from pg_constraint"
                " where contype = 'u' and connamespace = 'public'::regnamespace"
                # Other tables refer to rows by some, which must be unique for that.
                " and conindid not in (select conindid from pg_constraint where contype = 'f')"
            ).fetchall():
                connection.execute(
                    sql.SQL("alter table {} drop constraint {}").format(
                        sql.Identifier(table), sql.Identifier(name)
                    )
                )
        with Gate(server.state.api_port) as gate:
            made = World(gate, server, make_home(folder / "home"), folder / "runs")
            yield made
            gate.release()
            for launched in made.launched:
                launched.end()


@dataclass
class Killed:
    """What was so at the kills."""

    kinds: Counter[str] = field(default_factory=Counter)
    waiting: list[int] = field(default_factory=list)
    faults: list[str] = field(default_factory=list)


def test_what_actors_stored_outlives_them(bare_world: World, trials: int, tally: Tally) -> None:
    wanted = max(1, trials // SHARE)
    calm = bare_world.run(*REPLAY).json()
    ledger = bare_world.rows(calm["run_id"])
    killed = Killed()
    runs = 0
    while min(killed.kinds[kind] for kind in KINDS) < wanted:
        runs += 1
        before = killed.kinds.total()
        outcome = _one_run(bare_world, killed, wanted)
        assert killed.kinds.total() > before, f"nobody could be killed: {killed.kinds}"
        if outcome["digest"] != calm["digest"]:
            killed.faults.append(f"another digest: {outcome['digest']}")
        killed.faults += _differing(bare_world.rows(outcome["run_id"]), ledger)
    assert min(killed.waiting) > 0
    rows = sum(len(rows) for table, rows in ledger.items() if table not in NOT_COMPARED)
    told = ", ".join(f"{kind} {killed.kinds[kind]}" for kind in KINDS)
    tally(
        "1: kill -9 of actors of a replay in the midst of a call, nothing lost or doubled",
        sum(killed.kinds.values()),
        killed.faults,
        note=f"{told} kills in {runs} replays of {rows:,} rows; at the kills "
        f"{min(killed.waiting):,} to {max(killed.waiting):,} rows waited",
    )


def _one_run(world: World, killed: Killed, wanted: int) -> dict[str, Any]:
    """Replay once, and kill actors of all kinds in turn while it has ticks left."""
    gate = world.gate
    before = gate.ingests
    launched = world.launch(*REPLAY)
    try:
        launched.until("some rows in Supabase", lambda: gate.ingests >= before + 2)
        # What has been sent is not confirmed from here on: rows wait until the last kill.
        gate.hold()
        launched.until("rows that wait", lambda: sum(waiting_rows(world.home).values()))
        for kind in itertools.islice(itertools.cycle(KINDS), ROUND * len(KINDS)):
            if killed.kinds[kind] < wanted and not _kill(launched, world, kind, killed):
                break
    finally:
        gate.release()
    finished = launched.wait(600)
    assert launched.left_running() == []
    return finished.json()


def _kill(launched: Launched, world: World, kind: str, killed: Killed) -> bool:
    """Kill an actor of a kind in the midst of a call; False when there are no more calls."""
    # Counting takes longer than many a call. None is confirmed meanwhile: they are at least these.
    waiting = sum(waiting_rows(world.home).values())
    victim = _at_work(launched, kind)
    if victim is None:
        return False
    os.kill(victim, signal.SIGKILL)
    killed.kinds[kind] += 1
    killed.waiting.append(waiting)
    return True


def _at_work(launched: Launched, kind: str) -> int | None:
    """Give a process that carries out a call: its title has the method then."""
    deadline = time.monotonic() + CALL_WITHIN_S
    while time.monotonic() < deadline:
        pids = launched.actors(kind)
        again = time.monotonic() + LOOK_AGAIN_S
        while time.monotonic() < again:
            for pid in pids:
                if command_line(pid).startswith(f"ray::{kind}."):
                    return pid
    return None


def _differing(found: dict[str, list[str]], ledger: dict[str, list[str]]) -> list[str]:
    """Compare rows as often as each is there: lost, doubled, unexpected."""
    faults = []
    for table, rows in ledger.items():
        if table in NOT_COMPARED:
            continue
        lost, more = Counter(rows), Counter(found[table])
        lost.subtract(more)
        faults += [f"{table} {count:+d}: {row}" for row, count in lost.items() if count]
    return faults
