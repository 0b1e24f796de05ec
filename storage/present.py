"""Answers on stdout: a table for people, JSON or CSV for programs."""

from __future__ import annotations

import csv
import sys
from collections.abc import Mapping, Sequence
from enum import StrEnum
from typing import Any

import orjson
from rich.console import Console
from rich.table import Table

_MAX_CELL = 60


class Form(StrEnum):
    """How an answer is written."""

    TABLE = "table"
    JSON = "json"
    CSV = "csv"


def form(*, as_json: bool, as_csv: bool = False) -> Form:
    """Choose the form from the two usual options; JSON wins."""
    if as_json:
        return Form.JSON
    return Form.CSV if as_csv else Form.TABLE


def write_json(answer: object) -> None:
    """Write one JSON document."""
    sys.stdout.write(orjson.dumps(answer, option=orjson.OPT_INDENT_2, default=str).decode() + "\n")


def write_rows(
    rows: Sequence[Mapping[str, Any]], how: Form, *, title: str = "", empty: str = "no rows"
) -> None:
    """Write rows that share their columns; an empty answer says so on stderr."""
    if how is Form.JSON:
        write_json(list(rows))
        return
    if not rows:
        Console(stderr=True).print(empty)
        return
    columns = list(rows[0])
    if how is Form.CSV:
        writer = csv.DictWriter(sys.stdout, columns, extrasaction="ignore")
        writer.writeheader()
        writer.writerows({name: _csv_cell(row.get(name)) for name in columns} for row in rows)
        return
    table = Table(title=title or None, title_justify="left", header_style="bold")
    for name in columns:
        numeric = any(isinstance(row.get(name), int | float) for row in rows)
        table.add_column(name, justify="right" if numeric else "left", overflow="fold")
    for row in rows:
        table.add_row(*(_cell(row.get(name)) for name in columns))
    Console().print(table)


def _csv_cell(value: object) -> object:
    if isinstance(value, dict | list):
        return orjson.dumps(value).decode()
    text = "" if value is None else value
    # A spreadsheet runs a cell that starts like a formula.
    if isinstance(text, str) and text[:1] in {"=", "+", "@", "\t", "\r"}:
        return "'" + text
    return text


def _cell(value: object) -> str:
    match value:
        case None:
            return ""
        case bool():
            return "yes" if value else "no"
        case float():
            return f"{value:,.4g}" if abs(value) < 1000 else f"{value:,.0f}"  # noqa: PLR2004
        case dict() | list():
            text = orjson.dumps(value).decode()
        case _:
            text = str(value)
    # Control characters of a stranger's text must not steer the reader's terminal.
    clean = "".join(char if char.isprintable() else "\u00b7" for char in text)
    return clean if len(clean) <= _MAX_CELL else clean[: _MAX_CELL - 1] + "…"
