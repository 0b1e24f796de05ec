"""A live stage whose clocks are moved by hand, each source served on its own clock over sockets."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Mapping
from contextlib import ExitStack, asynccontextmanager
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path

from agents.organisation import Source as OrganisationSource
from scenarios.live.cadence import Cadence
from scenarios.live.pipeline import LivePipeline
from scenarios.live.stage_local import LocalLiveStage
from scenarios.scenario import Scenario
from scenarios.serve.server import UpstreamServer
from schema.readings import Source
from schema.settings import Settings
from storage.memory import MemoryStore

RUN = "00000000-0000-0000-0000-00000000c0de"
SOURCES = [source.value for source in Source]


class StepClock:
    """No ``VirtualClock``, so that fetchers take it for the machine's; waiting moves it."""

    def __init__(self, start: datetime) -> None:
        self._start = self.at = start

    def now(self) -> datetime:
        return self.at

    def monotonic_s(self) -> float:
        return (self.at - self._start).total_seconds()

    async def sleep(self, seconds: float) -> None:
        self.at += timedelta(seconds=max(0.0, seconds))
        await asyncio.sleep(0)


@dataclass
class Stepped:
    """A pipeline that is open; ``iterate`` has it do everything once at a moment."""

    pipeline: LivePipeline
    stage: LocalLiveStage
    store: MemoryStore
    clocks: dict[str, StepClock]

    async def iterate(self, now: datetime) -> None:
        for clock in self.clocks.values():
            clock.at = now
        await self.pipeline.once()


@asynccontextmanager
async def stepped(
    scenario: Scenario,
    start: datetime,
    folder: Path,
    *,
    interval_s: float,
    seed: int = 0,
    organisations: Mapping[str, OrganisationSource] | None = None,
    store: MemoryStore | None = None,
) -> AsyncIterator[Stepped]:
    """Open a live stage over sockets; at the end everything is in its store.

    ``store`` and ``folder`` of an earlier one make it a second start.
    """
    clocks = {name: StepClock(start) for name in ("pipeline", *SOURCES)}
    store = store or MemoryStore()
    with ExitStack() as stack:
        urls: dict[str, str] = {}
        for source in Source:
            server = UpstreamServer(scenario, clocks[source], sources=[source])
            urls[f"{source.value}_url"] = stack.enter_context(server).urls[source]
        stage = LocalLiveStage(
            SOURCES,
            RUN,
            store=store,
            folder=folder,
            settings=Settings.model_construct(**urls),
            clocks=clocks.__getitem__,
            interval_s=interval_s,
            seed=seed,
            organisations=organisations,
        )
        cadence = Cadence(interval_s=interval_s)
        pipeline = LivePipeline(stage, clocks["pipeline"], SOURCES, cadence=cadence)
        await pipeline.open()
        try:
            yield Stepped(pipeline, stage, store, clocks)
            await stage.drain(60)
        finally:
            await stage.close()
