"""``start`` while Supabase is away for long, at ten times the live rate: all of it arrives after.

``GRIDPACT_AWAY_MINUTES`` says how long; every ``TURN_S`` it is away in another way. For half an
hour, by hand, GRIDPACT_AWAY_MINUTES=30 before

    .venv/bin/python -m pytest -s -m long tests/end_to_end/test_supabase_away.py
"""

from __future__ import annotations

import os
import sqlite3
import time
import uuid
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable
from contextlib import closing
from dataclasses import dataclass
from datetime import datetime, timedelta
from itertools import cycle, pairwise
from statistics import fmean
from typing import Any

import psycopg
import pytest
from live_truth import falsehoods, instant
from live_upstream import SITES, Upstream, doubled, served, submit, tables_of, workloads_by_status
from replay_world import World
from spool_reading import lying_rows
from supabase_gate import Absence
from vital_signs import sign_of

from schema.periods import HALF_HOUR

# Read before a test's environment is cleaned.
MINUTES = float(os.environ.get("GRIDPACT_AWAY_MINUTES", "1.5"))

pytestmark = [
    pytest.mark.ray,
    pytest.mark.embedded,
    pytest.mark.long,
    pytest.mark.timeout(MINUTES * 60 + 1500),
]

SPEED = 10.0
INTERVAL_S = 60.0 / SPEED
#: Before it: the first figures are in, and what Python keeps for later is kept.
CALM_S = min(240.0, MINUTES * 60)
TURN_S = min(30.0, MINUTES * 60 / 4)
SAMPLE_S = 2.0
PIECES = 6
DRAINED_WITHIN_S = 600.0
MOST_GROWTH_MIB = 20.0
DAY = timedelta(days=1)


@dataclass(frozen=True)
class Gone:
    """What was seen before, during and after."""

    code: int
    err: str
    calm_mib: float
    most_mib: float
    backlog: int
    drained_s: float
    turned_away: int
    away_ticks: int
    first: datetime
    last: datetime
    """Moments of the run's clock: of the first tick, and of the end."""
    spooled: dict[str, set[str]]
    """Ids that the spool has taken, by table."""
    dead: int
    unsent: int
    statuses: dict[str, int]
    foreign_key_errors: int
    said: list[list[tuple[str, int]]]
    """Conversation and number of the messages of each transaction, in the order of these."""
    requests: list[dict[str, Any]]
    upstream: Upstream
    tables: dict[str, list[dict[str, Any]]]
    ids: dict[str, set[str]]
    doubled: dict[str, int]


@pytest.fixture(scope="module")
def gone(world: World) -> Gone:
    world.folder.mkdir(parents=True, exist_ok=True)
    sites = world.folder / "sites.toml"
    sites.write_text(SITES)
    with served(world, "away", speed=SPEED) as upstream:
        settings = {**upstream.environment, "GRIDPACT_SITES": str(sites)}
        launched = world.launch("start", "--interval", f"{INTERVAL_S:g}", **settings)
        launched.until("a tick", lambda: " tick 1:" in launched.said, 120)
        first = upstream.now
        for number in range(PIECES):
            submit(world, upstream.run_id, f"piece-{number}", upstream.now)
        (storage,) = launched.actors("StorageActor")

        def look_for(seconds: float, meanwhile: Callable[[], None] = lambda: None) -> list[float]:
            """Watch the storage actor's memory for a while."""
            found, until = [], time.monotonic() + seconds
            while time.monotonic() < until:
                sign = sign_of(storage, 0.0)
                assert sign is not None, "the storage actor has ended"
                found.append(sign.private)
                meanwhile()
                time.sleep(SAMPLE_S)
            return found

        calm = look_for(CALM_S)
        ticks = launched.said.count(" tick ")
        kinds, turn = cycle(Absence), 0.0
        began = time.monotonic()

        def take_turns() -> None:
            nonlocal turn
            if time.monotonic() >= turn:
                world.gate.leave(next(kinds))
                turn = time.monotonic() + TURN_S

        away = look_for(MINUTES * 60, take_turns)
        assert time.monotonic() - began >= MINUTES * 60
        away_ticks = launched.said.count(" tick ") - ticks
        newest, backlog = _waiting(world)
        world.gate.come_back()
        back = time.monotonic()
        while _waiting(world, newest)[1] and time.monotonic() - back < DRAINED_WITHIN_S + 60:
            away += look_for(SAMPLE_S)
        drained_s = time.monotonic() - back
        away += look_for(2 * INTERVAL_S)
        launched.terminate()
        last = upstream.now
        finished = launched.wait(60)
        requests = upstream.requests()
    # What was in the spool at the end is sent by the next start.
    with served(world, "after") as calm_sources:
        answer = world.launch(
            *("start", "--once", "--json", "--interval", "5", "--sources", "beckn"),
            **{**calm_sources.environment, **upstream.clock},
        ).wait(120)
        assert answer.json()["run_id"] == upstream.run_id
    spooled, dead = _spooled(world)
    return Gone(
        code=finished.code,
        err=finished.err,
        calm_mib=fmean(calm[-len(calm) // 4 :]),
        most_mib=max(away),
        backlog=backlog,
        drained_s=drained_s,
        turned_away=world.gate.turned_away,
        away_ticks=away_ticks,
        first=first,
        last=last,
        spooled=spooled,
        dead=dead,
        unsent=_waiting(world)[1],
        statuses=workloads_by_status(world, upstream.run_id),
        foreign_key_errors=world.server.layout.postgres_log.read_text(errors="replace").count(
            "violates foreign key constraint"
        ),
        said=_said(world, upstream.run_id),
        requests=requests,
        upstream=upstream,
        tables=tables_of(world, upstream.run_id),
        ids=_ids(world, upstream.run_id, spooled),
        doubled=doubled(world, upstream.run_id),
    )


def test_a_backlog_is_drained_in_time(gone: Gone, capsys: pytest.CaptureFixture[str]) -> None:
    rows, messages = sum(map(len, gone.ids.values())), sum(map(len, gone.said))
    with capsys.disabled():
        print(f"\n{MINUTES:g} minutes away at {SPEED:g} times the live rate: {gone.backlog} rows")
        print(f"waited, gone after {gone.drained_s:.1f} s; {gone.turned_away} connections in vain;")
        print(f"storage actor {gone.calm_mib:.1f} MiB before, at most {gone.most_mib:.1f} MiB;")
        print(f"{len(gone.requests)} requests to sources, {rows} rows, {messages} messages;")
        print(f"{gone.away_ticks} ticks meanwhile, pieces of work {gone.statuses}")
    assert gone.backlog > 0
    assert gone.drained_s <= DRAINED_WITHIN_S


def test_the_run_goes_on_meanwhile(gone: Gone) -> None:
    assert gone.code == 130, gone.err
    assert "Traceback" not in gone.err
    assert gone.away_ticks >= 0.8 * MINUTES * 60 / INTERVAL_S
    assert gone.turned_away > 0


def test_waiting_rows_are_not_kept_in_memory(gone: Gone) -> None:
    assert gone.most_mib - gone.calm_mib <= MOST_GROWTH_MIB


def test_what_the_spool_took_is_in_the_database_and_nothing_else(gone: Gone) -> None:
    assert (gone.dead, gone.unsent) == (0, 0)
    assert gone.doubled == {}
    missing = {table: len(ids - gone.ids[table]) for table, ids in gone.spooled.items()}
    assert {table: count for table, count in missing.items() if count} == {}
    assert gone.foreign_key_errors == 0


def test_every_request_that_arrived_is_in_the_log(gone: Gone) -> None:
    arrived = Counter(line["source"] for line in gone.requests)
    logged = Counter(log["source"] for log in gone.tables["api_logs"])
    # One a source may have been under way at the end; Beckn's next start asks once more.
    for source, count in arrived.items():
        assert logged[source] >= count - 1, source


def test_no_half_hour_is_missing_and_no_figure_is_false(gone: Gone) -> None:
    assert falsehoods(gone.upstream.scenario, gone.tables) == []
    series = {
        # Forecasts of the next 48 h and the day before.
        ("carbon_intensity_national", ()): (-DAY + HALF_HOUR, 2 * DAY - 2 * HALF_HOUR),
        ("carbon_intensity_regional", ("region_id",)): (HALF_HOUR, 2 * DAY - 2 * HALF_HOUR),
        # Generation by fuel, out five minutes after each half hour.
        ("generation_mix_national", ("source", "fuel")): (timedelta(0), -3 * HALF_HOUR),
        # Prices of the week before, and outturn since yesterday, within the hour.
        ("wholesale_prices", ("market",)): (-7 * DAY + HALF_HOUR, -4 * HALF_HOUR),
        ("demand_actual_national", ("source",)): (-DAY / 2, -5 * HALF_HOUR),
    }
    for (table, columns), (since, until) in series.items():
        found = _series(gone.tables[table], columns)
        assert found, table
        for key, moments in found.items():
            gaps = [a for a, b in pairwise(moments) if b - a != HALF_HOUR]
            assert gaps == [], (table, key)
            assert moments[0] <= gone.first + since, (table, key)
            assert moments[-1] >= gone.last + until, (table, key)
    assert len(_series(gone.tables["carbon_intensity_regional"], ("region_id",))) == 14


def test_messages_are_stored_in_the_order_they_were_said(gone: Gone) -> None:
    assert gone.said
    # What is stored in one transaction appears at once.
    ordered = [word for words in gone.said for word in sorted(words)]
    by_conversation: dict[str, list[int]] = defaultdict(list)
    for conversation, sequence in ordered:
        by_conversation[conversation].append(sequence)
    for conversation, sequences in by_conversation.items():
        assert sequences == sorted(sequences), conversation
    assert gone.statuses.get("submitted", 0) == 0
    assert sum(gone.statuses.values()) == PIECES


def _series(
    rows: Iterable[dict[str, Any]], columns: tuple[str, ...]
) -> dict[tuple[Any, ...], list[datetime]]:
    found: dict[tuple[Any, ...], set[datetime]] = defaultdict(set)
    for row in rows:
        if row["quality"] == "published":
            found[tuple(row[name] for name in columns)].add(instant(row["valid_from"]))
    return {key: sorted(moments) for key, moments in found.items()}


def _spool(world: World) -> sqlite3.Connection:
    (path,) = world.home.glob("spool/*-live/spool.db")
    return sqlite3.connect(f"file:{path}?mode=ro", uri=True, timeout=10)


def _waiting(world: World, newest: int | None = None) -> tuple[int, int]:
    """Give the number of the newest row, and how many up to a number wait."""
    with closing(_spool(world)) as connection:
        rows = lying_rows(connection)
    last = max(row.seq for row in rows)
    limit = last if newest is None else newest
    return last, sum(row.state == 0 and row.seq <= limit for row in rows)


def _spooled(world: World) -> tuple[dict[str, set[str]], int]:
    """Give the ids that the spool remembers, by table, and how many rows it has put aside."""
    found: dict[str, set[str]] = defaultdict(set)
    dead = 0
    with closing(_spool(world)) as connection:
        for row in lying_rows(connection):
            found[row.table].add(str(uuid.UUID(bytes=row.id)))
            dead += row.state == 2
    return dict(found), dead


def _ids(world: World, run_id: str, tables: Iterable[str]) -> dict[str, set[str]]:
    with closing(_database(world)) as connection:
        return {
            table: {
                str(row_id)
                for (row_id,) in connection.execute(
                    f"select id from public.{table} where "
                    + ("id" if table == "scenario_runs" else "run_id")
                    + " = %s",
                    [run_id],
                )
            }
            for table in tables
        }


def _said(world: World, run_id: str) -> list[list[tuple[str, int]]]:
    """Group messages by the transaction that stored them: their lane has one at a time."""
    found: dict[int, list[tuple[str, int]]] = defaultdict(list)
    with closing(_database(world)) as connection:
        for transaction, conversation, sequence in connection.execute(
            "select xmin::text::bigint, conversation_id, sequence from public.agent_negotiations"
            " where run_id = %s",
            [run_id],
        ):
            found[transaction].append((str(conversation), int(sequence)))
    return [words for _, words in sorted(found.items())]


def _database(world: World) -> psycopg.Connection[Any]:
    url = world.server.endpoint.database_url
    assert url is not None
    return psycopg.connect(url)
