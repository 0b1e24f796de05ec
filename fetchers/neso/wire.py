"""NESO's two forms of a table, CKAN JSON and CSV, brought to one.

The same file comes as ``datastore_search`` (numbers), ``datastore_search_sql`` (numbers as text)
or an uploaded CSV (quoted or not, CRLF or not, with or without byte order mark). Column names are
brought to lower case with underscores; columns that get appended are kept.
"""

from __future__ import annotations

import csv
import io
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache

import orjson

from fetchers.parsing import RowSink
from fetchers.wire import (
    Json,
    Unusable,
    describe,
    invalid,
    load_reply,
    refusal,
    refusal_error,
    strip_bom,
)
from schema.readings import Source

_NAME = Source.NESO.value
_SHOWN_COLUMNS = 12

Cells = Mapping[str, Json]
"""One row by normal column name; CSV cells are text, JSON cells anything."""


@dataclass(frozen=True, slots=True)
class Table:
    """A data file as it came: its columns and rows; ``total`` where CKAN says how many exist.

    ``rows`` gives (where, cells); a row that is none gives the reason in place of cells.
    """

    columns: frozenset[str]
    rows: Sequence[tuple[str, Cells | Unusable]]
    total: int | None = None

    def __iter__(self) -> Iterator[tuple[str, Cells | Unusable]]:
        return iter(self.rows)


def read_table(body: bytes, needed: Sequence[str]) -> Table:
    """Read a reply that holds a table, JSON or CSV, told apart by content.

    Args:
        body: The reply.
        needed: Normal names of the columns without which the reply is another file.

    Raises:
        SourcePayloadInvalid: A page, truncated JSON, or a table that lacks needed columns.
        SourceRejected: CKAN's error body, or its bare string.
    """
    table = _read_json(body) if _is_json(body) else _read_csv(body)
    missing = [name for name in needed if name not in table.columns]
    if missing and (table.columns or table.rows):
        found = ", ".join(repr(name)[:40] for name in sorted(table.columns)[:_SHOWN_COLUMNS])
        msg = f"the file lacks {', '.join(missing)}; its columns are {found or 'none'}"
        raise invalid(_NAME, msg, body)
    return table


def collect(table: Table, add: Callable[[RowSink, str, Cells], None]) -> RowSink:
    """Hand each row to ``add``; a row it cannot use is rejected with the reason it raises."""
    sink = RowSink()
    for where, cells in table:
        try:
            if isinstance(cells, Unusable):
                raise cells
            add(sink, where, cells)
        except Unusable as exc:
            sink.reject(where, str(exc))
    return sink


def read_result(body: bytes) -> dict[str, Json]:
    """Give ``result`` of a CKAN reply."""
    payload = load_reply(body, _NAME)
    result = payload.get("result") if isinstance(payload, dict) else None
    if not isinstance(result, dict):
        msg = f"result is {describe(result)}; a CKAN reply with an object is expected"
        raise invalid(_NAME, msg, body)
    return result


def _is_json(body: bytes) -> bool:
    text = strip_bom(body)
    if text[:1] != b'"':
        return text[:1] in (b"", b"{", b"[", b"<")
    # A quoted CSV and CKAN's bare error string both start with a quote.
    try:
        payload = orjson.loads(text)
    except orjson.JSONDecodeError:
        return False
    refused = refusal(payload)
    if refused is not None:
        raise refusal_error(_NAME, refused)
    return True


def _read_json(body: bytes) -> Table:
    result = read_result(body)
    records = result.get("records")
    if not isinstance(records, list):
        msg = (
            f"result.records is {describe(records)}; rows of a data file are expected "
            "(package_show and resource_show hold none)"
        )
        raise invalid(_NAME, msg, body)
    rows: list[tuple[str, Cells | Unusable]] = []
    columns = (
        {
            normal_name(field["id"])
            for field in result.get("fields") or ()
            if isinstance(field, dict) and isinstance(field.get("id"), str)
        }
        if isinstance(result.get("fields"), list)
        else set()
    )
    for index, record in enumerate(records):
        where = f"result.records[{index}]"
        if isinstance(record, dict):
            cells = {normal_name(name): value for name, value in record.items()}
            columns.update(cells)
            rows.append((where, cells))
        else:
            rows.append((where, Unusable(f"the record is {describe(record)}; an object is needed")))
    total = result.get("total")
    known = isinstance(total, int) and not isinstance(total, bool)
    return Table(frozenset(columns), rows, total if known else None)


def _read_csv(body: bytes) -> Table:
    # A byte that is no UTF-8 spoils its own cell, not the file.
    text = strip_bom(body).decode("utf-8", errors="replace")
    lines = csv.reader(io.StringIO(text, newline=""))
    header: list[str] | None = None
    rows: list[tuple[str, Cells | Unusable]] = []
    while True:
        where = f"row {len(rows) + 1}"
        try:
            fields = next(lines, None)
        except csv.Error as exc:
            if header is None:
                raise invalid(_NAME, f"the file is no CSV ({exc})", body) from None
            rows.append((where, Unusable(f"the row is no CSV ({exc})")))
            continue
        if fields is None:
            break
        if not fields or fields == [""]:
            continue
        if header is None:
            header = [normal_name(name) for name in fields]
        elif len(fields) != len(header):
            reason = f"the row has {len(fields)} fields; the header has {len(header)}"
            rows.append((where, Unusable(reason)))
        else:
            rows.append((where, dict(zip(header, fields, strict=True))))
    return Table(frozenset(header or ()), rows)


@lru_cache(maxsize=512)
def normal_name(name: str) -> str:
    """Bring a column name to lower case with underscores: ``"Settled Cost "`` has a twin."""
    return re.sub(r"[^a-z0-9]+", "_", name.lower()).strip("_")
