"""Four sources by twelve faults over real sockets, in real seconds, beside three healthy sources.

One pipeline lives through all faults of a source. Before each fault, and after it, the clock that
everybody shares jumps half an hour, so that every feed is due; all else takes real time. Requests
may take a second and a half here instead of ten or thirty.
"""

from __future__ import annotations

import asyncio
import time
from collections import Counter
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from live_truth import checked, falsehoods, instant
from upstream_fixtures import ServeUpstream, scenario_once

from fetchers.http import HttpClient
from fetchers.report import PollReport
from scenarios.live.cadence import Cadence
from scenarios.live.pipeline import LivePipeline
from scenarios.live.stage_local import LocalLiveStage
from scenarios.serve.server import UpstreamServer
from schema.readings import Source
from schema.rows.system import Outcome
from schema.settings import Settings
from storage.memory import MemoryStore

RUN = "00000000-0000-0000-0000-00000000cafe"
SCENARIO = "windy-night"
SOURCES = [source.value for source in Source]
INTERVAL_S = 1.0
DEADLINE_S = 1.5
SLOT = timedelta(minutes=30)
LAG_S = 1.0
#: Shortly after midnight some figures of the new day are not out yet.
SOUND = {Outcome.OK, Outcome.NOT_YET_PUBLISHED}
#: What the log says of each fault. A few bytes of a dripping or hanging reply are none.
OUTCOMES: dict[str, set[str]] = {
    "refuse": {"unavailable"},
    "reset": {"unavailable"},
    "hang": {"timeout"},
    "drip": {"timeout"},
    "throttle=120": {"throttled"},
    "error=503": {"unavailable"},
    "html": {"invalid_payload"},
    "truncated": {"invalid_payload"},
    "truncated=wrong": {"unavailable"},
    "wrong-types": {"invalid_payload", "ok"},
    "gzip-bomb": {"invalid_payload"},
    "redirect=metadata": {"rejected"},
}


class JumpClock:
    """Real time from a start on, and jumps ahead."""

    def __init__(self, start: datetime) -> None:
        self._start, self._began_s = start, time.monotonic()
        self._ahead = timedelta(0)

    def now(self) -> datetime:
        return self._start + self._ahead + timedelta(seconds=time.monotonic() - self._began_s)

    def monotonic_s(self) -> float:
        return time.monotonic()

    async def sleep(self, seconds: float) -> None:
        await asyncio.sleep(max(0.0, seconds))

    def jump(self, by: timedelta) -> None:
        self._ahead += by


@dataclass
class Watch:
    """A live stage that keeps every report."""

    stage: LocalLiveStage
    pipeline: LivePipeline
    clock: JumpClock
    server: UpstreamServer
    store: MemoryStore
    reports: dict[str, list[PollReport]] = field(default_factory=dict)

    async def until(self, what: str, happened: Callable[[], bool], timeout_s: float) -> None:
        deadline = time.monotonic() + timeout_s
        while not happened():
            assert time.monotonic() < deadline, f"no {what} within {timeout_s:g} s"
            await asyncio.sleep(0.02)

    def asking(self, source: str) -> list[PollReport]:
        """Give the reports of polls that asked for something."""
        return [report for report in self.reports[source] if report.asked]

    def quiet(self) -> bool:
        """Say whether no poll is under way; feeds may still wait for a rate limit."""
        return not any(track.busy for track in self.pipeline.tracks.values())


@asynccontextmanager
async def living(folder: Path, serve_upstream: ServeUpstream) -> AsyncIterator[Watch]:
    clock = JumpClock(scenario_once(SCENARIO).start + timedelta(minutes=72))
    server = serve_upstream(SCENARIO, clock)
    store = MemoryStore()
    stage = LocalLiveStage(
        SOURCES,
        RUN,
        store=store,
        folder=folder,
        settings=Settings.model_construct(
            **{f"{source.value}_url": url for source, url in server.urls.items()}
        ),
        clocks=lambda _: clock,
        interval_s=INTERVAL_S,
    )
    pipeline = LivePipeline(stage, clock, SOURCES, cadence=Cadence(interval_s=INTERVAL_S))
    watch = Watch(stage, pipeline, clock, server, store, {name: [] for name in SOURCES})
    poll = stage.poll

    async def noted(source: str, planned: datetime) -> PollReport:
        report = await poll(source, planned)
        watch.reports[source].append(report)
        return report

    stage.poll = noted  # type: ignore[method-assign]
    await pipeline.open()
    task = asyncio.create_task(pipeline.run())
    try:
        yield watch
        assert not task.done()
    finally:
        pipeline.stop()
        await task
        await stage.drain(60)
        await stage.close()


@dataclass(frozen=True)
class Cell:
    """One fault as it went."""

    fault: str
    began: datetime
    ended: datetime
    back: PollReport
    seconds: float


async def cell(watch: Watch, victim: str, fault: str) -> Cell:
    started = time.monotonic()
    await watch.until("quiet moment", watch.quiet, 10)
    watch.server.set_faults(f"{victim}:{fault}")
    began = watch.clock.now() + SLOT
    watch.clock.jump(SLOT)
    seen = len(watch.asking(victim))
    await watch.until(f"poll under {fault}", lambda: len(watch.asking(victim)) > seen, 15)
    await watch.until("quiet moment", watch.quiet, 10)
    ended = watch.clock.now()
    watch.server.set_faults("")
    watch.clock.jump(SLOT)
    seen = len(watch.asking(victim))
    await watch.until(f"poll after {fault}", lambda: len(watch.asking(victim)) > seen, 15)
    back = watch.asking(victim)[seen]
    return Cell(fault, began, ended, back, round(time.monotonic() - started, 1))


@pytest.fixture
def _short_deadlines(monkeypatch: pytest.MonkeyPatch) -> None:
    whole = HttpClient._deadline
    monkeypatch.setattr(
        HttpClient, "_deadline", lambda self, seconds: whole(self, min(seconds, DEADLINE_S))
    )


async def lives_through(
    victim: str, faults: Mapping[str, set[str]], folder: Path, serve_upstream: ServeUpstream
) -> None:
    async with living(folder, serve_upstream) as watch:
        begun = time.monotonic()
        await watch.until("first polls", lambda: all(map(watch.asking, SOURCES)), 20)
        cells = [await cell(watch, victim, fault) for fault in faults]
        lasted_s = time.monotonic() - begun
    tables: dict[str, list[dict[str, Any]]] = {
        name: list(rows.values()) for name, rows in watch.store.tables.items()
    }
    logs = tables["api_logs"]

    # Each fault is told by its name, and nothing else is told of the time it lasted.
    for one in cells:
        during = [
            log
            for log in logs
            if log["source"] == victim and one.began <= instant(log["requested_at"]) <= one.ended
        ]
        told = {log["outcome"] for log in during} - {"breaker_open"}
        assert told, one
        assert told <= faults[one.fault], (one, Counter(log["outcome"] for log in during))
        if "ok" in told:
            # A reply that is sound as a whole: what is wrong in it is rejected row by row.
            assert sum(log["rows_rejected"] for log in during) > 0, one

    # Back at the first poll that asks.
    for one in cells:
        assert {asked.outcome for asked in one.back.asked} <= SOUND, one
        assert Outcome.OK in {asked.outcome for asked in one.back.asked}, one

    # The others never noticed.
    others = [name for name in SOURCES if name != victim]
    assert {log["outcome"] for log in logs if log["source"] in others} <= SOUND
    for name in others:
        track = watch.pipeline.tracks[name]
        assert track.lag_s is not None
        assert track.lag_s <= LAG_S, (name, track.lag_s)
        assert track.failed == 0
        assert track.polls >= 0.8 * lasted_s / INTERVAL_S, name

    # What counts as published was published; what was made up says so and stands apart.
    assert falsehoods(scenario_once(SCENARIO), tables) == []
    assert all(checked(tables).values())
    made_up = [row for rows in tables.values() for row in rows if row.get("quality") == "synthetic"]
    assert all("is out" in row["reason"] and row["seed"] is not None for row in made_up)

    # Every request that arrived is in the log; those of a source that was closed did not arrive.
    arrived = Counter(record.source.value for record in watch.server.records)
    for name in SOURCES:
        sent = [log for log in logs if log["source"] == name and log["outcome"] != "breaker_open"]
        refused = sum(
            log["outcome"] == "unavailable" and log["http_status"] is None for log in sent
        )
        assert len(sent) - refused <= arrived[name] <= len(sent), name


@pytest.mark.usefixtures("_short_deadlines")
@pytest.mark.parametrize("victim", ["elexon", "beckn"])
async def test_a_source_that_hangs_or_talks_nonsense_harms_itself_alone(
    victim: str, tmp_path: Path, serve_upstream: ServeUpstream
) -> None:
    some = {fault: OUTCOMES[fault] for fault in ("hang", "html")}
    await lives_through(victim, some, tmp_path, serve_upstream)


@pytest.mark.long
@pytest.mark.timeout(600)
@pytest.mark.usefixtures("_short_deadlines")
@pytest.mark.parametrize("victim", SOURCES)
async def test_twelve_faults_of_each_source_harm_no_other_and_are_over_at_once(
    victim: str, tmp_path: Path, serve_upstream: ServeUpstream
) -> None:
    assert len(OUTCOMES) == 12
    await lives_through(victim, OUTCOMES, tmp_path, serve_upstream)
