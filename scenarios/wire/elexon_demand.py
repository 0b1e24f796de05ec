"""Rows of Elexon's demand data: outturn as one and as two datasets, and day-ahead forecasts."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import date, datetime, timedelta

from scenarios.axis import Axis
from scenarios.publication import Published
from scenarios.wire.elexon_rows import Row, second, settlement
from schema.periods import LONDON, local_midnight

_DAY = timedelta(days=1)
_ISSUED_EVERY = timedelta(hours=12)
#: Boundaries of the zonal forecast, and each one's part of demand in 1/1000. The source's list of
#: codes could not be confirmed; these stand for it.
_ZONES = (
    ("B1", 16), ("B2", 22), ("B3", 12), ("B4", 30), ("B5", 34), ("B6", 62), ("B7", 110),
    ("B8", 124), ("B9", 138), ("B10", 46), ("B11", 96), ("B12", 70), ("B13", 38), ("B14", 122),
    ("B15", 34), ("B16", 24), ("B17", 22),
)  # fmt: skip


def of_days(axis: Axis, days: Sequence[date]) -> range:
    """Give the half hours of settlement days that follow each other."""
    first = axis.index(local_midnight(days[0]))
    return axis.clamp(first, axis.index(local_midnight(days[-1] + _DAY)))


def outturn_rows(out: Published, days: Sequence[date]) -> list[Row]:
    """Give initial demand outturn, national and transmission in one row."""
    axis, demand = out.scenario.axis, out.scenario.demand
    rows: list[Row] = []
    for index in of_days(axis, days):
        published = out.outturn_at(index)
        if published is None:
            continue
        at = axis.at(index)
        rows.append(
            {
                "publishTime": second(published),
                "startTime": second(at),
                **settlement(at),
                "initialDemandOutturn": int(demand.national[index]),
                "initialTransmissionSystemDemandOutturn": int(demand.transmission[index]),
            }
        )
    return rows


def indo_rows(out: Published, code: str) -> list[Row]:
    """Give all rows of INDO or ITSDO that are out, oldest first."""
    axis, demand = out.scenario.axis, out.scenario.demand
    figures = demand.national if code == "INDO" else demand.transmission
    rows: list[Row] = []
    for index in range(max(0, axis.index(out.now) - 8 * 48), axis.index(out.now) + 1):
        published = out.outturn_at(index)
        if published is not None:
            rows.append(
                {
                    "publishTime": second(published),
                    "startTime": second(axis.at(index)),
                    **settlement(axis.at(index)),
                    "demand": int(figures[index]),
                }
            )
    return rows


def _issue(out: Published) -> datetime:
    return out.last_revision(_ISSUED_EVERY)


def _horizon(out: Published, issued: datetime) -> range:
    """A forecast runs from its issue to the end of the next London day."""
    axis = out.scenario.axis
    after = local_midnight(issued.astimezone(LONDON).date() + 2 * _DAY)
    return axis.clamp(axis.index(issued), axis.index(after))


def _forecast(out: Published, index: int, issued: datetime) -> tuple[int, int]:
    """Give (national, transmission) demand forecast: its error fades towards delivery."""
    axis, demand = out.scenario.axis, out.scenario.demand
    hours = max(0, int((axis.at(index) - issued).total_seconds() // 3600))
    error = int(demand.forecast_error[index]) * min(hours, 48) // 36
    return int(demand.national[index]) + error, int(demand.transmission[index]) + error


def day_ahead_rows(out: Published, *, zonal: bool) -> list[Row]:
    """Give the newest day-ahead forecast, for the nation or by zone (then without ND)."""
    issued = _issue(out)
    zones = _ZONES if zonal else (("N", 1000),)
    rows: list[Row] = []
    for index in _horizon(out, issued):
        at = out.scenario.axis.at(index)
        national, transmission = _forecast(out, index, issued)
        rows.extend(
            {
                "publishTime": second(issued),
                "startTime": second(at),
                **settlement(at),
                "boundary": code,
                "transmissionSystemDemand": transmission * part // 1000,
                "nationalDemand": None if zonal else national,
            }
            for code, part in zones
        )
    return rows


def demand_forecast_rows(out: Published, code: str, *, zonal: bool) -> list[Row]:
    """Give NDF or TSDF rows of the forecasts issued in the last day, oldest first."""
    issued = _issue(out)
    rows: list[Row] = []
    moments = [issued - n * _ISSUED_EVERY for n in range(_DAY // _ISSUED_EVERY, -1, -1)]
    zones = _ZONES if zonal else (("N", 1000),)
    for moment in moments:
        for index in _horizon(out, moment):
            at = out.scenario.axis.at(index)
            national, transmission = _forecast(out, index, moment)
            demand = national if code == "NDF" else transmission
            rows.extend(
                {
                    "demand": demand * part // 1000,
                    "publishTime": second(moment),
                    "startTime": second(at),
                    **settlement(at),
                    "boundary": zone,
                }
                for zone, part in zones
            )
    return rows
