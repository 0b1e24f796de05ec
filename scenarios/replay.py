"""The replay: a scenario's ticks under a virtual clock, from due fetches to the last award.

One tick: due fetches, accepted by storage; a new grid; arrivals register; the whole negotiation
at a frozen clock; all rows stored. Nothing waits for the database: rows drain while the next
ticks run, and are waited for once, at the end.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta

from agents.core.conversation import ConversationReport
from agents.orchestrator import TickReport
from fetchers.report import PollReport
from scenarios.outcome import (
    CarbonFigures,
    LargestConversation,
    NegotiationFigures,
    ReplayOutcome,
    SourceFigures,
    WorkloadFigures,
)
from scenarios.progress import Progress, Situation
from scenarios.scenario import Scenario
from scenarios.stage import Stage
from schema.orders import WindowUpdate
from schema.rows import ScenarioRunRow
from schema.rows.system import RunKind, RunState

SETTLING = timedelta(hours=1)
"""How long after the last tick the sources are asked once more, for the last outturns."""
DRAIN_TIMEOUT_S = 300.0
HEARTBEAT_EVERY = 4
"""Ticks between two heartbeats; the last tick has one too."""
LAST_WORD_S = 2.0
"""How long a run that ends badly tries to say so; stopping must not take long."""


@dataclass(slots=True)
class _Tally:
    """What a replay adds up as it goes."""

    sources: dict[str, SourceFigures] = field(default_factory=dict)
    conversations: list[ConversationReport] = field(default_factory=list)
    messages: int = 0

    def polled(self, reports: Mapping[str, PollReport]) -> None:
        for name, report in reports.items():
            before = self.sources.get(name, SourceFigures())
            self.sources[name] = SourceFigures(
                before.requests + report.requests,
                before.rows + report.rows,
                before.fallbacks + report.fallbacks,
            )

    def decided(self, report: TickReport) -> None:
        self.messages += report.messages
        if report.conversation is not None:
            self.conversations.append(report.conversation)


class Replay:
    """One replay of a scenario on a stage.

    Args:
        scenario: Loaded with its seed.
        run_id: Minted once a launch.
        stage: The actors.
        progress: Told after every tick.
        pace_s: Wall seconds a tick takes at least, 0 for as fast as it goes; no later tick makes up
            for one that took longer.
        supabase: Mode and address, for the outcome.
        monotonic: Tells wall seconds.
        pause: Waits for wall seconds.
    """

    def __init__(
        self,
        scenario: Scenario,
        run_id: str,
        stage: Stage,
        progress: Progress,
        *,
        pace_s: float = 0.0,
        supabase: Mapping[str, str],
        monotonic: Callable[[], float] = time.monotonic,
        pause: Callable[[float], None] = time.sleep,
    ) -> None:
        self._scenario = scenario
        self._run_id = run_id
        self._stage = stage
        self._progress = progress
        self._pace_s = pace_s
        self._monotonic, self._pause = monotonic, pause
        self._supabase = supabase
        self._tally = _Tally()
        self._run = ScenarioRunRow(
            kind=RunKind.REPLAY,
            scenario=scenario.name,
            seed=scenario.seed,
            clock_from=scenario.start,
            clock_to=scenario.end,
            clock_at=scenario.start,
        )

    def run(self) -> ReplayOutcome:
        """Replay all ticks and give the outcome; an interrupted run says so in its row."""
        started = self._monotonic()
        self._stage.open(self._run)
        try:
            last = self._ticks()
            rows = self._finish(last, started)
        except BaseException as exc:
            state = RunState.INTERRUPTED if isinstance(exc, KeyboardInterrupt) else RunState.FAILED
            self._note(state)
            raise
        return self._outcome(last, rows, self._monotonic() - started)

    # -- the course of a run -----------------------------------------------------------------------

    def _ticks(self) -> TickReport:
        report: TickReport | None = None
        for tick in range(self._scenario.ticks):
            began = self._monotonic()
            now = self._scenario.start + tick * self._scenario.tick
            updates = self._poll(now)
            report = self._stage.decide(tick, now, updates)
            self._tally.decided(report)
            self._stage.set_clock(now)
            if tick % HEARTBEAT_EVERY == 0 or tick == self._scenario.ticks - 1:
                self._stage.heartbeat(now)
            self._show(tick + 1, now, report)
            self._pause(max(0.0, self._pace_s - (self._monotonic() - began)))
        assert report is not None, "a scenario has at least one tick"
        return report

    def _poll(self, now: datetime) -> list[WindowUpdate]:
        reports = self._stage.poll(now)
        self._tally.polled(reports)
        return [update for name in sorted(reports) for update in reports[name].updates]

    def _finish(self, last: TickReport, started: float) -> Mapping[str, int]:
        after = self._scenario.end + SETTLING
        self._poll(after)
        self._last = self._stage.rescore(self._scenario.start, after)
        self._progress.say(f"waiting for {self._stage.backlog()} rows on their way to Supabase")
        # Whoever reads that the run is done finds all its rows.
        self._stage.flush(DRAIN_TIMEOUT_S)
        summary = self._outcome(last, {}, self._monotonic() - started).to_json()
        for name in ("rows", "shards", "supabase"):
            del summary[name]
        self._stage.put_run(
            self._run.model_copy(
                update={
                    "state": RunState.DONE,
                    "clock_at": self._scenario.end,
                    "digest": self._last.digest,
                    "summary": summary,
                }
            )
        )
        return self._stage.drain(DRAIN_TIMEOUT_S)

    def _note(self, state: RunState) -> None:
        """Leave word in the run's row, if storage still takes it."""
        try:
            self._stage.put_run(
                self._run.model_copy(update={"state": state, "clock_at": None}),
                within_s=LAST_WORD_S,
            )
        except Exception as exc:  # noqa: BLE001 - the first error is the one to show
            self._progress.say(f"the run's row could not be marked {state}: {exc}")

    # -- telling -----------------------------------------------------------------------------------

    def _show(self, tick: int, now: datetime, report: TickReport) -> None:
        talk = report.conversation
        gaps = [item.gap for item in self._tally.conversations]
        self._progress.show(
            Situation(
                tick=tick,
                ticks=self._scenario.ticks,
                clock=f"{now:%a %d %b %H:%M}Z",
                sources=", ".join(
                    f"{name} {figures.requests}" for name, figures in self._tally.sources.items()
                ),
                registered=report.registered,
                awarded=report.awarded,
                waiting=report.waiting,
                conversations=len(gaps),
                gap=talk.gap if talk is not None else (gaps[-1] if gaps else None),
                avoided_kg=report.carbon.avoided_kg,
                spool=self._stage.backlog(),
            )
        )

    def _outcome(self, last: TickReport, rows: Mapping[str, int], wall_s: float) -> ReplayOutcome:
        talks = self._tally.conversations
        largest = max(talks, key=lambda talk: talk.workloads, default=None)
        carbon = self._last.carbon
        return ReplayOutcome(
            run_id=self._run_id,
            scenario=self._scenario.name,
            seed=self._scenario.seed,
            digest=self._last.digest,
            ticks=self._scenario.ticks,
            wall_s=round(wall_s, 3),
            sources=dict(self._tally.sources),
            workloads=WorkloadFigures(
                registered=last.registered,
                awarded=last.awarded,
                refused=last.registered - last.awarded,
                missed_deadlines=last.missed + last.waiting,
            ),
            negotiation=NegotiationFigures(
                conversations=len(talks),
                rounds=sum(talk.rounds for talk in talks),
                messages=self._tally.messages,
                largest=None
                if largest is None
                else LargestConversation(
                    largest.workloads, largest.cost_gbp, largest.bound_gbp, largest.gap
                ),
                worst_gap=max((talk.gap for talk in talks), default=None),
            ),
            carbon=CarbonFigures(
                baseline_kg=carbon.baseline_kg,
                scheduled_kg=carbon.scheduled_kg,
                avoided_kg=carbon.avoided_kg,
                avoided_pct=carbon.avoided_pct,
                rescored_kg=carbon.rescored_kg,
                rescored_baseline_kg=carbon.rescored_baseline_kg,
            ),
            rows=dict(rows),
            supabase=dict(self._supabase),
            shards=self._stage.shards(),
        )
