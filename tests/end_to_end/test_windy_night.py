"""The demo's scenario through Ray into Supabase: what it leaves, who may read it, and its audit."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import closing
from typing import Any

import httpx
import orjson
import psycopg
import pytest
from psycopg import sql
from replay_world import World

from scenarios.loader import find
from schema.rows import ALL_TABLES, VIEWS

pytestmark = [pytest.mark.ray, pytest.mark.embedded, pytest.mark.timeout(600)]

NAME = "windy-night"
READ, FORBIDDEN = (200, 206), (401, 403)

#: Corruptions of a stored run, as SQL on its rows; %(run)s is the run. Each is undone afterwards.
CORRUPTIONS = {
    "a moved slot": (
        (
            "update workload_schedules set starts_at = starts_at + interval '30 minutes',"
            " ends_at = ends_at + interval '30 minutes' where id = ("
            " select id from workload_schedules where run_id = %(run)s"
            " order by starts_at desc, id limit 1)"
            " returning id"
        ),
        11,
    ),
    "a missing award": (
        (
            "delete from agent_negotiations where id = (select id from agent_negotiations"
            " where run_id = %(run)s and performative = 'accept-proposal' order by id limit 1)"
            " returning workload_name"
        ),
        11,
    ),
    "an overfull cell": (
        (
            "update compute_assets set capacity_by_period = jsonb_set(capacity_by_period, '{kw}',"
            " (select jsonb_agg(kw::numeric / 2) from"
            " jsonb_array_elements(capacity_by_period->'kw') as kw))"
            " where run_id = %(run)s returning id"
        ),
        1,
    ),
    "a paid price above refusal": (
        (
            "update agent_negotiations set content = jsonb_set(content, '{paid_gbp}', '1e6')"
            " where id = (select id from agent_negotiations where run_id = %(run)s"
            " and performative = 'accept-proposal' order by id limit 1) returning id"
        ),
        6,
    ),
    "a bound above cost": (
        (
            "update agent_negotiations set bound_gbp = cost_gbp + 1 where id = ("
            " select id from agent_negotiations where run_id = %(run)s and cost_gbp is not null"
            " order by sent_at, id limit 1) returning id"
        ),
        4,
    ),
    "a doubled message": (
        (
            "insert into agent_negotiations select (jsonb_populate_record(n, jsonb_build_object("
            "'id', gen_random_uuid(), 'ordinal', n.ordinal + 100,"
            " 'sequence', n.sequence + 100000))).* from agent_negotiations as n"
            " where n.id = (select id from agent_negotiations"
            " where run_id = %(run)s and performative = 'accept-proposal' order by id limit 1)"
            " returning id"
        ),
        11,
    ),
}


@pytest.fixture(scope="session")
def windy(world: World) -> dict[str, Any]:
    """Replay windy-night once for all tests here."""
    return world.run("replay", NAME, "--json").json()


@pytest.fixture
def connection(world: World) -> Iterator[psycopg.Connection[tuple[Any, ...]]]:
    url = world.server.endpoint.database_url
    assert url is not None
    with closing(psycopg.connect(url, autocommit=True)) as opened:
        yield opened


def test_it_decides_as_committed(windy: dict[str, Any]) -> None:
    expected = orjson.loads((find(NAME) / "expected.json").read_bytes())
    assert windy["digest"] == expected["digest"]
    assert windy["workloads"] == expected["workloads"]


def test_it_feeds_every_table(windy: dict[str, Any]) -> None:
    # 22 tables; uk_regions is seeded and belongs to no run.
    assert len(windy["rows"]) == len(ALL_TABLES) - 1
    assert [table for table, rows in windy["rows"].items() if rows == 0] == []


def test_the_secret_key_reads_every_table_and_view(windy: dict[str, Any], world: World) -> None:
    key = world.server.endpoint.secret_key
    counts = {name: _count(world, key, name, windy["run_id"]) for name in (*ALL_TABLES, *VIEWS)}
    # At the end of a run all work has started: nothing is left to optimise.
    assert [name for name, rows in counts.items() if not rows] == [
        "workload_optimization_opportunities"
    ]


def test_the_publishable_key_reads_the_grid_and_nothing_private(
    windy: dict[str, Any], world: World
) -> None:
    key = world.server.endpoint.publishable_key
    assert key is not None
    assert _count(world, key, "carbon_intensity_regional", windy["run_id"]) > 0
    for private in ("compute_workloads", "agent_negotiations", "workload_schedules"):
        assert _count(world, key, private, windy["run_id"]) == 0
        assert _count(world, world.server.endpoint.secret_key, private, windy["run_id"]) > 0


def test_the_publishable_key_writes_nothing(windy: dict[str, Any], world: World) -> None:
    key = world.server.endpoint.publishable_key
    assert key is not None
    for table in ALL_TABLES:
        answer = _send(world, key, "DELETE", f"{table}?id=not.is.null")
        assert answer.status_code in FORBIDDEN, table
        assert _send(world, key, "POST", table, [{}]).is_error, table
    secret = world.server.endpoint.secret_key
    assert windy["rows"] == {
        table: _count(world, secret, table, windy["run_id"]) for table in windy["rows"]
    }


def test_the_audit_confirms_it_from_the_database_alone(windy: dict[str, Any], world: World) -> None:
    report = _audit(world, windy["run_id"]).json()
    assert report["violations"] == []
    assert report["awarded"] == windy["workloads"]["awarded"]


@pytest.mark.parametrize("what", CORRUPTIONS, ids=lambda what: what.replace(" ", "-"))
def test_the_audit_finds_a_corruption_and_names_rows(
    what: str,
    windy: dict[str, Any],
    world: World,
    connection: psycopg.Connection[tuple[Any, ...]],
) -> None:
    text, rule = CORRUPTIONS[what]
    run_id = windy["run_id"]
    tables = ("agent_negotiations", "workload_schedules", "compute_assets")
    for table in tables:
        connection.execute(
            sql.SQL("create temp table {} as select * from {} where run_id = %s").format(
                sql.Identifier(f"kept_{table}"), sql.Identifier(table)
            ),
            [run_id],
        )
    connection.execute("set session_replication_role = replica")  # past the version guards
    try:
        changed = connection.execute(text, {"run": run_id}).fetchall()
        assert changed
        finished = _audit(world, run_id)
    finally:
        for table in tables:
            names = {"kept": sql.Identifier(f"kept_{table}"), "table": sql.Identifier(table)}
            connection.execute(
                sql.SQL("delete from {table} where run_id = %s").format(**names), [run_id]
            )
            connection.execute(sql.SQL("insert into {table} select * from {kept}").format(**names))
    assert finished.code == 1
    violations = json.loads(finished.out)["violations"]
    hits = [item for item in violations if item["rule"] == rule]
    assert hits, violations
    assert all(item["rows"] for item in hits)


def _audit(world: World, run_id: str) -> Any:
    return world.run("inspect", "audit", "--run", run_id, "--json")


def _send(world: World, key: str, method: str, path: str, content: Any = None) -> httpx.Response:
    return httpx.request(
        method,
        f"{world.server.endpoint.url}/rest/v1/{path}",
        headers={"apikey": key, "Prefer": "count=exact"},
        json=content,
        timeout=30,
        trust_env=False,
    )


def _count(world: World, key: str, table: str, run_id: str) -> int:
    """Count what a key can read of a run; a table shut to it holds nothing for it."""
    mine = "" if table == "uk_regions" else f"&run_id=eq.{run_id}"
    answer = _send(world, key, "GET", f"{table}?select=*&limit=1{mine}")
    if answer.status_code in FORBIDDEN:
        assert answer.json()["code"] == "42501"
        return 0
    assert answer.status_code in READ, answer.text
    return int(answer.headers["content-range"].rpartition("/")[2])
