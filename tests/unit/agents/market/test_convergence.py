"""How a round of prices stood, worked by hand."""

from __future__ import annotations

import numpy as np
import pytest

from agents.core.market.convergence import pressure
from agents.core.market.discovery import Prices, Round
from agents.core.market.units import Q


def a_round(*, sampled: bool) -> Round:
    mu = np.array([[0, Q // 4], [Q // 2, Q // 4]], np.int64)
    return Round(
        number=1,
        prices=Prices(mu, mu),
        bound_nano=0,
        loads_by_organisation={
            "north": np.array([[4_000, 9_000], [0, 0]], np.int64),
            "south": np.array([[0, 6_000], [5_000, 0]], np.int64),
        },
        refusing=0,
        impossible=0,
        energy_w=24_000,
        priced_nano=0,
        sampled=sampled,
    )


CAPACITY = np.array([[10_000, 10_000], [10_000, 0]], np.int64)


def test_the_fullest_cell_and_the_prices_of_a_round_are_told() -> None:
    found = pressure(a_round(sampled=False), CAPACITY, 96_000)
    # 9 + 6 kW are wanted of 10 kW; the others have 4 and 5 of 10. Prices: 0, 1/4, 1/2, 1/4.
    assert (found.most_wanted, found.overfull) == (1.5, 1)
    assert (found.mean_mu_gbp_per_kwh, found.max_mu_gbp_per_kwh) == (0.25, 0.5)


def test_a_sample_is_held_against_its_share_of_the_capacity() -> None:
    found = pressure(a_round(sampled=True), CAPACITY, 96_000)
    # A quarter of the work was asked: 2.5 kW count, and 4, 15 and 5 kW are wanted of them.
    assert found.most_wanted == pytest.approx(6.0)
    assert found.overfull == 3
