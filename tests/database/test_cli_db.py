"""``db`` as a user meets it."""

from __future__ import annotations

import json

import pytest
from embedded_fixtures import PACKAGES
from typer.testing import CliRunner

from schema.errors import ConfigurationError, InputError
from schema.settings import Settings
from storage import cli_db
from storage.migrations import load_migrations, print_all

NAMES = [migration.file_name for migration in load_migrations()]


class Cli:
    """Runs ``db`` commands with settings of the test's own."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, **settings: str) -> None:
        found = Settings(_env_file=None, **settings)  # type: ignore[call-arg]
        monkeypatch.setattr(cli_db, "load_settings", lambda: found)

    def run(self, *arguments: str, stdin: str | None = None) -> tuple[int, str]:
        result = CliRunner().invoke(cli_db.app, arguments, input=stdin)
        if result.exception is not None and not isinstance(result.exception, SystemExit):
            raise result.exception
        return result.exit_code, result.stdout


@pytest.fixture
def empty(monkeypatch: pytest.MonkeyPatch, empty_database_url: str) -> Cli:
    return Cli(monkeypatch, SUPABASE_DB_URL=empty_database_url)


@pytest.fixture
def migrated(monkeypatch: pytest.MonkeyPatch, schema_url: str) -> Cli:
    return Cli(monkeypatch, SUPABASE_DB_URL=schema_url)


@pytest.mark.embedded
def test_migrate_says_what_it_applied_and_then_that_there_is_nothing_to_do(empty: Cli) -> None:
    code, before = empty.run("status", "--json")
    assert code == 1
    assert {row["state"] for row in json.loads(before)} == {"pending"}
    code, said = empty.run("migrate", "--json")
    assert (code, json.loads(said)) == (0, {"applied": NAMES, "version": len(NAMES)})
    code, said = empty.run("migrate")
    assert (code, said) == (0, f"the database is at version {len(NAMES)}: nothing to do\n")
    code, after = empty.run("status", "--csv")
    assert code == 0
    assert after.splitlines()[0] == "version,name,state,applied_at"
    assert len(after.splitlines()) == 1 + len(NAMES)


@pytest.mark.embedded
def test_query_answers_in_three_forms(migrated: Cli) -> None:
    text = "select region_id, short_name from uk_regions where region_id = 13"
    assert json.loads(migrated.run("query", text, "--json")[1]) == [
        {"region_id": 13, "short_name": "London"}
    ]
    assert migrated.run("query", text, "--csv")[1].split() == ["region_id,short_name", "13,London"]
    code, table = migrated.run("query", "-", stdin=text + ";\n")
    assert code == 0
    assert "London" in table


@pytest.mark.embedded
def test_query_refuses_to_write(migrated: Cli) -> None:
    with pytest.raises(InputError, match="db query only reads"):
        migrated.run("query", "drop table uk_regions")


@pytest.mark.embedded
def test_lint_is_clean(migrated: Cli, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cli_db, "packages_folder", lambda _home: PACKAGES)
    code, said = migrated.run("lint")
    assert (code, said.startswith("0 to mend")) == (0, True)
    code, said = migrated.run("lint", "--json")
    assert {row["level"] for row in json.loads(said)} <= {"INFO"}


def test_print_needs_no_database(monkeypatch: pytest.MonkeyPatch) -> None:
    code, said = Cli(monkeypatch).run("print")
    assert (code, said) == (0, print_all())


@pytest.mark.parametrize("command", [["migrate"], ["status"], ["query", "select 1"]])
def test_a_hosted_project_without_its_database_url_says_where_to_find_it(
    monkeypatch: pytest.MonkeyPatch, command: list[str]
) -> None:
    cli = Cli(monkeypatch, SUPABASE_URL="https://x.supabase.co", SUPABASE_KEY="sb_secret_canary")
    with pytest.raises(ConfigurationError, match=r"SUPABASE_DB_URL is not.*Connect") as caught:
        cli.run(*command)
    assert "canary" not in str(caught.value)
