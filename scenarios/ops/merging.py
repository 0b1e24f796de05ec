"""Rows of a second source of truth beside those the database holds: what is new, what changed.

Pure. A live run wrote some of them already, a backfill others; a figure that is the same is not
written again, and one that the database holds and we lack is kept.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from schema.periods import parse_instant
from schema.rows import Record, Row

#: Columns that say when and how a row came, not what it says.
_ABOUT_THE_ROW = frozenset({"id", "run_id", "version", "retrieved_at", "recorded_at", "updated_at"})

Held = Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Merged:
    """What is to be written, and how many rows are there already."""

    new: tuple[Record, ...]
    changed: tuple[Record, ...]
    known: int


def merge(rows: Sequence[Row], held: Mapping[str, Held], run_id: str, now: datetime) -> Merged:
    """Compare rows with what a database holds of them.

    A column that the row leaves empty takes the held value: a reply without a forecast must not
    blank one. A row that carries a version of its own stands back behind the same or a higher one.

    Args:
        rows: One a key.
        held: The database's rows by id, of the same tables.
        run_id: The run that all belong to.
        now: When the rows were retrieved; the version of those that carry none.
    """
    new: list[Record] = []
    changed: list[Record] = []
    known = 0
    now_s = int(now.timestamp())
    for row in rows:
        there = held.get(row.row_id(run_id))
        if there is None:
            new.append(row.to_record(run_id, retrieved_at=now, version=now_s))
            continue
        version = int(there.get("version") or 0)
        own = getattr(row, "version", None)
        if own is not None and version >= own:
            known += 1
            continue
        whole = _filled(row, there)
        if _same(whole.model_dump(mode="json"), there):
            known += 1
            continue
        stamp = max(now_s, version + 1)
        changed.append(whole.to_record(run_id, retrieved_at=now, version=stamp))
    return Merged(tuple(new), tuple(changed), known)


def _filled(row: Row, there: Held) -> Row:
    missing = {
        name: there[name]
        for name in type(row).model_fields
        if name not in _ABOUT_THE_ROW and getattr(row, name) is None and there.get(name) is not None
    }
    if not missing:
        return row
    return type(row).model_validate({**row.model_dump(), **missing})


def _same(columns: Mapping[str, Any], there: Held) -> bool:
    return all(
        _equal(value, there.get(name))
        for name, value in columns.items()
        if name not in _ABOUT_THE_ROW
    )


def _equal(ours: Any, theirs: Any) -> bool:
    if ours == theirs:
        return True
    if not (isinstance(ours, str) and isinstance(theirs, str)):
        return False
    # One instant has several spellings: Z here, +00:00 there.
    try:
        return parse_instant(ours) == parse_instant(theirs)
    except ValueError:
        return False
