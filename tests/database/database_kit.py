"""A valid row of every table, and small helpers to put rows in and look at them."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID, uuid4

import psycopg
from psycopg import sql
from psycopg.types.json import Jsonb

from schema import rows as r
from schema.rows.base import Row

NOON = datetime(2026, 5, 1, 12, tzinfo=UTC)  # a Friday; London is an hour ahead
HALF_HOUR = timedelta(minutes=30)
ROLES = ("anon", "authenticated", "service_role")

JsonRow = dict[str, Any]
Batch = Mapping[str, Sequence[JsonRow]]


def body(row: Row, run_id: str, *, version: int = 0) -> JsonRow:
    """Give a row as the ingest function takes it."""
    return row.to_record(run_id, retrieved_at=NOON, version=version).columns()


def changed(row: Row, **updates: Any) -> Row:
    """Give a row with some columns changed, checked anew."""
    return type(row).model_validate({**row.model_dump(), **updates})


def run_row(clock_at: datetime | None = NOON, **more: Any) -> r.ScenarioRunRow:
    return r.ScenarioRunRow(
        **{"kind": "replay", "scenario": "hand-made", "seed": 1, "clock_at": clock_at, **more}
    )


def sample_rows() -> dict[str, Row]:
    """Give one valid row a table, every column filled; each finds its parents here."""
    reading = {"valid_from": NOON, "valid_to": NOON + HALF_HOUR, "issued_at": NOON}
    made_up = {"reason": "made for a test", "seed": 3}
    found: list[Row] = [
        run_row(
            clock_from=NOON, clock_to=NOON, digest="00ff", summary={"ticks": 1}, state="running"
        ),
        r.AgentRow(
            agent_name="acme",
            kind="compute",
            node="node-1",
            last_heartbeat_at=NOON,
            capabilities={"regions": [1]},
        ),
        r.GridZoneRow(zone_code="Z1", area="London", region_id=13, geometry={"type": "Point"}),
        r.ComputeWindowRow(
            bpp_id="bpp",
            item_id="item-1",
            starts_at=NOON,
            ends_at=NOON + 2 * HALF_HOUR,
            name="midday",
            zone_code="Z1",
            capacity_kw=100,
            intensity_gco2_per_kwh=20,
            renewable_pct=90,
            slot_id="slot-1",
            reservation_required=True,
            state_reason="on offer",
        ),
        r.OfferRow(
            bpp_id="bpp",
            offer_id="offer-1",
            item_id="item-1",
            window_starts_at=NOON,
            price_per_kwh=0.1,
            currency="GBP",
            price_stability="firm",
        ),
        r.BecknTransactionRow(
            transaction_id="t-1",
            message_id="m-1",
            action="on_confirm",
            direction="received",
            bpp_id="bpp",
            order_id="o-1",
            agent_name="acme",
            status="confirmed",
            ack_status="ACK",
            error={"code": "none"},
            body={"context": {}},
            occurred_at=NOON,
        ),
        r.ComputeAssetRow(
            agent_name="acme",
            asset_name="site-1",
            region_id=13,
            capacity_kw=500,
            capacity_by_period={"from": "2026-05-01T12:00:00Z", "kw": [500]},
            pue=1.2,
        ),
        r.ComputeWorkloadRow(
            agent_name="acme",
            workload_name="train",
            owner=UUID(int=7),
            power_kw=10,
            duration_min=60,
            earliest_start=NOON,
            deadline=NOON + 8 * HALF_HOUR,
            allowed_regions=[13, 1],
            home_region_id=13,
            interruptible=True,
            refusal_value_gbp=50,
            delay_cost_gbp_per_kwh_h=0.01,
            baseline_starts_at=NOON,
            baseline_region_id=13,
            baseline_gco2=1000,
            baseline_rescored_gco2=1100,
            baseline_cost_gbp=1,
            status="registered",
            status_reason="new",
            submitted_at=NOON,
        ),
        r.AgentNegotiationRow(
            conversation_id="c-1",
            sequence=1,
            round=1,
            performative="accept-proposal",
            sender="orchestrator",
            receiver="acme",
            workload_name="train",
            workload_agent="acme",
            in_reply_to="m-0",
            reply_by=NOON,
            content={"reason": "cheapest"},
            energy_cost_gbp=1,
            congestion_gbp=0.1,
            carbon_gco2=900,
            sent_at=NOON,
        ),
        r.WorkloadScheduleRow(
            agent_name="acme",
            workload_name="train",
            revision=0,
            conversation_id="c-1",
            starts_at=NOON,
            ends_at=NOON + 2 * HALF_HOUR,
            region_id=13,
            asset_agent_name="acme",
            asset_name="site-1",
            window_bpp_id="bpp",
            window_item_id="item-1",
            window_starts_at=NOON,
            power_kw=12,
            energy_kwh=12,
            intensity_forecast_gco2_per_kwh=75,
            gco2_forecast=900,
            gco2_rescored=950,
            energy_cost_gbp=1,
            congestion_gbp=0.1,
        ),
        r.GridSnapshotRow(
            zone_code="Z1",
            observed_at=NOON,
            renewable_pct=60,
            intensity_gco2_per_kwh=100,
            frequency_hz=50,
            changes={"price": "down"},
            **made_up,
        ),
        r.CarbonIntensityNationalRow(
            source="carbon_intensity",
            forecast_gco2_per_kwh=120,
            actual_gco2_per_kwh=118,
            intensity_index="low",
            **reading,
            **made_up,
        ),
        r.CarbonIntensityRegionalRow(
            source="carbon_intensity",
            region_id=13,
            forecast_gco2_per_kwh=110,
            intensity_index="low",
            **reading,
            **made_up,
        ),
        r.GenerationMixNationalRow(
            source="carbon_intensity",
            fuel="wind",
            generation_pct=40,
            generation_mw=9000,
            **reading,
            **made_up,
        ),
        r.GenerationMixRegionalRow(
            source="carbon_intensity",
            region_id=13,
            fuel="wind",
            generation_pct=30,
            **reading,
            **made_up,
        ),
        r.DemandForecastNationalRow(
            source="neso", product="day-ahead", point="4C", demand_mw=30000, **reading, **made_up
        ),
        r.DemandActualNationalRow(
            source="neso",
            national_demand_mw=29000,
            transmission_demand_mw=30000,
            england_wales_demand_mw=26000,
            embedded_wind_mw=2000,
            embedded_wind_capacity_mw=6000,
            embedded_solar_mw=5000,
            embedded_solar_capacity_mw=15000,
            non_bm_stor_mw=0,
            pump_storage_pumping_mw=20,
            scottish_transfer_mw=1500,
            interconnector_flows_mw={"IFA": -500, "NSL": 1400},
            **reading,
            **made_up,
        ),
        r.DemandRegionalRow(
            source="neso",
            area="region-13",
            region_id=13,
            demand_mw=4000,
            method="share",
            **reading,
            **made_up,
        ),
        r.WholesalePriceRow(
            source="elexon",
            market="APXMIDP",
            price_gbp_per_mwh=60,
            volume_mwh=800,
            **reading,
            **made_up,
        ),
        r.FlexibilityPriceRow(
            source="neso",
            service="DFS",
            starts_at=NOON,
            ends_at=NOON + HALF_HOUR,
            direction="down",
            price=100,
            unit="GBP/MWh",
            volume_mw=20,
            issued_at=NOON,
            **made_up,
        ),
        r.ApiLogRow(
            incarnation="i-1",
            sequence=0,
            source="elexon",
            endpoint="market-index",
            url="https://example.org/x",
            http_status=200,
            outcome="ok",
            requested_at=NOON,
            duration_ms=12.5,
            response_bytes=100,
            rows_parsed=3,
            rows_rejected=1,
            rejected=[{"where": "row 1", "reason": "no price"}],
            error="one row without a price",
        ),
    ]
    return {row.TABLE: row for row in found}


def sample_batch(run_id: str) -> dict[str, list[JsonRow]]:
    return {table: [body(row, run_id)] for table, row in sample_rows().items()}


def new_run() -> str:
    return str(uuid4())


def ingest(connection: psycopg.Connection, batch: Batch) -> dict[str, int]:
    """Call the ingest function as the service role does."""
    with acting_as(connection, "service_role"):
        found = connection.execute("select public.ingest(%s)", (Jsonb(dict(batch)),)).fetchone()
    assert found is not None
    counts: dict[str, int] = found[0]
    return counts


def put(connection: psycopg.Connection, run_id: str, *rows: Row, version: int = 0) -> None:
    """Ingest rows of any tables in one call."""
    batch: dict[str, list[JsonRow]] = {}
    for row in rows:
        batch.setdefault(row.TABLE, []).append(body(row, run_id, version=version))
    ingest(connection, batch)


@contextmanager
def acting_as(
    connection: psycopg.Connection, role: str, user: UUID | None = None
) -> Iterator[None]:
    """Be one of the API's roles inside one transaction, as the API does it."""
    with connection.transaction():
        claims = json.dumps({"role": role, "sub": str(user)} if user else {"role": role})
        connection.execute(
            "select set_config('request.jwt.claims', %s, true),"
            " set_config('request.jwt.claim.sub', %s, true)",
            (claims, str(user) if user else ""),
        )
        connection.execute(sql.SQL("set local role {}").format(sql.Identifier(role)))
        yield
        # "Local" ends with the outermost transaction, which may be the test's own.
        connection.execute("reset role")
        connection.execute(
            "select set_config('request.jwt.claims', '', true),"
            " set_config('request.jwt.claim.sub', '', true)"
        )


def sqlstate_of(
    connection: psycopg.Connection, role: str, statement: str, user: UUID | None = None
) -> str | None:
    """Run a statement as a role, undo it, and give its SQLSTATE; None when it went through."""

    try:
        with acting_as(connection, role, user):
            connection.execute(statement.encode())
            raise psycopg.Rollback
    except psycopg.Error as exc:
        return exc.sqlstate
    return None


def rows_of(connection: psycopg.Connection, query: str, *values: Any) -> list[tuple[Any, ...]]:
    return connection.execute(query.encode(), values or None).fetchall()


def one(connection: psycopg.Connection, query: str, *values: Any) -> Any:
    [(value,)] = rows_of(connection, query, *values)
    return value
