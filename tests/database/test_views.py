"""The four views on small data whose answers are worked out by hand."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

import psycopg
import pytest
from database_kit import (
    HALF_HOUR,
    NOON,
    acting_as,
    changed,
    new_run,
    put,
    rows_of,
    run_row,
    sample_rows,
)
from psycopg.rows import dict_row

from schema import rows as r
from schema.rows.base import Row

pytestmark = pytest.mark.embedded

Answer = dict[str, Any]


def ask(connection: psycopg.Connection, view: str, run_id: str, **where: Any) -> list[Answer]:
    """Refresh as the service role does, and read one run's rows of a view."""
    with acting_as(connection, "service_role"):
        connection.execute("select public.refresh_views()")
    query = f"select * from public.{view} where run_id = %s"
    for column in where:
        query += f" and {column} = %s"
    with connection.cursor(row_factory=dict_row) as cursor:
        return cursor.execute(query.encode(), (run_id, *where.values())).fetchall()


def at(half_hours: float) -> datetime:
    return NOON + half_hours * HALF_HOUR


def regional(
    figures: Sequence[float | None], region_id: int = 1, first: int = 0, **more: Any
) -> list[Row]:
    """Give forecasts of consecutive half hours from noon on; None leaves a gap."""
    return [
        r.CarbonIntensityRegionalRow(
            source="carbon_intensity",
            region_id=region_id,
            valid_from=at(first + n),
            valid_to=at(first + n + 1),
            forecast_gco2_per_kwh=figure,
            **more,
        )
        for n, figure in enumerate(figures)
        if figure is not None
    ]


def prices(
    figures: Sequence[float], start: datetime = NOON, market: str = "APXMIDP", **more: Any
) -> list[Row]:
    return [
        r.WholesalePriceRow(
            **{
                "source": "elexon",
                "market": market,
                "valid_from": start + n * HALF_HOUR,
                "valid_to": start + (n + 1) * HALF_HOUR,
                "price_gbp_per_mwh": figure,
                "volume_mwh": 100.0,
                **more,
            }
        )
        for n, figure in enumerate(figures)
    ]


def national(start: datetime, quality: str = "published", **figures: float) -> Row:
    return r.CarbonIntensityNationalRow(
        source="carbon_intensity",
        valid_from=start,
        valid_to=start + HALF_HOUR,
        quality=quality,
        **figures,
    )


ACME = r.AgentRow(agent_name="acme", kind="compute")


def site(capacity_kw: float, region_id: int = 1, **more: Any) -> Row:
    return r.ComputeAssetRow(
        agent_name="acme",
        asset_name=f"site-{region_id}",
        region_id=region_id,
        capacity_kw=capacity_kw,
        **more,
    )


def workload(name: str = "train", **more: Any) -> Row:
    base = {
        "agent_name": "acme",
        "workload_name": name,
        "power_kw": 10,
        "duration_min": 60,
        "earliest_start": NOON,
        "deadline": at(12),
        "allowed_regions": [1],
        "status": "awarded",
    }
    return r.ComputeWorkloadRow(**{**base, **more})


def segment(name: str = "train", start: float = 0, half_hours: int = 2, **more: Any) -> Row:
    base = {
        "agent_name": "acme",
        "workload_name": name,
        "revision": 0,
        "conversation_id": "c",
        "starts_at": at(start),
        "ends_at": at(start + half_hours),
        "region_id": 1,
        "asset_agent_name": "acme",
        "asset_name": "site-1",
        "power_kw": 10,
        "energy_kwh": 5 * half_hours,
        "gco2_forecast": 1,
        "energy_cost_gbp": 1,
    }
    return r.WorkloadScheduleRow(**{**base, **more})


# current_grid_status ----------------------------------------------------------------------


def test_current_status_is_that_of_the_runs_own_clock(
    schema: psycopg.Connection, run_id: str
) -> None:
    now = NOON + timedelta(minutes=10)
    put(
        schema,
        run_id,
        run_row(now),
        national(at(-2), forecast_gco2_per_kwh=90, actual_gco2_per_kwh=95),
        national(at(-1), forecast_gco2_per_kwh=100, actual_gco2_per_kwh=101),
        national(at(0), forecast_gco2_per_kwh=110),
        national(at(1), forecast_gco2_per_kwh=120, actual_gco2_per_kwh=999),
        *prices([50, 60, 70], start=at(-2)),
        *prices([1.0], start=at(0), market="N2EXMIDP", volume_mwh=0.0),
    )
    [status] = ask(schema, "current_grid_status", run_id)
    assert status["now_at"] == now
    assert status["valid_from"] == at(0)
    assert status["forecast_gco2_per_kwh"] == 110
    # The half hour after noon has an outturn, but not yet at ten past.
    assert (status["actual_gco2_per_kwh"], status["actual_valid_from"]) == (101, at(-1))
    assert (status["price_gbp_per_mwh"], status["price_valid_from"]) == (70, at(0))


def test_a_real_figure_stands_before_an_estimate_and_a_made_up_one(
    schema: psycopg.Connection, run_id: str
) -> None:
    put(schema, run_id, run_row(), national(at(0), "synthetic", forecast_gco2_per_kwh=1))
    [status] = ask(schema, "current_grid_status", run_id)
    assert (status["forecast_gco2_per_kwh"], status["intensity_quality"]) == (1, "synthetic")
    put(schema, run_id, national(at(0), "estimated", forecast_gco2_per_kwh=2))
    [status] = ask(schema, "current_grid_status", run_id)
    assert (status["forecast_gco2_per_kwh"], status["intensity_quality"]) == (2, "estimated")
    put(schema, run_id, national(at(0), forecast_gco2_per_kwh=3))
    [status] = ask(schema, "current_grid_status", run_id)
    assert (status["forecast_gco2_per_kwh"], status["intensity_quality"]) == (3, "published")


def test_the_newest_mix_is_added_up(schema: psycopg.Connection, run_id: str) -> None:
    mix = {"wind": 40.0, "solar": 10.0, "hydro": 2.0, "nuclear": 15.0, "gas": 30.0, "coal": 3.0}
    row = sample_rows()["generation_mix_national"]
    put(
        schema,
        run_id,
        run_row(),
        *(changed(row, fuel=fuel, generation_pct=pct, generation_mw=None)
          for fuel, pct in mix.items()),
        changed(row, fuel="wind", generation_pct=99, valid_from=at(-1), valid_to=at(0)),
    )  # fmt: skip
    [status] = ask(schema, "current_grid_status", run_id)
    # 40 + 10 + 2, and nuclear's 15 on top.
    assert (status["renewable_pct"], status["zero_carbon_pct"]) == (52, 67)
    assert status["generation_mix_pct"] == mix


def test_what_is_not_known_is_null_and_the_run_still_has_its_row(
    schema: psycopg.Connection, run_id: str
) -> None:
    put(schema, run_id, run_row())
    [status] = ask(schema, "current_grid_status", run_id)
    assert {name for name, value in status.items() if value is not None} == {"run_id", "now_at"}


def test_demand_now_and_as_forecast(schema: psycopg.Connection, run_id: str) -> None:
    actual = sample_rows()["demand_actual_national"]
    forecast = sample_rows()["demand_forecast_national"]
    put(
        schema,
        run_id,
        run_row(),
        changed(actual, valid_from=at(-3), valid_to=at(-2), national_demand_mw=28000),
        changed(actual, valid_from=at(-2), valid_to=at(-1), national_demand_mw=28500),
        changed(forecast, product="older", issued_at=at(-48), demand_mw=1),
        changed(forecast, product="newer", issued_at=at(-24), demand_mw=30000),
    )
    [status] = ask(schema, "current_grid_status", run_id)
    assert (status["national_demand_mw"], status["demand_valid_from"]) == (28500, at(-2))
    assert (status["forecast_demand_mw"], status["forecast_product"]) == (30000, "newer")


# regional_compute_opportunities -----------------------------------------------------------

#: Eight half hours from noon. The best hour is the third and fourth: (40 + 20) / 2 = 30.
CARBON = [100.0, 80.0, 40.0, 20.0, 60.0, 60.0, 60.0, 70.0]


def best(
    connection: psycopg.Connection, run_id: str, objective: str = "carbon", hours: int = 1
) -> Answer | None:
    found = ask(
        connection,
        "regional_compute_opportunities",
        run_id,
        objective=objective,
        duration_hours=hours,
        region_id=1,
    )
    return found[0] if found else None


def test_the_best_hours_by_carbon(schema: psycopg.Connection, run_id: str) -> None:
    put(schema, run_id, run_row(), *regional(CARBON))
    hour = best(schema, run_id)
    assert hour is not None
    assert (hour["starts_at"], hour["ends_at"]) == (at(2), at(4))
    assert hour["intensity_gco2_per_kwh"] == 30
    assert (hour["short_name"], hour["intensity_quality"]) == ("North Scotland", "published")
    assert (hour["price_gbp_per_mwh"], hour["free_capacity_kw"]) == (None, None)
    # Two hours: 40, 20, 60, 60 give 45; from one later 20, 60, 60, 60 give 50.
    two = best(schema, run_id, hours=2)
    assert two is not None
    assert (two["starts_at"], two["intensity_gco2_per_kwh"]) == (at(2), 45)
    # Four hours: all eight, 490 / 8.
    four = best(schema, run_id, hours=4)
    assert four is not None
    assert (four["starts_at"], four["intensity_gco2_per_kwh"]) == (at(0), 61.25)
    # Eight hours are not known, and without prices nothing is best by cost.
    assert best(schema, run_id, hours=8) is None
    assert best(schema, run_id, "cost") is None


def test_a_half_hour_that_has_begun_is_gone(schema: psycopg.Connection, run_id: str) -> None:
    # At 13:01 the third half hour (13:00) has begun: 20 and 60 are the best left.
    put(schema, run_id, run_row(at(2) + timedelta(minutes=1)), *regional(CARBON))
    hour = best(schema, run_id)
    assert hour is not None
    assert (hour["starts_at"], hour["intensity_gco2_per_kwh"]) == (at(3), 40)
    put(schema, run_id, run_row(at(2)), version=1)
    hour = best(schema, run_id)
    assert hour is not None
    assert hour["starts_at"] == at(2)


def test_no_stretch_reaches_over_a_gap(schema: psycopg.Connection, run_id: str) -> None:
    # Without the fourth half hour 40 and the 60 after the gap are no hour (it would have 50);
    # 80 and 40 give 60, as 60 and 60 do later.
    holed = [*CARBON[:3], None, *CARBON[4:]]
    put(schema, run_id, run_row(), *regional(holed))
    hour = best(schema, run_id)
    assert hour is not None
    assert (hour["starts_at"], hour["intensity_gco2_per_kwh"]) == (at(1), 60)


def test_only_the_next_48_hours_count(schema: psycopg.Connection, run_id: str) -> None:
    put(schema, run_id, run_row(), *regional([50, 50]), *regional([1, 1, 1], first=95))
    hour = best(schema, run_id)
    assert hour is not None
    # The 96th half hour is the last inside; it has no neighbour there.
    assert hour["starts_at"] == at(0)


def test_the_best_hours_by_cost_at_known_prices(schema: psycopg.Connection, run_id: str) -> None:
    put(schema, run_id, run_row(), *regional(CARBON), *prices([9, 8, 7, 6, -5, 4, 3, 2]))
    hour = best(schema, run_id, "cost")
    assert hour is not None
    # -5 and 4: -0.5 is below 6 and -5: 0.5.
    assert (hour["starts_at"], hour["price_gbp_per_mwh"]) == (at(4), -0.5)
    assert (hour["intensity_gco2_per_kwh"], hour["price_quality"]) == (60, "published")


def test_equal_prices_are_told_apart_by_carbon(schema: psycopg.Connection, run_id: str) -> None:
    put(schema, run_id, run_row(), *regional(CARBON), *prices([5.0] * 8))
    hour = best(schema, run_id, "cost")
    assert hour is not None
    assert (hour["starts_at"], hour["intensity_gco2_per_kwh"]) == (at(2), 30)


def test_a_price_ahead_is_that_of_the_last_comparable_day(
    schema: psycopg.Connection, run_id: str
) -> None:
    # Friday noon. Saturday's price is last Saturday's (six days before today), not Thursday's.
    saturday = NOON + timedelta(days=1)
    put(
        schema,
        run_id,
        run_row(),
        *regional([50, 50], first=48),
        *prices([30, 30], start=saturday - timedelta(days=7)),
        *prices([80, 80], start=saturday - timedelta(days=2)),
    )
    hour = best(schema, run_id, "cost")
    assert hour is not None
    assert (hour["starts_at"], hour["price_gbp_per_mwh"]) == (saturday, 30)
    assert hour["price_quality"] == "estimated"


def test_the_same_half_hour_is_by_the_clock_on_the_wall(
    schema: psycopg.Connection, run_id: str
) -> None:
    # London's clocks go back that night: on Saturday 13:00 is 12:00Z, on Sunday it is 13:00Z.
    sunday = datetime(2026, 10, 25, 13, tzinfo=UTC)
    shift = (sunday - NOON) // HALF_HOUR
    put(
        schema,
        run_id,
        run_row(sunday),
        *regional([50, 50], first=shift),
        *prices([11, 12, 13, 14], start=sunday - timedelta(hours=25)),
    )
    hour = best(schema, run_id, "cost")
    assert hour is not None
    assert hour["price_gbp_per_mwh"] == 11.5


def test_free_power_is_what_sites_have_less_what_is_booked(
    schema: psycopg.Connection, run_id: str
) -> None:
    put(
        schema,
        run_id,
        run_row(),
        ACME,
        site(100, capacity_by_period={"from": "2026-05-01T13:00:00Z", "kw": [80, 70]}),
        workload(),
        segment(start=2, half_hours=1, power_kw=30, energy_kwh=15),
        *regional(CARBON),
    )
    hour = best(schema, run_id)
    assert hour is not None
    # 13:00: 80 - 30 = 50; 13:30: 70. The least counts.
    assert (hour["starts_at"], hour["free_capacity_kw"]) == (at(2), 50)


def test_an_older_plan_and_cancelled_work_hold_no_power(
    schema: psycopg.Connection, run_id: str
) -> None:
    put(
        schema,
        run_id,
        run_row(),
        ACME,
        site(100),
        workload(),
        workload("gone", status="cancelled"),
        segment(start=2, power_kw=60),
        segment(start=6, power_kw=60, revision=1),
        segment("gone", start=2, power_kw=40),
        *regional(CARBON),
    )
    hour = best(schema, run_id)
    assert hour is not None
    assert (hour["starts_at"], hour["free_capacity_kw"]) == (at(2), 100)


def test_hours_without_free_power_are_no_opportunity(
    schema: psycopg.Connection, run_id: str
) -> None:
    put(
        schema,
        run_id,
        run_row(),
        ACME,
        site(100),
        workload(),
        segment(start=3, half_hours=1, power_kw=100),
        *regional(CARBON),
    )
    hour = best(schema, run_id)
    assert hour is not None
    # The half hour of 20 is full: 80 and 40 give 60, as 60 and 60 do; the earlier one counts.
    assert (hour["starts_at"], hour["intensity_gco2_per_kwh"]) == (at(1), 60)


def test_a_stretch_is_as_good_as_its_worst_figure(schema: psycopg.Connection, run_id: str) -> None:
    put(
        schema,
        run_id,
        run_row(),
        *regional(CARBON[:3]),
        *regional(CARBON[3:], first=3, quality="synthetic"),
    )
    hour = best(schema, run_id)
    assert hour is not None
    assert hour["intensity_quality"] == "synthetic"


def test_only_live_and_recent_runs_have_opportunities(
    database: psycopg.Connection, run_id: str
) -> None:
    # Not undone at the end: "recent" goes by the time of recording.
    live = new_run()
    put(database, live, run_row(kind="live"), *regional(CARBON))
    put(database, run_id, run_row(), *regional(CARBON))
    for _ in range(5):
        assert best(database, run_id) is not None
        put(database, new_run(), run_row())
    assert best(database, run_id) is None
    assert best(database, live) is not None


# workload_optimization_opportunities ------------------------------------------------------


def opportunity(connection: psycopg.Connection, run_id: str, name: str = "train") -> Answer | None:
    found = ask(connection, "workload_optimization_opportunities", run_id, workload_name=name)
    return found[0] if found else None


def test_what_is_booked_against_the_best_still_possible(
    schema: psycopg.Connection, run_id: str
) -> None:
    put(
        schema,
        run_id,
        run_row(),
        ACME,
        site(100),
        workload(),
        segment(start=4, gco2_forecast=999),
        *regional(CARBON),
        *prices([10.0] * 8),
    )
    found = opportunity(schema, run_id)
    assert found is not None
    assert (found["booked_region_id"], found["booked_starts_at"]) == (1, at(4))
    # 10 kW for an hour at 60 (today's forecast, not the award's 999), and at best at 30.
    assert (found["booked_gco2"], found["best_gco2"]) == (600, 300)
    assert (found["best_starts_at"], found["best_ends_at"]) == (at(2), at(4))
    assert found["avoidable_gco2"] == 300
    # 10 kWh at 10 GBP/MWh.
    assert found["best_cost_gbp"] == pytest.approx(0.1)


@pytest.mark.parametrize(
    ("change", "start", "gco2"),
    [
        # Not before 13:30: 20 and 60.
        ({"earliest_start": at(3)}, at(3), 400),
        # Off the half hour: as if from the next one.
        ({"earliest_start": at(2) + timedelta(minutes=1)}, at(3), 400),
        # Finished by 13:30: 80 and 40.
        ({"deadline": at(3)}, at(1), 600),
        # 75 minutes are three half hours: 40, 20, 60 (mean 40) on 12.5 kWh.
        ({"duration_min": 75}, at(2), 500),
        # Region 13 is cleaner still: 5 and 5.
        ({"allowed_regions": [1, 13]}, at(5), 50),
    ],
    ids=["earliest start", "odd start", "deadline", "rounded up", "regions"],
)
def test_the_best_slot_keeps_the_workloads_own_limits(
    schema: psycopg.Connection, run_id: str, change: dict[str, Any], start: datetime, gco2: float
) -> None:
    put(
        schema,
        run_id,
        run_row(),
        ACME,
        site(100),
        site(100, region_id=13),
        workload(**{"status": "registered", **change}),
        *regional(CARBON),
        *regional([5, 5], region_id=13, first=5),
    )
    found = opportunity(schema, run_id)
    assert found is not None
    assert (found["best_starts_at"], found["best_gco2"]) == (start, pytest.approx(gco2))
    assert (found["booked_starts_at"], found["avoidable_gco2"]) == (None, None)


def test_the_best_slot_has_room_beside_all_bookings(
    schema: psycopg.Connection, run_id: str
) -> None:
    put(
        schema,
        run_id,
        run_row(),
        ACME,
        site(100),
        workload(status="registered"),
        workload("big", power_kw=95),
        segment("big", start=3, half_hours=1, power_kw=95),
        *regional(CARBON),
    )
    found = opportunity(schema, run_id)
    assert found is not None
    # 5 kW are left at 13:30, 10 are needed.
    assert (found["best_starts_at"], found["best_gco2"]) == (at(1), 600)


@pytest.mark.parametrize("half_hours", [1, 2, 3, 4, 5, 7, 8])
def test_room_is_checked_in_every_half_hour_of_any_duration(
    schema: psycopg.Connection, run_id: str, half_hours: int
) -> None:
    # One full half hour at the end, one at the start; in between is room for seven.
    put(
        schema,
        run_id,
        run_row(),
        ACME,
        site(100),
        workload(status="registered", duration_min=30 * half_hours),
        workload("early"),
        workload("late"),
        segment("early", start=0, half_hours=1, power_kw=100),
        segment("late", start=8, half_hours=1, power_kw=100),
        *regional([1.0, 50, 40, 30, 20, 30, 40, 50, 1.0]),
    )
    found = opportunity(schema, run_id)
    assert found is not None
    if half_hours == 8:
        assert found["best_starts_at"] is None
        return
    # The stretch around the middle of 50 40 30 20 30 40 50, the earlier of two equal ones.
    start = {1: 4, 2: 3, 3: 3, 4: 2, 5: 2, 7: 1}[half_hours]
    assert found["best_starts_at"] == at(start)


def test_work_that_has_begun_or_is_over_has_no_opportunity(
    schema: psycopg.Connection, run_id: str
) -> None:
    put(
        schema,
        run_id,
        run_row(at(4)),
        ACME,
        site(100),
        workload("begun"),
        workload("second part ahead", interruptible=True),
        workload("late", deadline=at(4)),
        workload("refused", status="refused"),
        workload("done", status="completed"),
        workload("ahead"),
        segment("begun", start=3),
        segment("second part ahead", start=0, half_hours=1),
        segment("second part ahead", start=6, half_hours=1),
        segment("ahead", start=6),
        *regional(CARBON),
    )
    names = {
        row["workload_name"] for row in ask(schema, "workload_optimization_opportunities", run_id)
    }
    assert names == {"ahead"}


def test_energy_of_a_window_counts_as_agreed(schema: psycopg.Connection, run_id: str) -> None:
    samples = sample_rows()
    put(
        schema,
        run_id,
        run_row(at(-1)),
        ACME,
        site(100),
        samples["grid_zones"],
        samples["compute_windows"],
        workload(),
        segment(
            start=0,
            gco2_forecast=120,
            window_bpp_id="bpp",
            window_item_id="item-1",
            window_starts_at=NOON,
        ),
        *regional(CARBON),
    )
    found = opportunity(schema, run_id)
    assert found is not None
    # 120 g beat the grid's 300.
    assert (found["booked_gco2"], found["best_gco2"], found["avoidable_gco2"]) == (120, 300, 0)


# latest_grid_conditions -------------------------------------------------------------------


def test_the_newest_snapshot_with_open_windows_and_cheapest_offers(
    schema: psycopg.Connection, run_id: str
) -> None:
    samples = sample_rows()
    snapshot, window, offer = (
        samples[name] for name in ("grid_snapshots", "compute_windows", "offers")
    )
    put(
        schema,
        run_id,
        run_row(at(1)),
        samples["grid_zones"],
        changed(snapshot, observed_at=at(-2), renewable_pct=10),
        changed(snapshot, observed_at=at(0), renewable_pct=20),
        changed(snapshot, observed_at=at(2), renewable_pct=99),
        changed(snapshot, zone_code="unlisted", observed_at=at(0)),
        window,  # noon to 13:00, 100 kW: still open at 12:30
        changed(window, item_id="over", starts_at=at(-2), ends_at=at(1)),
        changed(window, item_id="taken", state="booked"),
        changed(window, item_id="later", starts_at=at(4), ends_at=at(6), capacity_kw=50),
        offer,
        changed(offer, offer_id="cheaper", price_per_kwh=0.05),
    )
    found = {row["zone_code"]: row for row in ask(schema, "latest_grid_conditions", run_id)}
    assert set(found) == {"Z1", "unlisted"}
    zone = found["Z1"]
    assert (zone["observed_at"], zone["renewable_pct"], zone["region_id"]) == (at(0), 20, 13)
    assert (zone["open_windows"], zone["open_capacity_kw"]) == (2, 150)
    assert zone["next_window_starts_at"] == at(0)
    assert [(w["item_id"], w["price_per_kwh"]) for w in zone["windows"]] == [
        ("item-1", 0.05),
        ("later", None),
    ]
    assert (found["unlisted"]["open_windows"], found["unlisted"]["windows"]) == (0, None)


# All --------------------------------------------------------------------------------------


def test_views_show_what_was_when_they_were_refreshed(
    schema: psycopg.Connection, run_id: str
) -> None:
    put(schema, run_id, run_row())
    assert len(ask(schema, "current_grid_status", run_id)) == 1
    other = new_run()
    put(schema, other, run_row())
    query = "select run_id::text from public.current_grid_status where run_id = any (%s)"
    assert rows_of(schema, query, [run_id, other]) == [(run_id,)]


def test_runs_do_not_mix(schema: psycopg.Connection, run_id: str) -> None:
    other = new_run()
    put(schema, run_id, run_row(), *regional([50, 50]))
    put(schema, other, run_row(), *regional([10, 10]), *prices([1, 1]))
    hour = best(schema, run_id)
    assert hour is not None
    assert (hour["intensity_gco2_per_kwh"], hour["price_gbp_per_mwh"]) == (50, None)
