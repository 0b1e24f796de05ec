"""The forecast that stands at the start of a bundled scenario, for ``plan`` without a grid."""

from __future__ import annotations

import numpy as np

from agents.plan_best import Figures
from agents.plan_grid import PlanGrid
from scenarios.loader import load
from schema.periods import half_hour_number
from schema.regions import REGION_IDS

_NAME = "windy-night"
_PERIODS = 96
_PENCE = 100.0


def bundled_figures() -> Figures:
    """Give what is said at the scenario's start of its first 48 hours, all regions.

    Prices are those that the scenario's days turn out to have: no real forecast of them exists
    either. Capacity is not limited.
    """
    scenario = load(_NAME)
    axis, now, first = scenario.axis, scenario.start, scenario.start_index
    regional = scenario.regional
    intensity = np.full((len(REGION_IDS), _PERIODS), np.nan)
    for period in range(_PERIODS):
        index = first + period
        revision = regional.said(axis, index, now)
        if revision >= 0 and regional.first <= index < regional.last:
            said = regional.values[revision, :, index - regional.first].astype(np.float64)
            intensity[:, period] = np.where(said >= 0, said, np.nan)
    price = scenario.prices.mid[first : first + _PERIODS] / _PENCE
    return Figures(
        grid=PlanGrid(
            source=f"scenario {_NAME}",
            regions=np.array(REGION_IDS, dtype=np.int64),
            origin=half_hour_number(now),
            intensity_gco2_per_kwh=intensity,
            price_gbp_per_mwh=np.repeat(price[None, :], len(REGION_IDS), axis=0),
            capacity_kw=np.full(intensity.shape, np.inf),
        ),
        origin=f"the bundled scenario {_NAME}",
        simulated=True,
    )
