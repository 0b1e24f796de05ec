"""How fetchers and agents hand rows over: put, and put again until it is acknowledged.

A put whose answer was lost may have gone in. Its rows carry their ids, so the same put again is
harmless, and that is all the retry there is: Ray's own retries stay off.
"""

from __future__ import annotations

import inspect
import time
from collections.abc import Awaitable, Callable, Sequence
from datetime import datetime
from random import Random
from typing import Any, Protocol, TypeVar

from schema.clock import Clock
from schema.errors import GridpactError
from schema.rows import Record, ScenarioRunRow
from storage.grid_state import GridState
from storage.ports import Checkpoint, DrainStatus, Filter, JsonObject, JsonValue, Order, PutAck
from storage.system_clock import SystemClock

T = TypeVar("T")

PUT_ROWS = 2_500
"""Most rows of one put without an event loop. A full spool makes room for these within seconds, and
the storage actor attends to others between two puts."""

#: Columns of many records: tables, ids, versions, bodies, hashes. Travels between processes at a
#: third of the cost of the records themselves.
Packed = tuple[list[str], list[str], list[int], list[bytes], list[bytes]]


def pack(records: Sequence[Record]) -> Packed:
    """Turn records into columns."""
    return (
        [r.table for r in records],
        [r.id for r in records],
        [r.version for r in records],
        [r.body for r in records],
        [r.sha256 for r in records],
    )


def unpack(packed: Packed) -> list[Record]:
    """Turn columns into records."""
    return list(map(Record, *packed))


class StorageBackend(Protocol):
    """A ``StorageService`` in this process, or the actor behind a handle (``RayStorage``)."""

    async def put(  # noqa: D102
        self, records: Sequence[Record], checkpoint: Checkpoint | None = None
    ) -> PutAck: ...

    def put_blocking(  # noqa: D102
        self,
        records: Sequence[Record],
        timeout_s: float | None = None,
        *,
        checkpoint: Checkpoint | None = None,
    ) -> PutAck: ...

    async def checkpoint(self, run_id: str, name: str) -> Checkpoint | None: ...  # noqa: D102

    async def put_run(self, run_id: str, row: ScenarioRunRow) -> PutAck: ...  # noqa: D102

    async def set_clock_at(self, run_id: str, instant: datetime) -> PutAck: ...  # noqa: D102

    def grid_state(  # noqa: D102
        self,
        run_id: str | None = None,
        *,
        as_of: datetime | None = None,
        origin: datetime | None = None,
        periods: int = ...,
    ) -> GridState | Awaitable[GridState]: ...

    async def barrier(self, timeout_s: float = ...) -> DrainStatus: ...  # noqa: D102

    async def refresh_views(self) -> None: ...  # noqa: D102

    async def select(  # noqa: D102
        self,
        table: str,
        *,
        columns: Sequence[str] | None = None,
        filters: Sequence[Filter] = (),
        order: Sequence[Order] = (),
        limit: int | None = None,
    ) -> list[JsonObject]: ...

    async def count(self, table: str, filters: Sequence[Filter] = ()) -> int: ...  # noqa: D102

    async def status(self) -> dict[str, JsonValue]: ...  # noqa: D102


def retry_delay(attempt: int, rng: Random) -> float:
    """Give the seconds before the n-th retry: full jitter below 0.2 s doubling to 5 s."""
    return rng.uniform(0.0, min(5.0, 0.2 * 2 ** min(attempt, 10)))


class StorageClient:
    """Storage as its producers see it; implements ``storage.ports.StoragePort``.

    Retries whatever is retryable (the actor is away or does not answer, the spool is full) with
    the same rows, until ``patience_s`` is over; everything else comes out at once. ``barrier`` is
    asked once: its own timeout says how long.

    Args:
        backend: The service itself, or a handle of its actor.
        clock: Times the retries; real time, also in a replay.
        seed: Of the jitter; give each producer its own.
        patience_s: How long to go on trying; None for ever.
        pause: Blocks the caller of ``put_sync`` between tries.
    """

    def __init__(
        self,
        backend: StorageBackend,
        *,
        clock: Clock | None = None,
        seed: int = 0,
        patience_s: float | None = 120.0,
        pause: Callable[[float], None] = time.sleep,
    ) -> None:
        self._backend = backend
        self._clock = clock or SystemClock()
        self._rng = Random(seed)  # noqa: S311  # jitter, no secret
        self._patience_s = patience_s
        self._pause = pause
        self.retries = 0

    def with_patience(self, patience_s: float) -> StorageClient:
        """Give a client of the same backend that goes on trying for another time."""
        return StorageClient(
            self._backend, clock=self._clock, patience_s=patience_s, pause=self._pause
        )

    async def put(self, records: Sequence[Record], checkpoint: Checkpoint | None = None) -> PutAck:
        """Return once the rows are on disk; see ``StorageService.put``."""
        return await self._tried(lambda: self._backend.put(records, checkpoint))

    async def checkpoint(self, run_id: str, name: str) -> Checkpoint | None:
        """Give what an agent of a run saved last; see ``StorageService.checkpoint``."""
        return await self._tried(lambda: self._backend.checkpoint(run_id, name))

    def put_sync(self, records: Sequence[Record], checkpoint: Checkpoint | None = None) -> PutAck:
        """Do what ``put`` does, for callers without an event loop, with any number of rows.

        Many go in several puts, the checkpoint with the last of them: whoever finds it finds all
        of its rows. An interruption in between leaves rows that the same put would bring again.
        """
        cut = max(len(records) - 1, 0) // PUT_ROWS * PUT_ROWS
        acks = [
            self._put_patiently(records[first : first + PUT_ROWS], None)
            for first in range(0, cut, PUT_ROWS)
        ]
        last = self._put_patiently(records[cut:], checkpoint)
        if not acks:
            return last
        acks.append(last)
        return PutAck(sum(ack.accepted for ack in acks), sum(ack.known for ack in acks), last.fill)

    def _put_patiently(self, records: Sequence[Record], checkpoint: Checkpoint | None) -> PutAck:
        started = self._clock.monotonic_s()
        attempt = 0
        while True:
            try:
                return self._backend.put_blocking(records, checkpoint=checkpoint)
            except GridpactError as exc:
                delay = self._delay(exc, attempt, started)
            self._pause(delay)
            attempt += 1

    async def put_run(self, run_id: str, row: ScenarioRunRow) -> PutAck:
        """Accept a run's own row, or its next content; see ``StorageService.put_run``."""
        return await self._tried(lambda: self._backend.put_run(run_id, row))

    async def set_clock_at(self, run_id: str, instant: datetime) -> PutAck:
        """Move the run's clock; see ``StorageService.set_clock_at``."""
        return await self._tried(lambda: self._backend.set_clock_at(run_id, instant))

    async def grid_state(
        self,
        run_id: str | None = None,
        *,
        as_of: datetime | None = None,
        origin: datetime | None = None,
        periods: int | None = None,
    ) -> GridState:
        """Give what is known of the grid; see ``StorageService.grid_state``."""
        more: dict[str, Any] = {} if periods is None else {"periods": periods}

        async def ask() -> GridState:
            found = self._backend.grid_state(run_id, as_of=as_of, origin=origin, **more)
            return await found if inspect.isawaitable(found) else found

        return await self._tried(ask)

    async def barrier(self, timeout_s: float = 60.0) -> DrainStatus:
        """Wait until everything accepted has been sent on; see ``StorageService.barrier``."""
        return await self._backend.barrier(timeout_s)

    async def refresh_views(self) -> None:
        """Bring the views up to date."""
        await self._tried(self._backend.refresh_views)

    async def select(
        self,
        table: str,
        *,
        columns: Sequence[str] | None = None,
        filters: Sequence[Filter] = (),
        order: Sequence[Order] = (),
        limit: int | None = None,
    ) -> list[JsonObject]:
        """Read rows from the store; see ``storage.ports.Store``."""
        return await self._tried(
            lambda: self._backend.select(
                table, columns=columns, filters=filters, order=order, limit=limit
            )
        )

    async def count(self, table: str, filters: Sequence[Filter] = ()) -> int:
        """Count rows in the store."""
        return await self._tried(lambda: self._backend.count(table, filters))

    async def status(self) -> dict[str, JsonValue]:
        """Look inside; see ``StorageService.status``."""
        return await self._tried(self._backend.status)

    async def _tried(self, ask: Callable[[], Awaitable[T]]) -> T:
        started = self._clock.monotonic_s()
        attempt = 0
        while True:
            try:
                return await ask()
            except GridpactError as exc:
                delay = self._delay(exc, attempt, started)
            await self._clock.sleep(delay)
            attempt += 1

    def _delay(self, error: GridpactError, attempt: int, started: float) -> float:
        """Say how long to wait before trying again; raise when it is of no use."""
        if not error.retryable:
            raise error
        delay = retry_delay(attempt, self._rng)
        waited = self._clock.monotonic_s() - started
        if self._patience_s is not None and waited + delay > self._patience_s:
            raise error
        self.retries += 1
        return delay
