"""What callers may ask of storage, and what storage asks of a store.

A store is a Supabase or something that behaves like one. Two adapters, ``memory`` and
``supabase_store``, pass one contract test.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from typing import NamedTuple, Protocol

from schema.errors import GridpactError
from schema.rows import Record

JsonValue = str | int | float | bool | list["JsonValue"] | dict[str, "JsonValue"] | None
JsonObject = dict[str, JsonValue]


class Operator(StrEnum):
    """How a column is compared; PostgREST's words."""

    EQ = "eq"
    NEQ = "neq"
    GT = "gt"
    GTE = "gte"
    LT = "lt"
    LTE = "lte"
    IN = "in"
    IS_NULL = "is"


class Filter(NamedTuple):
    """One condition on one column; several are all to hold.

    ``value`` is a sequence for ``in``; for ``is`` True asks for null, False for a value. Instants
    are written as ISO 8601 text.
    """

    column: str
    operator: Operator
    value: str | float | bool | Sequence[str | int]


class Order(NamedTuple):
    """One column to sort by; nulls come last."""

    column: str
    descending: bool = False


def equal(column: str, value: str | float | bool) -> Filter:  # noqa: FBT001
    """Ask for rows whose column has this value."""
    return Filter(column, Operator.EQ, value)


class Store(Protocol):
    """Where the spool drains to, and where readers read.

    Every method raises ``StorageUnavailable`` (try again), ``ConfigurationError`` (key or grant),
    ``SchemaBehind`` (migrations), ``ConstraintViolated`` (a row that is never taken; ``verdict``
    says whether a parent is missing) or ``StorageError`` (a fault of ours).
    """

    async def ingest(self, batch: Mapping[str, Sequence[bytes]]) -> Mapping[str, int]:
        """Write rows of many tables in one transaction: all of them or none.

        Args:
            batch: Table to JSON objects, as in ``Record.body``. No id twice in one table.

        Returns:
            Rows inserted or updated per table of the batch.
        """
        ...

    async def ingest_columns(self, parts: Sequence[bytes]) -> Mapping[str, int]:
        """Write parts one after the other in one transaction: all of them or none.

        Args:
            parts: Rows by columns, as ``storage.columns`` writes them. No id twice in one part.

        Returns:
            Rows inserted or updated per table.
        """
        ...

    async def select(
        self,
        table: str,
        *,
        columns: Sequence[str] | None = None,
        filters: Sequence[Filter] = (),
        order: Sequence[Order] = (),
        limit: int | None = None,
    ) -> list[JsonObject]:
        """Read rows of a table or view, however many there are.

        Instants come as ISO 8601 text with an offset: read them with ``parse_instant``.
        """
        ...

    async def count(self, table: str, filters: Sequence[Filter] = ()) -> int:
        """Count rows exactly."""
        ...

    async def refresh_views(self) -> None:
        """Bring the four materialized views up to date."""
        ...

    async def schema_version(self) -> int:
        """Give the number of the newest migration applied."""
        ...

    async def close(self) -> None:
        """Let go of connections."""
        ...


@dataclass(frozen=True, slots=True)
class PutAck:
    """The receipt of a put: its rows are on disk, fsynced.

    Attributes:
        accepted: Rows that are new.
        known: Rows that had been accepted before, with the same content.
        fill: Share of the spool in use; from 0.7 on a producer that can wait should.
    """

    accepted: int
    known: int
    fill: float = 0.0


class Checkpoint(NamedTuple):
    """What an agent of a run must not forget; see ``storage.checkpoints``.

    ``number`` rises with every saving: of two with one name the higher one stands.
    """

    run_id: str
    name: str
    number: int
    blob: bytes


class LaneState(StrEnum):
    """How a lane is doing."""

    RUNNING = "running"
    WAITING = "waiting"
    """The store cannot be reached; trying again, slower and slower."""
    STOPPED = "stopped"
    """Somebody must mend something; probing every ten seconds or slower."""


@dataclass(frozen=True, slots=True)
class DrainStatus:
    """How far the spool has been sent on."""

    depth: int
    dead: int
    sent: Mapping[str, int]
    lanes: Mapping[str, LaneState]
    errors: tuple[GridpactError, ...] = field(default=())


class StoragePort(Protocol):
    """What fetchers and agents need: to hand over rows and know that they are safe."""

    async def put(self, records: Sequence[Record], checkpoint: Checkpoint | None = None) -> PutAck:
        """Return once the rows are on disk; the same rows again are harmless.

        A checkpoint is saved in the same commit: both are there afterwards, or neither.
        """
        ...
