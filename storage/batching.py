"""What goes into one request: coalesced, sorted, encoded. Pure."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType

from schema.errors import StorageError
from schema.rows import TABLES
from storage.chunks import Chunk
from storage.spool_rows import SCHEMA_VERSION, SpoolRow

Upcaster = Callable[[str, bytes], bytes]

#: Form of a body to the function that gives the next form: (table, body) -> body. A release that
#: renames a column raises ``SCHEMA_VERSION`` and adds the step from the form before.
UPCASTERS: Mapping[int, Upcaster] = MappingProxyType({})


@dataclass(frozen=True, slots=True)
class Batch:
    """Rows of one request.

    Attributes:
        rows: To be sent, each id once.
        superseded: Older versions of ids in ``rows``; done when those are.
        chunks: To be sent as they are, in this order.
    """

    rows: tuple[SpoolRow, ...]
    superseded: tuple[SpoolRow, ...] = ()
    chunks: tuple[Chunk, ...] = ()

    @property
    def size(self) -> int:
        """Count the rows to be sent."""
        return len(self.rows) + sum(chunk.rows for chunk in self.chunks)

    def tables(self) -> Counter[str]:
        """Count the rows to be sent by table."""
        counts = Counter(row.table for row in self.rows)
        for chunk in self.chunks:
            counts[chunk.table] += chunk.rows
        return counts

    def pieces(self) -> list[Batch]:
        """Give the rows apart from the chunks, and each chunk by itself."""
        rows = [Batch(self.rows, self.superseded)] if self.rows else []
        return rows + [Batch((), (), (chunk,)) for chunk in self.chunks]

    @property
    def all_rows(self) -> tuple[SpoolRow, ...]:
        """Everything that is done when the request is."""
        return (*self.rows, *self.superseded)

    def halves(self) -> tuple[Batch, Batch]:
        """Cut in two, in order; older versions stay with their ids.

        Raises:
            ValueError: There is but one row.
        """
        middle = len(self.rows) // 2
        if middle == 0:
            msg = "a batch of one row cannot be halved"
            raise ValueError(msg)
        return self._part(self.rows[:middle]), self._part(self.rows[middle:])

    def _part(self, rows: tuple[SpoolRow, ...]) -> Batch:
        ids = {(row.table, row.id) for row in rows}
        return Batch(rows, tuple(r for r in self.superseded if (r.table, r.id) in ids))


def coalesce(rows: Sequence[SpoolRow]) -> Batch:
    """Keep the highest version of each id, at the place where its first version stood.

    The first place keeps parents in front: a row's children were accepted after its first version.
    """
    newest: dict[tuple[str, bytes], SpoolRow] = {}
    superseded: list[SpoolRow] = []
    for row in rows:
        key = (row.table, row.id)
        held = newest.get(key)
        if held is None or row.version > held.version:
            newest[key] = row
            if held is not None:
                superseded.append(held)
        else:
            superseded.append(row)
    return Batch(tuple(newest.values()), tuple(superseded))


def sorted_facts(batch: Batch) -> Batch:
    """Put rows that may go in any order into one that is always the same: by table and id.

    An id is made from the natural key, so the same rows come in the same order whoever sends
    them; the ingest function sorts by the key itself.
    """
    return Batch(tuple(sorted(batch.rows, key=lambda row: (row.rank, row.id))), batch.superseded)


def bodies_by_table(
    rows: Sequence[SpoolRow],
    upcasters: Mapping[int, Upcaster] = UPCASTERS,
    current: int = SCHEMA_VERSION,
) -> dict[str, list[bytes]]:
    """Give the request's content: table to bodies in today's form, parents' tables first."""
    tables: dict[str, list[bytes]] = {}
    for row in rows:
        tables.setdefault(row.table, []).append(upcast(row, upcasters, current))
    return dict(sorted(tables.items(), key=lambda item: TABLES[item[0]].rank))


def upcast(
    row: SpoolRow, upcasters: Mapping[int, Upcaster] = UPCASTERS, current: int = SCHEMA_VERSION
) -> bytes:
    """Bring a body that an earlier release spooled into today's form.

    Raises:
        StorageError: It was spooled by a later release, or a step is missing.
    """
    body = row.body
    form = row.schema_version
    if form > current:
        msg = (
            f"a spooled row of {row.table} has form {form}, this release knows up to {current}; "
            "drain it with the release that wrote it"
        )
        raise StorageError(msg, table=row.table)
    while form < current:
        step = upcasters.get(form)
        if step is None:
            msg = f"no step leads from form {form} of a spooled row of {row.table} to {form + 1}"
            raise StorageError(msg, table=row.table)
        body = step(row.table, body)
        form += 1
    return body
