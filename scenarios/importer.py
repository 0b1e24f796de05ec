"""``scenarios import``: a scenario folder from CSVs of real figures.

What the files do not hold is assumed, and every assumption is written into ``grid.method`` of the
new ``scenario.toml``: regional intensity where only national figures exist, the market index where
only imbalance prices exist, and owner, place, power and deadline of a trace's jobs.
"""

from __future__ import annotations

import csv
import json
import shutil
import tempfile
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import date, datetime, timedelta
from pathlib import Path

import numpy as np
from pydantic import ValidationError

from scenarios.axis import PRICES_BEFORE, TABLE_AFTER, TABLE_BEFORE
from scenarios.faults import scenario_error
from scenarios.fleet import capacity_from_planted, planted_load
from scenarios.import_series import (
    Filled,
    GapPolicy,
    Job,
    Series,
    fill,
    first_day,
    read_national,
    read_prices,
    read_trace,
)
from scenarios.loader import FILE_NAME, load, model_faults
from scenarios.model import GeneratedWorkloads, ScenarioFile
from scenarios.scenario import GivenTables, Scenario
from scenarios.synth.forecasts import LARGEST_INTENSITY
from scenarios.workload_csv import WORKLOAD_COLUMNS
from scenarios.workload_gen import Jobs, lay_out, usable_periods
from schema.errors import ScenarioError
from schema.periods import format_instant
from schema.regions import REGION_COUNT, REGIONS
from schema.workloads import Workload

#: Regional over national intensity, by region 1 to 14: means of our synthesiser over four seasons
#: and wind capacity factors of 0.15 to 0.60. An assumption, not a measurement.
REGIONAL_FACTORS: tuple[float, ...] = (
    0.32, 0.10, 0.45, 0.43, 1.15, 1.28, 2.35, 1.03, 1.49, 0.66, 1.64, 1.19, 0.96, 1.08,
)  # fmt: skip
KW_PER_CPU = 1.0
_MAX_JOB_H = 12.0
_BATCH_TICKS = 12
_LOAD_FACTOR = 0.6
ORGANISATIONS: tuple[tuple[str, tuple[int, ...]], ...] = (
    ("caledonia-cloud", (1, 2, 3, 4)),
    ("severn-compute", (6, 7, 8, 11, 12)),
    ("thames-ai", (5, 9, 10, 13, 14)),
)


@dataclass(frozen=True, slots=True)
class ImportPlan:
    """What to import.

    ``prices_from`` is the settlement day of the price file that becomes ``prices_redate_to``; by
    default the file's first day. ``national_shift_days`` moves the national figures by whole days.
    ``trace_from_h`` is the hour of the trace at which the jobs are taken.
    """

    name: str
    out: Path
    start: datetime
    national: Path
    prices: Path
    workload_trace: Path
    workloads: int
    hours: int = 30
    seed: int = 1
    national_shift_days: int = 0
    prices_from: date | None = None
    prices_redate_to: date | None = None
    trace_from_h: float = 0.0
    gaps: GapPolicy = GapPolicy.REFUSE
    factors: Sequence[float] = REGIONAL_FACTORS
    story: str | None = None

    @property
    def end(self) -> datetime:
        """First instant after the replay."""
        return self.start + timedelta(hours=self.hours)


def import_scenario(plan: ImportPlan) -> Scenario:
    """Build the folder, check it whole, and give the scenario.

    Nothing is left behind when something is wrong.

    Raises:
        ScenarioError: The folder exists, the files lack what is needed, or the result is not valid.
    """
    if plan.out.exists():
        msg = f"{plan.out} exists; choose another --out, or remove it first"
        raise ScenarioError(msg, path=str(plan.out))
    if len(plan.factors) != REGION_COUNT or min(plan.factors) < 0:
        msg = f"{len(plan.factors)} regional factors; {REGION_COUNT} of 0 or more are needed"
        raise ScenarioError(msg, field="factors")
    forecast, actual = _national(plan)
    prices = _prices(plan)
    try:
        scenario_file = _scenario_file(plan)
    except ValidationError as exc:
        raise scenario_error(plan.name, model_faults(exc)) from exc
    arrivals, capacity = _workloads(plan, scenario_file)
    plan.out.parent.mkdir(parents=True, exist_ok=True)
    folder = Path(tempfile.mkdtemp(prefix=f".{plan.out.name}-", dir=plan.out.parent))
    try:
        _write_tables(folder, plan, forecast, actual, prices)
        _write_workloads(folder / "workloads.csv", arrivals)
        text = _toml(plan, capacity, _method(plan, forecast, prices))
        (folder / FILE_NAME).write_text(text, encoding="utf-8")
        load(folder)
        folder.rename(plan.out)
    finally:
        shutil.rmtree(folder, ignore_errors=True)
    plan.out.chmod(0o755)
    return load(plan.out)


def _national(plan: ImportPlan) -> tuple[Filled, Series]:
    forecast, actual = read_national(plan.national)
    shift = timedelta(days=plan.national_shift_days)
    first, last = plan.start - TABLE_BEFORE, plan.end + TABLE_AFTER
    moved = {at + shift: value for at, value in forecast.items()}
    filled = fill(moved, first, last, plan.gaps, plan.national.name)
    return filled, {at + shift: value for at, value in actual.items()}


def _prices(plan: ImportPlan) -> Filled:
    shift = 0
    if plan.prices_redate_to is not None:
        begins = plan.prices_from or first_day(plan.prices)
        shift = (plan.prices_redate_to - begins).days
    elif plan.prices_from is not None:
        msg = "--prices-from needs --prices-redate-to: the day that it becomes"
        raise ScenarioError(msg, field="prices-from")
    first, last = plan.start - PRICES_BEFORE, plan.end + TABLE_AFTER
    return fill(read_prices(plan.prices, shift), first, last, plan.gaps, plan.prices.name)


def _scenario_file(plan: ImportPlan) -> ScenarioFile:
    """Give the model used to lay out the jobs; sites have no capacity yet."""
    return ScenarioFile.model_validate(
        {
            "name": plan.name,
            "story": plan.story or "imported",
            "start": plan.start,
            "duration_h": plan.hours,
            "seed": plan.seed,
            "organisations": [
                {
                    "name": name,
                    "sites": [{"name": f"region-{r}", "region_id": r} for r in regions],
                }
                for name, regions in ORGANISATIONS
            ],
            "workloads": {
                "kind": "generated",
                "count": plan.workloads,
                "max_duration_h": _MAX_JOB_H,
            },
            "grid": {"weather": {"wind": [{"hour": 0, "value": 0.35}]}},
        }
    )


def _workloads(
    plan: ImportPlan, file: ScenarioFile
) -> tuple[list[tuple[str, int, Workload]], list[int]]:
    """Give arrivals, and each site's constant capacity in kW."""
    how = file.workloads
    if not isinstance(how, GeneratedWorkloads):
        msg = "the layout model has generated workloads"
        raise TypeError(msg)
    jobs = _jobs(plan, file, read_trace(plan.workload_trace))
    fleet = lay_out(file, how, jobs, plan.seed)
    scenario = Scenario(file, plan.out, plan.seed, GivenTables())
    arrivals = [
        (name, tick, workload)
        for name in scenario.organisations
        for tick, workload in scenario.of_fleet(fleet, name)
    ]
    sites = sum(len(organisation.sites) for organisation in file.organisations)
    usable = usable_periods(file)
    cells = capacity_from_planted(
        planted_load(fleet, sites, usable), load_factor=_LOAD_FACTOR, headroom=1.0, usable=usable
    )
    return arrivals, [-(-int(row.max()) // 1000) for row in cells]


def _jobs(plan: ImportPlan, file: ScenarioFile, trace: list[Job]) -> Jobs:
    """Take jobs that fit and bring their arrivals into the first two thirds of the replay."""
    fit = [j for j in trace if j.arrival_h >= plan.trace_from_h and j.length_h <= _MAX_JOB_H]
    taken = fit[: plan.workloads]
    if len(taken) < plan.workloads:
        msg = (
            f"{plan.workload_trace.name}: only {len(taken)} jobs of at most {_MAX_JOB_H:g} h "
            f"from hour {plan.trace_from_h:g} on; asked for {plan.workloads}"
        )
        raise ScenarioError(msg, field="workloads", value=plan.workloads)
    begin = taken[0].arrival_h
    span = max(taken[-1].arrival_h - begin, 0.5)
    usable = usable_periods(file) * 2 // 3
    first = np.array(
        [min(int((job.arrival_h - begin) / span * usable), usable - 1) for job in taken],
        dtype=np.int64,
    )
    per_tick = file.tick_min // 30
    return Jobs(
        duration_min=np.array([max(5, round(j.length_h * 12) * 5) for j in taken], dtype=np.int64),
        power_w=np.array([round(j.cpus * KW_PER_CPU * 1000) for j in taken], dtype=np.int64),
        # Jobs are announced in batches, ahead of their first half hour.
        arrival_tick=first // per_tick // _BATCH_TICKS * _BATCH_TICKS,
        first=first,
    )


# -- writing ------------------------------------------------------------------------------------


def _write_tables(
    folder: Path, plan: ImportPlan, forecast: Filled, actual: Series, prices: Filled
) -> None:
    national, regional = [], []
    for at, value in sorted(forecast.values.items()):
        when, quality = format_instant(at), _quality(at in forecast.estimated)
        outturn = "" if at not in actual else str(_grams(actual[at]))
        national.append([when, str(_grams(value)), outturn, quality])
        regional += [
            [str(region.region_id), when, str(_grams(value * factor)), "estimated"]
            for region, factor in zip(REGIONS, plan.factors, strict=True)
        ]
    columns = ("valid_from", "forecast_gco2_per_kwh", "actual_gco2_per_kwh", "quality")
    _write(folder / "national.csv", columns, national)
    columns = ("region_id", "valid_from", "forecast_gco2_per_kwh", "quality")
    _write(folder / "regional.csv", columns, regional)
    columns = ("valid_from", "mid_gbp_per_mwh", "system_gbp_per_mwh", "quality")
    rows = [
        [format_instant(at), f"{price:.2f}", f"{price:.2f}", "estimated"]
        for at, price in sorted(prices.values.items())
    ]
    _write(folder / "prices.csv", columns, rows)


def _grams(value: float) -> int:
    return min(max(round(value), 0), LARGEST_INTENSITY)


def _quality(estimated: bool) -> str:  # noqa: FBT001
    return "estimated" if estimated else "published"


def _write(path: Path, columns: Sequence[str], rows: Iterable[Sequence[str]]) -> None:
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(columns)
        writer.writerows(rows)


def _write_workloads(path: Path, arrivals: list[tuple[str, int, Workload]]) -> None:
    rows = [
        [
            organisation,
            str(tick),
            workload.workload_name,
            f"{workload.power_kw:g}",
            str(workload.duration_min),
            format_instant(workload.earliest_start),
            format_instant(workload.deadline),
            ";".join(str(region) for region in workload.allowed_regions),
            "true" if workload.interruptible else "false",
            str(workload.home),
            f"{workload.delay_cost_gbp_per_kwh_h:.6f}",
            "",
            str(workload.priority),
        ]
        for organisation, tick, workload in arrivals
    ]
    _write(path, (*WORKLOAD_COLUMNS, "priority"), rows)


def _toml(plan: ImportPlan, capacity: list[int], method: str) -> str:
    story = plan.story or (
        f"Imported: national intensity from {plan.national.name}, prices from "
        f"{plan.prices.name}, jobs from {plan.workload_trace.name}."
    )
    lines = [
        f"name = {_text(plan.name)}",
        f"story = {_text(story)}",
        f"start = {format_instant(plan.start)}",
        f"duration_h = {plan.hours}",
        f"seed = {plan.seed}",
    ]
    kilowatts = iter(capacity)
    for name, regions in ORGANISATIONS:
        lines += ["", "[[organisations]]", f"name = {_text(name)}", "sites = ["]
        lines += [
            f'    {{ name = "region-{r}", region_id = {r}, capacity_kw = {next(kilowatts)} }},'
            for r in regions
        ]
        lines.append("]")
    lines += [
        "",
        "[workloads]",
        'kind = "csv"',
        'file = "workloads.csv"',
        "",
        "[grid]",
        f"method = {_text(method)}",
        'tables = { regional = "regional.csv", national = "national.csv", prices = "prices.csv" }',
        "",
        "[grid.weather]",
        "wind = [{ hour = 0, value = 0.35 }]",
    ]
    return "\n".join(lines) + "\n"


def _text(value: str) -> str:
    """Write a TOML basic string; JSON's escapes are a part of TOML's."""
    return json.dumps(value, ensure_ascii=False)


def _method(plan: ImportPlan, forecast: Filled, prices: Filled) -> str:
    factors = [
        f"{region.region_id}={factor:g}"
        for region, factor in zip(REGIONS, plan.factors, strict=True)
    ]
    moved = f", moved by {plan.national_shift_days} days" if plan.national_shift_days else ""
    dated = f", re-dated to {plan.prices_redate_to}" if plan.prices_redate_to else ""
    return (
        f"National intensity: {plan.national.name}{moved}; its forecast is the last one issued, so "
        "there is one revision only and forecasts look better than they were. An outturn of 0 "
        "counts as missing. Regional intensity: estimated as national forecast times a constant "
        f"factor by region: {', '.join(factors)}. Prices: imbalance prices of {plan.prices.name}"
        f"{dated} by settlement date and period; the market index is estimated as equal to them. "
        f"Gaps: {len(forecast.estimated)} intensity and {len(prices.estimated)} price half hours "
        f"filled ({plan.gaps.value}). Jobs: {plan.workload_trace.name} from hour "
        f"{plan.trace_from_h:g}, lengths in hours, at most {_MAX_JOB_H:g} h; {KW_PER_CPU:g} kW a "
        "CPU, owner, regions, deadline and delay cost are assumptions drawn by seed; arrivals are "
        "brought into the first two thirds of the replay and announced every six hours. Generation "
        "mix, demand and flexibility are synthesised and do not follow the imported intensity."
    )
