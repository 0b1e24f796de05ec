"""CSV tables of the batch planner: read whole, checked column by column.

A column of 100,000 values is turned into an array at once. Only when something is wrong in it are
its values looked at one by one, so that a message can name line, field, value and what is allowed.
"""

from __future__ import annotations

import csv
import io
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

import numpy as np

from agents.core.market.units import Bools, Floats, Ints
from schema.errors import InputError
from schema.periods import parse_instant

MAX_BYTES = 1024 * 1024 * 1024
_FIELD_LIMIT = 8_192
_SHOWN = 10
_VALUE_WIDTH = 60

T = TypeVar("T")

INSTANT = "an instant with its zone is needed, such as 2026-05-01T10:30Z"
_YES_NO = {"true": True, "yes": True, "1": True, "false": False, "no": False, "0": False}


@dataclass(frozen=True, slots=True, order=True)
class Fault:
    """One value that is wrong; ``line`` counts the header as 1, 0 is the file as a whole."""

    line: int
    row: str
    field: str
    value: str
    allowed: str

    def text(self, file: str) -> str:
        """Say it: file, line and whose, field, value, what is allowed."""
        where = file
        if self.line:
            where += f": line {self.line}" + (f" ({self.row})" if self.row else "")
        if self.field:
            where += f", {self.field} is {self.value}" if self.value else f", {self.field}"
        return f"{where}: {self.allowed}"


class Faults:
    """Faults of one file; counts all, keeps those it will show."""

    def __init__(self, file: str) -> None:
        self.file = file
        self._kept: list[Fault] = []
        self._count = 0

    def add(self, field: str, value: object, allowed: str, *, line: int = 0, row: str = "") -> None:
        """Note a fault."""
        self._count += 1
        self._kept.append(Fault(line, shown(row) if row else "", field, shown(value), allowed))
        if len(self._kept) > 4 * _SHOWN:
            self._kept = sorted(self._kept)[:_SHOWN]

    def stop_here(self) -> None:
        """Raise what was noted, if anything.

        Raises:
            InputError: The faults in order of lines; details hold file and the first one's parts.
        """
        if not self._count:
            return
        first = sorted(self._kept)[:_SHOWN]
        if self._count == 1:
            message = first[0].text(self.file)
        else:
            more = self._count - len(first)
            message = "\n".join(
                [
                    f"{self.file} has {self._count} faults:",
                    *(f"  {fault.text(self.file)}" for fault in first),
                    *([f"  and {more} more"] if more else []),
                ]
            )
        raise InputError(
            message,
            file=self.file,
            line=first[0].line,
            field=first[0].field,
            value=first[0].value,
        )


def shown(value: object) -> str:
    """Write a value for a message: short and on one line; nothing for an absent one."""
    if value is None:
        return ""
    text = repr(value)
    return text if len(text) <= _VALUE_WIDTH else f"{text[: _VALUE_WIDTH - 1]}…"


@dataclass(frozen=True, slots=True, eq=False)
class Table:
    """A CSV as columns of stripped text.

    Attributes:
        columns: By name.
        lines: Line of each row in the file; a row that spans several has its last.
        label: Column that names a row in messages; None for none.
        faults: Where checks note what is wrong.
    """

    columns: dict[str, list[str]]
    lines: list[int]
    label: str | None
    faults: Faults

    def __len__(self) -> int:
        return len(self.lines)

    def fault(self, at: int, field: str, allowed: str) -> None:
        """Note that a row's field is wrong."""
        self.faults.add(
            field,
            self.columns[field][at],
            allowed,
            line=self.lines[at],
            row=self.columns[self.label][at] if self.label else "",
        )

    def fault_where(self, bad: Bools, field: str, allowed: str) -> None:
        """Note every row that ``bad`` marks."""
        for at in np.flatnonzero(bad).tolist():
            self.fault(at, field, allowed)

    def numbers(
        self, field: str, low: float, high: float, allowed: str, *, empty: float | None = None
    ) -> Floats:
        """Read a column of finite numbers from ``low`` to ``high``; wrong ones are noted.

        Args:
            field: The column.
            low: Smallest allowed.
            high: Largest allowed.
            allowed: What a message says is allowed.
            empty: What an empty field stands for; None where it must not be empty.
        """
        texts = self.columns[field]
        if empty is not None:
            texts = [text or repr(empty) for text in texts]
        try:
            values = np.array(list(map(_number, texts)), dtype=np.float64)
        except ValueError:
            values = np.array([_or_nan(text) for text in texts], dtype=np.float64)
        good = np.isfinite(values) & (values >= low) & (values <= high)
        if empty is not None and math.isnan(empty):
            good |= np.array([not text for text in self.columns[field]], np.bool_)
        self.fault_where(~good, field, allowed)
        return values

    def integers(self, field: str, low: int, high: int, allowed: str) -> Ints:
        """Read a column of whole numbers from ``low`` to ``high``; wrong ones are noted."""
        values = self.numbers(field, low, high, allowed)
        whole = np.where(np.isfinite(values), np.rint(values), 0.0)
        inside = (values >= low) & (values <= high)
        self.fault_where(inside & (whole != values), field, allowed)
        return np.clip(whole, low, high).astype(np.int64)

    def each(self, field: str, read: Callable[[str], T], instead: T) -> list[T]:
        """Read a column by a function; the same text is read once.

        Args:
            field: The column.
            read: Raises ValueError with what is allowed.
            instead: Stands for what could not be read.
        """
        known: dict[str, T] = {}
        wrong: dict[str, str] = {}
        for text in dict.fromkeys(self.columns[field]):
            try:
                known[text] = read(text)
            except (ValueError, OverflowError) as exc:
                known[text] = instead
                wrong[text] = str(exc)
        if wrong:
            for at, text in enumerate(self.columns[field]):
                if text in wrong:
                    self.fault(at, field, wrong[text])
        return [known[text] for text in self.columns[field]]

    def instants(self, field: str) -> Ints:
        """Read a column of instants with zones, in microseconds since 1970 UTC."""
        return np.array(self.each(field, _microseconds, 0), dtype=np.int64)

    def flags(self, field: str) -> Bools:
        """Read a column of true and false."""
        return np.array(self.each(field, _flag, instead=False), dtype=np.bool_)


def read_table(path: Path, columns: Sequence[str], *, label: str | None = None) -> Table:
    """Read a CSV with exactly these columns, in any order.

    Args:
        path: A regular file, UTF-8.
        columns: Needed and allowed.
        label: The column that names a row in messages.

    Raises:
        InputError: No such file, not UTF-8, no CSV, columns missing, unknown or twice, a row with
            another number of fields, no rows.
    """
    return parse_table(_read(path), str(path), columns, label=label)


def parse_table(
    data: bytes, file: str, columns: Sequence[str], *, label: str | None = None
) -> Table:
    """Read a CSV from its bytes; see ``read_table``."""
    faults = Faults(file)
    if (at := data.find(b"\x00")) >= 0:
        line = data.count(b"\n", 0, at) + 1
        raise InputError(
            f"{file}: line {line} holds a NUL byte; a CSV is plain UTF-8 text", file=file, line=line
        )
    try:
        text = data.decode("utf-8-sig")
    except UnicodeDecodeError as exc:
        line = data.count(b"\n", 0, exc.start) + 1
        raise InputError(
            f"{file}: line {line} is not UTF-8 (byte {exc.start} of the file); save it as UTF-8",
            file=file,
            line=line,
        ) from None
    previous = csv.field_size_limit(_FIELD_LIMIT)
    try:
        rows, lines = _rows(text, columns, faults)
    except csv.Error as exc:
        raise InputError(f"{file} is no valid CSV: {exc}", file=file) from exc
    finally:
        csv.field_size_limit(previous)
    faults.stop_here()
    if len(rows) < 2:  # noqa: PLR2004 - the header and one row
        raise InputError(f"{file} has no rows below its header; at least one is needed", file=file)
    header = [name.strip() for name in rows[0]]
    made = {
        name: list(map(str.strip, values))
        for name, values in zip(header, zip(*rows[1:], strict=True), strict=True)
    }
    return Table(made, lines, label, faults)


def _read(path: Path) -> bytes:
    try:
        if not path.is_file():
            what = "is no plain file" if path.exists() else "does not exist"
            raise InputError(f"{path} {what}; give the path of a CSV", file=str(path))
        size = path.stat().st_size
        if size > MAX_BYTES:
            raise InputError(
                f"{path} has {size} bytes; at most {MAX_BYTES} are read", file=str(path)
            )
        return path.read_bytes()
    except OSError as exc:
        raise InputError(f"{path} cannot be read: {exc.strerror}", file=str(path)) from exc


def _rows(text: str, columns: Sequence[str], faults: Faults) -> tuple[list[list[str]], list[int]]:
    reader = csv.reader(io.StringIO(text, newline=""), strict=True)
    header = next(reader, None)
    if header is None:
        wanted = ",".join(columns)
        raise InputError(f"{faults.file} is empty; its header must be {wanted}", file=faults.file)
    _check_header([name.strip() for name in header], columns, faults)
    faults.stop_here()
    rows, lines = [header], []
    for row in reader:
        if not row:
            continue
        if len(row) != len(header):
            allowed = f"{len(row)} fields; the header has {len(header)}"
            faults.add("", None, allowed, line=reader.line_num)
            continue
        rows.append(row)
        lines.append(reader.line_num)
    return rows, lines


def _check_header(header: list[str], columns: Sequence[str], faults: Faults) -> None:
    wrong = [
        (kind, names)
        for kind, names in (
            ("missing", [name for name in columns if name not in header]),
            ("unknown", [name for name in dict.fromkeys(header) if name not in columns]),
            ("there twice", [name for name in columns if header.count(name) > 1]),
        )
        if names
    ]
    if wrong:
        told = "; ".join(
            f"{'column' if len(names) == 1 else 'columns'} {', '.join(map(repr, names))} "
            f"{'is' if len(names) == 1 else 'are'} {kind}"
            for kind, names in wrong
        )
        allowed = f"{told}; exactly these are needed: {','.join(columns)}"
        faults.add("header", None, allowed, line=1)


def _number(text: str) -> float:
    if "_" in text:
        raise ValueError(text)
    return float(text)


def _or_nan(text: str) -> float:
    try:
        return _number(text)
    except ValueError:
        return math.nan


def _microseconds(text: str) -> int:
    try:
        instant = parse_instant(text)
    except (ValueError, OverflowError):
        raise ValueError(INSTANT) from None
    seconds = round(instant.replace(microsecond=0).timestamp())
    return seconds * 1_000_000 + instant.microsecond


def _flag(text: str) -> bool:
    try:
        return _YES_NO[text.lower()]
    except KeyError:
        raise ValueError("true or false is needed") from None
