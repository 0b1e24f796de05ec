"""Impossible workloads are refused with the field, the value and what is allowed."""

from __future__ import annotations

import math
from typing import Any

import pytest
from pydantic import ValidationError

from schema.workloads import Workload

GOOD: dict[str, Any] = {
    "workload_name": "train-1",
    "power_kw": 5.0,
    "duration_min": 90,
    "earliest_start": "2026-01-01T00:10:00Z",
    "deadline": "2026-01-01T02:20:00Z",
    "allowed_regions": [13, 1],
}


def test_times_are_rounded_inwards_and_durations_up() -> None:
    # 00:30 to 02:00 are exactly the three half hours that 90 minutes need.
    workload = Workload.model_validate(GOOD)
    assert workload.periods == 3
    assert workload.home == 13


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        pytest.param({"deadline": "2026-01-01T00:00:00Z"}, "not after earliest_start", id="order"),
        pytest.param({"duration_min": 91}, "needs 4 whole half hours", id="longer-than-window"),
        pytest.param({"power_kw": 0}, "greater than 0", id="zero-power"),
        pytest.param({"power_kw": math.nan}, "finite", id="nan-power"),
        pytest.param({"allowed_regions": [15]}, "less than or equal to 14", id="aggregate-area"),
        pytest.param({"allowed_regions": []}, "at least 1", id="nowhere"),
        pytest.param({"allowed_regions": [2, 2]}, "twice", id="region-twice"),
        pytest.param({"home_region_id": 5}, "not among allowed_regions", id="home-not-allowed"),
        pytest.param({"earliest_start": "2026-01-01T00:10:00"}, "timezone", id="naive-instant"),
        pytest.param({"powr_kw": 1}, "not permitted", id="unknown-field"),
    ],
)
def test_an_impossible_workload_is_refused(change: dict[str, Any], reason: str) -> None:
    with pytest.raises(ValidationError, match=reason):
        Workload.model_validate({**GOOD, **change})
