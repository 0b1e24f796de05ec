"""The live pipeline's own rules, on a clock moved by hand and a toy stage."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from datetime import timedelta
from typing import Any

import pytest
from live_kit import NOON, HandClock, ToyStage

from scenarios.live.cadence import Cadence
from scenarios.live.pipeline import STOP_POLLS_S, LivePipeline
from scenarios.live.track import Situation
from schema.errors import AgentUnavailable, StorageUnavailable
from schema.orders import WindowUpdate
from schema.rows.system import RunKind, RunState

SOURCES = ("carbon_intensity", "neso", "elexon", "beckn")
#: Without jitter polls start at 0, 60, 120 …, so that moments can be written down.
PUNCTUAL = Cadence(interval_s=60.0, jitter=0.0)


def update(order_id: str) -> WindowUpdate:
    return WindowUpdate(
        bpp_id="bpp",
        item_id="item",
        starts_at=NOON,
        organisation="acme",
        conversation_id="c1",
        order_id=order_id,
        message_id=f"m-{order_id}",
        received_at=NOON,
        lost=True,
        capacity_kw=None,
        limit_kw=None,
        price_per_kwh=None,
        currency=None,
        intensity_gco2_per_kwh=None,
        reason="gone",
    )


@asynccontextmanager
async def running(
    stage: ToyStage, cadence: Cadence = PUNCTUAL, watch: Callable[[Situation], None] | None = None
) -> AsyncIterator[LivePipeline]:
    pipeline = LivePipeline(
        stage, stage.clock, SOURCES, cadence=cadence, watch=watch or (lambda _: None)
    )
    await pipeline.open()
    task = asyncio.create_task(pipeline.run())
    try:
        yield pipeline
    finally:
        pipeline.stop()
        while not task.done():
            await stage.clock.advance(STOP_POLLS_S)
        await task


async def test_every_source_is_asked_once_an_interval() -> None:
    stage = ToyStage(HandClock())
    async with running(stage) as pipeline:
        await stage.clock.advance(185)
        for source in SOURCES:
            assert stage.asked_at(source) == [0, 60, 120, 180]
        assert [track.polls for track in pipeline.tracks.values()] == [4, 4, 4, 4]


async def test_a_slow_source_delays_no_other_and_leaves_out_what_it_used_up() -> None:
    # A poll of 150 s begun at 0 ends in the third slot; the next one begins with the fourth.
    stage = ToyStage(HandClock(), takes_s={"neso": 150.0})
    async with running(stage) as pipeline:
        await stage.clock.advance(200)
        assert stage.asked_at("neso") == [0, 180]
        assert stage.asked_at("elexon") == [0, 60, 120, 180]
        assert pipeline.tracks["neso"].skipped == 2
        assert {track.lag_s for track in pipeline.tracks.values()} == {0.0}


async def test_a_poll_that_fails_is_made_again_in_the_next_interval() -> None:
    stage = ToyStage(HandClock(), fails={"elexon": [AgentUnavailable("its actor is away")]})
    async with running(stage) as pipeline:
        track = pipeline.tracks["elexon"]
        await stage.clock.advance(30)
        assert (track.failed, track.problem) == (1, "its actor is away")
        await stage.clock.advance(40)
        assert stage.asked_at("elexon") == [0, 60]
        assert (track.polls, track.failed, track.problem) == (2, 1, None)


async def test_a_fault_of_ours_in_one_poll_ends_nothing() -> None:
    stage = ToyStage(HandClock(), fails={"beckn": [ZeroDivisionError("ours")]})
    async with running(stage) as pipeline:
        await stage.clock.advance(65)
        assert pipeline.tracks["beckn"].failed == 1
        assert len(stage.asked) == 8


async def test_a_source_that_dies_between_polls_is_asked_in_time_for_ever() -> None:
    stage = ToyStage(HandClock(), fails={"neso": [AgentUnavailable("dead")] * 100})
    async with running(stage) as pipeline:
        await stage.clock.advance(60 * 50)
        # 0, 60, … 3000: 51 polls.
        assert pipeline.tracks["neso"].failed == 51
        assert pipeline.tracks["elexon"].polls == 51
        assert pipeline.tracks["elexon"].lag_s == 0.0


async def test_jitter_moves_polls_within_their_share_of_the_interval() -> None:
    stage = ToyStage(HandClock())
    async with running(stage, Cadence(interval_s=60.0, jitter=0.1, seed=3)) as pipeline:
        await stage.clock.advance(60 * 20 + 10)
        late = [at % 60 for _, at, _ in stage.asked]
        assert len(stage.asked) == 84
        assert 0 <= min(late) < 1
        assert 5 < max(late) <= 6
        assert max(t.lag_s or 0.0 for t in pipeline.tracks.values()) == pytest.approx(0.0)


async def test_ticks_follow_the_polls_at_once_where_all_answer() -> None:
    stage = ToyStage(HandClock(), takes_s={"neso": 4.0})
    async with running(stage):
        await stage.clock.advance(70)
        assert [at for _, at, _ in stage.decided] == [4, 64]


async def test_the_orchestrator_waits_for_a_slow_source_half_an_interval_at_most() -> None:
    stage = ToyStage(HandClock(), takes_s={"neso": 500.0})
    async with running(stage):
        await stage.clock.advance(100)
        assert [at for _, at, _ in stage.decided] == [30, 90]


async def test_ticks_are_numbered_by_the_second_and_rise_when_the_clock_is_set_back() -> None:
    stage = ToyStage(HandClock())
    async with running(stage):
        await stage.clock.advance(1)
        stage.clock.set_back = timedelta(hours=1)
        await stage.clock.advance(120)
        numbers = [tick for tick, _, _ in stage.decided]
        first = int(NOON.timestamp())
        assert numbers == [first, first + 1, first + 2]
        planned = [moment for name, _, moment in stage.asked if name == "neso"]
        assert planned == [NOON, NOON + timedelta(seconds=1), NOON + timedelta(seconds=2)]
        # The wait is on monotonic time: the hour that was set back delays nothing.
        assert stage.asked_at("neso") == [0, 60, 120]


async def test_a_clock_set_forward_makes_no_burst() -> None:
    stage = ToyStage(HandClock())
    async with running(stage):
        await stage.clock.advance(1)
        stage.clock.set_back = -timedelta(hours=5)
        await stage.clock.advance(120)
        assert stage.asked_at("elexon") == [0, 60, 120]


async def test_updates_of_a_poll_go_to_the_next_tick_once() -> None:
    stage = ToyStage(HandClock(), updates=[update("a")])
    async with running(stage):
        await stage.clock.advance(130)
        assert [len(updates) for _, _, updates in stage.decided] == [1, 0, 0]


async def test_updates_of_a_tick_that_failed_are_told_again_with_the_new_ones_behind() -> None:
    stage = ToyStage(
        HandClock(), updates=[update("a")], decide_fails=[AgentUnavailable("restarting")]
    )
    async with running(stage):
        await stage.clock.advance(1)
        stage.updates = [update("b")]
        await stage.clock.advance(70)
        told = [[one.order_id for one in updates] for _, _, updates in stage.decided]
        assert told == [["a"], ["a", "b"]]


async def test_updates_that_an_earlier_process_did_not_live_to_tell_go_to_the_first_tick() -> None:
    stage = ToyStage(HandClock(), updates=[update("b")], untold=[update("a")])
    async with running(stage):
        await stage.clock.advance(65)
        told = [[one.order_id for one in updates] for _, _, updates in stage.decided]
        assert told == [["a", "b"], []]


async def test_a_long_negotiation_keeps_no_heartbeat_and_no_poll_back() -> None:
    stage = ToyStage(HandClock(), decide_takes_s=170.0)
    async with running(stage) as pipeline:
        await stage.clock.advance(200)
        # The one begun at 0 ends at 170, so that those of 60 and 120 are left out.
        assert [at for _, at, _ in stage.decided] == [0, 180]
        assert [at for at, _ in stage.beats] == [0, 60, 120, 180]
        assert pipeline.tracks["beckn"].polls == 4


async def test_storage_that_is_away_ends_nothing_and_is_shown() -> None:
    seen: list[Situation] = []
    stage = ToyStage(HandClock(), beat_fails=[StorageUnavailable("away")])
    async with running(stage, watch=seen.append):
        await stage.clock.advance(65)
        assert [one.unsent for one in seen] == [None, 7]


async def test_a_fault_of_ours_in_noting_is_recorded_and_ends_nothing() -> None:
    stage = ToyStage(HandClock(), beat_fails=[ZeroDivisionError("ours")])
    async with running(stage):
        await stage.clock.advance(65)
        assert [at for at, _ in stage.beats] == [60]


async def test_without_sites_nothing_is_decided_and_updates_do_not_pile_up() -> None:
    stage = ToyStage(HandClock(), negotiates=False, updates=[update("a")])
    async with running(stage) as pipeline:
        await stage.clock.advance(125)
        assert stage.decided == []
        assert pipeline.report is None
        assert pipeline._updates == []
        assert len(stage.beats) == 3


async def test_rows_of_fetchers_are_told_lag_breaker_and_next_due() -> None:
    stage = ToyStage(HandClock())
    async with running(stage):
        await stage.clock.advance(65)
        told = stage.told["elexon"]
        assert told["polls"] == 2
        assert told["rows"] == 4
        assert told["lag_s"] == 0.0
        assert told["breaker"] == "closed"
        assert told["last_success"] == "2031-02-03T12:01:00Z"


async def test_stopping_lets_polls_under_way_end_and_no_others_begin() -> None:
    stage = ToyStage(HandClock(), takes_s={"neso": 1.0})
    pipeline = LivePipeline(stage, stage.clock, SOURCES, cadence=PUNCTUAL)
    await pipeline.open()
    task = asyncio.create_task(pipeline.run())
    await stage.clock.advance(60.5)
    pipeline.stop()
    await stage.clock.advance(0.6)
    await asyncio.wait_for(task, 1)
    assert pipeline.tracks["neso"].polls == 2
    assert len(stage.asked) == 8


async def test_stopping_does_not_wait_for_a_poll_that_hangs() -> None:
    stage = ToyStage(HandClock(), takes_s={"neso": 10_000.0}, decide_takes_s=10_000.0)
    pipeline = LivePipeline(stage, stage.clock, SOURCES, cadence=PUNCTUAL)
    await pipeline.open()
    task = asyncio.create_task(pipeline.run())
    await stage.clock.advance(100)
    pipeline.stop()
    await stage.clock.advance(STOP_POLLS_S)
    await asyncio.wait_for(task, 1)
    assert pipeline.tracks["neso"].polls == 0
    # Nothing of it lives on.
    assert asyncio.all_tasks() == {asyncio.current_task()}


async def test_a_run_that_ends_says_so_in_its_row_and_of_its_actors() -> None:
    stage = ToyStage(HandClock())
    async with running(stage) as pipeline:
        await stage.clock.advance(5)
    await pipeline.farewell(RunState.DONE)
    assert [(run.kind, run.state) for run in stage.runs] == [
        (RunKind.LIVE, RunState.RUNNING),
        (RunKind.LIVE, RunState.DONE),
    ]
    assert stage.beats[-1][1] is True


async def test_a_farewell_that_storage_does_not_take_is_no_error() -> None:
    stage = ToyStage(HandClock(), beat_fails=[StorageUnavailable("away")])
    pipeline = LivePipeline(stage, stage.clock, SOURCES, cadence=PUNCTUAL)
    await pipeline.farewell(RunState.DONE)
    assert stage.beats == []


async def test_once_asks_each_source_decides_and_notes_one_time() -> None:
    seen: list[Situation] = []
    stage = ToyStage(HandClock(), updates=[update("a")])
    pipeline = LivePipeline(stage, stage.clock, SOURCES, cadence=PUNCTUAL, watch=seen.append)
    await pipeline.open()
    await pipeline.once()
    assert [name for name, _, _ in stage.asked] == list(SOURCES)
    assert [len(updates) for _, _, updates in stage.decided] == [1]
    assert (len(stage.beats), len(stage.clocks)) == (1, 1)
    assert [(one.registered, one.awarded, one.unsent) for one in seen] == [(3, 2, 7)]
    assert not pipeline.stopped


async def test_once_goes_on_when_a_source_fails() -> None:
    stage = ToyStage(HandClock(), fails={"neso": [AgentUnavailable("dead")]})
    pipeline = LivePipeline(stage, stage.clock, SOURCES, cadence=PUNCTUAL)
    await pipeline.open()
    await pipeline.once()
    assert pipeline.tracks["neso"].problem == "dead"
    assert pipeline.tracks["elexon"].rows == 2
    assert len(stage.decided) == 1


async def test_once_is_given_up_when_the_end_is_asked_for() -> None:
    stage = ToyStage(HandClock(), takes_s={"neso": 10_000.0})
    pipeline = LivePipeline(stage, stage.clock, SOURCES, cadence=PUNCTUAL)
    await pipeline.open()
    task = asyncio.create_task(pipeline.once())
    await stage.clock.advance(1)
    pipeline.stop()
    await stage.clock.advance(STOP_POLLS_S)
    await asyncio.wait_for(task, 1)
    assert pipeline.stopped
    assert stage.decided == []


async def test_a_fault_in_the_pipeline_itself_comes_out(monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(*_: Any) -> float:
        raise ZeroDivisionError

    stage = ToyStage(HandClock())
    pipeline = LivePipeline(stage, stage.clock, SOURCES, cadence=PUNCTUAL)
    await pipeline.open()
    monkeypatch.setattr(Cadence, "due_s", broken)
    with pytest.raises(ZeroDivisionError):
        await asyncio.wait_for(pipeline.run(), 5)
