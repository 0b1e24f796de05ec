"""Requests to NESO's data portal, and the data files we read there.

Source: api.neso.energy, CKAN actions. Courtesy limits: one catalogue request a second, two
``datastore_search`` requests a minute, enforced by blocking the address. So ask ``resource_show``
first and read a file only when ``last_modified`` has moved. Resource ids roll over (flexibility:
each April): when one is not found, ask ``package_show`` and match the exact resource name.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from fetchers.request import Request
from schema.readings import Source

BASE_URL = "https://api.neso.energy/api/3/action"
ROW_CAP = 32_000
"""CKAN's stock cap on rows a call."""


@dataclass(frozen=True, slots=True)
class DataFile:
    """One data file of the portal.

    Attributes:
        endpoint: Our name of it, as in ``api_logs`` and ``parse neso ENDPOINT``.
        package: Slug of its package; the page is www.neso.energy/data-portal/<package>.
        name: Exact name of the resource, which outlives its id.
        resource_id: Its id when last seen, October 2026.
        content: What it holds.
        limit: Rows that hold all of it, or all of it that is news.
        sort: Order that puts the newest rows first where the limit may cut.
    """

    endpoint: str
    package: str
    name: str
    resource_id: str
    content: str
    limit: int
    sort: str | None = None


DEMAND_FORECAST_1D = DataFile(
    "demand-forecast-1d",
    "1-day-ahead-demand-forecast",
    "Day Ahead National Demand Forecast",
    "aec5601a-7f3e-4c4c-bf56-d8e4184d3c5b",
    "about 12 cardinal points of the coming day, MW",
    100,
)
DEMAND_FORECAST_1D_HISTORIC = DataFile(
    "demand-forecast-1d-historic",
    "1-day-ahead-demand-forecast",
    "Historic Day Ahead Demand Forecasts",
    "9847e7bb-986e-49be-8138-717b25933fbb",
    "cardinal points of past day-ahead forecasts, with the time of each forecast",
    ROW_CAP,
    "_id desc",
)
DEMAND_FORECAST_2D = DataFile(
    "demand-forecast-2d",
    "2-day-ahead-demand-forecast",
    "2 Day Ahead Demand Forecast",
    "cda26f27-4bb6-4632-9fb5-2d029ca605e1",
    "cardinal points of the day after the coming one, MW",
    100,
)
DEMAND_FORECAST_2D_HISTORIC = DataFile(
    "demand-forecast-2d-historic",
    "2-day-ahead-demand-forecast",
    "Historic 2 Day Ahead Demand Forecasts",
    "24abd271-5936-45c7-85f4-2a6b450ef6b7",
    "cardinal points of past two-day-ahead forecasts, with the time of each forecast",
    ROW_CAP,
    "_id desc",
)
DEMAND_FORECAST_7D = DataFile(
    "demand-forecast-7d",
    "7-day-ahead-national-forecast",
    "7 Day Ahead Demand Forecast",
    "70d3d674-15a6-4e41-83b4-410440c0b0b9",
    "cardinal points of the coming week, MW",
    500,
)
DEMAND_FORECAST_7D_HISTORIC = DataFile(
    "demand-forecast-7d-historic",
    "7-day-ahead-national-forecast",
    "Historic 7 Day Ahead Demand Forecasts",
    "6f7408b4-47fd-4ae7-b1e5-f095a3a5a2dc",
    "cardinal points of past week-ahead forecasts, with the time of each forecast",
    ROW_CAP,
    "_id desc",
)
DEMAND_FORECAST_14D = DataFile(
    "demand-forecast-14d",
    "2-14-days-ahead-national-demand-forecast",
    "2-14 Days Ahead Half Hourly Forecast",
    "7c0411cd-2714-4bb5-a408-adb065edf34d",
    "half-hourly national demand, 2 to 14 days ahead, MW",
    2000,
)
DEMAND_FORECAST_14D_POINTS = DataFile(
    "demand-forecast-14d-points",
    "2-14-days-ahead-national-demand-forecast",
    "2-14 Days Ahead Cardinal Point Forecast",
    "9af18ed4-efc8-4779-bef5-c0927fee9b0a",
    "cardinal points, 2 to 14 days ahead, MW",
    1000,
)
DEMAND_FORECAST_14D_HISTORIC = DataFile(
    "demand-forecast-14d-historic",
    "2-14-days-ahead-national-demand-forecast",
    "Historic 2-14 Days Ahead Demand Forecasts",
    "4dd712a2-ee2c-455d-a9c0-9d3564c80fa0",
    "past forecasts 2 to 14 days ahead, with the time of each forecast",
    ROW_CAP,
    "_id desc",
)
DEMAND_UPDATE = DataFile(
    "demand-update",
    "daily-demand-update",
    "Demand Data Update",
    "177f6fa4-ae49-4182-81ea-0c6b35f26ca6",
    "half-hourly outturn from the first of last month on, MW; flows negative for export",
    5000,
)
HISTORIC_DEMAND_2025 = DataFile(
    "historic-demand",
    "historic-demand-data",
    "Historic Demand Data 2025",
    "b2bde559-3455-4021-b179-dfe60c0337b0",
    "half-hourly outturn of one year, MW; one resource a year",
    ROW_CAP,
)
EMBEDDED_FORECAST = DataFile(
    "embedded-forecast",
    "embedded-wind-and-solar-forecasts",
    "Embedded Solar and Wind Forecast",
    "db6c038f-98af-4570-ab60-24d71ebd0ae5",
    "half-hourly embedded wind and solar to 14 days, MW",
    2000,
)
HISTORIC_GENERATION_MIX = DataFile(
    "historic-generation-mix",
    "historic-generation-mix",
    "Historic GB Generation Mix",
    "f93d1835-75bc-43e5-84ad-12472b180a98",
    "half-hourly generation by fuel since 2009, MW and percent; about 60 MB as a file",
    2000,
    "DATETIME desc",
)
DFS_UTILISATION = DataFile(
    "dfs-utilisation",
    "demand-flexibility",
    "DFS Utilisation Report",
    "3ebf77d7-05df-466e-a023-dc45a90efeea",
    "every bid of each flexibility event, GBP/MWh; ids roll over each April",
    ROW_CAP,
)
DFS_SUMMARY = DataFile(
    "dfs-summary",
    "demand-flexibility",
    "DFS Utilisation Report Summary",
    "705e573c-ddac-4675-b410-82916b35c4fe",
    "one row a flexibility event and half hour: MW and total cost",
    ROW_CAP,
)
EAC_RESULTS = DataFile(
    "eac-results",
    "eac-auction-results",
    "EAC Results Summary",
    "596f29ac-0387-4ba4-a6d3-95c243140707",
    "clearing volume MW and price GBP/MW/h of each response and reserve auction",
    2000,
    "deliveryStart desc",
)

DATA_FILES: Mapping[str, DataFile] = {
    file.endpoint: file
    for file in (
        DEMAND_FORECAST_1D,
        DEMAND_FORECAST_2D,
        DEMAND_FORECAST_7D,
        DEMAND_FORECAST_14D,
        DEMAND_FORECAST_14D_POINTS,
        DEMAND_UPDATE,
        EMBEDDED_FORECAST,
        DFS_UTILISATION,
        DFS_SUMMARY,
        EAC_RESULTS,
        HISTORIC_DEMAND_2025,
        HISTORIC_GENERATION_MIX,
        DEMAND_FORECAST_1D_HISTORIC,
        DEMAND_FORECAST_2D_HISTORIC,
        DEMAND_FORECAST_7D_HISTORIC,
        DEMAND_FORECAST_14D_HISTORIC,
    )
}
"""Every data file by endpoint."""

PACKAGE_SHOW = "package-show"
RESOURCE_SHOW = "resource-show"


def _request(
    endpoint: str, action: str, base_url: str, params: Sequence[tuple[str, str]]
) -> Request:
    return Request(Source.NESO, endpoint, f"{base_url.rstrip('/')}/{action}", params=tuple(params))


def build_package_show(package: str, base_url: str = BASE_URL) -> Request:
    """Ask for a package with its resources; the way to find an id that rolled over."""
    return _request(PACKAGE_SHOW, "package_show", base_url, [("id", package)])


def build_resource_show(resource_id: str, base_url: str = BASE_URL) -> Request:
    """Ask for one resource's catalogue entry; the documented change check."""
    return _request(RESOURCE_SHOW, "resource_show", base_url, [("id", resource_id)])


def build_datastore_search(
    file: DataFile,
    *,
    resource_id: str | None = None,
    limit: int | None = None,
    offset: int = 0,
    filters: Mapping[str, str] | None = None,
    base_url: str = BASE_URL,
) -> Request:
    """Ask for rows of a data file.

    Args:
        file: The data file; its own limit and order hold unless told.
        resource_id: The id that ``package_show`` gave, where the known one rolled over.
        limit: Rows, at most ``ROW_CAP``.
        offset: Rows to leave out, for paging.
        filters: Columns that must equal a value.
        base_url: Where the actions are.
    """
    rows = file.limit if limit is None else limit
    if not 1 <= rows <= ROW_CAP:
        msg = f"limit {rows}: 1 to {ROW_CAP} rows a call; page with offset"
        raise ValueError(msg)
    params = [("resource_id", resource_id or file.resource_id), ("limit", str(rows))]
    if offset:
        params.append(("offset", str(offset)))
    if filters:
        params.append(("filters", json.dumps(dict(filters), separators=(",", ":"))))
    if file.sort:
        params.append(("sort", file.sort))
    return _request(file.endpoint, "datastore_search", base_url, params)


def build_datastore_sql(
    file: DataFile,
    columns: Sequence[str],
    where: str,
    *,
    resource_id: str | None = None,
    base_url: str = BASE_URL,
) -> Request:
    """Ask for named columns of a data file under a condition.

    Columns are named because ``SELECT *`` adds a search column. The reply writes numbers as text.
    ``where`` is trusted SQL of ours, never a user's.
    """
    names = ", ".join('"' + name.replace('"', '""') + '"' for name in columns)
    table = resource_id or file.resource_id
    sql = f'SELECT {names} FROM "{table}" WHERE {where} LIMIT {ROW_CAP}'  # noqa: S608
    return _request(file.endpoint, "datastore_search_sql", base_url, [("sql", sql)])


def build_download(file: DataFile, url: str) -> Request:
    """Ask for a data file as CSV at the address that ``resource_show`` gave for it."""
    return Request(Source.NESO, file.endpoint, url, headers=(("Accept", "text/csv"),))
