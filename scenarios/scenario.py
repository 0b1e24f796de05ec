"""A loaded scenario: what every actor of a replay takes its part from.

Everything is derived from the file and the seed alone, when first asked for: a compute agent that
only wants its workloads never makes the weather.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

from scenarios.axis import Axis
from scenarios.fleet import Fleet, PlantedSlot, capacity_from_planted, planted_load
from scenarios.model import GeneratedWorkloads, Organisation, ScenarioFile, Site
from scenarios.rng import Ints
from scenarios.synth.demand import Demand, synthesise_demand
from scenarios.synth.flexibility import Flexibility, synthesise_flexibility
from scenarios.synth.forecasts import (
    Vintages,
    national_forecast_of,
    revision_times,
    synthesise_vintages,
)
from scenarios.synth.generation import (
    Generation,
    intensity_of_mix,
    regional_intensity,
    synthesise_generation,
)
from scenarios.synth.prices import Prices, synthesise_prices, system_from_mid
from scenarios.synth.weather import Drivers, synthesise_drivers
from scenarios.tables import NationalTable, PriceTable, RegionalTable
from scenarios.windows import Window, as_changed
from scenarios.workload_csv import Arrival
from scenarios.workload_gen import Places, generate_fleet, usable_periods
from schema.periods import HALF_HOUR
from schema.regions import REGION_IDS
from schema.workloads import Workload
from storage.outages import Outage


@dataclass(frozen=True, slots=True)
class Asset:
    """A site with its free power.

    ``capacity_w`` has one whole number of W a half hour, from the scenario's start over the replay
    and two days more.
    """

    organisation: str
    name: str
    region_id: int
    pue: float
    capacity_w: Ints

    @property
    def capacity_kw(self) -> list[float]:
        """Free power by half hour, kW."""
        return [int(watts) / 1000 for watts in self.capacity_w]


@dataclass(frozen=True, slots=True)
class GivenTables:
    """What the folder's CSV files gave; None where the synthesiser steps in."""

    regional: RegionalTable | None = None
    national: NationalTable | None = None
    prices: PriceTable | None = None
    windows: tuple[Window, ...] = ()
    workloads: tuple[Arrival, ...] | None = None


@dataclass(frozen=True)
class Scenario:
    """One scenario under one seed.

    Arrays over time run along ``axis``; its index of the replay's start is ``start_index``.
    """

    file: ScenarioFile
    folder: Path
    seed: int
    given: GivenTables = field(repr=False)

    @property
    def name(self) -> str:
        """Name of the scenario."""
        return self.file.name

    @property
    def start(self) -> datetime:
        """First instant of the replay."""
        return self.file.start

    @property
    def end(self) -> datetime:
        """First instant after the replay."""
        return self.file.end

    @property
    def tick(self) -> timedelta:
        """Time between two ticks."""
        return timedelta(minutes=self.file.tick_min)

    @property
    def ticks(self) -> int:
        """How many ticks; tick k is at ``start + k * tick``."""
        return self.file.ticks

    @property
    def horizon_periods(self) -> int:
        """Half hours the market looks ahead."""
        return self.file.horizon_periods

    @cached_property
    def axis(self) -> Axis:
        """The half hours of all tables."""
        return Axis.around(self.start, self.end)

    @property
    def start_index(self) -> int:
        """Axis index of the first half hour of the replay."""
        return self.axis.index(self.start)

    @property
    def organisations(self) -> tuple[str, ...]:
        """Names of the organisations, in the file's order."""
        return tuple(organisation.name for organisation in self.file.organisations)

    # -- the grid ---------------------------------------------------------------------------

    @cached_property
    def drivers(self) -> Drivers:
        """Weather and demand."""
        return synthesise_drivers(self.axis, self.file.grid.weather, self.start, self.seed)

    @cached_property
    def generation(self) -> Generation:
        """Generation mix of the nation and the regions."""
        return synthesise_generation(self.drivers)

    @cached_property
    def demand(self) -> Demand:
        """National demand as the sources define it."""
        return synthesise_demand(self.axis, self.drivers, self.generation, self.seed)

    @cached_property
    def prices(self) -> Prices:
        """Wholesale prices; the table's where there is one."""
        made = synthesise_prices(self.axis, self.generation, self.seed)
        table = self.given.prices
        if table is None:
            return made
        mid = np.where(table.known, table.mid, made.mid)
        first, revised, imbalance = system_from_mid(mid, self.seed)
        return Prices(
            mid=mid,
            mid_volume=np.where(table.known, table.volume, made.mid_volume),
            system_first=np.where(table.known, table.system, first),
            system_revised=np.where(table.known, table.system, revised),
            imbalance=imbalance,
        )

    @cached_property
    def regional(self) -> Vintages:
        """Regional forecasts by revision, ``values[revision, region - 1, half hour]``."""
        if self.given.regional is not None:
            return self.given.regional.forecasts
        last = regional_intensity(self.generation.regional_mix)
        return self._vintages(last, "regional")

    @cached_property
    def national(self) -> Vintages:
        """National forecasts by revision, ``values[revision, 0, half hour]``."""
        if self.given.national is not None:
            return self.given.national.forecasts
        last = national_forecast_of(self.national_actual, self.seed)
        return self._vintages(last[None], "national")

    @cached_property
    def national_actual(self) -> Ints:
        """National outturn ``[T]``, gCO2/kWh; -1 where it never appears."""
        if self.given.national is not None:
            return self.given.national.actual
        return intensity_of_mix(self.generation.national_mix)

    def _vintages(self, last: Ints, stream: str) -> Vintages:
        publication = self.file.publication
        every = timedelta(hours=publication.forecast_revision_h)
        return synthesise_vintages(
            self.axis,
            last,
            revision_times(self.start, self.end, every),
            error_gco2=publication.forecast_error_gco2,
            seed=self.seed,
            stream=stream,
        )

    @cached_property
    def flexibility(self) -> Flexibility:
        """Results of DFS and EAC."""
        return synthesise_flexibility(self.axis, self.prices, self.start, self.end, self.seed)

    @property
    def windows(self) -> tuple[Window, ...]:
        """Beckn windows as first offered, by start."""
        return self.given.windows

    def windows_at(self, now: datetime) -> tuple[Window, ...]:
        """Give the windows of the catalogue at ``now``: published, not over, as changed so far."""
        return tuple(
            self.window_as_of(window, now)
            for window in self.windows
            if window.published_at <= now < window.ends_at
        )

    def window_as_of(self, window: Window, now: datetime) -> Window:
        """Give a window with the changes its provider made by ``now``."""
        return as_changed(window, self.file.window_changes, now, self.start)

    # -- the database -----------------------------------------------------------------------

    @property
    def outages(self) -> tuple[Outage, ...]:
        """When and how the database fails."""
        return tuple(
            Outage(
                self.start + timedelta(hours=fault.from_h),
                self.start + timedelta(hours=fault.to_h),
                fault.kind,
            )
            for fault in self.file.database_faults
        )

    # -- compute ----------------------------------------------------------------------------

    def workloads(self, organisation: str, seed: int | None = None) -> list[tuple[int, Workload]]:
        """Give an organisation's workloads with the tick at which each arrives, in that order.

        Derivable by anyone from path and seed; that is how a compute agent restarts.
        """
        self._organisation(organisation)
        if self.given.workloads is not None:
            mine = [(t, w) for owner, t, w in self.given.workloads if owner == organisation]
        else:
            mine = self.of_fleet(self.fleet(seed), organisation)
        return sorted(mine, key=lambda entry: (entry[0], entry[1].workload_name))

    def of_fleet(self, fleet: Fleet, organisation: str) -> list[tuple[int, Workload]]:
        """Give the workloads of one organisation in a fleet, with their arrival ticks."""
        index = self.organisations.index(organisation)
        rows = np.flatnonzero(fleet.organisation == index).tolist()
        return [(int(fleet.arrival_tick[i]), self._workload(fleet, i)) for i in rows]

    def workload_counts(self) -> dict[str, int]:
        """Count each organisation's workloads, without making them."""
        given = self.given.workloads
        if given is not None:
            owners = Counter(owner for owner, _, _ in given)
            return {name: owners[name] for name in self.organisations}
        counts = np.bincount(self.fleet().organisation, minlength=len(self.organisations))
        return dict(zip(self.organisations, counts.tolist(), strict=True))

    def assets(self, organisation: str, seed: int | None = None) -> list[Asset]:
        """Give an organisation's sites with their capacity."""
        owner = self._organisation(organisation)
        capacity = self._capacity(self.seed if seed is None else seed)
        offset = 0
        for other in self.file.organisations:
            if other.name == organisation:
                break
            offset += len(other.sites)
        return [
            Asset(organisation, site.name, site.region_id, site.pue, capacity[offset + i])
            for i, site in enumerate(owner.sites)
        ]

    def planted(self, seed: int | None = None) -> list[PlantedSlot]:
        """Give the planted feasible schedule; empty where workloads are listed or from CSV.

        Periods count from the start. For tests: no actor of a replay may look at it.
        """
        if self.given.workloads is not None:
            return []
        fleet = self.fleet(seed)
        places = Places.of(self.file.organisations)
        slots = []
        for i in np.flatnonzero(fleet.planted_start >= 0).tolist():
            at = int(fleet.planted_site[i])
            owner = self.file.organisations[int(places.organisation[at])]
            site = owner.sites[int(places.position[at])]
            start = int(fleet.planted_start[i])
            slots.append(
                PlantedSlot(
                    organisation=self.organisations[int(fleet.organisation[i])],
                    workload_name=self._workload_name(fleet, i),
                    site_organisation=owner.name,
                    site=site.name,
                    region_id=site.region_id,
                    start=start,
                    end=start + int(fleet.periods[i]),
                )
            )
        return slots

    @property
    def usable_periods(self) -> int:
        """Half hours from the start in which work may run; the load factor is taken over them."""
        return usable_periods(self.file)

    def fleet(self, seed: int | None = None) -> Fleet:
        """Give the generated workloads as arrays.

        Raises:
            TypeError: The workloads are listed or from CSV.
        """
        if not isinstance(self.file.workloads, GeneratedWorkloads):
            msg = f"workloads of {self.name} are {self.file.workloads.kind}; only generated ones"
            raise TypeError(msg)
        wanted = self.seed if seed is None else seed
        if wanted not in self._fleets:
            self._fleets[wanted] = generate_fleet(self.file, self.file.workloads, wanted)
        return self._fleets[wanted]

    @cached_property
    def _fleets(self) -> dict[int, Fleet]:
        return {}

    @property
    def capacity_periods(self) -> int:
        """Half hours for which capacity is given: the replay, and two days more."""
        return self.file.run_periods + 96

    def _capacity(self, seed: int) -> Ints:
        sites: list[Site] = [s for o in self.file.organisations for s in o.sites]
        stated = np.array(
            [0 if s.capacity_kw is None else int(s.capacity_kw * 1000) for s in sites],
            dtype=np.int64,
        )
        constant = np.repeat(stated[:, None], self.capacity_periods, axis=1)
        if not isinstance(self.file.workloads, GeneratedWorkloads):
            return constant
        derived = capacity_from_planted(
            planted_load(self.fleet(seed), len(sites), self.capacity_periods),
            load_factor=self.file.capacity.load_factor,
            headroom=self.file.capacity.headroom,
            usable=self.usable_periods,
        )
        return np.where(stated[:, None] > 0, constant, derived)

    def _organisation(self, name: str) -> Organisation:
        for organisation in self.file.organisations:
            if organisation.name == name:
                return organisation
        msg = f"organisation {name!r} is not in {self.name}; it has {', '.join(self.organisations)}"
        raise KeyError(msg)

    def _workload_name(self, fleet: Fleet, row: int) -> str:
        owner = self.organisations[int(fleet.organisation[row])]
        return f"{owner}-{int(fleet.number[row]):05}"

    def _workload(self, fleet: Fleet, row: int) -> Workload:
        release = self.start + int(fleet.release[row]) * HALF_HOUR
        deadline = self.start + int(fleet.deadline[row]) * HALF_HOUR
        mask = int(fleet.regions[row])
        home = int(fleet.home[row])
        others = [r for r in REGION_IDS if mask >> (r - 1) & 1 and r != home]
        return Workload(
            workload_name=self._workload_name(fleet, row),
            power_kw=int(fleet.power_w[row]) / 1000,
            duration_min=int(fleet.duration_min[row]),
            earliest_start=release - timedelta(minutes=int(fleet.early_min[row])),
            deadline=deadline + timedelta(minutes=int(fleet.late_min[row])),
            allowed_regions=(home, *others),
            home_region_id=home,
            interruptible=bool(fleet.interruptible[row]),
            priority=int(fleet.priority[row]),
            delay_cost_gbp_per_kwh_h=int(fleet.delay_micro[row]) / 1e6,
        )

    def summary(self) -> dict[str, Any]:
        """Give what ``scenarios show`` tells, as JSON values."""
        sites = {o.name: [s.region_id for s in o.sites] for o in self.file.organisations}
        given = self.given
        return {
            "name": self.name,
            "story": self.file.story.strip(),
            "start": self.start.isoformat(),
            "end": self.end.isoformat(),
            "ticks": self.ticks,
            "tick_min": self.file.tick_min,
            "horizon_periods": self.horizon_periods,
            "seed": self.seed,
            "workloads": self.workload_counts(),
            "site_regions": sites,
            "windows": len(self.windows),
            "faults": len(self.file.faults),
            "database_faults": len(self.file.database_faults),
            "window_changes": len(self.file.window_changes),
            "tables": {
                "regional": "csv" if given.regional else self.file.grid.synthesiser,
                "national": "csv" if given.national else self.file.grid.synthesiser,
                "prices": "csv" if given.prices else self.file.grid.synthesiser,
            },
            "method": self.file.grid.method,
        }
