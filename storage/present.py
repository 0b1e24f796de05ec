"""Answers on stdout: a table for people, JSON or CSV for programs."""

from __future__ import annotations

import csv
import os
import re
import sys
from collections.abc import Mapping, Sequence
from enum import StrEnum
from textwrap import wrap
from typing import Any

import orjson
from rich import box
from rich.cells import cell_len
from rich.console import Console
from rich.table import Table
from rich.text import Text

_MAX_TEXT = 600
_MAX_JSON = 60
_SHORT = 20
"""Cells up to this width are not broken."""
_WIDE = 250
"""Columns of a table that no terminal shows: a file or a pipe has no right edge."""
_INSTANT = re.compile(r"(\d{4}-\d\d-\d\d)[T ](\d\d:\d\d)(:\d\d)?(\.\d+)?(Z|\+00:00)")


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
        Console(stderr=True).print(empty, markup=False, highlight=False)
        return
    columns = list(rows[0])
    if how is Form.CSV:
        writer = csv.DictWriter(sys.stdout, columns, extrasaction="ignore", lineterminator="\n")
        writer.writeheader()
        writer.writerows({name: _csv_cell(row.get(name)) for name in columns} for row in rows)
        return
    screen = console()
    table = Table(
        title=title or None,
        title_justify="left",
        title_style="bold",
        header_style="bold",
        box=box.SIMPLE_HEAD,
        show_edge=False,
        padding=(0, 1, 0, 0),
        pad_edge=False,
    )
    cells = [_column([row.get(name) for row in rows]) for name in columns]
    widths = [_width(name, column) for name, column in zip(columns, cells, strict=True)]
    kept = _kept_whole(widths, screen.width)
    for name, width, whole in zip(columns, widths, kept, strict=True):
        values = [row.get(name) for row in rows]
        numeric = any(isinstance(value, int | float) for value in values)
        table.add_column(
            "\n".join(wrap(name, width, break_long_words=False, break_on_hyphens=False)) or name,
            justify="right" if numeric else "left",
            overflow="fold",
            no_wrap=whole,
        )
    for line in zip(*cells, strict=True):
        table.add_row(*(Text(cell) for cell in line))
    screen.print(table)


def _width(name: str, column: Sequence[str]) -> int:
    """Give the width of a column whose head may break between words, and its cells not at all."""
    return max(cell_len(text) for text in (*column, *(name.split() or [""])))


def _kept_whole(widths: Sequence[int], room: int) -> list[bool]:
    """Choose the columns whose cells stay in one line: the short ones, if the long get by."""
    kept = [width <= _SHORT for width in widths]
    least = sum(width if whole else _SHORT for width, whole in zip(widths, kept, strict=True))
    fits = least + 2 * (len(widths) - 1) <= room
    return kept if fits else [False] * len(widths)


def write_facts(facts: Mapping[str, str], *, title: str = "") -> None:
    """Write named facts, one a line; the names stand in a column of their own."""
    table = Table(
        title=title or None,
        title_justify="left",
        title_style="bold",
        box=None,
        show_header=False,
        pad_edge=False,
    )
    table.add_column(style="dim", no_wrap=True)
    table.add_column(overflow="fold")
    for name, fact in facts.items():
        table.add_row(Text(name), Text(printable(fact)))
    console().print(table)


def console() -> Console:
    """Give the console of answers; where no terminal shows them, lines are not broken."""
    found = Console(highlight=False)
    if found.is_terminal or "COLUMNS" in os.environ:
        return found
    return Console(highlight=False, width=_WIDE)


def printable(text: str) -> str:
    """Give a text whose control characters cannot steer the reader's terminal."""
    return "".join(char if char.isprintable() else "\u00b7" for char in text)


def _csv_cell(value: object) -> object:
    if isinstance(value, dict | list):
        return orjson.dumps(value).decode()
    text = "" if value is None else value
    # A spreadsheet runs a cell that starts like a formula.
    if isinstance(text, str) and text[:1] in {"=", "+", "@", "\t", "\r"}:
        return "'" + text
    return text


def _column(values: Sequence[object]) -> list[str]:
    """Write the cells of a column; its numbers have the same places after the point."""
    floats = [value for value in values if isinstance(value, float)]
    places = _places(floats)
    return [
        f"{round(value, places) + 0.0:,.{places}f}" if isinstance(value, float) else _cell(value)
        for value in values
    ]


def _places(values: Sequence[float]) -> int:
    """Give the places after the point that tell a column's figures apart: about four digits."""
    if all(value == int(value) for value in values if abs(value) < float("inf")):
        return 0
    largest = max(abs(value) for value in values)
    return next(
        (places for limit, places in ((1, 4), (10, 3), (100, 2), (1000, 1)) if largest < limit), 0
    )


def _cell(value: object) -> str:
    match value:
        case None:
            return ""
        case bool():
            return "yes" if value else "no"
        case dict() | list():
            text, limit = orjson.dumps(value).decode(), _MAX_JSON
        case _:
            text, limit = str(value), _MAX_TEXT
    clean = printable(text)
    if found := _INSTANT.fullmatch(clean):
        day, minute, second, fraction, _ = found.groups()
        whole = second in {None, ":00"} and fraction is None
        return f"{day} {minute}{'' if whole else second}Z"
    return clean if len(clean) <= limit else clean[: limit - 1] + "…"
