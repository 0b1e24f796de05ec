"""What a parser hands on: rows, and what it had to reject."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from schema.rows.base import Row


class Quality(StrEnum):
    """Who says so."""

    PUBLISHED = "published"
    """The source said it."""
    ESTIMATED = "estimated"
    """We derived it from published figures by a documented method."""
    SYNTHETIC = "synthetic"
    """Made up to keep going; never shares a key with a real figure."""


class Source(StrEnum):
    """Our four sources, as ``api_logs`` and ``inspect sources`` name them.

    Other packages add sources of their own; wherever one may be meant, a source is its name.
    """

    CARBON_INTENSITY = "carbon_intensity"
    NESO = "neso"
    ELEXON = "elexon"
    BECKN = "beckn"


@dataclass(frozen=True, slots=True)
class Rejected:
    """One row of a reply that cannot be used.

    ``where`` is a path into the payload (``data[3].intensity`` or ``row 17``); ``reason`` says
    which value was found and what is allowed. Both may quote the source; what no log or database
    takes (lone surrogates, NUL) is written as an escape.
    """

    where: str
    reason: str

    def __post_init__(self) -> None:
        for name in ("where", "reason"):
            written = getattr(self, name)
            kept = written.encode("utf-8", "backslashreplace").decode().replace("\x00", "\\x00")
            if kept != written:
                object.__setattr__(self, name, kept)


@dataclass(frozen=True, slots=True)
class Parsed:
    """The rows of one reply, in the order of the reply, and its rejected rows.

    ``skipped`` counts what was left out on purpose and is no error: aggregate areas,
    placeholders, forecast mixes; by the reason, a plural noun.
    """

    rows: Sequence[Row] = ()
    rejected: Sequence[Rejected] = field(default=())
    skipped: Mapping[str, int] = field(default_factory=dict)

    @classmethod
    def merged(cls, parts: Iterable[Parsed]) -> Parsed:
        """Put several replies' rows behind each other."""
        rows: list[Row] = []
        rejected: list[Rejected] = []
        skipped: dict[str, int] = {}
        for part in parts:
            rows.extend(part.rows)
            rejected.extend(part.rejected)
            for why, count in part.skipped.items():
                skipped[why] = skipped.get(why, 0) + count
        return cls(tuple(rows), tuple(rejected), skipped)
