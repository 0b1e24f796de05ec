"""What lies in a spool's file, row by row, whichever form a row has there."""

from __future__ import annotations

import sqlite3
from typing import Any, NamedTuple

import orjson

from storage.columns import rows_of


class Lying(NamedTuple):
    """A row in the file; ``columns`` is None where its content was let go of."""

    seq: int
    table: str
    run_id: str
    id: bytes
    state: int
    sha256: bytes
    columns: dict[str, Any] | None


def lying_rows(db: sqlite3.Connection) -> list[Lying]:
    """Give all rows that the spool knows, those of chunks too, as of one moment."""
    db.execute("begin")
    try:
        return [*_single_rows(db), *_rows_of_chunks(db)]
    finally:
        db.execute("rollback")


def _single_rows(db: sqlite3.Connection) -> list[Lying]:
    return [
        Lying(*values, None if body is None else orjson.loads(body))
        for *values, body in db.execute(
            "select r.seq, t.name, u.run_id, r.id, r.state, r.sha256, b.body from records r "
            "join tables t on t.no = r.tbl join runs u on u.no = r.run "
            "left join bodies b on b.seq = r.seq"
        )
    ]


def _rows_of_chunks(db: sqlite3.Connection) -> list[Lying]:
    found = []
    for first, last, table, run_id, state, ids, hashes, part in db.execute(
        "select c.first, c.last, t.name, u.run_id, c.state, k.ids, k.hashes, b.part from chunks c "
        "join tables t on t.no = c.tbl join runs u on u.no = c.run "
        "join chunk_keys k on k.first = c.first left join chunk_bodies b on b.first = c.first"
    ):
        count = last - first + 1
        columns = [None] * count if part is None else rows_of(part)[1]
        found += [
            Lying(
                first + n,
                table,
                run_id,
                ids[16 * n : 16 * n + 16],
                state,
                hashes[32 * n : 32 * n + 32],
                columns[n],
            )
            for n in range(count)
        ]
    return found


def waiting_count(db: sqlite3.Connection) -> int:
    """Count the rows that no store has confirmed."""
    (rows,) = db.execute("select count(*) from records where state = 0").fetchone()
    (more,) = db.execute("select sum(last - first + 1) from chunks where state = 0").fetchone()
    return int(rows) + int(more or 0)
