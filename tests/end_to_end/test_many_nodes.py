"""Commands on a Ray cluster of two nodes that was there before them, and that loses one.

Both nodes are of this machine and on loopback: what is tried is where actors run and what the loss
of a node does, not a network.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path

import numpy as np
import psycopg
import pytest
from live_upstream import SITES, served
from plan_samples import GRID_HEADER, WORKLOAD_HEADER, write_samples
from process_kit import MINI, Launched, run
from ray_nodes import RayCluster, RayNode
from replay_world import World

pytestmark = [pytest.mark.ray, pytest.mark.long, pytest.mark.timeout(600)]

AGAIN = "a shard did not answer"
_NODE = re.compile(r"node (\w{8}): ([^;\n]+)")
_PROCESS = re.compile(r"(\d+) in (\d+)")


@pytest.fixture(scope="module")
def cluster(world: World) -> Iterator[RayCluster]:
    made = RayCluster(world.home)
    try:
        yield made
    finally:
        made.end()


@pytest.fixture
def second(cluster: RayCluster) -> Iterator[RayNode]:
    node = cluster.join()
    try:
        yield node
    finally:
        node.end()


def large_batch(folder: Path, count: int) -> tuple[str, str]:
    """Work of a day for two regions: two thirds of what fits, so that it takes rounds to agree."""
    draw = np.random.default_rng(5)
    instants = [f"2026-01-01T{half // 2:02d}:{30 * (half % 2):02d}Z" for half in range(48)]
    capacity = count / 48
    grid = [
        f"{region},{instant},{draw.integers(20, 300)},{draw.integers(10, 120)},{capacity}"
        for region in (1, 13)
        for instant in instants
    ]
    work = [
        f"w{number},{draw.integers(1, 9) / 10},{30 * draw.integers(1, 6)},2026-01-01T00:00Z,"
        f"2026-01-01T23:30Z,1;13,{draw.choice(['yes', 'no'])},,,"
        for number in range(count)
    ]
    return write_samples(
        folder,
        grid="\n".join([GRID_HEADER, *grid]) + "\n",
        workloads="\n".join([WORKLOAD_HEADER, *work]) + "\n",
    )


def processes_by_node(said: str) -> dict[str, dict[int, int]]:
    """Read from ``plan`` how many workloads which process of which node holds."""
    return {
        node: {int(pid): int(held) for held, pid in _PROCESS.findall(text)}
        for node, text in _NODE.findall(said)
    }


def kinds_by_node(world: World, run_id: str) -> dict[str, set[str]]:
    """Read from the database which kinds of actors ran on which node."""
    url = world.server.endpoint.database_url
    assert url is not None
    found: dict[str, set[str]] = {}
    with closing(psycopg.connect(url)) as connection:
        for node, kind in connection.execute(
            "select node, kind::text from agents where run_id = %s", [run_id]
        ):
            found.setdefault(node, set()).add(kind)
    return found


def test_the_nodes_listen_on_loopback_alone(cluster: RayCluster, second: RayNode) -> None:
    found = [*cluster.head.listeners, *second.listeners]
    # At least the head's GCS and a raylet of each.
    assert len(found) >= 3
    assert [item for item in found if not item.loopback] == []


def test_a_plan_survives_the_loss_of_a_node_in_its_midst(
    cluster: RayCluster, second: RayNode, world: World, tmp_path: Path
) -> None:
    grid, work = large_batch(tmp_path, 6_000)
    batch = ("plan", "--grid", grid, "--workloads", work, "--seed", "7", "--json")
    alone = run(*batch, home=world.home, folder=tmp_path).json()
    launched = Launched(
        [*batch, "--shards", "4", "--address", cluster.address], world.home, tmp_path, {}
    )
    launched.until("loaded shards", lambda: "shard processes on" in launched.said)
    held = processes_by_node(launched.said)
    lost = second.pids
    second.kill()
    finished = launched.wait()
    together = finished.json()
    assert together["digest"] == alone["digest"]
    assert together["workloads"] == 6_000
    # Two of the four shards on each node; those of the lost one were its processes.
    assert sorted(len(pids) for pids in held.values()) == [2, 2]
    assert sum(sum(pids.values()) for pids in held.values()) == 6_000
    assert [set(pids) <= lost for pids in held.values()].count(True) == 1
    # It was in the midst of the negotiation.
    assert AGAIN in finished.err


def test_a_replay_survives_the_loss_of_a_node_in_its_midst(
    cluster: RayCluster,
    second: RayNode,
    world: World,
    digest_in_process: Callable[..., str],
) -> None:
    launched = world.launch("replay", MINI, "--shards", "4", "--address", cluster.address, "--json")
    launched.until("a tick", lambda: "OrchestratorShell.tick" in cluster.head.titles)
    there, home = second.actors, cluster.head.actors
    second.kill()
    outcome = launched.wait().json()
    assert outcome["digest"] == digest_in_process(MINI)
    # What has files was with the driver, on the head's node; the work was on both, and moved.
    assert "ComputeShell" in there
    assert {"ComputeShell", "FetcherActor", "OrchestratorShell", "StorageActor"} <= home
    assert not there & {"FetcherActor", "OrchestratorShell", "StorageActor"}
    assert len(kinds_by_node(world, outcome["run_id"])) == 1


def test_a_live_iteration_runs_on_a_cluster_that_was_there(
    cluster: RayCluster, second: RayNode, world: World, tmp_path: Path
) -> None:
    sites = tmp_path / "sites.toml"
    sites.write_text(SITES)
    with served(world, "many-nodes") as upstream:
        answer = (
            world.launch(
                *("start", "--once", "--json", "--interval", "20", "--address", cluster.address),
                **upstream.environment,
                GRIDPACT_SITES=str(sites),
            )
            .wait(300)
            .json()
        )
    assert {figures["problem"] for figures in answer["sources"].values()} == {None}
    by_node = kinds_by_node(world, answer["run_id"])
    # The one compute agent is on the node that is not the driver's.
    assert sorted(by_node.values(), key=len) == [
        {"compute"},
        {"storage", "fetcher", "orchestrator"},
    ]


def test_a_wrong_token_is_told_as_such(cluster: RayCluster, tmp_path: Path) -> None:
    grid, work = write_samples(tmp_path)
    finished = run(
        *("plan", "--grid", grid, "--workloads", work, "--shards", "2"),
        *("--address", cluster.address),
        home=tmp_path / "other-home",
        folder=tmp_path,
    )
    assert finished.code == 2
    assert "token" in finished.err
    assert "Traceback" not in finished.err
