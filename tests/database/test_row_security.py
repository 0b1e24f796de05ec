"""Who may do what: every table, role and verb; every view and function; owners and strangers."""

from __future__ import annotations

from collections.abc import Iterator
from uuid import UUID, uuid4

import psycopg
import pytest
from database_kit import (
    HALF_HOUR,
    NOON,
    ROLES,
    acting_as,
    ingest,
    one,
    put,
    rows_of,
    run_row,
    sample_batch,
    sample_rows,
    sqlstate_of,
)

from schema.ids import row_id
from schema.rows import ALL_TABLES, TABLES, VIEWS, AgentRow

pytestmark = pytest.mark.embedded

DENIED = "42501"
VERBS = ("select", "insert", "update", "delete", "truncate")

PUBLIC_FACTS = {
    "uk_regions", "grid_zones", "compute_windows", "offers", "grid_snapshots",
    "carbon_intensity_national", "carbon_intensity_regional", "generation_mix_national",
    "generation_mix_regional", "demand_forecast_national", "demand_actual_national",
    "demand_regional", "wholesale_prices", "flexibility_prices",
}  # fmt: skip
OWNERS = {"compute_workloads", "workload_schedules", "agent_negotiations"}
SECRET = {"agents", "api_logs", "beckn_transactions", "compute_assets"}


def expected(table: str, role: str) -> set[str]:
    """Give the verbs a role may use on whole rows of a table: the design, written down again."""
    if role == "service_role":
        allowed = {"select"}
        if table != "uk_regions":
            allowed.add("insert")
        if table in TABLES and TABLES[table].versioned:
            allowed.add("update")
        if table == "scenario_runs":
            allowed.add("delete")
        return allowed
    if table in PUBLIC_FACTS or (table in OWNERS and role == "authenticated"):
        return {"select"}
    return set()


def statement(table: str, verb: str) -> str:
    # Nothing is changed: rights are checked before rows are looked for.
    return {
        "select": f"select * from public.{table}",
        "insert": f"insert into public.{table} select (t).* from"
        f" (select null::public.{table} as t) as x where false",
        "update": f"update public.{table} set id = id where false",
        "delete": f"delete from public.{table} where false",
        "truncate": f"truncate public.{table} cascade",
    }[verb]


def matrix(connection: psycopg.Connection) -> Iterator[tuple[str, str, str, str | None]]:
    for table in ALL_TABLES:
        for role in ROLES:
            for verb in VERBS:
                yield table, role, verb, sqlstate_of(connection, role, statement(table, verb))


def unexpected(connection: psycopg.Connection) -> list[tuple[str, str, str]]:
    """Give the cells of the matrix that are not as the design says."""
    found = []
    for table, role, verb, sqlstate in matrix(connection):
        assert sqlstate in {None, DENIED}, f"{role} {verb} {table}: {sqlstate}"
        if (sqlstate is None) != (verb in expected(table, role)):
            found.append((table, role, verb))
    return found


def test_every_table_role_and_verb_is_as_designed(sample: psycopg.Connection) -> None:
    cells = list(matrix(sample))
    assert len(cells) == 22 * 3 * 5
    assert unexpected(sample) == []


@pytest.mark.parametrize(
    ("fault", "cell"),
    [
        ("grant insert on public.offers to anon", ("offers", "anon", "insert")),
        ("grant delete on public.agents to service_role", ("agents", "service_role", "delete")),
        ("revoke select on public.offers from anon", ("offers", "anon", "select")),
    ],
    ids=["write for anon", "delete for service", "missing grant"],
)
def test_the_matrix_finds_a_planted_fault(
    schema: psycopg.Connection, fault: str, cell: tuple[str, str, str]
) -> None:
    schema.execute(fault.encode())
    assert unexpected(schema) == [cell]


def visible(connection: psycopg.Connection, role: str, table: str, user: UUID | None = None) -> int:
    with acting_as(connection, role, user):
        count: int = one(connection, f"select count(id) from public.{table}")
    return count


def test_anyone_sees_facts_and_nothing_private(sample: psycopg.Connection) -> None:
    for role in ("anon", "authenticated"):
        for table in PUBLIC_FACTS | {"scenario_runs"}:
            assert visible(sample, role, table) == (14 if table == "uk_regions" else 1), table
    for table in OWNERS:
        assert visible(sample, "authenticated", table, uuid4()) == 0, table
    for table in ALL_TABLES:
        assert visible(sample, "service_role", table) == (14 if table == "uk_regions" else 1)


def test_row_security_holds_even_where_a_grant_slipped_in(sample: psycopg.Connection) -> None:
    # The second line of defence: no policy, no rows.
    for table in sorted(SECRET | OWNERS):
        sample.execute(f"grant select on public.{table} to anon, authenticated".encode())
        assert visible(sample, "anon", table) == 0, table
        assert visible(sample, "authenticated", table, uuid4()) == 0, table


@pytest.mark.parametrize("column", ["seed", "digest", "summary", "*"])
@pytest.mark.parametrize("role", ["anon", "authenticated"])
def test_of_a_run_only_harmless_columns_are_public(
    sample: psycopg.Connection, role: str, column: str
) -> None:
    assert sqlstate_of(sample, role, f"select {column} from scenario_runs") == DENIED


def test_everyone_may_ask_for_the_latest_run(sample: psycopg.Connection, run_id: str) -> None:
    for role in ROLES:
        with acting_as(sample, role):
            assert one(sample, "select public.latest_run()::text") == run_id
            assert one(sample, "select public.latest_run('live')") is None


@pytest.mark.parametrize("role", ROLES)
def test_views(sample: psycopg.Connection, role: str) -> None:
    for view in VIEWS:
        private = view == "workload_optimization_opportunities" and role != "service_role"
        for place in ("public", "analytics"):
            found = sqlstate_of(sample, role, f"select * from {place}.{view}")
            assert found == (DENIED if private else None), f"{place}.{view}"
        for verb in ("delete from", "refresh materialized view"):
            found = sqlstate_of(sample, role, f"{verb} analytics.{view}")
            refresher = role == "service_role" and verb.startswith("refresh")
            assert (found is None) == refresher, f"{verb} {view}"
    for helper in ("run_clock", "open_half_hours"):
        assert sqlstate_of(sample, role, f"select * from analytics.{helper}") == DENIED


@pytest.mark.parametrize("role", ROLES)
def test_functions(sample: psycopg.Connection, role: str) -> None:
    calls = {
        "public.ingest('{}')": {"service_role"},
        "public.ingest_columns('[]')": {"service_role"},
        "public.schema_version()": {"service_role"},
        "public.refresh_views()": {"service_role"},
        "public.latest_run()": set(ROLES),
        "gridpact.row_id('agents', 'x')": set(),
    }
    for call, allowed in calls.items():
        found = sqlstate_of(sample, role, f"select {call}")
        assert found == (None if role in allowed else DENIED), call
    found = sqlstate_of(sample, role, "call gridpact.protect_table('agents')")
    assert found == DENIED


def test_nothing_else_can_be_executed_by_the_api_roles(schema: psycopg.Connection) -> None:
    found = rows_of(
        schema,
        """
        select p.proname::text, r.rolname::text from pg_proc as p, pg_roles as r
        where p.pronamespace in ('public'::regnamespace, 'gridpact'::regnamespace)
            and r.rolname = any (%s) and has_function_privilege(r.rolname, p.oid, 'execute')
        order by 1, 2
        """,
        [*ROLES],
    )
    assert found == [
        ("ingest", "service_role"),
        ("ingest_columns", "service_role"),
        ("latest_run", "anon"),
        ("latest_run", "authenticated"),
        ("latest_run", "service_role"),
        ("refresh_views", "service_role"),
        ("schema_version", "service_role"),
    ]


def test_no_default_privileges_open_what_comes_later(schema: psycopg.Connection) -> None:
    assert rows_of(schema, "select defaclacl from pg_default_acl") == []


# Owners -----------------------------------------------------------------------------------

OWNER = UUID(int=7)  # of the sample's workload
STRANGER = UUID(int=8)
COLUMNS = (
    "agent_name, workload_name, power_kw, duration_min, earliest_start, deadline, allowed_regions"
)
VALUES = "'acme', 'w1', 5, 60, '2026-05-01T12:00Z', '2026-05-02T12:00Z', '{1,13}'"


@pytest.fixture
def live_run() -> str:
    return str(uuid4())


@pytest.fixture
def market(schema: psycopg.Connection, live_run: str) -> psycopg.Connection:
    """Give a database with a live run and one compute agent, and a newer replay beside it."""
    put(schema, live_run, run_row(kind="live", scenario=None), AgentRow(agent_name="acme",
        kind="compute"), AgentRow(agent_name="neso", kind="fetcher"))  # fmt: skip
    ingest(schema, sample_batch(str(uuid4())))
    return schema


def test_an_owner_sees_what_is_its_own(sample: psycopg.Connection) -> None:
    for table in OWNERS:
        assert visible(sample, "authenticated", table, OWNER) == 1, table
        assert visible(sample, "authenticated", table, STRANGER) == 0, table


def test_table_wide_messages_are_for_the_service_role_alone(
    sample: psycopg.Connection, run_id: str
) -> None:
    wide = sample_rows()["agent_negotiations"].model_dump() | {
        "workload_name": None, "workload_agent": None, "ordinal": 1, "gap": 0.01,
    }  # fmt: skip
    put(sample, run_id, type(sample_rows()["agent_negotiations"]).model_validate(wide))
    assert visible(sample, "service_role", "agent_negotiations") == 2
    assert visible(sample, "authenticated", "agent_negotiations", OWNER) == 1


def test_an_owner_submits_and_the_server_says_the_rest(
    market: psycopg.Connection, live_run: str
) -> None:
    with acting_as(market, "authenticated", OWNER):
        market.execute(
            f"insert into public.compute_workloads ({COLUMNS}, delay_cost_gbp_per_kwh_h)"
            f" values ({VALUES}, 0.02)".encode()
        )
        seen = one(
            market, "select to_jsonb(w) from compute_workloads as w where workload_name = 'w1'"
        )
    assert seen["id"] == row_id("compute_workloads", live_run, "acme", "w1")
    assert seen["agent_id"] == row_id("agents", live_run, "acme")
    assert seen["run_id"] == live_run
    assert (seen["owner"], seen["status"], seen["version"]) == (str(OWNER), "submitted", 0)
    assert seen["submitted_at"] is not None
    assert seen["delay_cost_gbp_per_kwh_h"] == 0.02
    assert visible(market, "authenticated", "compute_workloads", STRANGER) == 0


def test_the_agent_then_registers_the_same_row(market: psycopg.Connection, live_run: str) -> None:
    with acting_as(market, "authenticated", OWNER):
        market.execute(
            f"insert into public.compute_workloads ({COLUMNS}) values ({VALUES})".encode()
        )
    row = sample_rows()["compute_workloads"].model_dump() | {
        "workload_name": "w1", "owner": None, "status": "registered",
        "deadline": NOON + 48 * HALF_HOUR,
    }  # fmt: skip
    put(market, live_run, type(sample_rows()["compute_workloads"]).model_validate(row), version=1)
    found = rows_of(
        market,
        "select owner, status, version from compute_workloads where run_id = %s",
        live_run,
    )
    assert found == [(OWNER, "registered", 1)]


@pytest.mark.parametrize(
    "column",
    ["id", "run_id", "agent_id", "owner", "status", "version", "submitted_at", "recorded_at",
     "baseline_gco2", "status_reason"],
)  # fmt: skip
def test_what_the_server_says_cannot_be_given(market: psycopg.Connection, column: str) -> None:
    text = f"insert into compute_workloads ({COLUMNS}, {column}) values ({VALUES}, null)"
    assert sqlstate_of(market, "authenticated", text, OWNER) == DENIED


@pytest.mark.parametrize(
    ("values", "words"),
    [
        (VALUES.replace("acme", "neso"), "no compute agent"),
        (VALUES.replace("acme", "nobody"), "no compute agent"),
        (VALUES.replace("5, 60", "-5, 60"), "power_kw"),
        (VALUES.replace("{1,13}", "{15}"), "allowed_regions"),
        (VALUES.replace("2026-05-02", "2026-04-02"), "deadline_after_start"),
    ],
    ids=["no compute agent", "unknown agent", "power", "region", "deadline"],
)
def test_a_bad_submission_is_refused_with_its_reason(
    market: psycopg.Connection, values: str, words: str
) -> None:
    with pytest.raises(psycopg.Error, match=words), acting_as(market, "authenticated", OWNER):
        market.execute(f"insert into compute_workloads ({COLUMNS}) values ({values})".encode())


def test_without_a_live_run_nothing_is_taken(sample: psycopg.Connection) -> None:
    text = f"insert into compute_workloads ({COLUMNS}) values ({VALUES})"
    with (
        pytest.raises(psycopg.errors.RaiseException, match="no live run takes workloads now"),
        acting_as(sample, "authenticated", OWNER),
    ):
        sample.execute(text.encode())


def test_a_flood_is_stopped_at_a_thousand(market: psycopg.Connection) -> None:
    text = (
        f"insert into compute_workloads ({COLUMNS}) select 'acme', 'w' || n, 5, 60,"
        " '2026-05-01T12:00Z', '2026-05-02T12:00Z', '{1}' from generate_series(1, %s) as n"
    )
    with acting_as(market, "authenticated", OWNER):
        market.execute(text.replace("%s", "1000").encode())
    with (
        pytest.raises(psycopg.errors.RaiseException, match="1000 workloads of yours are waiting"),
        acting_as(market, "authenticated", OWNER),
    ):
        market.execute(f"insert into compute_workloads ({COLUMNS}) values ({VALUES})".encode())
    others = VALUES.replace("w1", "other")
    with acting_as(market, "authenticated", STRANGER):
        market.execute(f"insert into compute_workloads ({COLUMNS}) values ({others})".encode())


def test_an_owner_cancels_its_own_and_nothing_else(sample: psycopg.Connection) -> None:
    cancel = "update public.compute_workloads set status = 'cancelled'"
    with acting_as(sample, "authenticated", STRANGER):
        assert sample.execute(cancel.encode()).rowcount == 0
    with acting_as(sample, "authenticated", OWNER):
        assert sample.execute(cancel.encode()).rowcount == 1
    found = rows_of(sample, "select status, version from compute_workloads")
    assert found == [("cancelled", 1)]
    # And not back again.
    with acting_as(sample, "authenticated", OWNER):
        undo = sample.execute(b"update public.compute_workloads set status = 'submitted'")
        assert undo.rowcount == 0


@pytest.mark.parametrize("change", ["status = 'completed'", "power_kw = 1", "version = 99"])
def test_an_owner_changes_nothing_but_by_cancelling(
    sample: psycopg.Connection, change: str
) -> None:
    text = f"update public.compute_workloads set {change}"
    assert sqlstate_of(sample, "authenticated", text, OWNER) == DENIED


def test_running_work_cannot_be_cancelled(sample: psycopg.Connection, run_id: str) -> None:
    row = sample_rows()["compute_workloads"].model_dump() | {"status": "running"}
    put(sample, run_id, type(sample_rows()["compute_workloads"]).model_validate(row), version=1)
    with acting_as(sample, "authenticated", OWNER):
        done = sample.execute(b"update public.compute_workloads set status = 'cancelled'")
        assert done.rowcount == 0
