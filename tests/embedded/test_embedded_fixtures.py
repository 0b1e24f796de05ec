"""What other folders' tests build on: the shared server and a fresh database each."""

from __future__ import annotations

import pytest
from embedded_fixtures import EmbeddedServer
from embedded_kit import run_sql, service

pytestmark = pytest.mark.embedded

TABLES = """
select count(*) from pg_tables where schemaname = 'public'
"""


def test_a_fresh_database_is_migrated_like_the_servers_own(
    supabase_server: EmbeddedServer, fresh_database_url: str
) -> None:
    [(own,)] = run_sql(supabase_server.state.database_url(), TABLES)
    assert own > 0
    assert run_sql(fresh_database_url, TABLES) == [(own,)]
    assert run_sql(fresh_database_url, "select auth.uid()") == [(None,)]


@pytest.mark.parametrize("turn", [1, 2])
def test_what_one_test_does_to_its_database_no_other_sees(
    fresh_database_url: str, turn: int
) -> None:
    assert run_sql(fresh_database_url, "select to_regclass('public.scratch')") == [(None,)]
    run_sql(fresh_database_url, "create table public.scratch ()")


def test_the_shared_server_answers(supabase_server: EmbeddedServer) -> None:
    answer = service(supabase_server.endpoint).call("GET", "/rest/v1/uk_regions?select=region_id")
    assert answer.status_code == 200
    # The API's regions 1 to 14, seeded by a migration.
    assert sorted(row["region_id"] for row in answer.json()) == list(range(1, 15))
