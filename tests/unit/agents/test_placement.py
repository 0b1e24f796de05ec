"""Who runs where: files pin an actor to the driver's node, work is spread over the others."""

from __future__ import annotations

import pytest

from agents.placement import Node, Place, Placement, alive
from schema.rows.system import AgentKind

HOME = "b"


def nodes_of(**cpus: float) -> list[Node]:
    return [Node(name, count) for name, count in cpus.items()]


def places(placement: Placement, count: int, kind: AgentKind = AgentKind.SHARD) -> str:
    return "".join(placement.place(kind).node_id for _ in range(count))


def test_shards_go_round_the_nodes_and_the_drivers_comes_last() -> None:
    # By name, the driver's node b after the others: a c b, a c b, a c.
    assert places(Placement(HOME, nodes_of(c=2, b=2, a=2)), 8) == "acbacbac"


def test_compute_agents_and_shards_share_one_turn() -> None:
    placement = Placement(HOME, nodes_of(a=1, b=1))
    kinds = [AgentKind.COMPUTE, AgentKind.SHARD, AgentKind.COMPUTE, AgentKind.SHARD]
    assert [placement.place(kind).node_id for kind in kinds] == ["a", "b", "a", "b"]


@pytest.mark.parametrize("kind", [AgentKind.COMPUTE, AgentKind.SHARD])
def test_what_is_spread_may_move_when_its_node_is_lost(kind: AgentKind) -> None:
    # It asks for a trifle, or Ray would not heed the wish for a node.
    wish = Place("a", may_move=True, cpus=0.001)
    assert Placement(HOME, nodes_of(a=1, b=1)).place(kind) == wish


@pytest.mark.parametrize("kind", [AgentKind.STORAGE, AgentKind.FETCHER, AgentKind.ORCHESTRATOR])
def test_what_has_files_or_talks_to_those_stays_on_the_drivers_node(kind: AgentKind) -> None:
    placement = Placement(HOME, nodes_of(a=1, b=1))
    assert [placement.place(kind) for _ in range(3)] == [Place(HOME, may_move=False, cpus=0.0)] * 3


def test_actors_that_stay_use_up_no_turn() -> None:
    placement = Placement(HOME, nodes_of(a=1, b=1))
    placement.place(AgentKind.STORAGE)
    placement.place(AgentKind.ORCHESTRATOR)
    assert places(placement, 2) == "ab"


def test_a_node_without_cores_gets_no_shards() -> None:
    # A head that was started with --num-cpus=0 is to be left alone, the driver's node or not.
    assert places(Placement(HOME, nodes_of(a=2, b=0, c=2)), 4) == "acac"


def test_where_no_node_has_cores_all_are_used_and_none_is_asked_for() -> None:
    placement = Placement(HOME, nodes_of(a=0, b=0))
    assert places(placement, 4) == "abab"
    assert placement.place(AgentKind.SHARD).cpus == 0.0


def test_one_node_takes_everything() -> None:
    assert places(Placement(HOME, nodes_of(b=2)), 3) == "bbb"


def test_dead_nodes_are_left_out_and_no_entry_for_cpus_means_none() -> None:
    told = [
        {"NodeID": "a", "Alive": True, "Resources": {"CPU": 4.0, "memory": 1e9}},
        {"NodeID": "b", "Alive": False, "Resources": {"CPU": 4.0}},
        {"NodeID": "c", "Alive": True, "Resources": {}},
    ]
    assert alive(told) == [Node("a", 4.0), Node("c", 0.0)]


def test_every_kind_of_actor_has_a_place() -> None:
    placement = Placement(HOME, nodes_of(b=1))
    assert {placement.place(kind).node_id for kind in AgentKind} == {HOME}
