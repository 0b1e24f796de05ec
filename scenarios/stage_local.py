"""Every actor of a run in this process: the same rules, with calls in place of messages."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine, Mapping, Sequence
from datetime import datetime
from pathlib import Path
from typing import Any, TypeVar

from agents.compute import ComputeAgent
from agents.core.conversation import ManagerOptions
from agents.core.market.contractors import shard_groups
from agents.local import LocalOrganisations
from agents.orchestrator import Orchestrator, TickReport
from agents.storing import BlockingStorage
from fetchers.beckn.fetcher import BecknFetcher
from fetchers.factory import make_fetcher
from fetchers.fetcher import Fetcher
from fetchers.report import PollReport
from scenarios.cast import agent_rows, base_url, cast, organisation_source
from scenarios.outcome import ShardFigures
from scenarios.scenario import Scenario
from scenarios.transport import replay_transport
from schema.clock import VirtualClock
from schema.orders import OrderResult, WindowOrder, WindowUpdate
from schema.readings import Source as DataSource
from schema.rows import ALL_TABLES, Row, ScenarioRunRow
from schema.settings import Settings
from storage.client import StorageClient
from storage.ports import Store, equal
from storage.service import StorageService

T = TypeVar("T")


class LocalStage:
    """A stage without Ray.

    Args:
        scenario: Loaded with its seed.
        path: Of its folder, or its name: what the fetchers' transports load.
        run_id: The run.
        options: Of the manager.
        store: Where rows end.
        folder: Of the spool.
        settings: Names the sources' addresses.
        shards: Parts that each organisation's work is cut into.
    """

    def __init__(
        self,
        scenario: Scenario,
        path: str,
        run_id: str,
        options: ManagerOptions,
        *,
        store: Store,
        folder: Path,
        settings: Settings | None = None,
        shards: int = 1,
    ) -> None:
        self._settings = settings or Settings.model_construct()
        self._scenario, self._path, self._run_id = scenario, path, run_id
        self._options, self._shard_count = options, shards
        self._cast = cast(scenario.organisations, shards)
        self._service = StorageService(folder, store, outages=scenario.outages)
        self._client = StorageClient(self._service)
        self._storage = BlockingStorage(self._client, run_id)
        # One loop for the whole run: clients keep their connections in it.
        self._loop = asyncio.new_event_loop()
        self._fetchers: dict[str, Fetcher] = {}
        self._shards: dict[str, list[ComputeAgent]] = {}
        self._orchestrator: Orchestrator

    def open(self, run: ScenarioRunRow) -> None:
        """See ``Stage``."""
        self._service.open()
        self.put_run(run)
        self.store(agent_rows(self._cast, self._scenario.start))
        self._fetchers = {source.value: self._fetcher(source) for source in DataSource}
        self._shards = {
            name: [
                ComputeAgent(
                    name,
                    organisation_source(self._path, self._scenario.seed, name),
                    groups,
                    run_id=self._run_id,
                    storage=self._storage,
                )
                for groups in shard_groups(self._shard_count)
            ]
            for name in self._scenario.organisations
        }
        self._orchestrator = Orchestrator(
            self._run_id,
            self._options,
            storage=self._storage,
            organisations=LocalOrganisations(self._shards),
            desk=self,
        )

    def _fetcher(self, source: DataSource) -> Fetcher:
        # A clock of its own, which its transport reads too: a wait moves no other source.
        clock = VirtualClock(self._scenario.start)
        return make_fetcher(
            source.value,
            base_url=base_url(self._settings, source),
            run_id=self._run_id,
            clock=clock,
            storage=self._client,
            seed=self._scenario.seed,
            transport=replay_transport(
                scenario=self._path,
                seed=self._scenario.seed,
                source=source.value,
                clock=clock,
            ),
            interval_s=self._scenario.tick.total_seconds(),
        )

    def book(self, orders: Sequence[WindowOrder]) -> list[OrderResult]:
        """Order windows through the Beckn fetcher, one after the other."""
        fetcher = self._fetchers[DataSource.BECKN.value]
        assert isinstance(fetcher, BecknFetcher)
        return [self._wait(fetcher.order(order)) for order in orders]

    def poll(self, now: datetime) -> Mapping[str, PollReport]:
        """See ``Stage``."""

        async def all_of_them() -> dict[str, PollReport]:
            reports = await asyncio.gather(
                *(fetcher.poll(now) for fetcher in self._fetchers.values())
            )
            return dict(zip(self._fetchers, reports, strict=True))

        return self._wait(all_of_them())

    def decide(self, tick: int, now: datetime, updates: Sequence[WindowUpdate]) -> TickReport:
        """See ``Stage``."""
        return self._orchestrator.tick(tick, now, updates)

    def rescore(self, start: datetime, now: datetime) -> TickReport:
        """See ``Stage``."""
        return self._orchestrator.close(start, now)

    def set_clock(self, now: datetime) -> None:
        """See ``Stage``."""
        self._wait(self._client.set_clock_at(self._run_id, now))

    def store(self, rows: Sequence[Row]) -> None:
        """See ``Stage``."""
        self._client.put_sync([row.to_record(self._run_id) for row in rows])

    def put_run(self, run: ScenarioRunRow, *, within_s: float | None = None) -> None:
        """See ``Stage``."""
        self._wait(asyncio.wait_for(self._client.put_run(self._run_id, run), within_s))

    def backlog(self) -> int:
        """See ``Stage``."""
        status: Any = self._wait(self._client.status())
        return int(status["depth"])

    def flush(self, timeout_s: float) -> None:
        """See ``Stage``."""
        self._wait(self._client.barrier(timeout_s))

    def drain(self, timeout_s: float) -> Mapping[str, int]:
        """See ``Stage``; a store in memory has no views to bring up to date."""
        self.flush(timeout_s)
        return {
            table: self._wait(self._client.count(table, [equal("run_id", self._run_id)]))
            for table in ALL_TABLES[1:]
        }

    def heartbeat(self, now: datetime) -> None:
        """See ``Stage``; whoever could not answer would have stopped this process too."""
        self.store(agent_rows(self._cast, now))

    def shards(self) -> tuple[ShardFigures, ...]:
        """See ``Stage``: there are no processes of their own."""
        return ()

    def close(self) -> None:
        """See ``Stage``."""
        for fetcher in self._fetchers.values():
            self._wait(fetcher.close())
        self._wait(self._service.stop())
        self._loop.close()

    def _wait(self, question: Coroutine[Any, Any, T]) -> T:
        return self._loop.run_until_complete(question)
