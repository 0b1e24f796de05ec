"""The grid as the market sees it: arrays over a horizon of half hours, made from facts.

Pure: the same facts, instant and origin give the same arrays, whatever order the rows came in.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from hashlib import sha256
from typing import NamedTuple, TypeVar

import numpy as np
import numpy.typing as npt

from schema.periods import HALF_HOUR, floor_half_hour, half_hours
from schema.regions import REGION_COUNT
from storage.grid_facts import Fact, GridFacts
from storage.grid_prices import CODE_OF, QualityCode, price_points, price_series
from storage.grid_windows import WindowFact, windows_of

Floats = npt.NDArray[np.float64]
Codes = npt.NDArray[np.uint8]

PERIODS = 96
_STEP_S = int(HALF_HOUR.total_seconds())
#: How old, in half hours, a ratio of regional to national intensity may be.
_RATIO_AGE = 48
_INTENSITY_MAX = 1000.0


@dataclass(frozen=True, slots=True, eq=False)
class GridState:
    """What is known at ``as_of`` of ``periods`` half hours from ``origin`` on.

    Arrays are read-only. Regions are rows 0 to 13 for ``region_id`` 1 to 14. Where a figure is
    unknown the array holds NaN and its quality 0; other qualities are ``QualityCode``.

    Attributes:
        version: Rises when, and only when, some fact of the run changed.
        run_id: Whose facts.
        as_of: The run's clock.
        origin: First half hour, UTC.
        periods: Number of half hours.
        intensity_gco2_per_kwh: Regional forecast ``[14, periods]``. Where a region's is missing and
            the national forecast is published, it is national times the last ratio of regional to
            national (at most 24 h older), ``estimated``; a synthetic figure only where
            that is impossible too.
        intensity_quality: ``[14, periods]``.
        national_intensity_gco2_per_kwh: National forecast ``[periods]``.
        national_actual_gco2_per_kwh: National outturn ``[periods]``; NaN for what has not happened.
        national_quality: Of the forecast, ``[periods]``.
        price_gbp_per_mwh: ``[periods]``, may be negative; rules in ``storage.grid_prices``.
        price_quality: ``[periods]``.
        windows: Those that end after ``as_of`` and start within the horizon, by start and key.
    """

    version: int
    run_id: str
    as_of: datetime
    origin: datetime
    periods: int
    intensity_gco2_per_kwh: Floats
    intensity_quality: Codes
    national_intensity_gco2_per_kwh: Floats
    national_actual_gco2_per_kwh: Floats
    national_quality: Codes
    price_gbp_per_mwh: Floats
    price_quality: Codes
    windows: tuple[WindowFact, ...]

    def digest(self) -> str:
        """Give the SHA-256 of everything but ``run_id`` and ``version``: equal means the same."""
        hasher = sha256(f"{self.as_of} {self.origin} {self.periods} {self.windows}".encode())
        for array in (
            self.intensity_gco2_per_kwh,
            self.intensity_quality,
            self.national_intensity_gco2_per_kwh,
            self.national_actual_gco2_per_kwh,
            self.national_quality,
            self.price_gbp_per_mwh,
            self.price_quality,
        ):
            hasher.update(array.tobytes())
        return hasher.hexdigest()


def view(
    facts: GridFacts,
    run_id: str,
    as_of: datetime,
    *,
    origin: datetime | None = None,
    periods: int = PERIODS,
) -> GridState:
    """Make the arrays.

    Args:
        facts: Of the run.
        run_id: Whose they are.
        as_of: The run's clock, UTC.
        origin: First half hour; the one that contains ``as_of`` when not given.
        periods: How many half hours.
    """
    start = floor_half_hour(as_of if origin is None else origin)
    by_table = _by_table(facts)
    # A day more in front: the last known ratio may lie before the horizon.
    frame = _Frame(int(start.timestamp()) - _RATIO_AGE * _STEP_S, _RATIO_AGE + periods)
    nationals = by_table.get("carbon_intensity_national", [])
    national, national_quality = _national(nationals, frame, column=1)
    actual, _ = _national(nationals, frame, column=2)
    regional, quality = _regional(by_table.get("carbon_intensity_regional", []), frame)
    _estimate_missing(regional, quality, national, national_quality)
    prices, price_quality = _prices(by_table.get("wholesale_prices", []), start, periods)
    horizon = slice(_RATIO_AGE, None)
    return GridState(
        version=facts.version,
        run_id=run_id,
        as_of=as_of,
        origin=start,
        periods=periods,
        intensity_gco2_per_kwh=_frozen(regional[:, horizon]),
        intensity_quality=_frozen(quality[:, horizon]),
        national_intensity_gco2_per_kwh=_frozen(national[horizon]),
        national_actual_gco2_per_kwh=_frozen(actual[horizon]),
        national_quality=_frozen(national_quality[horizon]),
        price_gbp_per_mwh=_frozen(prices),
        price_quality=_frozen(price_quality),
        windows=windows_of(by_table, as_of, start + periods * HALF_HOUR),
    )


class _Frame(NamedTuple):
    """Half hours that an array covers: the first, in seconds, and how many."""

    first: int
    length: int

    def cell(self, starts_at: int) -> int | None:
        """Give the index of a half hour; None outside, or off the half-hour grid."""
        cell, off_grid = divmod(starts_at - self.first, _STEP_S)
        return None if off_grid or not 0 <= cell < self.length else cell


def _by_table(facts: GridFacts) -> dict[str, list[Fact]]:
    tables: dict[str, list[Fact]] = {}
    for fact in facts.facts.values():
        tables.setdefault(fact.table, []).append(fact)
    return tables


def _national(facts: Sequence[Fact], frame: _Frame, *, column: int) -> tuple[Floats, Codes]:
    values = np.full(frame.length, np.nan)
    quality = np.zeros(frame.length, np.uint8)
    for fact in facts:
        figure = fact.values[column]
        cell = frame.cell(fact.starts_at)
        if cell is None or not isinstance(figure, int | float):
            continue
        code = CODE_OF.get(str(fact.values[0]), QualityCode.SYNTHETIC)
        if quality[cell] == QualityCode.NONE or code < quality[cell]:
            values[cell], quality[cell] = figure, code
    return values, quality


def _regional(facts: Sequence[Fact], frame: _Frame) -> tuple[Floats, Codes]:
    values = np.full((REGION_COUNT, frame.length), np.nan)
    quality = np.zeros((REGION_COUNT, frame.length), np.uint8)
    for fact in facts:
        region, said, figure = fact.values
        cell = frame.cell(fact.starts_at)
        if cell is None or not isinstance(region, int) or not isinstance(figure, int | float):
            continue
        code = CODE_OF.get(str(said), QualityCode.SYNTHETIC)
        held = quality[region - 1, cell]
        if held == QualityCode.NONE or code < held:
            values[region - 1, cell], quality[region - 1, cell] = figure, code
    return values, quality


def _estimate_missing(
    regional: Floats, quality: Codes, national: Floats, national_quality: Codes
) -> None:
    """Fill, in place, where a region's figure is missing or made up, from the national one."""
    known = (quality == QualityCode.PUBLISHED) & (national_quality == QualityCode.PUBLISHED)
    known &= national > 0
    ratio = np.full(REGION_COUNT, np.nan)
    age = np.full(REGION_COUNT, _RATIO_AGE + 1)
    for cell in range(regional.shape[1]):
        age += 1
        here = known[:, cell]
        ratio[here] = regional[here, cell] / national[cell]
        age[here] = 0
        if national_quality[cell] != QualityCode.PUBLISHED:
            continue
        missing = (quality[:, cell] == QualityCode.NONE) | (
            quality[:, cell] == QualityCode.SYNTHETIC
        )
        usable = missing & (age <= _RATIO_AGE)
        regional[usable, cell] = np.minimum(ratio[usable] * national[cell], _INTENSITY_MAX)
        quality[usable, cell] = QualityCode.ESTIMATED


def _prices(facts: Sequence[Fact], start: datetime, periods: int) -> tuple[Floats, Codes]:
    real, made_up = price_series(facts)
    points = price_points(half_hours(start, periods), real, made_up)
    prices = np.array([np.nan if p is None else p.price for p in points], np.float64)
    quality = np.array([0 if p is None else p.quality for p in points], np.uint8)
    return prices, quality


_Array = TypeVar("_Array", Floats, Codes)


def _frozen(array: _Array) -> _Array:
    """Give a compact copy that nobody can write to."""
    kept = array.copy()
    kept.setflags(write=False)
    return kept
