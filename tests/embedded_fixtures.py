"""Fixtures over the embedded Supabase: one real server a test session, one fresh database a test.

Only one API process serves, and only the database ``postgres``: tests through the API share its
tables and keep apart by random run ids. Tests of SQL alone take ``fresh_database_url``.
"""

from __future__ import annotations

import importlib
import os
import shutil
import uuid
from collections.abc import Iterator
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path

import psycopg
import pytest
from psycopg import sql

from storage.embedded.account import service_account
from storage.embedded.api import ApiServer
from storage.embedded.bootstrap import ensure_auth, ensure_roles
from storage.embedded.endpoint import SupabaseEndpoint
from storage.embedded.install import install, lock_hash
from storage.embedded.layout import Layout
from storage.embedded.state import InstanceState
from storage.embedded.supervisor import EmbeddedSupabase, Migrate
from storage.home import packages_folder, resolve_home

_TEMPLATE = "gridpact_template"

# Read before a test's environment is cleaned: developers share one folder of programs.
PACKAGES = packages_folder(resolve_home(os.environ))


@dataclass(frozen=True)
class EmbeddedServer:
    """A running embedded Supabase and what it was started from."""

    endpoint: SupabaseEndpoint
    supervisor: EmbeddedSupabase
    layout: Layout

    @property
    def state(self) -> InstanceState:
        """Ports, passwords and keys."""
        found = InstanceState.load(self.layout.state)
        assert found is not None
        return found


def serve(home: Path, migrate: Migrate | None) -> Iterator[EmbeddedServer]:
    """Run one for the time of a fixture, and leave nothing behind."""
    supervisor = EmbeddedSupabase(home, migrate, packages=PACKAGES)
    layout = Layout.of(home, PACKAGES)
    try:
        yield EmbeddedServer(supervisor.start(), supervisor, layout)
    finally:
        supervisor.stop()
        # As root the data lie outside of the home.
        shutil.rmtree(layout.data.parent, ignore_errors=True)


@pytest.fixture(scope="session")
def migrate_hook() -> Migrate:
    """Our migrations; a folder's conftest may put others in their place."""
    function: Migrate = importlib.import_module("storage.migrations").migrate
    return function


@pytest.fixture(scope="session")
def supabase_server(
    tmp_path_factory: pytest.TempPathFactory, migrate_hook: Migrate
) -> Iterator[EmbeddedServer]:
    """Give one migrated server for the whole test session."""
    yield from serve(tmp_path_factory.mktemp("supabase-home"), migrate_hook)


@pytest.fixture(scope="session")
def _template_database(supabase_server: EmbeddedServer, migrate_hook: Migrate) -> str:
    """Prepare a database as the server prepares its own, to be cloned."""
    state = supabase_server.state
    with closing(psycopg.connect(state.database_url(), autocommit=True)) as connection:
        connection.execute(sql.SQL("create database {}").format(sql.Identifier(_TEMPLATE)))
    url = state.database_url(_TEMPLATE)
    account = service_account()
    api = ApiServer(install(PACKAGES, account), supabase_server.layout.api_log, account)
    ensure_roles(url, state.api_password)
    ensure_auth(url, lock_hash(), lambda u: api.make_auth_tables(state, u))
    migrate_hook(url)
    return _TEMPLATE


@pytest.fixture
def fresh_database_url(supabase_server: EmbeddedServer, _template_database: str) -> Iterator[str]:
    """Give the superuser's URL of a migrated database that no other test sees."""
    state = supabase_server.state
    name = f"test_{uuid.uuid4().hex[:12]}"
    with closing(psycopg.connect(state.database_url(), autocommit=True)) as connection:
        connection.execute(
            sql.SQL("create database {} template {}").format(
                sql.Identifier(name), sql.Identifier(_template_database)
            )
        )
        yield state.database_url(name)
        connection.execute(sql.SQL("drop database {} with (force)").format(sql.Identifier(name)))
