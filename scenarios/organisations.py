"""An organisation as its compute agent makes it: from the scenario's path and seed alone."""

from __future__ import annotations

import numpy as np

from agents.core.view import Site
from agents.organisation import Organisation
from scenarios.loader import load
from schema.periods import half_hour_number
from schema.units import WATTS_PER_KW


def organisation(*, scenario: str, seed: int, name: str) -> Organisation:
    """Make one organisation of a scenario: its sites, and its workloads with their arrivals."""
    loaded = load(scenario, seed)
    first = half_hour_number(loaded.start)
    return Organisation(
        sites=tuple(
            Site(
                organisation=name,
                asset=asset.name,
                region_id=asset.region_id,
                first=first,
                capacity_kw=np.asarray(asset.capacity_w, np.float64) / WATTS_PER_KW,
                pue=asset.pue,
            )
            for asset in loaded.assets(name)
        ),
        arrivals=tuple(loaded.workloads(name)),
    )
