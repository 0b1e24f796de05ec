"""``inspect``: what the database says about a run. Reads Supabase and nothing else."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from typing import Annotated

import typer

from agents import explained, pages, stories
from agents.core.audit import RELEASES, AuditReport, audit
from agents.core.explaining.story import Explanation
from agents.reader import IN_ORDER, LATEST, Reader, Row, ask
from schema.errors import InputError
from storage.ports import Filter, Operator, Order, equal
from storage.present import Form, console, form, printable, write_facts, write_json, write_rows

app = typer.Typer(
    no_args_is_help=True, help="Runs, negotiations, schedules and sources, read from Supabase."
)

Run = Annotated[str, typer.Option("--run", help="A run id, its first letters, 'latest' or 'live'.")]
Json = Annotated[bool, typer.Option("--json", help="One JSON document on stdout.")]
Csv = Annotated[bool, typer.Option("--csv", help="CSV on stdout.")]

AUDITED = (
    "agent_negotiations",
    "compute_workloads",
    "workload_schedules",
    "compute_windows",
    "compute_assets",
)
NO_RUN = "no run yet; try: run_cluster.py replay windy-night"


@app.command()
def runs(*, as_json: Json = False, as_csv: Csv = False) -> None:
    """List the runs, the newest first."""
    found = ask(Reader.runs)
    how = form(as_json=as_json, as_csv=as_csv)
    if how is Form.TABLE:
        write_rows(pages.runs(found), how, title="Runs; times are UTC", empty=NO_RUN)
    else:
        write_rows(found, how, empty=NO_RUN)


@app.command()
def negotiations(
    conversation: Annotated[str | None, typer.Argument(help="One conversation's id.")] = None,
    *,
    run: Run = LATEST,
    rounds: Annotated[bool, typer.Option("--rounds", help="How it converged.")] = False,
    as_json: Json = False,
    as_csv: Csv = False,
) -> None:
    """List a run's conversations, or follow one message by message."""
    if rounds and conversation is None:
        raise InputError(
            "--rounds is about one conversation: inspect negotiations ID --rounds", field="rounds"
        )

    async def question(reader: Reader) -> tuple[Row, list[Row]]:
        found = await reader.run(run)
        filters = [] if conversation is None else [equal("conversation_id", conversation)]
        rows = await reader.all("agent_negotiations", run=found, filters=filters, order=IN_ORDER)
        if conversation is not None and not rows:
            raise InputError(
                f"run {str(found['id'])[:8]} has no conversation {conversation!r}; "
                "`inspect negotiations` lists them",
                field="conversation",
                value=conversation,
            )
        return found, rows

    found, rows = ask(question)
    how = form(as_json=as_json, as_csv=as_csv)
    talks = stories.conversations(rows)
    whose = pages.run_title(found)
    if how is not Form.TABLE:
        answer = rows
        if conversation is None:
            answer = talks
        elif rounds:
            answer = stories.rounds(rows)
        write_rows(answer, how)
        return
    title = f"Conversations of {whose}" if conversation is None else f"Conversation of {whose}"
    write_rows(
        pages.conversations(talks), how, title=title, empty="nothing was negotiated in this run"
    )
    if rounds:
        write_rows(pages.rounds(stories.rounds(rows)), how, title="Rounds")
    elif conversation is not None:
        write_rows(pages.messages(rows), how, title="Messages")


@app.command()
def schedule(*, run: Run = LATEST, as_json: Json = False, as_csv: Csv = False) -> None:
    """When and where each workload runs."""

    async def question(reader: Reader) -> tuple[Row, list[Row], list[Row]]:
        found = await reader.run(run)
        released = [performative.value for performative in RELEASES]
        told = [
            Filter("performative", Operator.IN, released),
            Filter("workload_name", Operator.IS_NULL, value=False),
        ]
        return (
            found,
            await reader.all("workload_schedules", run=found),
            await reader.all("agent_negotiations", run=found, filters=told),
        )

    found, rows, releases = ask(question)
    lines = stories.schedule(rows, releases)
    how = form(as_json=as_json, as_csv=as_csv)
    write_rows(
        pages.schedule(lines) if how is Form.TABLE else lines,
        how,
        title=f"Schedule of {pages.run_title(found)}",
        empty="nothing is scheduled in this run",
    )


@app.command()
def workload(
    workload_id: Annotated[str, typer.Argument(help="A workload's name, agent/name, or id.")],
    *,
    run: Run = LATEST,
    as_json: Json = False,
    as_csv: Csv = False,
) -> None:
    """Tell one workload's story: what it asked, what it was offered, what it got and why.

    The last is told by the prices of the conversation that decided: what the slot costs, what the
    other places would have cost, and which cells were full. As CSV: the messages about it.
    """

    async def question(reader: Reader) -> tuple[Row, Row, list[Row], list[Row], Explanation]:
        found = await reader.run(run)
        one = await reader.workload(workload_id, found)
        mine = [Filter("workload_id", Operator.EQ, one["id"])]
        said = await reader.all("agent_negotiations", run=found, filters=mine, order=IN_ORDER)
        booked = await reader.all(
            "workload_schedules",
            run=found,
            filters=mine,
            order=[Order("revision"), Order("starts_at")],
        )
        why = await explained.read_explanation(reader, found, one, said)
        return found, one, said, booked, why

    found, one, said, booked, why = ask(question)
    how = form(as_json=as_json, as_csv=as_csv)
    if how is Form.JSON:
        write_json(
            {"workload": one, "messages": said, "schedule": booked, "explanation": asdict(why)}
        )
        return
    if how is Form.CSV:
        write_rows(said, how)
        return
    title = f"Workload {one['workload_name']} of {pages.run_title(found)}"
    write_facts(pages.workload(one, _standing(booked, said)), title=title)
    write_rows(
        pages.messages(said, about_one=True),
        how,
        title="\nWhat was said about it",
        empty="nothing was said about it yet",
    )
    _write_why(why)


def _write_why(why: Explanation) -> None:
    write_facts(explained.facts(why), title="\nWhy")
    tables = (
        (explained.half_hours(why.half_hours), f"Its {len(why.half_hours)} half hours"),
        (explained.alternatives(why.alternatives), "The cheapest other places, for the whole work"),
        (
            explained.binding(why.binding),
            f"Cells that stood in its way, the dearest of {why.binding_cells}",
        ),
    )
    for lines, title in tables:
        if lines:
            write_rows(lines, Form.TABLE, title=f"\n{title}")


def _standing(booked: Sequence[Row], said: Sequence[Row]) -> list[Row]:
    highest = max((row["revision"] for row in booked), default=0)
    gone = max(stories.given_back(said).values(), default=-1)
    return [row for row in booked if row["revision"] == highest > gone]


@app.command()
def grid(*, run: Run = LATEST, as_json: Json = False, as_csv: Csv = False) -> None:
    """Show the latest national conditions and each region's best hours ahead.

    As CSV: the regions.
    """

    async def question(reader: Reader) -> tuple[Row, list[Row], list[Row]]:
        found = await reader.run(run)
        order = [Order("region_id"), Order("objective"), Order("duration_hours")]
        return (
            found,
            await reader.all("current_grid_status", run=found),
            await reader.all("regional_compute_opportunities", run=found, order=order),
        )

    found, status, regions = ask(question)
    how = form(as_json=as_json, as_csv=as_csv)
    if how is Form.JSON:
        write_json({"status": status, "regions": regions})
        return
    if how is Form.CSV:
        write_rows(regions, how)
        return
    empty = "nothing known yet; the views are refreshed at the end of a replay"
    for row in status:
        write_facts(pages.grid_status(row), title=f"Grid of {pages.run_title(found)}")
    for objective, unit in (("carbon", "gCO2/kWh"), ("cost", "GBP/MWh")):
        write_rows(
            pages.grid_regions(regions, objective),
            how,
            title=f"\nBest hours of the next 48 by {objective}: start, and mean in {unit}",
            empty=empty,
        )


@app.command()
def sources(*, run: Run = LATEST, as_json: Json = False, as_csv: Csv = False) -> None:
    """How each source has been doing: last success, rows, rejections, fallbacks.

    Of a live run also how late its polls start, its breaker, and when it is asked next.
    """

    async def question(reader: Reader) -> tuple[Row, list[Row], list[Row]]:
        found = await reader.run(run)
        fetchers = await reader.all("agents", run=found, filters=[equal("kind", "fetcher")])
        return found, await reader.all("api_logs", run=found), fetchers

    found, rows, fetchers = ask(question)
    lines = stories.sources(rows, fetchers)
    how = form(as_json=as_json, as_csv=as_csv)
    write_rows(
        pages.sources(lines) if how is Form.TABLE else lines,
        how,
        title=f"Sources of {pages.run_title(found)}",
        empty="no source was asked in this run",
    )


@app.command("api-logs")
def api_logs(
    *,
    run: Run = LATEST,
    limit: Annotated[int, typer.Option(min=1, help="How many, the newest first.")] = 50,
    as_json: Json = False,
    as_csv: Csv = False,
) -> None:
    """List the attempts to reach the sources, the newest first."""

    async def question(reader: Reader) -> tuple[Row, list[Row]]:
        found = await reader.run(run)
        order = [Order("requested_at", descending=True)]
        return found, await reader.all("api_logs", run=found, order=order, limit=limit)

    found, rows = ask(question)
    how = form(as_json=as_json, as_csv=as_csv)
    write_rows(
        pages.api_logs(rows) if how is Form.TABLE else rows,
        how,
        title=f"The last {len(rows)} requests of {pages.run_title(found)}",
        empty="no source was asked in this run",
    )


@app.command("audit")
def audit_run(*, run: Run = LATEST, as_json: Json = False) -> int:
    """Rebuild the schedule from the message log alone and check it; exit 1 on a violation."""

    async def question(reader: Reader) -> tuple[Row, AuditReport]:
        found = await reader.run(run)
        return found, audit(*[await reader.all(table, run=found) for table in AUDITED])

    found, report = ask(question)
    if form(as_json=as_json) is Form.JSON:
        write_json({"run_id": found["id"], "ok": not report.violations, **asdict(report)})
    else:
        screen = console()
        screen.print(f"Audit of {pages.run_title(found)}", style="bold", markup=False)
        for line in pages.audit(report):
            screen.print(printable(line), markup=False, soft_wrap=True)
    return 1 if report.violations else 0
