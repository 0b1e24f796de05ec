"""``workloads.csv`` and ``windows.csv`` of a scenario.

    workloads.csv  organisation,arrival_tick,workload_id,power_kw,duration_min,earliest_start,
                   deadline,regions,interruptible,home_region,delay_cost_gbp_per_kwh_h,
                   refusal_value_gbp[,priority]
    windows.csv    item_id,name,zone_code,area,region_id,country,longitude,latitude,starts_at,
                   ends_at,capacity_kw,intensity_gco2_per_kwh,renewable_pct,price_per_kwh,currency,
                   stability,published_at

In the first, ``regions`` are separated by ``;`` and the last three columns may be empty (they are
those of the batch planner). In the second, ``region_id`` is empty for a zone in no
distribution area, and ``price_per_kwh`` for a window without an offer.
"""

from __future__ import annotations

from datetime import datetime
from pathlib import Path

from pydantic import ValidationError

from scenarios.faults import field_path
from scenarios.model import ScenarioFile
from scenarios.reading import Collector, Row, parsed, read_csv
from scenarios.windows import CENTRES, Window
from schema.periods import parse_instant
from schema.workloads import Workload

Arrival = tuple[str, int, Workload]
"""Organisation, arrival tick, workload."""

WORKLOAD_COLUMNS = (
    "organisation",
    "arrival_tick",
    "workload_id",
    "power_kw",
    "duration_min",
    "earliest_start",
    "deadline",
    "regions",
    "interruptible",
    "home_region",
    "delay_cost_gbp_per_kwh_h",
    "refusal_value_gbp",
)
#: Those of a workload itself.
BATCH_COLUMNS = WORKLOAD_COLUMNS[2:]
WINDOW_COLUMNS = (
    "item_id",
    "name",
    "zone_code",
    "area",
    "region_id",
    "country",
    "longitude",
    "latitude",
    "starts_at",
    "ends_at",
    "capacity_kw",
    "intensity_gco2_per_kwh",
    "renewable_pct",
    "price_per_kwh",
    "currency",
    "stability",
    "published_at",
)
_YES_NO = {"true": True, "yes": True, "1": True, "false": False, "no": False, "0": False}
_COLUMN_OF = {
    "workload_name": "workload_id",
    "allowed_regions": "regions",
    "home_region_id": "home_region",
}
_INSTANT = "an instant with a zone, such as 2026-05-01T10:30Z"


def read_workloads(path: Path, found: Collector) -> list[Arrival]:
    """Read ``workloads.csv``; a row that cannot be a workload is a fault with its reason."""
    arrivals: list[Arrival] = []
    for line, row in read_csv(path, WORKLOAD_COLUMNS, ("priority",), found):
        if found.full:
            break
        tick = parsed(row, "arrival_tick", line, _count, "a whole number from 0", found)
        before = len(found.faults)
        workload = _workload(line, row, found)
        if tick is not None and workload is not None and before == len(found.faults):
            arrivals.append((row["organisation"].strip(), tick, workload))
    return arrivals


def read_submissions(path: Path, found: Collector) -> list[tuple[int, str, Workload]]:
    """Read workloads to submit: line, agent ("" where the row names none), and workload.

    The columns are those of the batch planner, and ``agent_name`` and ``priority`` if wanted.
    """
    read: list[tuple[int, str, Workload]] = []
    for line, row in read_csv(path, BATCH_COLUMNS, ("agent_name", "priority"), found):
        if found.full:
            break
        workload = _workload(line, row, found)
        if workload is not None:
            read.append((line, row.get("agent_name", "").strip(), workload))
    return read


def _workload(line: int, row: Row, found: Collector) -> Workload | None:
    regions = parsed(row, "regions", line, _regions, "region numbers separated by ';'", found)
    flag = parsed(row, "interruptible", line, _flag, "true or false", found)
    if regions is None or flag is None:
        return None
    optional = {
        name: row[column].strip()
        for name, column in (
            ("home_region_id", "home_region"),
            ("delay_cost_gbp_per_kwh_h", "delay_cost_gbp_per_kwh_h"),
            ("refusal_value_gbp", "refusal_value_gbp"),
            ("priority", "priority"),
        )
        if row.get(column, "").strip()
    }
    try:
        return Workload.model_validate(
            {
                "workload_name": row["workload_id"].strip(),
                "power_kw": row["power_kw"].strip(),
                "duration_min": row["duration_min"].strip(),
                "earliest_start": row["earliest_start"].strip(),
                "deadline": row["deadline"].strip(),
                "allowed_regions": regions,
                "interruptible": flag,
                **optional,
            }
        )
    except ValidationError as exc:
        for error in exc.errors():
            name = field_path(error["loc"])
            column = _COLUMN_OF.get(name.split("[")[0], name)
            value = row.get(column, "") if column else ""
            place = f"line {line}, {column}" if column else f"line {line}"
            found.add(place, value, error["msg"].removeprefix("Value error, "))
        return None


def read_windows(path: Path, file: ScenarioFile, found: Collector) -> tuple[Window, ...]:
    """Read ``windows.csv``, in order of start."""
    del file
    windows: dict[str, Window] = {}
    for line, row in read_csv(path, WINDOW_COLUMNS, (), found):
        if found.full:
            break
        window = _window(line, row, found)
        if window is None:
            continue
        if window.item_id in windows:
            found.add(f"line {line}, item_id", window.item_id, "is there twice; once each")
        windows[window.item_id] = window
    return tuple(sorted(windows.values(), key=lambda w: (w.starts_at, w.item_id)))


def _window(line: int, row: Row, found: Collector) -> Window | None:
    before = len(found.faults)
    region = None
    if row["region_id"].strip():
        region = parsed(row, "region_id", line, _region, "a number 1 to 14, or empty", found)
    price = None
    if row["price_per_kwh"].strip():
        price = parsed(row, "price_per_kwh", line, _price, "a price per kWh, or empty", found)
    starts = parsed(row, "starts_at", line, parse_instant, _INSTANT, found)
    ends = parsed(row, "ends_at", line, parse_instant, _INSTANT, found)
    published = parsed(row, "published_at", line, parse_instant, _INSTANT, found)
    watts = parsed(row, "capacity_kw", line, _watts, "kW above 0, at most 1000000", found)
    carbon = parsed(row, "intensity_gco2_per_kwh", line, _carbon, "0 to 1000, whole", found)
    green = parsed(row, "renewable_pct", line, _percent, "0 to 100, whole", found)
    fallback = CENTRES[(region or 1) - 1]
    longitude = _coordinate(row, "longitude", line, fallback[0], 180.0, found)
    latitude = _coordinate(row, "latitude", line, fallback[1], 90.0, found)
    for name in ("item_id", "zone_code", "area", "currency"):
        if not row[name].strip():
            found.add(f"line {line}, {name}", "", "is empty; it is needed")
    if starts is not None and ends is not None and not _plausible(starts, ends):
        allowed = "must be after starts_at, at most 24 h: a catalogue gives times of day"
        found.add(f"line {line}, ends_at", row["ends_at"], allowed)
    if before != len(found.faults):
        return None
    if None in (starts, ends, published, watts, carbon, green):
        return None
    return Window(
        item_id=row["item_id"].strip(),
        name=row["name"].strip() or row["item_id"].strip(),
        zone_code=row["zone_code"].strip(),
        area=row["area"].strip(),
        region_id=region,
        country=row["country"].strip() or "GB",
        longitude=longitude,
        latitude=latitude,
        starts_at=_some(starts),
        ends_at=_some(ends),
        capacity_w=watts or 0,
        intensity=carbon or 0,
        renewable_pct=green or 0,
        price_pence_per_mwh=price,
        currency=row["currency"].strip(),
        stability=row["stability"].strip() or "stable",
        published_at=_some(published),
    )


def _plausible(starts: datetime, ends: datetime) -> bool:
    return 0 < (ends - starts).total_seconds() <= 24 * 3600


def _some(instant: datetime | None) -> datetime:
    if instant is None:
        msg = "an instant was checked before"
        raise AssertionError(msg)
    return instant


def _coordinate(
    row: Row, name: str, line: int, fallback: float, limit: float, found: Collector
) -> float:
    if not row[name].strip():
        return fallback
    value = parsed(row, name, line, float, f"degrees from -{limit:g} to {limit:g}", found)
    if value is not None and not -limit <= value <= limit:
        found.add(f"line {line}, {name}", row[name], f"degrees from -{limit:g} to {limit:g}")
    return fallback if value is None else value


def _count(text: str) -> int:
    number = int(text)
    if not 0 <= number <= 10_000:  # noqa: PLR2004
        raise ValueError(text)
    return number


def _regions(text: str) -> list[int]:
    return [int(part) for part in text.split(";") if part.strip()]


def _flag(text: str) -> bool:
    if text.lower() not in _YES_NO:
        raise ValueError(text)
    return _YES_NO[text.lower()]


def _region(text: str) -> int:
    return _bounded(text, 1, 14)


def _carbon(text: str) -> int:
    return _bounded(text, 0, 1000)


def _percent(text: str) -> int:
    return _bounded(text, 0, 100)


def _bounded(text: str, low: int, high: int) -> int:
    number = int(text)
    if not low <= number <= high:
        raise ValueError(text)
    return number


def _price(text: str) -> int:
    number = float(text)
    if not -100 <= number <= 1000:  # noqa: PLR2004
        raise ValueError(text)
    return round(number * 1e5)


def _watts(text: str) -> int:
    number = float(text)
    if not 0 < number <= 1e6:  # noqa: PLR2004
        raise ValueError(text)
    return round(number * 1000)
