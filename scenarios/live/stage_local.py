"""Every actor of a live run in this process: the same rules, with calls in place of messages."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping, Sequence
from datetime import datetime
from pathlib import Path
from typing import Any
from uuid import uuid4

import httpx

from agents.compute import ComputeAgent
from agents.core.market.contractors import shard_groups
from agents.local import LocalOrganisations
from agents.orchestrator import Orchestrator, TickReport
from agents.organisation import Source
from agents.storing import BlockingStorage
from fetchers.beckn.fetcher import BecknFetcher
from fetchers.beckn.options import BecknOptions
from fetchers.factory import make_fetcher
from fetchers.fetcher import Fetcher
from fetchers.report import PollReport
from scenarios.cast import IN_PROCESS, STORAGE, base_url, fetcher_name
from scenarios.live.stage import Bookkeeping, Pulse, live_options
from schema.clock import Clock
from schema.messages import MANAGER
from schema.orders import OrderResult, WindowOrder, WindowUpdate
from schema.readings import Source as DataSource
from schema.rows import ScenarioRunRow
from schema.rows.system import AgentKind, AgentStatus
from schema.settings import Settings
from storage.client import StorageClient
from storage.ports import Store
from storage.service import StorageService

Transports = Callable[[str, Clock], httpx.AsyncBaseTransport | None]


class LocalLiveStage(Bookkeeping):
    """A live stage without Ray.

    Args:
        sources: Those that are asked.
        run_id: The run.
        store: Where rows end.
        folder: Of spool and state.
        settings: Names the sources' addresses.
        clocks: Gives each source the clock it waits on.
        interval_s: Between two polls of a source.
        organisations: Where each compute agent's sites come from; without any nothing is placed.
        transports: Gives a source's transport; None for sockets.
        seed: Of jitter and synthetic readings.
    """

    def __init__(
        self,
        sources: Sequence[str],
        run_id: str,
        *,
        store: Store,
        folder: Path,
        settings: Settings,
        clocks: Callable[[str], Clock],
        interval_s: float,
        organisations: Mapping[str, Source] | None = None,
        transports: Transports = lambda _source, _clock: None,
        seed: int = 0,
    ) -> None:
        super().__init__(run_id)
        self._sources, self._organisations = tuple(sources), organisations or {}
        self._folder, self._settings = folder, settings
        self._clocks, self._transports = clocks, transports
        self._interval_s, self._seed = interval_s, seed
        self._service = StorageService(folder / "spool", store)
        self.client = StorageClient(self._service)
        self._fetchers: dict[str, Fetcher] = {}
        self._pulses: dict[str, Pulse] = {}
        self._orchestrator: Orchestrator | None = None
        self._loop: asyncio.AbstractEventLoop

    @property
    def negotiates(self) -> bool:
        """See ``LiveStage``."""
        return bool(self._organisations)

    async def open(self, run: ScenarioRunRow) -> None:
        """See ``LiveStage``."""
        self._loop = asyncio.get_running_loop()
        self._service.open()
        await self.put_run(run)
        desk = (DataSource.BECKN.value,) if self.negotiates else ()
        names = dict.fromkeys((*self._sources, *desk))
        self._fetchers = {name: self._fetcher(name) for name in names}
        kinds = dict.fromkeys(self._organisations, AgentKind.COMPUTE)
        kinds |= {fetcher_name(name): AgentKind.FETCHER for name in names}
        kinds |= {MANAGER: AgentKind.ORCHESTRATOR} if self.negotiates else {}
        kinds[STORAGE] = AgentKind.STORAGE
        self._pulses = {name: Pulse(kind, IN_PROCESS, run.clock_at) for name, kind in kinds.items()}
        assert run.clock_at is not None, "a live run begins now"
        await self.put_agents(run.clock_at, self._pulses, {})
        if self.negotiates:
            self._orchestrator = await asyncio.to_thread(self._make_orchestrator)

    def _fetcher(self, source: str) -> Fetcher:
        clock = self._clocks(source)
        return make_fetcher(
            source,
            base_url=base_url(self._settings, source),
            run_id=self.run_id,
            clock=clock,
            storage=self.client,
            seed=self._seed,
            transport=self._transports(source, clock),
            incarnation=uuid4().hex,
            interval_s=self._interval_s,
            state_folder=self._folder / "state",
            beckn=BecknOptions.of(self._settings),
        )

    def _make_orchestrator(self) -> Orchestrator:
        storage = BlockingStorage(self.client, self.run_id)
        agents = {
            name: [
                ComputeAgent(name, source, shard_groups(1)[0], run_id=self.run_id, storage=storage)
            ]
            for name, source in self._organisations.items()
        }
        return Orchestrator(
            self.run_id,
            live_options(self._seed, self._settings.carbon_value_gbp_per_tonne / 1000.0),
            storage=storage,
            organisations=LocalOrganisations(agents),
            desk=self,
        )

    def book(self, orders: Sequence[WindowOrder]) -> list[OrderResult]:
        """Order windows through the Beckn fetcher; called in the orchestrator's thread."""
        fetcher = self._fetchers[DataSource.BECKN]
        assert isinstance(fetcher, BecknFetcher)
        return [
            asyncio.run_coroutine_threadsafe(fetcher.order(order), self._loop).result()
            for order in orders
        ]

    async def poll(self, source: str, planned: datetime) -> PollReport:
        """See ``LiveStage``."""
        return await self._fetchers[source].poll(planned)

    async def status(self, source: str) -> Mapping[str, Any]:
        """See ``LiveStage``."""
        return self._fetchers[source].status()

    async def decide(self, tick: int, now: datetime, updates: Sequence[WindowUpdate]) -> TickReport:
        """See ``LiveStage``; in a thread of its own, for it waits for storage and orders."""
        assert self._orchestrator is not None, "without sites nothing is decided"
        return await asyncio.to_thread(self._orchestrator.tick, tick, now, list(updates))

    async def beat(
        self, now: datetime, told: Mapping[str, Mapping[str, Any]], *, last: bool = False
    ) -> None:
        """See ``LiveStage``; whoever could not answer would have stopped this process too."""
        for pulse in self._pulses.values():
            pulse.at = now
            pulse.status = AgentStatus.STOPPED if last else AgentStatus.ACTIVE
        named = {fetcher_name(source): what for source, what in told.items()}
        await self.put_agents(now, self._pulses, named)

    async def close(self) -> None:
        """Let go of connections and the spool; rows not yet sent stay in it."""
        for fetcher in self._fetchers.values():
            await fetcher.close()
        await self._service.stop()
