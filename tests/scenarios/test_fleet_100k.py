"""``fleet-100k``: what can be followed for two hundred jobs can be followed for each of 100,000."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from typing import Any

import pytest
from expected_outcomes import hold_against_the_committed_outcome

Replayer = Callable[..., Any]
NAME = "fleet-100k"
JOBS = 100_000

pytestmark = [pytest.mark.long, pytest.mark.timeout(900)]


@pytest.fixture(scope="module")
def replayed(replay_locally: Replayer) -> Any:
    return replay_locally(NAME)


def _said(replayed: Any, performative: str) -> list[dict[str, Any]]:
    return [
        row
        for row in replayed.tables["agent_negotiations"]
        if row["performative"] == performative and row["workload_id"] is not None
    ]


def test_it_ends_as_committed(replayed: Any) -> None:
    hold_against_the_committed_outcome(NAME, replayed)


def test_every_job_has_its_first_proposal_in_the_log(replayed: Any) -> None:
    wishes = _said(replayed, "propose")
    assert len({row["workload_id"] for row in wishes}) == JOBS
    assert all(row["content"]["starts_at"] for row in wishes)


def test_every_job_has_a_slot_a_price_and_a_reason(replayed: Any) -> None:
    awards = _said(replayed, "accept-proposal")
    assert len({row["workload_id"] for row in awards}) == JOBS
    assert all(row["content"]["segments"] and row["content"]["why"] for row in awards)
    assert all(row["content"]["posted_price_q"] > 0 for row in awards)
    last = Counter(row["status"] for row in replayed.tables["compute_workloads"])
    assert sum(last[status] for status in ("awarded", "running", "completed")) == JOBS


def test_the_few_that_come_late_are_placed_beside_the_others(replayed: Any) -> None:
    # Two percent arrive at the third tick, three hours each: 01:00.
    late = {row["workload_id"] for row in _said(replayed, "propose") if _hour(row) == "T01"}
    assert 1_800 <= len(late) <= 2_200
    placed = {row["workload_id"] for row in replayed.tables["workload_schedules"]}
    assert late <= placed


def _hour(row: dict[str, Any]) -> str:
    return str(row["sent_at"])[10:13].replace(" ", "T")
