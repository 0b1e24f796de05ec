"""``parse``: a recorded reply into rows and rejected rows, offline."""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence
from datetime import datetime
from pathlib import Path
from typing import Annotated, Any

import orjson
import typer
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from fetchers import registry
from fetchers.capture import open_capture
from fetchers.parsing import ParseContext, guarded
from schema.errors import ConfigurationError, InputError, NotYetPublished
from schema.periods import format_instant, parse_instant
from schema.readings import Parsed
from schema.rows.base import Row

MAX_FILE_BYTES = 64 * 1024 * 1024
SHOWN_REJECTED = 20
_TIME_COLUMNS = ("valid_from", "starts_at", "observed_at", "occurred_at")


def parse(
    source: Annotated[str | None, typer.Argument(help="Source, such as neso.")] = None,
    endpoint: Annotated[str | None, typer.Argument(help="Endpoint; see --list.")] = None,
    file: Annotated[
        Path | None,
        typer.Argument(help="Recorded reply, bare or in a capture envelope; - reads it in."),
    ] = None,
    *,
    json_output: Annotated[bool, typer.Option("--json", help="Print one JSON document.")] = False,
    list_endpoints: Annotated[
        bool, typer.Option("--list", help="List sources, endpoints and the tables they feed.")
    ] = False,
    retrieved_at: Annotated[
        str | None, typer.Option(help="When the reply was retrieved, such as 2026-05-01T10:30Z.")
    ] = None,
) -> None:
    """Read a recorded reply into rows and rejected rows with reasons; offline."""
    if list_endpoints:
        _print_list(source, as_json=json_output)
        return
    if source is None or endpoint is None or file is None:
        msg = "parse needs SOURCE ENDPOINT FILE; `parse --list` names sources and endpoints"
        raise InputError(msg)
    parser = registry.find(source, endpoint)
    capture = open_capture(_read(file), str(file))
    now = capture.captured_at if retrieved_at is None else _instant(retrieved_at)
    try:
        parsed = guarded(source, lambda: parser.parse(capture.body, ParseContext(now=now)))
    except NotYetPublished as exc:
        Console(stderr=True, highlight=False).print(escape(exc.message))
        parsed = Parsed()
    if json_output:
        _print_json(document(source, endpoint, parsed, now))
    else:
        _print_table(source, endpoint, parsed)
    if parsed.rejected and not parsed.rows:
        raise typer.Exit(1)


def document(
    source: str, endpoint: str, parsed: Parsed, retrieved_at: datetime | None
) -> dict[str, Any]:
    """Give the JSON answer: ``source endpoint rows[{table,…columns}] rejected[{where,reason}]``."""
    return {
        "source": source,
        "endpoint": endpoint,
        "rows": [_columns(row, retrieved_at) for row in parsed.rows],
        "rejected": [{"where": item.where, "reason": item.reason} for item in parsed.rejected],
    }


def _columns(row: Row, retrieved_at: datetime | None) -> dict[str, Any]:
    columns: dict[str, Any] = {"table": row.TABLE, **row.model_dump(mode="json")}
    if row.STAMPED and retrieved_at is not None:
        columns["retrieved_at"] = format_instant(retrieved_at)
    return columns


def _read(file: Path) -> bytes:
    try:
        if str(file) == "-":
            content = sys.stdin.buffer.read(MAX_FILE_BYTES + 1)
        else:
            with file.open("rb") as handle:
                content = handle.read(MAX_FILE_BYTES + 1)
    except OSError as exc:
        msg = f"{file} cannot be read: {exc.strerror or exc}; give a file with a recorded reply"
        raise InputError(msg, file=str(file)) from None
    if len(content) > MAX_FILE_BYTES:
        msg = f"{file} is larger than {MAX_FILE_BYTES // 2**20} MiB; a reply is not that large"
        raise InputError(msg, file=str(file))
    return content


def _instant(text: str) -> datetime:
    try:
        return parse_instant(text)
    except (ValueError, OverflowError) as exc:
        raise InputError(f"--retrieved-at: {exc}", field="retrieved_at", value=text) from None


def _print_json(answer: Mapping[str, Any] | Sequence[Any]) -> None:
    typer.echo(orjson.dumps(answer, option=orjson.OPT_INDENT_2).decode())


def _print_list(source: str | None, *, as_json: bool) -> None:
    names = registry.sources() if source is None else (source,)
    entries = []
    for name in names:
        try:
            found = registry.endpoints(name)
        except ConfigurationError as exc:
            if source is not None:
                raise
            # One broken package must not hide the sources of all others.
            Console(stderr=True, highlight=False).print(escape(f"left out: {exc.message}"))
            continue
        entries += [(name, endpoint, parser) for endpoint, parser in found.items()]
    if as_json:
        keys = ("source", "endpoint", "tables", "description")
        _print_json(
            [
                dict(zip(keys, (name, endpoint, parser.tables, parser.description), strict=True))
                for name, endpoint, parser in entries
            ]
        )
        return
    table = Table("source", "endpoint", "tables", "description", box=None, pad_edge=False)
    for name, endpoint, parser in entries:
        table.add_row(name, endpoint, ", ".join(parser.tables) or "-", parser.description)
    _console().print(table)


def _print_table(source: str, endpoint: str, parsed: Parsed) -> None:
    console = _console()
    table = Table("table", "rows", "first", "last", box=None, pad_edge=False)
    for name in dict.fromkeys(row.TABLE for row in parsed.rows):
        rows = [row for row in parsed.rows if name == row.TABLE]
        times = sorted(at for row in rows if (at := _time(row)) is not None)
        bounds = (format_instant(times[0]), format_instant(times[-1])) if times else ("-", "-")
        table.add_row(name, str(len(rows)), *bounds)
    console.print(
        f"{escape(source)} {escape(endpoint)}: {len(parsed.rows)} rows, "
        f"{len(parsed.rejected)} rejected"
    )
    if parsed.rows:
        console.print(table)
    for why, count in parsed.skipped.items():
        console.print(f"left out: {count} {escape(why)}")
    for item in parsed.rejected[:SHOWN_REJECTED]:
        console.print(f"rejected {escape(item.where)}: {escape(item.reason)}")
    if len(parsed.rejected) > SHOWN_REJECTED:
        console.print(f"… and {len(parsed.rejected) - SHOWN_REJECTED} more; see --json")


def _console() -> Console:
    # A pipe has no width of its own; columns must not be folded at 80 there.
    console = Console(highlight=False)
    return console if console.is_terminal else Console(highlight=False, width=200)


def _time(row: Row) -> datetime | None:
    for name in _TIME_COLUMNS:
        value = getattr(row, name, None)
        if isinstance(value, datetime):
            return value
    return None
