"""The CSV tables of a scenario, read whole and checked: no hole, no double, no impossible figure.

    regional.csv  region_id,valid_from,forecast_gco2_per_kwh[,issued_at][,quality]
    national.csv  valid_from,forecast_gco2_per_kwh,actual_gco2_per_kwh[,issued_at][,quality]
    prices.csv    valid_from,mid_gbp_per_mwh,system_gbp_per_mwh[,mid_volume_mwh][,quality]

Regional and national tables cover every half hour from 24 h before the start to 48 h after the
end; prices reach back seven days. With ``issued_at`` a row is a revision: it stands from that
instant on. Without it, it stands from the beginning. ``quality`` is ``published`` or ``estimated``;
a table with estimated rows needs ``grid.method``.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

import numpy as np

from scenarios.axis import PRICES_BEFORE, TABLE_AFTER, TABLE_BEFORE, Axis
from scenarios.model import ScenarioFile
from scenarios.reading import Collector, Row, parsed, read_csv
from scenarios.rng import Ints
from scenarios.synth.forecasts import LARGEST_INTENSITY, Vintages
from schema.periods import HALF_HOUR, format_instant, parse_instant
from schema.readings import Quality
from schema.regions import REGION_COUNT

MAX_REVISIONS = 400
_TOO_MANY = f"is one instant too many; a table has at most {MAX_REVISIONS} revisions"
_MISSING = -1
_MAX_PRICE_GBP = 10_000
_INTENSITY = f"a whole number of gCO2/kWh from 0 to {LARGEST_INTENSITY}"
_INSTANT = "an instant with a zone on a half hour, such as 2026-05-01T10:30Z"
_REGION = "a region number from 1 to 14"
_PRICE = f"GBP/MWh from -{_MAX_PRICE_GBP} to {_MAX_PRICE_GBP}, two decimals"
_VOLUME = "MWh from 0 to 100000"
_QUALITY = "published or estimated"


@dataclass(frozen=True, slots=True)
class NationalTable:
    """National forecasts by revision, and the outturn ``[T]`` (-1 where it never appears)."""

    forecasts: Vintages
    actual: Ints
    estimated: bool


@dataclass(frozen=True, slots=True)
class RegionalTable:
    """Regional forecasts by revision."""

    forecasts: Vintages
    estimated: bool


@dataclass(frozen=True, slots=True)
class PriceTable:
    """Pence per MWh ``[T]``; volume in kWh. ``known`` says where the table has a figure."""

    mid: Ints
    system: Ints
    volume: Ints
    known: np.ndarray[tuple[int], np.dtype[np.bool_]]
    estimated: bool


def read_regional(path: Path, file: ScenarioFile, axis: Axis, found: Collector) -> RegionalTable:
    """Read ``regional.csv``; faults go to ``found``."""
    reader = _VintageReader(axis, REGION_COUNT, found)
    columns = ("region_id", "valid_from", "forecast_gco2_per_kwh")
    for line, row in read_csv(path, columns, ("issued_at", "quality"), found):
        region = parsed(row, "region_id", line, _region, _REGION, found)
        value = parsed(row, "forecast_gco2_per_kwh", line, _intensity, _INTENSITY, found)
        reader.take(line, row, None if region is None else region - 1, value)
        if found.full:
            break
    forecasts = reader.finish(*_span(file, axis), "region_id")
    return RegionalTable(forecasts, reader.estimated)


def read_national(path: Path, file: ScenarioFile, axis: Axis, found: Collector) -> NationalTable:
    """Read ``national.csv``; an empty actual is one that never appears."""
    reader = _VintageReader(axis, 1, found)
    actual = np.full(axis.periods, _MISSING, dtype=np.int64)
    columns = ("valid_from", "forecast_gco2_per_kwh", "actual_gco2_per_kwh")
    for line, row in read_csv(path, columns, ("issued_at", "quality"), found):
        value = parsed(row, "forecast_gco2_per_kwh", line, _intensity, _INTENSITY, found)
        index = reader.take(line, row, 0, value)
        if index is not None and row["actual_gco2_per_kwh"].strip():
            outturn = parsed(row, "actual_gco2_per_kwh", line, _intensity, _INTENSITY, found)
            if outturn is not None:
                actual[index] = outturn
        if found.full:
            break
    return NationalTable(reader.finish(*_span(file, axis), ""), actual, reader.estimated)


def read_prices(path: Path, file: ScenarioFile, axis: Axis, found: Collector) -> PriceTable:
    """Read ``prices.csv``; ``system_gbp_per_mwh`` may be empty."""
    mid = np.zeros(axis.periods, dtype=np.int64)
    system = np.zeros(axis.periods, dtype=np.int64)
    volume = np.full(axis.periods, 1_500_000, dtype=np.int64)
    known = np.zeros(axis.periods, dtype=np.bool_)
    estimated = False
    columns = ("valid_from", "mid_gbp_per_mwh", "system_gbp_per_mwh")
    for line, row in read_csv(path, columns, ("mid_volume_mwh", "quality"), found):
        if found.full:
            break
        index = _index(axis, row, line, found)
        price = parsed(row, "mid_gbp_per_mwh", line, _pence, _PRICE, found)
        balancing = price
        if row["system_gbp_per_mwh"].strip():
            balancing = parsed(row, "system_gbp_per_mwh", line, _pence, _PRICE, found)
        mwh = None
        if row.get("mid_volume_mwh", "").strip():
            mwh = parsed(row, "mid_volume_mwh", line, _kwh, _VOLUME, found)
        estimated |= _quality(row, line, found) is Quality.ESTIMATED
        if index is None or price is None or balancing is None:
            continue
        if known[index]:
            found.add(f"line {line}, valid_from", row["valid_from"], "is there twice; once each")
            continue
        known[index] = True
        mid[index], system[index] = price, balancing
        if mwh is not None:
            volume[index] = mwh
    if not found.faults:
        first = axis.index(file.start - PRICES_BEFORE)
        last = axis.index(file.end + TABLE_AFTER)
        _tell_holes(axis, ~known[first:last], first, "", found)
    return PriceTable(mid, system, volume, known, estimated)


class _VintageReader:
    """Collects revisions of forecasts; a later one replaces the earlier from its issue on."""

    def __init__(self, axis: Axis, rows: int, found: Collector) -> None:
        self.axis, self.rows, self.found = axis, rows, found
        self.estimated = False
        self._by_issue: dict[datetime, dict[tuple[int, int], int]] = {}

    def take(self, line: int, row: Row, where: int | None, value: int | None) -> int | None:
        """Take one row; give the axis index of its half hour where it is fit."""
        found = self.found
        index = _index(self.axis, row, line, found)
        issued: datetime | None = self.axis.origin
        if row.get("issued_at", "").strip():
            issued = parsed(row, "issued_at", line, parse_instant, _INSTANT, found)
        self.estimated |= _quality(row, line, found) is Quality.ESTIMATED
        if index is None or issued is None or where is None or value is None:
            return None
        if issued not in self._by_issue and len(self._by_issue) >= MAX_REVISIONS:
            found.add(f"line {line}, issued_at", row["issued_at"], _TOO_MANY)
            return None
        cells = self._by_issue.setdefault(issued, {})
        if (where, index) in cells:
            found.add(f"line {line}, valid_from", row["valid_from"], "is there twice; once each")
            return None
        cells[where, index] = value
        return index

    def finish(self, first: int, last: int, label: str) -> Vintages:
        """Give all revisions; every cell of ``[first, last)`` must be in at least one."""
        issues = sorted(self._by_issue) or [self.axis.origin]
        values = np.full((len(issues), self.rows, self.axis.periods), _MISSING, dtype=np.int64)
        for v, issued in enumerate(issues):
            if v:
                values[v] = values[v - 1]
            for (where, index), value in self._by_issue.get(issued, {}).items():
                values[v, where, index] = value
        if not self.found.faults:
            for where in range(self.rows):
                place = f"{label} {where + 1}, " if label else ""
                holes = values[-1, where, first:last] == _MISSING
                _tell_holes(self.axis, holes, first, place, self.found)
                if self.found.full:
                    break
        return Vintages(tuple(issues), 0, values)


def _span(file: ScenarioFile, axis: Axis) -> tuple[int, int]:
    return axis.index(file.start - TABLE_BEFORE), axis.index(file.end + TABLE_AFTER)


def _tell_holes(
    axis: Axis,
    holes: np.ndarray[tuple[int], np.dtype[np.bool_]],
    first: int,
    place: str,
    found: Collector,
) -> None:
    missing = np.flatnonzero(holes)
    if missing.size:
        start = format_instant(axis.at(first + int(missing[0])))
        end = format_instant(axis.at(first + holes.size - 1))
        found.add(
            f"{place}valid_from {start}",
            "",
            f"is missing, the first of {missing.size} holes; the table must have every half hour "
            f"from {format_instant(axis.at(first))} to {end}",
        )


def _index(axis: Axis, row: Row, line: int, found: Collector) -> int | None:
    at = parsed(row, "valid_from", line, _half_hour, _INSTANT, found)
    if at is None:
        return None
    index = (at - axis.origin) // HALF_HOUR
    # Rows off the axis are no fault: a table may cover more than the replay needs.
    return index if axis.holds(index) else None


def _quality(row: Row, line: int, found: Collector) -> Quality | None:
    text = row.get("quality", "").strip()
    if not text:
        return Quality.PUBLISHED
    if text in {Quality.PUBLISHED.value, Quality.ESTIMATED.value}:
        return Quality(text)
    found.add(f"line {line}, quality", text, f"must be {_QUALITY}")
    return None


def _half_hour(text: str) -> datetime:
    at = parse_instant(text)
    if at.minute % 30 or at.second or at.microsecond:
        raise ValueError(text)
    return at


def _region(text: str) -> int:
    number = int(text)
    if not 1 <= number <= REGION_COUNT:
        raise ValueError(text)
    return number


def _intensity(text: str) -> int:
    number = float(text)
    if not 0 <= number <= LARGEST_INTENSITY or number != round(number):
        raise ValueError(text)
    return round(number)


def _pence(text: str) -> int:
    number = float(text)
    if not -_MAX_PRICE_GBP <= number <= _MAX_PRICE_GBP:
        raise ValueError(text)
    return round(number * 100)


def _kwh(text: str) -> int:
    number = float(text)
    if not 0 <= number <= 100_000:  # noqa: PLR2004
        raise ValueError(text)
    return round(number * 1000)
