"""The migrations on a real server: from empty, twice, at once, killed, edited."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from pathlib import Path

import psycopg
import pytest
from database_kit import rows_of

from schema.errors import ConfigurationError, StorageError, StorageUnavailable
from storage import migrations
from storage.migrations import MigrationState, load_migrations, migrate, print_all, status

pytestmark = pytest.mark.embedded

NAMES = tuple(migration.file_name for migration in load_migrations())

#: Everything a schema consists of, in words.
_SHAPE = """
select 'column', format('%s.%s.%s', n.nspname, c.relname, a.attname),
    format('%s %s %s', format_type(a.atttypid, a.atttypmod), a.attnotnull,
        col_description(c.oid, a.attnum))
from pg_class as c join pg_namespace as n on n.oid = c.relnamespace
join pg_attribute as a on a.attrelid = c.oid and a.attnum > 0
where n.nspname in ('public', 'analytics') and c.relkind in ('r', 'v', 'm')
union all
select 'rights', c.oid::regclass::text, coalesce(c.relacl::text, 'none')
from pg_class as c where c.relnamespace in ('public'::regnamespace, 'analytics'::regnamespace)
union all
select 'constraint', conrelid::regclass || '.' || conname, pg_get_constraintdef(oid)
from pg_constraint where connamespace = 'public'::regnamespace
union all
select 'index', indexrelid::regclass::text, pg_get_indexdef(indexrelid)
from pg_index join pg_class as c on c.oid = indrelid
where c.relnamespace in ('public'::regnamespace, 'analytics'::regnamespace)
union all
select 'function', oid::regprocedure::text, md5(prosrc) || coalesce(proacl::text, 'none')
from pg_proc where pronamespace in ('public'::regnamespace, 'gridpact'::regnamespace)
union all
select 'policy', polrelid::regclass || '.' || polname,
    format('%s %s %s', polcmd, pg_get_expr(polqual, polrelid),
        pg_get_expr(polwithcheck, polrelid))
from pg_policy
union all
select 'trigger', tgrelid::regclass || '.' || tgname, pg_get_triggerdef(oid)
from pg_trigger where not tgisinternal
union all
select 'view', oid::regclass::text, pg_get_viewdef(oid)
from pg_class where relkind in ('v', 'm')
    and relnamespace in ('public'::regnamespace, 'analytics'::regnamespace)
"""


def shape_of(url: str) -> set[tuple[str, ...]]:
    with closing(psycopg.connect(url)) as connection:
        return set(rows_of(connection, _SHAPE))


def write(folder: Path, **files: str) -> Path:
    for name, text in files.items():
        number, _, rest = name.removeprefix("m").partition("_")
        (folder / f"{number}_{rest}.sql").write_text(text)
    return folder


def ask(url: str, query: str) -> list[tuple[object, ...]]:
    with closing(psycopg.connect(url)) as connection:
        return rows_of(connection, query)


def test_from_empty_and_then_there_is_nothing_to_do(empty_database_url: str) -> None:
    first = migrate(empty_database_url)
    assert (first.applied, first.version) == (NAMES, len(NAMES))
    before = shape_of(empty_database_url)
    again = migrate(empty_database_url)
    assert (again.applied, again.version) == ((), len(NAMES))
    assert shape_of(empty_database_url) == before


def test_the_history_is_where_the_supabase_command_line_looks(empty_database_url: str) -> None:
    migrate(empty_database_url)
    found = ask(
        empty_database_url,
        "select version, name, statements from supabase_migrations.schema_migrations order by 1",
    )
    assert found == [(m.version, m.name, [m.text]) for m in load_migrations()]


def test_schema_version_is_the_number_of_the_newest(empty_database_url: str) -> None:
    migrate(empty_database_url)
    assert ask(empty_database_url, "select public.schema_version()") == [(len(NAMES),)]


def test_runners_at_once_apply_each_file_once(empty_database_url: str) -> None:
    with ThreadPoolExecutor(4) as pool:
        reports = list(pool.map(migrate, [empty_database_url] * 4))
    assert sorted(name for report in reports for name in report.applied) == list(NAMES)


def test_an_edited_file_is_refused_and_nothing_is_done(
    empty_database_url: str, tmp_path: Path
) -> None:
    folder = write(tmp_path, m0001_one="create table public.one (a int);")
    migrate(empty_database_url, folder)
    write(
        tmp_path,
        m0001_one="create table public.one (a bigint);",
        m0002_two="create table public.two ();",
    )
    with pytest.raises(ConfigurationError, match=r"0001_one\.sql was edited after it was applied"):
        migrate(empty_database_url, folder)
    assert ask(empty_database_url, "select to_regclass('public.two')") == [(None,)]
    states = [entry.state for entry in status(empty_database_url, folder)]
    assert states == [MigrationState.EDITED, MigrationState.PENDING]


def test_a_failing_file_leaves_nothing_and_names_its_line(
    empty_database_url: str, tmp_path: Path
) -> None:
    folder = write(
        tmp_path,
        m0001_one="create table public.one (a int);",
        m0002_two="create table public.two ();\n\nselect nonsense from public.one;\n",
    )
    with pytest.raises(StorageError, match=r"0002_two\.sql, line 3, failed: column \"nonsense\""):
        migrate(empty_database_url, folder)
    assert ask(empty_database_url, "select to_regclass('public.two')") == [(None,)]
    assert [entry.state.value for entry in status(empty_database_url, folder)] == [
        "applied",
        "pending",
    ]


_RUN = """
import sys
from pathlib import Path
from storage.migrations import migrate
migrate(sys.argv[1], Path(sys.argv[2]))
"""


def test_killed_half_way_it_leaves_nothing_and_the_next_run_does_it_all(
    empty_database_url: str, tmp_path: Path
) -> None:
    slow = "create table public.half (a int);\nselect pg_sleep(60);\n"
    folder = write(tmp_path, m0001_one="create table public.one ();", m0002_half=slow)
    runner = subprocess.Popen([sys.executable, "-c", _RUN, empty_database_url, str(folder)])
    sleeping = (
        "select pid from pg_stat_activity where datname = current_database()"
        " and query like '%pg_sleep(60)%' and wait_event = 'PgSleep'"
    )
    try:
        deadline = time.monotonic() + 30
        while not ask(empty_database_url, sleeping):
            assert time.monotonic() < deadline, "the migration did not get to its middle"
            time.sleep(0.05)
    finally:
        os.kill(runner.pid, signal.SIGKILL)
        runner.wait()
    # The server notices that its client has gone only when it next talks to it.
    ask(empty_database_url, sleeping.replace("select pid", "select pg_terminate_backend(pid)"))
    assert ask(empty_database_url, "select to_regclass('public.half')") == [(None,)]
    assert [entry.state.value for entry in status(empty_database_url, folder)] == [
        "applied",
        "pending",
    ]
    write(tmp_path, m0002_half="create table public.half (a int);")
    assert migrate(empty_database_url, folder).applied == ("0002_half.sql",)


def test_it_does_not_wait_long_for_a_table_that_readers_hold(
    empty_database_url: str, tmp_path: Path
) -> None:
    folder = write(tmp_path, m0001_one="create table public.one (a int);")
    migrate(empty_database_url, folder)
    write(tmp_path, m0002_two="alter table public.one add column b int;")
    with closing(psycopg.connect(empty_database_url)) as reader:
        reader.execute("select * from public.one")
        began = time.monotonic()
        with pytest.raises(StorageUnavailable, match=r"0002_two\.sql waited 2 s"):
            migrate(empty_database_url, folder)
        assert time.monotonic() - began < 10
    assert migrate(empty_database_url, folder).applied == ("0002_two.sql",)


def test_what_the_supabase_command_line_applied_is_taken_as_it_is(
    empty_database_url: str, tmp_path: Path
) -> None:
    folder = write(tmp_path, m0001_one="create table public.one (a int);")
    with psycopg.connect(empty_database_url) as connection:
        connection.execute(
            "create schema supabase_migrations;"
            "create table supabase_migrations.schema_migrations"
            " (version text primary key, statements text[], name text);"
            "create table public.one (a int);"
            "insert into supabase_migrations.schema_migrations values ('0001', '{}', 'one'),"
            " ('20250101000000', '{}', 'of_another_program')"
        )
    assert migrate(empty_database_url, folder).applied == ()
    assert [(e.version, e.state.value) for e in status(empty_database_url, folder)] == [
        ("0001", "applied"),
        ("20250101000000", "unknown"),
    ]
    # From now on its checksum is known.
    write(tmp_path, m0001_one="create table public.one (a text);")
    with pytest.raises(ConfigurationError, match="edited"):
        migrate(empty_database_url, folder)


def test_the_printed_script_makes_the_same_schema(empty_database_url: str, schema_url: str) -> None:
    with closing(psycopg.connect(empty_database_url, autocommit=True)) as connection:
        connection.execute(print_all().encode())
        with pytest.raises(psycopg.errors.RaiseException, match="already has gridpact's schema"):
            connection.execute(print_all().encode())
    assert shape_of(empty_database_url) == shape_of(schema_url)
    assert migrate(empty_database_url).applied == ()


def test_a_server_before_17_is_refused_by_name(
    empty_database_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(migrations, "MIN_SERVER_VERSION", 180_000)
    with pytest.raises(ConfigurationError, match=r"PostgreSQL 17.*needs 17 or newer"):
        migrate(empty_database_url)


def test_a_database_that_is_no_supabase_is_refused(bare_database_url: str) -> None:
    with pytest.raises(ConfigurationError, match=r"no Supabase database: function auth\.uid"):
        migrate(bare_database_url)
    assert ask(bare_database_url, "select to_regnamespace('gridpact')") == [(None,)]


def test_the_files_refuse_it_too_when_pasted(bare_database_url: str) -> None:
    with (
        closing(psycopg.connect(bare_database_url, autocommit=True)) as connection,
        pytest.raises(psycopg.errors.RaiseException, match="no Supabase database"),
    ):
        connection.execute(print_all().encode())


def test_a_server_that_does_not_answer_is_worth_another_try() -> None:
    with pytest.raises(StorageUnavailable) as caught:
        migrate("postgresql://postgres:canary@127.0.0.1:1/postgres")
    assert caught.value.retryable
    assert "canary" not in str(caught.value)


def test_a_url_that_is_none_is_refused_without_repeating_it() -> None:
    with pytest.raises(ConfigurationError) as caught:
        migrate("postgresql//postgres:canary@localhost/postgres")
    assert "canary" not in str(caught.value)
