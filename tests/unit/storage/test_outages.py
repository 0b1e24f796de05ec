"""Outages that a replay plays: the store fails by the run's clock, and the drain does the rest."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import timedelta
from pathlib import Path
from random import Random

import pytest
from storage_samples import RUN, START, ScriptedStore, agent, log, message, run_row

from schema.clock import VirtualClock
from schema.errors import StorageUnavailable
from storage.gate import Gate
from storage.outages import Outage, StoreFault
from storage.service import StorageService
from storage.spool_file import SpoolSettings

HOUR = timedelta(hours=1)
ALL_FAULTS = tuple(StoreFault)


class StandingClock(VirtualClock):
    """A clock on which no wait ever ends: whoever goes on was told to."""

    def __init__(self) -> None:
        super().__init__(START)

    async def sleep(self, seconds: float) -> None:
        del seconds
        await asyncio.Event().wait()


def from_hour_1_to_5(fault: StoreFault) -> tuple[Outage, ...]:
    return (Outage(START + HOUR, START + 5 * HOUR, fault),)


@asynccontextmanager
async def serving(
    folder: Path, store: ScriptedStore, fault: StoreFault
) -> AsyncIterator[StorageService]:
    service = StorageService(
        folder,
        store,
        clock=StandingClock(),
        spool=SpoolSettings(ballast_bytes=0),
        outages=from_hour_1_to_5(fault),
    )
    service.open()
    try:
        yield service
    finally:
        service.close()


async def found_out(service: StorageService) -> None:
    """Return once the lane that sends the run's clock has found the store away."""
    for _ in range(1000):
        if (await service.status())["lanes"] == {"ordered": "waiting", "facts": "running"}:
            return
        await asyncio.sleep(0.01)
    pytest.fail("nobody has noticed the outage")


@pytest.mark.parametrize("fault", ALL_FAULTS)
async def test_rows_stay_in_the_spool_during_an_outage_and_drain_in_order_after(
    tmp_path: Path, fault: StoreFault
) -> None:
    store = ScriptedStore()
    async with serving(tmp_path, store, fault) as service:
        await service.put_run(RUN, run_row())
        await service.put([agent("a")])
        await service.barrier(10)
        await service.set_clock_at(RUN, START + HOUR)
        await found_out(service)
        before = len(store.requests)
        for n in range(20):
            await service.put([message(n), log(n)])
        # 20 messages, 20 log rows, and the run's own row with its clock at hour 1.
        assert (await service.status())["depth"] == 41
        await service.set_clock_at(RUN, START + 5 * HOUR)
        status = await service.barrier(10)
    assert (status.depth, status.dead) == (0, 0)
    sent = [
        row for request in store.requests[before:] for row in request.get("agent_negotiations", [])
    ]
    in_order = list(dict.fromkeys(sent))
    assert in_order == [message(n).id for n in range(20)]
    assert len(store.tables["agent_negotiations"]) == 20
    assert len(store.tables["api_logs"]) == 20


async def test_nothing_reaches_a_store_that_refuses(tmp_path: Path) -> None:
    store = ScriptedStore()
    async with serving(tmp_path, store, StoreFault.REFUSE) as service:
        await service.put_run(RUN, run_row())
        await service.barrier(10)
        await service.set_clock_at(RUN, START + 2 * HOUR)
        requests = len(store.requests)
        await service.put([message(1)])
        with pytest.raises(StorageUnavailable, match="2 rows are still on their way"):
            await service.barrier(0.3)
        assert len(store.requests) == requests


async def test_rows_whose_answer_was_lost_are_there_and_wait_all_the_same(tmp_path: Path) -> None:
    store = ScriptedStore()
    async with serving(tmp_path, store, StoreFault.NO_ANSWER) as service:
        await service.put_run(RUN, run_row())
        await service.barrier(10)
        await service.set_clock_at(RUN, START + HOUR)
        await found_out(service)
        # The run's row with its new clock went in, and its receipt did not come back.
        assert store.tables["scenario_runs"][RUN]["clock_at"] == "2026-05-01T11:00:00Z"
        assert (await service.status())["depth"] == 1
        await service.set_clock_at(RUN, START + 5 * HOUR)
        status = await service.barrier(10)
    assert (status.depth, status.dead) == (0, 0)
    assert store.tables["scenario_runs"][RUN]["clock_at"] == "2026-05-01T15:00:00Z"


@pytest.mark.parametrize("fault", ALL_FAULTS)
async def test_readers_are_told_too(tmp_path: Path, fault: StoreFault) -> None:
    async with serving(tmp_path, ScriptedStore(), fault) as service:
        await service.put_run(RUN, run_row())
        await service.barrier(10)
        await service.set_clock_at(RUN, START + HOUR)
        for ask in (
            service.count("agents"),
            service.select("agents"),
            service.refresh_views(),
            service.schema_version(),
        ):
            with pytest.raises(StorageUnavailable, match="an outage of the scenario"):
                await ask
        await service.set_clock_at(RUN, START + 5 * HOUR)
        assert await service.count("scenario_runs") == 1


async def test_a_restart_in_the_midst_of_an_outage_does_not_end_it(tmp_path: Path) -> None:
    store = ScriptedStore()
    async with serving(tmp_path, store, StoreFault.REFUSE) as service:
        await service.put_run(RUN, run_row())
        await service.barrier(10)
        await service.set_clock_at(RUN, START + HOUR)
        await service.put([message(1)])
    async with serving(tmp_path, store, StoreFault.REFUSE) as service:
        with pytest.raises(StorageUnavailable, match="2 rows are still on their way"):
            await service.barrier(0.3)
        await service.set_clock_at(RUN, START + 5 * HOUR)
        await service.barrier(10)
    assert store.ids("agent_negotiations") == {message(1).id}


async def test_a_hurried_gate_probes_at_once_and_the_next_failure_closes_it_again() -> None:
    gate = Gate(StandingClock(), Random(1))
    gate.failed(await gate.passage())
    probe = asyncio.ensure_future(gate.passage())
    await asyncio.sleep(0)
    assert not probe.done()
    gate.hurry()
    passage = await asyncio.wait_for(probe, 5)
    gate.failed(passage)
    again = asyncio.ensure_future(gate.passage())
    await asyncio.sleep(0)
    assert not again.done()
    again.cancel()


async def test_hurrying_an_open_gate_leaves_it_open() -> None:
    gate = Gate(StandingClock(), Random(1))
    gate.hurry()
    assert not gate.closed
    await asyncio.wait_for(gate.passage(), 5)
