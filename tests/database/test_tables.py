"""The tables against the row models: columns, types, keys, bounds."""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Any
from uuid import uuid4

import psycopg
import pytest
from database_kit import body, ingest, new_run, one, rows_of, sample_batch, sample_rows

from schema.ids import row_id
from schema.regions import REGIONS
from schema.rows import ALL_TABLES, ROW_MODELS, TABLES, VIEWS, Row

pytestmark = pytest.mark.embedded

#: Columns that the database has beside those of the models.
OURS = {"id", "run_id"}
STAMPS = {"recorded_at": "timestamp with time zone", "updated_at": "timestamp with time zone"}

MODELS = pytest.mark.parametrize("model", ROW_MODELS, ids=lambda model: model.TABLE)

JsonSchema = dict[str, Any]


def columns_of(connection: psycopg.Connection, table: str) -> dict[str, tuple[str, bool]]:
    found = rows_of(
        connection,
        "select attname, format_type(atttypid, atttypmod), attnotnull from pg_attribute"
        " where attrelid = %s::regclass and attnum > 0 and not attisdropped",
        f"public.{table}",
    )
    return {name: (kind, required) for name, kind, required in found}


def properties(model: type[Row]) -> dict[str, JsonSchema]:
    """Give each column's JSON Schema, references resolved, null taken out and told apart."""
    whole = model.model_json_schema()
    found = {}
    for name, shape in whole["properties"].items():
        parts = shape.get("anyOf", [shape])
        kept = [part for part in parts if part.get("type") != "null"]
        assert len(kept) == 1, f"{model.TABLE}.{name}"
        part = kept[0]
        if "$ref" in part:
            part = whole["$defs"][part["$ref"].rsplit("/", 1)[-1]]
        found[name] = {**part, "nullable": len(kept) < len(parts)}
    return found


def expected_types(shape: JsonSchema) -> set[str]:
    match shape["type"], shape.get("format"):
        case "string", "date-time":
            return {"timestamp with time zone"}
        case "string", "uuid":
            return {"uuid"}
        case "string", _:
            return {"text"}
        case "number", _:
            return {"double precision"}
        case "integer", _:
            return {"smallint", "integer", "bigint"}
        case "boolean", _:
            return {"boolean"}
        case "object", _:
            return {"jsonb"}
        case "array", _:
            whole_numbers = shape["items"].get("type") == "integer"
            return {"smallint[]"} if whole_numbers else {"jsonb"}
    raise AssertionError(shape)


@MODELS
def test_a_table_has_the_columns_of_its_model(schema: psycopg.Connection, model: type[Row]) -> None:
    table = model.TABLE
    found = columns_of(schema, table)
    shapes = properties(model)
    links = {name for name in sample_batch(new_run())[table][0] if name not in shapes} - OURS
    extra = {"recorded_at"}
    if model.VERSIONED:
        extra |= {"updated_at", "version"}
    if model.STAMPED:
        extra |= {"retrieved_at"}
    assert set(found) == set(shapes) | links | OURS | extra
    for name, shape in shapes.items():
        if name == "version":
            continue
        kind, required = found[name]
        assert kind in expected_types(shape), f"{table}.{name} is {kind}"
        assert required != shape["nullable"], f"{table}.{name}"
    for name in OURS:
        assert found[name] == ("uuid", True)
    for name in links - {"version", "retrieved_at"}:
        assert found[name][0] == "uuid"
    for name, kind in STAMPS.items():
        if name in found:
            assert found[name] == (kind, True)


@MODELS
def test_id_is_the_primary_key_and_the_natural_key_is_unique(
    schema: psycopg.Connection, model: type[Row]
) -> None:
    keys = rows_of(
        schema,
        """
        select i.indisprimary, array(
            select attname::text from unnest(i.indkey) as k (n)
            join pg_attribute on attrelid = i.indrelid and attnum = k.n order by 1)
        from pg_index as i where i.indrelid = %s::regclass and i.indisunique order by 1 desc
        """,
        f"public.{model.TABLE}",
    )
    assert keys == [(True, ["id"]), (False, sorted(TABLES[model.TABLE].key))]


def test_every_child_goes_with_its_run(schema: psycopg.Connection) -> None:
    found = rows_of(
        schema,
        """
        select conrelid::regclass::text, confrelid::regclass::text, confdeltype
        from pg_constraint where contype = 'f' and connamespace = 'public'::regnamespace
        """,
    )
    to_runs = {child for child, parent, _ in found if parent == "scenario_runs"}
    assert to_runs == set(TABLES) - {"scenario_runs"}
    # c: cascade; a region is never deleted.
    kinds = {kind for _, parent, kind in found if parent != "uk_regions"}
    assert kinds == {"c"}


def test_there_are_22_tables_and_4_views(schema: psycopg.Connection) -> None:
    found = rows_of(
        schema,
        "select relkind, relname::text from pg_class"
        " where relnamespace = 'public'::regnamespace and relkind in ('r', 'v', 'm', 'p', 'f')",
    )
    assert {name for kind, name in found if kind == "r"} == set(ALL_TABLES)
    assert {name for kind, name in found if kind == "v"} == set(VIEWS)
    assert len(found) == 22 + 4


def test_the_regions_are_those_of_the_vocabulary(schema: psycopg.Connection) -> None:
    found = rows_of(
        schema,
        "select region_id, dno_name, short_name, gsp_group, country, id::text"
        " from uk_regions order by region_id",
    )
    assert found == [
        (x.region_id, x.dno_name, x.short_name, x.gsp_group, x.country,
         row_id("uk_regions", x.region_id))
        for x in REGIONS
    ]  # fmt: skip


@pytest.mark.parametrize(
    "key", [("w1",), ("été",), ("e\u0301te\u0301",), ("a ␟ b", "c"), ("東京", "13")], ids=repr
)
def test_the_database_makes_the_same_ids(schema: psycopg.Connection, key: tuple[str, ...]) -> None:
    made = one(schema, "select gridpact.row_id('compute_workloads', variadic %s)::text", [*key])
    assert made == row_id("compute_workloads", *key)


def test_negotiations_read_well_from_left_to_right(schema: psycopg.Connection) -> None:
    names = [
        name
        for (name,) in rows_of(
            schema,
            "select attname::text from pg_attribute where attrelid ="
            " 'public.agent_negotiations'::regclass and attnum > 0 order by attnum",
        )
    ]
    assert names[:6] == [
        "sequence", "round", "performative", "sender", "receiver", "workload_name",
    ]  # fmt: skip
    figures = {"energy_cost_gbp", "congestion_gbp", "carbon_gco2", "bound_gbp", "cost_gbp", "gap"}
    assert set(names[6:12]) == figures
    late = {"content", "id", "run_id", "workload_id"}
    assert min(map(names.index, late)) > max(map(names.index, figures))


def beyond(shape: JsonSchema, bound: float, direction: int) -> float:
    """Give the very next number past a bound."""
    if shape["type"] == "integer":
        return bound + direction
    return math.nextafter(bound, direction * math.inf)


def inside(shape: JsonSchema) -> Iterator[Any]:
    """Give the outermost values the model takes."""
    if "enum" in shape:
        yield from shape["enum"]
    elif shape["type"] in {"number", "integer"}:
        for bound in ("minimum", "maximum"):
            if bound in shape:
                yield shape[bound]
        if "exclusiveMinimum" in shape:
            yield beyond(shape, shape["exclusiveMinimum"], +1)
    elif shape["type"] == "string" and "maxLength" in shape:
        # Characters are counted, not bytes.
        yield "é" * shape["maxLength"]


def outside(shape: JsonSchema) -> Iterator[Any]:
    """Give values just past what the model takes."""
    if "enum" in shape:
        yield "no such word"
    elif shape["type"] in {"number", "integer"}:
        if "minimum" in shape:
            yield beyond(shape, shape["minimum"], -1)
        if "exclusiveMinimum" in shape:
            yield shape["exclusiveMinimum"]
        if "maximum" in shape and shape["maximum"] < 2**63 - 1:
            yield beyond(shape, shape["maximum"], +1)
    elif shape["type"] == "string" and "format" not in shape:
        if "minLength" in shape:
            yield ""
        if "maxLength" in shape:
            yield "x" * (shape["maxLength"] + 1)
        if "pattern" in shape:
            yield from ("gbp", "GBPX", "GBP\n")
    elif shape["type"] == "object":
        yield []
        if isinstance(values := shape.get("additionalProperties"), dict) and "maximum" in values:
            yield {"IFA": values["minimum"] - 1}
            yield {"IFA": values["maximum"] + 1}
            yield {"IFA": "much"}
    elif shape["type"] == "array" and "maxItems" in shape:
        yield []
        yield [1] * (shape["maxItems"] + 1)
        yield [shape["items"]["maximum"] + 1]
        yield [None]


def fitting(table: str, name: str, row: JsonSchema) -> JsonSchema:
    """Make room for any value of one column where a rule ties it to others."""
    if table == "demand_regional" and name == "area":
        row["region_id"] = None
    if table == "agent_negotiations" and name in {"cost_gbp", "bound_gbp", "gap"}:
        row |= {"workload_name": None, "workload_agent": None, "workload_id": None}
    return row


@MODELS
def test_the_database_takes_what_the_model_takes_and_no_more(
    sample: psycopg.Connection, run_id: str, model: type[Row]
) -> None:
    table = model.TABLE
    tried = 0
    for name, shape in properties(model).items():
        if name == "version":
            continue
        for version, value in enumerate(inside(shape), start=1):
            row = fitting(table, name, body(sample_rows()[table], run_id, version=version))
            row[name] = value
            if table == "demand_regional" and name == "region_id":
                row |= {"area": f"region-{value}", "id": str(uuid4())}
            with sample.transaction(force_rollback=True):
                ingest(sample, {table: [row]})
        for value in outside(shape):
            row = fitting(table, name, body(sample_rows()[table], run_id, version=9))
            row[name] = value
            with pytest.raises(psycopg.Error) as caught:
                ingest(sample, {table: [row]})
            assert caught.value.sqlstate == "23514", f"{table}.{name} = {value!r}"
            tried += 1
    assert tried > 3


@pytest.mark.parametrize("value", ["Infinity", "-Infinity", "NaN"])
def test_only_finite_figures_get_in(sample: psycopg.Connection, run_id: str, value: str) -> None:
    tried = 0
    for model in ROW_MODELS:
        for name, shape in properties(model).items():
            if shape["type"] != "number":
                continue
            row = fitting(model.TABLE, name, body(sample_rows()[model.TABLE], run_id, version=9))
            row[name] = value
            with pytest.raises(psycopg.errors.CheckViolation):
                ingest(sample, {model.TABLE: [row]})
            tried += 1
    assert tried > 30


BROKEN_RULES = [
    ("carbon_intensity_national", {"valid_to": "2026-05-01T12:00:00Z"}, "ends_after_start"),
    ("wholesale_prices", {"valid_to": "2026-05-01T11:30:00Z"}, "ends_after_start"),
    ("flexibility_prices", {"ends_at": "2026-05-01T12:00:00Z"}, "ends_after_start"),
    ("compute_windows", {"ends_at": "2026-05-01T12:00:00Z"}, "ends_after_start"),
    ("workload_schedules", {"ends_at": "2026-05-01T12:00:00Z"}, "ends_after_start"),
    ("compute_workloads", {"deadline": "2026-05-01T12:00:00Z"}, "deadline_after_start"),
    ("demand_regional", {"area": "region-12"}, "area_names_region"),
    ("agent_negotiations", {"workload_agent": None}, "workload_has_agent"),
    ("agent_negotiations", {"workload_id": None}, "workload_has_agent"),
    ("agent_negotiations", {"cost_gbp": 1.0}, "totals_are_table_wide"),
    ("agent_negotiations", {"bound_gbp": 1.0}, "totals_are_table_wide"),
    ("agent_negotiations", {"gap": 0.1}, "totals_are_table_wide"),
]


@pytest.mark.parametrize(
    ("table", "change", "rule"), BROKEN_RULES, ids=lambda value: str(value)[:40]
)
def test_rules_over_several_columns_hold_in_both_places(
    sample: psycopg.Connection, run_id: str, table: str, change: dict[str, Any], rule: str
) -> None:
    with pytest.raises(psycopg.errors.CheckViolation) as caught:
        ingest(sample, {table: [body(sample_rows()[table], run_id, version=9) | change]})
    assert caught.value.diag.constraint_name == f"{table}_{rule}"
    if "workload_id" not in change:
        row = sample_rows()[table]
        with pytest.raises(ValueError, match=r"not after|together|table-wide|area of region"):
            type(row).model_validate({**row.model_dump(), **change})


def test_updates_past_the_ingest_function_meet_the_same_guard(
    sampled: psycopg.Connection, run_id: str
) -> None:
    before = one(sampled, "select to_jsonb(a) from public.agents as a")
    # Version does not rise: nothing happens.
    done = sampled.execute("update public.agents set status = 'lost'")
    assert done.rowcount == 0
    done = sampled.execute("update public.agents set status = 'lost', version = version - 1")
    assert done.rowcount == 0
    assert one(sampled, "select to_jsonb(a) from public.agents as a") == before
    # It rises: the change is taken, the ids are not.
    sampled.execute(
        "update public.agents set status = 'lost', version = 1, id = gen_random_uuid(),"
        " run_id = gen_random_uuid()"
    )
    after = one(sampled, "select to_jsonb(a) from public.agents as a")
    assert (after["status"], after["version"]) == ("lost", 1)
    assert (after["id"], after["run_id"]) == (before["id"], run_id)
    assert after["updated_at"] > before["updated_at"]
