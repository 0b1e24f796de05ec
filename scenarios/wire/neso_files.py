"""The data files of NESO's portal: columns, rows and release times.

Source: the portal's catalogue and recorded files. A file is released at set times of the London
day; between releases it does not change, and ``last_modified`` says when the last one was.
Resource ids and names are the portal's own.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta

from scenarios.publication import Published
from scenarios.synth import reference as ref
from scenarios.wire.neso_flexibility import dfs_bid_rows, dfs_modified, dfs_summary_rows, eac_rows
from schema.periods import HALF_HOUR, LONDON, SettlementPeriod, local_midnight

Value = str | int | float | None
Rows = list[list[Value]]
Columns = tuple[tuple[str, str], ...]
_DAY = timedelta(days=1)
_FLOWS = tuple(name for _, name, _ in ref.INTERCONNECTORS)
_WIND_CAPACITY_MW = 6_400
_NOT_YET_MW = 500
_INCOMPLETE_ROWS = 2
#: Cardinal points of a day: name, type (fixed, trough, peak), first and last label as hmm of the
#: London clock at period end, and the source's remark.
_POINTS = (
    ("1F", "F", 30, 30, ""),
    ("1A", "T", 100, 330, "OM"),
    ("1B", "P", 400, 600, ""),
    ("2F", "F", 630, 630, ""),
    ("2A", "P", 700, 1200, "DM"),
    ("2B", "T", 1230, 1530, "NA"),
    ("3B", "P", 1600, 1730, ""),
    ("3C", "P", 1800, 1930, "EM"),
    ("4B", "P", 2000, 2200, ""),
    ("4F", "F", 2400, 2400, ""),
)


@dataclass(frozen=True, slots=True)
class DataFile:
    """One data file: what the catalogue says of it and how its rows are made."""

    resource_id: str
    package: str
    title: str
    name: str
    stem: str
    columns: Columns
    rows: Callable[[Published], Rows]
    modified: Callable[[Published], datetime]
    quoted: bool = False
    crlf: bool = False
    bom: bool = False


def daily(now: datetime, hour: int, minute: int) -> datetime:
    """Give the last London ``hour:minute`` at or before ``now``, UTC."""
    day = now.astimezone(LONDON).date()
    at = _london(day, hour, minute)
    return at if at <= now else _london(day - _DAY, hour, minute)


def _london(day: date, hour: int, minute: int) -> datetime:
    return datetime.combine(day, time(hour, minute), LONDON).astimezone(UTC)


def _every(hours: int, minute: int) -> Callable[[Published], datetime]:
    def modified(out: Published) -> datetime:
        shifted = out.now - timedelta(minutes=minute)
        whole = shifted.replace(minute=0, second=0, microsecond=0)
        return whole - timedelta(hours=whole.hour % hours) + timedelta(minutes=minute)

    return modified


def _at(hour: int, minute: int) -> Callable[[Published], datetime]:
    return lambda out: daily(out.now, hour, minute)


# -- demand forecasts ---------------------------------------------------------------------------


def _forecast_mw(out: Published, index: int, days: int) -> int:
    demand = out.scenario.demand
    return int(demand.national[index]) + int(demand.forecast_error[index]) * (2 + days) // 3


def _cardinal(hour: int, minute: int, days: Sequence[int]) -> Callable[[Published], Rows]:
    def rows(out: Published) -> Rows:
        issue_day = daily(out.now, hour, minute).astimezone(LONDON).date()
        made: Rows = []
        for ahead in days:
            day = issue_day + ahead * _DAY
            for name, kind, first, last, remark in _POINTS:
                figures = [
                    _forecast_mw(out, index, ahead)
                    for index in _labelled(out, day, first, last)
                    if out.scenario.axis.holds(index)
                ]
                if figures:
                    mw = min(figures) if kind == "T" else max(figures)
                    label = int(day.strftime("%Y%m%d"))
                    made.append([ahead, label, mw, name, kind, first, last, remark])
        return made

    return rows


def _labelled(out: Published, day: date, first: int, last: int) -> range:
    """Give the half hours whose end carries a London clock label from first to last (hmm)."""
    axis = out.scenario.axis
    return range(axis.index(_label(day, first)) - 1, axis.index(_label(day, last)))


def _label(day: date, hmm: int) -> datetime:
    if hmm == 2400:  # noqa: PLR2004
        return local_midnight(day + _DAY)
    return _london(day, hmm // 100, hmm % 100)


def _half_hourly(out: Published) -> Rows:
    axis = out.scenario.axis
    issue_day = daily(out.now, 14, 15).astimezone(LONDON).date()
    first = axis.index(local_midnight(issue_day + 2 * _DAY))
    last = axis.index(local_midnight(issue_day + 15 * _DAY))
    made: Rows = []
    for index in axis.clamp(first, last):
        end = axis.at(index) + HALF_HOUR
        local = axis.at(index).astimezone(LONDON)
        wall = end.astimezone(LONDON)
        label = 2400 if wall.date() > local.date() else wall.hour * 100 + wall.minute
        made.append(
            [
                local.strftime("%Y-%m-%dT00:00:00"),
                label,
                end.strftime("%Y-%m-%dT%H:%M:%S"),
                _forecast_mw(out, index, 4),
            ]
        )
    return made


def _embedded(out: Published) -> Rows:
    axis, demand = out.scenario.axis, out.scenario.demand
    issued = _every(6, 5)(out)
    made: Rows = []
    for index in axis.clamp(axis.index(issued) + 1, axis.index(issued + 14 * _DAY)):
        at = axis.at(index)
        end, period = at + HALF_HOUR, SettlementPeriod.at(at)
        near = (at - issued) < 2 * _DAY
        # Near half hours are refined at each release; far ones stay as they are.
        off = int(demand.forecast_error[index]) * (1 + (issued.hour // 6) % 2 if near else 2) // 2
        sun = int(demand.embedded_sun[index])
        made.append(
            [
                end.strftime("%Y-%m-%dT00:00:00"),
                end.strftime("%H:%M"),
                period.settlement_date.strftime("%Y-%m-%dT00:00:00"),
                period.number,
                max(0, int(demand.embedded_wind[index]) + off // 2),
                _WIND_CAPACITY_MW,
                max(0, sun + off // 4) if sun else 0,
                ref.SOLAR_FLEET_MW,
            ]
        )
    return made


# -- demand outturn -----------------------------------------------------------------------------


def _demand_update(out: Published) -> Rows:
    axis, demand = out.scenario.axis, out.scenario.demand
    issued = _every(1, 10)(out)
    today = issued.astimezone(LONDON).date()
    first_day = (today.replace(day=1) - _DAY).replace(day=1)
    first = max(axis.index(local_midnight(first_day)), 48)
    over = axis.index(issued)
    made: Rows = []
    for index in axis.clamp(first, axis.index(local_midnight(today + 8 * _DAY))):
        period = SettlementPeriod.at(axis.at(index))
        done = index < over
        # Recorded: the two newest outturn rows lack demand, and forecast rows hold none at all.
        complete = index < over - _INCOMPLETE_ROWS
        flows = [int(flow) if done else 0 for flow in demand.flows[:, index]]
        made.append(
            [
                period.settlement_date.isoformat(),
                period.number,
                int(demand.national[index]) if complete else 0,
                "A" if done else "F",
                _transmission(out, index, done=done, complete=complete),
                int(demand.england_wales[index]) if complete else 0,
                int(demand.embedded_wind[index]),
                _WIND_CAPACITY_MW,
                int(demand.embedded_sun[index]),
                ref.SOLAR_FLEET_MW,
                0,
                int(demand.pumping[index]) if done else 0,
                int(demand.scottish_transfer[index]) if done else 0,
                *flows,
            ]
        )
    return made


def _transmission(out: Published, index: int, *, done: bool, complete: bool) -> int:
    if complete:
        return int(out.scenario.demand.transmission[index])
    return _NOT_YET_MW if done else 0


_CARDINAL_COLUMNS: Columns = (
    ("DAYSAHEAD", "int4"),
    ("TARGETDATE", "int4"),
    ("FORECASTDEMAND", "int4"),
    ("CARDINALPOINT", "text"),
    ("CP_TYPE", "text"),
    ("CP_ST_TIME", "int4"),
    ("CP_END_TIME", "int4"),
    ("F_Point", "text"),
)
_EMBEDDED_COLUMNS: Columns = (
    ("DATE_GMT", "timestamp"),
    ("TIME_GMT", "text"),
    ("SETTLEMENT_DATE", "timestamp"),
    ("SETTLEMENT_PERIOD", "int8"),
    ("EMBEDDED_WIND_FORECAST", "int8"),
    ("EMBEDDED_WIND_CAPACITY", "int8"),
    ("EMBEDDED_SOLAR_FORECAST", "int8"),
    ("EMBEDDED_SOLAR_CAPACITY", "int8"),
)
_UPDATE_COLUMNS: Columns = (
    ("SETTLEMENT_DATE", "text"),
    ("SETTLEMENT_PERIOD", "int8"),
    ("ND", "int8"),
    ("FORECAST_ACTUAL_INDICATOR", "text"),
    ("TSD", "int8"),
    ("ENGLAND_WALES_DEMAND", "int8"),
    ("EMBEDDED_WIND_GENERATION", "int8"),
    ("EMBEDDED_WIND_CAPACITY", "int8"),
    ("EMBEDDED_SOLAR_GENERATION", "int8"),
    ("EMBEDDED_SOLAR_CAPACITY", "int8"),
    ("NON_BM_STOR", "int8"),
    ("PUMP_STORAGE_PUMPING", "int8"),
    ("SCOTTISH_TRANSFER", "int8"),
    *((name, "int8") for name in _FLOWS),
)
_EAC_COLUMNS: Columns = (
    ("auctionID", "text"),
    ("auctionProduct", "text"),
    ("serviceType", "text"),
    ("deliveryStart", "timestamp"),
    ("deliveryEnd", "timestamp"),
    ("clearedVolume", "numeric"),
    ("clearingPrice", "numeric"),
    ("linkedServiceWindowID", "text"),
)
_DFS_COLUMNS: Columns = (
    ("Event ID", "text"),
    ("Event Type", "text"),
    ("Event Tag", "text"),
    ("Delivery Date", "text"),
    ("From_Local", "text"),
    ("To_Local", "text"),
    ("From_UTC", "text"),
    ("To_UTC", "text"),
    ("Registered DFS Participant", "text"),
    ("DFS Unit ID", "text"),
    ("Zone", "int8"),
    ("DFS Procured MW", "numeric"),
    ("Service Requirement Type", "text"),
    ("Utilisation Price GBP per MWh", "numeric"),
    ("Status", "text"),
)
_DFS_SUMMARY_COLUMNS: Columns = (
    *_DFS_COLUMNS[:8],
    ("Service Requirement Type", "text"),
    ("Service Requirement MW", "numeric"),
    ("DFS Procured MW", "numeric"),
    ("DFS Provider Bids Accepted Total Cost GBP", "numeric"),
    ("DFS Provider Settled Volume MWh", "numeric"),
    ("DFS Provider Settled Cost GBP", "numeric"),
)


FILES: tuple[DataFile, ...] = (
    DataFile(
        "aec5601a-7f3e-4c4c-bf56-d8e4184d3c5b",
        "1-day-ahead-demand-forecast",
        "1 Day Ahead Demand Forecast",
        "Day Ahead National Demand Forecast",
        "ng-demand-1dayahead",
        _CARDINAL_COLUMNS,
        _cardinal(9, 15, (1,)),
        _at(9, 15),
        quoted=True,
    ),
    DataFile(
        "cda26f27-4bb6-4632-9fb5-2d029ca605e1",
        "2-day-ahead-demand-forecast",
        "2 Day Ahead Demand Forecast",
        "2 Day Ahead Demand Forecast",
        "ng-demand-2dayahead",
        _CARDINAL_COLUMNS,
        _cardinal(9, 20, (2,)),
        _at(9, 20),
        quoted=True,
    ),
    DataFile(
        "70d3d674-15a6-4e41-83b4-410440c0b0b9",
        "7-day-ahead-national-forecast",
        "7 Day Ahead National Forecast",
        "7 Day Ahead Demand Forecast",
        "ng-demand-7dayahead",
        _CARDINAL_COLUMNS,
        _cardinal(9, 25, (2, 3, 4, 5, 6, 7)),
        _at(9, 25),
        quoted=True,
    ),
    DataFile(
        "7c0411cd-2714-4bb5-a408-adb065edf34d",
        "2-14-days-ahead-national-demand-forecast",
        "2-14 Days Ahead National Demand Forecast",
        "2-14 Days Ahead Half Hourly Forecast",
        "ng-demand-14da-hh",
        (
            ("DATE", "timestamp"),
            ("CTIME", "int4"),
            ("GDATETIME", "timestamp"),
            ("NATIONALDEMAND", "numeric"),
        ),
        _half_hourly,
        _at(14, 15),
    ),
    DataFile(
        "9af18ed4-efc8-4779-bef5-c0927fee9b0a",
        "2-14-days-ahead-national-demand-forecast",
        "2-14 Days Ahead National Demand Forecast",
        "2-14 Days Ahead Cardinal Point Forecast",
        "ng-demand-14da-cp",
        _CARDINAL_COLUMNS,
        _cardinal(14, 15, tuple(range(2, 15))),
        _at(14, 15),
        quoted=True,
    ),
    DataFile(
        "177f6fa4-ae49-4182-81ea-0c6b35f26ca6",
        "daily-demand-update",
        "Daily Demand Update",
        "Demand Data Update",
        "demanddataupdate",
        _UPDATE_COLUMNS,
        _demand_update,
        _every(1, 10),
    ),
    DataFile(
        "db6c038f-98af-4570-ab60-24d71ebd0ae5",
        "embedded-wind-and-solar-forecasts",
        "Embedded Wind and Solar Forecasts",
        "Embedded Solar and Wind Forecast",
        "embedded_forecast",
        _EMBEDDED_COLUMNS,
        _embedded,
        _every(6, 5),
        crlf=True,
    ),
    DataFile(
        "3ebf77d7-05df-466e-a023-dc45a90efeea",
        "demand-flexibility",
        "Demand Flexibility Service",
        "DFS Utilisation Report",
        "dfs_utilisation_report",
        _DFS_COLUMNS,
        dfs_bid_rows,
        dfs_modified,
        crlf=True,
        bom=True,
    ),
    DataFile(
        "705e573c-ddac-4675-b410-82916b35c4fe",
        "demand-flexibility",
        "Demand Flexibility Service",
        "DFS Utilisation Report Summary",
        "dfs_utilisation_report_summary",
        _DFS_SUMMARY_COLUMNS,
        dfs_summary_rows,
        dfs_modified,
        crlf=True,
        bom=True,
    ),
    DataFile(
        "596f29ac-0387-4ba4-a6d3-95c243140707",
        "eac-auction-results",
        "EAC Auction Results",
        "EAC Results Summary",
        "eac-results-summary",
        _EAC_COLUMNS,
        eac_rows,
        _at(14, 30),
    ),
)
