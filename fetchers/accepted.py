"""What storage has already accepted, so that only rows with new content are sent.

A 48-hour regional forecast has 1,344 figures and comes every half hour; most of them are the
ones of the half hour before. The comparison is made on the row's content before a record is
built of it, because building one costs ten times as much.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from hashlib import blake2b

import orjson

from fetchers.parsing import coalesce
from schema.ids import KeyPart
from schema.rows import CarbonIntensityNationalRow, Row

#: Rows whose content is remembered; the oldest are forgotten first, which only sends them again.
LIMIT = 60_000
_KEPT_SHARE = 0.9
#: Tables whose row is filled by several feeds: a forecast must not blank the outturn that an
#: earlier poll brought, so a new row takes what it lacks from the last one.
FILLED = frozenset({CarbonIntensityNationalRow.TABLE})

Key = tuple[str, tuple[KeyPart, ...]]


class Accepted:
    """Content by natural key, of one source and run; bounded."""

    def __init__(self, limit: int = LIMIT) -> None:
        self._digests: dict[Key, bytes] = {}
        self._rows: dict[Key, Row] = {}
        self._limit = limit

    def __len__(self) -> int:
        return len(self._digests)

    def changed(self, rows: Sequence[Row]) -> list[Row]:
        """Give the rows whose content is new, one a key, filled from what was known.

        Of an append-only table the first row of a key stands, whatever comes after it.
        """
        fresh = []
        for row in coalesce(rows):
            key = (row.TABLE, row.key())
            held = self._rows.get(key)
            whole = coalesce([held, row])[0] if held is not None else row
            known = self._digests.get(key)
            if known is None or (row.VERSIONED and known != digest(whole)):
                fresh.append(whole)
        return fresh

    def remember(self, rows: Iterable[Row]) -> None:
        """Note rows that storage has accepted."""
        for row in rows:
            key = (row.TABLE, row.key())
            self._digests[key] = digest(row)
            if row.TABLE in FILLED:
                self._rows[key] = row
        if len(self._digests) > self._limit:
            for key in list(self._digests)[: len(self._digests) - int(self._limit * _KEPT_SHARE)]:
                del self._digests[key]
                self._rows.pop(key, None)


def digest(row: Row) -> bytes:
    """Give a hash of a row's columns; its version, which only says when, is left out."""
    columns = [value for name, value in row.__dict__.items() if name != "version"]
    return blake2b(orjson.dumps(columns, default=str), digest_size=16).digest()
