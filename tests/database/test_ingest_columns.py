"""The way in by columns stores what the way in by rows stores, and refuses what it refuses."""

from __future__ import annotations

from typing import Any
from uuid import uuid4

import psycopg
import pytest
from database_kit import (
    HALF_HOUR,
    NOON,
    acting_as,
    body,
    ingest,
    new_run,
    one,
    put,
    rows_of,
    run_row,
    sample_rows,
)
from psycopg.types.json import Jsonb

from schema.rows import ROW_MODELS, TABLES, Lane, WholesalePriceRow
from storage.columns import to_part

pytestmark = pytest.mark.embedded

FACTS = sorted(table for table, spec in TABLES.items() if spec.lane is Lane.FACTS)
_MODELS = {model.TABLE: model for model in ROW_MODELS}


def stored_run(connection: psycopg.Connection) -> str:
    run_id = new_run()
    put(connection, run_id, run_row())
    return run_id


@pytest.fixture
def run(schema: psycopg.Connection) -> str:
    return stored_run(schema)


def by_columns(connection: psycopg.Connection, *parts: bytes | str) -> dict[str, int]:
    texts = [part.decode() if isinstance(part, bytes) else part for part in parts]
    with acting_as(connection, "service_role"):
        found = connection.execute(
            "select public.ingest_columns(%s::jsonb)", (f"[{','.join(texts)}]",)
        ).fetchone()
    assert found is not None
    counts: dict[str, int] = found[0]
    return counts


def made_part(table: str, rows: list[dict[str, Any]]) -> bytes:
    part = to_part(table, rows)
    assert part is not None
    return part


def bodies(table: str, run_ids: list[str]) -> list[dict[str, Any]]:
    """Give a row a run; the last one has nothing in columns that may be empty."""
    row = sample_rows()[table]
    found = [body(row, run_id) for run_id in run_ids]
    for each in found:
        each.update({name: None for name, value in each.items() if isinstance(value, dict | list)})
    for name, field in _MODELS[table].model_fields.items():
        if field.default is None and name != "version":
            found[-1][name] = None
    return found


@pytest.mark.parametrize("table", FACTS)
def test_rows_by_columns_are_stored_like_rows_one_by_one(
    schema: psycopg.Connection, table: str
) -> None:
    run_ids = [stored_run(schema) for _ in range(3)]
    rows = bodies(table, run_ids)
    shown = f"select to_jsonb(t) - 'recorded_at' - 'updated_at' from public.{table} t order by id"
    with schema.transaction(force_rollback=True):
        assert ingest(schema, {table: rows}) == {table: 3}
        expected = rows_of(schema, shown)
    assert by_columns(schema, made_part(table, rows)) == {table: 3}
    assert rows_of(schema, shown) == expected
    assert by_columns(schema, made_part(table, rows)) == {table: 0}


def prices(run_id: str, count: int, version: int) -> list[dict[str, Any]]:
    return [
        body(
            WholesalePriceRow(
                source="elexon",
                market="APXMIDP",
                valid_from=NOON + n * HALF_HOUR,
                valid_to=NOON + (n + 1) * HALF_HOUR,
                price_gbp_per_mwh=float(version * 100 + n),
            ),
            run_id,
            version=version,
        )
        for n in range(count)
    ]


def test_the_highest_version_stays_whatever_the_order(schema: psycopg.Connection, run: str) -> None:
    parts = {version: made_part("wholesale_prices", prices(run, 3, version)) for version in (1, 2)}
    assert by_columns(schema, parts[2]) == {"wholesale_prices": 3}
    assert by_columns(schema, parts[1]) == {"wholesale_prices": 0}
    # Parts of one call are written one after the other; counts add up.
    more = made_part("wholesale_prices", prices(run, 4, 3))
    assert by_columns(schema, parts[2], more) == {"wholesale_prices": 4}
    found = rows_of(
        schema, "select version, price_gbp_per_mwh from public.wholesale_prices order by 2"
    )
    assert found == [(3, 300.0), (3, 301.0), (3, 302.0), (3, 303.0)]


@pytest.mark.parametrize(
    ("change", "code"),
    [
        ({"price_gbp_per_mwh": 1e9}, "23514"),
        ({"price_gbp_per_mwh": None}, "23502"),
        ({"price_gbp_per_mwh": "much"}, "22P02"),
        ({"run_id": str(uuid4())}, "23503"),
        ({"colour": "red"}, "42703"),
        ({"updated_at": "2026-05-01T12:00:00Z"}, "42703"),
        ({"valid_from": "2026-02-30T12:00:00Z"}, "22008"),
    ],
)
def test_a_bad_row_refuses_all_of_the_call_with_its_own_code(
    schema: psycopg.Connection, run: str, change: dict[str, Any], code: str
) -> None:
    good = made_part("wholesale_prices", prices(run, 2, 1))
    rows = prices(run, 5, 2)
    for row in rows if change.keys() & {"colour", "updated_at"} else rows[3:4]:
        row.update(change)
    with pytest.raises(psycopg.Error) as caught:
        by_columns(schema, good, made_part("wholesale_prices", rows))
    assert caught.value.sqlstate == code
    assert one(schema, "select count(*) from public.wholesale_prices") == 0


def test_a_natural_key_under_another_id_is_refused(schema: psycopg.Connection, run: str) -> None:
    by_columns(schema, made_part("wholesale_prices", prices(run, 2, 1)))
    rows = [row | {"id": str(uuid4())} for row in prices(run, 2, 2)]
    with pytest.raises(psycopg.errors.UniqueViolation):
        by_columns(schema, made_part("wholesale_prices", rows))


@pytest.mark.parametrize(
    ("batch", "code"),
    [
        ({}, "22023"),
        ([{"table": "agents", "all": {}, "each": {"id": "{}"}}], "42P01"),
        ([{"table": "pg_class; drop table x", "all": {}, "each": {"id": "{}"}}], "42P01"),
        ([{"all": {}, "each": {"id": "{}"}}], "42P01"),
        ([{"table": "api_logs", "all": {}}], "22023"),
        ([{"table": "api_logs", "all": [], "each": {"id": "{}"}}], "22023"),
        ([{"table": "api_logs", "all": {}, "each": {"error": "{x}"}}], "22023"),
        ([{"table": "api_logs", "all": {"x') --": 1}, "each": {"id": "{}"}}], "42703"),
    ],
)
def test_what_is_no_part_is_refused(schema: psycopg.Connection, batch: object, code: str) -> None:
    with pytest.raises(psycopg.Error) as caught, acting_as(schema, "service_role"):
        schema.execute("select public.ingest_columns(%s)", (Jsonb(batch),))
    assert caught.value.sqlstate == code


def test_the_id_alone_decides_where_the_natural_key_is_not_enforced(
    schema: psycopg.Connection, run: str
) -> None:
    schema.execute("alter table public.wholesale_prices drop constraint wholesale_prices_key")
    for version in (1, 2):
        part = made_part("wholesale_prices", prices(run, 3, version))
        assert by_columns(schema, part) == {"wholesale_prices": 3}
        assert by_columns(schema, part) == {"wholesale_prices": 0}
    assert one(schema, "select count(*) from public.wholesale_prices where version = 2") == 3


def test_no_parts_are_no_rows(schema: psycopg.Connection) -> None:
    assert by_columns(schema) == {}
