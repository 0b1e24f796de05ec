"""What an agent must not forget, kept beside the rows it belongs to.

A checkpoint is a named blob of one run. It is saved in the same commit as the rows of a put, so
that after a crash either both are there or neither is; a newer one replaces it. It is the agent's
alone to read, and never leaves this machine.

All functions work inside a transaction of the writer thread.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Mapping

import orjson

from schema.errors import ConstraintViolated
from schema.rows.system import RunKind, RunState
from storage.ports import Checkpoint

#: Far above what a hundred thousand workloads need; SQLite itself takes a gigabyte.
MAX_BYTES = 256 * 1024 * 1024


def save(db: sqlite3.Connection, run: int, checkpoint: Checkpoint) -> None:
    """Keep this one instead of the one before; a late repetition of an earlier one is dropped.

    Raises:
        ConstraintViolated: It is too large.
    """
    if len(checkpoint.blob) > MAX_BYTES:
        msg = (
            f"checkpoint {checkpoint.name} of run {checkpoint.run_id} has {len(checkpoint.blob)} "
            f"bytes; at most {MAX_BYTES} are kept"
        )
        raise ConstraintViolated(msg, constraint="checkpoint_bytes")
    db.execute(
        "insert into checkpoints (run, name, number, blob) values (?, ?, ?, ?) "
        "on conflict (run, name) do update set number = excluded.number, blob = excluded.blob "
        "where excluded.number >= number",
        (run, checkpoint.name, checkpoint.number, checkpoint.blob),
    )


def load(db: sqlite3.Connection, run: int | None, run_id: str, name: str) -> Checkpoint | None:
    """Give the newest checkpoint of that name; None where there is none."""
    row = db.execute(
        "select number, blob from checkpoints where run = ? and name = ?", (run, name)
    ).fetchone()
    return None if row is None else Checkpoint(run_id, name, int(row[0]), bytes(row[1]))


def forget(db: sqlite3.Connection, run: int, columns: Mapping[str, object]) -> None:
    """Drop the checkpoints that nobody will ask for, when a run's own row comes in.

    A replay that has ended is over. One that begins follows on others of this spool that were
    broken off: a replay is never taken up by another launch. The live run is never over.

    Args:
        db: The spool.
        run: Number of the run whose row it is.
        columns: Of the row.
    """
    if columns.get("kind") != RunKind.REPLAY:
        return
    over = [] if columns.get("state") == RunState.RUNNING else [run]
    others = db.execute(
        "select no, body from runs where no <> ? and no in (select run from checkpoints)", (run,)
    ).fetchall()
    over += [
        other
        for other, body in others
        if body is not None and orjson.loads(body).get("kind") == RunKind.REPLAY
    ]
    db.executemany("delete from checkpoints where run = ?", [(other,) for other in over])
