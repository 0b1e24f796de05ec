"""Tables of the grid's state: intensity, generation mix, demand."""

from __future__ import annotations

from typing import Annotated, Any, ClassVar

from pydantic import Field

from schema.rows.base import Intensity, Name, Percent, Reading, RegionId, Text

Megawatts = Annotated[float, Field(ge=0, le=200_000)]
SignedMegawatts = Annotated[float, Field(ge=-50_000, le=200_000)]


class CarbonIntensityNationalRow(Reading):
    """National carbon intensity of one half hour; forecast and outturn are columns of one row."""

    TABLE: ClassVar[str] = "carbon_intensity_national"
    KEY: ClassVar[tuple[str, ...]] = ("valid_from", "quality")

    forecast_gco2_per_kwh: Intensity | None = None
    actual_gco2_per_kwh: Intensity | None = None
    intensity_index: Name | None = None


class CarbonIntensityRegionalRow(Reading):
    """Carbon intensity of one distribution area and half hour; no outturn is ever published."""

    TABLE: ClassVar[str] = "carbon_intensity_regional"
    KEY: ClassVar[tuple[str, ...]] = ("region_id", "valid_from", "quality")

    region_id: RegionId
    forecast_gco2_per_kwh: Intensity
    intensity_index: Name | None = None


class GenerationMixNationalRow(Reading):
    """Share of one fuel in national generation; MW where the source gives it.

    MW below zero is pumping or export; then the share is absent.
    """

    TABLE: ClassVar[str] = "generation_mix_national"
    KEY: ClassVar[tuple[str, ...]] = ("source", "valid_from", "fuel", "quality")

    fuel: Name
    generation_pct: Percent | None = None
    generation_mw: SignedMegawatts | None = None


class GenerationMixRegionalRow(Reading):
    """Share of one fuel in the electricity used in one distribution area."""

    TABLE: ClassVar[str] = "generation_mix_regional"
    KEY: ClassVar[tuple[str, ...]] = ("source", "region_id", "valid_from", "fuel", "quality")

    region_id: RegionId
    fuel: Name
    generation_pct: Percent


class DemandForecastNationalRow(Reading):
    """A forecast of national demand; ``product`` names the series and its horizon.

    Cardinal-point products hold turning points of the day, not half hours: ``point`` names the
    point, and ``valid_from`` to ``valid_to`` is the stretch it stands for.
    """

    TABLE: ClassVar[str] = "demand_forecast_national"
    KEY: ClassVar[tuple[str, ...]] = ("product", "valid_from", "quality")

    product: Name
    point: Name | None = None
    demand_mw: Megawatts


class DemandActualNationalRow(Reading):
    """National demand outturn of one half hour; flows are positive for import."""

    TABLE: ClassVar[str] = "demand_actual_national"
    KEY: ClassVar[tuple[str, ...]] = ("source", "valid_from", "quality")

    national_demand_mw: Megawatts | None = None
    transmission_demand_mw: Megawatts | None = None
    england_wales_demand_mw: Megawatts | None = None
    embedded_wind_mw: Megawatts | None = None
    embedded_wind_capacity_mw: Megawatts | None = None
    embedded_solar_mw: Megawatts | None = None
    embedded_solar_capacity_mw: Megawatts | None = None
    non_bm_stor_mw: SignedMegawatts | None = None
    pump_storage_pumping_mw: Megawatts | None = None
    scottish_transfer_mw: SignedMegawatts | None = None
    interconnector_flows_mw: dict[str, SignedMegawatts] | None = None


class DemandRegionalRow(Reading):
    """Demand of a distribution area (``region_id``) or of another boundary (``area`` only)."""

    TABLE: ClassVar[str] = "demand_regional"
    KEY: ClassVar[tuple[str, ...]] = ("area", "valid_from", "quality")

    area: Name
    region_id: RegionId | None = None
    demand_mw: Megawatts
    method: Text | None = None

    def model_post_init(self, _context: Any, /) -> None:
        """Hold the rule that a distribution area is keyed by its number."""
        if self.region_id is not None and self.area != f"region-{self.region_id}":
            msg = f"area of region {self.region_id} is 'region-{self.region_id}', got {self.area!r}"
            raise ValueError(msg)
