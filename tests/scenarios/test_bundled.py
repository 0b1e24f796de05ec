"""The bundled scenarios, replayed whole and held against their committed outcomes.

After a deliberate change of a scenario or of the market, write the outcomes anew with
``GRIDPACT_TEST_WRITE_OUTCOMES=1 pytest tests/scenarios/test_bundled.py`` and read the diff.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import orjson
import pytest

from scenarios.loader import bundled, find

Replayer = Callable[..., Any]

BUNDLED = (
    "windy-night",
    "winter-evening-peak",
    "scottish-surplus",
    "beckn-window-rush",
    "clock-change-autumn",
)
WRITE = os.environ.get("GRIDPACT_TEST_WRITE_OUTCOMES") == "1"

#: Lumpiness sets what can be reached: about 10 % at 200 workloads, 5 % from 1,000 on; see
#: docs/explanation/market.md.
LARGE = 1000
GAP_SMALL, GAP_LARGE = 0.10, 0.05


def essence(outcome: Any) -> dict[str, Any]:
    """What of an outcome is the same on every machine."""
    talk, carbon = outcome.negotiation, outcome.carbon
    return {
        "scenario": outcome.scenario,
        "seed": outcome.seed,
        "digest": outcome.digest,
        "ticks": outcome.ticks,
        "workloads": {
            "registered": outcome.workloads.registered,
            "awarded": outcome.workloads.awarded,
            "refused": outcome.workloads.refused,
            "missed_deadlines": outcome.workloads.missed_deadlines,
        },
        "negotiation": {
            "conversations": talk.conversations,
            "rounds": talk.rounds,
            "messages": talk.messages,
            "largest_workloads": talk.largest.workloads,
            "largest_gap": round(talk.largest.gap, 6),
            "worst_gap": round(talk.worst_gap, 6),
        },
        "carbon": {
            "baseline_kg": round(carbon.baseline_kg, 3),
            "scheduled_kg": round(carbon.scheduled_kg, 3),
            "avoided_pct": round(carbon.avoided_pct, 3),
            "rescored_kg": round(carbon.rescored_kg, 3),
        },
    }


def expectation(name: str) -> Path:
    return find(name) / "expected.json"


def test_the_five_scenarios_are_bundled() -> None:
    assert set(BUNDLED) <= set(bundled())


@pytest.mark.timeout(300)
@pytest.mark.parametrize("name", BUNDLED)
def test_a_bundled_scenario_ends_as_committed(name: str, replay_locally: Replayer) -> None:
    replayed = replay_locally(name)
    found = essence(replayed.outcome)
    if WRITE:
        expectation(name).write_bytes(orjson.dumps(found, option=orjson.OPT_INDENT_2) + b"\n")
    assert found["workloads"]["missed_deadlines"] == 0
    talk = found["negotiation"]
    bar = GAP_LARGE if talk["largest_workloads"] >= LARGE else GAP_SMALL
    assert talk["largest_gap"] <= bar
    assert replayed.audit().violations == ()
    assert found == orjson.loads(expectation(name).read_bytes())
