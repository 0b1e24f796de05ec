"""Energy, carbon and money of schedules and baselines.

The baseline is what a workload would have done by itself: run at once, at home, without a break,
from its first possible half hour, valued at the intensity of the time it would have run (not of
the moment the decision was taken). Half-hour figures are means, so they are summed as steps.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from math import isfinite

import numpy as np

from agents.core.ledger import Contract, Segment
from agents.core.market.units import Floats

GRAMS_PER_KG = 1000.0


@dataclass(frozen=True, slots=True, eq=False)
class Figures:
    """Intensity and price by half hour, from half hour ``origin`` on.

    Attributes:
        origin: Half-hour number of column 0.
        intensity: [14, periods] gCO2/kWh by distribution area; NaN where unknown.
        price: [periods] GBP/MWh; NaN where unknown.
        window_intensity: gCO2/kWh of each Beckn window.
        window_price: GBP/kWh of each Beckn window.
    """

    origin: int
    intensity: Floats
    price: Floats
    window_intensity: Mapping[str, float]
    window_price: Mapping[str, float]


@dataclass(frozen=True, slots=True)
class Account:
    """What some energy caused; None where a figure is unknown for part of it."""

    energy_kwh: float
    gco2: float | None
    cost_gbp: float | None

    @property
    def intensity_gco2_per_kwh(self) -> float | None:
        """Mean intensity of the energy."""
        if self.gco2 is None or self.energy_kwh == 0:
            return None
        return self.gco2 / self.energy_kwh


def account_segment(segment: Segment, power_w: int, region_id: int, figures: Figures) -> Account:
    """Value one segment of a schedule by its own supply."""
    energy = power_w / 1000 * 0.5 * segment.periods
    if segment.window_id is not None:
        return Account(
            energy,
            energy * figures.window_intensity[segment.window_id],
            energy * figures.window_price[segment.window_id],
        )
    return _from_grid(power_w, region_id, segment.first, segment.end, figures)


def account_baseline(contract: Contract, figures: Figures) -> Account:
    """Value what the workload would have done: at once, at home, from the grid."""
    return _from_grid(
        contract.power_w,
        contract.home,
        contract.release,
        contract.release + contract.duration,
        figures,
    )


def _from_grid(power_w: int, region_id: int, first: int, end: int, figures: Figures) -> Account:
    periods = end - first
    each_kwh = power_w / 1000 * 0.5
    start = first - figures.origin
    known = figures.intensity.shape[1]
    if start < 0 or start + periods > known:
        return Account(each_kwh * periods, None, None)
    intensity = figures.intensity[region_id - 1, start : start + periods]
    price = figures.price[start : start + periods]
    return Account(
        each_kwh * periods,
        _total(intensity, each_kwh),
        _total(price, each_kwh / 1000.0),
    )


def _total(values: Floats, weight: float) -> float | None:
    # One unknown figure makes the sum unknown; asking each costs more than the sum.
    total = float(values.sum())
    return total * weight if isfinite(total) else None


def add_up(accounts: Iterable[Account]) -> Account:
    """Add accounts; a total with an unknown part is unknown."""
    energy, gco2, cost = 0.0, 0.0, 0.0
    gco2_known, cost_known = True, True
    for item in accounts:
        energy += item.energy_kwh
        gco2 += item.gco2 or 0.0
        cost += item.cost_gbp or 0.0
        gco2_known &= item.gco2 is not None
        cost_known &= item.cost_gbp is not None
    return Account(energy, gco2 if gco2_known else None, cost if cost_known else None)


def known_cost_gbp(accounts: Iterable[Account]) -> float:
    """Add up what is known to be paid for energy: a window's price, where the grid's is missing."""
    return sum(item.cost_gbp or 0.0 for item in accounts)


def rescored_intensity(
    regional_forecast: Floats, national_forecast: Floats, national_actual: Floats
) -> Floats:
    """[14, periods] estimate of what regional intensity turned out to be.

    No regional actual is ever published. The last published regional forecast is scaled by
    national actual over national forecast of the same half hour; where either national figure
    is missing, or the forecast is zero, the regional forecast stands.

    Source: docs/explanation/accounting.md.
    """
    usable = np.isfinite(national_actual) & np.isfinite(national_forecast) & (national_forecast > 0)
    factor = np.ones_like(national_actual)
    factor[usable] = national_actual[usable] / national_forecast[usable]
    return np.asarray(regional_forecast * factor[None, :], dtype=np.float64)


@dataclass(frozen=True, slots=True)
class CarbonTotals:
    """Carbon of a run in kg; a refused workload is charged its run-at-once carbon on both sides."""

    baseline_kg: float
    scheduled_kg: float
    rescored_baseline_kg: float
    rescored_kg: float

    @property
    def avoided_kg(self) -> float:
        """Baseline less schedule, both on the forecasts in force when decided."""
        return self.baseline_kg - self.scheduled_kg

    @property
    def avoided_pct(self) -> float:
        """Avoided share of the baseline, in percent; 0 where there is no baseline."""
        return 100.0 * self.avoided_kg / self.baseline_kg if self.baseline_kg else 0.0


def schedule_account(
    segments: Sequence[Segment], power_w: int, site_region: Sequence[int], figures: Figures
) -> Account:
    """Value a whole schedule."""
    return add_up(
        account_segment(segment, power_w, site_region[segment.site], figures)
        for segment in segments
    )
