"""A storage service that dies at labelled points of its code, in this process, and comes back.

A death is an exception that nobody may catch. Whoever waits for the service then is told that it is
away; the next call opens a new one on the same files. What was in memory is gone, what was
committed is there: to those who call it is what a kill is.
"""

from __future__ import annotations

import asyncio
import threading
from collections import Counter
from collections.abc import Awaitable, Callable, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, wait
from datetime import datetime
from pathlib import Path
from random import Random
from typing import Any, TypeVar

from kill_harness import CRASH_POINTS

from schema.errors import AgentUnavailable
from schema.rows import Record, ScenarioRunRow
from storage.grid_state import GridState
from storage.ports import Checkpoint, DrainStatus, PutAck, Store
from storage.service import StorageService
from storage.spool_file import SpoolSettings

T = TypeVar("T")
#: On a file system in memory, whose syncs cost nothing; no power is cut here.
_SPOOL = SpoolSettings(ballast_bytes=0, allow_unsafe_disk=True)
MOST_PASSAGES = 16
STOP_S = 10.0
LOOK_S = 0.02


class Death(BaseException):
    """Not to be caught by the code that dies of it."""


class Kills:
    """When to die next: at which point of the code, and at which passage of it.

    Args:
        seed: Draws both; None never kills.
    """

    def __init__(self, seed: int | None) -> None:
        self._rng = Random(seed)
        self._lock = threading.Lock()
        self._armed = seed is not None
        self.hits: Counter[str] = Counter()
        self.death: Future[None] = Future()
        self._draw()

    def _draw(self) -> None:
        self._point = self._rng.choice(CRASH_POINTS)
        self._passages = self._rng.randint(1, MOST_PASSAGES)

    def __call__(self, point: str) -> None:
        """Pass a point of the code; from any thread."""
        with self._lock:
            if self.death.done():
                raise Death(point)
            if not self._armed:
                return
            # A rare point must not keep the service alive for ever.
            self._passages -= 1 if point == self._point else 0.1
            if self._passages > 0:
                return
            self.hits[point] += 1
            self.death.set_result(None)
        raise Death(point)

    def born_again(self) -> None:
        """Let the next service live, until its own time has come."""
        self.death = Future()
        self._draw()

    def spare(self) -> None:
        """Kill no more."""
        self._armed = False


class MortalStorage:
    """Implements ``storage.client.StorageBackend`` over one service after the other."""

    def __init__(self, folder: Path, store: Store, kills: Kills) -> None:
        self._folder, self._store, self.kills = folder, store, kills
        self._service: StorageService | None = None
        self.acknowledged: set[str] = set()

    def open(self) -> StorageService:
        """Give the service that lives now; a new one if the last has died."""
        if self._service is not None and self.kills.death.done():
            _bury(self._service)
            self._service = None
            self.kills.born_again()
        if self._service is None:
            self._service = StorageService(
                self._folder, self._store, spool=_SPOOL, crash_point=self.kills
            ).open()
        return self._service

    def close(self) -> None:
        """End it in peace."""
        self.kills.spare()
        self.open().close()

    async def stop(self) -> None:
        """Do what ``close`` does; what ``LocalStage`` calls."""
        self.close()

    async def _asked(self, ask: Callable[[StorageService], Awaitable[T]]) -> T:
        service = self.open()
        asked = asyncio.ensure_future(ask(service))
        death = self.kills.death
        while not (asked.done() or death.done()):
            await asyncio.wait({asked}, timeout=LOOK_S)
        if not death.done():
            return asked.result()
        asked.cancel()
        await asyncio.gather(asked, return_exceptions=True)
        raise _away()

    async def put(self, records: Sequence[Record], checkpoint: Checkpoint | None = None) -> PutAck:
        ack = await self._asked(lambda service: service.put(records, checkpoint))
        self.acknowledged.update(record.id for record in records)
        return ack

    def put_blocking(
        self,
        records: Sequence[Record],
        timeout_s: float | None = None,
        *,
        checkpoint: Checkpoint | None = None,
    ) -> PutAck:
        future = self.open()._submit_put(records, checkpoint)
        death = self.kills.death
        wait({future, death}, timeout_s, FIRST_COMPLETED)
        if death.done():
            raise _away()
        ack = future.result(0)
        self.acknowledged.update(record.id for record in records)
        return ack

    def grid_state(self, run_id: str | None = None, **how: Any) -> GridState:
        return self.open().grid_state(run_id, **how)

    async def barrier(self, timeout_s: float = 60.0) -> DrainStatus:
        while True:
            try:
                return await self._asked(lambda service: service.barrier(timeout_s))
            except AgentUnavailable:
                continue

    async def checkpoint(self, run_id: str, name: str) -> Checkpoint | None:
        return await self._asked(lambda service: service.checkpoint(run_id, name))

    async def put_run(self, run_id: str, row: ScenarioRunRow) -> PutAck:
        return await self._asked(lambda service: service.put_run(run_id, row))

    async def set_clock_at(self, run_id: str, instant: datetime) -> PutAck:
        return await self._asked(lambda service: service.set_clock_at(run_id, instant))

    async def refresh_views(self) -> None:
        await self._asked(lambda service: service.refresh_views())

    async def select(self, table: str, **how: Any) -> list[dict[str, Any]]:
        return await self._asked(lambda service: service.select(table, **how))

    async def count(self, table: str, filters: Sequence[Any] = ()) -> int:
        return await self._asked(lambda service: service.count(table, filters))

    async def status(self) -> dict[str, Any]:
        return await self._asked(lambda service: service.status())


def _away() -> AgentUnavailable:
    return AgentUnavailable("storage is away: it was killed")


async def _ended(tasks: Sequence[asyncio.Task[None]]) -> None:
    """Cancel for as long as it takes: who fails in the same moment goes on after one cancel."""
    for task in tasks:
        while not task.done():
            task.cancel()
            await asyncio.sleep(0.001)
        if not task.cancelled():
            task.exception()  # seen: asyncio need not tell of it


def _bury(service: StorageService) -> None:
    """Take away what is left of a dead service without committing anything more."""
    service._loop.submit(_ended(service._tasks)).result(STOP_S)
    service._loop.stop(STOP_S)
    writer = service._writer
    with writer._condition:
        writer._puts.clear()
        writer._jobs.clear()
    writer.close(STOP_S)
    assert not writer._thread.is_alive(), "the writer of a dead service goes on"
