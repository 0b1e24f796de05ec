"""Bundled scenarios, replayed whole and held against their committed outcomes.

Those with a point to make have a file of their own, which checks it on the same replay.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from expected_outcomes import expectation, hold_against_the_committed_outcome

from scenarios.loader import bundled

Replayer = Callable[..., Any]

PLAIN = (
    "windy-night",
    "winter-evening-peak",
    "scottish-surplus",
    "beckn-window-rush",
    "clock-change-autumn",
)
ELSEWHERE = (
    "calm-week",
    "clock-change-spring",
    "fleet-100k",
    "source-outage",
    "summer-solar-noon",
    "supabase-outage",
)


def test_the_scenarios_are_bundled_each_with_its_outcome() -> None:
    assert {*PLAIN, *ELSEWHERE} <= set(bundled())
    assert [name for name in (*PLAIN, *ELSEWHERE) if not expectation(name).is_file()] == []


#: Three stand for all in the suite; every one is replayed in the long one.
LONG = {"scottish-surplus", "clock-change-autumn"}


@pytest.mark.timeout(300)
@pytest.mark.parametrize(
    "name",
    [pytest.param(name, marks=[pytest.mark.long] if name in LONG else []) for name in PLAIN],
)
def test_a_bundled_scenario_ends_as_committed(name: str, replay_locally: Replayer) -> None:
    hold_against_the_committed_outcome(name, replay_locally(name))
