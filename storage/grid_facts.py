"""What the storage actor remembers of the grid, folded from the rows it accepts.

Pure: ``fold`` takes the facts and new rows and gives the facts after them. A fact is known by
its row's id, which contains the quality, so a synthetic figure never replaces a published one;
within one id only a rising version replaces. Folding the same rows again changes nothing.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from operator import itemgetter
from types import MappingProxyType
from typing import NamedTuple

from schema.rows import Record

Value = str | int | float | None

#: Table to the columns that are remembered of it, in this order.
FACT_COLUMNS: Mapping[str, tuple[str, ...]] = MappingProxyType(
    {
        "carbon_intensity_regional": ("region_id", "quality", "forecast_gco2_per_kwh"),
        "carbon_intensity_national": (
            "quality",
            "forecast_gco2_per_kwh",
            "actual_gco2_per_kwh",
        ),
        "wholesale_prices": ("market", "quality", "price_gbp_per_mwh", "volume_mwh"),
        "compute_windows": (
            "bpp_id",
            "item_id",
            "ends_at",
            "zone_code",
            "capacity_kw",
            "intensity_gco2_per_kwh",
            "renewable_pct",
            "slot_id",
            "state",
        ),
        "offers": ("bpp_id", "offer_id", "item_id", "price_per_kwh", "currency"),
        "grid_zones": ("zone_code", "region_id"),
    }
)
_START_COLUMN = {
    "carbon_intensity_regional": "valid_from",
    "carbon_intensity_national": "valid_from",
    "wholesale_prices": "valid_from",
    "compute_windows": "starts_at",
    "offers": "window_starts_at",
}
_PICK: Mapping[str, Callable[[Mapping[str, object]], tuple[Value, ...]]] = {
    table: itemgetter(*columns) for table, columns in FACT_COLUMNS.items()
}
#: Start of a fact that holds at all times.
ALWAYS = -1


class Fact(NamedTuple):
    """One remembered row: its start in seconds since 1970 UTC, and ``FACT_COLUMNS`` of it."""

    table: str
    version: int
    starts_at: int
    values: tuple[Value, ...]


class FactRow(NamedTuple):
    """A row as the fold reads it."""

    table: str
    id: str
    version: int
    columns: Mapping[str, object]

    @classmethod
    def of(cls, record: Record) -> FactRow:
        """Open a record."""
        return cls(record.table, record.id, record.version, record.columns())


def _no_facts() -> Mapping[str, Fact]:
    return MappingProxyType({})


@dataclass(frozen=True, slots=True)
class GridFacts:
    """Facts of one run by row id.

    ``version`` counts the facts that ever changed: it rises when, and only when, content does,
    however the rows were grouped into puts.
    """

    version: int = 0
    facts: Mapping[str, Fact] = field(default_factory=_no_facts)


def fold(state: GridFacts, records: Iterable[Record]) -> GridFacts:
    """Give the facts after these records; the same object when nothing changed."""
    return fold_rows(state, (FactRow.of(r) for r in records if r.table in FACT_COLUMNS))


def fold_rows(state: GridFacts, rows: Iterable[FactRow]) -> GridFacts:
    """Give the facts after these rows; the same object when nothing changed."""
    return apply_changes(state, changes(state, rows))


class Changes(NamedTuple):
    """What rows do to facts.

    ``content_changes`` leaves out rows that bring a higher version of the same figures; those are
    kept all the same, so that a late row between the two versions changes nothing.
    """

    entries: dict[str, Fact]
    content_changes: int


def changes(state: GridFacts, rows: Iterable[FactRow]) -> Changes:
    """Find the facts that these rows make new or replace."""
    known = state.facts
    fresh: dict[str, Fact] = {}
    count = 0
    for row in rows:
        if row.table not in FACT_COLUMNS:
            continue
        before = fresh.get(row.id) or known.get(row.id)
        if before is not None and before.version >= row.version:
            continue
        fact = fact_of(row)
        fresh[row.id] = fact
        if before is None or before.values != fact.values:
            count += 1
    return Changes(fresh, count)


def apply_changes(state: GridFacts, changed: Changes) -> GridFacts:
    """Give the facts with changes made."""
    if not changed.entries:
        return state
    return GridFacts(
        state.version + changed.content_changes,
        MappingProxyType({**state.facts, **changed.entries}),
    )


def without_before(state: GridFacts, starts_at: int) -> GridFacts:
    """Give the facts without dated ones that start before an instant; the version stays."""
    kept = {
        key: fact
        for key, fact in state.facts.items()
        if fact.starts_at == ALWAYS or fact.starts_at >= starts_at
    }
    if len(kept) == len(state.facts):
        return state
    return GridFacts(state.version, MappingProxyType(kept))


def fact_of(row: FactRow) -> Fact:
    """Pick what is remembered of a row."""
    start = _START_COLUMN.get(row.table)
    starts_at = (
        ALWAYS
        if start is None
        else int(datetime.fromisoformat(str(row.columns[start])).timestamp())
    )
    return Fact(row.table, row.version, starts_at, _PICK[row.table](row.columns))
