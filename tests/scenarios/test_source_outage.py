"""``source-outage``: sources fail one after the other; what is made up says so and gives way."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any

import numpy as np
import pytest
from expected_outcomes import hold_against_the_committed_outcome

from scenarios.loader import load
from storage.grid_facts import FactRow, GridFacts, fold_rows
from storage.grid_prices import QualityCode
from storage.grid_state import GridState, view

Replayer = Callable[..., Any]
NAME = "source-outage"
START = datetime(2026, 11, 10, 6, tzinfo=UTC)
SEED = 1110
HALF_HOUR = timedelta(minutes=30)
#: Hours from the start in which each source fails.
CARBON, NESO, ELEXON, BECKN = (4, 16), (20, 25), (20, 28), (30, 37)
#: Silence after which figures are made up.
PATIENCE_H = 2

#: Table, and the columns that are its natural key but for the quality.
MADE_UP = {
    "carbon_intensity_national": ("valid_from",),
    "carbon_intensity_regional": ("valid_from", "region_id"),
    "wholesale_prices": ("valid_from", "market"),
}

pytestmark = [pytest.mark.long, pytest.mark.timeout(300)]


@pytest.fixture(scope="module")
def replayed(replay_locally: Replayer) -> Any:
    return replay_locally(NAME)


def hour(text: str) -> float:
    """Hours since the start of the replay."""
    return (datetime.fromisoformat(text) - START) / timedelta(hours=1)


def synthetic(replayed: Any, table: str) -> list[dict[str, Any]]:
    return [row for row in replayed.tables[table] if row["quality"] == "synthetic"]


def test_it_ends_as_committed(replayed: Any) -> None:
    hold_against_the_committed_outcome(NAME, replayed)


def test_every_source_fails_in_its_own_ways_and_only_in_its_own_time(replayed: Any) -> None:
    scenario = load(NAME)
    assert {(f.source.value, f.from_h, f.to_h) for f in scenario.file.faults} == {
        ("carbon_intensity", 4, 10),
        ("carbon_intensity", 10, 16),
        ("neso", 20, 25),
        ("elexon", 20, 22),
        ("elexon", 22, 24),
        ("elexon", 24, 28),
        ("beckn", 30, 34),
        ("beckn", 34, 37),
    }
    sound = {"ok", "not_yet_published"}
    failed: dict[str, set[str]] = {}
    for row in replayed.tables["api_logs"]:
        if row["outcome"] not in sound:
            failed.setdefault(row["source"], set()).add(row["outcome"])
            low, high = {
                "carbon_intensity": CARBON,
                "neso": NESO,
                "elexon": ELEXON,
                "beckn": BECKN,
            }[row["source"]]
            # A breaker that has opened may stay so for the last quarter of an hour.
            assert low <= hour(row["requested_at"]) <= high + 0.25
    assert failed == {
        "carbon_intensity": {"unavailable", "breaker_open"},
        "neso": {"timeout", "breaker_open"},
        "elexon": {"unavailable", "invalid_payload", "breaker_open"},
        "beckn": {"timeout", "invalid_payload", "breaker_open"},
    }


@pytest.mark.parametrize("table", MADE_UP)
def test_what_is_made_up_says_why_and_from_which_seed(replayed: Any, table: str) -> None:
    rows = synthetic(replayed, table)
    assert rows
    source = "elexon" if table == "wholesale_prices" else "carbon_intensity"
    low, high = ELEXON if source == "elexon" else CARBON
    for row in rows:
        assert row["seed"] == SEED
        assert row["reason"].startswith(f"{source} is out: no answer for ")
        assert row["source"] == source
        assert low + PATIENCE_H <= hour(row["retrieved_at"]) <= high


@pytest.mark.parametrize("table", MADE_UP)
def test_a_made_up_row_shares_no_key_with_a_real_one_and_has_one_in_the_end(
    replayed: Any, table: str
) -> None:
    key = MADE_UP[table]
    made_up = synthetic(replayed, table)
    real = [row for row in replayed.tables[table] if row["quality"] != "synthetic"]
    assert not {row["id"] for row in made_up} & {row["id"] for row in real}
    # Same half hour, published later: the source came back and covered all of it.
    covered = {tuple(row[name] for name in key) for row in real}
    assert [row for row in made_up if tuple(row[name] for name in key) not in covered] == []


def test_only_intensities_beyond_the_last_forecast_were_made_up(replayed: Any) -> None:
    # The last forecast was heard at hour 3.5, and its half hours reach to hour 51.5 or a little
    # more; at the last poll of the outage, hour 15.5, the horizon ends at hour 63.5.
    hours = sorted(hour(row["valid_from"]) for row in synthetic(replayed, _NATIONAL))
    assert hours[0] == pytest.approx(51.5)
    assert hours[-1] == pytest.approx(63.0)
    assert len(hours) == 24
    assert len(synthetic(replayed, _REGIONAL)) == 24 * 14


def test_decisions_made_on_made_up_figures_say_so_and_no_others(replayed: Any) -> None:
    flags: dict[str, tuple[float, set[bool]]] = {}
    for row in replayed.tables["agent_negotiations"]:
        _, seen = flags.setdefault(row["conversation_id"], (hour(row["sent_at"]), set()))
        seen.add(row["on_synthetic_data"])
    assert all(len(seen) == 1 for _, seen in flags.values())
    told = sorted(at for at, seen in flags.values() if seen == {True})
    quiet = sorted(at for at, seen in flags.values() if seen == {False})
    assert told == [10.0, 13.0]
    assert not [at for at in quiet if CARBON[0] + PATIENCE_H < at < CARBON[1]]
    # The first one after the source is back rests on its figures again.
    assert 16.0 in quiet


def test_some_award_rested_on_a_made_up_figure(replayed: Any) -> None:
    flagged = {
        row["conversation_id"]
        for row in replayed.tables["agent_negotiations"]
        if row["on_synthetic_data"]
    }
    made_up = {row["valid_from"] for row in synthetic(replayed, _NATIONAL)}
    rows = [
        row
        for row in replayed.tables["workload_schedules"]
        if row["conversation_id"] in flagged and row["starts_at"] in made_up
    ]
    assert rows


def test_requests_that_led_to_made_up_figures_are_marked(replayed: Any) -> None:
    marked = [row for row in replayed.tables["api_logs"] if row["fallback"]]
    assert {row["source"] for row in marked} == {"carbon_intensity", "elexon"}
    assert replayed.outcome.sources["carbon_intensity"].fallbacks == 24 * 15
    assert replayed.outcome.sources["elexon"].fallbacks == len(
        synthetic(replayed, "wholesale_prices")
    )


def test_at_the_end_nothing_made_up_is_anybodys_latest_figure(replayed: Any) -> None:
    grid = _grid(replayed)
    for quality in (grid.intensity_quality, grid.national_quality, grid.price_quality):
        assert not np.any(quality == QualityCode.SYNTHETIC)
        assert not np.any(quality == QualityCode.NONE)
    # Nor was anything left that the sources published while they were out.
    ran = grid.national_actual_gco2_per_kwh[: 60 * 2]
    assert not np.isnan(ran).any()


def test_windows_that_cannot_be_ordered_are_not_drawn_from(replayed: Any) -> None:
    refused = {
        (row["item_id"], row["starts_at"])
        for row in replayed.tables["compute_windows"]
        if row["state"] == "refused"
    }
    failures = [
        row
        for row in replayed.tables["agent_negotiations"]
        if row["performative"] == "failure" and BECKN[0] <= hour(row["sent_at"]) < BECKN[1]
    ]
    assert refused
    assert failures
    last: dict[str, int] = {}
    for row in replayed.tables["workload_schedules"]:
        last[row["workload_id"]] = max(last.get(row["workload_id"], 0), row["revision"])
    drawn = {
        (row["window_item_id"], row["window_starts_at"])
        for row in replayed.tables["workload_schedules"]
        if row["revision"] == last[row["workload_id"]] and row["window_item_id"] is not None
    }
    assert drawn
    assert not drawn & refused


_NATIONAL, _REGIONAL = "carbon_intensity_national", "carbon_intensity_regional"


def _grid(replayed: Any) -> GridState:
    """The grid over the whole replay, from its rows alone, as a reader at its end sees it."""
    rows = [
        FactRow(table, row["id"], row["version"], row)
        for table in MADE_UP
        for row in replayed.tables[table]
    ]
    end = START + timedelta(hours=60)
    facts = fold_rows(GridFacts(), rows)
    return view(facts, "", end, origin=START, periods=(end - START) // HALF_HOUR + 96)
