"""Outages that a replay plays: a store that cannot be had for some hours of the run's clock.

Everything behind it is real: the drain fails, waits, probes, and goes on.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum

from schema.errors import GridpactError
from storage.ports import Filter, JsonObject, Order, Store
from storage.verdicts import Verdict, store_error


class StoreFault(StrEnum):
    """How a store fails."""

    REFUSE = "refuse"
    """It cannot be reached."""
    SERVER_ERROR = "server_error"
    """It answers 503 and does nothing."""
    NO_ANSWER = "no_answer"
    """It does what it is asked to do, but its answers are lost."""


@dataclass(frozen=True, slots=True)
class Outage:
    """One outage, in force while the run's clock is in ``[starts_at, ends_at)``."""

    starts_at: datetime
    ends_at: datetime
    fault: StoreFault


class FailingStore:
    """Another store that fails during outages; implements ``storage.ports.Store``.

    Belongs to the drain's event loop. Where outages overlap the first listed is in force.
    """

    def __init__(self, store: Store, outages: Sequence[Outage]) -> None:
        self._store = store
        self._outages = tuple(outages)
        self.fault: StoreFault | None = None

    def move_to(self, now: datetime) -> bool:
        """Move on to a moment of the run's clock; says whether an outage has ended."""
        before = self.fault
        in_force = (o.fault for o in self._outages if o.starts_at <= now < o.ends_at)
        self.fault = next(in_force, None)
        return before is not None and self.fault is None

    async def ingest(self, batch: Mapping[str, Sequence[bytes]]) -> Mapping[str, int]:
        """Write rows, or fail; see ``storage.ports.Store``."""
        self._stand_before()
        counts = await self._store.ingest(batch)
        self._stand_behind()
        return counts

    async def ingest_columns(self, parts: Sequence[bytes]) -> Mapping[str, int]:
        """Write rows by columns, or fail; see ``storage.ports.Store``."""
        self._stand_before()
        counts = await self._store.ingest_columns(parts)
        self._stand_behind()
        return counts

    async def select(
        self,
        table: str,
        *,
        columns: Sequence[str] | None = None,
        filters: Sequence[Filter] = (),
        order: Sequence[Order] = (),
        limit: int | None = None,
    ) -> list[JsonObject]:
        """Read rows, or fail."""
        self._stand_before()
        rows = await self._store.select(
            table, columns=columns, filters=filters, order=order, limit=limit
        )
        self._stand_behind()
        return rows

    async def count(self, table: str, filters: Sequence[Filter] = ()) -> int:
        """Count rows, or fail."""
        self._stand_before()
        found = await self._store.count(table, filters)
        self._stand_behind()
        return found

    async def refresh_views(self) -> None:
        """Bring the views up to date, or fail."""
        self._stand_before()
        await self._store.refresh_views()
        self._stand_behind()

    async def schema_version(self) -> int:
        """Give the newest migration's number, or fail."""
        self._stand_before()
        found = await self._store.schema_version()
        self._stand_behind()
        return found

    async def close(self) -> None:
        """Let go of connections; that always works."""
        await self._store.close()

    def _stand_before(self) -> None:
        if self.fault in {StoreFault.REFUSE, StoreFault.SERVER_ERROR}:
            raise _error(self.fault)

    def _stand_behind(self) -> None:
        if self.fault is StoreFault.NO_ANSWER:
            raise _error(self.fault)


def _error(fault: StoreFault) -> GridpactError:
    if fault is StoreFault.REFUSE:
        return store_error(Verdict.RETRY, "connection refused (an outage of the scenario)")
    if fault is StoreFault.SERVER_ERROR:
        msg = "Service Unavailable (an outage of the scenario)"
        return store_error(Verdict.RETRY, msg, code="503", http_status=503)
    msg = "no answer in time (an outage of the scenario); whether it went in is unknown"
    return store_error(Verdict.SHRINK, msg)
