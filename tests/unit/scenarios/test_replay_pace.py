"""``replay --speed``: how long a tick takes on the wall, on a clock moved by hand."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta

import pytest
from rich.console import Console

from agents.core.accounting import CarbonTotals
from agents.orchestrator import TickReport
from fetchers.report import PollReport
from scenarios.cli_replay import pace_of
from scenarios.outcome import ReplayOutcome, ShardFigures
from scenarios.progress import Progress
from scenarios.replay import Replay
from scenarios.scenario import Scenario
from schema.errors import InputError
from schema.orders import WindowUpdate
from schema.rows import Row, ScenarioRunRow

NOTHING = TickReport("digest", 0, 0, 0, 0, CarbonTotals(0.0, 0.0, 0.0, 0.0), 0, None)


class Wall:
    """Wall time that passes only while somebody works or waits."""

    def __init__(self) -> None:
        self.now_s = 0.0
        self.waits: list[float] = []

    def monotonic(self) -> float:
        return self.now_s

    def pause(self, seconds: float) -> None:
        self.waits.append(seconds)
        self.now_s += seconds


class EmptyStage:
    """A stage where nobody plays: the n-th tick takes the n-th of some wall seconds."""

    def __init__(self, wall: Wall, works_s: Sequence[float]) -> None:
        self.wall, self.works_s = wall, works_s
        self.ticked: list[tuple[float, datetime]] = []

    def open(self, run: ScenarioRunRow) -> None: ...

    def poll(self, now: datetime) -> Mapping[str, PollReport]:
        del now
        return {}

    def decide(self, tick: int, now: datetime, updates: Sequence[WindowUpdate]) -> TickReport:
        assert not updates
        self.ticked.append((self.wall.now_s, now))
        self.wall.now_s += self.works_s[tick % len(self.works_s)]
        return NOTHING

    def rescore(self, start: datetime, now: datetime) -> TickReport:
        del start, now
        return NOTHING

    def set_clock(self, now: datetime) -> None: ...

    def store(self, rows: Sequence[Row]) -> None: ...

    def put_run(self, run: ScenarioRunRow, *, within_s: float | None = None) -> None: ...

    def backlog(self) -> int:
        return 0

    def drain(self, timeout_s: float) -> Mapping[str, int]:
        del timeout_s
        return {}

    def flush(self, timeout_s: float) -> None: ...

    def heartbeat(self, now: datetime) -> None: ...

    def shards(self) -> tuple[ShardFigures, ...]:
        return ()

    def close(self) -> None: ...


def replay(scenario: Scenario, wall: Wall, stage: EmptyStage, pace_s: float) -> ReplayOutcome:
    return Replay(
        scenario,
        "run",
        stage,
        Progress(Console(stderr=True), quiet=True),
        pace_s=pace_s,
        supabase={},
        monotonic=wall.monotonic,
        pause=wall.pause,
    ).run()


def test_a_tick_waits_for_the_rest_of_its_time_and_a_late_one_for_nothing(windy: Scenario) -> None:
    wall = Wall()
    stage = EmptyStage(wall, works_s=(10.0, 40.0))
    outcome = replay(windy, wall, stage, pace_s=30.0)
    # 10 s of work leave 20 of 30; 40 s leave none, and the next tick has its 30 s all the same.
    assert wall.waits == [20.0, 0.0] * 24
    # 24 ticks of 30 s and 24 of 40 s.
    assert outcome.wall_s == 24 * 30 + 24 * 40
    assert [began for began, _ in stage.ticked[:4]] == [0.0, 30.0, 70.0, 100.0]


def test_pace_moves_no_moment_of_the_runs_own_clock(windy: Scenario) -> None:
    moments = []
    for pace_s in (0.0, 30.0):
        wall = Wall()
        stage = EmptyStage(wall, works_s=(1.0,))
        replay(windy, wall, stage, pace_s)
        moments.append([now for _, now in stage.ticked])
    assert moments[0] == moments[1] == [windy.start + k * windy.tick for k in range(48)]


def test_at_full_speed_nothing_waits(windy: Scenario) -> None:
    wall = Wall()
    replay(windy, wall, EmptyStage(wall, works_s=(3.0,)), pace_s=0.0)
    assert set(wall.waits) == {0.0}


@pytest.mark.parametrize(
    ("speed", "minutes", "seconds"),
    # At sixty times real time half an hour takes 1800 / 60 = 30 s.
    [("60x", 30, 30.0), ("1x", 30, 1800.0), ("0.5x", 30, 3600.0), ("60x", 180, 180.0)],
)
def test_a_multiple_of_real_time_gives_the_seconds_of_a_tick(
    speed: str, minutes: int, seconds: float
) -> None:
    assert pace_of(speed, timedelta(minutes=minutes)) == seconds


def test_max_is_no_pace() -> None:
    assert pace_of("max", timedelta(minutes=30)) == 0.0


@pytest.mark.parametrize("speed", ["60", "x", "0x", "-3x", "1e3x", "fast", ""])
def test_another_speed_is_refused_with_what_is_allowed(speed: str) -> None:
    with pytest.raises(InputError, match="a multiple such as 60x is allowed"):
        pace_of(speed, timedelta(minutes=30))
