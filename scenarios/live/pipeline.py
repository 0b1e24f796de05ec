"""The live pipeline: who is asked when, and what follows, until it is told to stop.

A plain class on an injected clock and stage. Every source has a task of its own, so a slow or
dead one delays no other; the orchestrator takes what is there at the middle of each slot.
"""

from __future__ import annotations

import asyncio
import logging
from collections import deque
from collections.abc import Callable, Coroutine, Mapping, Sequence
from datetime import datetime, timedelta
from typing import Any

from agents.core.conversation import ConversationReport
from agents.orchestrator import TickReport
from scenarios.live.cadence import Cadence
from scenarios.live.stage import LiveStage
from scenarios.live.track import Situation, Track
from schema.clock import Clock
from schema.errors import GridpactError
from schema.orders import WindowUpdate
from schema.rows import ScenarioRunRow
from schema.rows.system import RunKind, RunState

log = logging.getLogger(__name__)

TICK = "tick"
REMEMBERED_CONVERSATIONS = 100
SECOND = timedelta(seconds=1)
#: How long polls under way at a stop may still hand over what they have.
STOP_POLLS_S = 1.5
#: How long a run that ends tries to say so; stopping must not take long.
LAST_WORD_S = 1.5


class LivePipeline:
    """One live run on a stage that is open.

    Args:
        stage: The actors.
        clock: Wall clock, moved by the offset of the settings.
        sources: Names of the sources to ask.
        cadence: When.
        watch: Told the situation after every tick.
    """

    def __init__(
        self,
        stage: LiveStage,
        clock: Clock,
        sources: Sequence[str],
        *,
        cadence: Cadence,
        watch: Callable[[Situation], None] = lambda _: None,
    ) -> None:
        self._stage = stage
        self._clock = clock
        self._cadence = cadence
        self._watch = watch
        self.tracks = {name: Track(name) for name in sources}
        self.report: TickReport | None = None
        self.conversations: deque[ConversationReport] = deque(maxlen=REMEMBERED_CONVERSATIONS)
        self.messages = 0
        self.ticks = 0
        self._began_s = 0.0
        self._planned: dict[str, datetime] = {}
        self._updates: list[WindowUpdate] = []
        self._news = asyncio.Event()
        self._stop = asyncio.Event()
        self._aside: dict[str, asyncio.Task[None]] = {}
        self._unsent: int | None = None
        self._trouble: tuple[str, ...] = ()
        self._run = ScenarioRunRow(kind=RunKind.LIVE)

    def stop(self) -> None:
        """Ask for the end; ``run`` then returns within seconds."""
        self._stop.set()

    @property
    def stopped(self) -> bool:
        """Say whether the end was asked for."""
        return self._stop.is_set()

    # -- the course of a run -----------------------------------------------------------------------

    async def once(self) -> None:
        """Ask every source once for what is due, hold one negotiation, note who lives."""
        self._began_s = self._clock.monotonic_s()
        polls = [
            asyncio.create_task(self._poll(track, 0, self._elapsed_s()))
            for track in self.tracks.values()
        ]

        async def afterwards() -> None:
            await asyncio.wait(polls)
            now = self._moment_for(TICK)
            await self._decide(now)
            await self._beat(now)

        await self._until_stopped([*polls, asyncio.create_task(afterwards())])

    async def run(self) -> None:
        """Ask, negotiate and note, slot after slot, until ``stop``."""
        self._began_s = self._clock.monotonic_s()
        polls = [asyncio.create_task(self._polls(track)) for track in self.tracks.values()]
        await self._until_stopped([*polls, asyncio.create_task(self._ticks())])

    async def open(self) -> None:
        """Make the actors, store the run's row and theirs."""
        now = self._clock.now()
        self._run = ScenarioRunRow(kind=RunKind.LIVE, clock_from=now, clock_at=now)
        await self._stage.open(self._run)
        for status in await self._look():
            # Of the last poll before: its process may have ended before the next tick. Told twice,
            # a change of a window changes nothing more.
            self._updates += status.get("updates", ())

    async def _until_stopped(self, work: Sequence[asyncio.Task[None]]) -> None:
        """Wait for the end of the work, a fault in it, or ``stop``; leave nothing behind.

        Args:
            work: First a task for each source, in the order of ``tracks``.
        """
        stopping = asyncio.create_task(self._stop.wait())
        failing = asyncio.create_task(asyncio.wait(work, return_when=asyncio.FIRST_EXCEPTION))
        others = [stopping, failing]
        try:
            await asyncio.wait(others, return_when=asyncio.FIRST_COMPLETED)
            if self._stop.is_set():
                others += await self._let_polls_end(work)
        finally:
            await _cancelled([*others, *work, *self._aside.values()])
        for task in work:
            if not task.cancelled():
                task.result()

    async def _let_polls_end(self, work: Sequence[asyncio.Task[None]]) -> list[asyncio.Task[Any]]:
        """Give polls under way a moment to hand over what they have read; gives what to end."""
        under_way = [
            task
            for task, track in zip(work, self.tracks.values(), strict=False)
            if track.busy and not task.done()
        ]
        if not under_way:
            return []
        ending: asyncio.Task[Any] = asyncio.create_task(asyncio.wait(under_way))
        patience: asyncio.Task[Any] = asyncio.create_task(self._clock.sleep(STOP_POLLS_S))
        await asyncio.wait({ending, patience}, return_when=asyncio.FIRST_COMPLETED)
        return [ending, patience]

    async def farewell(self, state: RunState, summary: dict[str, Any] | None = None) -> None:
        """Leave word in the rows of the run and its actors, if storage takes it soon enough."""

        async def words() -> None:
            await self._stage.put_run(
                self._run.model_copy(
                    update={"state": state, "clock_at": self._clock.now(), "summary": summary}
                )
            )
            await self._stage.beat(self._clock.now(), self._told(), last=True)

        try:
            await asyncio.wait_for(words(), LAST_WORD_S)
        except (GridpactError, TimeoutError) as exc:
            log.warning("the run's row could not be marked %s: %s", state, exc or "no answer")

    # -- sources -----------------------------------------------------------------------------------

    async def _polls(self, track: Track) -> None:
        slot = 0
        while not self._stop.is_set():
            due_s = self._cadence.due_s(track.name, slot)
            await self._clock.sleep(due_s - self._elapsed_s())
            await self._poll(track, slot, self._elapsed_s() - due_s)
            following = self._cadence.slot_after(slot, self._elapsed_s())
            track.skipped += following - slot - 1
            slot = following

    async def _poll(self, track: Track, slot: int, lag_s: float) -> None:
        track.began(lag_s)
        was = track.problem
        try:
            report = await self._stage.poll(track.name, self._moment_for(track.name))
            track.ended(report)
            self._updates += report.updates
        except GridpactError as exc:
            track.broke(exc)
        except Exception as exc:
            # One fault of ours in one source must not end the others.
            log.exception("polling %s failed", track.name)
            track.broke(exc)
        else:
            log.log(
                logging.INFO if report.requests or report.rows else logging.DEBUG,
                "%s: %d requests, %d rows",
                track.name,
                report.requests,
                report.rows,
                extra={
                    "source": track.name,
                    "requests": report.requests,
                    "rows": report.rows,
                    "fallbacks": report.fallbacks,
                    "rejected": report.rejected,
                    "breaker": report.breaker,
                    "lag_s": round(lag_s, 3),
                },
            )
        finally:
            track.busy, track.slot = False, slot
            self._news.set()
        if track.problem != was:
            if track.problem is None:
                log.info("%s answers again", track.name)
            else:
                log.warning("%s: %s", track.name, track.problem, extra={"source": track.name})

    def _moment_for(self, name: str) -> datetime:
        """Give the moment of a poll or tick: now, yet later than its last even on a clock set back.

        In whole seconds: it is the version of rows and the number of the tick.
        """
        now = self._clock.now().replace(microsecond=0)
        last = self._planned.get(name)
        self._planned[name] = now if last is None else max(now, last + SECOND)
        return self._planned[name]

    # -- ticks -------------------------------------------------------------------------------------

    async def _ticks(self) -> None:
        slot = 0
        while not self._stop.is_set():
            await self._clock.sleep(self._cadence.starts_s(slot) - self._elapsed_s())
            await self._settled(slot)
            now = self._moment_for(TICK)
            # Each beside the loop: a long negotiation keeps no heartbeat back, and vice versa.
            self._beside("deciding", self._decide, now)
            self._beside("noting", self._beat, now)
            slot = self._cadence.slot_after(slot, self._elapsed_s())

    async def _settled(self, slot: int) -> None:
        """Wait until every source was asked in this slot, but not for long."""
        until_s = self._cadence.waits_until_s(slot)
        patience = asyncio.ensure_future(self._clock.sleep(until_s - self._elapsed_s()))
        try:
            while not patience.done() and any(t.slot < slot for t in self.tracks.values()):
                self._news.clear()
                news = asyncio.ensure_future(self._news.wait())
                await asyncio.wait({patience, news}, return_when=asyncio.FIRST_COMPLETED)
                news.cancel()
        finally:
            patience.cancel()

    def _beside(
        self, what: str, work: Callable[[datetime], Coroutine[Any, Any, None]], now: datetime
    ) -> None:
        """Do work beside the loop, unless the last one of its kind still goes on."""
        before = self._aside.get(what)
        if before is not None and not before.done():
            log.warning("%s takes longer than a tick; this tick goes without", what)
            return

        async def guarded() -> None:
            try:
                await work(now)
            except Exception:
                # Recorded; the next tick tries again.
                log.exception("%s at %s failed", what, f"{now:%H:%M:%S}Z")

        self._aside[what] = asyncio.create_task(guarded())

    async def _decide(self, now: datetime) -> None:
        if not self._stage.negotiates:
            self._updates.clear()
            return
        updates, self._updates = self._updates, []
        try:
            # Seconds since 1970 number the ticks: they rise across restarts and intervals.
            report = await self._stage.decide(int(now.timestamp()), now, updates)
        except Exception as exc:
            # Recorded; the next tick has the same updates.
            self._updates = [*updates, *self._updates]
            if isinstance(exc, GridpactError):
                log.warning("the tick at %s failed: %s", f"{now:%H:%M:%S}Z", exc)
            else:
                log.exception("the tick at %s failed", f"{now:%H:%M:%S}Z")
            return
        self.report = report
        self.messages += report.messages
        if report.conversation is not None:
            self.conversations.append(report.conversation)

    async def _look(self) -> list[Mapping[str, Any]]:
        """Ask every fetcher what it knows of itself; one that is being restarted knows nothing."""

        async def look(track: Track) -> Mapping[str, Any]:
            try:
                status = await self._stage.status(track.name)
            except GridpactError:
                return {}
            track.take_status(status)
            return status

        return await asyncio.gather(*(look(track) for track in self.tracks.values()))

    async def _beat(self, now: datetime) -> None:
        """Note who lives and how far storage is; show the situation."""
        self.ticks += 1
        await self._look()
        try:
            await self._stage.set_clock(now)
            await self._stage.beat(now, self._told())
            found = await self._stage.storage()
            self._unsent, self._trouble = int(found["depth"]), tuple(found["errors"])
        except GridpactError as exc:
            # An actor is being restarted; the next beat tells.
            self._unsent = None
            log.warning("heartbeats could not be noted: %s", exc)
        self._watch(self.situation())

    def situation(self) -> Situation:
        """Give what there is to see now."""
        report = self.report
        return Situation(
            now=self._clock.now(),
            tracks=tuple(self.tracks.values()),
            tick=self.ticks,
            sites=self._stage.negotiates,
            registered=report.registered if report else 0,
            awarded=report.awarded if report else 0,
            waiting=report.waiting if report else 0,
            unsent=self._unsent,
            trouble=self._trouble,
        )

    def _told(self) -> dict[str, dict[str, Any]]:
        return {name: track.told() for name, track in self.tracks.items()}

    def _elapsed_s(self) -> float:
        return self._clock.monotonic_s() - self._began_s


async def _cancelled(tasks: Sequence[asyncio.Task[Any]]) -> None:
    """Cancel tasks and wait until they have ended."""
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)
