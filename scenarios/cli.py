"""``scenarios``: list, show, validate, import and serve scenario folders."""

from __future__ import annotations

from datetime import UTC, date, datetime
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console

from scenarios.cli_serve import serve
from scenarios.faults import scenario_error
from scenarios.import_series import GapPolicy, read_factors
from scenarios.importer import ImportPlan, import_scenario
from scenarios.loader import bundled, check, load
from schema.errors import InputError
from schema.periods import parse_instant
from storage.present import form, write_json, write_rows

app = typer.Typer(
    no_args_is_help=True, help="Scenario folders: list, show, validate, import, serve."
)
app.command()(serve)

Json = Annotated[bool, typer.Option("--json", help="One JSON document on stdout.")]
Seed = Annotated[int | None, typer.Option("--seed", min=0, help="Replaces the scenario's seed.")]
Which = Annotated[str, typer.Argument(help="A bundled name, or a folder.", show_default=False)]


@app.command("list")
def list_(json_: Json = False) -> None:  # noqa: FBT002
    """List the scenarios that come with gridpact."""
    summaries = [load(name).summary() for name in bundled()]
    if json_:
        write_json(summaries)
        return
    rows = [
        {
            "name": summary["name"],
            "start": str(summary["start"])[:16],
            "ticks": summary["ticks"],
            "workloads": sum(summary["workloads"].values()),
            "windows": summary["windows"],
            "story": _first_sentence(summary["story"]),
        }
        for summary in summaries
    ]
    write_rows(rows, form(as_json=False))


def _first_sentence(story: str) -> str:
    return " ".join(story.split(". ", maxsplit=1)[0].split()).rstrip(".") + "."


@app.command()
def show(scenario: Which, seed: Seed = None, json_: Json = False) -> None:  # noqa: FBT002
    """Show what a scenario holds."""
    summary = load(scenario, seed).summary()
    if json_:
        write_json(summary)
        return
    console = Console()
    console.print(f"[bold]{summary['name']}[/bold]")
    console.print(str(summary["story"]), highlight=False)
    for key, value in summary.items():
        if key not in {"name", "story"} and value is not None:
            console.print(f"{key}: {value}", highlight=False, markup=False)


@app.command()
def validate(scenario: Which, seed: Seed = None, json_: Json = False) -> None:  # noqa: FBT002
    """Check a scenario whole; exit 2 with every fault where there are any."""
    found, faults = check(scenario, seed)
    if json_:
        listed = [
            {"file": f.file, "field": f.field, "value": f.value, "allowed": f.allowed}
            for f in faults
        ]
        write_json({"scenario": scenario, "valid": not faults, "faults": listed})
        if faults:
            raise typer.Exit(2)
        return
    if faults or found is None:
        raise scenario_error(scenario, faults)
    count = sum(found.workload_counts().values())
    typer.echo(f"{found.name} is valid: {found.ticks} ticks, {count} workloads")


@app.command("import")
def import_(
    name: Annotated[str, typer.Option(help="Name of the new scenario.")],
    out: Annotated[Path, typer.Option(help="Folder to make; must not exist.")],
    national: Annotated[Path, typer.Option(help="CSV: from,to,forecast,actual,index.")],
    prices: Annotated[Path, typer.Option(help="CSV of imbalance prices by settlement period.")],
    workload_trace: Annotated[Path, typer.Option(help="CSV: arrival_time,length,cpus (hours).")],
    start: Annotated[str, typer.Option(help="First instant, such as 2023-03-07T06:00Z.")],
    workloads: Annotated[int, typer.Option(min=1, max=100_000, help="Jobs to take.")] = 500,
    hours: Annotated[int, typer.Option(min=1, max=336, help="Length of the replay.")] = 30,
    seed: Annotated[int, typer.Option(min=0, help="For what must be assumed.")] = 1,
    national_shift_days: Annotated[
        int, typer.Option(help="Days by which national figures are moved.")
    ] = 0,
    prices_from: Annotated[
        str | None, typer.Option(help="Settlement day of the price file to re-date (yyyy-mm-dd).")
    ] = None,
    prices_redate_to: Annotated[
        str | None, typer.Option(help="Day that --prices-from becomes (yyyy-mm-dd).")
    ] = None,
    trace_from_h: Annotated[float, typer.Option(min=0, help="Hour of the trace to begin at.")] = 0,
    gaps: Annotated[
        GapPolicy, typer.Option(help="What to do about missing half hours.")
    ] = GapPolicy.REFUSE,
    regional_factors: Annotated[
        Path | None, typer.Option(help="CSV: region_id,factor; regional over national intensity.")
    ] = None,
    json_: Json = False,  # noqa: FBT002
) -> None:
    """Build a scenario folder from CSVs of real figures; what is assumed is written into it."""
    plan = ImportPlan(
        name=name,
        out=out,
        start=_instant(start),
        national=national,
        prices=prices,
        workload_trace=workload_trace,
        workloads=workloads,
        hours=hours,
        seed=seed,
        national_shift_days=national_shift_days,
        prices_from=_day("prices-from", prices_from),
        prices_redate_to=_day("prices-redate-to", prices_redate_to),
        trace_from_h=trace_from_h,
        gaps=gaps,
        **_factors(regional_factors),
    )
    scenario = import_scenario(plan)
    if json_:
        write_json({"folder": str(plan.out), **scenario.summary()})
        return
    typer.echo(f"{plan.out} is valid: {scenario.ticks} ticks, {workloads} workloads")
    typer.echo(f"method: {scenario.file.grid.method}")


def _instant(text: str) -> datetime:
    try:
        return parse_instant(text).astimezone(UTC)
    except ValueError as exc:
        msg = f"--start: {exc}"
        raise InputError(msg, field="start", value=text) from exc


def _day(option: str, text: str | None) -> date | None:
    if text is None:
        return None
    try:
        return date.fromisoformat(text)
    except ValueError as exc:
        msg = f"--{option} is {text!r}; write a day such as 2018-03-05"
        raise InputError(msg, field=option, value=text) from exc


def _factors(path: Path | None) -> dict[str, Any]:
    return {} if path is None else {"factors": read_factors(path)}
