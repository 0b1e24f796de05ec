"""The storage actor in Ray: killed, restarted, asked by others; the spool is what stays."""

from __future__ import annotations

import asyncio
import os
import signal
import threading
import time
import uuid
from collections.abc import Callable, Iterator
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from storage_samples import (
    RUN,
    START,
    agent,
    log,
    message,
    regional,
    run_record,
    run_row,
)

from schema.errors import AgentUnavailable, RecordConflict, StorageUnavailable
from schema.rows.system import AgentKind
from storage.ports import Checkpoint

if TYPE_CHECKING:
    from agents.supervisor import Cluster
    from storage.actor import RayStorage

pytestmark = [pytest.mark.ray, pytest.mark.timeout(180)]

Launch = Callable[..., "RayStorage"]
MEMORY = {"store": "storage.memory:MemoryStore"}


@pytest.fixture
def launch(cluster: Cluster, tmp_path: Path) -> Iterator[Launch]:
    """Start storage actors that end with the test."""
    import ray

    from agents.supervisor import ActorSpec
    from storage.actor import RayStorage, StorageActor

    names: list[str] = []

    def start(**arguments: Any) -> RayStorage:
        name = f"storage-{uuid.uuid4().hex[:8]}"
        names.append(name)
        kwargs = {"folder": str(tmp_path / "spool"), **MEMORY, **arguments}
        cluster.launch([ActorSpec(name, AgentKind.STORAGE, StorageActor, kwargs)])
        return RayStorage(lambda: ray.get_actor(name, namespace=cluster.namespace), timeout_s=20)

    yield start
    for name in names:
        handle = ray.get_actor(name, namespace=cluster.namespace)
        ray.get(handle.stop.remote(), timeout=20)
        ray.kill(handle)


def _pid(storage: RayStorage) -> int:
    import ray

    found: int = ray.get(storage._call("pid"), timeout=20)
    return found


def _kill(storage: RayStorage) -> None:
    os.kill(_pid(storage), signal.SIGKILL)


async def test_an_acknowledged_row_is_known_to_the_next_life(launch: Launch) -> None:
    from storage.client import StorageClient

    backend = launch()
    client = StorageClient(backend, patience_s=60)
    await client.put_run(RUN, run_row())
    await client.put([agent("a"), *(regional(r, START, float(r)) for r in range(1, 15))])
    before = await client.grid_state()
    first = _pid(backend)
    _kill(backend)
    # The first answer after the kill is an error with unknown outcome; the client goes on.
    ack = await client.put([agent("a"), log(1)])
    assert (ack.accepted, ack.known) == (1, 1)
    assert _pid(backend) != first
    after = await client.grid_state()
    assert after.digest() == before.digest()
    assert after.version == before.version
    assert not after.intensity_gco2_per_kwh.flags.writeable


async def test_a_checkpoint_outlives_the_process_that_took_it(launch: Launch) -> None:
    from storage.client import StorageClient

    backend = launch()
    client = StorageClient(backend, patience_s=60)
    first, second = (Checkpoint(RUN, "orchestrator", n, bytes([n]) * 500_000) for n in (1, 2))
    await client.put([run_record(), agent("a")], first)
    _kill(backend)
    assert await client.checkpoint(RUN, "orchestrator") == first
    # In a thread, as agents do it: they have no event loop.
    await asyncio.to_thread(client.put_sync, [agent("b")], second)
    _kill(backend)
    assert await client.checkpoint(RUN, "orchestrator") == second
    assert await client.checkpoint(RUN, "north") is None


async def test_our_errors_cross_processes_as_themselves(launch: Launch) -> None:
    backend = launch()
    await backend.put([run_record(), agent("a")])
    with pytest.raises(RecordConflict, match="higher version") as caught:
        await backend.put([agent("a", node="elsewhere")])
    assert caught.value.details["table"] == "agents"
    with pytest.raises(RecordConflict):
        backend.put_blocking([agent("a", node="elsewhere")])
    assert backend.put_blocking([agent("a")]).known == 1


async def test_an_actor_that_is_not_there_is_unavailable_not_a_riddle(cluster: Cluster) -> None:
    import ray

    from storage.actor import RayStorage

    nobody = RayStorage(lambda: ray.get_actor("nobody", namespace=cluster.namespace))
    with pytest.raises(AgentUnavailable, match="no storage actor"):
        await nobody.put([log(1)])


async def test_health_answers_while_storage_is_busy(launch: Launch) -> None:
    import ray

    backend = launch()
    await backend.put([run_record()])
    big = [log(n) for n in range(20_000)]
    busy = asyncio.ensure_future(backend.put(big))
    await asyncio.sleep(0.2)
    started = time.monotonic()
    node, pid = ray.get(backend._call("ping"), timeout=10)
    waited = time.monotonic() - started
    assert node
    assert pid
    assert waited < 5
    assert (await busy).accepted == 20_000


async def test_a_second_actor_waits_for_the_spool_and_then_takes_over(
    launch: Launch, cluster: Cluster, tmp_path: Path
) -> None:
    """The folder is held by this process; the actor gives up, is started again, and gets it."""
    from schema.clock import VirtualClock
    from storage.spool_file import SpoolSettings
    from storage.writer import SpoolWriter

    holder = SpoolWriter(tmp_path / "spool", VirtualClock(START), SpoolSettings(ballast_bytes=0))
    holder.open()
    holder.put([run_record(), agent("a")]).result(10)
    release = threading.Timer(6.0, holder.close)
    release.start()
    # It waits for one second a life, so it takes some lives until the holder has gone.
    backend = launch(lock_wait_s=1.0)
    release.join()
    assert (await backend.put([agent("a")])).known == 1


@pytest.mark.embedded
async def test_killed_while_it_drains_it_loses_and_doubles_nothing_in_supabase(
    launch: Launch, supabase_server: Any
) -> None:
    from storage.client import StorageClient
    from storage.lane import DrainSettings
    from storage.ports import equal

    run = str(uuid.uuid4())
    backend = launch(
        store="storage.supabase_store:from_state_file",
        store_args={"path": str(supabase_server.endpoint.state_file)},
        drain=DrainSettings(batch_rows=100, start_rows=100),
    )
    client = StorageClient(backend, patience_s=90)
    await client.put_run(run, run_row())
    await client.put([agent("a", run)])
    acked = 0
    for kill in range(3):
        rows = [log(kill * 4000 + n, run) for n in range(4000)]
        rows += [message(kill * 500 + n, run) for n in range(500)]
        acked += (await client.put(rows)).accepted
        depth = (await client.status())["depth"]
        assert isinstance(depth, int)
        assert depth > 0  # still at work when it dies
        _kill(backend)
    await client.put([log(99_999, run)])
    status = await client.barrier(120)
    assert (status.depth, status.dead) == (0, 0)
    mine = equal("run_id", run)
    assert acked == 3 * 4500
    assert await client.count("api_logs", [mine]) == 3 * 4000 + 1
    assert await client.count("agent_negotiations", [mine]) == 3 * 500


async def test_an_outage_of_the_database_outlives_a_restart_and_ends_by_the_runs_clock(
    launch: Launch,
) -> None:
    from storage.client import StorageClient
    from storage.outages import Outage, StoreFault

    hour = timedelta(hours=1)
    away = Outage(START + hour, START + 2 * hour, StoreFault.REFUSE)
    backend = launch(outages=(away,))
    client = StorageClient(backend, patience_s=60)
    await client.put_run(RUN, run_row())
    await client.barrier(20)
    await client.set_clock_at(RUN, START + hour)
    await client.put([agent("a"), *(message(n) for n in range(20))])
    _kill(backend)
    # The run's own row with its clock, the agent, 20 messages.
    assert (await client.status())["depth"] == 22
    with pytest.raises(StorageUnavailable, match="22 rows are still on their way"):
        await client.barrier(1)
    await client.set_clock_at(RUN, START + 2 * hour)
    assert (await client.barrier(20)).depth == 0
    assert await client.count("agent_negotiations") == 20
