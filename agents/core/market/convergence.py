"""How a round of prices stood: what was wanted beyond capacity, and how dear congestion was."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from agents.core.market.discovery import Round
from agents.core.market.units import Ints, Q


@dataclass(frozen=True, slots=True)
class Pressure:
    """One round over all cells.

    Attributes:
        most_wanted: Power wanted in the fullest cell, as a part of its capacity; above 1 it is more
            than there is.
        overfull: Cells where more is wanted than there is.
        mean_mu_gbp_per_kwh: Congestion price, mean over all cells.
        max_mu_gbp_per_kwh: The dearest cell's.
    """

    most_wanted: float
    overfull: int
    mean_mu_gbp_per_kwh: float
    max_mu_gbp_per_kwh: float


def pressure(current: Round, capacity_w: Ints, energy_w: int) -> Pressure:
    """Give the pressure of a round.

    Args:
        current: The round; where only a sample was asked, capacity counts by the sample's share.
        capacity_w: Free power of every cell.
        energy_w: Watts times half hours of all work.
    """
    load = np.zeros(capacity_w.shape, np.int64)
    for part in current.loads_by_organisation.values():
        load += part
    share = current.energy_w / energy_w if current.sampled and energy_w else 1.0
    wanted = load / np.maximum(capacity_w * share, 1.0)
    mu = current.prices.mu_q
    return Pressure(
        most_wanted=float(wanted.max(initial=0.0)),
        overfull=int((wanted > 1.0).sum()),
        mean_mu_gbp_per_kwh=float(mu.mean()) / Q,
        max_mu_gbp_per_kwh=int(mu.max(initial=0)) / Q,
    )
