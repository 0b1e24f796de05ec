"""Rows put aside: what the database will never take, and the children of such rows.

Each function works inside a transaction of the writer thread. Nothing is lost here: a dead row
keeps its body, and ``retry`` lets it be sent again, with the children that waited for it.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from enum import StrEnum
from uuid import UUID

from storage.links import RUN_TABLE
from storage.spool import Spool
from storage.spool_rows import SpoolRow, State


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
    """Put rows aside; a dead run row takes all rows of its run along."""
    spool.mark([row for row, _ in rows], State.DEAD, now_s)
    spool.db.executemany(
        "insert into dead (seq, reason, http, sqlstate, message, at) values (?, ?, ?, ?, ?, ?)",
        [
            (row.seq, said.reason.value, said.http, said.sqlstate, said.message, now_s)
            for row, said in rows
        ],
    )
    spool.dead += len(rows)
    for run in {row.run for row, _ in rows if row.table == RUN_TABLE} - spool.delivered_runs:
        park_run(spool, run, now_s)


def run_is_dead(spool: Spool, run: int) -> bool:
    """Say whether the run's own row is dead."""
    found = spool.db.execute(
        "select 1 from dead d join records r on r.seq = d.seq join tables t on t.no = r.tbl "
        "where r.run = ? and t.name = ?",
        (run, RUN_TABLE),
    ).fetchone()
    return found is not None


def park_run(spool: Spool, run: int, now_s: int) -> int:
    """Put aside all waiting rows of a run whose own row is dead; gives how many."""
    spool.chunks.open_run(run)
    moved = spool.db.execute(
        "insert into dead (seq, reason, message, at) "
        "select seq, ?, 'the row of its run is dead', ? from records where state = 0 and run = ?",
        (Reason.PARENT_DEAD.value, now_s, run),
    ).rowcount
    spool.db.execute(
        "update records set state = 2, at = ? where state = 0 and run = ?", (now_s, run)
    )
    spool.reload()
    return moved


def dead_among(spool: Spool, ids: Collection[str]) -> set[str]:
    """Say which of these ids belong to dead rows."""
    return _among(spool, ids, "state = 2")


def pending_among(spool: Spool, ids: Collection[str]) -> set[str]:
    """Say which of these ids belong to rows that are still to be sent."""
    return _among(spool, ids, "state = 0 and tbl in (select no from tables)")


def _among(spool: Spool, ids: Collection[str], condition: str) -> set[str]:
    sql = f"select 1 from records where id = ? and {condition}"  # noqa: S608
    return {text for text in ids if spool.db.execute(sql, (UUID(text).bytes,)).fetchone()}


def list_dead(spool: Spool, limit: int | None, seqs: Sequence[int] | None = None) -> list[DeadRow]:
    """List dead rows, the newest first.

    Args:
        spool: Whose.
        limit: At most so many; None for all.
        seqs: Only these; None for whichever.
    """
    chosen = "1" if seqs is None else f"d.seq in ({','.join('?' * len(seqs))})"
    cursor = spool.db.execute(
        "select d.seq, t.name, r.id, r.version, d.reason, d.message, d.sqlstate, d.http, d.at, "  # noqa: S608
        "b.body from dead d join records r on r.seq = d.seq join bodies b on b.seq = d.seq "
        f"join tables t on t.no = r.tbl where {chosen} order by d.at desc, d.seq desc limit ?",
        (*(seqs or ()), -1 if limit is None else limit),
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


def drop(spool: Spool, seqs: Sequence[int], now_s: int) -> int:
    """Give dead rows up for good; gives how many.

    Their ids stay known for as long as those of delivered rows, so that a producer that sends one
    again is answered and the row does not come back.
    """
    found = [
        (seq,)
        for seq in seqs
        if spool.db.execute("select 1 from dead where seq = ?", (seq,)).fetchone()
    ]
    spool.db.executemany("delete from bodies where seq = ?", found)
    spool.db.executemany("delete from dead where seq = ?", found)
    spool.db.executemany(
        f"update records set state = {State.DELIVERED.value}, at = {int(now_s)} where seq = ?",  # noqa: S608
        found,
    )
    spool.reload()
    return len(found)


def retry(spool: Spool, seqs: Sequence[int] | None) -> int:
    """Let dead rows be sent again, at the place they had; gives how many.

    Args:
        spool: Whose.
        seqs: Which; None for all. Rows that wait for a dead parent come along in any case.
    """
    chosen = "1" if seqs is None else f"(seq in ({','.join('?' * len(seqs))}) or reason = ?)"
    values: tuple[int | str, ...] = () if seqs is None else (*seqs, Reason.PARENT_DEAD.value)
    found = spool.db.execute(f"select seq from dead where {chosen}", values).fetchall()  # noqa: S608
    spool.db.executemany(
        "update records set state = 0, attempts = 0, not_before = 0 where seq = ?", found
    )
    spool.db.executemany("delete from dead where seq = ?", found)
    spool.reload()
    return len(found)
