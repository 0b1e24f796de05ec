"""The one way in: counts, versions, order, conflicts, refusals."""

from __future__ import annotations

import json
import random
from concurrent.futures import ThreadPoolExecutor
from uuid import UUID, uuid4

import psycopg
import pytest
from database_kit import (
    HALF_HOUR,
    NOON,
    acting_as,
    body,
    changed,
    ingest,
    new_run,
    one,
    put,
    rows_of,
    run_row,
    sample_batch,
    sample_rows,
)

from schema.rows import TABLES, WholesalePriceRow

pytestmark = pytest.mark.embedded

VERSIONED = sorted(table for table, spec in TABLES.items() if spec.versioned)
APPEND_ONLY = sorted(table for table, spec in TABLES.items() if not spec.versioned)


def refusal(connection: psycopg.Connection, batch: object) -> psycopg.Error:
    with pytest.raises(psycopg.Error) as caught:
        ingest(connection, batch)  # type: ignore[arg-type]
    return caught.value


def test_one_call_takes_every_table_children_before_parents(
    schema: psycopg.Connection, run_id: str
) -> None:
    batch = sample_batch(run_id)
    upside_down = {table: batch[table] for table in reversed(batch)}
    assert ingest(schema, upside_down) == dict.fromkeys(TABLES, 1)
    for table in TABLES:
        assert one(schema, f"select count(*) from public.{table}") == 1


def test_the_same_batch_again_writes_nothing_and_says_so(
    sample: psycopg.Connection, run_id: str
) -> None:
    assert ingest(sample, sample_batch(run_id)) == dict.fromkeys(TABLES, 0)


def test_what_goes_in_comes_out(sample: psycopg.Connection, run_id: str) -> None:
    for table, rows in sample_batch(run_id).items():
        stored = one(sample, f"select to_jsonb(t) from public.{table} as t")
        for column, value in rows[0].items():
            found = stored[column]
            if isinstance(value, str) and value.startswith("2026-05-01T"):
                assert found[:19] == value[:19], f"{table}.{column}"
            else:
                assert found == value, f"{table}.{column}"


@pytest.mark.parametrize("table", VERSIONED)
def test_a_newer_version_replaces_and_an_older_one_that_comes_late_does_not(
    sample: psycopg.Connection, run_id: str, table: str
) -> None:
    row = sample_rows()[table]
    before = one(sample, f"select id from public.{table}")
    assert ingest(sample, {table: [body(row, run_id, version=3)]}) == {table: 1}
    assert ingest(sample, {table: [body(row, run_id, version=2)]}) == {table: 0}
    assert ingest(sample, {table: [body(row, run_id, version=3)]}) == {table: 0}
    assert rows_of(sample, f"select id, version from public.{table}") == [(before, 3)]


def test_a_late_older_figure_does_not_overwrite(sample: psycopg.Connection, run_id: str) -> None:
    row = sample_rows()["wholesale_prices"]
    put(sample, run_id, changed(row, price_gbp_per_mwh=80.0), version=2)
    put(sample, run_id, changed(row, price_gbp_per_mwh=70.0), version=1)
    found = rows_of(sample, "select price_gbp_per_mwh, version from public.wholesale_prices")
    assert found == [(80.0, 2)]


@pytest.mark.parametrize("table", APPEND_ONLY)
def test_an_append_only_row_stays_as_it_came_first(
    sample: psycopg.Connection, run_id: str, table: str
) -> None:
    before = one(sample, f"select to_jsonb(t) from public.{table} as t")
    other = body(sample_rows()[table], run_id)
    column = next(c for c in ("reason", "order_id", "error", "in_reply_to") if c in other)
    other[column] = None
    assert ingest(sample, {table: [other]}) == {table: 0}
    assert one(sample, f"select to_jsonb(t) from public.{table} as t") == before


def test_updated_at_tells_the_last_change_and_recorded_at_the_first(
    sampled: psycopg.Connection, run_id: str
) -> None:
    times = "select recorded_at, updated_at from public.agents"
    [(first, _)] = rows_of(sampled, times)
    put(sampled, run_id, sample_rows()["agents"], version=1)
    [(recorded, updated)] = rows_of(sampled, times)
    assert recorded == first
    assert updated > first


def test_a_synthetic_figure_stands_beside_the_real_one(
    sample: psycopg.Connection, run_id: str
) -> None:
    row = sample_rows()["carbon_intensity_national"]
    made_up = changed(row, quality="synthetic", forecast_gco2_per_kwh=300.0)
    put(sample, run_id, made_up, version=9)
    found = rows_of(
        sample,
        "select quality, forecast_gco2_per_kwh from public.carbon_intensity_national order by 1",
    )
    assert found == [("published", 120.0), ("synthetic", 300.0)]


def test_one_natural_key_with_two_ids_is_refused(sample: psycopg.Connection, run_id: str) -> None:
    for table, spec in TABLES.items():
        if table == "scenario_runs":  # its id is its natural key
            continue
        stranger = {**body(sample_rows()[table], run_id, version=5), "id": str(uuid4())}
        error = refusal(sample, {table: [stranger]})
        assert error.sqlstate == "23505", table
        assert error.diag.constraint_name == f"{table}_key", spec


def test_one_bad_row_fails_the_whole_batch(schema: psycopg.Connection, run_id: str) -> None:
    batch = sample_batch(run_id)
    bad = {**batch["wholesale_prices"][0], "id": str(uuid4()), "market": "other"}
    bad["price_gbp_per_mwh"] = 1e9
    batch["wholesale_prices"].append(bad)
    error = refusal(schema, batch)
    assert error.sqlstate == "23514"
    assert error.diag.constraint_name == "wholesale_prices_price_gbp_per_mwh_check"
    assert one(schema, "select count(*) from public.scenario_runs") == 0


def test_a_child_without_its_parent_is_told_apart(schema: psycopg.Connection, run_id: str) -> None:
    batch = sample_batch(run_id)
    assert refusal(schema, {"agents": batch["agents"]}).sqlstate == "23503"


@pytest.mark.parametrize(
    ("batch", "sqlstate"),
    [
        ({"no_such_table": []}, "42P01"),
        ({"uk_regions": []}, "42P01"),
        ({"agents": [{"agent_name": "x", "colour": "red"}]}, "42703"),
        ({"agents": [{"agent_name": "x", "recorded_at": "2026-05-01T12:00:00Z"}]}, "42703"),
        ({"agents": {"agent_name": "x"}}, "22023"),
        ({"agents": ["x"]}, "22023"),
        ([], "22023"),
        ({"agents": [{"agent_name": "x"}]}, "23502"),
    ],
    ids=str,
)
def test_what_is_no_batch_is_refused_by_its_sqlstate(
    schema: psycopg.Connection, batch: object, sqlstate: str
) -> None:
    with (
        pytest.raises(psycopg.Error) as caught,
        acting_as(schema, "service_role"),
    ):
        schema.execute("select public.ingest(%s::text::jsonb)", (json.dumps(batch),))
    assert caught.value.sqlstate == sqlstate


@pytest.mark.parametrize(
    ("text", "sqlstate"),
    [
        ('{"api_logs": [{"error": "\\u0000"}]}', "22P05"),
        ('{"wholesale_prices": [{"price_gbp_per_mwh": NaN}]}', "22P02"),
        ('{"wholesale_prices": [{"price_gbp_per_mwh": 1e400}]}', "22003"),
        ('{"wholesale_prices": [{"valid_from": "2026-02-30T00:00:00Z"}]}', "22008"),
    ],
)
def test_poison_is_refused_as_data(schema: psycopg.Connection, text: str, sqlstate: str) -> None:
    with pytest.raises(psycopg.Error) as caught, acting_as(schema, "service_role"):
        schema.execute("select public.ingest(%s::text::jsonb)", (text,))
    assert caught.value.sqlstate == sqlstate


def test_an_empty_batch_is_no_fault(schema: psycopg.Connection) -> None:
    assert ingest(schema, {}) == {}
    assert ingest(schema, {"agents": []}) == {"agents": 0}


def test_what_an_owner_said_is_not_erased_by_the_agents_row(
    sample: psycopg.Connection, run_id: str
) -> None:
    row = changed(
        sample_rows()["compute_workloads"],
        owner=None,
        delay_cost_gbp_per_kwh_h=None,
        submitted_at=None,
    )
    put(sample, run_id, row, version=1)
    found = rows_of(
        sample,
        "select owner, delay_cost_gbp_per_kwh_h, submitted_at, version"
        " from public.compute_workloads",
    )
    assert found == [(UUID(int=7), 0.01, NOON, 1)]


def test_cancelled_is_for_good(sample: psycopg.Connection, run_id: str) -> None:
    row = sample_rows()["compute_workloads"]
    gone = changed(row, status="cancelled", status_reason="by its owner")
    put(sample, run_id, gone, version=1)
    put(sample, run_id, changed(row, status="awarded"), version=2)
    found = rows_of(sample, "select status, status_reason from public.compute_workloads")
    assert found == [("cancelled", "by its owner")]


def test_deleting_a_run_deletes_what_belongs_to_it_and_nothing_else(
    sample: psycopg.Connection, run_id: str
) -> None:
    other = new_run()
    ingest(sample, sample_batch(other))
    with acting_as(sample, "service_role"):
        sample.execute("delete from public.scenario_runs where run_id = %s", (run_id,))
    for table in TABLES:
        assert rows_of(sample, f"select run_id::text from public.{table}") == [(other,)], table
    assert one(sample, "select count(*) from public.uk_regions") == 14


def _prices(run_id: str, version: int, count: int = 300) -> list[dict[str, object]]:
    rows = [
        WholesalePriceRow(
            source="elexon",
            market=f"M{n % 3}",
            valid_from=NOON + (n // 3) * HALF_HOUR,
            valid_to=NOON + (n // 3 + 1) * HALF_HOUR,
            price_gbp_per_mwh=float(version),
        )
        for n in range(count)
    ]
    return [body(row, run_id, version=version) for row in rows]


def test_shuffled_concurrent_batches_of_the_same_rows_neither_deadlock_nor_fail(
    database: psycopg.Connection, fresh_database_url: str, run_id: str
) -> None:
    put(database, run_id, run_row())

    def send(seed: int) -> None:
        order = random.Random(seed)
        with psycopg.connect(fresh_database_url, autocommit=True) as connection:
            for version in range(6):
                rows = _prices(run_id, version)
                order.shuffle(rows)
                ingest(connection, {"wholesale_prices": rows})

    with ThreadPoolExecutor(4) as pool:
        list(pool.map(send, range(4)))
    found = rows_of(
        database, "select version, price_gbp_per_mwh, count(*) from wholesale_prices group by 1, 2"
    )
    assert found == [(5, 5.0, 300)]


#: Stretches the moment between the look for a conflict and the entry in the unique indexes: an
#: index that takes its time and, being older than these, is filled before them.
_SLOW_INDEX = """
create function public.slowly(p_id uuid) returns uuid language plpgsql immutable as $$
begin
    perform pg_sleep(0.5);
    return p_id;
end $$;
create index slow on public.wholesale_prices (public.slowly(id));
alter table public.wholesale_prices
    drop constraint wholesale_prices_pkey, drop constraint wholesale_prices_key;
alter table public.wholesale_prices
    add constraint wholesale_prices_key unique (run_id, valid_from, market, quality);
alter table public.wholesale_prices add constraint wholesale_prices_pkey primary key (id);
"""


def test_a_request_and_its_repeat_that_insert_at_one_moment_both_succeed(
    database: psycopg.Connection, fresh_database_url: str, run_id: str
) -> None:
    # Each passes the look for a conflict before the other has inserted; they meet in the unique
    # index that is not looked at: 23505 to a caller that did nothing wrong.
    put(database, run_id, run_row())
    database.execute(_SLOW_INDEX)
    batch = {"wholesale_prices": _prices(run_id, 0, count=1)}

    def send(_: int) -> int:
        with psycopg.connect(fresh_database_url, autocommit=True) as connection:
            return ingest(connection, batch)["wholesale_prices"]

    with ThreadPoolExecutor(2) as pool:
        assert sorted(pool.map(send, range(2))) == [0, 1]
