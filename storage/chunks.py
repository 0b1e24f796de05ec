"""Many facts in one record of the spool: accepted, sent and forgotten as one.

A put of many rows of one fact table becomes a chunk: its rows by columns, as the store is handed
them (``storage.columns``), and beside them the id, version and hash of each. A chunk's rows have
consecutive places in the order of acceptance, ``first`` to ``last``, which no other row has.
Whatever is not smooth (a row that the database refuses, a form of an earlier release, a dead run)
begins with opening the chunk: its rows become rows of ``records`` at the places they had.

Belongs to the writer thread, like the spool; nothing here commits.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import orjson

from schema.rows import TABLES, Lane
from storage.columns import rows_of
from storage.gathering import HASH_BYTES, ID_BYTES, Gathered
from storage.known import KnownRows, numbers_of
from storage.spool_file import PAGE_BYTES, SpoolSettings
from storage.spool_rows import LANE_NUMBER, SCHEMA_VERSION, SpoolRow

#: Of a delivered chunk this much a row is kept: id, version, hash.
KEPT_BYTES = ID_BYTES + 8 + HASH_BYTES

_CHUNK = "c.first, c.last, t.name, c.run, c.rank, c.schema_version, b.part"
_WAITING = "chunks c join chunk_bodies b on b.first = c.first join tables t on t.no = c.tbl"


class Chunk(NamedTuple):
    """A chunk to send on; ``part`` is what the store takes."""

    first: int
    last: int
    table: str
    run: int
    rank: int
    schema_version: int
    part: bytes

    @property
    def rows(self) -> int:
        """Count its rows."""
        return self.last - self.first + 1


class Chunks:
    """The chunks of a spool."""

    def __init__(self, db: sqlite3.Connection, settings: SpoolSettings) -> None:
        self._db = db
        self._settings = settings
        self._known = KnownRows()
        for first, ids, versions in db.execute("select first, ids, versions from chunk_keys"):
            self._known.add(numbers_of(ids, np.frombuffer(versions, dtype="<i8")), first)
        #: Rows of delivered chunks that are remembered.
        self.kept_rows = 0
        #: Pages of the write-ahead log that chunks took so far, about.
        self.logged_pages = 0
        #: The chunk that was looked into last, and the hashes of its rows: a producer that puts
        #: its rows once more asks for all of them.
        self._looked: tuple[int, dict[tuple[bytes, int], bytes]] = (0, {})

    def reload(self) -> None:
        """Read from the file what a rollback may have changed."""
        self._looked = (0, {})
        (self.kept_rows,) = self._db.execute(
            "select coalesce(sum(last - first + 1), 0) from chunks where state = 1"
        ).fetchone()
        self._known.forget(after=self.last_place())

    def last_place(self) -> int:
        """Give the highest place of a row in a chunk."""
        (last,) = self._db.execute("select coalesce(max(last), 0) from chunks").fetchone()
        return int(last)

    def depths(self) -> list[tuple[int, int, int]]:
        """Count waiting rows as (lane, run, rows)."""
        return [
            (LANE_NUMBER[Lane.FACTS], run, rows)
            for run, rows in self._db.execute(
                "select run, sum(last - first + 1) from chunks where state = 0 group by 1"
            )
        ]

    # -- accepting ------------------------------------------------------------------------

    def knows_any(self, piece: Gathered) -> bool:
        """Say whether rows of a piece may be known, so that all have to go one by one."""
        return self._known.may_know(piece.numbers) or self._lies_open(piece)

    def _lies_open(self, piece: Gathered) -> bool:
        """Say whether a row is known that is in no chunk."""
        table = self._db.execute("select no from tables where name = ?", (piece.table,)).fetchone()
        if (
            table is None
            or self._db.execute("select 1 from records where tbl = ? limit 1", table).fetchone()
            is None
        ):
            return False
        asked = zip(_cut(piece.ids, ID_BYTES), piece.versions.tolist(), strict=True)
        return any(
            self._db.execute(
                "select 1 from records where tbl = ? and id = ? and version = ?", (*table, *key)
            ).fetchone()
            for key in asked
        )

    def insert(self, piece: Gathered, first: int, table: int, run: int, now_s: int) -> None:
        """Write a chunk whose first row has this place."""
        last = first + len(piece.versions) - 1
        self._db.execute(
            "insert into chunks (first, last, tbl, run, rank, schema_version, at) "
            "values (?, ?, ?, ?, ?, ?, ?)",
            (first, last, table, run, TABLES[piece.table].rank, SCHEMA_VERSION, now_s),
        )
        self._db.execute(
            "insert into chunk_keys (first, ids, versions, hashes) values (?, ?, ?, ?)",
            (first, piece.ids, piece.versions.astype("<i8").tobytes(), piece.hashes),
        )
        self._db.execute(
            "insert into chunk_bodies (first, part) values (?, ?)", (first, piece.part)
        )
        self._known.add(piece.numbers, first)
        bytes_written = len(piece.part) + KEPT_BYTES * len(piece.versions)
        self.logged_pages += bytes_written // PAGE_BYTES + 3

    def may_know(self, keys: Sequence[tuple[bytes, int]]) -> bool:
        """Say whether a chunk may hold any of these ids with versions; False is certain."""
        if not (keys and self._known):
            return False
        versions = np.array([version for _, version in keys], dtype=np.int64)
        return self._known.may_know(numbers_of(b"".join([row_id for row_id, _ in keys]), versions))

    def hash_of(self, table: int, row_id: bytes, version: int) -> bytes | None:
        """Give the hash of a row that a chunk holds or held; None where none does."""
        if not self._known:
            return None
        (number,) = numbers_of(row_id, np.array([version], dtype=np.int64))
        for first in self._known.chunks_with(number):
            known = self._hashes(first, table).get((row_id, version))
            if known is not None:
                return known
        return None

    def _hashes(self, first: int, table: int) -> dict[tuple[bytes, int], bytes]:
        """Give the hashes of a chunk's rows; none of one that was opened or forgotten since."""
        if self._looked[0] != first:
            found = self._db.execute(
                "select k.ids, k.versions, k.hashes from chunk_keys k "
                "join chunks c on c.first = k.first where k.first = ? and c.tbl = ?",
                (first, table),
            ).fetchone()
            if found is None:
                return {}
            ids, versions, hashes = found
            keys = zip(
                _cut(ids, ID_BYTES), np.frombuffer(versions, dtype="<i8").tolist(), strict=True
            )
            self._looked = (first, dict(zip(keys, _cut(hashes, HASH_BYTES), strict=True)))
        return self._looked[1]

    # -- sending on -----------------------------------------------------------------------

    def take(self, run: int, after: int, *, rows: int, size: int) -> list[Chunk]:
        """Read the next chunks of a run that lie one behind the other.

        Args:
            run: Which run.
            after: Only places behind this one.
            rows: At most this many rows ...
            size: ... or this many bytes, but at least one chunk.
        """
        cursor = self._db.execute(
            f"select {_CHUNK} from {_WAITING} "  # noqa: S608
            "where c.state = 0 and c.run = ? and c.first > ? order by c.first",
            (run, after),
        )
        taken: list[Chunk] = []
        total = total_rows = 0
        for values in cursor:
            chunk = Chunk(*values)
            total += len(chunk.part)
            total_rows += chunk.rows
            follows = not taken or chunk.first == taken[-1].last + 1
            if taken and (total > size or total_rows > rows or not follows):
                break
            taken.append(chunk)
        cursor.close()
        return taken

    def settle(self, chunk: Chunk, now_s: int) -> int:
        """Forget the content of a chunk that the store has; gives how many rows waited in it."""
        self._db.execute("delete from chunk_bodies where first = ?", (chunk.first,))
        marked = self._db.execute(
            "update chunks set state = 1, at = ? where state = 0 and first = ?",
            (now_s, chunk.first),
        ).rowcount
        self.kept_rows += marked * chunk.rows
        return marked * chunk.rows

    def first_waiting(self) -> tuple[int, int] | None:
        """Give place and moment of acceptance of the first waiting chunk."""
        found = self._db.execute(
            "select first, at from chunks where state = 0 order by first limit 1"
        ).fetchone()
        return None if found is None else (int(found[0]), int(found[1]))

    def open(self, first: int) -> list[SpoolRow]:
        """Turn a waiting chunk into rows at the places they had; none where it is none."""
        found = self._db.execute(
            "select c.tbl, c.run, c.rank, c.schema_version, c.at, b.part, k.ids, k.versions, "
            "k.hashes from chunks c join chunk_bodies b on b.first = c.first "
            "join chunk_keys k on k.first = c.first where c.state = 0 and c.first = ?",
            (first,),
        ).fetchone()
        if found is None:
            return []
        number, run, rank, form, at, part, ids, versions, hashes = found
        table, columns = rows_of(part)
        rows = [
            SpoolRow(first + place, table, row_id, version, run, rank, form, body, digest, 0)
            for place, (row_id, version, body, digest) in enumerate(
                zip(
                    _cut(ids, ID_BYTES),
                    np.frombuffer(versions, dtype="<i8").tolist(),
                    map(orjson.dumps, columns),
                    _cut(hashes, HASH_BYTES),
                    strict=True,
                )
            )
        ]
        # Deleting first: at the hard cap this frees the pages that the rest may need.
        self._delete(first)
        lane = LANE_NUMBER[TABLES[table].lane]
        self._db.executemany(
            "insert into records (seq, tbl, id, version, run, lane, rank, schema_version, sha256, "
            "at) values (?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
            [(r.seq, number, r.id, r.version, run, lane, rank, form, r.sha256, at) for r in rows],
        )
        self._db.executemany(
            "insert into bodies (seq, body) values (?, ?)", [(r.seq, r.body) for r in rows]
        )
        return rows

    def open_run(self, run: int) -> None:
        """Turn all waiting chunks of a run into rows."""
        waiting = self._db.execute(
            "select first from chunks where state = 0 and run = ?", (run,)
        ).fetchall()
        for (first,) in waiting:
            self.open(first)

    def prune(self, before_s: float, most_rows: int) -> None:
        """Forget the oldest delivered chunk, if it is of before a moment or there are too many."""
        found = self._db.execute(
            "select first, last, at from chunks where state = 1 order by first limit 1"
        ).fetchone()
        if found is None:
            return
        first, last, at = found
        if at >= before_s and self.kept_rows <= most_rows:
            return
        self._delete(first)
        self.kept_rows -= last - first + 1
        (oldest,) = self._db.execute("select min(first) from chunks").fetchone()
        self._known.forget(before=first + 1 if oldest is None else oldest)

    def _delete(self, first: int) -> None:
        for table in ("chunk_bodies", "chunk_keys", "chunks"):
            self._db.execute(f"delete from {table} where first = ?", (first,))  # noqa: S608
        self._looked = (0, {})


def _cut(text: bytes, size: int) -> list[bytes]:
    return [text[start : start + size] for start in range(0, len(text), size)]
