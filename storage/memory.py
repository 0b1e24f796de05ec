"""A store in memory that takes and refuses rows by the rules of the ingest function.

For replays in one process and for tests. Rules: a batch is one transaction; parents must exist;
bounds hold (the row models check them); the id decides what is the same row, and a natural key
belongs to one id; a versioned row is replaced only by a higher version; an append-only row is
never replaced. Views are not modelled.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import orjson
from pydantic import ValidationError

from schema.errors import GridpactError
from schema.regions import REGIONS
from schema.rows import ROW_MODELS, TABLES, VIEWS
from storage.columns import bodies_of
from storage.links import PARENTS, RUN_COLUMN, RUN_TABLE
from storage.ports import Filter, JsonObject, Operator, Order
from storage.spool_rows import CrashPoint, no_crash
from storage.verdicts import Verdict, judge, store_error

#: What a real database's newest migration is to this one.
SCHEMA_VERSION = 10**9

_MODELS = {model.TABLE: model for model in ROW_MODELS}
_COLUMNS = {
    model.TABLE: {
        *model.model_fields,
        *PARENTS.get(model.TABLE, {}),
        "id",
        RUN_COLUMN,
        *(["version"] if model.VERSIONED else []),
        *(["retrieved_at"] if model.STAMPED else []),
    }
    for model in ROW_MODELS
}
_BOUNDS = frozenset(
    {
        "greater_than",
        "greater_than_equal",
        "less_than",
        "less_than_equal",
        "enum",
        "string_too_short",
        "string_too_long",
        "string_pattern_mismatch",
        "value_error",
        "finite_number",
    }
)
Key = tuple[Any, ...]


class MemoryStore:
    """Tables as dicts; implements ``storage.ports.Store``.

    ``tables`` holds the rows by id, for tests and in-process readers.
    """

    def __init__(self, crash_point: CrashPoint = no_crash) -> None:
        self.tables: dict[str, dict[str, JsonObject]] = {name: {} for name in TABLES}
        self.tables["uk_regions"] = {
            str(region.region_id): {
                "id": str(region.region_id),
                "region_id": region.region_id,
                "dno_name": region.dno_name,
                "short_name": region.short_name,
                "gsp_group": region.gsp_group,
                "country": region.country,
            }
            for region in REGIONS
        }
        self.refreshes = 0
        self._keys: dict[str, dict[Key, str]] = {name: {} for name in TABLES}
        self._crash_point = crash_point

    async def ingest(self, batch: Mapping[str, Sequence[bytes]]) -> Mapping[str, int]:
        """Write rows of many tables, all or none; see ``storage.ports.Store``."""
        staged: dict[str, dict[str, JsonObject]] = {}
        keys: dict[str, dict[Key, str]] = {}
        counts: dict[str, int] = {}
        for table in sorted(batch, key=_rank):
            rows = [_opened(table, body) for body in batch[table]]
            staged[table], keys[table] = {}, {}
            counts[table] = sum(self._stage(table, row, staged, keys[table]) for row in rows)
        for table, rows_by_id in staged.items():
            self.tables[table].update(rows_by_id)
            self._keys[table].update(keys[table])
        self._crash_point("after_send_before_response")
        return counts

    async def ingest_columns(self, parts: Sequence[bytes]) -> Mapping[str, int]:
        """Write rows by columns, all or none; see ``storage.ports.Store``."""
        return await self.ingest(bodies_of(parts))

    def _stage(
        self,
        table: str,
        row: JsonObject,
        staged: Mapping[str, dict[str, JsonObject]],
        keys: dict[Key, str],
    ) -> bool:
        """Stage one row; says whether it changes anything."""
        _check_columns(table, row)
        _check_bounds(table, row)
        self._check_parents(table, row, staged)
        spec = TABLES[table]
        row_id = str(row["id"])
        key: Key = tuple(row[name] for name in spec.key) if table != RUN_TABLE else (row_id,)
        if row_id in staged[table]:
            if spec.versioned:
                raise _error("21000", f"{table}: one batch holds the id {row_id} twice")
            return False
        owner = self._keys[table].get(key) or keys.get(key)
        if owner is not None and owner != row_id:
            raise _error("23505", f"{table}: the natural key of {row_id} belongs to {owner}")
        known = self.tables[table].get(row_id)
        if known is not None and (not spec.versioned or _version(row) <= _version(known)):
            return False
        keys[key] = row_id
        staged[table][row_id] = row if known is None else _kept(table, known, row)
        return True

    def _check_parents(
        self, table: str, row: JsonObject, staged: Mapping[str, Mapping[str, JsonObject]]
    ) -> None:
        links = [(RUN_TABLE, RUN_COLUMN)] if table != RUN_TABLE else []
        links += [(parent, column) for column, parent in PARENTS.get(table, {}).items()]
        for parent, column in links:
            target = row.get(column)
            if target is None and column != RUN_COLUMN:
                continue
            if target not in self.tables[parent] and target not in staged.get(parent, {}):
                detail = f'Key ({column})=({target}) is not present in table "{parent}".'
                raise _error("23503", f"{table} {row['id']} has no parent", detail)

    async def select(
        self,
        table: str,
        *,
        columns: Sequence[str] | None = None,
        filters: Sequence[Filter] = (),
        order: Sequence[Order] = (),
        limit: int | None = None,
    ) -> list[JsonObject]:
        """Read rows; see ``storage.ports.Store``."""
        rows = [row for row in self._rows(table) if _matches(row, filters)]
        rows.sort(key=lambda row: str(row["id"]))
        for column, descending in reversed(order):
            rows.sort(key=lambda row, column=column: _sort_key(row.get(column)), reverse=descending)  # type: ignore[misc]
            if descending:
                rows.sort(key=lambda row, column=column: row.get(column) is None)  # type: ignore[misc]
        chosen = rows if limit is None else rows[:limit]
        if columns is None:
            return [dict(row) for row in chosen]
        return [{name: row.get(name) for name in columns} for row in chosen]

    async def count(self, table: str, filters: Sequence[Filter] = ()) -> int:
        """Count rows."""
        return sum(_matches(row, filters) for row in self._rows(table))

    async def delete_runs(self, filters: Sequence[Filter]) -> int:
        """Delete runs with all their rows; see ``SupabaseStore.delete_runs``."""
        if not filters:
            msg = "deleting runs takes at least one filter; without one every run would go"
            raise ValueError(msg)
        gone = {str(row["run_id"]) for row in self._rows(RUN_TABLE) if _matches(row, filters)}
        for table in TABLES:
            kept = {
                row_id: row
                for row_id, row in self.tables[table].items()
                if row[RUN_COLUMN] not in gone
            }
            self._keys[table] = {key: i for key, i in self._keys[table].items() if i in kept}
            self.tables[table] = kept
        return len(gone)

    async def refresh_views(self) -> None:
        """Count the request; there are no views here."""
        self.refreshes += 1

    async def schema_version(self) -> int:
        """Say that nothing is missing."""
        return SCHEMA_VERSION

    async def close(self) -> None:
        """Do nothing: the rows stay readable."""

    def _rows(self, table: str) -> Iterable[JsonObject]:
        if table in self.tables:
            return self.tables[table].values()
        known = "views are not modelled in memory" if table in VIEWS else "no such table"
        raise _error("PGRST205", f"{table}: {known}")


def _opened(table: str, body: bytes) -> JsonObject:
    if table not in TABLES:
        raise _error("42P01", f"ingest knows no table {table!r}")
    row: JsonObject = orjson.loads(body)
    return row


def _check_columns(table: str, row: JsonObject) -> None:
    if row.get("id") is None or row.get(RUN_COLUMN) is None:
        raise _error("23502", f"{table}: id and {RUN_COLUMN} must be there")
    if unknown := row.keys() - _COLUMNS[table]:
        raise _error("42703", f"{table} takes no column {', '.join(sorted(unknown))}")


def _check_bounds(table: str, row: JsonObject) -> None:
    model = _MODELS[table]
    fields = model.model_fields.keys()
    content = {name: value for name, value in row.items() if name in fields}
    try:
        model.model_validate(content)
    except ValidationError as exc:
        first = exc.errors(include_url=False)[0]
        where = ".".join(str(part) for part in first["loc"])
        if first["type"] == "missing" or first.get("input") is None:
            code = "23502"
        else:
            code = "23514" if first["type"] in _BOUNDS else "22P02"
        raise _error(code, f"{table} {row.get('id')}: {where}: {first['msg']}") from exc
    if table == RUN_TABLE and row["id"] != row[RUN_COLUMN]:
        raise _error("23514", f"{table}: id {row['id']} is not its run_id")


def _kept(table: str, before: JsonObject, after: JsonObject) -> JsonObject:
    """Keep what a new version does not change: an owner's facts and a cancellation."""
    if table != "compute_workloads":
        return after
    merged = dict(after)
    for name in ("owner", "submitted_at"):
        merged[name] = before.get(name) if before.get(name) is not None else after.get(name)
    if after.get("delay_cost_gbp_per_kwh_h") is None:
        merged["delay_cost_gbp_per_kwh_h"] = before.get("delay_cost_gbp_per_kwh_h")
    if before.get("status") == "cancelled":
        merged["status"] = "cancelled"
    return merged


def _error(code: str, message: str, detail: str | None = None) -> GridpactError:
    verdict = judge(code, None, message)
    if verdict is Verdict.RETRY:
        msg = f"{code} is no refusal of a row"
        raise ValueError(msg)
    return store_error(verdict, message, code=code, http_status=400, detail=detail)


def _rank(table: str) -> int:
    return TABLES[table].rank if table in TABLES else -1


def _version(row: JsonObject) -> int:
    version = row.get("version")
    return version if isinstance(version, int) else 0


def _sort_key(value: object) -> tuple[int, Any]:
    if value is None:
        return (2, "")
    return (0, value) if isinstance(value, int | float) else (1, str(value))


def _matches(row: JsonObject, filters: Sequence[Filter]) -> bool:
    return all(_holds(row.get(column), operator, value) for column, operator, value in filters)


def _holds(found: Any, operator: Operator, value: Any) -> bool:
    if operator is Operator.IS_NULL:
        return (found is None) is bool(value)
    if found is None:
        return False
    match operator:
        case Operator.EQ:
            return bool(found == value)
        case Operator.NEQ:
            return bool(found != value)
        case Operator.GT:
            return bool(found > value)
        case Operator.GTE:
            return bool(found >= value)
        case Operator.LT:
            return bool(found < value)
        case Operator.LTE:
            return bool(found <= value)
        case Operator.IN:
            return found in value
