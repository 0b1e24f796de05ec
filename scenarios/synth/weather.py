"""Weather and demand: what drives everything else.

Sun height comes from the day of the year and the hour (Cooper's declination formula, latitude
53 N, longitude 1.5 W); wind from the scenario's anchors with slow and fast noise.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

import numpy as np

from scenarios.axis import Axis, local_half_hours
from scenarios.model import Weather
from scenarios.rng import Floats, Ints, Stream, autoregressive, whole
from scenarios.synth import reference as ref
from schema.periods import HALF_HOUR
from schema.regions import REGION_COUNT

_LATITUDE_DEG = 53.0
_LONGITUDE_DEG = -1.5
_SATURDAY = 5


@dataclass(frozen=True, slots=True)
class Drivers:
    """Weather and demand by half hour.

    ``wind`` is the capacity factor by region ``[14, T]`` in 1/10,000, ``sun`` the one of the solar
    fleet ``[T]`` in 1/10,000, ``demand_mw`` the underlying demand of Great Britain ``[T]``.
    """

    wind: Ints
    sun: Ints
    demand_mw: Ints


def synthesise_drivers(axis: Axis, weather: Weather, start: datetime, seed: int) -> Drivers:
    """Make weather and demand over the whole axis."""
    return Drivers(
        wind=_wind(axis, weather, start, seed),
        sun=_sun(axis, weather, seed),
        demand_mw=_demand(axis, weather, seed),
    )


def _wind(axis: Axis, weather: Weather, start: datetime, seed: int) -> Ints:
    first_hour = ((axis.origin - start) / HALF_HOUR) / 2
    hours = first_hour + np.arange(axis.periods) * 0.5
    story = np.interp(hours, [a.hour for a in weather.wind], [a.value for a in weather.wind])
    noise = weather.wind_noise
    slow = autoregressive(Stream(seed, "wind/slow"), 1, axis.periods, 0.98)[0]
    local = autoregressive(Stream(seed, "wind/local"), REGION_COUNT, axis.periods, 0.93)
    factor = story + noise * slow + 0.5 * noise * local
    return whole(np.clip(factor, 0.02, 0.97) * 1e4)


def _sun(axis: Axis, weather: Weather, seed: int) -> Ints:
    starts = axis.starts()
    day = np.array([s.timetuple().tm_yday for s in starts], dtype=np.float64)
    hour = np.array([s.hour + s.minute / 60 + 0.25 for s in starts])
    declination = np.radians(23.45) * np.sin(2 * np.pi * (284 + day) / 365)
    hour_angle = np.radians(15 * (hour - 12) + _LONGITUDE_DEG)
    latitude = np.radians(_LATITUDE_DEG)
    height = np.sin(latitude) * np.sin(declination) + np.cos(latitude) * np.cos(
        declination
    ) * np.cos(hour_angle)
    # Quantised at once: sin and cos are the only library functions here.
    clear = whole(np.clip(height, 0, 1) * 8_500)
    noise = autoregressive(Stream(seed, "cloud"), 1, axis.periods, 0.9)[0]
    through = 1 - 0.8 * np.clip(weather.cloud + 0.08 * noise, 0, 1)
    return whole(clear * through)


def _demand(axis: Axis, weather: Weather, seed: int) -> Ints:
    half, weekday, day = local_half_hours(axis)
    hour = half / 2
    winter = np.interp(hour, range(25), (*ref.WINTER_GW, ref.WINTER_GW[0]))
    summer = np.interp(hour, range(25), (*ref.SUMMER_GW, ref.SUMMER_GW[0]))
    season = np.rint(500 * (1 + np.cos(2 * np.pi * (day - 15) / 365))) / 1000
    gigawatts = season * winter + (1 - season) * summer
    gigawatts = np.where(weekday >= _SATURDAY, gigawatts * ref.WEEKEND_FACTOR, gigawatts)
    noise = autoregressive(Stream(seed, "demand"), 1, axis.periods, 0.95)[0]
    megawatts: Floats = gigawatts * 1000 + weather.cold_mw + 250 * noise
    return whole(megawatts)
