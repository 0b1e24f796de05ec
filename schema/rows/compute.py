"""Tables of compute: sites, workloads, schedules and the negotiation's message log."""

from __future__ import annotations

from collections.abc import Mapping
from enum import StrEnum
from typing import Annotated, Any, ClassVar, Self
from uuid import UUID

from pydantic import Field, model_validator

from schema.ids import linked_id
from schema.messages import Performative
from schema.rows.base import Instant, Intensity, Lane, Name, RegionId, Row, Text
from schema.rows.beckn import JsonObject

PowerKw = Annotated[float, Field(gt=0, le=1e6)]
Gbp = Annotated[float, Field(ge=-1e12, le=1e12)]
Grams = Annotated[float, Field(ge=0, le=1e15)]


class WorkloadStatus(StrEnum):
    """Where a workload stands."""

    SUBMITTED = "submitted"
    REGISTERED = "registered"
    AWARDED = "awarded"
    REFUSED = "refused"
    RUNNING = "running"
    COMPLETED = "completed"
    CANCELLED = "cancelled"


class ComputeAssetRow(Row):
    """A site: where compute can run, with its free power by period."""

    TABLE: ClassVar[str] = "compute_assets"
    KEY: ClassVar[tuple[str, ...]] = ("agent_name", "asset_name")
    LANE: ClassVar[Lane] = Lane.ORDERED
    VERSIONED: ClassVar[bool] = True

    agent_name: Name
    asset_name: Name
    region_id: RegionId
    capacity_kw: Annotated[float, Field(ge=0, le=1e8)]
    #: ``{"from": instant, "kw": [one figure a half hour]}`` where capacity varies.
    capacity_by_period: JsonObject | None = None
    pue: Annotated[float, Field(ge=1, le=5)] = 1.0
    version: int | None = Field(default=None, ge=0)

    def links(self, run_id: str) -> Mapping[str, str | None]:
        """Point at the owning agent."""
        return {"agent_id": linked_id("agents", run_id, self.agent_name)}


class ComputeWorkloadRow(Row):
    """A piece of deferrable compute."""

    TABLE: ClassVar[str] = "compute_workloads"
    KEY: ClassVar[tuple[str, ...]] = ("agent_name", "workload_name")
    LANE: ClassVar[Lane] = Lane.ORDERED
    INTERVAL: ClassVar[tuple[str, str] | None] = ("earliest_start", "deadline")
    VERSIONED: ClassVar[bool] = True

    agent_name: Name
    workload_name: Name
    owner: UUID | None = None
    power_kw: PowerKw
    duration_min: Annotated[int, Field(gt=0, le=60 * 24 * 60)]
    earliest_start: Instant
    deadline: Instant
    allowed_regions: list[RegionId] = Field(min_length=1, max_length=14)
    home_region_id: RegionId | None = None
    interruptible: bool = False
    priority: Annotated[int, Field(ge=0, le=9)] = 5
    refusal_value_gbp: Gbp | None = None
    #: Owner and service role alone may read it; replays leave it out.
    delay_cost_gbp_per_kwh_h: Annotated[float, Field(ge=0, le=1000)] | None = None
    baseline_starts_at: Instant | None = None
    baseline_region_id: RegionId | None = None
    baseline_gco2: Grams | None = None
    baseline_rescored_gco2: Grams | None = None
    baseline_cost_gbp: Gbp | None = None
    status: WorkloadStatus = WorkloadStatus.SUBMITTED
    status_reason: Text | None = None
    submitted_at: Instant | None = None
    version: int | None = Field(default=None, ge=0)

    def links(self, run_id: str) -> Mapping[str, str | None]:
        """Point at the agent."""
        return {"agent_id": linked_id("agents", run_id, self.agent_name)}


class WorkloadScheduleRow(Row):
    """One contiguous segment of one workload on one supply; the highest revision stands."""

    TABLE: ClassVar[str] = "workload_schedules"
    KEY: ClassVar[tuple[str, ...]] = ("agent_name", "workload_name", "revision", "starts_at")
    LANE: ClassVar[Lane] = Lane.ORDERED
    INTERVAL: ClassVar[tuple[str, str] | None] = ("starts_at", "ends_at")
    VERSIONED: ClassVar[bool] = True

    agent_name: Name
    workload_name: Name
    revision: Annotated[int, Field(ge=0)]
    conversation_id: Name
    starts_at: Instant
    ends_at: Instant
    region_id: RegionId
    asset_agent_name: Name
    asset_name: Name
    #: Natural key of the Beckn window that supplies the segment; None is the grid.
    window_bpp_id: Name | None = None
    window_item_id: Name | None = None
    window_starts_at: Instant | None = None
    power_kw: PowerKw
    energy_kwh: Annotated[float, Field(ge=0, le=1e9)]
    intensity_forecast_gco2_per_kwh: Intensity | None = None
    gco2_forecast: Grams | None = None
    gco2_rescored: Grams | None = None
    energy_cost_gbp: Gbp | None = None
    congestion_gbp: Gbp | None = None
    version: int | None = Field(default=None, ge=0)

    def links(self, run_id: str) -> Mapping[str, str | None]:
        """Point at workload, asset and window."""
        window = None
        if self.window_bpp_id is not None:
            key = (self.window_bpp_id, self.window_item_id, self.window_starts_at)
            window = linked_id("compute_windows", run_id, *key)
        return {
            "workload_id": linked_id(
                ComputeWorkloadRow.TABLE, run_id, self.agent_name, self.workload_name
            ),
            "asset_id": linked_id(
                ComputeAssetRow.TABLE, run_id, self.asset_agent_name, self.asset_name
            ),
            "window_id": window,
        }


class AgentNegotiationRow(Row):
    """One message of a negotiation. ``sequence`` orders for readers and is no part of the key."""

    TABLE: ClassVar[str] = "agent_negotiations"
    KEY: ClassVar[tuple[str, ...]] = (
        "conversation_id",
        "round",
        "performative",
        "sender",
        "receiver",
        "workload_name",
        "ordinal",
    )
    LANE: ClassVar[Lane] = Lane.ORDERED

    conversation_id: Name
    sequence: Annotated[int, Field(ge=0)]
    round: Annotated[int, Field(ge=0)]
    performative: Performative
    sender: Name
    receiver: Name
    #: ``None`` for a table-wide message. Unique with its agent: see ``workload_agent``.
    workload_name: Name | None = None
    workload_agent: Name | None = None
    ordinal: Annotated[int, Field(ge=0)] = 0
    in_reply_to: Name | None = None
    reply_by: Instant | None = None
    content: dict[str, Any]
    energy_cost_gbp: Gbp | None = None
    congestion_gbp: Gbp | None = None
    carbon_gco2: Grams | None = None
    bound_gbp: Gbp | None = None
    cost_gbp: Gbp | None = None
    gap: float | None = None
    on_synthetic_data: bool = False
    sent_at: Instant

    @model_validator(mode="after")
    def _tells_no_secret(self) -> Self:
        if (self.workload_name is None) != (self.workload_agent is None):
            msg = (
                f"workload_name {self.workload_name!r} and workload_agent "
                f"{self.workload_agent!r} name a workload together: give both or none"
            )
            raise ValueError(msg)
        # Beside a public price table a workload's own total would give its delay cost away.
        totals = (self.bound_gbp, self.cost_gbp, self.gap)
        if self.workload_name is not None and any(total is not None for total in totals):
            msg = (
                f"bound_gbp, cost_gbp and gap stand on table-wide messages only, not on one about "
                f"workload {self.workload_name!r}"
            )
            raise ValueError(msg)
        return self

    def links(self, run_id: str) -> Mapping[str, str | None]:
        """Point at the workload."""
        if self.workload_name is None or self.workload_agent is None:
            return {"workload_id": None}
        return {
            "workload_id": linked_id(
                ComputeWorkloadRow.TABLE, run_id, self.workload_agent, self.workload_name
            )
        }
