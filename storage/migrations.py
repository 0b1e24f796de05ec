"""Brings a database to this program's schema: numbered files, forward only.

The files lie in ``schema/sql/migrations`` and are named ``NNNN_name.sql``. Which ones a database
has is kept where the Supabase CLI keeps it (``supabase_migrations.schema_migrations``), so
``supabase db push`` and this runner see the same history. The CLI keeps no checksum; ours are in
``gridpact.migration_checksums``: a file that was edited after it was applied is refused.

Each file runs in one transaction together with its entry in the history: killed half way, it
leaves nothing. An advisory lock, held to the end of that transaction, keeps two runners apart
and also holds behind a transaction pooler.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from enum import StrEnum
from hashlib import sha256
from importlib import resources
from importlib.resources.abc import Traversable

import psycopg

from schema.errors import ConfigurationError, StorageError, StorageUnavailable

MIN_SERVER_VERSION = 170_000
"""``maintain``, the right to refresh a view without owning it, came with 17."""

_NAME = re.compile(r"(\d{4})_([a-z0-9_]+)\.sql")
_LOCK = int.from_bytes(b"gridpact")
_CONNECT_TIMEOUT_S = 10

_BOOKS = """
create schema if not exists supabase_migrations;
create table if not exists supabase_migrations.schema_migrations (version text primary key);
alter table supabase_migrations.schema_migrations
    add column if not exists statements text[],
    add column if not exists name text;
create schema if not exists gridpact;
create table if not exists gridpact.migration_checksums (
    version text primary key,
    sha256 text not null,
    applied_at timestamptz not null default now()
);
comment on table gridpact.migration_checksums is
    'Checksums of the migration files as they were applied: an edited one is refused.';
"""

_PLATFORM = """
select
    current_setting('server_version_num')::integer,
    current_setting('server_version'),
    array(
        select name from unnest(array['anon', 'authenticated', 'service_role']) as t (name)
        where not exists (select from pg_catalog.pg_roles where rolname = t.name)
    ),
    to_regprocedure('auth.uid()') is not null
"""


class MigrationState(StrEnum):
    """Where one migration stands in one database."""

    APPLIED = "applied"
    PENDING = "pending"
    EDITED = "edited"
    """Applied, but the file is no longer the one that was."""
    UNKNOWN = "unknown"
    """In the database's history, but no file of ours: another program's, or a newer gridpact's."""


@dataclass(frozen=True, slots=True)
class Migration:
    """One file."""

    version: str
    name: str
    text: str

    @property
    def file_name(self) -> str:
        """Name of the file."""
        return f"{self.version}_{self.name}.sql"

    @property
    def sha256(self) -> str:
        """Checksum of the text, hexadecimal."""
        return sha256(self.text.encode()).hexdigest()


@dataclass(frozen=True, slots=True)
class MigrationReport:
    """What a run of the migrations did.

    Attributes:
        applied: File names, in order; empty when there was nothing to do.
        version: Number of the newest migration the database now has.
    """

    applied: tuple[str, ...]
    version: int


@dataclass(frozen=True, slots=True)
class MigrationStatus:
    """One migration in one database; ``applied_at`` is ISO 8601, None when not known."""

    version: str
    name: str
    state: MigrationState
    applied_at: str | None = None


@dataclass(frozen=True, slots=True)
class _Applied:
    name: str
    sha256: str | None
    applied_at: str | None


def load_migrations(folder: Traversable | None = None) -> tuple[Migration, ...]:
    """Read the migration files in order.

    Args:
        folder: Holds the files; ours when None.

    Raises:
        ConfigurationError: A file is named wrongly, or a number is used twice.
    """
    place = folder or resources.files("schema").joinpath("sql", "migrations")
    found: dict[str, Migration] = {}
    for entry in sorted(place.iterdir(), key=lambda item: item.name):
        if not entry.name.endswith(".sql"):
            continue
        named = _NAME.fullmatch(entry.name)
        if named is None:
            msg = (
                f"migration file {entry.name!r} is not named as it must be: four digits, "
                "underscore, lower-case name, as in 0008_more_views.sql"
            )
            raise ConfigurationError(msg, file=entry.name)
        version, name = named.groups()
        if version in found:
            msg = f"two migration files have number {version}: {found[version].name} and {name}"
            raise ConfigurationError(msg, file=entry.name)
        found[version] = Migration(version, name, entry.read_text(encoding="utf-8"))
    return tuple(found.values())


def migrate(database_url: str, folder: Traversable | None = None) -> MigrationReport:
    """Apply what the database lacks.

    Args:
        database_url: As the owner of the schema (``postgres``).
        folder: Holds the migration files; ours when None.

    Raises:
        ConfigurationError: The server is older than 17, is no Supabase database, the role may
            not do it, or an applied file was edited.
        StorageUnavailable: The server does not answer, or a lock is held for too long; try again.
        StorageError: A migration failed; nothing of that file was applied.
    """
    migrations = load_migrations(folder)
    applied: list[str] = []
    with _connected(database_url) as connection:
        _check_platform(connection)
        history = _read_history(connection)
        _refuse_edited(migrations, history)
        for migration in migrations:
            if _is_done(migration, history):
                continue
            if _apply(connection, migration):
                applied.append(migration.file_name)
    newest = max((int(migration.version) for migration in migrations), default=0)
    return MigrationReport(tuple(applied), newest)


def status(database_url: str, folder: Traversable | None = None) -> tuple[MigrationStatus, ...]:
    """Say for each migration, ours or in the database's history, where it stands."""
    migrations = {migration.version: migration for migration in load_migrations(folder)}
    with _connected(database_url) as connection:
        history = _read_history(connection)
    rows: list[MigrationStatus] = []
    for version in sorted({*migrations, *history}):
        ours, theirs = migrations.get(version), history.get(version)
        if ours is None:
            assert theirs is not None
            state, name = MigrationState.UNKNOWN, theirs.name
        elif theirs is None:
            state, name = MigrationState.PENDING, ours.name
        elif theirs.sha256 not in {None, ours.sha256}:
            state, name = MigrationState.EDITED, ours.name
        else:
            state, name = MigrationState.APPLIED, ours.name
        rows.append(MigrationStatus(version, name, state, theirs.applied_at if theirs else None))
    return tuple(rows)


def print_all(folder: Traversable | None = None) -> str:
    """Give the whole schema as one script, for the SQL editor of an empty Supabase project.

    It also writes the history, so that ``db migrate`` and the Supabase CLI go on from there.
    """
    migrations = load_migrations(folder)
    parts = [_SCRIPT_HEAD, _BOOKS, _REFUSE_SECOND_PASTE]
    for migration in migrations:
        rule = "-" * 80
        parts.append(f"{rule}\n-- {migration.file_name}\n{rule}\n\n{migration.text.rstrip()}\n")
        parts.append(
            "insert into supabase_migrations.schema_migrations (version, name, statements)\n"
            f"values ('{migration.version}', '{migration.name}', '{{}}');\n"
            "insert into gridpact.migration_checksums (version, sha256)\n"
            f"values ('{migration.version}', '{migration.sha256}');\n"
        )
    parts.append("commit;\n")
    return "\n".join(parts)


_SCRIPT_HEAD = """-- The whole schema of gridpact as one script, for an empty Supabase project.
-- Made by: run_cluster.py db print

begin;
"""

_REFUSE_SECOND_PASTE = """do $$
begin
    if exists (select from gridpact.migration_checksums) then
        raise exception 'this database already has gridpact''s schema'
            using hint = 'Bring it up to date with "run_cluster.py db migrate".';
    end if;
end
$$;
"""


@contextmanager
def _connected(database_url: str) -> Iterator[psycopg.Connection]:
    try:
        connection = psycopg.connect(
            database_url,
            autocommit=True,
            # A transaction pooler forgets prepared statements between transactions.
            prepare_threshold=None,
            connect_timeout=_CONNECT_TIMEOUT_S,
            application_name="gridpact migrate",
        )
    except psycopg.OperationalError as exc:
        # Its text names host, port and user, never the password.
        msg = f"the database cannot be reached: {_first_line(exc)}"
        raise StorageUnavailable(msg) from exc
    except psycopg.ProgrammingError as exc:
        # Its text repeats the URL, which may hold a password.
        msg = (
            "the database URL cannot be read; it looks like "
            "postgresql://postgres:PASSWORD@HOST:5432/postgres"
        )
        raise ConfigurationError(msg) from exc
    with connection:
        yield connection


def _check_platform(connection: psycopg.Connection) -> None:
    row = connection.execute(_PLATFORM).fetchone()
    assert row is not None
    number, text, missing_roles, has_auth = row
    if number < MIN_SERVER_VERSION:
        msg = (
            f"this server is PostgreSQL {text}; gridpact needs 17 or newer. Upgrade the project, "
            "or unset SUPABASE_URL to use the embedded one"
        )
        raise ConfigurationError(msg, found=text)
    missing = [f"role {name}" for name in missing_roles]
    if not has_auth:
        missing.append("function auth.uid()")
    if missing:
        msg = (
            f"this is no Supabase database: {', '.join(missing)} missing. Use the database of a "
            "Supabase project, or the embedded one (run_cluster.py supabase up)"
        )
        raise ConfigurationError(msg, missing=missing)


def _read_history(connection: psycopg.Connection) -> dict[str, _Applied]:
    found = connection.execute(
        "select to_regclass('supabase_migrations.schema_migrations') is not null,"
        " to_regclass('gridpact.migration_checksums') is not null"
    ).fetchone()
    assert found is not None
    has_history, has_checksums = found
    if not has_history:
        return {}
    names = connection.execute(
        "select version, coalesce(to_jsonb(t) ->> 'name', '')"
        " from supabase_migrations.schema_migrations as t"
    ).fetchall()
    sums: dict[str, tuple[str, str]] = {}
    if has_checksums:
        sums = {
            version: (checksum, applied_at)
            for version, checksum, applied_at in connection.execute(
                "select version, sha256,"
                " to_char(applied_at at time zone 'UTC', 'YYYY-MM-DD\"T\"HH24:MI:SS\"Z\"')"
                " from gridpact.migration_checksums"
            )
        }
    unknown = (None, None)
    return {version: _Applied(name, *sums.get(version, unknown)) for version, name in names}


def _is_done(migration: Migration, history: Mapping[str, _Applied]) -> bool:
    entry = history.get(migration.version)
    return entry is not None and entry.sha256 is not None


def _refuse_edited(migrations: Iterable[Migration], history: Mapping[str, _Applied]) -> None:
    for migration in migrations:
        entry = history.get(migration.version)
        if entry is None or entry.sha256 in {None, migration.sha256}:
            continue
        msg = (
            f"migration {migration.file_name} was edited after it was applied to this database "
            f"(applied with checksum {str(entry.sha256)[:12]}, now {migration.sha256[:12]}). "
            "Migrations only go forward: restore the file and put the change into a new one"
        )
        raise ConfigurationError(msg, file=migration.file_name)


def _apply(connection: psycopg.Connection, migration: Migration) -> bool:
    """Apply one file in one transaction; False when another runner was first."""
    try:
        with connection.transaction():
            connection.execute("select pg_advisory_xact_lock(%s)", (_LOCK,))
            connection.execute(_BOOKS)
            history = _read_history(connection)
            _refuse_edited((migration,), history)
            if _is_done(migration, history):
                return False
            known = migration.version in history
            if not known:
                # Readers of the last release must not queue behind a lock we wait for.
                connection.execute("set local lock_timeout = '2s'")
                connection.execute(migration.text.encode())
                connection.execute(
                    "insert into supabase_migrations.schema_migrations (version, name, statements)"
                    " values (%s, %s, %s)",
                    (migration.version, migration.name, [migration.text]),
                )
            # A file that the Supabase CLI applied is in the history without our checksum.
            connection.execute(
                "insert into gridpact.migration_checksums (version, sha256) values (%s, %s)",
                (migration.version, migration.sha256),
            )
            return not known
    except psycopg.errors.InsufficientPrivilege as exc:
        msg = (
            f"the role of this database URL may not apply {migration.file_name}: "
            f"{_first_line(exc)}. Use the URL of the user postgres"
        )
        raise ConfigurationError(msg, file=migration.file_name) from exc
    except psycopg.errors.LockNotAvailable as exc:
        msg = (
            f"{migration.file_name} waited 2 s for a table that others use and gave up; nothing "
            "of it was applied. Try again when less is going on"
        )
        raise StorageUnavailable(msg, file=migration.file_name) from exc
    except psycopg.OperationalError as exc:
        msg = (
            f"the connection ended while {migration.file_name} was applied: {_first_line(exc)}. "
            "Run it again: a file is applied whole or not at all"
        )
        raise StorageUnavailable(msg, file=migration.file_name) from exc
    except psycopg.Error as exc:
        msg = (
            f"migration {_place(migration, exc)} failed: {_explain(exc)}; nothing of it was applied"
        )
        raise StorageError(msg, file=migration.file_name, sqlstate=exc.sqlstate) from exc


def _place(migration: Migration, exc: psycopg.Error) -> str:
    position = exc.diag.statement_position
    if position is None:
        return migration.file_name
    return f"{migration.file_name}, line {migration.text.count(chr(10), 0, int(position) - 1) + 1},"


def _explain(exc: psycopg.Error) -> str:
    text = exc.diag.message_primary or _first_line(exc)
    return f"{text} ({exc.diag.message_hint})" if exc.diag.message_hint else text


def _first_line(exc: psycopg.Error) -> str:
    lines = str(exc).strip().splitlines()
    return lines[0] if lines else type(exc).__name__
