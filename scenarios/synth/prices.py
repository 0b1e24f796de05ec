"""Wholesale prices that follow the thermal need, with revisions of the system price.

MID follows a merit-order curve with noise. The system (imbalance) price leans from it with the
system's length, and its first publication may differ from the revised one by a lot: one recorded
half hour moved from 9.56 to 110.00 GBP/MWh within a day.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from scenarios.axis import Axis
from scenarios.rng import Ints, Stream, autoregressive
from scenarios.synth import reference as ref
from scenarios.synth.generation import Generation

_LEAN_PER_MWH = 0.055
"""GBP/MWh that the system price leans per MWh of imbalance."""
_REVISED_PART = 0.3
_JUMP_PART = 0.02


@dataclass(frozen=True, slots=True)
class Prices:
    """Prices by half hour in pence per MWh (integers), volumes in kWh.

    ``mid`` and ``mid_volume`` are the market index; ``system_first`` and ``system_revised`` the
    system price as first and as later published; ``imbalance`` is positive when the system is
    short.
    """

    mid: Ints
    mid_volume: Ints
    system_first: Ints
    system_revised: Ints
    imbalance: Ints


def synthesise_prices(axis: Axis, generation: Generation, seed: int) -> Prices:
    """Make prices over the whole axis."""
    count = axis.periods
    gas = generation.national_mw[ref.GAS]
    need_gw = (gas - generation.curtailed_mw) / 1000
    curve = np.interp(need_gw, ref.PRICE_CURVE_GW, ref.PRICE_CURVE_GBP)
    noise = autoregressive(Stream(seed, "price/mid"), 1, count, 0.85)[0]
    mid = _pence(curve + 4.5 * noise)
    volume = 1_500_000 + _pence(4_000 * autoregressive(Stream(seed, "price/mwh"), 1, count, 0.7)[0])
    length = _pence(2_800 * autoregressive(Stream(seed, "price/niv"), 1, count, 0.75)[0])
    lean = _LEAN_PER_MWH * length / 1000
    scatter = Stream(seed, "price/scatter").normal(count)
    revised = mid + _pence(lean + 6 * scatter)
    draw = Stream(seed, "price/revision").uniform(count)
    size = Stream(seed, "price/revision-size").normal(count)
    moved = np.where(draw < _JUMP_PART, 60 * size, np.where(draw < _REVISED_PART, 3 * size, 0))
    return Prices(
        mid=mid,
        mid_volume=np.maximum(volume, 150_000),
        system_first=revised + _pence(moved),
        system_revised=revised,
        imbalance=length,
    )


def system_from_mid(mid: Ints, seed: int) -> tuple[Ints, Ints, Ints]:
    """Give (first, revised, imbalance) of the system price for a market index given as a table."""
    count = len(mid)
    length = _pence(2_800 * autoregressive(Stream(seed, "price/niv"), 1, count, 0.75)[0])
    revised = mid + _pence(_LEAN_PER_MWH * length / 1000)
    return revised, revised, length


def _pence(gbp: np.ndarray[tuple[int], np.dtype[np.float64]]) -> Ints:
    return np.rint(gbp * 100).astype(np.int64)
