"""The yardstick: psycopg COPY into a temporary table, then one upsert, transaction by transaction.

It is the fast ordinary way into PostgreSQL from Python, and promises less than ours: no queue on
disk, no retry, one connection to the database itself, which a hosted project's key cannot open.
"""

from __future__ import annotations

from collections.abc import Sequence
from types import TracebackType
from typing import Self

import psycopg
from psycopg import sql

from schema.errors import StorageError
from schema.rows import TABLES, Record
from storage.bench.rows import TABLE

_IDENTITY = frozenset({"id", *TABLES[TABLE].key})

Values = tuple[object, ...]


class CopyPath:
    """One connection to the database as its owner.

    Args:
        database_url: Of the database.
        batch_rows: Rows of a transaction.
    """

    def __init__(self, database_url: str, batch_rows: int) -> None:
        self._connection = psycopg.connect(database_url, autocommit=True)
        self._batch_rows = batch_rows

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._connection.close()

    def quieten(self) -> None:
        """Have the server do now what it would else do in the midst of a measurement."""
        self._connection.execute(sql.SQL("vacuum (analyze) {}").format(sql.Identifier(TABLE)))
        self._connection.execute("checkpoint")

    def store(self, columns: Sequence[str], rows: Sequence[Values]) -> None:
        """Insert rows, or update those whose ids are there.

        Raises:
            StorageError: Some were not written, so their time would tell nothing.
        """
        written = sum(
            self._store_batch(columns, rows[first : first + self._batch_rows])
            for first in range(0, len(rows), self._batch_rows)
        )
        if written != len(rows):
            msg = f"COPY and its upsert wrote {written} of {len(rows)} rows of {TABLE}"
            raise StorageError(msg, table=TABLE)

    def _store_batch(self, columns: Sequence[str], rows: Sequence[Values]) -> int:
        names = sql.SQL(", ").join(map(sql.Identifier, columns))
        changes = sql.SQL(", ").join(
            sql.SQL("{0} = excluded.{0}").format(sql.Identifier(name))
            for name in columns
            if name not in _IDENTITY
        )
        parts = {"table": sql.Identifier("public", TABLE), "names": names, "changes": changes}
        with self._connection.transaction(), self._connection.cursor() as cursor:
            cursor.execute(
                sql.SQL(
                    "create temporary table bench_stage on commit drop as "
                    "select {names} from {table} with no data"
                ).format(**parts)
            )
            copying = sql.SQL("copy bench_stage ({names}) from stdin").format(**parts)
            with cursor.copy(copying) as copy:
                for row in rows:
                    copy.write_row(row)
            # The rule of the ingest function: only a newer version replaces.
            cursor.execute(
                sql.SQL(
                    "insert into {table} as t ({names}) select {names} from bench_stage "
                    "on conflict (id) do update set {changes}, updated_at = now() "
                    "where excluded.version > t.version"
                ).format(**parts)
            )
            return cursor.rowcount


def as_values(records: Sequence[Record]) -> tuple[list[str], list[Values]]:
    """Give the names of the columns, and each record's values."""
    contents = [record.columns() for record in records]
    return list(contents[0]), [tuple(content.values()) for content in contents]
