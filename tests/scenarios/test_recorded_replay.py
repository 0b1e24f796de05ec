"""A recorded scenario is replayed like any other."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from recording_world import World, record_once

from scenarios.loader import load


@pytest.mark.long
def test_a_recording_is_replayed_and_its_negotiations_audited(
    replay_locally: Callable[..., Any], tmp_path: Path
) -> None:
    windy = load("windy-night")
    world = World(windy, windy.start + timedelta(hours=6, minutes=12), tmp_path / "tape")
    made, _ = asyncio.run(record_once(world, workloads=12))
    replayed = replay_locally(str(world.folder))
    outcome = replayed.outcome
    assert (outcome.scenario, outcome.ticks) == ("tape", 48)
    assert outcome.workloads.registered == 12
    assert outcome.workloads.awarded > 0
    assert replayed.audit().violations == ()
    # Every half hour of the replay has the forecast that was recorded, none is made up.
    national = replayed.tables["carbon_intensity_national"]
    assert {row["quality"] for row in national} == {"published"}
    assert outcome.sources["carbon_intensity"].fallbacks == 0
    assert made.tables["national"].estimated == 0
