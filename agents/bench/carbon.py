"""Carbon of a schedule, of running at once at home, and the least that capacity allows.

Running at once knows no capacity: it is what each workload would have done by itself. A workload
without a place counts with what it would have emitted at once.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from agents.bench.case import Case, Work
from agents.core.market.contractors import InProcessContractors, make_books
from agents.core.market.discovery import discover, opening_prices
from agents.core.market.negotiate import Options, plan_levels
from agents.core.market.plans import Places
from agents.core.market.problem import CARBON_VALUE_GBP_PER_KG
from agents.core.market.questions import Describe, Open
from agents.core.market.tables import class_edges
from agents.core.market.units import NANO, Floats, Ints, price_to_q
from schema.units import GRAMS_PER_KG

_WH_PER_KWH_TWICE = 2000.0
#: All refusal values together: as much as 63 bits leave room for beside the costs.
_NEVER_NANO = 2**61


def at_once_kg(case: Case, work: Work) -> Floats:
    """Give each workload's carbon if it ran at once, at home, without a break."""
    running = np.concatenate(
        (np.zeros((len(case.intensity), 1)), np.cumsum(case.intensity, axis=1)), axis=1
    )
    stop = work.earliest + work.duration
    grams = running[work.home, stop] - running[work.home, work.earliest]
    return np.asarray(grams * work.power_w / _WH_PER_KWH_TWICE / GRAMS_PER_KG)


def placed_kg(case: Case, places: tuple[Places, ...], at_once: Floats) -> float:
    """Give the carbon of a schedule."""
    own = np.array([window.intensity_gco2_per_kwh for window in case.market.windows])
    grams, refused = 0.0, []
    for part in places:
        count = np.diff(part.ptr)
        intensity = case.intensity[np.repeat(part.site, count), part.period]
        drawn = part.window >= 0
        intensity[drawn] = own[part.window[drawn]]
        grams += float((intensity * np.repeat(part.power_w, count)).sum()) / _WH_PER_KWH_TWICE
        refused.append(part.site < 0)
    return grams / GRAMS_PER_KG + float(at_once[np.concatenate(refused)].sum())


def least_kg(case: Case) -> float:
    """Give carbon that no schedule without a miss can go below: the bound of carbon alone.

    Delay costs count nothing. Nobody may refuse: a refusal would free capacity and yet count
    with what running at once emits, as if there were room for that.
    """
    per_kg = CARBON_VALUE_GBP_PER_KG
    market = replace(
        case.market,
        grid_q=price_to_q(case.intensity * per_kg / GRAMS_PER_KG),
        window_q=price_to_q(
            np.array([w.intensity_gco2_per_kwh for w in case.market.windows], np.float64)
            * per_kg
            / GRAMS_PER_KG
        ),
    )
    fleets = [
        replace(
            fleet,
            omega_q=np.zeros_like(fleet.omega_q),
            refusal_nano=np.full(len(fleet), _NEVER_NANO // max(case.workloads, 1)),
        )
        for fleet in case.fleets
    ]
    contractors = InProcessContractors(make_books(fleets, 2))
    about = contractors.ask(Describe())
    powers: Ints = np.concatenate([part.powers for part in about])
    contractors.ask(Open(market, class_edges(powers, market, 8), (), int(powers.min())))
    found = discover(
        market,
        contractors,
        opening_prices(market),
        plan_levels(Options(), case.workloads, warm=False),
        energy_w=sum(part.energy_w for part in about),
    )
    return found.bound_nano / NANO / per_kg
