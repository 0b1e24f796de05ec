"""A replay in one process: what it decides, what it stores, and that it does so again."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, date, datetime
from pathlib import Path
from typing import Any

import pytest

from scenarios.importer import ImportPlan, import_scenario

Replayer = Callable[..., Any]

#: Rows that a run of the mini scenario must leave: three sources, four windows, 60 workloads.
FED = (
    "scenario_runs",
    "agents",
    "grid_zones",
    "compute_windows",
    "offers",
    "beckn_transactions",
    "compute_assets",
    "compute_workloads",
    "agent_negotiations",
    "workload_schedules",
    "grid_snapshots",
    "carbon_intensity_national",
    "carbon_intensity_regional",
    "generation_mix_national",
    "generation_mix_regional",
    "demand_forecast_national",
    "demand_actual_national",
    "demand_regional",
    "wholesale_prices",
    "flexibility_prices",
    "api_logs",
)


@pytest.fixture(scope="module")
def replayed(replay_locally: Replayer) -> Any:
    return replay_locally()


def test_a_replay_awards_everything_the_planted_schedule_can_hold(replayed: Any) -> None:
    work = replayed.outcome.workloads
    assert (work.registered, work.awarded, work.missed_deadlines) == (60, 60, 0)
    assert replayed.outcome.ticks == 12


def test_a_replay_feeds_every_table(replayed: Any) -> None:
    empty = [name for name in FED if not replayed.tables.get(name)]
    assert empty == []


def test_the_log_of_a_replay_explains_its_schedule(replayed: Any) -> None:
    report = replayed.audit()
    assert report.violations == ()
    assert report.awarded == 60


def test_no_message_holds_a_private_delay_cost(replayed: Any) -> None:
    for row in replayed.tables["agent_negotiations"]:
        words = repr(row).lower()
        assert "delay" not in words
        assert "omega" not in words
    assert all(
        row["delay_cost_gbp_per_kwh_h"] is None for row in replayed.tables["compute_workloads"]
    )


def test_a_refused_window_is_logged_and_nothing_draws_from_it(replayed: Any) -> None:
    failures = [
        row
        for row in replayed.tables["agent_negotiations"]
        if row["performative"] == "failure" and "item-mini-2" in str(row["content"])
    ]
    assert failures, "the provider refuses item-mini-2 in this scenario"
    latest: dict[tuple[str, str], int] = {}
    for row in replayed.tables["workload_schedules"]:
        key = (row["agent_name"], row["workload_name"])
        latest[key] = max(latest.get(key, 0), row["revision"])
    standing = [
        row
        for row in replayed.tables["workload_schedules"]
        if row["revision"] == latest[row["agent_name"], row["workload_name"]]
    ]
    assert not [row for row in standing if row["window_item_id"] == "item-mini-2"]
    assert [row for row in standing if row["window_item_id"] == "item-mini-1"]


def test_carbon_is_avoided_and_valued_again_on_what_was_published_later(replayed: Any) -> None:
    carbon = replayed.outcome.carbon
    assert 0 < carbon.scheduled_kg < carbon.baseline_kg
    assert carbon.avoided_kg == pytest.approx(carbon.baseline_kg - carbon.scheduled_kg)
    # Twelve half hours of the run have a national outturn that differs from its forecast.
    assert carbon.rescored_kg > 0
    assert carbon.rescored_kg != carbon.scheduled_kg


@pytest.mark.parametrize(
    "shards",
    [*(pytest.param(shards, marks=pytest.mark.long) for shards in (1, 2, 8)), 4],
)
def test_the_same_seed_decides_the_same_for_any_number_of_shards(
    replayed: Any, replay_locally: Replayer, shards: int
) -> None:
    assert replay_locally(shards=shards).outcome.digest == replayed.outcome.digest


def test_another_seed_decides_otherwise(replayed: Any, replay_locally: Replayer) -> None:
    assert replayed.outcome.seed != 4
    assert replay_locally(seed=4).outcome.digest != replayed.outcome.digest


def test_a_scenario_of_real_figures_replays_and_audits_clean(
    shared_data: Path, tmp_path: Path, replay_locally: Replayer
) -> None:
    import_scenario(
        ImportPlan(
            name="real-2023",
            out=tmp_path / "real",
            start=datetime(2023, 3, 9, 6, tzinfo=UTC),
            national=shared_data / "grid" / "neso_2023_national_intensity.csv",
            prices=shared_data / "grid" / "3yp_sspsbpniv.csv",
            prices_from=date(2018, 3, 1),
            prices_redate_to=date(2023, 3, 1),
            workload_trace=shared_data / "traces" / "gaia_azure-100k.csv",
            workloads=300,
        )
    )
    replayed = replay_locally(str(tmp_path / "real"))
    assert replayed.audit().violations == ()
    work = replayed.outcome.workloads
    assert (work.registered, work.missed_deadlines) == (300, 0)
    assert replayed.outcome.carbon.avoided_kg > 0
