"""One model a table: its columns, bounds, natural key, lane and order of parents.

``base`` holds what all share, the other modules the tables by subject; ``TABLES`` lists them
parents first.
"""

from __future__ import annotations

from schema.rows.base import Lane, Record, Row, TableSpec
from schema.rows.beckn import (
    BecknTransactionRow,
    ComputeWindowRow,
    GridSnapshotRow,
    GridZoneRow,
    OfferRow,
)
from schema.rows.compute import (
    AgentNegotiationRow,
    ComputeAssetRow,
    ComputeWorkloadRow,
    WorkloadScheduleRow,
)
from schema.rows.grid import (
    CarbonIntensityNationalRow,
    CarbonIntensityRegionalRow,
    DemandActualNationalRow,
    DemandForecastNationalRow,
    DemandRegionalRow,
    GenerationMixNationalRow,
    GenerationMixRegionalRow,
)
from schema.rows.prices import FlexibilityPriceRow, WholesalePriceRow
from schema.rows.system import AgentRow, ApiLogRow, ScenarioRunRow

#: Every table a producer may write, parents before children. ``uk_regions`` is seeded by a
#: migration and never written.
ROW_MODELS: tuple[type[Row], ...] = (
    ScenarioRunRow,
    AgentRow,
    GridZoneRow,
    ComputeWindowRow,
    OfferRow,
    BecknTransactionRow,
    ComputeAssetRow,
    ComputeWorkloadRow,
    AgentNegotiationRow,
    WorkloadScheduleRow,
    GridSnapshotRow,
    CarbonIntensityNationalRow,
    CarbonIntensityRegionalRow,
    GenerationMixNationalRow,
    GenerationMixRegionalRow,
    DemandForecastNationalRow,
    DemandActualNationalRow,
    DemandRegionalRow,
    WholesalePriceRow,
    FlexibilityPriceRow,
    ApiLogRow,
)

TABLES: dict[str, TableSpec] = {
    model.TABLE: model.spec(rank) for rank, model in enumerate(ROW_MODELS)
}

#: All 22 tables of the database, the seeded one included.
ALL_TABLES: tuple[str, ...] = ("uk_regions", *TABLES)

VIEWS: tuple[str, ...] = (
    "current_grid_status",
    "regional_compute_opportunities",
    "workload_optimization_opportunities",
    "latest_grid_conditions",
)

__all__ = [
    "ALL_TABLES",
    "ROW_MODELS",
    "TABLES",
    "VIEWS",
    "AgentNegotiationRow",
    "AgentRow",
    "ApiLogRow",
    "BecknTransactionRow",
    "CarbonIntensityNationalRow",
    "CarbonIntensityRegionalRow",
    "ComputeAssetRow",
    "ComputeWindowRow",
    "ComputeWorkloadRow",
    "DemandActualNationalRow",
    "DemandForecastNationalRow",
    "DemandRegionalRow",
    "FlexibilityPriceRow",
    "GenerationMixNationalRow",
    "GenerationMixRegionalRow",
    "GridSnapshotRow",
    "GridZoneRow",
    "Lane",
    "OfferRow",
    "Record",
    "Row",
    "ScenarioRunRow",
    "TableSpec",
    "WholesalePriceRow",
    "WorkloadScheduleRow",
]
