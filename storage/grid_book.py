"""Grid facts on disk, in the same transaction as the rows they came from.

Belongs to the writer thread, but for ``facts``: readers of other threads may call it at any time,
because what it reads is replaced whole and never changed.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Iterable, Mapping
from types import MappingProxyType

import orjson

from storage.grid_facts import (
    ALWAYS,
    FACT_COLUMNS,
    Fact,
    FactRow,
    GridFacts,
    apply_changes,
    changes,
    without_before,
)
from storage.spool_rows import NewRow

#: Facts of older runs are forgotten at the next start; their rows are in Supabase.
KEPT_RUNS = 8

_UPSERT = """
insert into grid_facts (run, id, tbl, version, starts_at, payload) values (?, ?, ?, ?, ?, ?)
on conflict (run, id) do update set
    version = excluded.version, starts_at = excluded.starts_at, payload = excluded.payload
"""


class GridBook:
    """Facts of the latest runs: loaded at start, folded with every commit."""

    def __init__(self, db: sqlite3.Connection) -> None:
        self._db = db
        self._published: Mapping[int, GridFacts] = MappingProxyType(self._load())
        self._staged: dict[int, GridFacts] = {}

    def facts(self, run: int) -> GridFacts:
        """Give the facts of a run as of the last commit."""
        return self._published.get(run, GridFacts())

    def absorb(self, rows: Iterable[NewRow]) -> None:
        """Fold new rows and write what changed; visible after ``publish``."""
        by_run: dict[int, list[FactRow]] = {}
        for row in rows:
            record = row.record
            if record.table in FACT_COLUMNS:
                fact = FactRow(record.table, record.id, record.version, row.columns)
                by_run.setdefault(row.run, []).append(fact)
        for run, facts in by_run.items():
            state = self._staged.get(run) or self.facts(run)
            changed = changes(state, facts)
            if not changed.entries:
                continue
            entries = changed.entries.items()
            self._db.executemany(_UPSERT, [_row(run, key, fact) for key, fact in entries])
            after = apply_changes(state, changed)
            self._write_version(run, after)
            self._staged[run] = after

    def forget_before(self, run: int, starts_at: int) -> None:
        """Drop dated facts of a run that start before an instant; visible after ``publish``."""
        state = self._staged.get(run) or self.facts(run)
        kept = without_before(state, starts_at)
        if kept is not state:
            self._db.execute(
                "delete from grid_facts where run = ? and starts_at <> ? and starts_at < ?",
                (run, ALWAYS, starts_at),
            )
            self._staged[run] = kept

    def publish(self) -> None:
        """Show what was staged, after the commit."""
        if self._staged:
            self._published = MappingProxyType({**self._published, **self._staged})
            self._staged = {}

    def discard(self) -> None:
        """Forget what was staged, after a rollback."""
        self._staged = {}

    def _write_version(self, run: int, facts: GridFacts) -> None:
        self._db.execute("update runs set grid_version = ? where no = ?", (facts.version, run))

    def _load(self) -> dict[int, GridFacts]:
        self._db.execute(
            "delete from grid_facts where run <= (select max(no) from runs) - ?", (KEPT_RUNS,)
        )
        versions = dict(self._db.execute("select no, grid_version from runs"))
        tables: dict[int, dict[str, Fact]] = {}
        for run, key, table, version, starts_at, payload in self._db.execute(
            "select run, id, tbl, version, starts_at, payload from grid_facts"
        ):
            text = key.hex()
            row_id = f"{text[:8]}-{text[8:12]}-{text[12:16]}-{text[16:20]}-{text[20:]}"
            fact = Fact(table, version, starts_at, tuple(orjson.loads(payload)))
            tables.setdefault(run, {})[row_id] = fact
        return {
            run: GridFacts(versions.get(run, 0), MappingProxyType(facts))
            for run, facts in tables.items()
        }


def _row(run: int, key: str, fact: Fact) -> tuple[int, bytes, str, int, int, bytes]:
    return (
        run,
        bytes.fromhex(key.replace("-", "")),
        fact.table,
        fact.version,
        fact.starts_at,
        orjson.dumps(fact.values),
    )
