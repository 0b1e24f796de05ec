"""Reading real figures from the CSV forms they are published in, and moving them to other dates.

National intensity: ``from,to,forecast,actual,index`` as exported from the Carbon Intensity API.
Imbalance prices: ``Settlement Date`` (dd/mm/yyyy), ``Settlement Period``, ``System Sell Price…`` as
exported from Elexon. Prices by instant: ``valid_from,price_gbp_per_mwh``. Traces: ``arrival_time,
length,cpus`` with hours as unit.
"""

from __future__ import annotations

import csv
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from enum import StrEnum
from pathlib import Path

from scenarios.reading import MAX_CSV_BYTES, FileFault, read_bytes
from schema.errors import ScenarioError
from schema.periods import HALF_HOUR, SettlementPeriod, floor_half_hour, format_instant
from schema.regions import REGION_IDS

Series = dict[datetime, float]
_DAY = timedelta(days=1)


class GapPolicy(StrEnum):
    """What to do about half hours that the data lack."""

    REFUSE = "refuse"
    """Stop, and name them."""
    PREVIOUS_DAY = "previous-day"
    """Take the same half hour of the day before, or of the day before that; marked estimated."""
    INTERPOLATE = "interpolate"
    """Draw a straight line between the neighbours of the gap; marked estimated."""


@dataclass(frozen=True, slots=True)
class Filled:
    """A series without gaps, and the half hours that were filled."""

    values: Series
    estimated: frozenset[datetime]


@dataclass(frozen=True, slots=True)
class Job:
    """One job of a trace; hours."""

    arrival_h: float
    length_h: float
    cpus: float


def _rows(path: Path) -> Iterator[tuple[int, dict[str, str]]]:
    try:
        text = read_bytes(path, MAX_CSV_BYTES).decode("utf-8-sig")
    except FileFault as exc:
        msg = str(exc)
        raise ScenarioError(msg, path=str(path)) from exc
    except UnicodeDecodeError as exc:
        msg = f"{path.name}: byte {exc.start} is not UTF-8; save the file as UTF-8"
        raise ScenarioError(msg, path=str(path)) from exc
    reader = csv.DictReader(text.splitlines())
    try:
        for row in reader:
            yield reader.line_num, {k.strip(): (v or "").strip() for k, v in row.items() if k}
    except csv.Error as exc:
        msg = f"{path.name}: line {reader.line_num} is no valid CSV: {exc}"
        raise ScenarioError(msg, path=str(path)) from exc


def _bad(path: Path, line: int, column: str, value: str, allowed: str) -> ScenarioError:
    msg = f"{path.name}: line {line}, {column} is {value!r}: {allowed}"
    return ScenarioError(msg, path=str(path), field=column, value=value)


def _need(path: Path, row: dict[str, str], *columns: str) -> None:
    for column in columns:
        if column not in row:
            msg = f"{path.name}: column {column!r} is missing; found are {', '.join(row)}"
            raise ScenarioError(msg, path=str(path), field=column)


def read_national(path: Path) -> tuple[Series, Series]:
    """Read (forecasts, outturns) in gCO2/kWh.

    An outturn of exactly 0 is a known fault of the source and counts as missing: Great Britain
    never ran without any carbon.
    """
    forecast: Series = {}
    actual: Series = {}
    for line, row in _rows(path):
        _need(path, row, "from", "forecast", "actual")
        at = _instant(path, line, "from", row["from"])
        if row["forecast"]:
            forecast[at] = _number(path, line, "forecast", row["forecast"])
        if row["actual"]:
            value = _number(path, line, "actual", row["actual"])
            if value > 0:
                actual[at] = value
    return forecast, actual


def read_prices(path: Path, shift_days: int = 0) -> Series:
    """Read prices in GBP/MWh, moved by whole settlement days.

    Settlement days are days of the London clock: period 3 stays period 3. A day of 50 or 46
    periods moved onto an ordinary one loses, or lacks, two periods; what is lacking is a gap.
    """
    prices: Series = {}
    for line, row in _rows(path):
        if "valid_from" in row:
            _need(path, row, "price_gbp_per_mwh")
            at = _instant(path, line, "valid_from", row["valid_from"]) + shift_days * _DAY
            prices[at] = _number(path, line, "price_gbp_per_mwh", row["price_gbp_per_mwh"])
            continue
        _need(path, row, "Settlement Date", "Settlement Period")
        column = next((name for name in row if name.startswith("System Sell Price")), None)
        if column is None:
            _need(path, row, "System Sell Price(£/MWh)")
            continue
        day = _day(path, line, row["Settlement Date"]) + shift_days * _DAY
        number = row["Settlement Period"]
        try:
            start = SettlementPeriod(day, int(number)).start
        except ValueError as exc:
            if number in {"47", "48", "49", "50"}:
                continue
            raise _bad(path, line, "Settlement Period", number, str(exc)) from exc
        prices[start] = _number(path, line, column, row[column])
    return prices


def first_day(path: Path) -> date:
    """Give the first settlement day of a price file."""
    for line, row in _rows(path):
        if "valid_from" in row:
            return _instant(path, line, "valid_from", row["valid_from"]).date()
        _need(path, row, "Settlement Date")
        return _day(path, line, row["Settlement Date"])
    msg = f"{path.name}: has no rows"
    raise ScenarioError(msg, path=str(path))


def read_trace(path: Path) -> list[Job]:
    """Read the jobs of a trace, in order of arrival."""
    jobs = []
    for line, row in _rows(path):
        _need(path, row, "arrival_time", "length", "cpus")
        job = Job(
            _number(path, line, "arrival_time", row["arrival_time"]),
            _number(path, line, "length", row["length"]),
            _number(path, line, "cpus", row["cpus"]),
        )
        if job.length_h <= 0 or job.cpus <= 0:
            raise _bad(path, line, "length", row["length"], "length and cpus are above 0")
        jobs.append(job)
    return sorted(jobs, key=lambda job: job.arrival_h)


def fill(series: Series, first: datetime, last: datetime, policy: GapPolicy, name: str) -> Filled:
    """Give every half hour of ``[first, last)``.

    Raises:
        ScenarioError: Half hours are missing and the policy refuses, or cannot fill them.
    """
    wanted = [first + i * HALF_HOUR for i in range((last - first) // HALF_HOUR)]
    missing = [at for at in wanted if at not in series]
    if missing and policy is GapPolicy.REFUSE:
        raise _gap(name, missing, "choose --gaps previous-day or interpolate to fill them")
    values = {at: series[at] for at in wanted if at in series}
    if missing and not values:
        raise _gap(name, missing, "the file has nothing near these dates; re-date it")
    for at in missing:
        found = _filled(series, values, at, policy)
        if found is None:
            raise _gap(name, missing, f"{policy.value} finds nothing to fill them with")
        values[at] = found
    return Filled(values, frozenset(missing))


def _filled(series: Series, values: Series, at: datetime, policy: GapPolicy) -> float | None:
    if policy is GapPolicy.PREVIOUS_DAY:
        for days in range(1, 8):
            known = values.get(at - days * _DAY, series.get(at - days * _DAY))
            if known is not None:
                return known
        return None
    before = max((t for t in series if t < at), default=None)
    after = min((t for t in series if t > at), default=None)
    if before is None or after is None:
        return None
    part = (at - before) / (after - before)
    return series[before] + part * (series[after] - series[before])


def _gap(name: str, missing: list[datetime], hint: str) -> ScenarioError:
    first, last = format_instant(missing[0]), format_instant(missing[-1])
    msg = f"{name}: {len(missing)} half hours are missing, first {first}, last {last}; {hint}"
    return ScenarioError(msg, field=name, value=first)


def _instant(path: Path, line: int, column: str, text: str) -> datetime:
    try:
        at = datetime.fromisoformat(text)
    except ValueError:
        raise _bad(path, line, column, text, "an instant such as 2023-01-01T00:00Z") from None
    if at.tzinfo is None:
        raise _bad(path, line, column, text, "an instant with a time zone")
    at = at.astimezone(UTC)
    if floor_half_hour(at) != at:
        raise _bad(path, line, column, text, "an instant on a half hour")
    return at


def _day(path: Path, line: int, text: str) -> date:
    try:
        if "/" in text:
            day, month, year = (int(part) for part in text.split("/"))
            return date(year, month, day)
        return date.fromisoformat(text)
    except ValueError:
        raise _bad(path, line, "Settlement Date", text, "dd/mm/yyyy or yyyy-mm-dd") from None


def _number(path: Path, line: int, column: str, text: str) -> float:
    try:
        value = float(text)
    except ValueError:
        value = float("nan")
    if not -1e6 < value < 1e6:  # noqa: PLR2004
        raise _bad(path, line, column, text, "a number")
    return value


def read_factors(path: Path) -> tuple[float, ...]:
    """Read ``region_id,factor`` of all 14 regions, in order of region."""
    factors: dict[int, float] = {}
    for line, row in _rows(path):
        _need(path, row, "region_id", "factor")
        if row["region_id"] not in {str(number) for number in REGION_IDS}:
            raise _bad(path, line, "region_id", row["region_id"], "a number from 1 to 14")
        factors[int(row["region_id"])] = _number(path, line, "factor", row["factor"])
    missing = sorted(set(REGION_IDS) - set(factors))
    if missing:
        msg = f"{path.name}: region {missing[0]} is missing; all {len(REGION_IDS)} are needed"
        raise ScenarioError(msg, path=str(path), field="region_id")
    return tuple(factors[number] for number in REGION_IDS)
