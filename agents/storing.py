"""Storage as agents use it: without an event loop of their own."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from datetime import datetime

import ray

from schema.rows import Record
from storage.actor import RayStorage
from storage.client import StorageClient
from storage.grid_state import GridState
from storage.ports import Checkpoint, Filter, JsonObject, Order, PutAck, equal

#: A tick does not wait for a database that is away: what is in it can be read at the next one.
READ_PATIENCE_S = 3.0


class BlockingStorage:
    """A storage client for callers that wait."""

    def __init__(self, client: StorageClient, run_id: str) -> None:
        self._client = client
        self._reader = client.with_patience(READ_PATIENCE_S)
        self._run_id = run_id

    def put_sync(self, records: Sequence[Record], checkpoint: Checkpoint | None = None) -> PutAck:
        """Return once the rows are on disk, and the checkpoint; the same again is harmless."""
        return self._client.put_sync(records, checkpoint)

    def checkpoint(self, name: str) -> Checkpoint | None:
        """Give what was saved last under a name of this run."""
        return asyncio.run(self._client.checkpoint(self._run_id, name))

    def select(
        self,
        table: str,
        columns: Sequence[str],
        filters: Sequence[Filter] = (),
        order: Sequence[Order] = (),
        limit: int | None = None,
    ) -> list[JsonObject]:
        """Read rows of this run from the database, without much patience."""
        mine = equal("run_id", self._run_id)
        return asyncio.run(
            self._reader.select(
                table, columns=columns, filters=[mine, *filters], order=order, limit=limit
            )
        )

    def grid_state(
        self, as_of: datetime, *, origin: datetime | None = None, periods: int = 96
    ) -> GridState:
        """Give the grid as known at an instant; ``origin`` defaults to its half hour."""
        return asyncio.run(
            self._client.grid_state(self._run_id, as_of=as_of, origin=origin, periods=periods)
        )


def storage_by_name(name: str, namespace: str, run_id: str) -> BlockingStorage:
    """Reach the storage actor by its name, so that a restarted one is found again."""
    backend = RayStorage(lambda: ray.get_actor(name, namespace=namespace))
    return BlockingStorage(StorageClient(backend), run_id)
