"""``plan``: negotiate a batch offline, or ask when is best for one job."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, redirect_stdout
from dataclasses import asdict
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.console import Console
from rich.table import Table

from agents.plan_objective import Objective
from schema.errors import InputError
from schema.units import KG_PER_TONNE
from storage.present import write_json
from storage.settings_loader import load_settings

if TYPE_CHECKING:
    from agents.core.market.outcome import Outcome
    from agents.plan import Job, PlanReport, Schedule

SHARDS = (1, 2, 4, 8)
#: Schedules up to this long are shown where no file is asked for.
_SHOWN = 30


def plan(
    *,
    grid: Annotated[Path | None, typer.Option(help="CSV of the grid.")] = None,
    workloads: Annotated[Path | None, typer.Option(help="CSV of the workloads.")] = None,
    out: Annotated[Path | None, typer.Option(help="Where to write the schedule as CSV.")] = None,
    objective: Annotated[
        Objective, typer.Option(help="What counts: price and carbon, or one alone.")
    ] = Objective.BALANCED,
    seed: Annotated[
        int, typer.Option(min=0, max=2**63 - 1, metavar="N", help="Of the negotiation.")
    ] = 0,
    shards: Annotated[
        int, typer.Option(help="Processes: 1, or 2, 4 or 8 through Ray; the plan is the same.")
    ] = 1,
    address: Annotated[
        str | None, typer.Option(help="A running Ray cluster, host:port, for the shards.")
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="One JSON document on stdout.")] = False,
    duration: Annotated[
        str | None, typer.Option(help="When is best for a job this long? 3h, 90min, 1h30min.")
    ] = None,
    power: Annotated[str | None, typer.Option(help="Its power: 5kW, 500W, 1.2MW.")] = None,
    region: Annotated[
        list[str] | None,
        typer.Option(help="Where it may run: a number 1 to 14 or a name; repeat for more."),
    ] = None,
    earliest_start: Annotated[
        str | None, typer.Option(help="Its earliest start, such as 2026-02-03T18:00Z.")
    ] = None,
    deadline: Annotated[str | None, typer.Option(help="Its latest finish, likewise.")] = None,
) -> None:
    """Negotiate a batch offline, without a database; or: when is best for one job?"""
    begun = time.perf_counter()
    job = {
        "--duration": duration,
        "--power": power,
        "--region": region,
        "--earliest-start": earliest_start,
        "--deadline": deadline,
    }
    of_job = [name for name, value in job.items() if value]
    if workloads is None and of_job:
        given = {"--out": out, "--shards": shards != 1, "--address": address}
        if name := next((name for name, value in given.items() if value), None):
            raise InputError(f"{name} is for a batch (--workloads), not for one job ({of_job[0]})")
        _one_job(
            grid,
            objective,
            duration,
            power,
            region or [],
            earliest_start,
            deadline,
            as_json=as_json,
        )
        return
    if of_job:
        raise InputError(
            f"--workloads is for a batch and {of_job[0]} for one job; give one of them"
        )
    if grid is None or workloads is None:
        missing = "--grid" if grid is None else "--workloads"
        raise InputError(
            f"{missing} is missing: a batch needs --grid G.csv --workloads W.csv; to ask when is "
            "best for one job, give --duration 3h --power 5kW"
        )
    if shards not in SHARDS:
        raise InputError(f"--shards {shards}: 1, 2, 4 or 8 are allowed", value=shards)
    if address is not None and shards == 1:
        raise InputError("--address is for shard processes: add --shards 2, 4 or 8", field="shards")
    _batch(
        grid,
        workloads,
        out,
        objective,
        seed=seed,
        shards=shards,
        address=address,
        as_json=as_json,
        begun=begun,
    )


def _one_job(
    grid: Path | None,
    objective: Objective,
    duration: str | None,
    power: str | None,
    regions: list[str],
    earliest_start: str | None,
    deadline: str | None,
    *,
    as_json: bool,
) -> None:
    from agents.plan_answer import answer, answer_json, build_question, print_answer

    settings = load_settings()
    question = build_question(
        duration=duration,
        power=power,
        regions=regions,
        earliest_start=earliest_start,
        deadline=deadline,
        objective=objective,
        settings=settings,
    )
    found, figures = answer(question, grid, settings, datetime.now(UTC))
    if as_json:
        write_json(answer_json(question, found, figures))
    else:
        print_answer(question, found, figures, Console(file=sys.stdout))


def _batch(
    grid: Path,
    workloads: Path,
    out: Path | None,
    objective: Objective,
    *,
    seed: int,
    shards: int,
    address: str | None,
    as_json: bool,
    begun: float,
) -> None:
    # Imported here: the market's kernels are half of what starting takes.
    from agents.plan import build_job, report_of, schedule_of
    from agents.plan_batch import read_batch
    from agents.plan_grid import read_grid
    from agents.plan_schedule import check_out, schedule_csv, write_whole

    if out is not None:
        check_out(out, (grid, workloads))
    figures = read_grid(grid)
    job = build_job(
        figures,
        read_batch(workloads, figures),
        objective,
        carbon_value_gbp_per_kg=load_settings().carbon_value_gbp_per_tonne / KG_PER_TONNE,
    )
    outcome, negotiate_s = _negotiate(job, shards, seed, address)
    schedule = schedule_of(job, outcome)
    if out is not None:
        write_whole(out, schedule_csv(job, schedule))
    report = report_of(
        job, outcome, schedule, negotiate_s=negotiate_s, wall_s=time.perf_counter() - begun
    )
    if as_json:
        write_json(asdict(report))
    else:
        _print(report, job, schedule, out, Console(file=sys.stdout))


def _negotiate(job: Job, shards: int, seed: int, address: str | None) -> tuple[Outcome, float]:
    """Negotiate here or through Ray; give the outcome and how long the negotiation took."""
    from agents.core.market.contractors import InProcessContractors, make_books
    from agents.plan import hold

    console = Console(stderr=True, highlight=False)
    with _status(console) as tell:
        if shards == 1:
            begun = time.perf_counter()
            contractors = InProcessContractors(make_books([job.fleet]))
            outcome = hold(job, contractors, seed=seed, on_phase=tell)
            return outcome, time.perf_counter() - begun
        from agents.ray_env import on_this_machine, prepare
        from storage.home import prepare_home, resolve_home

        # Before anything imports ray: it reads its environment when it is imported.
        home = prepare_home(load_settings().home or resolve_home())
        temp_parent = prepare(home, single_machine=on_this_machine(address))
        from agents.plan_on_ray import hold_on_ray

        tell("starting Ray" if address is None else "joining Ray")
        # Ray tells of lost workers and nodes on stdout, which is for the answer alone.
        with redirect_stdout(sys.stderr):
            return hold_on_ray(
                job,
                shards,
                seed=seed,
                temp_parent=temp_parent,
                address=address,
                say=partial(console.print, soft_wrap=True),
                on_phase=tell,
            )


@contextmanager
def _status(console: Console) -> Iterator[Callable[[str], None]]:
    """Show on a terminal what goes on; silent elsewhere."""
    with console.status("negotiating") as status:
        yield lambda phase: status.update(f"negotiating: {phase}")


def _print(
    report: PlanReport, job: Job, schedule: Schedule, out: Path | None, console: Console
) -> None:
    from agents.plan_schedule import rows_of

    saved = report.baseline_kg - report.scheduled_kg
    cost = (
        f"{report.cost_gbp:,.2f} GBP, at least {report.bound_gbp:,.2f} for any plan "
        f"(gap {report.gap:.2%})"
    )
    carbon = (
        f"{report.scheduled_kg:,.1f} kg, run at once at home {report.baseline_kg:,.1f} kg "
        f"(avoided {saved:,.1f} kg)"
    )
    lines = (
        ("workloads", f"{report.workloads}: {report.awarded} awarded, {report.refused} refused"),
        ("cost", cost),
        ("carbon", carbon),
        ("negotiated", f"{report.rounds} rounds, {report.messages} messages"),
        ("time", f"{report.wall_s:.2f} s, of which {report.negotiate_s:.2f} s negotiating"),
        ("digest", report.digest),
    )
    for name, text in lines:
        console.print(f"{name:<12}{text}", highlight=False, soft_wrap=True)
    if out is not None:
        console.print(f"{'schedule':<12}{out}", highlight=False, soft_wrap=True, markup=False)
    elif len(job.batch) > _SHOWN:
        console.print("--out S.csv writes the schedule", style="dim", highlight=False)
    else:
        table = Table(header_style="bold")
        rows = rows_of(job, schedule)
        for name in next(rows):
            table.add_column(name, overflow="fold")
        for row in rows:
            table.add_row(*(cell.replace("[", "\\[") for cell in row))
        console.print(table)
