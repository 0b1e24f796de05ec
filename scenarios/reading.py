"""Reading of files that may be hostile: bounded in size, depth and number, never by surprise.

TOML has no aliases, but its parser recurses into brackets and takes quadratic time over long
dotted keys; both are bounded before it runs.
"""

from __future__ import annotations

import csv
import stat
import tomllib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, TypeVar

from scenarios.faults import Fault, shown

MAX_TOML_BYTES = 512 * 1024
MAX_CSV_BYTES = 32 * 1024 * 1024
MAX_CSV_ROWS = 400_000
MAX_DEPTH = 24
MAX_KEY_PARTS = 12
MAX_FAULTS_A_FILE = 25
_FIELD_LIMIT = 8_192

T = TypeVar("T")


class FileFault(Exception):
    """A file that cannot be read at all; carries the fault."""

    def __init__(self, fault: Fault) -> None:
        super().__init__(str(fault))
        self.fault = fault


def read_bytes(path: Path, limit: int) -> bytes:
    """Read a regular file of at most ``limit`` bytes.

    Raises:
        FileFault: It is missing, no regular file, too large or not readable.
    """
    name = path.name
    try:
        status = path.stat()
        if not stat.S_ISREG(status.st_mode):
            raise FileFault(Fault(name, "", "", "is no regular file; give a plain file"))
        if status.st_size > limit:
            raise FileFault(
                Fault(name, "size", f"{status.st_size} bytes", f"at most {limit} bytes are read")
            )
        with path.open("rb") as file:
            return file.read(limit + 1)[:limit]
    except FileNotFoundError:
        raise FileFault(Fault(name, "", "", f"is missing in {path.parent}")) from None
    except OSError as exc:
        raise FileFault(Fault(name, "", "", f"cannot be read: {exc.strerror}")) from exc


def read_toml(path: Path) -> dict[str, Any]:
    """Read a TOML file.

    Raises:
        FileFault: It cannot be read, or is no TOML; the parser's line and column are told.
    """
    raw = read_bytes(path, MAX_TOML_BYTES)
    try:
        text = raw.decode("utf-8-sig")
    except UnicodeDecodeError as exc:
        raise FileFault(
            Fault(path.name, f"byte {exc.start}", "", "is not UTF-8; save the file as UTF-8")
        ) from exc
    text = text.replace("\r\n", "\n")
    _bound_nesting(path.name, text)
    try:
        return tomllib.loads(text)
    except (ValueError, RecursionError) as exc:
        # ValueError is more than TOMLDecodeError: a number of 5,000 digits raises the bare one.
        raise FileFault(Fault(path.name, "", "", f"is no valid TOML: {exc}")) from exc


def _bound_nesting(name: str, text: str) -> None:
    """Refuse brackets too deep and dotted keys too long; text in quotes does not count."""
    depth = dots = 0
    at, size = 0, len(text)
    while at < size:
        char = text[at]
        if char in "\"'":
            at = _after_string(text, at, char)
            continue
        if char == "#":
            end = text.find("\n", at)
            at = size if end < 0 else end
            continue
        if char in "[{":
            depth, dots = depth + 1, 0
        elif char in "]}":
            depth, dots = max(0, depth - 1), 0
        elif char in "=,\n":
            dots = 0
        elif char == ".":
            dots += 1
        if depth > MAX_DEPTH or dots > MAX_KEY_PARTS:
            line = text.count("\n", 0, at) + 1
            what = f"more than {MAX_DEPTH} brackets" if depth > MAX_DEPTH else "a dotted key"
            allowed = f"{what} too deep; a scenario needs at most {MAX_KEY_PARTS} levels"
            raise FileFault(Fault(name, f"line {line}", "", allowed))
        at += 1


def _after_string(text: str, at: int, quote: str) -> int:
    """Give the index behind a TOML string that begins at ``at``; the end if it is not closed."""
    if text.startswith(quote * 3, at):
        end = text.find(quote * 3, at + 3)
        while quote == '"' and end > 0 and _escaped(text, end):
            end = text.find(quote * 3, end + 1)
        return len(text) if end < 0 else end + 3
    end = at + 1
    while end < len(text) and text[end] not in (quote, "\n"):
        end += 2 if quote == '"' and text[end] == "\\" else 1
    return end + 1


def _escaped(text: str, at: int) -> bool:
    backslashes = 0
    while at - backslashes > 0 and text[at - backslashes - 1] == "\\":
        backslashes += 1
    return backslashes % 2 == 1


class Collector:
    """Faults of one file, counted, kept up to a limit."""

    def __init__(self, file: str) -> None:
        self.file = file
        self.faults: list[Fault] = []

    @property
    def full(self) -> bool:
        """Say whether reading on would only lengthen the list."""
        return len(self.faults) >= MAX_FAULTS_A_FILE

    def add(self, field: str, value: object, allowed: str) -> None:
        """Note a fault; ``value`` is written as a short literal, "" for none."""
        text = "" if isinstance(value, str) and not value else shown(value)
        self.faults.append(Fault(self.file, field, text, allowed))


Row = dict[str, str]


def read_csv(
    path: Path,
    required: tuple[str, ...],
    optional: tuple[str, ...],
    found: Collector,
) -> Iterator[tuple[int, Row]]:
    """Give the rows of a CSV with a header, one by one, with their line number.

    Faults of the file itself (missing columns, unknown columns, too many rows, a row with another
    number of fields) go to ``found``; the caller adds those of single values and should stop when
    ``found.full``.
    """
    try:
        raw = read_bytes(path, MAX_CSV_BYTES)
        text = raw.decode("utf-8-sig")
    except FileFault as exc:
        found.faults.append(exc.fault)
        return
    except UnicodeDecodeError as exc:
        found.add(f"byte {exc.start}", "", "is not UTF-8; save the file as UTF-8")
        return
    del raw
    previous = csv.field_size_limit(_FIELD_LIMIT)
    try:
        yield from _rows(text, required, optional, found)
    except csv.Error as exc:
        found.add("", "", f"is no valid CSV: {exc}")
    finally:
        csv.field_size_limit(previous)


def _rows(
    text: str, required: tuple[str, ...], optional: tuple[str, ...], found: Collector
) -> Iterator[tuple[int, Row]]:
    reader = csv.reader(_lines(text))
    header = [name.strip() for name in next(reader, [])]
    missing = [name for name in required if name not in header]
    unknown = [name for name in header if name not in required and name not in optional]
    for name in missing:
        found.add("header", "", f"column {name!r} is missing; needed are {', '.join(required)}")
    for name in unknown[:5]:
        allowed = ", ".join((*required, *optional))
        found.add("header", name, f"is no column of this table; allowed are {allowed}")
    if len(set(header)) != len(header):
        found.add("header", "", "names a column twice")
    if found.faults:
        return
    for count, fields in enumerate(reader, start=1):
        if count > MAX_CSV_ROWS:
            found.add("rows", "", f"are more than {MAX_CSV_ROWS}; split the scenario")
            return
        if not fields:
            continue
        if len(fields) != len(header):
            found.add(f"line {reader.line_num}", len(fields), f"fields; expected {len(header)}")
            if found.full:
                return
            continue
        yield reader.line_num, dict(zip(header, fields, strict=True))


def _lines(text: str) -> Iterator[str]:
    start = 0
    while start < len(text):
        end = text.find("\n", start)
        end = len(text) if end < 0 else end + 1
        yield text[start:end]
        start = end


def parsed(
    row: Row, name: str, line: int, read: Callable[[str], T], allowed: str, found: Collector
) -> T | None:
    """Read one field; None, and a fault, where ``read`` raises ValueError."""
    try:
        return read(row[name].strip())
    except ValueError:
        found.add(f"line {line}, {name}", row[name], allowed)
        return None
