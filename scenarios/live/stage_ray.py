"""Every actor of a live run on Ray."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable, Mapping, Sequence
from datetime import datetime
from pathlib import Path
from typing import Any, TypeVar

import ray
from ray.actor import ActorHandle
from ray.exceptions import RayActorError, RayTaskError

from agents.core.conversation import ManagerOptions
from agents.orchestrator import TickReport
from agents.organisation import Source
from agents.supervisor import ActorSpec, Cluster
from fetchers.actor import FetcherActor
from fetchers.beckn.options import BecknOptions
from fetchers.report import PollReport
from scenarios.cast import STORAGE, base_url, fetcher_name
from scenarios.live.stage import Bookkeeping, Pulse
from scenarios.specs import compute_specs, orchestrator_spec, storage_spec
from schema.errors import AgentUnavailable, ClusterLost, GridpactError
from schema.messages import MANAGER
from schema.orders import WindowUpdate
from schema.readings import Source as DataSource
from schema.rows import ScenarioRunRow
from schema.rows.system import AgentKind, AgentStatus
from schema.settings import Settings
from storage.actor import RayStorage
from storage.client import StorageClient
from storage.last_word import leave_run
from storage.system_clock import SystemClock

T = TypeVar("T")
Question = Callable[[ActorHandle[Any]], Awaitable[T]]
"""A call of an actor's method."""

#: Beyond its share of the interval: the longest request that was begun in time, and the time that
#: storage may be away. A poll that takes longer hangs, and its actor is started anew.
POLL_GRACE_S = 170.0
BUDGET_SHARE = 0.8
DECIDE_TIMEOUT_S = 1800.0
ANSWER_TIMEOUT_S = 5.0
RESTART_PAUSE_S = 0.5
STORAGE_PATIENCE_S = 20.0
STOP_BUDGET_S = 4.0


class RayLiveStage(Bookkeeping):
    """A live stage of Ray actors.

    Args:
        sources: Those that are asked.
        organisations: Where each compute agent's sites come from; without any nothing is placed.
        run_id: The run.
        options: Of the manager.
        cluster: Not started yet.
        state_file: Describes the Supabase, keys included; readable by this user alone.
        spool: Folder of the spool.
        state_folder: Where plans, rate limits and orders survive a restart.
        settings: Names the sources' addresses.
        interval_s: Between two polls of a source.
        seed: Of jitter and synthetic readings.
        refresh_interval_s: Least seconds between refreshes of the views.
    """

    def __init__(
        self,
        sources: Sequence[str],
        organisations: Mapping[str, Source],
        run_id: str,
        options: ManagerOptions,
        *,
        cluster: Cluster,
        state_file: Path,
        spool: Path,
        state_folder: Path,
        settings: Settings,
        interval_s: float,
        seed: int,
        refresh_interval_s: float | None,
    ) -> None:
        super().__init__(run_id)
        self._sources, self._organisations = tuple(sources), organisations
        self._options, self._settings = options, settings
        self._cluster = cluster
        self._state_file, self._spool = state_file, spool
        self._state_folder = state_folder
        self._interval_s, self._seed = interval_s, seed
        self._refresh_interval_s = refresh_interval_s
        self._pulses: dict[str, Pulse] = {}
        self._unsaid: ScenarioRunRow | None = None

    @property
    def negotiates(self) -> bool:
        """See ``LiveStage``."""
        return bool(self._organisations)

    # -- opening and closing -----------------------------------------------------------------------

    async def open(self, run: ScenarioRunRow) -> None:
        """See ``LiveStage``; storage first, so that everybody else finds it."""
        self._cluster.start()
        namespace = self._cluster.namespace
        names: dict[str, str] = {"run_id": self.run_id, "namespace": namespace}
        storage = storage_spec(
            self._settings,
            state_file=self._state_file,
            spool=self._spool,
            refresh_interval_s=self._refresh_interval_s,
        )
        compute = compute_specs(self._organisations, 1, **names)
        self._launch([storage, *self._fetcher_specs(), *compute], run)
        self.client = StorageClient(
            RayStorage(lambda: self._cluster.handle(STORAGE)),
            patience_s=STORAGE_PATIENCE_S,
        )
        assert run.clock_at is not None, "a live run begins now"
        await self.put_run(run)
        await self.put_agents(run.clock_at, self._pulses, {})
        if self.negotiates:
            spec = orchestrator_spec(self._organisations, 1, self._options, **names)
            self._launch([spec], run)
            await self.put_agents(run.clock_at, self._pulses, {})

    def _launch(self, specs: Sequence[ActorSpec], run: ScenarioRunRow) -> None:
        for beat in self._cluster.launch(specs):
            self._pulses[beat.name] = Pulse(beat.kind, beat.node, run.clock_at)

    def _fetcher_specs(self) -> list[ActorSpec]:
        # Beckn's also orders windows, asked for news or not.
        desk = (DataSource.BECKN.value,) if self.negotiates else ()
        return [
            ActorSpec(
                fetcher_name(source),
                AgentKind.FETCHER,
                FetcherActor,
                {
                    "source": source,
                    "base_url": base_url(self._settings, source),
                    "run_id": self.run_id,
                    "storage_name": STORAGE,
                    "namespace": self._cluster.namespace,
                    "seed": self._seed,
                    "interval_s": self._interval_s,
                    "state_folder": str(self._state_folder),
                    "clock_offset_s": self._settings.clock_offset_s,
                    "clock_speed": self._settings.clock_speed,
                    "beckn": BecknOptions.of(self._settings),
                },
            )
            for source in dict.fromkeys((*self._sources, *desk))
        ]

    def close(self) -> None:
        """Stop every actor, storage last; rows not yet sent stay in the spool."""
        try:
            self._cluster.stop(budget_s=STOP_BUDGET_S)
        except ClusterLost:
            if self._unsaid is not None:
                leave_run(self._spool, self.run_id, self._unsaid, SystemClock())
            raise

    async def put_run(self, run: ScenarioRunRow) -> None:
        """See ``LiveStage``; with Ray dead the row goes to the spool once its holder has ended."""
        self._unsaid = run
        if self._cluster.lost is None:
            await super().put_run(run)
            self._unsaid = None

    # -- the actors --------------------------------------------------------------------------------

    async def poll(self, source: str, planned: datetime) -> PollReport:
        """See ``LiveStage``; asked again after a restart, the poll gives the same rows."""
        name = fetcher_name(source)
        within_s = self._interval_s * BUDGET_SHARE + POLL_GRACE_S
        try:
            return await self._patiently(name, lambda actor: actor.poll.remote(planned), within_s)
        except TimeoutError as exc:
            # Its own deadlines have failed it. What must survive is on its disk.
            ray.kill(self._cluster.handle(name), no_restart=False)
            msg = f"{name} gave no report within {within_s:g} s and was started anew"
            raise AgentUnavailable(msg, actors=[name]) from exc

    async def status(self, source: str) -> Mapping[str, Any]:
        """See ``LiveStage``."""
        return await self._soon(fetcher_name(source), lambda actor: actor.status.remote())

    async def decide(self, tick: int, now: datetime, updates: Sequence[WindowUpdate]) -> TickReport:
        """See ``LiveStage``; a tick that is asked for again is the same tick."""
        try:
            return await self._patiently(
                MANAGER, lambda actor: actor.tick.remote(tick, now, list(updates)), DECIDE_TIMEOUT_S
            )
        except TimeoutError as exc:
            msg = f"no decision within {DECIDE_TIMEOUT_S:g} s"
            raise AgentUnavailable(msg, actors=[MANAGER]) from exc

    async def beat(
        self, now: datetime, told: Mapping[str, Mapping[str, Any]], *, last: bool = False
    ) -> None:
        """See ``LiveStage``; an actor that does not answer keeps its last heartbeat."""
        if self._cluster.lost is not None:
            return

        async def feel(name: str, pulse: Pulse) -> None:
            try:
                pulse.node, _ = await self._soon(name, lambda actor: actor.ping.remote())
            except GridpactError:
                pulse.status = AgentStatus.LOST
            else:
                pulse.status, pulse.at = AgentStatus.ACTIVE, now

        if last:
            for pulse in self._pulses.values():
                pulse.status = AgentStatus.STOPPED
        else:
            await asyncio.gather(*(feel(name, pulse) for name, pulse in self._pulses.items()))
        named = {fetcher_name(source): what for source, what in told.items()}
        await self.put_agents(now, self._pulses, named)

    async def _soon(self, name: str, ask: Question[T]) -> T:
        """Ask what any living actor answers at once.

        Raises:
            AgentUnavailable: It does not.
        """
        try:
            return await _answer(ask(self._cluster.handle(name)), name, ANSWER_TIMEOUT_S)
        except TimeoutError as exc:
            msg = f"{name} did not answer within {ANSWER_TIMEOUT_S:g} s"
            raise AgentUnavailable(msg, actors=[name]) from exc

    async def _patiently(self, name: str, ask: Question[T], within_s: float) -> T:
        """Ask an actor, and ask again while it is being restarted.

        Raises:
            TimeoutError: It lives, and has not answered in time.
            AgentUnavailable: It is not back in time.
        """
        deadline = time.monotonic() + within_s
        while True:
            try:
                handle = self._cluster.handle(name)
                return await _answer(ask(handle), name, deadline - time.monotonic())
            except _Away:
                if time.monotonic() + RESTART_PAUSE_S > deadline:
                    raise
            await asyncio.sleep(RESTART_PAUSE_S)


class _Away(AgentUnavailable):
    """The actor died or is being restarted; not said by an actor about another."""


async def _answer(call: Awaitable[T], name: str, within_s: float) -> T:
    """Wait for an answer; Ray's errors become ours, ours come out as themselves.

    Raises:
        TimeoutError: None came in time; the call goes on.
        _Away: The actor is away.
    """
    try:
        return await asyncio.wait_for(call, within_s)
    except RayActorError as exc:
        raise _Away(f"{name} is away: {type(exc).__name__}", actors=[name]) from exc
    except RayTaskError as exc:
        if isinstance(exc.cause, GridpactError):
            raise exc.cause from exc
        raise
