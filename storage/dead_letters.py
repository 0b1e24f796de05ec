"""Rows put aside: what the database will never take, and the children of such rows.

Each function works inside a transaction of the writer thread. Nothing is lost here: a dead row
keeps its body, and ``retry`` puts it back into the spool, with the children that waited for it.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from enum import StrEnum
from uuid import UUID

from schema.rows import TABLES
from storage.links import RUN_TABLE
from storage.spool import LANE_NUMBER, Spool, SpoolRow

_COLUMNS = "tbl, id, version, run, lane, rank, schema_version, body, sha256"


class Reason(StrEnum):
    """Why a row is dead."""

    POISON = "poison"
    """The database refuses its content."""
    PARENT_DEAD = "parent dead"
    """The row it belongs to is dead; goes back together with it."""
    ORPHAN = "orphan"
    """The row it belongs to never came."""


@dataclass(frozen=True, slots=True)
class Obituary:
    """What was said about a row."""

    reason: Reason
    message: str
    sqlstate: str | None = None
    http: int | None = None


@dataclass(frozen=True, slots=True)
class DeadRow:
    """One dead row as people see it."""

    seq: int
    table: str
    id: str
    version: int
    reason: Reason
    message: str
    sqlstate: str | None
    http: int | None
    at: datetime
    body: bytes


def bury(spool: Spool, rows: Sequence[tuple[SpoolRow, Obituary]], now_s: int) -> None:
    """Move rows from the spool to the dead; the run of a dead run row takes its rows along."""
    # Deleting first, as everywhere in the spool: a full file has a page for the insert then.
    spool.remove([row for row, _ in rows])
    for row, said in rows:
        lane = LANE_NUMBER[TABLES[row.table].lane]
        spool.db.execute(
            f"insert into dead ({_COLUMNS}, reason, http, sqlstate, message, at) "  # noqa: S608
            "values (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
            (
                spool.table_number(row.table),
                row.id,
                row.version,
                row.run,
                lane,
                row.rank,
                row.schema_version,
                row.body,
                row.sha256,
                said.reason.value,
                said.http,
                said.sqlstate,
                said.message,
                now_s,
            ),
        )
    spool.dead += len(rows)
    for run in {row.run for row, _ in rows if row.table == RUN_TABLE} - spool.delivered_runs:
        park_run(spool, run, now_s)


def run_is_dead(spool: Spool, run: int) -> bool:
    """Say whether the run's own row is dead."""
    found = spool.db.execute(
        "select 1 from dead d join tables t on t.no = d.tbl where d.run = ? and t.name = ?",
        (run, RUN_TABLE),
    ).fetchone()
    return found is not None


def park_run(spool: Spool, run: int, now_s: int) -> int:
    """Put aside all rows of a run whose own row is dead; gives how many."""
    said = "the row of its run is dead"
    moved = spool.db.execute(
        f"insert into dead ({_COLUMNS}, reason, message, at) "  # noqa: S608
        f"select {_COLUMNS}, ?, ?, ? from spool where run = ?",
        (Reason.PARENT_DEAD.value, said, now_s, run),
    ).rowcount
    spool.db.execute("delete from spool where run = ?", (run,))
    spool.reload()
    return moved


def dead_among(spool: Spool, ids: Collection[str]) -> set[str]:
    """Say which of these ids belong to dead rows."""
    return {
        text
        for text in ids
        if spool.db.execute("select 1 from dead where id = ?", (UUID(text).bytes,)).fetchone()
    }


def pending_among(spool: Spool, ids: Collection[str]) -> set[str]:
    """Say which of these ids belong to rows that are still to be sent."""
    return {
        text
        for text in ids
        if spool.db.execute(
            "select 1 from spool where id = ? and tbl in (select no from tables)",
            (UUID(text).bytes,),
        ).fetchone()
    }


def list_dead(spool: Spool, limit: int) -> list[DeadRow]:
    """List dead rows, the newest first."""
    cursor = spool.db.execute(
        "select d.seq, t.name, d.id, d.version, d.reason, d.message, d.sqlstate, d.http, d.at, "
        "d.body from dead d join tables t on t.no = d.tbl order by d.seq desc limit ?",
        (limit,),
    )
    return [
        DeadRow(
            seq,
            table,
            str(UUID(bytes=row_id)),
            version,
            Reason(reason),
            message,
            sqlstate,
            http,
            datetime.fromtimestamp(at, UTC),
            body,
        )
        for seq, table, row_id, version, reason, message, sqlstate, http, at, body in cursor
    ]


def retry(spool: Spool, seqs: Sequence[int] | None, now_s: int) -> int:
    """Put dead rows back into the spool, parents first; gives how many.

    Args:
        spool: Whose.
        seqs: Which; None for all. Rows that wait for a dead parent come along in any case.
        now_s: When.
    """
    chosen = "1" if seqs is None else f"(seq in ({','.join('?' * len(seqs))}) or reason = ?)"
    values: tuple[int | str, ...] = () if seqs is None else (*seqs, Reason.PARENT_DEAD.value)
    db: sqlite3.Connection = spool.db
    rows = db.execute(
        f"select seq, {_COLUMNS} from dead where {chosen} order by rank, seq",  # noqa: S608
        values,
    ).fetchall()
    db.executemany("delete from dead where seq = ?", [(row[0],) for row in rows])
    db.executemany(
        f"insert into spool ({_COLUMNS}, accepted_at) values (?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",  # noqa: S608
        [(*row[1:], now_s) for row in rows],
    )
    spool.reload()
    return len(rows)
