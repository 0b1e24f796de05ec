"""The fetcher's Ray shell: it polls, orders, and goes on after its process was killed."""

from __future__ import annotations

import os
import signal
import time
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from scenarios.loader import load

if TYPE_CHECKING:
    from agents.supervisor import Cluster

RUN = "00000000-0000-0000-0000-00000000f00d"
SCENARIO, SEED = "beckn-window-rush", 7
STORAGE, FETCHER = "fetcher-test-storage", "fetcher-test-beckn"


def answered(call: Any) -> Any:
    import ray

    return ray.get(call(), timeout=60)


def patiently(call: Any) -> Any:
    """Ask a restarted actor: the first call may find it away."""
    import ray

    for _ in range(20):
        try:
            return ray.get(call(), timeout=60)
        except ray.exceptions.RayActorError:
            time.sleep(0.5)
    pytest.fail("the actor did not come back within 10 s")


@pytest.mark.ray
@pytest.mark.timeout(180)
def test_a_killed_fetcher_repeats_nothing_and_forgets_no_booking(
    cluster: Cluster, tmp_path: Path
) -> None:
    import ray

    from agents.supervisor import ActorSpec
    from fetchers.actor import FetcherActor, TransportSpec
    from schema.orders import OrderOutcome, WindowOrder
    from schema.periods import HALF_HOUR
    from schema.rows import ScenarioRunRow
    from schema.rows.system import AgentKind, RunKind
    from storage.actor import StorageActor

    scenario = load(SCENARIO, SEED)
    now: datetime = scenario.start
    cluster.launch(
        [
            ActorSpec(
                STORAGE,
                AgentKind.STORAGE,
                StorageActor,
                {"folder": str(tmp_path / "spool"), "store": "storage.memory:MemoryStore"},
            ),
            ActorSpec(
                FETCHER,
                AgentKind.FETCHER,
                FetcherActor,
                {
                    "source": "beckn",
                    "base_url": "https://net.example/api",
                    "run_id": RUN,
                    "storage_name": STORAGE,
                    "namespace": cluster.namespace,
                    "seed": SEED,
                    "interval_s": scenario.tick.total_seconds(),
                    "state_folder": str(tmp_path / "state"),
                    "replay_from": now.isoformat(),
                    "transport": TransportSpec(
                        "scenarios.transport:replay_transport",
                        {"scenario": SCENARIO, "seed": SEED},
                    ),
                },
            ),
        ]
    )
    storage, fetcher = cluster.handle(STORAGE), cluster.handle(FETCHER)
    answered(lambda: storage.put_run.remote(RUN, ScenarioRunRow(kind=RunKind.REPLAY)))
    report = answered(lambda: fetcher.poll.remote(now))
    assert report.rows_by_table["compute_windows"] > 0

    state = answered(lambda: storage.grid_state.remote(RUN, as_of=now, origin=now))
    window = next(
        one for one in state.windows if one.state == "offered" and one.price_per_kwh is not None
    )
    order = WindowOrder(
        bpp_id=window.bpp_id,
        item_id=window.item_id,
        starts_at=window.starts_at,
        ends_at=window.ends_at,
        organisation="acme",
        load_kw=(window.capacity_kw / 2,) * ((window.ends_at - window.starts_at) // HALF_HOUR),
        price_per_kwh=window.price_per_kwh or 0.0,
        capacity_kw=window.capacity_kw,
        decided_at=now,
    )
    result = answered(lambda: fetcher.order.remote(order))
    assert result.outcome in set(OrderOutcome)

    (beat,) = cluster.heartbeats([FETCHER])
    os.kill(beat.pid, signal.SIGKILL)
    assert patiently(lambda: fetcher.poll.remote(now)) == report
    assert patiently(lambda: fetcher.order.remote(order)) == result
    later = answered(lambda: fetcher.poll.remote(now + scenario.tick))
    assert (later.requests, later.conflicts) == (1, 0)
    (again,) = cluster.heartbeats([FETCHER])
    assert again.pid != beat.pid
    for handle in (fetcher, storage):
        answered(handle.stop.remote)
        ray.kill(handle)
