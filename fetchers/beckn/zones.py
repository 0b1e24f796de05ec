"""Which distribution area a Beckn grid zone lies in.

Zone codes are the providers' own; no register of them exists. A zone is mapped where its code is
one we know, where the code spells a distribution area (``UK-SOUTH-SCOTLAND-2``), or where the
item's address names one. Everything else stays unmapped: recorded, and not used by the market.
"""

from __future__ import annotations

import re

from schema.regions import REGIONS, region_by_short_name

#: Zones of the compute-energy guide's examples (beckn/DEG, branch df-new-flow): the windows of
#: Cambridge and of Manchester, which lie in the areas of UKPN East and Electricity North West.
KNOWN_ZONES: dict[str, int] = {"UK-EAST-1": 10, "UK-NORTH-1": 3}

BRITISH = frozenset({"GB", "GBR", "UK", "UNITED KINGDOM", "GREAT BRITAIN"})
_CODE = re.compile(r"^(?:UK|GB)-(?P<place>[A-Z]+(?:-[A-Z]+)*?)(?:-\d+)?$")


def _spelled(name: str) -> str:
    return re.sub(r"[^A-Z]+", "-", name.upper()).strip("-")


_BY_SPELLING = {_spelled(region.short_name): region.region_id for region in REGIONS}


def zone_code_of(region_id: int) -> str:
    """Give a zone code that spells a distribution area, as our own scenarios use it."""
    spelling = {region: code for code, region in _BY_SPELLING.items()}
    return f"UK-{spelling[region_id]}-1"


def region_of_zone(
    zone_code: str, *, address_region: str | None = None, country: str | None = None
) -> int | None:
    """Give the distribution area (1 to 14) of a zone; None where it is not known.

    Args:
        zone_code: ``gridZone`` of the item.
        address_region: ``addressRegion`` of the item's address, if there is one.
        country: ``addressCountry``; anything but Great Britain is never mapped.
    """
    if country is not None and country.strip().upper() not in BRITISH:
        return None
    code = zone_code.strip().upper()
    if code in KNOWN_ZONES:
        return KNOWN_ZONES[code]
    match = _CODE.match(code)
    if match and match["place"] in _BY_SPELLING:
        return _BY_SPELLING[match["place"]]
    named = region_by_short_name(address_region) if address_region else None
    return named.region_id if named else None
