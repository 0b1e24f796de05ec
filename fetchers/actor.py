"""The Ray shell of a fetcher: one class for all sources.

A plain class; name, restarts, resources and concurrency groups are the supervisor's. Its
arguments are names, paths and numbers, so that a restart can run the constructor again.
"""

from __future__ import annotations

import importlib
import logging
import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Any, cast
from uuid import uuid4

import httpx
import ray

from fetchers.beckn.fetcher import BecknFetcher
from fetchers.beckn.options import BecknOptions
from fetchers.factory import make_fetcher
from fetchers.report import PollReport
from schema.clock import Clock, VirtualClock
from schema.errors import ConfigurationError
from schema.orders import OrderResult, WindowOrder
from schema.periods import parse_instant
from storage.actor import RayStorage
from storage.client import StorageClient
from storage.system_clock import SystemClock


@dataclass(frozen=True, slots=True)
class TransportSpec:
    """A transport by the dotted name of its factory, ``module:function``.

    The factory is called with ``source``, ``clock`` and these arguments.
    """

    factory: str
    arguments: Mapping[str, Any] = field(default_factory=dict)

    def make(self, source: str, clock: Clock) -> httpx.AsyncBaseTransport:
        """Make the transport.

        Raises:
            ConfigurationError: There is no such factory.
        """
        module_name, _, name = self.factory.partition(":")
        try:
            made = getattr(importlib.import_module(module_name), name)
        except (ImportError, AttributeError) as exc:
            msg = f"{self.factory!r} names no transport factory (module:function): {exc}"
            raise ConfigurationError(msg) from exc
        transport = made(source=source, clock=clock, **self.arguments)
        return cast("httpx.AsyncBaseTransport", transport)


class FetcherActor:
    """A fetcher as an actor.

    Args:
        source: Its name; one of ``fetchers.registry.sources()``.
        base_url: Its address.
        run_id: The run.
        storage_name: Name of the storage actor.
        namespace: Ray's namespace of ours.
        seed: Of jitter and synthetic readings.
        interval_s: Time between polls; a replay's tick.
        state_folder: Where plan, rate limits and orders survive a restart.
        clock_offset_s, clock_speed: Live only: what our clock makes of this machine's.
        replay_from: First instant of a replay, ISO 8601: the clock is then virtual. None is live.
        transport: A replay's transport; None for the network.
        beckn: Of the Beckn fetcher: how we take part in the network.
    """

    def __init__(
        self,
        source: str,
        base_url: str,
        run_id: str,
        storage_name: str,
        namespace: str,
        *,
        seed: int,
        interval_s: float = 60.0,
        state_folder: str | None = None,
        clock_offset_s: float = 0.0,
        clock_speed: float = 1.0,
        replay_from: str | None = None,
        transport: TransportSpec | None = None,
        beckn: BecknOptions | None = None,
    ) -> None:
        for chatty in ("httpx", "httpcore"):
            # At INFO httpx logs whole URLs, and Ray copies logs into its own folder.
            logging.getLogger(chatty).setLevel(logging.WARNING)
        live = replay_from is None
        clock: Clock = SystemClock(clock_offset_s, clock_speed)
        if replay_from is not None:
            clock = VirtualClock(parse_instant(replay_from))
        self._run_id = run_id
        # Found by name at each try: a restarted storage actor has a new handle.
        backend = RayStorage(lambda: ray.get_actor(storage_name, namespace=namespace))
        self._storage = StorageClient(backend, seed=seed)
        self._fetcher = make_fetcher(
            source,
            base_url=base_url,
            run_id=run_id,
            clock=clock,
            storage=self._storage,
            seed=seed,
            transport=transport.make(source, clock) if transport is not None else None,
            incarnation=uuid4().hex if live else None,
            interval_s=interval_s,
            state_folder=Path(state_folder) if state_folder is not None else None,
            beckn=beckn,
        )
        self._knows_windows = False

    @ray.method(concurrency_group="health")
    async def ping(self) -> tuple[str, int]:
        """Say where this actor lives: node and process."""
        return ray.get_runtime_context().get_node_id(), os.getpid()

    @ray.method(concurrency_group="health")
    async def status(self) -> dict[str, object]:
        """Describe the source; see ``Fetcher.status``."""
        return self._fetcher.status()

    async def poll(self, now: datetime) -> PollReport:
        """Poll the source; see ``Fetcher.poll``."""
        await self._recall_windows()
        return await self._fetcher.poll(now)

    async def order(self, order: WindowOrder) -> OrderResult:
        """Place an order; see ``BecknFetcher.order``."""
        await self._recall_windows()
        return await self._beckn().order(order)

    async def cancel(self, order: WindowOrder, reason: str) -> bool:
        """Give a booked order up; see ``BecknFetcher.cancel``."""
        return await self._beckn().cancel(order, reason)

    async def stop(self) -> None:
        """Let go of connections; everything accepted is with storage."""
        await self._fetcher.close()

    async def _recall_windows(self) -> None:
        """Learn once from storage what became of windows before this process started."""
        if self._knows_windows or not isinstance(self._fetcher, BecknFetcher):
            return
        state = await self._storage.grid_state(self._run_id)
        self._fetcher.restore_windows(state.windows)
        self._knows_windows = True

    def _beckn(self) -> BecknFetcher:
        if not isinstance(self._fetcher, BecknFetcher):
            msg = f"orders go to the Beckn fetcher, this one polls {self._fetcher.source}"
            raise ConfigurationError(msg)
        return self._fetcher

    def __repr__(self) -> str:
        return f"FetcherActor({self._fetcher.source})"
