"""What all rows share: checked columns, a natural key, and the record that travels to storage.

A parser or an agent makes a ``Row``: content only. A shell stamps it with its run, the moment of
retrieval and a version, which gives a ``Record``: the id, and the JSON text exactly as the ingest
function will take it. The id and version exist before the first attempt to store.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from enum import StrEnum
from hashlib import sha256
from operator import attrgetter
from typing import Annotated, Any, ClassVar, NamedTuple, Self

import orjson
from pydantic import (
    AfterValidator,
    AwareDatetime,
    BaseModel,
    ConfigDict,
    Field,
    StringConstraints,
    model_validator,
)

from schema.ids import KeyPart, row_id
from schema.periods import format_instant
from schema.readings import Quality

#: A row above this is refused before the spool (promise: oversize is refused early).
MAX_ROW_BYTES = 256 * 1024
#: Every column has a type that orjson writes as pydantic would; keys sorted, for the hash.
_CONTENT = orjson.OPT_SORT_KEYS | orjson.OPT_UTC_Z


class Lane(StrEnum):
    """How a table's rows reach Supabase."""

    ORDERED = "ordered"
    """One request in flight, parents first."""
    FACTS = "facts"
    """Keyed and idempotent: several requests in flight, any order."""


class TableSpec(NamedTuple):
    """What storage must know of a table without its model."""

    table: str
    key: tuple[str, ...]
    lane: Lane
    rank: int
    versioned: bool


class Record(NamedTuple):
    """A row ready to store.

    ``body`` is the JSON object with every column, ``id`` and ``version`` included. ``sha256`` is
    taken over the body without ``id``, ``version`` and ``retrieved_at``: the same content
    fetched again has the same hash.
    """

    table: str
    id: str
    version: int
    body: bytes
    sha256: bytes

    def columns(self) -> dict[str, Any]:
        """Give the body as a dict."""
        columns: dict[str, Any] = orjson.loads(self.body)
        return columns


def _clean_text(text: str) -> str:
    if "\x00" in text:
        msg = "text holds a NUL character, which PostgreSQL cannot store; remove it"
        raise ValueError(msg)
    if text.isascii():
        return text
    try:
        text.encode()
    except UnicodeEncodeError:
        msg = "text holds a lone surrogate, which is no character; remove it"
        raise ValueError(msg) from None
    return text


def _utc(instant: datetime) -> datetime:
    return instant.astimezone(UTC)


Instant = Annotated[AwareDatetime, AfterValidator(_utc)]
Name = Annotated[str, StringConstraints(min_length=1, max_length=256), AfterValidator(_clean_text)]
Text = Annotated[str, StringConstraints(max_length=4096), AfterValidator(_clean_text)]
Intensity = Annotated[float, Field(ge=0, le=1000)]
Percent = Annotated[float, Field(ge=0, le=100)]
RegionId = Annotated[int, Field(ge=1, le=14)]
Seed = Annotated[int, Field(ge=0, le=2**63 - 1)]


class Row(BaseModel):
    """Base of all tables' models; frozen, no unknown columns, no NaN."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    TABLE: ClassVar[str]
    KEY: ClassVar[tuple[str, ...]]
    LANE: ClassVar[Lane]
    VERSIONED: ClassVar[bool] = False
    #: Rows of a source carry the moment they were retrieved.
    STAMPED: ClassVar[bool] = False
    #: Columns of the start and end of what the row stands for; the end is later than the start.
    INTERVAL: ClassVar[tuple[str, str] | None] = None
    #: Reads the key; made once a model, because every row is asked for its key several times.
    KEY_OF: ClassVar[Callable[[Any], tuple[KeyPart, ...]]] = staticmethod(lambda _row: ())

    @classmethod
    def __pydantic_init_subclass__(cls, **kwargs: Any) -> None:
        super().__pydantic_init_subclass__(**kwargs)
        names: tuple[str, ...] = getattr(cls, "KEY", ())
        if len(names) == 1:
            one = attrgetter(names[0])
            cls.KEY_OF = staticmethod(lambda row: (one(row),))
        elif names:
            cls.KEY_OF = staticmethod(attrgetter(*names))

    @model_validator(mode="after")
    def _ends_after_start(self) -> Self:
        if self.INTERVAL is not None:
            starts, ends = self.INTERVAL
            if getattr(self, ends) <= getattr(self, starts):
                msg = (
                    f"{ends} {format_instant(getattr(self, ends))} is not after "
                    f"{starts} {format_instant(getattr(self, starts))}"
                )
                raise ValueError(msg)
        return self

    @classmethod
    def spec(cls, rank: int) -> TableSpec:
        """Give what storage must know of this table; ``rank`` orders parents before children."""
        return TableSpec(cls.TABLE, ("run_id", *cls.KEY), cls.LANE, rank, cls.VERSIONED)

    def key(self) -> tuple[KeyPart, ...]:
        """Give the natural key, without the run."""
        return type(self).KEY_OF(self)

    def row_id(self, run_id: str) -> str:
        """Give the row's id in a run."""
        return row_id(self.TABLE, run_id, *self.key())

    def links(self, run_id: str) -> Mapping[str, str | None]:
        """Give the columns that point at other rows; made from their natural keys."""
        del run_id
        return {}

    def to_record(
        self, run_id: str, *, retrieved_at: datetime | None = None, version: int = 0
    ) -> Record:
        """Stamp the row for a run.

        Args:
            run_id: The run it belongs to.
            retrieved_at: When the reply arrived; only for rows of a source.
            version: Used where the row itself carries none; rises with each revision.
        """
        columns = dict(self.__dict__)
        own = columns.pop("version", None)
        columns["run_id"] = run_id
        columns.update(self.links(run_id))
        content = orjson.dumps(columns, option=_CONTENT)
        stamped = (own if own is not None else version) if self.VERSIONED else 0
        record_id = self.row_id(run_id)
        stamps: dict[str, str | int | None] = {"id": record_id}
        if self.VERSIONED:
            stamps["version"] = stamped
        if self.STAMPED:
            stamps["retrieved_at"] = format_instant(retrieved_at) if retrieved_at else None
        # Content and stamps are written once each and joined: a row is written by the million.
        body = content[:-1] + b"," + orjson.dumps(stamps)[1:]
        return Record(self.TABLE, record_id, stamped, body, sha256(content).digest())


class Reading(Row):
    """A figure of a source that holds over ``[valid_from, valid_to)``.

    ``reason`` and ``seed`` say why and from which seed a synthetic figure was made, or by which
    method an estimated one was derived.
    """

    LANE: ClassVar[Lane] = Lane.FACTS
    VERSIONED: ClassVar[bool] = True
    STAMPED: ClassVar[bool] = True
    INTERVAL: ClassVar[tuple[str, str] | None] = ("valid_from", "valid_to")

    source: Name
    valid_from: Instant
    valid_to: Instant
    quality: Quality = Quality.PUBLISHED
    issued_at: Instant | None = None
    reason: Text | None = None
    seed: Seed | None = None
    version: int | None = Field(default=None, ge=0)
