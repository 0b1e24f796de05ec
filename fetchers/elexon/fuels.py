"""Elexon's fuel codes in our words.

Source: the fuel types of FUELINST and FUELHH in replies and in Elexon's OpenAPI file. Metered
transmission only: no solar and no embedded wind, so shares differ from the Carbon Intensity mix.
Interconnectors and pumped storage go negative.
"""

from __future__ import annotations

import re

from fetchers.wire import Json, Unusable, describe

FUEL_NAMES = {
    "BIOMASS": "biomass",
    "CCGT": "gas_combined_cycle",
    "COAL": "coal",
    "NPSHYD": "hydro",
    "NUCLEAR": "nuclear",
    "OCGT": "gas_open_cycle",
    "OIL": "oil",
    "OTHER": "other",
    "PS": "pumped_storage",
    "WIND": "wind",
    "INTELEC": "interconnector_eleclink",
    "INTEW": "interconnector_east_west",
    "INTFR": "interconnector_ifa",
    "INTGRNL": "interconnector_greenlink",
    "INTIFA2": "interconnector_ifa2",
    "INTIRL": "interconnector_moyle",
    "INTNED": "interconnector_britned",
    "INTNEM": "interconnector_nemo",
    "INTNSL": "interconnector_nsl",
    "INTVKL": "interconnector_viking",
}

_CODE = re.compile(r"[A-Z][A-Z0-9]{1,15}", re.ASCII)


def read_fuel(value: Json) -> str:
    """Give our word for a fuel code; a code not known yet is kept in lower case.

    New interconnectors appear without notice; their flow must not be lost.
    """
    if not isinstance(value, str) or not _CODE.fullmatch(value):
        raise Unusable(f"fuelType is {describe(value)}; a code such as CCGT is needed")
    return FUEL_NAMES.get(value, value.lower())
