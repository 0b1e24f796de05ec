"""What the first request finds and leaves behind, on a database without any row security."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from embedded_fixtures import EmbeddedServer, serve
from embedded_kit import listeners, public, run_sql, service

pytestmark = pytest.mark.embedded

NO_ROW_SECURITY_SQL = """
create table if not exists public.plain (id int primary key);
grant select on public.plain to service_role;
create or replace function public.who_am_i() returns text language sql
    set search_path = '' as $$ select current_user::text $$;
"""

PRIVILEGES_SQL = """
select 'relation', n.nspname, c.relname, c.relacl::text
    from pg_class c join pg_namespace n on n.oid = c.relnamespace
    where n.nspname not like 'pg\\_%' and n.nspname <> 'information_schema'
union all select 'schema', nspname, '', nspacl::text from pg_namespace
union all select 'function', p.pronamespace::regnamespace::text, p.proname, p.proacl::text
    from pg_proc p where p.pronamespace = 'public'::regnamespace
union all select 'default', defaclnamespace::text, defaclobjtype::text, defaclacl::text
    from pg_default_acl
order by 1, 2, 3, 4
"""


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[EmbeddedServer]:
    home = tmp_path_factory.mktemp("plain-home")
    yield from serve(home, lambda url: run_sql(url, NO_ROW_SECURITY_SQL) and None)


def privileges(server: EmbeddedServer) -> list[tuple]:
    return run_sql(server.state.database_url(), PRIVILEGES_SQL)


def test_the_first_requests_change_no_privilege(server: EmbeddedServer) -> None:
    before = privileges(server)
    assert ("relation", "public", "plain") in {row[:3] for row in before}
    assert service(server.endpoint).rpc("who_am_i").status_code == 200
    assert public(server.endpoint).rpc("who_am_i").status_code == 200
    public(server.endpoint).call("GET", "/rest/v1/plain")
    assert privileges(server) == before


def test_roles_are_set_although_no_table_has_row_security(server: EmbeddedServer) -> None:
    rls = "select count(*) from pg_class where relrowsecurity and relnamespace::regnamespace <> %s"
    assert run_sql(server.state.database_url(), rls % "'auth'::regnamespace") == [(0,)]
    assert public(server.endpoint).rpc("who_am_i").json() == "anon"
    assert service(server.endpoint).rpc("who_am_i").json() == "service_role"


def test_a_table_takes_nothing_from_those_who_were_not_granted_it(server: EmbeddedServer) -> None:
    for api in (public(server.endpoint), service(server.endpoint)):
        answer = api.call("POST", "/rest/v1/plain", json={"id": 1})
        assert answer.json()["code"] == "42501"
    assert run_sql(server.state.database_url(), "select count(*) from public.plain") == [(0,)]


def test_the_login_of_the_api_is_no_superuser(server: EmbeddedServer) -> None:
    [row] = run_sql(
        server.state.api_database_url(),
        "select rolsuper, rolbypassrls, rolcreaterole, rolcreatedb from pg_roles"
        " where rolname = current_user",
    )
    assert row == (False, False, False, False)


def test_only_loopback_is_listened_on(server: EmbeddedServer) -> None:
    health = server.supervisor.health()
    assert health.postgres_pid is not None
    assert health.api_pid is not None
    # 0100007F is 127.0.0.1 in the byte order of the kernel's table.
    assert listeners(health.postgres_pid) == {"0100007F"}
    assert listeners(health.api_pid) == {"0100007F"}


def test_no_process_shows_a_secret(server: EmbeddedServer) -> None:
    health, state = server.supervisor.health(), server.state
    secrets = (state.postgres_password, state.api_password, state.jwt_secret, state.secret_key)
    for pid in (health.postgres_pid, health.api_pid):
        for name in ("cmdline", "environ"):
            shown = Path(f"/proc/{pid}/{name}").read_bytes().decode(errors="replace")
            assert not [secret for secret in secrets if secret in shown], (pid, name)


def test_files_with_secrets_are_for_their_owner_alone(server: EmbeddedServer) -> None:
    layout = server.layout
    for file in (layout.state, layout.endpoint, layout.api_log, layout.postgres_log):
        assert file.stat().st_mode & 0o077 == 0, file
    for folder in (layout.home, layout.folder, layout.data):
        assert folder.stat().st_mode & 0o077 == 0, folder


def test_nothing_that_is_printed_holds_a_secret(server: EmbeddedServer) -> None:
    state = server.state
    shown = repr(server.endpoint) + repr(state) + str(server.endpoint)
    for secret in (state.postgres_password, state.secret_key, state.jwt_secret):
        assert secret not in shown
