"""``plan``: negotiate a batch offline, or ask when is best for one job."""

from __future__ import annotations

import sys
import time
from dataclasses import asdict
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

from agents.core.market.contractors import InProcessContractors, make_books
from agents.plan import Objective, PlanReport, build_job, hold, report_of, schedule_of
from agents.plan_batch import read_batch
from agents.plan_grid import read_grid
from agents.plan_schedule import check_out, schedule_csv, write_whole
from schema.errors import InputError
from schema.units import KG_PER_TONNE
from storage.present import write_json
from storage.settings_loader import load_settings

SHARDS = (1, 2, 4, 8)


def plan(
    *,
    grid: Annotated[Path | None, typer.Option(help="CSV of the grid.")] = None,
    workloads: Annotated[Path | None, typer.Option(help="CSV of the workloads.")] = None,
    out: Annotated[Path | None, typer.Option(help="Where to write the schedule as CSV.")] = None,
    objective: Annotated[
        Objective, typer.Option(help="What counts: price and carbon, or one alone.")
    ] = Objective.BALANCED,
    seed: Annotated[int, typer.Option(min=0, max=2**63 - 1, help="Of the negotiation.")] = 0,
    shards: Annotated[
        int, typer.Option(help="Processes: 1, or 2, 4 or 8 through Ray; the same plan.")
    ] = 1,
    as_json: Annotated[bool, typer.Option("--json", help="One JSON document on stdout.")] = False,
) -> None:
    """Negotiate a batch offline, without a database."""
    begun = time.perf_counter()
    if shards not in SHARDS:
        raise InputError(f"--shards {shards}: 1, 2, 4 or 8 are allowed", value=shards)
    if grid is None or workloads is None:
        missing = "--grid" if grid is None else "--workloads"
        raise InputError(f"{missing} is missing; a batch needs --grid G.csv and --workloads W.csv")
    if out is not None:
        check_out(out, (grid, workloads))
    figures = read_grid(grid)
    job = build_job(
        figures,
        read_batch(workloads, figures),
        objective,
        carbon_value_gbp_per_kg=load_settings().carbon_value_gbp_per_tonne / KG_PER_TONNE,
    )
    asked = time.perf_counter()
    outcome = hold(job, InProcessContractors(make_books([job.fleet], shards)), seed=seed)
    negotiate_s = time.perf_counter() - asked
    schedule = schedule_of(job, outcome)
    if out is not None:
        write_whole(out, schedule_csv(job, schedule))
    report = report_of(
        job, outcome, schedule, negotiate_s=negotiate_s, wall_s=time.perf_counter() - begun
    )
    if as_json:
        write_json(asdict(report))
    else:
        _print(report, Console(file=sys.stdout))


def _print(report: PlanReport, console: Console) -> None:
    for name, value in asdict(report).items():
        console.print(f"{name:<14}{value}", highlight=False)
