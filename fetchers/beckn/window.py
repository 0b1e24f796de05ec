"""One compute-energy window as it stands in a catalogue item or in an order's line.

Both carry the same three groups: grid parameters, time window, capacity. In a catalogue the time
window holds times of day, in an order full instants; in a catalogue the price stands in an offer,
in an order also under pricing parameters.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from datetime import UTC, datetime, time, timedelta
from typing import Any

from fetchers.beckn.wire import Node
from fetchers.wire import instant
from schema.periods import require_utc
from schema.readings import Rejected
from schema.units import mw_to_kw

DAY = timedelta(days=1)
LONGEST = timedelta(days=7)
KW_PER_UNIT = {"kw": 1.0, "mw": mw_to_kw(1.0), "gw": 1e6}
INTENSITY_UNITS = frozenset({"gco2/kwh", "gco2e/kwh", "kgco2/mwh", "gco2eq/kwh"})
PERCENT_UNITS = frozenset({"percent", "%", "pct"})
_DURATION = re.compile(
    r"^P(?:(?P<days>\d+)D)?(?:T(?:(?P<hours>\d+)H)?(?:(?P<minutes>\d+)M)?(?:(?P<seconds>\d+)S)?)?$"
)
_LAST_SECOND = 59


@dataclass(frozen=True, slots=True)
class WindowFacts:
    """What a window's attributes say, in our units; what is not said is None."""

    starts_at: datetime | None
    ends_at: datetime | None
    zone_code: str | None
    area: str | None
    intensity_gco2_per_kwh: float | None
    renewable_pct: float | None
    frequency_hz: float | None
    available_kw: float | None
    reserved_kw: float | None
    active_kw: float | None
    reservation_required: bool | None
    slot_id: str | None
    spot_price_per_kwh: float | None
    currency: str | None
    price_stability: str | None
    changes: dict[str, Any] | None

    @property
    def capacity_kw(self) -> float | None:
        """What the provider still offers; else what it reserved or runs for the order."""
        for figure in (self.available_kw, self.reserved_kw, self.active_kw):
            if figure is not None:
                return figure
        return None


def read_window(
    attributes: Node, *, anchor: datetime | None, problems: list[Rejected]
) -> WindowFacts:
    """Read a window's attributes.

    Args:
        attributes: ``itemAttributes`` or ``orderItemAttributes``.
        anchor: Start of the catalogue's validity; times of day are dated by it.
        problems: Receives figures that cannot be used while the window itself stands.

    Raises:
        ValueError: The window's times or capacity cannot be used.
    """
    empty = Node({}, attributes.path)
    grid = attributes.get("gridParameters") or empty
    capacity = attributes.get("capacityParameters") or empty
    pricing = attributes.get("pricingParameters") or empty
    times = attributes.get("timeWindow")
    starts_at, ends_at = read_times(times, anchor) if times is not None else (None, None)
    return WindowFacts(
        starts_at=starts_at,
        ends_at=ends_at,
        zone_code=grid.text("gridZone"),
        area=grid.text("gridArea"),
        intensity_gco2_per_kwh=_figure(
            grid, "carbonIntensity", INTENSITY_UNITS, (0, 1000), problems
        ),
        renewable_pct=_figure(grid, "renewableMix", PERCENT_UNITS, (0, 100), problems),
        frequency_hz=_figure(grid, "frequency", frozenset({"hz"}), (45, 55), problems),
        available_kw=read_power(capacity, "availableCapacity"),
        reserved_kw=read_power(capacity, "reservedCapacity"),
        active_kw=read_power(capacity, "activeCapacity"),
        reservation_required=capacity.boolean("reservationRequired"),
        slot_id=attributes.text("slotId"),
        spot_price_per_kwh=read_price(pricing, pricing.text("unit"), "spotPrice"),
        currency=read_currency(pricing),
        price_stability=pricing.text("priceStability"),
        changes=_changes(grid, pricing),
    )


def read_power(node: Node, name: str) -> float | None:
    """Give a power in kW; the unit stands beside it as ``capacityUnit`` (MW where absent)."""
    figure = node.number(name)
    if figure is None:
        return None
    unit = (node.text("capacityUnit") or "MW").lower()
    if unit not in KW_PER_UNIT:
        msg = f"{node.path}.capacityUnit is {unit!r}; known are kW, MW and GW"
        raise ValueError(msg)
    if figure < 0:
        msg = f"{node.path}.{name} is {figure}; a capacity is 0 or more"
        raise ValueError(msg)
    return figure * KW_PER_UNIT[unit]


def read_price(node: Node, unit: str | None, *names: str) -> float | None:
    """Give a price per kWh in its own currency; text and number are both seen on the wire."""
    figure = node.number(*names)
    if figure is None:
        return None
    per = (unit or "per_kWh").lower().replace("/", "_per_").rsplit("per_", 1)[-1].strip("_")
    if per == "kwh":
        return figure
    if per == "mwh":
        return figure / 1000
    msg = f"{node.path}: the price is {unit!r}; known units are per_kWh and per_MWh"
    raise ValueError(msg)


def read_currency(node: Node) -> str | None:
    """Give a currency code in capitals."""
    code = node.text("currency")
    return code.upper() if code else None


def read_times(times: Node, anchor: datetime | None) -> tuple[datetime, datetime]:
    """Give a window's first instant and the first instant after it, UTC.

    A time of day is dated by the anchor; an end at or before its start is on the next day; an
    end in the last second of a minute (23:59:59) means the full minute after it.

    Raises:
        ValueError: Missing, unreadable, zone-less or impossible times.
    """
    try:
        return _times(times, anchor)
    except OverflowError:
        msg = f"{times.path}: the times lie outside the years that can be reckoned with"
        raise ValueError(msg) from None


def _times(times: Node, anchor: datetime | None) -> tuple[datetime, datetime]:
    start_text, end_text = times.text("start"), times.text("end")
    if start_text is None:
        msg = f"{times.path}.start is missing; a window needs its start"
        raise ValueError(msg)
    start = _instant(start_text, times.path, anchor)
    if end_text is not None:
        end = _instant(end_text, times.path, start)
        if end.second == _LAST_SECOND:
            end = end.replace(microsecond=0) + timedelta(seconds=1)
        if end <= start and _is_time_of_day(end_text):
            end += DAY
    else:
        end = start + read_duration(times.text("duration"), times.path)
    if _is_time_of_day(start_text) and anchor is not None and end <= anchor:
        start, end = start + DAY, end + DAY
    if not timedelta(0) < end - start <= LONGEST:
        msg = (
            f"{times.path}: {start_text} to {end_text} lasts {end - start}; "
            "a window lasts more than 0 and at most 7 days"
        )
        raise ValueError(msg)
    return start, end


def read_duration(text: str | None, path: str) -> timedelta:
    """Read an ISO 8601 duration of days, hours, minutes and seconds."""
    match = _DURATION.match(text.strip()) if text else None
    if match is None or not any(match.groups()):
        msg = f"{path}: end is missing and duration is {text!r}; one of them is needed (PT4H)"
        raise ValueError(msg)
    return timedelta(**{name: int(part) for name, part in match.groupdict().items() if part})


def _is_time_of_day(text: str) -> bool:
    return "-" not in text[:8]


def _instant(text: str, path: str, anchor: datetime | None) -> datetime:
    if not _is_time_of_day(text):
        return instant(text, path)
    try:
        clock = time.fromisoformat(text)
    except ValueError:
        msg = f"{path}: {text!r} is neither an instant nor a time of day such as 22:00:00Z"
        raise ValueError(msg) from None
    if clock.tzinfo is None:
        msg = f"{path}: {text!r} has no time zone; write 22:00:00Z"
        raise ValueError(msg)
    if anchor is None:
        msg = f"{path}: {text!r} has no date, and the catalogue no validity to date it by"
        raise ValueError(msg)
    local = require_utc(anchor).astimezone(clock.tzinfo)
    return datetime.combine(local.date(), clock).astimezone(UTC)


def _figure(
    node: Node,
    name: str,
    units: frozenset[str],
    bounds: tuple[float, float],
    problems: list[Rejected],
) -> float | None:
    """Read a figure that a window can do without."""
    try:
        figure = node.number(name)
    except ValueError as exc:
        problems.append(Rejected(f"{node.path}.{name}", str(exc)))
        return None
    unit = node.text(f"{name}Unit")
    if figure is None:
        return None
    if unit is not None and unit.lower() not in units:
        reason = f"{name}Unit is {unit!r}; known are {', '.join(sorted(units))}"
    elif not bounds[0] <= figure <= bounds[1]:
        reason = f"{name} is {figure}; allowed are {bounds[0]} to {bounds[1]}"
    else:
        return figure
    problems.append(Rejected(f"{node.path}.{name}", reason))
    return None


def _changes(grid: Node, pricing: Node) -> dict[str, Any] | None:
    found = {
        name: change
        for node, names in (
            (grid, ("renewableMixChange", "carbonIntensityChange")),
            (pricing, ("spotPriceChange",)),
        )
        for name in names
        if (change := node.mapping(name)) is not None
    }
    return found or None
