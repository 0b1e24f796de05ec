"""A served scenario, recorded on its own clock without a network."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime, timedelta
from pathlib import Path

import httpx

from fetchers.beckn.plan import BecknPlan
from fetchers.fetcher import Fetcher, FetcherSettings
from fetchers.registry import definition
from scenarios.ops.check_sources import Collector
from scenarios.ops.record import Recorder, Replies
from scenarios.ops.recorded import Recording, read_recording
from scenarios.ops.recorded_scenario import Made, RecordedPlan, make_scenario
from scenarios.scenario import Scenario
from scenarios.transport import ReplayTransport
from schema.clock import VirtualClock
from schema.periods import floor_half_hour
from schema.readings import Source

RUN = "00000000-0000-0000-0000-00000000000d"
CANARY = "canary-of-a-test"
SOURCES = ("carbon_intensity", "elexon", "beckn")


class World:
    """One scenario, a clock, and the folder of the recording."""

    def __init__(self, scenario: Scenario, at: datetime, folder: Path) -> None:
        self.scenario = scenario
        self.clock = VirtualClock(at)
        self.folder = folder
        self.faults: list[str] = []

    def transport(self, source: str) -> httpx.AsyncBaseTransport:
        return ReplayTransport(self.scenario, Source(source), self.clock)

    async def record(
        self, sources: Sequence[str], start: datetime, until: datetime | None
    ) -> Recording:
        def make(source: str, replies: Replies) -> Fetcher:
            address = f"https://user:{CANARY}@api.example"
            plan = (
                BecknPlan(address, run_id=RUN)
                if source == "beckn"
                else definition(source).plan(address)  # type: ignore[misc]
            )
            return Fetcher(
                plan,
                run_id=RUN,
                clock=self.clock,
                transport=self.transport(source),
                storage=Collector(),
                seed=0,
                incarnation=f"record-{source}",
                settings=FetcherSettings(interval_s=60.0),
                on_reply=replies.keep,
            )

        recorder = Recorder(
            sources=sources,
            replies=Replies(self.folder, self.clock, [CANARY]),
            clock=self.clock,
            make=make,
            address=lambda _source: f"https://user:{CANARY}@api.example",
            tell=lambda _line: None,
            transport=self.transport,
            # One poll a half hour is enough to see every revision.
            interval_s=1800.0,
        )
        await recorder.past(start)
        await recorder.live(until)
        self.faults = recorder.faults
        return read_recording(self.folder)


async def record_once(
    world: World, sources: Sequence[str] = SOURCES, workloads: int = 20
) -> tuple[Made, RecordedPlan]:
    """Record as ``--once`` does: the last 24 hours."""
    end = floor_half_hour(world.clock.now())
    plan = RecordedPlan("tape", end - timedelta(hours=24), 48, workloads=workloads)
    recording = await world.record(sources, plan.start, None)
    return make_scenario(world.folder, recording, plan), plan
