"""The Carbon Intensity API's shapes, brought to one: areas and periods, checked by hand.

Four regional envelopes and two of the national mix exist; which one comes does not follow from
the path, so shape decides. A reply of 97 periods by 18 areas is common: nothing here walks into
what is not needed.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime

from fetchers.wire import Json, Unusable, array, describe, instant, invalid, load_reply, obj
from schema.errors import NotYetPublished
from schema.periods import HALF_HOUR, floor_half_hour
from schema.readings import Source
from schema.regions import REGIONS, AggregateArea, region_by_short_name

_NAME = Source.CARBON_INTENSITY.value
FUELS = frozenset(
    {"biomass", "coal", "imports", "gas", "nuclear", "other", "hydro", "solar", "wind"}
)
"""The nine fuels of the mix, as the API spells them."""

_AGGREGATE_IDS = frozenset(area.value for area in AggregateArea)
_AGGREGATE_NAMES = frozenset(area.name.lower() for area in AggregateArea)
_DNO_IDS = {region.region_id: region.region_id for region in REGIONS}


@dataclass(frozen=True, slots=True)
class Period:
    """One half hour of a reply: where it stands, its bounds, and the object itself."""

    where: str
    valid_from: datetime
    valid_to: datetime
    body: Mapping[str, Json]


def load_data(body: bytes) -> Json:
    """Decode a reply and give what stands under ``data``; a bare answer is taken as it is.

    Raises:
        NotYetPublished: ``data`` is empty.
        SourcePayloadInvalid: The reply is no answer of this API.
    """
    payload = load_reply(body, _NAME)
    data = payload
    if isinstance(payload, dict) and "regionid" not in payload and "shortname" not in payload:
        data = payload.get("data", payload)
    if not isinstance(data, list | dict):
        raise invalid(_NAME, f"data is {describe(data)}; a list or an object is expected", body)
    if not data:
        msg = f"{_NAME}: the reply holds no period; nothing is published for what was asked"
        raise NotYetPublished(msg, source=_NAME)
    return data


def read_period(value: Json, where: str) -> Period:
    """Check one half hour: bounds on the half hour, ``to`` 30 minutes after ``from``."""
    body = obj(value, where)
    start = instant(body.get("from"), "from")
    end = instant(body.get("to"), "to")
    if start != floor_half_hour(start) or end - start != HALF_HOUR:
        raise Unusable(
            f"from {describe(body.get('from'))} to {describe(body.get('to'))}; "
            "a half hour that starts at :00 or :30 is needed"
        )
    return Period(where, start, end, body)


def area_of(region: Mapping[str, Json]) -> int | None:
    """Give the distribution area of a region object; ``None`` for an aggregate.

    The short name decides: a recorded reply by postcode named East England and gave it the id
    of the East Midlands. The id counts only where no name is given or known.
    """
    name = region.get("shortname")
    number = region.get("regionid")
    if isinstance(name, str):
        known = region_by_short_name(name)
        if known is not None:
            return known.region_id
        if name.strip().lower() in _AGGREGATE_NAMES:
            return None
    if isinstance(number, int) and not isinstance(number, bool):
        if number in _AGGREGATE_IDS:
            return None
        if number in _DNO_IDS:
            return number
    raise Unusable(
        f"regionid {describe(number)}, shortname {describe(name)}; "
        "areas 1 to 14 (and the aggregates 15 to 18) are known"
    )


def regional_items(data: Json) -> Iterator[tuple[str, Json, Json]]:
    """Bring the regional envelopes to one: (where, region object, period object).

    - a list of periods, each with ``regions[]``: the region object holds the figures;
    - a list of region objects, each with its own ``data[]`` of periods;
    - one region object with ``data[]``;
    - one period object with ``regions[]``.

    The region and period of an item may be any JSON; readers check them.
    """
    if isinstance(data, dict):
        yield from _one_item(data, "data")
        return
    for index, item in enumerate(data):
        yield from _one_item(item, f"data[{index}]")


def _one_item(item: Json, where: str) -> Iterator[tuple[str, Json, Json]]:
    if isinstance(item, dict) and isinstance(item.get("regions"), list):
        for index, region in enumerate(item["regions"]):
            yield f"{where}.regions[{index}]", region, item
    elif isinstance(item, dict) and isinstance(item.get("data"), list):
        for index, period in enumerate(item["data"]):
            yield f"{where}.data[{index}]", item, period
    else:
        yield where, item, item


def mix_items(value: Json) -> Iterator[tuple[str, Json, Json]]:
    """Give (path, fuel, share) of a ``generationmix``; the caller checks each."""
    for index, item in enumerate(array(value, "generationmix")):
        entry = obj(item, f"generationmix[{index}]")
        yield f"generationmix[{index}]", entry.get("fuel"), entry.get("perc")
