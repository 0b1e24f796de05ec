"""``scenario.toml`` as a model: every field, its unit, its bounds and its default.

Instants have a time zone; hours written as plain numbers count from ``start``. The JSON Schema
made from this model is committed as ``scenarios/scenario.schema.json`` for editors.
"""

from __future__ import annotations

from datetime import datetime, timedelta
from enum import StrEnum
from typing import Annotated, Literal, Self

from pydantic import (
    BaseModel,
    ConfigDict,
    Field,
    StringConstraints,
    field_validator,
    model_validator,
)

from schema.periods import HALF_HOUR, floor_half_hour
from schema.readings import Source
from schema.regions import REGION_IDS
from schema.rows.base import Instant, Name, RegionId
from schema.workloads import Workload
from storage.outages import StoreFault

Slug = Annotated[str, StringConstraints(pattern=r"^[a-z0-9][a-z0-9-]{0,62}$")]
#: A file beside ``scenario.toml``; a path would reach outside the folder.
FileName = Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9][A-Za-z0-9_.-]{0,80}\.csv$")]
Fraction = Annotated[float, Field(ge=0, le=1)]
Hours = Annotated[float, Field(ge=-24 * 30, le=24 * 30)]

MAX_HOURS = 24 * 14
MAX_WORKLOADS = 1_000_000
MAX_LISTED = 2_000


class Part(BaseModel):
    """Base of all parts: frozen, no unknown field, no NaN."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)


class Site(Part):
    """A place where an organisation's computers stand.

    Without ``capacity_kw`` the site's free power follows the planted schedule (see
    ``Capacity``); with it, it is constant.
    """

    name: Slug
    region_id: RegionId
    capacity_kw: Annotated[float, Field(gt=0, le=1e8)] | None = None
    pue: Annotated[float, Field(ge=1, le=5)] = 1.0


class Organisation(Part):
    """One owner of sites and workloads; one compute agent speaks for it."""

    name: Slug
    sites: tuple[Site, ...] = Field(max_length=200)
    share: Annotated[float, Field(gt=0, le=1)] = 1.0
    """Its part of the generated workloads, relative to the other organisations' shares."""


class Capacity(Part):
    """How free power is derived where a site states none.

    The planted schedule is a feasible one, made with the workloads. A site's capacity in a half
    hour is what the planted schedule needs there, times ``headroom``, or a floor in proportion to
    the site's mean planted load, whichever is higher; the floor is set so that all work needs
    ``load_factor`` of the energy the sites could give while work may run.
    """

    load_factor: Annotated[float, Field(ge=0.1, le=0.95)] = 0.6
    headroom: Annotated[float, Field(ge=1, le=3)] = 1.0


class TraceModel(StrEnum):
    """Named models of how long jobs run and how much power they draw."""

    BATCH = "batch"
    TRAINING = "training"
    AZURE_LIKE = "azure-like"
    MIXED = "mixed"


class GeneratedWorkloads(Part):
    """Workloads drawn from a trace model, with a feasible schedule planted first."""

    kind: Literal["generated"] = "generated"
    model: TraceModel = TraceModel.MIXED
    count: Annotated[int, Field(ge=1, le=MAX_WORKLOADS)]
    window_h: Annotated[float, Field(gt=0, le=MAX_HOURS)] | None = None
    """Hours from ``start`` by which all deadlines have passed; the replay's length if absent."""
    patience_h: Annotated[float, Field(ge=1, le=MAX_HOURS)] | None = None
    """Hours from its arrival by which a workload's own deadline has passed; no limit if absent.

    With it work arrives, runs and is gone in a scenario of many days.
    """
    power_scale: Annotated[float, Field(gt=0, le=1000)] = 1.0
    max_duration_h: Annotated[float, Field(ge=0.5, le=MAX_HOURS)] = 12.0
    interruptible: Fraction = 0.3
    one_region: Fraction = 0.3
    """Part of the workloads that may run in their home region only."""
    all_regions: Fraction = 0.25
    """Part that may run anywhere; the rest may run in three to five regions."""
    tight: Fraction = 0.25
    """Part with at most two half hours to spare."""
    loose: Fraction = 0.35
    """Part that may use the whole window; the rest have up to eight half hours to spare."""
    arrival_ticks: tuple[Annotated[int, Field(ge=0, le=10_000)], ...] = ()
    """Ticks at which workloads arrive beside tick 0."""
    late_share: Fraction = 0.15
    """Part of the workloads that arrives at those ticks."""
    home_weights: dict[str, Annotated[float, Field(ge=0, le=1000)]] | None = None
    """How often a region (its number as text) is home; equal over the organisation's if absent."""
    plant_weights: dict[str, Annotated[float, Field(ge=0, le=1000)]] | None = None
    """How much planted work, hence capacity, a region gets; equal if absent."""

    @field_validator("home_weights", "plant_weights")
    @classmethod
    def _regions(cls, weights: dict[str, float] | None) -> dict[str, float] | None:
        allowed = {str(number) for number in REGION_IDS}
        unknown = sorted(set(weights or {}) - allowed)
        if unknown:
            msg = f"region {unknown[0]!r} is unknown; regions are '1' to '14'"
            raise ValueError(msg)
        if weights is not None and not any(weights.values()):
            msg = "at least one weight must be above 0"
            raise ValueError(msg)
        return weights

    @model_validator(mode="after")
    def _shares(self) -> Self:
        for first, second in (("one_region", "all_regions"), ("tight", "loose")):
            total = getattr(self, first) + getattr(self, second)
            if total > 1 + 1e-9:
                msg = f"{first} + {second} is {total:g}; together they are at most 1"
                raise ValueError(msg)
        return self


class ListedWorkload(Workload):
    """A workload written out, with its owner and the tick at which it arrives."""

    organisation: Slug
    arrival_tick: Annotated[int, Field(ge=0, le=10_000)] = 0


class ListedWorkloads(Part):
    """Workloads written out one by one."""

    kind: Literal["listed"] = "listed"
    items: tuple[ListedWorkload, ...] = Field(min_length=1, max_length=MAX_LISTED)


class CsvWorkloads(Part):
    """Workloads in a CSV: ``organisation`` and ``arrival_tick`` besides the batch columns."""

    kind: Literal["csv"] = "csv"
    file: FileName = "workloads.csv"


Workloads = Annotated[
    GeneratedWorkloads | ListedWorkloads | CsvWorkloads, Field(discriminator="kind")
]


class Anchor(Part):
    """A weather figure at one moment; between anchors it runs straight, outside it stays."""

    hour: Hours
    value: Annotated[float, Field(ge=-30, le=60)]


class Weather(Part):
    """What drives the synthesiser."""

    wind: tuple[Anchor, ...] = Field(min_length=1, max_length=500)
    """Capacity factor of the wind fleet, 0 to 1."""
    wind_noise: Annotated[float, Field(ge=0, le=0.5)] = 0.04
    cloud: Fraction = 0.6
    """Part of the sunlight that clouds take."""
    cold_mw: Annotated[float, Field(ge=-10_000, le=20_000)] = 0.0
    """Demand added by temperature, MW."""

    @field_validator("wind")
    @classmethod
    def _ordered(cls, anchors: tuple[Anchor, ...]) -> tuple[Anchor, ...]:
        hours = [anchor.hour for anchor in anchors]
        if hours != sorted(set(hours)):
            msg = f"hours {hours} must rise, each once"
            raise ValueError(msg)
        for anchor in anchors:
            if not 0 <= anchor.value <= 1:
                msg = f"wind {anchor.value:g} at hour {anchor.hour:g} must lie in 0 to 1"
                raise ValueError(msg)
        return anchors


class Tables(Part):
    """CSV tables that replace what the synthesiser would make."""

    regional: FileName | None = None
    national: FileName | None = None
    prices: FileName | None = None


class Grid(Part):
    """Where the grid's figures come from."""

    synthesiser: Literal["gb-weather"] = "gb-weather"
    weather: Weather
    tables: Tables = Tables()
    method: Annotated[str, StringConstraints(max_length=4000)] | None = None
    """How estimated figures in the tables were derived; required if a table holds any."""


class Publication(Part):
    """When the sources publish; minutes count from the end of a half hour."""

    forecast_revision_h: Annotated[float, Field(ge=0.5, le=48)] = 3.0
    forecast_error_gco2: Annotated[float, Field(ge=0, le=60)] = 10.0
    """Standard deviation of one revision two days ahead; nearer ones are smaller."""
    intensity_actual_delay_min: Annotated[int, Field(ge=0, le=2880)] = 10
    mid_delay_min: Annotated[int, Field(ge=0, le=2880)] = 5
    system_price_delay_min: Annotated[int, Field(ge=0, le=2880)] = 20
    system_price_revision_h: Annotated[int, Field(ge=1, le=240)] = 24
    demand_outturn_delay_min: Annotated[int, Field(ge=0, le=2880)] = 15


class CsvWindows(Part):
    """Beckn windows in a CSV."""

    kind: Literal["csv"] = "csv"
    file: FileName = "windows.csv"


class GeneratedWindows(Part):
    """Beckn windows drawn at random over the regions."""

    kind: Literal["generated"] = "generated"
    count: Annotated[int, Field(ge=0, le=2_000)]
    capacity_kw: tuple[
        Annotated[float, Field(gt=0, le=1e6)], Annotated[float, Field(gt=0, le=1e6)]
    ] = (20.0, 80.0)
    hours: tuple[Annotated[float, Field(ge=0.5, le=24)], Annotated[float, Field(ge=0.5, le=24)]] = (
        1.0,
        4.0,
    )

    @model_validator(mode="after")
    def _ranges(self) -> Self:
        for name in ("capacity_kw", "hours"):
            low, high = getattr(self, name)
            if low > high:
                msg = f"{name} [{low:g}, {high:g}] must go from low to high"
                raise ValueError(msg)
        return self


Windows = Annotated[CsvWindows | GeneratedWindows, Field(discriminator="kind")]


class FaultKind(StrEnum):
    """What a source can do wrong on the wire."""

    REFUSE = "refuse"
    TIMEOUT = "timeout"
    THROTTLE = "throttle"
    SERVER_ERROR = "server_error"
    HTML = "html"
    TRUNCATED = "truncated"
    WRONG_TYPES = "wrong_types"
    NACK = "nack"


class AckShape(StrEnum):
    """The four ways Beckn software says yes or no (docs of the Beckn wire)."""

    MESSAGE_ACK = "message_ack"
    ACK_STATUS = "ack_status"
    MESSAGE_STATUS = "message_status"
    STATUS = "status"


class WireFault(Part):
    """A fault of one source over ``[from_h, to_h)``, hours from ``start``."""

    kind: FaultKind
    source: Source
    from_h: Hours
    to_h: Hours
    path: Annotated[str, StringConstraints(max_length=200)] = ""
    """Text that the request's path must contain; empty is every request."""
    retry_after_s: Annotated[int, Field(ge=0, le=86_400)] = 30
    action: Literal["select", "init", "confirm"] | None = None
    """For ``nack``: the step that is refused; every step if absent."""
    item_id: Name | None = None
    """For ``nack``: the window that is refused; every window if absent."""
    ack_shape: AckShape = AckShape.MESSAGE_STATUS

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        if self.to_h <= self.from_h:
            msg = f"to_h {self.to_h:g} must be after from_h {self.from_h:g}"
            raise ValueError(msg)
        if self.kind is FaultKind.NACK and self.source is not Source.BECKN:
            msg = f"source {self.source.value!r} sends no NACK; only 'beckn' does"
            raise ValueError(msg)
        return self


class DatabaseFault(Part):
    """The database is away, from the first tick in ``[from_h, to_h)`` to the first one after it.

    Hours from ``start``. Where faults overlap the first one listed is in force.
    """

    kind: StoreFault
    from_h: Annotated[float, Field(ge=0, le=MAX_HOURS)]
    to_h: Annotated[float, Field(gt=0, le=MAX_HOURS)]

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        if self.to_h <= self.from_h:
            msg = f"to_h {self.to_h:g} must be after from_h {self.from_h:g}"
            raise ValueError(msg)
        return self


class WindowChange(Part):
    """A provider changes a window by itself; announced by an unsolicited ``on_update``.

    From ``at_h`` on, catalogue and quotes show the new figures too.
    """

    at_h: Hours
    item_id: Name
    capacity_kw: Annotated[float, Field(ge=0, le=1e8)] | None = None
    intensity_gco2_per_kwh: Annotated[int, Field(ge=0, le=1000)] | None = None
    price_per_kwh: Annotated[float, Field(ge=-100, le=1000)] | None = None
    renewable_pct: Annotated[float, Field(ge=0, le=100)] | None = None
    severity: Literal["low", "medium", "high"] = "medium"
    message: Annotated[str, StringConstraints(max_length=500)] = "Grid conditions have changed"

    @model_validator(mode="after")
    def _changes(self) -> Self:
        figures = (
            self.capacity_kw,
            self.intensity_gco2_per_kwh,
            self.price_per_kwh,
            self.renewable_pct,
        )
        if all(figure is None for figure in figures):
            msg = "names no new figure; give capacity_kw, intensity, price or renewable_pct"
            raise ValueError(msg)
        return self


class ScenarioFile(Part):
    """A whole ``scenario.toml``."""

    name: Slug
    story: Annotated[str, StringConstraints(min_length=1, max_length=4000)]
    start: Instant
    duration_h: Annotated[float, Field(gt=0, le=MAX_HOURS)]
    tick_min: Literal[30, 60, 120, 180, 240, 360] = 30
    horizon_periods: Annotated[int, Field(ge=2, le=96)] = 96
    """Half hours the market looks ahead; intensity is published 48 h ahead, hence 96."""
    seed: Annotated[int, Field(ge=0, le=2**63 - 1)]
    organisations: tuple[Organisation, ...] = Field(min_length=1, max_length=100)
    capacity: Capacity = Capacity()
    workloads: Workloads
    grid: Grid
    publication: Publication = Publication()
    windows: Windows | None = None
    faults: tuple[WireFault, ...] = Field(default=(), max_length=1000)
    window_changes: tuple[WindowChange, ...] = Field(default=(), max_length=1000)
    database_faults: tuple[DatabaseFault, ...] = Field(default=(), max_length=1000)

    @field_validator("start")
    @classmethod
    def _on_boundary(cls, start: datetime) -> datetime:
        if floor_half_hour(start) != start:
            msg = f"{start.isoformat()} is no half-hour boundary; minutes must be 00 or 30"
            raise ValueError(msg)
        return start

    @field_validator("organisations")
    @classmethod
    def _unique_names(cls, value: tuple[Organisation, ...]) -> tuple[Organisation, ...]:
        names = [organisation.name for organisation in value]
        twice = sorted({name for name in names if names.count(name) > 1})
        if twice:
            msg = f"organisation {twice[0]!r} is there twice; each name once"
            raise ValueError(msg)
        for organisation in value:
            sites = [site.name for site in organisation.sites]
            doubled = sorted({name for name in sites if sites.count(name) > 1})
            if doubled:
                msg = f"site {doubled[0]!r} of {organisation.name!r} is there twice; each name once"
                raise ValueError(msg)
        if not any(organisation.sites for organisation in value):
            msg = "no organisation has a site; work needs somewhere to run"
            raise ValueError(msg)
        return value

    @model_validator(mode="after")
    def _whole_ticks(self) -> Self:
        minutes = self.duration_h * 60
        if minutes % self.tick_min:
            msg = f"duration_h {self.duration_h:g} is no whole number of {self.tick_min} min ticks"
            raise ValueError(msg)
        return self

    @model_validator(mode="after")
    def _database_comes_back(self) -> Self:
        last_h = self.duration_h - self.tick_min / 60
        for fault in self.database_faults:
            if fault.to_h > last_h:
                msg = (
                    f"the database must be back at the last tick, hour {last_h:g}, for the replay "
                    f"waits for its rows; a database fault has to_h {fault.to_h:g}"
                )
                raise ValueError(msg)
        return self

    @property
    def end(self) -> datetime:
        """First instant after the replay."""
        return self.start + timedelta(hours=self.duration_h)

    @property
    def ticks(self) -> int:
        """How many ticks the replay has."""
        return int(self.duration_h * 60) // self.tick_min

    @property
    def run_periods(self) -> int:
        """Half hours between start and end."""
        return (self.end - self.start) // HALF_HOUR
