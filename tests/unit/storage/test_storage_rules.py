"""The small rules of storage: verdicts, back-off, refreshes, the memory store's select."""

from __future__ import annotations

import asyncio
import pickle
from random import Random

import orjson
import pytest
from storage_samples import RUN, START, agent, log, run_record

from schema.clock import VirtualClock
from schema.errors import (
    ConfigurationError,
    ConstraintViolated,
    SchemaBehind,
    StorageError,
    StorageUnavailable,
)
from storage.gate import Gate, delay_after
from storage.memory import MemoryStore
from storage.ports import Filter, Operator, Order, equal
from storage.refresh import Refreshed, is_due
from storage.verdicts import Verdict, judge, store_error, verdict_of

CODES = {
    Verdict.RETRY: [
        *("40001", "40P01", "55P03", "08006", "53100", "57P01", "PGRST000", "PGRST003"),
        *("408", "425", "429", "500", "502", "503", "504", "520"),
    ],
    Verdict.SHRINK: ["57014"],
    Verdict.STOP: ["401", "403", "42501", "PGRST301", "PGRST303", "28P01"],
    Verdict.SCHEMA: ["PGRST202", "PGRST204", "PGRST205", "42P01", "42703", "42883"],
    Verdict.BUG: ["21000", "42702", "MAX_PARAMETERS_EXCEEDED"],
    Verdict.ORPHAN: ["23503"],
    Verdict.POISON: [
        "22P02",
        "22003",
        "22023",
        "23502",
        "23505",
        "23514",
        "P0001",
        "PGRST102",
        "413",
    ],
}


@pytest.mark.parametrize(
    ("code", "verdict"), [(code, verdict) for verdict, codes in CODES.items() for code in codes]
)
def test_each_code_has_its_verdict(code: str, verdict: Verdict) -> None:
    assert judge(code, None, "") is verdict
    # The status of the reply says nothing where there is a code.
    assert judge(code, 400, "") is verdict


def test_a_refused_key_has_no_code_but_a_text() -> None:
    assert judge(None, 401, "Invalid API key") is Verdict.STOP


def test_without_a_code_the_status_decides() -> None:
    assert judge(None, 503, "") is Verdict.RETRY
    assert judge(None, 429, "") is Verdict.RETRY
    assert judge(None, 413, "") is Verdict.POISON
    assert judge("XX000", 500, "") is Verdict.RETRY
    # Nothing known: our fault until somebody has looked.
    assert judge("WHAT", 400, "") is Verdict.BUG


@pytest.mark.parametrize(
    ("verdict", "error"),
    [
        (Verdict.RETRY, StorageUnavailable),
        (Verdict.STOP, ConfigurationError),
        (Verdict.SCHEMA, SchemaBehind),
        (Verdict.BUG, StorageError),
        (Verdict.POISON, ConstraintViolated),
    ],
)
def test_errors_keep_their_verdict_on_a_trip_between_processes(
    verdict: Verdict, error: type[Exception]
) -> None:
    made = store_error(verdict, "said so", code="X", http_status=400, retry_after_s=3.0)
    again = pickle.loads(pickle.dumps(made))
    assert type(again) is error
    assert verdict_of(again) is verdict
    assert again.details == made.details
    assert "[X]: said so" in str(again)


# -- back-off -----------------------------------------------------------------------------


def test_delays_stay_in_their_bounds() -> None:
    rng = Random(1)
    bounds = {1: (0, 0.5), 2: (0, 1), 3: (0, 2), 4: (0, 4), 5: (10, 20), 6: (10, 40), 7: (10, 60)}
    for failures, (low, high) in {**bounds, 30: (10, 60)}.items():
        for _ in range(100):
            assert low <= delay_after(failures, rng) <= high
    assert delay_after(1, rng, retry_after_s=33.0) == 33.0


async def test_of_many_workers_one_probes() -> None:
    clock = VirtualClock(START)
    gate = Gate(clock, Random(1))
    first = await gate.passage()
    for _ in range(4):
        gate.failed(first)
    # Four requests were on their way together: that is one failure.
    assert gate.failures == 1
    passed: list[int] = []

    async def worker(number: int) -> None:
        await gate.passage()
        passed.append(number)

    tasks = [asyncio.create_task(worker(n)) for n in range(4)]
    for _ in range(10):
        await asyncio.sleep(0)
    assert len(passed) == 1
    gate.succeeded()
    await asyncio.gather(*tasks)
    assert sorted(passed) == [0, 1, 2, 3]
    assert not gate.closed


async def test_a_probe_that_finds_out_nothing_lets_the_next_one_go() -> None:
    gate = Gate(VirtualClock(START), Random(1))
    gate.stopped(await gate.passage())
    passage = await gate.passage()
    gate.undecided(passage)
    async with asyncio.timeout(5):
        await gate.passage()


async def test_a_probe_that_is_cancelled_lets_the_next_one_go() -> None:
    class Hanging(VirtualClock):
        async def sleep(self, seconds: float) -> None:
            await asyncio.Event().wait()

    gate = Gate(Hanging(START), Random(1))
    gate.failed(await gate.passage())
    task = asyncio.create_task(gate.passage())
    await asyncio.sleep(0)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    second = asyncio.create_task(gate.passage())
    await asyncio.sleep(0)
    gate.succeeded()
    second.cancel()


# -- refreshing views ---------------------------------------------------------------------


def test_views_are_refreshed_when_a_table_they_show_has_changed_and_not_too_often() -> None:
    def due(last: Refreshed | None, sent: dict[str, int], now_s: float, backlog: int = 0) -> bool:
        return is_due(last, now_s=now_s, sent=sent, backlog=backlog, interval_s=60.0)

    assert not due(None, {}, 0.0)
    assert not due(None, {"api_logs": 10}, 0.0)
    assert due(None, {"wholesale_prices": 1}, 0.0)
    last = Refreshed(at_s=100.0, shown_rows=1)
    assert not due(last, {"wholesale_prices": 2}, 159.0)
    assert due(last, {"wholesale_prices": 2}, 160.0)
    assert not due(last, {"wholesale_prices": 1, "api_logs": 50}, 1000.0)
    assert not due(last, {"wholesale_prices": 2}, 160.0, backlog=20_001)


# -- the memory store ---------------------------------------------------------------------


async def test_a_batch_in_memory_is_all_or_nothing() -> None:
    store = MemoryStore()
    await store.ingest({"scenario_runs": [run_record().body]})
    bad = orjson.loads(log(2).body) | {"attempt": 0}
    with pytest.raises(ConstraintViolated, match="23514"):
        await store.ingest(
            {"agents": [agent("a").body], "api_logs": [log(1).body, orjson.dumps(bad)]}
        )
    assert store.tables["agents"] == {}
    assert store.tables["api_logs"] == {}


async def test_selecting_in_memory_filters_sorts_and_limits() -> None:
    store = MemoryStore()
    await store.ingest({"scenario_runs": [run_record().body]})
    await store.ingest(
        {"api_logs": [log(n, http_status=200 + n if n else None).body for n in range(5)]}
    )
    found = await store.select(
        "api_logs",
        columns=["sequence"],
        filters=[equal("run_id", RUN), Filter("sequence", Operator.GTE, 1)],
        order=[Order("http_status", descending=True)],
        limit=2,
    )
    assert found == [{"sequence": 4}, {"sequence": 3}]
    nulls_last = await store.select("api_logs", order=[Order("http_status", descending=True)])
    assert nulls_last[-1]["sequence"] == 0
    assert await store.count("api_logs", [Filter("http_status", Operator.IS_NULL, True)]) == 1
    assert await store.count("api_logs", [Filter("sequence", Operator.IN, [1, 3, 99])]) == 2
    assert await store.count("uk_regions") == 14
