"""Generation mix of the nation and of the 14 regions, and the intensity that follows.

Wind, sun, nuclear, hydro and other run as the weather lets them; imports and biomass follow the
need; gas takes the rest and never falls below its floor; what is then too much is wind held
back. A region uses its own output first; surplus of the six northern regions serves northern
need, and what remains of it, with the South's own surplus, serves the rest.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from scenarios.rng import Floats, Ints, whole
from scenarios.synth import reference as ref
from scenarios.synth.weather import Drivers
from schema.regions import REGION_COUNT

_NORTH_EAST = 4 - 1


@dataclass(frozen=True, slots=True)
class Generation:
    """Output and use of electricity by half hour, whole MW and 1/1000.

    ``national_mw`` is ``[9, T]`` (imports at least 0), ``flow_mw`` the net interconnector flow
    ``[T]`` (positive is import), ``curtailed_mw`` the wind held back ``[T]``, ``national_mix``
    ``[9, T]`` and ``regional_mix`` ``[14, 9, T]`` shares in 1/1000.
    """

    national_mw: Ints
    flow_mw: Ints
    curtailed_mw: Ints
    national_mix: Ints
    regional_mix: Ints


def synthesise_generation(drivers: Drivers) -> Generation:
    """Dispatch the fleet and share it out over the regions."""
    wind = whole(ref.WIND_SHARE[:, None] * ref.WIND_FLEET_MW * drivers.wind / 1e4)
    sun = drivers.sun * ref.SOLAR_FLEET_MW // 10_000
    fixed = ref.NUCLEAR_MW + ref.HYDRO_MW + ref.OTHER_MW
    need = drivers.demand_mw - wind.sum(axis=0) - sun - fixed
    low, high = ref.IMPORT_LIMITS_MW
    flow = np.clip((need - 7_000) * 35 // 100, low, high)
    need = need - flow
    biomass = np.clip((need - 1_000) * 20 // 100, *ref.BIOMASS_LIMITS_MW)
    need = need - biomass
    gas = np.maximum(need, ref.GAS_FLOOR_MW)
    curtailed = np.minimum(gas - need, wind.sum(axis=0))
    kept = (wind.sum(axis=0) - curtailed) / np.maximum(wind.sum(axis=0), 1)
    wind = whole(wind * kept)
    flat = np.ones_like(gas)
    national = np.stack(
        [
            biomass,
            0 * flat,
            np.maximum(flow, 0),
            gas,
            ref.NUCLEAR_MW * flat,
            ref.OTHER_MW * flat,
            ref.HYDRO_MW * flat,
            sun,
            wind.sum(axis=0),
        ]
    )
    return Generation(
        national_mw=national,
        flow_mw=flow,
        curtailed_mw=curtailed,
        national_mix=whole(1000 * national / national.sum(axis=0)),
        regional_mix=_regional(national, wind, flow),
    )


def _regional(national: Ints, wind: Ints, flow: Ints) -> Ints:
    """Follow electricity from where it is made to where it is used; ``[14, 9, T]`` in 1/1000."""
    shares: list[Floats | None] = [
        ref.BIOMASS_SHARE,
        ref.DEMAND_SHARE,
        ref.IMPORT_SHARE,
        ref.GAS_SHARE,
        ref.NUCLEAR_SHARE,
        ref.OTHER_SHARE,
        ref.HYDRO_SHARE,
        ref.SOLAR_SHARE,
        None,
    ]
    local = np.stack(
        [
            wind.astype(np.float64) if share is None else share[:, None] * national[fuel]
            for fuel, share in enumerate(shares)
        ],
        axis=1,
    )
    exports = np.maximum(-flow, 0)
    output = _sum_axis(local, 1)
    used = national.sum(axis=0) - exports
    need = ref.DEMAND_SHARE[:, None] * used + ref.EXPORT_SHARE[:, None] * exports
    keep = np.minimum(1.0, need / np.maximum(output, 1e-9))
    own = local * keep[:, None, :]
    surplus = local - own
    lacking = np.maximum(need - output, 0.0)
    north = slice(0, ref.NORTHERN)
    pool = _sum_axis(surplus[north], 0)
    offered, asked = _sum_axis(pool, 0), _sum_axis(lacking[north], 0)
    moved = np.minimum(offered, asked)
    served = np.zeros_like(lacking)
    served[north] = lacking[north] * (moved / np.maximum(asked, 1e-9))
    got = own + served[:, None, :] * _mix(pool)
    pool = pool * (1 - moved / np.maximum(offered, 1e-9)) + _sum_axis(surplus[ref.NORTHERN :], 0)
    got = got + (lacking - served)[:, None, :] * _mix(pool)
    return whole(1000 * got / np.maximum(_sum_axis(got, 1), 1e-9)[:, None, :])


def _mix(pool: Floats) -> Floats:
    total: Floats = pool / np.maximum(_sum_axis(pool, 0), 1e-9)
    return total


def _sum_axis(values: Floats, axis: int) -> Floats:
    """Sum in index order: numpy's own order of adding floats may differ between machines."""
    parts = np.moveaxis(values, axis, 0)
    total: Floats = np.zeros(parts.shape[1:])
    for part in parts:
        total = total + part
    return total


def intensity_of_mix(mix: Ints) -> Ints:
    """Give gCO2/kWh of shares in 1/1000, rounded half up; fuels on the second last axis."""
    weighted: Ints = (mix * ref.FACTORS[:, None]).sum(axis=-2)
    return (weighted + 500) // 1000


def regional_intensity(mix: Ints) -> Ints:
    """Give gCO2/kWh by region ``[14, T]`` from shares ``[14, 9, T]`` in 1/1000."""
    if mix.shape[0] != REGION_COUNT:
        msg = f"a regional mix has {REGION_COUNT} regions, got {mix.shape[0]}"
        raise ValueError(msg)
    intensity = intensity_of_mix(mix)
    norwegian = mix[_NORTH_EAST, ref.IMPORTS] * (
        ref.FACTORS[ref.IMPORTS] - ref.IMPORT_FACTOR_NORTH_EAST
    )
    intensity[_NORTH_EAST] = np.maximum(intensity[_NORTH_EAST] - norwegian // 1000, 0)
    return intensity
