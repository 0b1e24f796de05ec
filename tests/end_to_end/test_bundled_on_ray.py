"""All bundled scenarios through Ray, and windy-night in any number of shards."""

from __future__ import annotations

import orjson
import pytest
from replay_world import World

from scenarios.loader import bundled, find

pytestmark = [
    pytest.mark.ray,
    pytest.mark.embedded,
    pytest.mark.long,
    pytest.mark.timeout(1200),
]
#: windy-night has tests of its own.
OTHERS = [name for name in bundled() if name != "windy-night"]


@pytest.mark.parametrize("name", OTHERS)
def test_a_bundled_scenario_decides_on_ray_as_committed(name: str, world: World) -> None:
    outcome = world.run("replay", name, "--json").json()
    expected = orjson.loads((find(name) / "expected.json").read_bytes())
    assert outcome["digest"] == expected["digest"]
    assert outcome["workloads"] == expected["workloads"]
    report = world.run("inspect", "audit", "--run", outcome["run_id"], "--json").json()
    assert report["violations"] == []


def test_shards_are_processes_of_their_own_and_change_nothing(world: World) -> None:
    digests = set()
    for shards in (1, 2, 4):
        outcome = world.run(
            "replay", "windy-night", "--seed", "7", "--shards", str(shards), "--json"
        ).json()
        digests.add(outcome["digest"])
        assert len({part["pid"] for part in outcome["shards"]}) == 3 * shards
        assert all(part["workloads"] > 0 for part in outcome["shards"])
    assert len(digests) == 1
