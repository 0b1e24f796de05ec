"""The schema by the Supabase advisor's lints and our own; planted faults show that they bite."""

from __future__ import annotations

import os
from pathlib import Path

import psycopg
import pytest
from embedded_fixtures import PACKAGES

from storage.advisor import advise, install_advisor
from storage.schema_lint import own_findings

pytestmark = pytest.mark.embedded

FAULTS = {
    "a table without row security": (
        "create table public.bare (id int primary key); grant select on public.bare to anon",
        "rls_disabled_in_public",
        "no_row_security",
    ),
    "a view that passes row security by": (
        "create view public.leak as table public.offers; grant select on public.leak to anon",
        "security_definer_view",
        "view_past_row_security",
    ),
    "a function with an open search path": (
        "create function public.loose() returns int language sql as 'select 1'",
        "function_search_path_mutable",
        "open_search_path",
    ),
}


@pytest.fixture(scope="session")
def advisor(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return install_advisor(PACKAGES)


def test_the_supabase_advisor_finds_nothing(advisor: Path, schema_url: str) -> None:
    findings = advise(advisor, schema_url)
    # Of a database nobody has used yet no index has been used.
    assert {finding.lint for finding in findings} <= {"unused_index"}
    assert [finding for finding in findings if finding.fails] == []


def test_the_advisor_and_our_own_rules_find_planted_faults(
    advisor: Path, database: psycopg.Connection, fresh_database_url: str
) -> None:
    for statement, _, _ in FAULTS.values():
        database.execute(statement.encode())
    failing = {finding.lint for finding in advise(advisor, fresh_database_url) if finding.fails}
    assert failing >= {lint for _, lint, _ in FAULTS.values()}
    own = {finding.lint for finding in own_findings(database)}
    assert own == {rule for _, _, rule in FAULTS.values()} | {"no_comment"}


def test_our_own_rules_find_nothing(schema: psycopg.Connection) -> None:
    assert own_findings(schema) == []


@pytest.mark.parametrize(
    ("fault", "rule", "detail"),
    [
        ("comment on column public.offers.currency is null", "no_comment", "offers.currency"),
        ("comment on table public.offers is null", "no_comment", "table public.offers"),
        ("comment on function public.ingest(jsonb) is null", "no_comment", "ingest(jsonb)"),
        ("grant insert on public.offers to anon", "unexpected_write", "insert on offers by anon"),
        ("grant update on public.agents to authenticated", "unexpected_write", "update on agents"),
        (
            "grant execute on function gridpact.row_id(text, text[]) to anon",
            "helper_within_reach",
            "row_id(text,text[]) by anon",
        ),
        (
            "drop index analytics.current_grid_status_key",
            "unrefreshable_view",
            "analytics.current_grid_status",
        ),
    ],
)
def test_our_own_rules_bite(schema: psycopg.Connection, fault: str, rule: str, detail: str) -> None:
    schema.execute(fault.encode())
    [finding] = own_findings(schema)
    assert finding.lint == rule
    assert detail in finding.detail


def test_the_password_is_not_on_the_command_line(
    tmp_path: Path, schema_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    spy = tmp_path / "supabase"
    spy.write_text(
        '#!/bin/sh\necho "$@" > "$SPY"\n'.replace("$SPY", str(tmp_path / "seen"))
        + f'echo "$PGPASSWORD" > {tmp_path / "given"}\n'
        + f"env > {tmp_path / 'environment'}\n"
        + "echo '{\"results\": []}'\n"
    )
    spy.chmod(0o755)
    monkeypatch.setitem(os.environ, "SUPABASE_KEY", "canary")
    assert advise(spy, schema_url) == []
    password = (tmp_path / "given").read_text().strip()
    assert password
    assert password not in (tmp_path / "seen").read_text()
    assert "canary" not in (tmp_path / "environment").read_text()
