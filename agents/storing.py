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
from storage.ports import PutAck


class BlockingStorage:
    """A storage client for callers that wait."""

    def __init__(self, client: StorageClient, run_id: str) -> None:
        self._client = client
        self._run_id = run_id

    def put_sync(self, records: Sequence[Record]) -> PutAck:
        """Return once the rows are on disk; the same rows again are harmless."""
        return self._client.put_sync(records)

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
