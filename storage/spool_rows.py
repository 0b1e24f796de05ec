"""What travels through the spool: rows as they lie there, and a record opened at its door."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from enum import IntEnum
from typing import NamedTuple

import orjson

from schema.errors import ConstraintViolated
from schema.rows import Lane, Record
from schema.rows.base import MAX_ROW_BYTES
from storage.ports import PutAck

#: Form of the bodies that this program writes; rises when a column is renamed or changes meaning.
SCHEMA_VERSION = 1
LANES = (Lane.ORDERED, Lane.FACTS)
LANE_NUMBER = {lane: number for number, lane in enumerate(LANES)}
_ID_BYTES = 16

CrashPoint = Callable[[str], None]


def no_crash(name: str) -> None:
    """Pass a labelled point of the code; tests of kills end the process there instead."""
    del name


class State(IntEnum):
    """What became of an accepted row."""

    WAITING = 0
    DELIVERED = 1
    DEAD = 2


class SpoolRow(NamedTuple):
    """One row to send on; ``id`` is the uuid's 16 bytes."""

    seq: int
    table: str
    id: bytes
    version: int
    run: int
    rank: int
    schema_version: int
    body: bytes
    sha256: bytes
    attempts: int


class NewRow(NamedTuple):
    """A row that was not known before."""

    run: int
    run_id: str
    record: Record
    columns: dict[str, object]


class Accepted(NamedTuple):
    """What one put brought: the receipt, and the rows that are new."""

    ack: PutAck
    new: tuple[NewRow, ...]


def stretches(rows: Sequence[SpoolRow]) -> list[tuple[int, int]]:
    """Give the runs of consecutive numbers, as (first, last)."""
    stretches: list[tuple[int, int]] = []
    for seq in sorted(row.seq for row in rows):
        if stretches and stretches[-1][1] == seq - 1:
            stretches[-1] = (stretches[-1][0], seq)
        else:
            stretches.append((seq, seq))
    return stretches


def opened(record: Record) -> tuple[bytes, str, dict[str, object]]:
    """Give id, run and columns of a record that is one; refuse all else at the door."""
    if len(record.body) > MAX_ROW_BYTES:
        msg = (
            f"{record.table} {record.id} has {len(record.body)} bytes; a row has at most "
            f"{MAX_ROW_BYTES}"
        )
        raise ConstraintViolated(msg, table=record.table, id=record.id, constraint="row_bytes")
    try:
        columns = orjson.loads(record.body)
        row_id = bytes.fromhex(record.id.replace("-", ""))
        run_id = columns["run_id"]
        if columns["id"] == record.id and len(row_id) == _ID_BYTES and isinstance(run_id, str):
            return row_id, run_id, columns
        fault = "the body names another id, or the id is no uuid"
    except (ValueError, KeyError, TypeError) as exc:
        fault = f"the body is no JSON object with id and run_id ({exc!r})"
    msg = f"{record.table} {record.id} is no record: {fault}; make records with Row.to_record"
    raise ConstraintViolated(msg, table=record.table, id=record.id)
