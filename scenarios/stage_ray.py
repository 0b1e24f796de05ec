"""Every actor of a run on Ray."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine, Mapping, Sequence
from datetime import datetime
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, TypeVar

from agents.core.conversation import ManagerOptions
from agents.orchestrator import TickReport
from agents.remote import gather, patiently
from agents.supervisor import ActorSpec, Cluster, Heartbeat
from fetchers.actor import FetcherActor, TransportSpec
from fetchers.report import PollReport
from scenarios.cast import (
    STORAGE,
    agent_rows,
    base_url,
    cast,
    fetcher_name,
    organisation_source,
    shard_names,
)
from scenarios.outcome import ShardFigures
from scenarios.scenario import Scenario
from scenarios.specs import compute_specs, orchestrator_spec, storage_spec
from schema.errors import AgentUnavailable, ClusterLost
from schema.messages import MANAGER
from schema.orders import WindowUpdate
from schema.periods import format_instant
from schema.readings import Source as DataSource
from schema.rows import ALL_TABLES, Row, ScenarioRunRow
from schema.rows.system import AgentKind, RunState
from schema.settings import Settings
from storage.actor import RayStorage
from storage.client import StorageClient
from storage.last_word import leave_run
from storage.ports import equal
from storage.system_clock import SystemClock

T = TypeVar("T")

POLL_TIMEOUT_S = 120.0
DECIDE_TIMEOUT_S = 1800.0
#: For how long a tick is asked for again once its orchestrator was lost.
DECIDE_PATIENCE_S = 600.0


class RayStage:
    """A stage of Ray actors.

    Args:
        scenario: Loaded with its seed.
        path: Of its folder, or its name: what actors load by themselves.
        run_id: The run.
        options: Of the manager.
        cluster: Not started yet.
        state_file: Describes the Supabase, keys included; readable by this user alone.
        spool: Folder of the spool.
        settings: Names the sources' addresses.
        shards: Actors of each organisation.
    """

    def __init__(
        self,
        scenario: Scenario,
        path: str,
        run_id: str,
        options: ManagerOptions,
        *,
        cluster: Cluster,
        state_file: Path,
        spool: Path,
        settings: Settings,
        shards: int = 1,
    ) -> None:
        self._settings = settings
        self._scenario, self._path, self._run_id = scenario, path, run_id
        self._options, self._shard_count = options, shards
        self._cluster = cluster
        self._state_file, self._spool = state_file, spool
        # A fetcher that is killed must know its orders again; the run's end is theirs too.
        self._memories = TemporaryDirectory(prefix="gridpact-fetchers-")
        self._cast = cast(scenario.organisations, shards)
        self._organisations = {
            name: organisation_source(path, scenario.seed, name) for name in scenario.organisations
        }
        self._beats: dict[str, Heartbeat] = {}
        self._unsaid: ScenarioRunRow | None = None
        self._client: StorageClient
        self._loop = asyncio.new_event_loop()

    @property
    def actors(self) -> int:
        """How many actors the run has."""
        return len(self._cast)

    # -- opening -----------------------------------------------------------------------------------

    def open(self, run: ScenarioRunRow) -> None:
        """See ``Stage``; storage first, so that everybody else finds it."""
        self._cluster.start()
        namespace = self._cluster.namespace
        names: dict[str, str] = {"run_id": self._run_id, "namespace": namespace}
        storage = storage_spec(
            self._settings,
            state_file=self._state_file,
            spool=self._spool,
            outages=self._scenario.outages,
        )
        compute = compute_specs(self._organisations, self._shard_count, **names)
        self._launch([storage, *self._fetcher_specs(), *compute])
        self._client = StorageClient(RayStorage(lambda: self._cluster.handle(STORAGE)))
        self.put_run(run)
        self.store(self._agents(self._scenario.start))
        self._launch(
            [orchestrator_spec(self._organisations, self._shard_count, self._options, **names)]
        )
        self.store(self._agents(self._scenario.start))

    def _launch(self, specs: Sequence[ActorSpec]) -> None:
        self._beats.update({beat.name: beat for beat in self._cluster.launch(specs)})

    def _fetcher_specs(self) -> list[ActorSpec]:
        return [
            ActorSpec(
                fetcher_name(source),
                AgentKind.FETCHER,
                FetcherActor,
                {
                    "source": source.value,
                    "base_url": base_url(self._settings, source),
                    "run_id": self._run_id,
                    "storage_name": STORAGE,
                    "namespace": self._cluster.namespace,
                    "seed": self._scenario.seed,
                    "interval_s": self._scenario.tick.total_seconds(),
                    "state_folder": self._memories.name,
                    "replay_from": format_instant(self._scenario.start),
                    "transport": TransportSpec(
                        "scenarios.transport:replay_transport",
                        {"scenario": self._path, "seed": self._scenario.seed},
                    ),
                },
            )
            for source in DataSource
        ]

    # -- ticks -------------------------------------------------------------------------------------

    def poll(self, now: datetime) -> Mapping[str, PollReport]:
        """See ``Stage``; a poll repeated after a crash gives the same rows."""
        names = {source.value: fetcher_name(source) for source in DataSource}

        def ask() -> Mapping[str, PollReport]:
            answers = gather(
                [(name, self._cluster.handle(name).poll.remote(now)) for name in names.values()],
                timeout_s=POLL_TIMEOUT_S,
            )
            return dict(zip(names, answers, strict=True))

        return patiently(ask)

    def decide(self, tick: int, now: datetime, updates: Sequence[WindowUpdate]) -> TickReport:
        """See ``Stage``."""
        return self._orchestrator("tick", tick, now, list(updates))

    def rescore(self, start: datetime, now: datetime) -> TickReport:
        """See ``Stage``."""
        return self._orchestrator("close", start, now)

    def _orchestrator(self, method: str, *arguments: object) -> TickReport:
        """Ask until it is answered: one that was killed goes on from its last whole tick."""
        handle = self._cluster.handle(MANAGER)
        (report,) = patiently(
            lambda: gather(
                [(MANAGER, getattr(handle, method).remote(*arguments))], timeout_s=DECIDE_TIMEOUT_S
            ),
            patience_s=DECIDE_PATIENCE_S,
        )
        assert isinstance(report, TickReport)
        return report

    # -- rows of the driver ------------------------------------------------------------------------

    def set_clock(self, now: datetime) -> None:
        """See ``Stage``."""
        self._wait(self._client.set_clock_at(self._run_id, now))

    def store(self, rows: Sequence[Row]) -> None:
        """See ``Stage``."""
        self._client.put_sync([row.to_record(self._run_id) for row in rows])

    def put_run(self, run: ScenarioRunRow, *, within_s: float | None = None) -> None:
        """See ``Stage``; with Ray dead the row goes to the spool once its holder has ended."""
        self._unsaid = run
        if self._cluster.lost is None:
            self._wait(asyncio.wait_for(self._client.put_run(self._run_id, run), within_s))
            self._unsaid = None

    def backlog(self) -> int:
        """See ``Stage``."""
        status: Any = self._wait(self._client.status())
        return int(status["depth"])

    def flush(self, timeout_s: float) -> None:
        """See ``Stage``."""
        patiently(lambda: self._wait(self._client.barrier(timeout_s)))

    def drain(self, timeout_s: float) -> Mapping[str, int]:
        """See ``Stage``."""
        self.flush(timeout_s)
        self._wait(self._client.refresh_views())

        async def counts() -> list[int]:
            mine = [equal("run_id", self._run_id)]
            return await asyncio.gather(
                *(self._client.count(table, mine) for table in ALL_TABLES[1:])
            )

        return dict(zip(ALL_TABLES[1:], self._wait(counts()), strict=True))

    def heartbeat(self, now: datetime) -> None:
        """See ``Stage``; an actor that is being restarted keeps its last heartbeat."""
        try:
            beats = self._cluster.heartbeats()
        except AgentUnavailable:
            return
        self._beats = {beat.name: beat for beat in beats}
        # Of the first moment all rows are told. An actor may have moved since, and one moment has
        # one row.
        if now > self._scenario.start:
            self.store(self._agents(now))

    def _agents(self, now: datetime) -> list[Any]:
        nodes = {name: beat.node for name, beat in self._beats.items()}
        kinds = {name: kind for name, kind in self._cast.items() if name in nodes}
        return agent_rows(kinds, now, nodes=nodes)

    def shards(self) -> tuple[ShardFigures, ...]:
        """See ``Stage``."""
        names = [
            name
            for organisation in self._scenario.organisations
            for name in shard_names(organisation, self._shard_count)
        ]
        held = patiently(
            lambda: gather([(name, self._cluster.handle(name).held.remote()) for name in names])
        )
        return tuple(
            ShardFigures(name, self._beats[name].pid, count)
            for name, count in zip(names, held, strict=True)
        )

    def close(self) -> None:
        """See ``Stage``."""
        try:
            self._cluster.stop()
        except ClusterLost:
            if self._unsaid is not None:
                # The loss interrupts the run as a user would; it is a failure all the same.
                failed = self._unsaid.model_copy(update={"state": RunState.FAILED})
                leave_run(self._spool, self._run_id, failed, SystemClock())
            raise
        finally:
            self._memories.cleanup()
            self._loop.close()

    def _wait(self, question: Coroutine[Any, Any, T]) -> T:
        return self._loop.run_until_complete(question)
