"""Figures the synthesiser is calibrated to, each with its source.

Fleet sizes are rounded to what Great Britain had around 2025/26 (NESO and DESNZ statistics give
about 31 GW of wind, 19 GW of solar, 4.4 GW of nuclear running). The split over regions is ours: it
was set so that the regional pattern of a recorded Carbon Intensity reply of May 2026 appears
at middling wind (0 in both Scottish areas, about 20-120 from the North to East England, 190-270
in the South, 380 in South Wales), and it is no statement about single power stations.
"""

from __future__ import annotations

from typing import Final

import numpy as np

from scenarios.rng import Floats
from schema.regions import REGION_COUNT

#: Order of fuels in every mix array; the nine names of the Carbon Intensity API.
FUELS: Final = (
    "biomass",
    "coal",
    "imports",
    "gas",
    "nuclear",
    "other",
    "hydro",
    "solar",
    "wind",
)
BIOMASS, COAL, IMPORTS, GAS, NUCLEAR, OTHER, HYDRO, SOLAR, WIND = range(len(FUELS))

#: gCO2/kWh. Source: Carbon Intensity API methodology and ``/intensity/factors`` (biomass 120, coal
#: 937, combined-cycle gas 394, other 300, the rest 0). Imports there are by country (French 53,
#: Dutch 474, Irish 458); 90 is a mean that reproduces the recorded London and South East rows.
FACTORS: Final = np.array([120, 937, 90, 394, 0, 300, 0, 0, 0], dtype=np.int64)
#: North East England imports from Norway, which is hydro power.
IMPORT_FACTOR_NORTH_EAST: Final = 5

#: ``/intensity/factors`` as the source spells them.
FACTOR_NAMES: Final = {
    "Biomass": 120,
    "Coal": 937,
    "Dutch Imports": 474,
    "French Imports": 53,
    "Gas (Combined Cycle)": 394,
    "Gas (Open Cycle)": 651,
    "Hydro": 0,
    "Irish Imports": 458,
    "Nuclear": 0,
    "Oil": 935,
    "Other": 300,
    "Pumped Storage": 0,
    "Solar": 0,
    "Wind": 0,
}

WIND_FLEET_MW: Final = 31_000
EMBEDDED_WIND_MW: Final = 6_400
SOLAR_FLEET_MW: Final = 19_000
NUCLEAR_MW: Final = 4_400
HYDRO_MW: Final = 600
OTHER_MW: Final = 400
GAS_FLOOR_MW: Final = 2_000
"""Gas that keeps running for inertia and voltage."""
IMPORT_LIMITS_MW: Final = (-5_000, 7_000)
BIOMASS_LIMITS_MW: Final = (700, 2_600)

#: Underlying demand of Great Britain by London hour, GW, on a winter and a summer weekday;
#: shape and level of NESO's demand data (winter evening peak about 45 GW, summer night 21 GW).
WINTER_GW: Final = (
    26.5, 25.5, 25.0, 25.0, 25.5, 27.5, 31.0, 35.0, 37.0, 37.5, 37.5, 37.5,
    37.5, 37.0, 37.0, 38.0, 41.0, 44.0, 44.5, 43.0, 40.5, 37.5, 33.5, 29.5,
)  # fmt: skip
SUMMER_GW: Final = (
    22.0, 21.0, 20.5, 20.5, 20.8, 22.0, 25.0, 28.0, 30.0, 31.0, 31.5, 31.8,
    32.0, 31.5, 31.0, 31.0, 32.0, 33.0, 33.0, 32.0, 31.0, 30.0, 27.5, 24.5,
)  # fmt: skip
WEEKEND_FACTOR: Final = 0.92


def _shares(*values: float) -> Floats:
    if len(values) != REGION_COUNT:
        msg = f"a regional split has {REGION_COUNT} figures, got {len(values)}"
        raise ValueError(msg)
    total = sum(values)
    return np.array([value / total for value in values])


#: Part of each region (1 to 14) in demand and in each fuel's output.
DEMAND_SHARE: Final = _shares(3, 6.5, 8.5, 5, 8.5, 6, 4, 8.5, 9, 11, 5.5, 10, 11, 7.5)
WIND_SHARE: Final = _shares(24, 20, 8, 5, 15, 6, 3, 0.5, 3, 12, 1, 0.5, 0.2, 3)
SOLAR_SHARE: Final = _shares(0.5, 1, 2, 2, 5, 4, 6, 9, 13, 19, 14, 16, 1, 10)
NUCLEAR_SHARE: Final = _shares(0, 12, 24, 12, 0, 0, 0, 0, 0, 12, 0.01, 0.01, 0, 0.01)
GAS_SHARE: Final = _shares(3, 0.5, 5, 3, 14, 8, 24, 3, 12, 7, 9, 8, 1.5, 8)
BIOMASS_SHARE: Final = _shares(1, 2, 3, 10, 60, 4, 1, 3, 6, 6, 1, 2, 1, 1)
HYDRO_SHARE: Final = _shares(60, 20, 2, 0.5, 0.5, 10, 3, 0.5, 0.5, 0.5, 1, 0.5, 0.5, 0.5)
OTHER_SHARE: Final = _shares(1, 3, 8, 6, 10, 8, 6, 8, 9, 10, 5, 9, 12, 6)
IMPORT_SHARE: Final = _shares(0, 3, 0.5, 17, 3, 5, 3, 0.5, 0.5, 8, 0.5, 13, 0.5, 46)
EXPORT_SHARE: Final = _shares(0, 8, 0.5, 5, 8, 12, 3, 0.5, 0.5, 12, 0.5, 13, 0.5, 36)
NORTHERN: Final = 6
"""Regions 1 to 6 share their surplus before the South gets it."""

#: Wholesale price at a level of thermal need, GW to GBP/MWh: negative where wind must be held back,
#: a broad middle set by gas, and scarcity above. Own computation on the 47,042 imbalance prices of
#: 2016-2019 in the real sample: mean 49.88, percentiles 1/50/99 = 3.32/42.40/143.38; the
#: middle is lifted to the 70-100 of 2025/26 gas prices.
PRICE_CURVE_GW: Final = (-8.0, -3.0, -0.5, 2.0, 4.0, 8.0, 14.0, 20.0, 26.0, 32.0)
PRICE_CURVE_GBP: Final = (-62.0, -18.0, 1.0, 24.0, 46.0, 70.0, 90.0, 112.0, 148.0, 240.0)

#: Elexon's fuel types, and NESO's flow column, of each interconnector with its part of the flow.
INTERCONNECTORS: Final = (
    ("INTFR", "IFA_FLOW", 0.20),
    ("INTIFA2", "IFA2_FLOW", 0.10),
    ("INTNED", "BRITNED_FLOW", 0.10),
    ("INTIRL", "MOYLE_FLOW", 0.04),
    ("INTEW", "EAST_WEST_FLOW", 0.05),
    ("INTNEM", "NEMO_FLOW", 0.10),
    ("INTNSL", "NSL_FLOW", 0.14),
    ("INTELEC", "ELECLINK_FLOW", 0.10),
    ("INTVKL", "VIKING_FLOW", 0.12),
    ("INTGRNL", "GREENLINK_FLOW", 0.05),
)

#: Lower edges of low, moderate, high and very high. Source: derived from recorded labels, by year
#: (Carbon Intensity wire facts); the edges change every year.
INDEX_EDGES: Final = {
    2024: (35, 110, 190, 270),
    2025: (30, 100, 180, 250),
    2026: (25, 90, 170, 230),
}
INDEX_WORDS: Final = ("very low", "low", "moderate", "high", "very high")
