"""A hosted Supabase as gridpact sees it, and what is in its tables after a run."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import psycopg
from embedded_fixtures import PACKAGES, EmbeddedServer
from process_kit import Finished, Launched, run
from psycopg import sql
from supabase_gate import Gate

_UUID = re.compile(r"[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}")


def make_home(folder: Path) -> Path:
    """Make a state folder that shares the installed programs; root's homes do so anyway."""
    folder.mkdir(mode=0o700, parents=True)
    if not (folder / "packages").exists():
        (folder / "packages").symlink_to(PACKAGES)
    return folder


@dataclass
class World:
    """A hosted Supabase as gridpact sees it: an address and a secret key, and nothing else."""

    gate: Gate
    server: EmbeddedServer
    home: Path
    folder: Path
    launched: list[Launched] = field(default_factory=list)

    @property
    def environment(self) -> Mapping[str, str]:
        return {
            "SUPABASE_URL": self.gate.url,
            "SUPABASE_KEY": self.server.endpoint.secret_key,
        }

    def launch(self, *arguments: str, **environment: str) -> Launched:
        started = Launched(arguments, self.home, self.folder, {**self.environment, **environment})
        self.launched.append(started)
        return started

    def run(self, *arguments: str) -> Finished:
        return run(*arguments, home=self.home, folder=self.folder, environment=self.environment)

    def rows(self, run_id: str) -> dict[str, list[str]]:
        """Give every table's rows of a run without what differs between two equal runs."""
        url = self.server.endpoint.database_url
        assert url is not None
        with closing(psycopg.connect(url)) as connection:
            return {table: _rows(connection, table, run_id) for table in _tables(connection)}

    def confirmed(self) -> int:
        """Count the orders of all runs that a provider confirmed."""
        url = self.server.endpoint.database_url
        assert url is not None
        with closing(psycopg.connect(url)) as connection:
            found = connection.execute(
                "select count(*) from beckn_transactions where action = 'on_confirm'"
            ).fetchone()
        assert found is not None
        return int(found[0])

    def count(self, run_id: str) -> int:
        return sum(len(rows) for rows in self.rows(run_id).values())


def _tables(connection: psycopg.Connection[tuple[Any, ...]]) -> list[str]:
    return [
        name
        for (name,) in connection.execute(
            "select table_name from information_schema.columns where table_schema = 'public'"
            " and column_name = 'run_id' and table_name in (select table_name from"
            " information_schema.tables where table_type = 'BASE TABLE') order by 1"
        )
    ]


def _rows(
    connection: psycopg.Connection[tuple[Any, ...]], table: str, run_id: str
) -> Sequence[str]:
    """Rows as text, in order of their text.

    Ids follow from the run's, so they are written as one word wherever they stand. Left out is
    what the wall clock and the placement of processes decide, and versions: a fetcher that lost
    its memory says what it said before once more, as a newer version of the same row.
    """
    found = connection.execute(
        sql.SQL(
            "select (to_jsonb(t) - array['id', 'run_id', 'retrieved_at', 'recorded_at',"
            " 'updated_at', 'node', 'summary', 'version'])::text from {} t where run_id = %s"
        ).format(sql.Identifier(table)),
        [run_id],
    )
    return sorted(_UUID.sub("<uuid>", text) for (text,) in found)
