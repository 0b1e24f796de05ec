"""Rows of a put brought into the form of chunks, before the spool's thread has them. Pure.

What costs most of accepting is here: opening the rows and writing them by columns. It needs nothing
of the spool, so the caller's thread does it, and the spool's thread can write and sync meanwhile.
"""

from __future__ import annotations

from collections.abc import Sequence
from operator import itemgetter
from typing import Any, NamedTuple

import numpy as np
import orjson
from numpy.typing import NDArray

from schema.rows import TABLES, Lane, Record
from schema.rows.base import MAX_ROW_BYTES
from storage.columns import to_part
from storage.known import Numbers, numbers_of
from storage.links import RUN_COLUMN

#: A chunk is sent in one request; above this its rows travel one by one.
MAX_CHUNK_BYTES = 1_000_000
ID_BYTES, HASH_BYTES = 16, 32
_ID_TEXT = 36
_ID_OF, _RUN_OF, _TABLE_OF = itemgetter("id"), itemgetter(RUN_COLUMN), itemgetter(0)


class Gathered(NamedTuple):
    """Rows of a put that can become a chunk, and their columns."""

    table: str
    run_id: str
    ids: bytes
    versions: NDArray[np.int64]
    hashes: bytes
    numbers: Numbers
    part: bytes
    records: Sequence[Record]
    columns: Sequence[dict[str, object]]


def gather(records: Sequence[Record]) -> Gathered | None:
    """Bring rows into the form of a chunk; None where they have to go one by one.

    That is no judgement: whoever takes them one by one finds out what is wrong, if anything is.
    """
    tables, ids, versions_given, bodies, digests = zip(*records, strict=True)
    if len(set(tables)) != 1 or len(set(ids)) != len(ids) or set(map(len, ids)) != {_ID_TEXT}:
        return None
    table: str = tables[0]
    try:
        rows: list[dict[str, Any]] = orjson.loads(b"[%s]" % b",".join(bodies))
        if tuple(map(_ID_OF, rows)) != ids:
            return None
        (run_id,) = set(map(_RUN_OF, rows))
        id_bytes = bytes.fromhex("".join(ids).replace("-", ""))
        part = to_part(table, rows)
    except (ValueError, KeyError, TypeError):
        return None
    hashes = b"".join(digests)
    if (
        part is None
        or not isinstance(run_id, str)
        or len(part) > MAX_CHUNK_BYTES
        or len(id_bytes) != len(ids) * ID_BYTES
        or len(hashes) != len(ids) * HASH_BYTES
        or max(map(len, bodies)) > MAX_ROW_BYTES
    ):
        return None
    versions = np.array(versions_given, dtype=np.int64)
    numbers = np.sort(numbers_of(id_bytes, versions))
    return Gathered(table, run_id, id_bytes, versions, hashes, numbers, part, records, rows)


class Prepared(NamedTuple):
    """A put, seen through: rows that can become chunks, a list a table, and the others."""

    chunks: Sequence[Sequence[Gathered]]
    singles: Sequence[Record]


def prepare(records: Sequence[Record], *, least: int, most: int) -> Prepared:
    """Say which rows of a put can become chunks.

    Args:
        records: Of the put.
        least: From this many facts of a table on ...
        most: ... in chunks of at most this many.
    """
    if len(records) < least:
        return Prepared((), records)
    by_table: dict[str, Sequence[Record]] = {}
    tables = list(map(_TABLE_OF, records))
    names = set(tables)
    if len(names) == 1:
        by_table[tables[0]] = records
    else:
        by_table = {
            name: [record for record in records if record.table == name]
            for name in names
            if tables.count(name) >= least
        }
    chunks: list[Sequence[Gathered]] = []
    for name, rows in sorted(by_table.items()):
        spec = TABLES.get(name)
        if spec is not None and spec.lane is Lane.FACTS and (found := _cut_up(rows, most)):
            chunks.append(found)
            names.discard(name)
    if not chunks:
        return Prepared((), records)
    return Prepared(chunks, [record for record in records if record.table in names])


def _cut_up(rows: Sequence[Record], most: int) -> list[Gathered]:
    """Cut a table's rows into chunks; none where one of them has to go by rows."""
    pieces = -(-len(rows) // most)
    size = -(-len(rows) // pieces)
    found: list[Gathered] = []
    for start in range(0, len(rows), size):
        piece = gather(rows[start : start + size])
        if piece is None:
            return []
        found.append(piece)
    if len(found) > 1 and len({row.id for row in rows}) != len(rows):
        return []
    return found
