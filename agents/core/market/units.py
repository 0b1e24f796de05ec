"""The market's integers: prices in 2^-32 GBP/kWh, power in W, money in 1e-9 GBP.

All decisions are made on integers, so that sums do not depend on their order and one digest
holds for any number of shards. A price sum of one workload stays below ``NEVER``, which stands
for "cannot be used".
"""

from __future__ import annotations

from typing import Final

import numpy as np
from numpy.typing import NDArray

Ints = NDArray[np.int64]
Floats = NDArray[np.float64]
Bools = NDArray[np.bool_]

#: Price units in one GBP/kWh.
Q: Final = 1 << 32
#: Money units in one GBP.
NANO: Final = 1_000_000_000
#: Least scale of values, in Q units (0.001 GBP/kWh). Where energy is worth nothing, delay alone
#: decides; steps of prices and the gap still need a measure.
LEAST_SCALE: Final = Q // 1000
#: Dearest price of one cell, in Q units (128 GBP/kWh).
MAX_PRICE: Final = 1 << 39
#: Largest capacity; more counts as this much. Loads stay exact as floating-point numbers.
MAX_CAPACITY_W: Final = 1 << 50
#: Largest power of a workload, 4.29 GW.
MAX_POWER_W: Final = 1 << 32
#: Most that the refusal values of a conversation may add up to, in 1e-9 GBP (2.3e9 GBP).
MAX_REFUSALS: Final = 1 << 61
#: Price of a cell that cannot be used.
NEVER: Final = 1 << 52
#: A sum from here on holds a cell that cannot be used, whatever the others cost: a sum of usable
#: ones lies between plus and minus half of NEVER.
UNUSABLE: Final = 1 << 51
#: Longest horizon: NEVER times this still fits 63 bits.
MAX_PERIODS: Final = 2047
#: Largest allowed delay price times periods times duration, in Q units.
MAX_DELAY: Final = 1 << 50
#: 1e-9 GBP for one W over one half hour at one price unit: 1e9 / (2000 * 2^32).
NANO_PER_QW: Final = 1e9 / (2000.0 * 4294967296.0)
#: Largest relative rounding error of turning a price sum into money, with room to spare.
MONEY_EPS: Final = 2.0**-50


def price_to_q(price_gbp_per_kwh: Floats) -> Ints:
    """Quantise prices to 2^-32 GBP/kWh, to the nearest, ties to even."""
    return np.rint(np.asarray(price_gbp_per_kwh, dtype=np.float64) * Q).astype(np.int64)


def q_to_price(price_q: Ints) -> Floats:
    """Give prices in GBP/kWh."""
    return np.asarray(price_q, dtype=np.float64) / Q


def gbp(nano: int) -> float:
    """Give money in GBP."""
    return nano / NANO


def nano_of(price_sum_q: Ints, power_w: Ints) -> Floats:
    """Cost in 1e-9 GBP of powers over half hours whose prices add up to ``price_sum_q``."""
    return price_sum_q.astype(np.float64) * power_w.astype(np.float64) * NANO_PER_QW


def nano_up(price_sum_q: Ints, power_w: Ints) -> Ints:
    """Cost in whole 1e-9 GBP, never too low."""
    exact = nano_of(price_sum_q, power_w)
    return np.ceil(exact + np.abs(exact) * MONEY_EPS).astype(np.int64)


def nano_down(price_sum_q: Ints, power_w: Ints) -> Ints:
    """Cost in whole 1e-9 GBP, never too high."""
    exact = nano_of(price_sum_q, power_w)
    return np.floor(exact - np.abs(exact) * MONEY_EPS).astype(np.int64)


def priced_capacity_nano(price_q: Ints, capacity_w: Ints) -> int:
    """Exact value of capacity at prices, in 1e-9 GBP, rounded up.

    Python integers, because price times capacity may pass 63 bits.
    """
    hit = np.flatnonzero(price_q)
    prices = price_q.ravel()[hit].tolist()
    powers = capacity_w.ravel()[hit].tolist()
    total: int = sum(price * power for price, power in zip(prices, powers, strict=True))
    rounded: int = -((-total * NANO) // (2000 * Q))
    return rounded
