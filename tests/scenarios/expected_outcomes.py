"""What of a bundled scenario's outcome is committed, and how a replay is held against it.

After a deliberate change of a scenario or of the market, write the outcomes anew with
``GRIDPACT_TEST_WRITE_OUTCOMES=1 pytest tests/scenarios`` (``-m ''`` for the long ones too) and read
the diff.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import orjson

from scenarios.loader import find

WRITE = os.environ.get("GRIDPACT_TEST_WRITE_OUTCOMES") == "1"

#: Lumpiness sets what can be reached: about 10 % at 200 workloads, 5 % from 1,000 on; see
#: docs/explanation/market.md.
LARGE = 1000
GAP_SMALL, GAP_LARGE = 0.10, 0.05


def expectation(name: str) -> Path:
    """Where a bundled scenario's outcome is committed."""
    return find(name) / "expected.json"


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


def hold_against_the_committed_outcome(name: str, replayed: Any) -> None:
    """Check that a replay misses nothing, has a small gap, audits clean, and ends as committed."""
    found = essence(replayed.outcome)
    if WRITE:
        expectation(name).write_bytes(orjson.dumps(found, option=orjson.OPT_INDENT_2) + b"\n")
    assert found["workloads"]["missed_deadlines"] == 0
    talk = found["negotiation"]
    bar = GAP_LARGE if talk["largest_workloads"] >= LARGE else GAP_SMALL
    assert talk["largest_gap"] <= bar
    assert replayed.audit().violations == ()
    assert found == orjson.loads(expectation(name).read_bytes())
