"""What a database needs before the first migration: Supabase's roles, schemas and auth tables.

No default privileges are granted to the three roles: hosted Supabase has stopped doing so, and a
migration that forgets a GRANT must fail here as it does there.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager

import psycopg
from psycopg import sql

from schema.errors import StorageUnavailable
from storage.embedded.state import API_ROLE

_ROLES = """
do $$
begin
    if not exists (select from pg_catalog.pg_roles where rolname = 'anon') then
        create role anon nologin noinherit;
    end if;
    if not exists (select from pg_catalog.pg_roles where rolname = 'authenticated') then
        create role authenticated nologin noinherit;
    end if;
    if not exists (select from pg_catalog.pg_roles where rolname = 'service_role') then
        create role service_role nologin noinherit bypassrls;
    end if;
    -- Inherits, unlike the hosted one: the API reads the catalogue before it takes a role on.
    if not exists (select from pg_catalog.pg_roles where rolname = 'authenticator') then
        create role authenticator login inherit;
    end if;
end
$$;
grant anon, authenticated, service_role to authenticator;
"""

_SCHEMAS = """
create schema if not exists extensions;
create schema if not exists supabase_migrations;
grant usage on schema extensions to anon, authenticated, service_role;
grant usage on schema public to anon, authenticated, service_role;
"""

_AUTH_GRANTS = """
grant usage on schema auth to authenticator;
grant select, insert, update, delete on all tables in schema auth to authenticator;
grant usage on all sequences in schema auth to authenticator;
"""


@contextmanager
def _connection(database_url: str) -> Iterator[psycopg.Connection]:
    try:
        with psycopg.connect(database_url) as connection:
            yield connection
    except psycopg.Error as exc:
        # Its text names no password: libpq leaves it out.
        msg = f"preparing the database failed: {exc}"
        raise StorageUnavailable(msg) from exc


def ensure_roles(database_url: str, api_password: str) -> None:
    """Make roles and schemas that are missing, and set the API's password; repeatable.

    Args:
        database_url: As a superuser.
        api_password: For the API's login.

    Raises:
        StorageUnavailable: The database does not answer or refuses.
    """
    with _connection(database_url) as connection:
        # Roles belong to the whole server: two databases may be prepared at once.
        connection.execute("select pg_advisory_xact_lock(hashtext('gridpact bootstrap'))")
        connection.execute(_ROLES)
        connection.execute(
            sql.SQL("alter role {} password {}").format(
                sql.Identifier(API_ROLE), sql.Literal(api_password)
            )
        )
        connection.execute(_SCHEMAS)


def ensure_auth(database_url: str, version: str, make_tables: Callable[[str], None]) -> None:
    """Make the auth tables unless this version of the API already did.

    Args:
        database_url: As a superuser.
        version: Names the exact packages; kept as the comment of the schema ``auth``.
        make_tables: Makes what is missing in the database of the URL it is given.

    Raises:
        StorageUnavailable: The database does not answer or refuses.
    """
    mark = f"made by gridpact with packages {version}"
    with _connection(database_url) as connection:
        found = connection.execute(
            "select obj_description(to_regnamespace('auth')::oid, 'pg_namespace')"
        ).fetchone()
    if found is not None and found[0] == mark:
        return
    make_tables(database_url)
    with _connection(database_url) as connection:
        connection.execute(_AUTH_GRANTS)
        connection.execute(sql.SQL("comment on schema auth is {}").format(sql.Literal(mark)))
