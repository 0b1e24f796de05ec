"""Databases for the tests of the schema: migrated, empty, and with a sample of every table."""

from __future__ import annotations

import uuid
from collections.abc import Iterator
from contextlib import closing

import psycopg
import pytest
from database_kit import ingest, new_run, sample_batch
from embedded_fixtures import EmbeddedServer
from psycopg import sql

#: What of Supabase a migration stands on, on a database that has none of it.
_STUB = """
create schema auth;
create function auth.uid() returns uuid language sql stable
    as $$ select nullif(current_setting('request.jwt.claim.sub', true), '')::uuid $$;
grant usage on schema auth to anon, authenticated, service_role;
"""


@pytest.fixture
def database(fresh_database_url: str) -> Iterator[psycopg.Connection]:
    """Give a connection, as the owner, to a migrated database of this test's own."""
    with closing(psycopg.connect(fresh_database_url, autocommit=True)) as connection:
        yield connection


@pytest.fixture(scope="session")
def schema_url(supabase_server: EmbeddedServer, _template_database: str) -> Iterator[str]:
    """Give one migrated database for all tests that leave it as it was."""
    state = supabase_server.state
    with closing(psycopg.connect(state.database_url(), autocommit=True)) as connection:
        connection.execute(
            sql.SQL("create database schema_tests template {}").format(
                sql.Identifier(_template_database)
            )
        )
        yield state.database_url("schema_tests")
        connection.execute("drop database schema_tests with (force)")


@pytest.fixture(scope="session")
def _schema_connection(schema_url: str) -> Iterator[psycopg.Connection]:
    with closing(psycopg.connect(schema_url, autocommit=True)) as connection:
        yield connection


@pytest.fixture
def schema(_schema_connection: psycopg.Connection) -> Iterator[psycopg.Connection]:
    """Give a migrated database; what a test does there is undone at its end."""
    with _schema_connection.transaction(force_rollback=True):
        yield _schema_connection


@pytest.fixture
def sample(schema: psycopg.Connection, run_id: str) -> psycopg.Connection:
    """Give a database that holds one run with one row in every table; undone at the end."""
    ingest(schema, sample_batch(run_id))
    return schema


@pytest.fixture
def run_id() -> str:
    return new_run()


@pytest.fixture
def sampled(database: psycopg.Connection, run_id: str) -> psycopg.Connection:
    """Give a database that holds one run with one row in every table."""
    ingest(database, sample_batch(run_id))
    return database


@pytest.fixture
def bare_database_url(supabase_server: EmbeddedServer) -> Iterator[str]:
    """Give a database without anything but PostgreSQL's own."""
    name = f"bare_{uuid.uuid4().hex[:12]}"
    state = supabase_server.state
    with closing(psycopg.connect(state.database_url(), autocommit=True)) as connection:
        connection.execute(
            sql.SQL("create database {} template template0").format(sql.Identifier(name))
        )
        yield state.database_url(name)
        connection.execute(sql.SQL("drop database {} with (force)").format(sql.Identifier(name)))


@pytest.fixture
def empty_database_url(bare_database_url: str) -> str:
    """Give a database ready for the first migration."""
    with psycopg.connect(bare_database_url) as connection:
        connection.execute(_STUB)
    return bare_database_url
