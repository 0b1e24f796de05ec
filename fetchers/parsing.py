"""The form every parser has, and the collector it fills.

A parser is a pure function of a reply's bytes and a ``ParseContext``. One bad row never sinks a
reply: it becomes a ``Rejected`` with a reason. A reply that is wholly something else (a page, an
error body, broken JSON) raises a ``SourceError``.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from functools import lru_cache
from typing import TypeVar

from pydantic import ValidationError

from fetchers.wire import Unusable, describe
from schema.errors import GridpactError, SourcePayloadInvalid
from schema.ids import KeyPart
from schema.readings import Parsed, Rejected
from schema.rows.base import Row

#: Rows of the last polls that are kept to be given again; about 30 MB.
ROWS_KEPT = 16_384
LONGEST_FAULT = 200

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class ParseContext:
    """What a parser must know beside the bytes.

    Attributes:
        now: When the reply was retrieved, UTC, on the run's clock. It tells actual and current
            figures from forecasts where the reply does not. Without it nothing is left out for
            being a forecast, and replies that carry no time of their own cannot be read.
        issued_at: When the source says it issued the file, where a header or a catalogue entry
            says so and the reply itself does not (NESO ``last_modified``).
    """

    now: datetime | None = None
    issued_at: datetime | None = None


Parser = Callable[[bytes, ParseContext], Parsed]


@dataclass(frozen=True, slots=True)
class EndpointParser:
    """One endpoint of a source: the tables it feeds, in words, and its parser."""

    tables: tuple[str, ...]
    description: str
    parse: Parser


@dataclass(slots=True)
class RowSink:
    """Collects what one reply gives: rows, rejected rows, and what was left out on purpose.

    Keys are unique in what it hands on: storage refuses one key and version with two contents.
    """

    rows: list[Row] = field(default_factory=list)
    rejected: list[Rejected] = field(default_factory=list)
    skipped: dict[str, int] = field(default_factory=dict)
    _seen: dict[tuple[str, tuple[KeyPart, ...]], tuple[int, str]] = field(default_factory=dict)

    def add(self, where: str, model: type[Row], **columns: object) -> None:
        """Check the columns against the table's bounds and keep the row, or reject it."""
        try:
            row = make_row(model, columns)
        except ValidationError as exc:
            self.reject(where, explain(exc))
            return
        key = (model.TABLE, row.key())
        known = self._seen.get(key)
        if known is None:
            self._seen[key] = (len(self.rows), where)
            self.rows.append(row)
            return
        index, first = known
        held = self.rows[index]
        if held == row:
            self.skip("repeated rows")
        elif version_of(row) > version_of(held):
            self.skip("older revisions")
            self.rows[index] = row
            self._seen[key] = (index, where)
        elif version_of(row) < version_of(held):
            self.skip("older revisions")
        else:
            self.reject(where, f"contradicts {first}, which has the same key; one row a key")

    def reject(self, where: str, reason: str) -> None:
        """Record a row that cannot be used."""
        self.rejected.append(Rejected(where, reason))

    def skip(self, why: str, count: int = 1) -> None:
        """Count what is left out on purpose; ``why`` is a plural noun for the reader."""
        self.skipped[why] = self.skipped.get(why, 0) + count

    def done(self) -> Parsed:
        """Give everything collected."""
        return Parsed(tuple(self.rows), tuple(self.rejected), dict(self.skipped))


def make_row(model: type[Row], columns: Mapping[str, object]) -> Row:
    """Check columns against a table's bounds and give the row.

    Polls repeat most of what the poll before them read, and rows never change, so one that was
    made before is given again: checking takes thirty times as long as finding it.

    Raises:
        ValidationError: A column is out of bounds.
    """
    names, values = tuple(columns), tuple(columns.values())
    try:
        hash(values)
    except TypeError:
        return model(**columns)
    return _known_row(model, names, values)


@lru_cache(maxsize=ROWS_KEPT)
def _known_row(model: type[Row], names: tuple[str, ...], values: tuple[object, ...]) -> Row:
    return model(**dict(zip(names, values, strict=True)))


def version_of(row: Row) -> int:
    """Give the revision a row carries itself; -1 where the shell stamps it."""
    version = getattr(row, "version", None)
    return version if isinstance(version, int) else -1


def coalesce(rows: Iterable[Row]) -> list[Row]:
    """Leave one row a key when several replies of one poll are put together.

    The higher own version stands. Between equals the later row stands, and fills its missing
    columns from the earlier one: a forecast reply must not blank an outturn of the same poll.
    """
    kept: dict[tuple[str, tuple[KeyPart, ...]], Row] = {}
    for row in rows:
        key = (row.TABLE, row.key())
        held = kept.get(key)
        if held is None or version_of(row) > version_of(held):
            kept[key] = row
        elif version_of(row) == version_of(held) and row != held:
            missing = {
                name: value
                for name in type(row).model_fields
                if getattr(row, name) is None and (value := getattr(held, name)) is not None
            }
            kept[key] = row.model_copy(update=missing) if missing else row
    return list(kept.values())


def guarded(source: str, read: Callable[[], T]) -> T:
    """Read a reply; whatever a parser did not expect is a fault of that reply.

    Parsers come from other packages too: one fault must not end a whole poll.

    Raises:
        GridpactError: What the parser raised on purpose.
        SourcePayloadInvalid: It broke.
    """
    try:
        return read()
    except GridpactError:
        raise
    except Exception as exc:
        said = f"{type(exc).__name__}: {exc}"[:LONGEST_FAULT]
        msg = f"{source}: the parser failed on this reply ({said}); keep the reply and report it"
        raise SourcePayloadInvalid(msg, source=source) from exc


def explain(exc: ValidationError) -> str:
    """Say which values a table refuses and what it allows."""
    parts = []
    for error in exc.errors(include_url=False, include_context=False):
        name = ".".join(str(part) for part in error["loc"]) or "row"
        if error["type"] == "value_error":
            parts.append(f"{name}: {error['msg'].removeprefix('Value error, ')}")
        else:
            parts.append(f"{name} is {describe(error['input'])}: {error['msg']}")
    return "; ".join(parts)


__all__ = [
    "EndpointParser",
    "ParseContext",
    "Parser",
    "RowSink",
    "Unusable",
    "coalesce",
    "explain",
    "guarded",
    "version_of",
]
