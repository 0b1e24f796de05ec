"""What the sources have published by a virtual now: the one place that knows the delays."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta

from scenarios.rng import Ints
from scenarios.scenario import Scenario
from scenarios.synth.forecasts import Vintages
from schema.periods import HALF_HOUR

FORECAST_PERIODS = 96
_FUEL_DELAY = timedelta(minutes=5)


@dataclass(frozen=True, slots=True)
class SystemPrice:
    """One publication of the system price: pence per MWh, kWh of imbalance, and its moment."""

    pence: int
    imbalance_kwh: int
    created_at: datetime


@dataclass(frozen=True, slots=True)
class Published:
    """The figures of a scenario as they stand at ``now``; None for what is not out yet."""

    scenario: Scenario
    now: datetime

    def ended(self, index: int, delay: timedelta) -> bool:
        """Say whether a half hour has been over for ``delay``; false off the axis."""
        axis = self.scenario.axis
        return axis.holds(index) and axis.at(index) + HALF_HOUR + delay <= self.now

    def national_forecast(self, index: int) -> int | None:
        """Give the national forecast in force, gCO2/kWh."""
        values = self._said(self.scenario.national, index)
        return None if values is None else int(values[0])

    def national_actual(self, index: int) -> int | None:
        """Give the national outturn once it is out, gCO2/kWh."""
        minutes = self.scenario.file.publication.intensity_actual_delay_min
        if not self.ended(index, timedelta(minutes=minutes)):
            return None
        actual = int(self.scenario.national_actual[index])
        return None if actual < 0 else actual

    def regional_forecast(self, index: int) -> Ints | None:
        """Give the forecast in force by region ``[14]``, gCO2/kWh."""
        return self._said(self.scenario.regional, index)

    def regional_revision(self, index: int) -> int:
        """Give the revision that regional forecast comes from."""
        axis = self.scenario.axis
        return self.scenario.regional.said(axis, index, self.now)

    def _said(self, table: Vintages, index: int) -> Ints | None:
        axis = self.scenario.axis
        if not table.first <= index < table.last:
            return None
        if index > axis.index(self.now) + FORECAST_PERIODS:
            return None
        revision = table.said(axis, index, self.now)
        if revision < 0:
            return None
        values: Ints = table.values[revision, :, index - table.first]
        return None if int(values.min()) < 0 else values

    def mix_out(self, index: int) -> bool:
        """Say whether the generation mix of a half hour is out: as soon as it is over."""
        return self.ended(index, timedelta(0))

    def market_index_out(self, index: int) -> bool:
        """Say whether the market index of a half hour is out."""
        minutes = self.scenario.file.publication.mid_delay_min
        return self.ended(index, timedelta(minutes=minutes))

    def system_price(self, index: int) -> SystemPrice | None:
        """Give the newest publication of a half hour's system price."""
        publication = self.scenario.file.publication
        first = timedelta(minutes=publication.system_price_delay_min)
        revised = timedelta(hours=publication.system_price_revision_h)
        if not self.ended(index, first):
            return None
        prices, over = self.scenario.prices, self.scenario.axis.at(index) + HALF_HOUR
        imbalance = int(prices.imbalance[index])
        if self.ended(index, revised):
            return SystemPrice(int(prices.system_revised[index]), imbalance, over + revised)
        return SystemPrice(int(prices.system_first[index]), imbalance, over + first)

    def outturn_at(self, index: int) -> datetime | None:
        """Give when the demand outturn of a half hour came out."""
        minutes = self.scenario.file.publication.demand_outturn_delay_min
        delay = timedelta(minutes=minutes)
        if not self.ended(index, delay):
            return None
        return self.scenario.axis.at(index) + HALF_HOUR + delay

    def fuel_out(self, index: int) -> bool:
        """Say whether half-hourly generation by fuel is out."""
        return self.ended(index, _FUEL_DELAY)

    def last_revision(self, every: timedelta) -> datetime:
        """Give the newest multiple of ``every``, counted from the scenario's start."""
        passed = (self.now - self.scenario.start) // every
        return self.scenario.start + passed * every
