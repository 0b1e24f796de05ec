"""Actors that are launched: where they are, and whose names they may bear."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from schema.errors import ConfigurationError
from schema.rows.system import AgentKind

if TYPE_CHECKING:
    from agents.supervisor import ActorSpec, Cluster

pytestmark = [pytest.mark.ray, pytest.mark.long, pytest.mark.timeout(120)]


def spec_of(name: str, kind: AgentKind = AgentKind.SHARD) -> ActorSpec:
    from agents.shards_on_ray import FleetShard
    from agents.supervisor import ActorSpec

    return ActorSpec(name, kind, FleetShard, {"groups": (0,)})


def test_on_one_node_every_kind_of_actor_runs_there(cluster: Cluster) -> None:
    import ray

    specs = [spec_of(f"launched-{kind}", kind) for kind in (AgentKind.STORAGE, AgentKind.SHARD)]
    try:
        beats = cluster.launch(specs)
        assert {beat.node for beat in beats} == {ray.get_runtime_context().get_node_id()}
    finally:
        cluster.retire([spec.name for spec in specs])


def test_a_name_that_is_taken_is_told_with_what_to_do(cluster: Cluster, tmp_path: Path) -> None:
    from agents.supervisor import Cluster

    spec = spec_of("taken")
    other = Cluster(address=None, temp_parent=tmp_path, namespace=cluster.namespace)
    cluster.launch([spec])
    try:
        with pytest.raises(ConfigurationError, match="an actor 'taken' in the namespace"):
            other.launch([spec])
    finally:
        cluster.retire([spec.name])
