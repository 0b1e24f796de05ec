"""The 14 distribution areas of Great Britain and what the sources call them.

Source: Carbon Intensity API region list (names as in its replies of 2021 and 2026) and the
GSP group letters of Elexon. 15 to 18 of that API are aggregates, never places to run work.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import IntEnum


class AggregateArea(IntEnum):
    """Sums over several distribution areas in the Carbon Intensity API."""

    ENGLAND = 15
    SCOTLAND = 16
    WALES = 17
    GB = 18


@dataclass(frozen=True, slots=True)
class DnoRegion:
    """One distribution area; ``region_id`` is the Carbon Intensity API's number."""

    region_id: int
    dno_name: str
    short_name: str
    gsp_group: str
    country: str


REGIONS: tuple[DnoRegion, ...] = (
    DnoRegion(1, "Scottish Hydro Electric Power Distribution", "North Scotland", "_P", "Scotland"),
    DnoRegion(2, "SP Distribution", "South Scotland", "_N", "Scotland"),
    DnoRegion(3, "Electricity North West", "North West England", "_G", "England"),
    DnoRegion(4, "NPG North East", "North East England", "_F", "England"),
    DnoRegion(5, "NPG Yorkshire", "Yorkshire", "_M", "England"),
    DnoRegion(6, "SP Manweb", "North Wales & Merseyside", "_D", "Wales"),
    DnoRegion(7, "WPD South Wales", "South Wales", "_K", "Wales"),
    DnoRegion(8, "WPD West Midlands", "West Midlands", "_E", "England"),
    DnoRegion(9, "WPD East Midlands", "East Midlands", "_B", "England"),
    DnoRegion(10, "UKPN East", "East England", "_A", "England"),
    DnoRegion(11, "WPD South West", "South West England", "_L", "England"),
    DnoRegion(12, "SSE South", "South England", "_H", "England"),
    DnoRegion(13, "UKPN London", "London", "_C", "England"),
    DnoRegion(14, "UKPN South East", "South East England", "_J", "England"),
)
REGION_IDS: tuple[int, ...] = tuple(region.region_id for region in REGIONS)
REGION_COUNT = len(REGIONS)

_BY_ID = {region.region_id: region for region in REGIONS}
_BY_NAME = {region.short_name.lower(): region for region in REGIONS}


def region(region_id: int) -> DnoRegion:
    """Give a distribution area by its number, 1 to 14."""
    found = _BY_ID.get(region_id)
    if found is None:
        msg = f"region {region_id} is unknown; the distribution areas are 1 to {REGION_COUNT}"
        raise ValueError(msg)
    return found


def region_by_short_name(name: str) -> DnoRegion | None:
    """Find an area by the API's short name; "and" and "&" are the same, as its replies vary."""
    return _BY_NAME.get(name.strip().lower().replace(" and ", " & "))
