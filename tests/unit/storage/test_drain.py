"""Sending on: order, retries, stops, poison, orphans. Time is virtual; nothing waits."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from random import Random
from typing import Any

import pytest
from storage_samples import (
    OTHER_RUN,
    RUN,
    START,
    BadRows,
    FirstCalls,
    ScriptedStore,
    agent,
    asset,
    log,
    message,
    refusal,
    run_record,
    workload,
)

from schema.clock import VirtualClock
from schema.errors import (
    ConfigurationError,
    ConstraintViolated,
    SchemaBehind,
    StorageError,
    StorageUnavailable,
)
from storage.dead_letters import Reason
from storage.drain import Drain
from storage.lane import DrainSettings, LaneStatus
from storage.service import StorageService
from storage.spool_file import SpoolSettings
from storage.verdicts import Verdict
from storage.writer import SpoolWriter

QUIET = SpoolSettings(ballast_bytes=0)


class SleepLog(VirtualClock):
    """A virtual clock that remembers who slept how long."""

    def __init__(self) -> None:
        super().__init__(START)
        self.slept: list[float] = []

    async def sleep(self, seconds: float) -> None:
        self.slept.append(seconds)
        await super().sleep(seconds)


@asynccontextmanager
async def serving(
    folder: Path, store: ScriptedStore, clock: VirtualClock | None = None, **drain: Any
) -> AsyncIterator[StorageService]:
    service = StorageService(
        folder, store, clock=clock or SleepLog(), spool=QUIET, drain=DrainSettings(**drain)
    )
    service.open()
    try:
        yield service
    finally:
        service.close()


async def test_the_run_goes_first_and_alone_and_facts_wait_for_it(tmp_path: Path) -> None:
    store = ScriptedStore()
    async with serving(tmp_path, store) as service:
        await service.put([log(1), message(1), agent("a")])
        await service.put([run_record()])
        await service.barrier(10)
    assert list(store.requests[0]) == ["scenario_runs"]
    assert store.ids("api_logs") == {log(1).id}
    assert store.ids("agent_negotiations") == {message(1).id}


async def test_one_batch_holds_parents_before_children_whatever_their_tables(
    tmp_path: Path,
) -> None:
    store = ScriptedStore()
    async with serving(tmp_path, store) as service:
        await service.put([run_record()])
        await service.barrier(10)
        # Accepted in this order; the request lists tables parents first.
        await service.put([agent("a"), workload("a", "w"), asset("a"), agent("b")])
        await service.barrier(10)
    assert list(store.requests[-1]) == ["agents", "compute_assets", "compute_workloads"]


async def test_a_run_that_never_came_keeps_only_its_own_rows_waiting(tmp_path: Path) -> None:
    store = ScriptedStore()
    async with serving(tmp_path, store) as service:
        await service.put([message(1, run=OTHER_RUN), log(1, run=OTHER_RUN)])
        await service.put([run_record(), message(1)])
        with pytest.raises(StorageUnavailable, match="2 rows are still on their way"):
            await service.barrier(0.3)
        assert store.ids("agent_negotiations") == {message(1).id}
        await service.put([run_record(OTHER_RUN)])
        assert (await service.barrier(10)).depth == 0


async def test_while_rows_wait_the_cause_is_told_once(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    def full(_: object) -> None:
        raise refusal(Verdict.RETRY, "53100")

    store = ScriptedStore(before=full)
    with caplog.at_level(logging.WARNING, logger="storage.lane"):
        async with serving(tmp_path, store) as service:
            await service.put([run_record()])
            with pytest.raises(StorageUnavailable, match="it last said: Supabase cannot take rows"):
                await service.barrier(0.3)
            store.before = None
            service._draining().try_now()
            await service.barrier(10)
    told = [record.getMessage() for record in caplog.records]
    # The run's row goes by the lane of what has parents; the other lane has nothing to send.
    assert told == [
        "the ordered lane waits: Supabase cannot take rows now [53100]: said the test",
        "the ordered lane is sending again",
    ]


async def test_newer_versions_in_one_batch_are_sent_once(tmp_path: Path) -> None:
    store = ScriptedStore()
    async with serving(tmp_path, store) as service:
        await service.put(
            [agent("a"), agent("a", version=2, node="two"), agent("a", version=1, node="one")]
        )
        await service.put([run_record()])
        await service.barrier(10)
    assert store.requests[1] == {"agents": [agent("a").id]}
    assert store.tables["agents"][agent("a").id]["node"] == "two"


async def test_facts_fly_several_at_once_and_the_ordered_lane_alone(tmp_path: Path) -> None:
    class Meeting(ScriptedStore):
        """Answers facts only once four requests are there together."""

        async def pause(self) -> None:
            if "api_logs" in self.requests[-1]:
                self.four = getattr(self, "four", None) or asyncio.Barrier(4)
                await self.four.wait()

    store = Meeting()
    async with serving(tmp_path, store, batch_rows=10, start_rows=10) as service:
        await service.put([run_record()])
        await service.barrier(10)
        for first in range(0, 200, 10):
            await service.put([log(n) for n in range(first, first + 10)])
        await service.barrier(10)
        assert store.most_in_flight == 4
        store.most_in_flight = 0
        await service.put([message(n) for n in range(100)])
        await service.barrier(10)
        assert store.most_in_flight == 1
    sizes = [sum(map(len, request.values())) for request in store.requests]
    assert max(sizes) <= 10
    assert sum(sizes) == 301


async def test_requests_grow_while_they_are_quick_up_to_the_limit(tmp_path: Path) -> None:
    store = ScriptedStore()
    async with serving(tmp_path, store, batch_rows=40, start_rows=10) as service:
        await service.put([run_record(), *(message(n) for n in range(150))])
        await service.barrier(10)
    sizes = [len(request["agent_negotiations"]) for request in store.requests[1:]]
    # 10, doubled to 20, doubled to 40, then the limit; 150 = 10 + 20 + 40 + 40 + 40.
    assert sizes == [10, 20, 40, 40, 40]


async def test_requests_stay_below_their_size_in_bytes(tmp_path: Path) -> None:
    one = len(message(1).body)
    store = ScriptedStore()
    async with serving(tmp_path, store, batch_bytes=3 * one + one // 2) as service:
        await service.put([run_record(), *(message(n) for n in range(9))])
        await service.barrier(10)
    assert [len(request["agent_negotiations"]) for request in store.requests[1:]] == [3, 3, 3]


# -- passing trouble ----------------------------------------------------------------------


async def test_an_outage_costs_time_and_nothing_else(tmp_path: Path) -> None:
    errors = [refusal(Verdict.RETRY, "503") for _ in range(12)]
    store, clock = ScriptedStore(FirstCalls(*errors)), SleepLog()
    async with serving(tmp_path, store, clock) as service:
        await service.put([run_record(), *(message(n) for n in range(20))])
        assert (await service.barrier(10)).depth == 0
    assert len(store.tables["agent_negotiations"]) == 20
    waits = clock.slept[:12]
    # Four stumbles with full jitter below 0.5, 1, 2, 4 s ...
    assert all(wait <= bound for wait, bound in zip(waits[:4], (0.5, 1, 2, 4), strict=True))
    # ... then at most one probe in ten seconds, and never slower than one a minute.
    assert all(10 <= wait <= 60 for wait in waits[4:])


async def test_retry_after_is_obeyed(tmp_path: Path) -> None:
    store = ScriptedStore(FirstCalls(refusal(Verdict.RETRY, "429", retry_after_s=45.0)))
    clock = SleepLog()
    async with serving(tmp_path, store, clock) as service:
        await service.put([run_record()])
        await service.barrier(10)
    assert clock.slept[0] == 45.0


async def test_a_lost_answer_is_sent_again_without_harm(tmp_path: Path) -> None:
    store = ScriptedStore(after=FirstCalls(*(refusal(Verdict.RETRY, "502") for _ in range(3))))
    async with serving(tmp_path, store) as service:
        await service.put([run_record(), *(message(n) for n in range(5))])
        status = await service.barrier(10)
    assert len(store.tables["agent_negotiations"]) == 5
    assert status.sent == {"scenario_runs": 1, "agent_negotiations": 5}


async def test_a_timeout_halves_the_batch(tmp_path: Path) -> None:
    def too_large(batch: Mapping[str, Sequence[bytes]]) -> None:
        if sum(map(len, batch.values())) > 10:
            raise refusal(Verdict.SHRINK, "57014")

    store = ScriptedStore(too_large)
    async with serving(tmp_path, store) as service:
        await service.put([run_record(), *(message(n) for n in range(40))])
        await service.barrier(10)
    sizes = [len(r["agent_negotiations"]) for r in store.requests if "agent_negotiations" in r]
    # 40 is cut into 20 and 20, each into 10 and 10.
    assert sizes == [40, 20, 10, 10, 20, 10, 10]


async def test_while_the_store_is_down_nobody_waits_to_be_accepted(tmp_path: Path) -> None:
    class Hanging(ScriptedStore):
        async def pause(self) -> None:
            await asyncio.Event().wait()

    async with serving(tmp_path, Hanging()) as service:
        await service.put([run_record()])
        for n in range(50):
            assert (await service.put([message(n)])).accepted == 1
        with pytest.raises(StorageUnavailable) as caught:
            await service.barrier(0.2)
    assert caught.value.details["depth"] == 51


# -- ours to fix --------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("verdict", "code", "error"),
    [
        (Verdict.STOP, "42501", ConfigurationError),
        (Verdict.SCHEMA, "PGRST202", SchemaBehind),
        (Verdict.BUG, "21000", StorageError),
    ],
)
async def test_what_only_people_can_mend_stops_the_lane_and_buries_nothing(
    tmp_path: Path, verdict: Verdict, code: str, error: type[Exception]
) -> None:
    broken = [True]

    def refuse(_batch: object) -> None:
        if broken[0]:
            raise refusal(verdict, code)

    store, clock = ScriptedStore(refuse), SleepLog()
    async with serving(tmp_path, store, clock, schema_grace_s=0.0) as service:
        await service.put([run_record(), *(message(n) for n in range(5))])
        with pytest.raises(error, match=code):
            await service.barrier(10)
        status = await service.status()
        assert (status["depth"], status["dead"]) == (6, 0)
        assert status["lanes"]["ordered"] == "stopped"  # type: ignore[index,call-overload]
        assert status["errors"]
        # Still accepting.
        await service.put([message(9)])
        broken[0] = False
        await _until(lambda: len(store.tables["agent_negotiations"]) == 6)
        done = await service.status()
        assert done["lanes"] == {"ordered": "running", "facts": "running"}
        assert done["errors"] == []
    assert min(clock.slept) >= 10.0


async def test_missing_tables_may_be_a_cache_for_a_minute(tmp_path: Path) -> None:
    errors = [refusal(Verdict.SCHEMA, "PGRST205") for _ in range(4)]
    store = ScriptedStore(FirstCalls(*errors))
    async with serving(tmp_path, store, schema_grace_s=60.0) as service:
        await service.put([run_record()])
        # Probes at 0, 10-15, 20-30 and 30-45 s: all within the minute, so nobody is told.
        assert (await service.barrier(10)).errors == ()


async def test_an_unforeseen_failure_stops_the_lane_and_is_tried_again(tmp_path: Path) -> None:
    calls: list[int] = []

    def bug(_batch: object) -> None:
        calls.append(1)
        if len(calls) < 3:
            raise KeyError("surprise")

    store = ScriptedStore(bug)
    async with serving(tmp_path, store) as service:
        await service.put([run_record()])
        await _until(lambda: len(store.tables["scenario_runs"]) == 1)


async def test_a_failure_of_our_own_is_told_and_sending_begins_anew(tmp_path: Path) -> None:
    failures = [RuntimeError("a bug while forgetting rows")]

    def crash_point(name: str) -> None:
        if name == "mid_delete" and failures:
            raise failures.pop()

    store = ScriptedStore()
    service = StorageService(
        tmp_path, store, clock=SleepLog(), spool=QUIET, crash_point=crash_point
    ).open()
    await service.put([run_record(), *(message(n) for n in range(5)), log(1)])
    await _until(lambda: len(store.tables["api_logs"]) == 1)
    assert (await service.barrier(10)).depth == 0
    assert failures == []
    assert len(store.tables["agent_negotiations"]) == 5
    service.close()


async def test_a_stop_is_heard_though_a_lane_fails_at_that_moment(tmp_path: Path) -> None:
    class Failing(Drain):
        async def _run_ordered(self, lane: LaneStatus) -> None:
            try:
                await asyncio.Event().wait()
            except asyncio.CancelledError:
                msg = f"a bug while {lane} was told to stop"
                raise RuntimeError(msg) from None

    clock = SleepLog()
    writer = SpoolWriter(tmp_path, clock, QUIET)
    writer.open()
    sending = asyncio.create_task(Failing(writer, ScriptedStore(), clock, Random(1)).run())
    await asyncio.sleep(0.01)
    sending.cancel()
    with pytest.raises(asyncio.CancelledError):
        await asyncio.wait_for(sending, 5)
    assert clock.slept == []
    writer.close(5)


# -- poison -------------------------------------------------------------------------------


async def test_one_bad_row_of_512_costs_19_requests(tmp_path: Path) -> None:
    rows = [message(n) for n in range(512)]
    store = ScriptedStore(BadRows({rows[300].id}))
    async with serving(tmp_path, store, start_rows=512) as service:
        await service.put([run_record()])
        await service.barrier(10)
        store.requests.clear()
        await service.put(rows)
        status = await service.barrier(10)
        dead = await service.dead_rows()
    # The batch, then two halves on each of nine levels: 1 + 2 * 9.
    assert len(store.requests) == 19
    assert (status.depth, status.dead) == (0, 1)
    assert len(store.tables["agent_negotiations"]) == 511
    (row,) = dead
    assert (row.id, row.reason, row.sqlstate, row.http) == (
        rows[300].id,
        Reason.POISON,
        "23514",
        400,
    )
    assert row.body == rows[300].body


@pytest.mark.parametrize(("bad", "requests"), [(4, 63), (32, 319)])
async def test_bisection_costs_what_the_tree_says(tmp_path: Path, bad: int, requests: int) -> None:
    # k bad rows, one in each of k equal parts of 512. Down to the parts every node is split: 2k - 1
    # requests. In each part the path to its bad row has two requests on each of 9 - log2(k) levels.
    # k = 4: 7 + 4 * 2 * 7 = 63; k = 32: 63 + 32 * 2 * 4 = 319.
    rows = sorted((log(n) for n in range(512)), key=lambda row: row.id)
    part = 512 // bad
    store = ScriptedStore(BadRows({rows[part * i].id for i in range(bad)}))
    async with serving(tmp_path, store, start_rows=512) as service:
        await service.put([run_record()])
        await service.barrier(10)
        store.requests.clear()
        await service.put(rows)
        status = await service.barrier(10)
    assert len(store.requests) == requests
    assert status.dead == bad
    assert len(store.tables["api_logs"]) == 512 - bad


async def test_too_much_poison_is_the_databases_fault_and_buries_nothing(tmp_path: Path) -> None:
    rows = [message(n) for n in range(300)]
    bad = BadRows({row.id for row in rows[::5]})
    store = ScriptedStore(bad)
    async with serving(tmp_path, store, start_rows=500) as service:
        await service.put([run_record()])
        await service.barrier(10)
        await service.put(rows)
        with pytest.raises(ConstraintViolated, match="wrong schema"):
            await service.barrier(10)
        assert (await service.status())["dead"] == 0
        bad.ids = set()
        await _until(lambda: len(store.tables["agent_negotiations"]) == 300)
        assert (await service.barrier(10)).depth == 0


async def test_a_handful_of_bad_rows_in_a_small_batch_stops_nobody(tmp_path: Path) -> None:
    rows = [message(n) for n in range(10)]
    store = ScriptedStore(BadRows({row.id for row in rows[:5]}))
    async with serving(tmp_path, store) as service:
        await service.put([run_record(), *rows])
        status = await service.barrier(10)
    assert (status.dead, len(store.tables["agent_negotiations"])) == (5, 5)


# -- parents ------------------------------------------------------------------------------


async def test_children_of_a_dead_parent_are_parked_and_go_back_with_it(tmp_path: Path) -> None:
    bad = BadRows({agent("a").id})
    store = ScriptedStore(bad)
    async with serving(tmp_path, store) as service:
        await service.put([run_record(), agent("a"), agent("b")])
        await service.put([workload("a", "w1"), workload("b", "w2")])
        status = await service.barrier(10)
        assert status.dead == 2
        reasons = {row.table: row.reason for row in await service.dead_rows()}
        assert reasons == {"agents": Reason.POISON, "compute_workloads": Reason.PARENT_DEAD}
        assert store.ids("compute_workloads") == {workload("b", "w2").id}
        bad.ids = set()
        assert await service.retry_dead() == 2
        assert (await service.barrier(10)).dead == 0
    assert store.ids("compute_workloads") == {workload("a", "w1").id, workload("b", "w2").id}


async def test_a_child_waits_for_a_parent_that_is_still_to_come(tmp_path: Path) -> None:
    store = ScriptedStore()
    async with serving(tmp_path, store, orphan_attempts=1000) as service:
        await service.put([run_record(), workload("late", "w"), agent("b")])
        await _until(lambda: store.ids("agents") == {agent("b").id})
        await service.put([agent("late")])
        status = await service.barrier(10)
    assert status.dead == 0
    assert store.ids("compute_workloads") == {workload("late", "w").id}


async def test_a_child_whose_parent_never_comes_is_put_aside_in_the_end(tmp_path: Path) -> None:
    store = ScriptedStore()
    async with serving(tmp_path, store, orphan_attempts=4) as service:
        await service.put([run_record(), workload("nobody", "w"), agent("b")])
        status = await service.barrier(10)
        (row,) = await service.dead_rows()
    assert status.dead == 1
    assert (row.reason, row.sqlstate) == (Reason.ORPHAN, "23503")
    assert store.ids("agents") == {agent("b").id}


async def test_a_dead_run_takes_its_rows_along_and_other_runs_go_on(tmp_path: Path) -> None:
    bad = BadRows({RUN})
    store = ScriptedStore(bad)
    async with serving(tmp_path, store) as service:
        await service.put([run_record(), message(1), log(1)])
        await service.put([run_record(OTHER_RUN), message(1, run=OTHER_RUN)])
        status = await service.barrier(10)
        assert status.dead == 3
        # What comes later for the dead run joins the others.
        await service.put([log(2)])
        await service.put([message(2)])
        assert (await service.barrier(10)).dead == 5
        assert store.ids("agent_negotiations") == {message(1, run=OTHER_RUN).id}
        bad.ids = set()
        await service.retry_dead()
        assert (await service.barrier(10)).dead == 0
    assert len(store.tables["api_logs"]) == 2


async def test_facts_of_a_run_that_was_deleted_are_put_aside_at_once(tmp_path: Path) -> None:
    store = ScriptedStore()
    async with serving(tmp_path, store) as service:
        await service.put([run_record()])
        await service.barrier(10)
        store.tables["scenario_runs"].clear()
        store.requests.clear()
        await service.put([log(n) for n in range(100)])
        status = await service.barrier(10)
    assert (status.dead, len(store.requests)) == (100, 1)


async def _until(condition: Callable[[], bool]) -> None:
    """Let other threads go on until something has come about."""
    async with asyncio.timeout(10):
        while not condition():  # noqa: ASYNC110  # the other side is a thread, not a task
            await asyncio.sleep(0.002)
