"""National demand as the sources define it, its forecasts, and generation by fuel type.

ND is what the transmission system serves: underlying demand less embedded wind and sun. TSD adds
station load, pumping and exports (definitions of NESO's Demand Data Update).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from scenarios.axis import Axis, local_half_hours
from scenarios.rng import Floats, Ints, Stream, autoregressive
from scenarios.synth import reference as ref
from scenarios.synth.generation import Generation
from scenarios.synth.weather import Drivers

STATION_LOAD_MW = 600
SCOTLAND_SHARE = 0.095
_PUMP_UNTIL = 12
_PEAK_FROM, _PEAK_UNTIL = 33, 40


@dataclass(frozen=True, slots=True)
class Demand:
    """MW by half hour ``[T]``, integers.

    ``forecast_error`` is what a forecast a day ahead is off; ``pumping`` at least 0;
    ``storage_out`` what pumped storage gives; ``flows`` ``[10, T]`` by interconnector in the order
    of ``reference.INTERCONNECTORS``, positive is import.
    """

    national: Ints
    transmission: Ints
    england_wales: Ints
    embedded_wind: Ints
    embedded_sun: Ints
    pumping: Ints
    storage_out: Ints
    scottish_transfer: Ints
    flows: Ints
    forecast_error: Ints


def synthesise_demand(axis: Axis, drivers: Drivers, generation: Generation, seed: int) -> Demand:
    """Make demand figures over the whole axis."""
    half, _, _ = local_half_hours(axis)
    wind = generation.national_mw[ref.WIND]
    embedded_wind = wind * ref.EMBEDDED_WIND_MW // ref.WIND_FLEET_MW
    embedded_sun = generation.national_mw[ref.SOLAR]
    national = np.maximum(drivers.demand_mw - embedded_wind - embedded_sun, 1_000)
    pumping = np.where(half < _PUMP_UNTIL, 900, 5)
    storage = np.where((half >= _PEAK_FROM) & (half < _PEAK_UNTIL), 1_100, 0)
    exports = np.maximum(-generation.flow_mw, 0)
    transmission = national + STATION_LOAD_MW + pumping + exports
    england_wales = np.rint(national * (1 - SCOTLAND_SHARE)).astype(np.int64)
    surplus = np.rint(wind * 0.35 - 2_000).astype(np.int64)
    curve: Floats = autoregressive(Stream(seed, "demand/forecast"), 1, axis.periods, 0.95)[0]
    parts = np.array([part for _, _, part in ref.INTERCONNECTORS])
    return Demand(
        national=national,
        transmission=transmission,
        england_wales=england_wales,
        embedded_wind=embedded_wind,
        embedded_sun=embedded_sun,
        pumping=pumping,
        storage_out=storage,
        scottish_transfer=surplus,
        flows=np.rint(parts[:, None] * generation.flow_mw).astype(np.int64),
        forecast_error=np.rint(450 * curve).astype(np.int64),
    )
