"""``summer-solar-noon``: prices below zero, and a market that can handle them."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from expected_outcomes import hold_against_the_committed_outcome

Replayer = Callable[..., Any]
NAME = "summer-solar-noon"
SATURDAY = datetime(2026, 6, 20, tzinfo=UTC)
DAY, HALF_HOUR = timedelta(days=1), timedelta(minutes=30)

pytestmark = [pytest.mark.long, pytest.mark.timeout(300)]


@pytest.fixture(scope="module")
def replayed(replay_locally: Replayer) -> Any:
    return replay_locally(NAME)


@pytest.fixture(scope="module")
def index(replayed: Any) -> dict[datetime, float]:
    """Market index by half hour, GBP/MWh."""
    return {
        _instant(row["valid_from"]): row["price_gbp_per_mwh"]
        for row in replayed.tables["wholesale_prices"]
        if row["market"] == "APXMIDP"
    }


def test_it_ends_as_committed(replayed: Any) -> None:
    hold_against_the_committed_outcome(NAME, replayed)


@pytest.mark.parametrize("day", [SATURDAY, SATURDAY + DAY], ids=["saturday", "sunday"])
def test_prices_are_below_zero_around_noon_as_much_as_real_ones_are(
    index: dict[datetime, float], day: datetime
) -> None:
    # One real Sunday (20 September 2026) had 18 of 48 half hours below zero. Of the 210 negative
    # imbalance prices of 2016-2019 one in twenty is below -71, one in four below -64.
    prices = {at: price for at, price in index.items() if day <= at < day + DAY}
    below = [at for at, price in prices.items() if price < 0]
    assert 10 <= len(below) <= 24
    assert -71 <= min(prices.values()) <= -30
    assert {day + timedelta(hours=hour) for hour in (11, 12, 13)} <= set(below)
    assert prices[day + timedelta(hours=19)] > 0


def test_negative_values_stand_in_the_priced_tables(replayed: Any) -> None:
    settled = [row for row in replayed.tables["agent_negotiations"] if row["cost_gbp"] is not None]
    negative = [row for row in settled if _least(row["content"]["grid_q"]) < 0]
    # Each conversation but the last, late on Sunday afternoon, looks at a noon below zero.
    assert len(negative) == len(settled) - 1
    assert all(_least(row["content"]["supply_q"]) < 0 for row in negative)
    assert all(_least(row["content"]["mu_q"]) >= 0 for row in settled)


def test_the_market_proves_a_bound_below_zero(replayed: Any) -> None:
    below = [
        row
        for row in replayed.tables["agent_negotiations"]
        if row["cost_gbp"] is not None and row["cost_gbp"] < 0
    ]
    assert below
    for row in below:
        assert row["bound_gbp"] <= row["cost_gbp"]
        assert row["gap"] >= 0


def test_work_is_paid_to_run_at_noon(replayed: Any, index: dict[datetime, float]) -> None:
    paid = [
        row
        for row in replayed.tables["agent_negotiations"]
        if row["performative"] == "accept-proposal" and row["energy_cost_gbp"] < 0
    ]
    assert len(paid) > 100
    negative = {at for at, price in index.items() if price < 0}
    ran, everything = _energy_at(_standing(replayed), negative)
    baseline, same = _energy_at(_baselines(replayed), negative)
    assert everything == pytest.approx(same)
    # A third of the half hours of the replay are negative; at once and at home, work would take
    # them as they come.
    assert ran / everything > 1.3 * baseline / same


def _least(table: list[list[int]]) -> int:
    return min(min(row) for row in table)


def _instant(text: str) -> datetime:
    return datetime.fromisoformat(text)


Stretch = tuple[datetime, datetime, float]


def _standing(replayed: Any) -> list[Stretch]:
    """Stretches of the schedule that stands at the end: from, to, kW."""
    rows = replayed.tables["workload_schedules"]
    last: dict[str, int] = {}
    for row in rows:
        last[row["workload_id"]] = max(last.get(row["workload_id"], 0), row["revision"])
    return [
        (_instant(row["starts_at"]), _instant(row["ends_at"]), row["power_kw"])
        for row in rows
        if row["revision"] == last[row["workload_id"]]
    ]


def _baselines(replayed: Any) -> list[Stretch]:
    """Stretches of work that runs at once."""
    found = []
    for row in replayed.tables["compute_workloads"]:
        start = _instant(row["baseline_starts_at"])
        periods = -(-row["duration_min"] // 30)
        found.append((start, start + periods * HALF_HOUR, row["power_kw"]))
    return found


def _energy_at(stretches: list[Stretch], wanted: set[datetime]) -> tuple[float, float]:
    """Energy in some half hours, and in all."""
    chosen = total = 0.0
    for start, end, power_kw in stretches:
        at = start
        while at < end:
            total += power_kw / 2
            chosen += power_kw / 2 if at in wanted else 0.0
            at += HALF_HOUR
    return chosen, total
