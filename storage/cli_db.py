"""``gridpact db``: the schema of the database, and questions in SQL."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Annotated

import psycopg
import typer
from psycopg.rows import dict_row

from schema.errors import ConfigurationError, InputError, StorageUnavailable
from schema.settings import Settings
from storage.advisor import Finding, advise, install_advisor
from storage.embedded.attach import attach_or_start
from storage.embedded.supervisor import Migrate
from storage.home import packages_folder, resolve_home
from storage.migrations import MigrationReport, MigrationState, migrate, print_all, status
from storage.present import form, write_json, write_rows
from storage.schema_docs import describe_schema
from storage.schema_lint import own_findings
from storage.settings_loader import load_settings

app = typer.Typer(no_args_is_help=True, help="The schema of the database, and questions in SQL.")

_Json = Annotated[bool, typer.Option("--json", help="Print one JSON document.")]
_Csv = Annotated[bool, typer.Option("--csv", help="Print CSV.")]

_QUERY_TIMEOUT = "60s"


@app.command("migrate")
def migrate_command(*, as_json: _Json = False) -> None:
    """Apply the migrations the database lacks; does nothing when it has them all."""
    reports: list[MigrationReport] = []

    def apply(database_url: str) -> MigrationReport:
        reports.append(migrate(database_url))
        return reports[-1]

    settings = load_settings()
    # The embedded server applies them itself when it starts, and its API must start after.
    with _database(settings, apply) as url:
        if not reports:
            apply(url)
    # Starting may have applied them before the last look, which then found nothing to do.
    applied = [name for report in reports for name in report.applied]
    version = reports[-1].version
    if as_json:
        write_json({"applied": applied, "version": version})
        return
    for name in applied:
        typer.echo(f"applied {name}")
    typer.echo(f"the database is at version {version}" + ("" if applied else ": nothing to do"))


@app.command("status")
def status_command(*, as_json: _Json = False, as_csv: _Csv = False) -> None:
    """Say which migrations the database has. Exit 1 when some are pending or were edited."""
    with _database(load_settings(), None) as url:
        found = status(url)
    rows = [
        {
            "version": entry.version,
            "name": entry.name,
            "state": entry.state.value,
            "applied_at": entry.applied_at,
        }
        for entry in found
    ]
    write_rows(rows, form(as_json=as_json, as_csv=as_csv), title="Migrations")
    if any(entry.state in {MigrationState.PENDING, MigrationState.EDITED} for entry in found):
        raise typer.Exit(1)


@app.command("print")
def print_command() -> None:
    """Print the whole schema as one script, for the SQL editor of an empty Supabase project."""
    sys.stdout.write(print_all())


@app.command()
def lint(*, as_json: _Json = False) -> None:
    """Check the schema by the Supabase advisor's lints and our own. Exit 1 on a finding."""
    settings = load_settings()
    program = install_advisor(packages_folder(settings.home or resolve_home()), progress=_say)
    with _database(settings, migrate) as url:
        with _connected(url) as connection:
            findings = own_findings(connection)
        findings += advise(program, url)
    failing = [finding for finding in findings if finding.fails]
    if as_json:
        write_json([finding._asdict() for finding in findings])
    else:
        _print_findings(findings, failing)
    if failing:
        raise typer.Exit(1)


@app.command()
def query(
    statement: Annotated[
        str,
        typer.Argument(metavar="SQL", help="One statement that reads; '-' reads it from stdin."),
    ],
    *,
    as_json: _Json = False,
    as_csv: _Csv = False,
) -> None:
    """Ask the database something in SQL; it may read everything and change nothing."""
    text = sys.stdin.read() if statement == "-" else statement
    with _database(load_settings(), migrate) as url, _connected(url) as connection:
        rows = read(connection, text)
    write_rows(rows, form(as_json=as_json, as_csv=as_csv))


@app.command(hidden=True)
def docs() -> None:
    """Print docs/reference/schema.md, made from the comments of the database."""
    with _database(load_settings(), migrate) as url, _connected(url) as connection:
        sys.stdout.write(describe_schema(connection))


def read(connection: psycopg.Connection, statement: str) -> list[dict[str, object]]:
    """Run one statement in a read-only transaction and give its rows.

    Raises:
        InputError: The statement is wrong, gives no rows, or would change something.
    """
    try:
        with connection.transaction(), connection.cursor(row_factory=dict_row) as cursor:
            cursor.execute("set transaction read only")
            cursor.execute(f"set local statement_timeout = '{_QUERY_TIMEOUT}'".encode())
            # As a prepared statement, so that it is one: a second one could undo "read only".
            cursor.execute(statement.strip().rstrip(";").encode(), prepare=True)
            if cursor.description is None:
                msg = "this statement gives no rows; ask with select, with, values or explain"
                raise InputError(msg)
            return cursor.fetchall()
    except psycopg.OperationalError as exc:
        if not isinstance(exc, psycopg.errors.QueryCanceled):
            msg = f"the database went away: {exc}"
            raise StorageUnavailable(msg) from exc
        msg = f"the statement took longer than {_QUERY_TIMEOUT} and was stopped"
        raise InputError(msg) from exc
    except psycopg.errors.ReadOnlySqlTransaction as exc:
        msg = f"db query only reads: {exc.diag.message_primary}"
        raise InputError(msg) from exc
    except psycopg.errors.SyntaxError as exc:
        several = "multiple commands" in str(exc)
        msg = "one statement at a time" if several else str(exc).strip()
        raise InputError(msg) from exc
    except psycopg.Error as exc:
        hint = f" ({exc.diag.message_hint})" if exc.diag.message_hint else ""
        msg = f"{exc.diag.message_primary or exc}{hint}"
        raise InputError(msg) from exc


@contextmanager
def _database(settings: Settings, apply: Migrate | None) -> Iterator[str]:
    """Give the URL of the database's owner: the hosted one's, or that of the embedded one."""
    if settings.supabase_db_url is not None:
        yield settings.supabase_db_url.get_secret_value()
        return
    if settings.hosted:
        msg = (
            "SUPABASE_URL is set, but SUPABASE_DB_URL is not: SQL does not go through "
            "SUPABASE_KEY. Copy the direct connection string from the project's page (Connect), "
            "with the database password; or paste the output of `db print` into its SQL editor"
        )
        raise ConfigurationError(msg, setting="SUPABASE_DB_URL")
    with attach_or_start(settings, migrate=apply, progress=_say) as endpoint:
        assert endpoint.database_url is not None
        yield endpoint.database_url


@contextmanager
def _connected(database_url: str) -> Iterator[psycopg.Connection]:
    try:
        connection = psycopg.connect(database_url, autocommit=True, application_name="gridpact db")
    except psycopg.Error as exc:
        msg = f"the database cannot be reached: {str(exc).strip().splitlines()[0]}"
        raise StorageUnavailable(msg) from exc
    with connection:
        yield connection


def _print_findings(findings: list[Finding], failing: list[Finding]) -> None:
    for finding in failing:
        typer.echo(f"{finding.level} {finding.lint}: {finding.detail}\n    {finding.remedy}")
    rest = len(findings) - len(failing)
    typer.echo(f"{len(failing)} to mend, {rest} for information (--json shows all)")


def _say(line: str) -> None:
    print(line, file=sys.stderr, flush=True)
