"""Writes the reference of the schema from the comments of a migrated database.

The comments are what people read in Studio; the page is the same text, so it cannot go stale: a
test compares it with the database.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import psycopg

from schema.rows import ALL_TABLES, TABLES, VIEWS
from storage.migrations import load_migrations

_SHORT_TYPES = {
    "timestamp with time zone": "timestamptz",
    "double precision": "double",
}

_COLUMNS = """
select a.attname, format_type(a.atttypid, a.atttypmod), a.attnotnull,
    col_description(a.attrelid, a.attnum),
    (
        select string_agg(distinct target.relname, ', ')
        from pg_constraint as f join pg_class as target on target.oid = f.confrelid
        where f.conrelid = a.attrelid and f.contype = 'f' and f.conkey = array[a.attnum]
    )
from pg_attribute as a
where a.attrelid = format('public.%%I', %s::text)::regclass and a.attnum > 0
    and not a.attisdropped
order by a.attnum
"""
_READERS = """
select array(
    select r.name from unnest(array['anon', 'authenticated', 'service_role']) as r (name)
    where has_any_column_privilege(r.name, format('public.%%I', %s::text)::regclass, 'select')
)
"""
_FUNCTIONS = """
select p.oid::regprocedure::text, pg_get_function_result(p.oid), obj_description(p.oid, 'pg_proc')
from pg_proc as p where p.pronamespace = 'public'::regnamespace
order by p.proname
"""


_INTRODUCTION = """# The database

Made by `run_cluster.py db docs` from the comments of the database, as of `{newest}`; do not edit.

{tables} tables, {views} views. Everything but `uk_regions` belongs to a run: `where run_id =
latest_run()` gives the last one. Instants are UTC; stretches of time include their start and
exclude their end. What is protected how, and why, is told in the files of
`schema/sql/migrations/`; queries to start from are in [queries](../queries.md).

## Tables
"""


def describe_schema(connection: psycopg.Connection) -> str:
    """Give the reference page, Markdown.

    Args:
        connection: To a database that has all migrations.
    """
    newest = load_migrations()[-1].file_name
    lines = [_INTRODUCTION.format(newest=newest, tables=len(ALL_TABLES), views=len(VIEWS))]
    for table in ALL_TABLES:
        lines += _relation(connection, table)
    lines += ["## Views", ""]
    for view in VIEWS:
        lines += _relation(connection, view)
    lines += ["## Functions", "", "| Function | Returns | What it does |", "|---|---|---|"]
    for signature, result, comment in connection.execute(_FUNCTIONS):
        lines.append(f"| `{signature}` | {result} | {_cell(comment)} |")
    return "\n".join(lines) + "\n"


def _relation(connection: psycopg.Connection, name: str) -> list[str]:
    comment = _one(
        connection, "select obj_description(format('public.%%I', %s::text)::regclass)", name
    )
    readers: Sequence[str] = _one(connection, _READERS, name)
    lines = [f"### {name}", "", f"{comment}", ""]
    if name in TABLES:
        lines += [f"One row for each: {', '.join(f'`{part}`' for part in TABLES[name].key)}.", ""]
    lines += [f"Roles that can read: {', '.join(f'`{role}`' for role in readers)}.", ""]
    lines += ["| Column | Type | What it holds |", "|---|---|---|"]
    for column, kind, required, said, target in connection.execute(_COLUMNS, (name,)):
        nullable = "" if required or name in VIEWS else ", null"
        shown = f"{_SHORT_TYPES.get(kind, kind)}{nullable}"
        link = f" → [{target}](#{target})" if target else ""
        lines.append(f"| `{column}` | {shown} | {_cell(said)}{link} |")
    return [*lines, ""]


def _one(connection: psycopg.Connection, query: str, name: str) -> Any:
    row = connection.execute(query.encode(), (name,)).fetchone()
    assert row is not None
    return row[0]


def _cell(text: str | None) -> str:
    return (text or "").replace("|", "\\|").replace("\n", " ")
