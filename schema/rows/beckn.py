"""Tables of Beckn compute-energy: zones, windows, offers, snapshots, transactions."""

from __future__ import annotations

from collections.abc import Mapping
from enum import StrEnum
from typing import Annotated, Any, ClassVar

from pydantic import Field

from schema.ids import linked_id
from schema.readings import Quality
from schema.rows.base import Instant, Intensity, Lane, Name, Percent, RegionId, Row, Seed, Text

JsonObject = dict[str, Any]


class WindowState(StrEnum):
    """What has become of a window, as far as we know."""

    OFFERED = "offered"
    SELECTED = "selected"
    BOOKED = "booked"
    REFUSED = "refused"
    CHANGED = "changed"
    UNUSABLE = "unusable"


class Direction(StrEnum):
    """Which way a Beckn message went."""

    SENT = "sent"
    RECEIVED = "received"


class GridZoneRow(Row):
    """A grid zone of the Beckn catalogue; ``region_id`` where we could map it."""

    TABLE: ClassVar[str] = "grid_zones"
    KEY: ClassVar[tuple[str, ...]] = ("zone_code",)
    LANE: ClassVar[Lane] = Lane.ORDERED
    VERSIONED: ClassVar[bool] = True
    STAMPED: ClassVar[bool] = True

    zone_code: Name
    area: Name | None = None
    region_id: RegionId | None = None
    geometry: JsonObject | None = None
    version: int | None = Field(default=None, ge=0)


class ComputeWindowRow(Row):
    """A dated stretch of limited energy that a provider offers to compute."""

    TABLE: ClassVar[str] = "compute_windows"
    KEY: ClassVar[tuple[str, ...]] = ("bpp_id", "item_id", "starts_at")
    LANE: ClassVar[Lane] = Lane.ORDERED
    INTERVAL: ClassVar[tuple[str, str] | None] = ("starts_at", "ends_at")
    VERSIONED: ClassVar[bool] = True
    STAMPED: ClassVar[bool] = True

    bpp_id: Name
    item_id: Name
    starts_at: Instant
    ends_at: Instant
    name: Text | None = None
    zone_code: Name
    capacity_kw: Annotated[float, Field(ge=0, le=1e8)]
    intensity_gco2_per_kwh: Intensity | None = None
    renewable_pct: Percent | None = None
    slot_id: Name | None = None
    reservation_required: bool | None = None
    state: WindowState = WindowState.OFFERED
    state_reason: Text | None = None
    version: int | None = Field(default=None, ge=0)

    def links(self, run_id: str) -> Mapping[str, str | None]:
        """Point at the zone."""
        return {"zone_id": linked_id(GridZoneRow.TABLE, run_id, self.zone_code)}


class OfferRow(Row):
    """A provider's price for one window, in its own currency per kWh."""

    TABLE: ClassVar[str] = "offers"
    KEY: ClassVar[tuple[str, ...]] = ("bpp_id", "offer_id", "item_id", "window_starts_at")
    LANE: ClassVar[Lane] = Lane.ORDERED
    VERSIONED: ClassVar[bool] = True
    STAMPED: ClassVar[bool] = True

    bpp_id: Name
    offer_id: Name
    item_id: Name
    window_starts_at: Instant
    price_per_kwh: Annotated[float, Field(ge=-100, le=1000)]
    currency: Annotated[str, Field(pattern=r"^[A-Z]{3}$")]
    price_stability: Name | None = None
    version: int | None = Field(default=None, ge=0)

    def links(self, run_id: str) -> Mapping[str, str | None]:
        """Point at the window."""
        window = linked_id(
            ComputeWindowRow.TABLE, run_id, self.bpp_id, self.item_id, self.window_starts_at
        )
        return {"window_id": window}


class GridSnapshotRow(Row):
    """A zone's condition at one moment, as a provider reported it."""

    TABLE: ClassVar[str] = "grid_snapshots"
    KEY: ClassVar[tuple[str, ...]] = ("zone_code", "observed_at", "quality")
    LANE: ClassVar[Lane] = Lane.FACTS
    STAMPED: ClassVar[bool] = True

    zone_code: Name
    observed_at: Instant
    quality: Quality = Quality.PUBLISHED
    source: Name = "beckn"
    renewable_pct: Percent | None = None
    intensity_gco2_per_kwh: Intensity | None = None
    frequency_hz: Annotated[float, Field(ge=45, le=55)] | None = None
    changes: JsonObject | None = None
    reason: Text | None = None
    seed: Seed | None = None


class BecknTransactionRow(Row):
    """One Beckn message, sent or received, with its raw body."""

    TABLE: ClassVar[str] = "beckn_transactions"
    KEY: ClassVar[tuple[str, ...]] = ("transaction_id", "message_id", "action", "direction")
    LANE: ClassVar[Lane] = Lane.ORDERED

    transaction_id: Name
    message_id: Name
    action: Name
    direction: Direction
    bpp_id: Name | None = None
    order_id: Name | None = None
    agent_name: Name | None = None
    status: Name | None = None
    ack_status: Name | None = None
    error: JsonObject | None = None
    body: JsonObject
    occurred_at: Instant
