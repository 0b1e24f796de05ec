"""Rows of one table written by columns: the form in which many rows travel at once. Pure.

A part is one JSON object. Names of columns, and values that all rows share, stand in it once; the
other columns are array literals of PostgreSQL, which it reads several times faster than an object
a row.

    {"table": "generation_mix_regional", "rows": 3,
     "all":  {"source": "neso", "seed": null},
     "text": ["id", "fuel"],
     "each": {"id": "{0a…,1b…,2c…}", "fuel": "{gas,wind,solar}", "generation_pct": "{1.5,2,0}"}}

``text`` names the columns whose words stand without quotes; it tells them from numbers when a part
is turned back into rows.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from operator import itemgetter
from typing import Any

import orjson

#: What stands in an array literal without quotes and is no special word there.
_PLAIN = b"0123456789abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ:+-._,"
_NESTED = frozenset({dict, list})
_WORDS = frozenset({str, type(None)})


def to_part(table: str, rows: Sequence[Mapping[str, Any]]) -> bytes | None:
    """Write rows by columns.

    Returns:
        None where this form cannot hold them: columns differ from row to row, a value is an array
        or an object, or a text holds a character that JSON and array literals escape differently.
    """
    names = list(rows[0])
    width = len(names)
    if width < 2 or set(map(len, rows)) != {width}:  # noqa: PLR2004  # one name gives no tuples
        return None
    try:
        columns = zip(*map(itemgetter(*names), rows), strict=True)
    except KeyError:
        return None
    shared: dict[str, Any] = {}
    bare: list[str] = []
    each: list[bytes] = []
    for name, column in zip(names, columns, strict=True):
        value = column[0]
        # Numbers may be equal and yet differ: 1, 1.0 and True, 0.0 and -0.0.
        if column.count(value) == len(column) and (
            not isinstance(value, int | float)
            or ((value or type(value) is not float) and len(set(map(type, column))) == 1)
        ):
            if type(value) in _NESTED:
                return None
            shared[name] = value
            continue
        kinds = set(map(type, column))
        if kinds & _NESTED:
            return None
        literal = orjson.dumps(column)[1:-1]
        if b"\\" in literal:
            return None
        if str in kinds:
            if kinds <= _WORDS and _needs_no_quotes(literal, len(column)):
                bare.append(name)
                literal = literal.replace(b'"', b"")
            else:
                literal = literal.replace(b'"', b'\\"')
        each.append(b'%s:"{%s}"' % (orjson.dumps(name), literal))
    return b'{"table":%s,"rows":%d,"all":%s,"text":%s,"each":{%s}}' % (
        orjson.dumps(table),
        len(rows),
        orjson.dumps(shared),
        orjson.dumps(bare),
        b",".join(each),
    )


def rows_of(part: bytes) -> tuple[str, list[dict[str, Any]]]:
    """Turn a part back: its table, and the columns of each row."""
    document = orjson.loads(part)
    bare = set(document["text"])
    each: Mapping[str, str] = document["each"]
    columns = [_values(literal, bare=name in bare) for name, literal in each.items()]
    shared: Mapping[str, Any] = document["all"]
    if not each:
        return document["table"], [dict(shared) for _ in range(document["rows"])]
    return document["table"], [
        {**shared, **dict(zip(each, values, strict=True))} for values in zip(*columns, strict=True)
    ]


def bodies_of(parts: Iterable[bytes]) -> dict[str, list[bytes]]:
    """Turn parts into the content of a request by rows; of an id the highest version counts."""
    tables: dict[str, dict[str, dict[str, Any]]] = {}
    for part in parts:
        table, rows = rows_of(part)
        newest = tables.setdefault(table, {})
        for row in rows:
            held = newest.get(row["id"])
            if held is None or row.get("version", 0) > held.get("version", 0):
                newest[row["id"]] = row
    return {table: [orjson.dumps(row) for row in rows.values()] for table, rows in tables.items()}


def _needs_no_quotes(literal: bytes, count: int) -> bool:
    """Say whether words are all of plain characters, none of them empty or "null"."""
    return (
        b'""' not in literal
        and literal.count(b",") == count - 1
        and not literal.translate(None, _PLAIN + b'"')
        and b'"null"' not in literal.lower()
    )


def _values(literal: str, *, bare: bool) -> list[Any]:
    content = literal[1:-1]
    if not bare:
        values: list[Any] = orjson.loads(f"[{content}]")
        return values
    return [None if word == "null" else word for word in content.split(",")]
