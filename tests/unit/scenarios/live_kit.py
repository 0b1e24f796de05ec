"""A clock moved by hand that many wait on, and a stage that does as it is told."""

from __future__ import annotations

import asyncio
import heapq
import itertools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any

from agents.core.accounting import CarbonTotals
from agents.orchestrator import TickReport
from fetchers.report import Asked, PollReport
from schema.orders import WindowUpdate
from schema.rows import ScenarioRunRow
from schema.rows.system import Outcome

NOON = datetime(2031, 2, 3, 12, tzinfo=UTC)
#: Turns of the loop after which everybody who could go on has gone on.
_TURNS = 30


class HandClock:
    """Stands still until it is advanced; whoever sleeps on it wakes in order."""

    def __init__(self, start: datetime = NOON) -> None:
        self.start = start
        self.set_back = timedelta(0)
        self._at_s = 0.0
        self._numbers = itertools.count()
        self._sleepers: list[tuple[float, int, asyncio.Future[None]]] = []

    def now(self) -> datetime:
        return self.start + timedelta(seconds=self._at_s) - self.set_back

    def monotonic_s(self) -> float:
        return self._at_s

    async def sleep(self, seconds: float) -> None:
        if seconds <= 0:
            await asyncio.sleep(0)
            return
        woken = asyncio.get_running_loop().create_future()
        heapq.heappush(self._sleepers, (self._at_s + seconds, next(self._numbers), woken))
        await woken

    async def advance(self, seconds: float) -> None:
        target = self._at_s + seconds
        await _settle()
        while self._sleepers and self._sleepers[0][0] <= target:
            due, _, woken = heapq.heappop(self._sleepers)
            self._at_s = due
            if not woken.done():
                woken.set_result(None)
            await _settle()
        self._at_s = target
        await _settle()


async def _settle() -> None:
    for _ in range(_TURNS):
        await asyncio.sleep(0)


def tick_report(messages: int = 0) -> TickReport:
    return TickReport(
        digest="",
        registered=3,
        awarded=2,
        waiting=1,
        missed=0,
        carbon=CarbonTotals(0.0, 0.0, 0.0, 0.0),
        messages=messages,
        conversation=None,
    )


@dataclass
class ToyStage:
    """Polls take as long, and fail as often, as it is told.

    ``takes_s`` and ``fails`` are by source; ``updates`` come with the next poll of beckn,
    ``untold`` are those of a poll before this process.
    """

    clock: HandClock
    negotiates: bool = True
    takes_s: dict[str, float] = field(default_factory=dict)
    fails: dict[str, list[Exception]] = field(default_factory=dict)
    updates: list[WindowUpdate] = field(default_factory=list)
    untold: list[WindowUpdate] = field(default_factory=list)
    decide_takes_s: float = 0.0
    decide_fails: list[Exception] = field(default_factory=list)
    beat_fails: list[Exception] = field(default_factory=list)
    asked: list[tuple[str, float, datetime]] = field(default_factory=list)
    decided: list[tuple[int, float, list[WindowUpdate]]] = field(default_factory=list)
    beats: list[tuple[float, bool]] = field(default_factory=list)
    clocks: list[datetime] = field(default_factory=list)
    runs: list[ScenarioRunRow] = field(default_factory=list)
    told: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)

    async def open(self, run: ScenarioRunRow) -> None:
        self.runs.append(run)

    async def poll(self, source: str, planned: datetime) -> PollReport:
        self.asked.append((source, self.clock.monotonic_s(), planned))
        await self.clock.sleep(self.takes_s.get(source, 0.0))
        if self.fails.get(source):
            raise self.fails[source].pop(0)
        updates: tuple[WindowUpdate, ...] = ()
        if source == "beckn":
            updates, self.updates = tuple(self.updates), []
        asked = (Asked("feed", Outcome.OK, 1),)
        return PollReport(source, planned, requests=1, rows=2, asked=asked, updates=updates)

    async def status(self, source: str) -> Mapping[str, Any]:
        updates = self.untold if source == "beckn" else []
        return {"source": source, "breaker": "closed", "due": [], "updates": updates}

    async def decide(self, tick: int, now: datetime, updates: Sequence[WindowUpdate]) -> TickReport:
        self.decided.append((tick, self.clock.monotonic_s(), list(updates)))
        await self.clock.sleep(self.decide_takes_s)
        if self.decide_fails:
            raise self.decide_fails.pop(0)
        return tick_report(messages=5)

    async def beat(
        self, now: datetime, told: Mapping[str, Mapping[str, Any]], *, last: bool = False
    ) -> None:
        if self.beat_fails:
            raise self.beat_fails.pop(0)
        self.beats.append((self.clock.monotonic_s(), last))
        self.told = told

    async def put_run(self, run: ScenarioRunRow) -> None:
        self.runs.append(run)

    async def set_clock(self, now: datetime) -> None:
        self.clocks.append(now)

    async def storage(self) -> Mapping[str, Any]:
        return {"depth": 7, "errors": []}

    async def drain(self, timeout_s: float) -> Mapping[str, int]:
        return {}

    def asked_at(self, source: str) -> list[float]:
        return [at for name, at, _ in self.asked if name == source]
