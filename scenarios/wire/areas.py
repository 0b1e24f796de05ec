"""The 18 areas of the Carbon Intensity API: 14 distribution areas and four aggregates."""

from __future__ import annotations

import re
from dataclasses import dataclass

from scenarios.rng import Ints
from scenarios.synth import reference as ref
from schema.regions import REGION_COUNT, REGIONS

_ALL = tuple(range(1, REGION_COUNT + 1))
_AGGREGATES: tuple[tuple[int, str, tuple[int, ...]], ...] = (
    (15, "England", (3, 4, 5, 8, 9, 10, 11, 12, 13, 14)),
    (16, "Scotland", (1, 2)),
    (17, "Wales", (6, 7)),
    (18, "GB", _ALL),
)
#: One outward code's letters for each area: enough for a reply in the postcode form.
_POSTCODES = {
    "IV": 1, "G": 2, "EH": 2, "M": 3, "NE": 4, "LS": 5, "L": 6, "CF": 7, "B": 8, "NG": 9,
    "CB": 10, "EX": 11, "RG": 12, "SW": 13, "EC": 13, "TN": 14,
}  # fmt: skip
_OUTWARD = re.compile(r"^([A-Z]{1,2})\d[A-Z0-9]{0,2}$")
_WEIGHTS = [round(float(share) * 10_000) for share in ref.DEMAND_SHARE]


@dataclass(frozen=True, slots=True)
class Area:
    """One area in one half hour, as the API writes it."""

    area_id: int
    dno_name: str
    short_name: str
    intensity: int
    mix: list[dict[str, object]]


def percent(per_mille: int) -> int | float:
    """Give percent as the API writes it: whole ones without a decimal."""
    return per_mille // 10 if per_mille % 10 == 0 else per_mille / 10


def all_areas(intensity: Ints, mix: Ints) -> list[Area]:
    """Give the 18 areas from ``intensity[14]`` in gCO2/kWh and ``mix[14, 9]`` in 1/1000.

    Aggregates are means weighted by demand.
    """
    values, shares = intensity.tolist(), mix.tolist()
    areas = [
        Area(
            region.region_id,
            region.dno_name,
            region.short_name,
            values[i],
            _mix(shares[i]),
        )
        for i, region in enumerate(REGIONS)
    ]
    for area_id, name, members in _AGGREGATES:
        weight = sum(_WEIGHTS[m - 1] for m in members)
        mean = sum(_WEIGHTS[m - 1] * values[m - 1] for m in members)
        parts = [
            (sum(_WEIGHTS[m - 1] * shares[m - 1][fuel] for m in members) + weight // 2) // weight
            for fuel in range(len(ref.FUELS))
        ]
        areas.append(Area(area_id, name, name, (mean + weight // 2) // weight, _mix(parts)))
    return areas


def _mix(parts: list[int]) -> list[dict[str, object]]:
    return [
        {"fuel": fuel, "perc": percent(part)} for fuel, part in zip(ref.FUELS, parts, strict=True)
    ]


def area_id_of_postcode(outward: str) -> int | None:
    """Give the distribution area of an outward code we know."""
    match = _OUTWARD.match(outward)
    return _POSTCODES.get(match[1]) if match else None
