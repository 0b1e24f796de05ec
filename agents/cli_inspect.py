"""``inspect``: what the database says about a run. Reads Supabase and nothing else."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Annotated, Any

import typer
from rich.console import Console

from agents import stories
from agents.core.audit import AuditReport, audit
from schema.errors import InputError
from storage.embedded.attach import attach_or_start
from storage.migrations import migrate
from storage.ports import Filter, Operator, Order, equal
from storage.present import Form, form, write_json, write_rows
from storage.settings_loader import load_settings
from storage.supabase_store import SupabaseStore, from_state_file

app = typer.Typer(
    no_args_is_help=True, help="Runs, negotiations, schedules and sources, read from Supabase."
)

LATEST = "latest"
Run = Annotated[str, typer.Option("--run", help="A run id, its first letters, or 'latest'.")]
Json = Annotated[bool, typer.Option("--json", help="One JSON document on stdout.")]
Csv = Annotated[bool, typer.Option("--csv", help="CSV on stdout.")]
Row = dict[str, Any]


class Reader:
    """Reads one run; opens Supabase on the first question."""

    def __init__(self, store: SupabaseStore) -> None:
        self._store = store

    async def all(
        self,
        table: str,
        *,
        run: str | None = None,
        filters: Sequence[Filter] = (),
        order: Sequence[Order] = (),
        limit: int | None = None,
    ) -> list[Row]:
        """Give all rows of a table of a run."""
        chosen = [*filters] if run is None else [equal("run_id", run), *filters]
        rows: list[Any] = await self._store.select(table, filters=chosen, order=order, limit=limit)
        return rows

    async def run_id(self, wanted: str) -> str:
        """Find a run by 'latest', its id, or the first letters of it.

        Raises:
            InputError: No such run, or several begin alike.
        """
        runs = await self.all("scenario_runs", order=[Order("recorded_at", descending=True)])
        if not runs:
            raise InputError("there is no run yet; try: run_cluster.py replay windy-night")
        if wanted == LATEST:
            return str(runs[0]["id"])
        found = [str(run["id"]) for run in runs if str(run["id"]).startswith(wanted.lower())]
        if len(found) != 1:
            known = ", ".join(str(run["id"])[:8] for run in runs[:5])
            raise InputError(
                f"run {wanted!r} names {len(found)} runs; the last ones are {known}", value=wanted
            )
        return found[0]


def _read(question: Any) -> Any:
    async def ask() -> Any:
        store = from_state_file(str(endpoint.state_file))
        try:
            return await question(Reader(store))
        finally:
            await store.close()

    with attach_or_start(load_settings(), migrate=migrate, progress=_say) as endpoint:
        return asyncio.run(ask())


def _say(text: str) -> None:
    Console(stderr=True).print(text, style="dim", highlight=False)


@app.command()
def runs(*, as_json: Json = False, as_csv: Csv = False) -> None:
    """List the runs, the newest first."""

    async def question(reader: Reader) -> list[Row]:
        return await reader.all("scenario_runs", order=[Order("recorded_at", descending=True)])

    found = _read(question)
    how = form(as_json=as_json, as_csv=as_csv)
    if how is not Form.TABLE:
        write_rows(found, how)
        return
    write_rows(
        [
            {
                "run": row["id"],
                "kind": row["kind"],
                "scenario": row["scenario"],
                "seed": row["seed"],
                "state": row["state"],
                "clock": row["clock_at"],
                "digest": (row["digest"] or "")[:12],
                "launched": row["recorded_at"],
            }
            for row in found
        ],
        how,
        title="Runs",
        empty="no run yet; try: run_cluster.py replay windy-night",
    )


@app.command()
def negotiations(
    conversation: Annotated[str | None, typer.Argument(help="One conversation's id.")] = None,
    *,
    run: Run = LATEST,
    rounds: Annotated[bool, typer.Option("--rounds", help="How the bound rose.")] = False,
    as_json: Json = False,
    as_csv: Csv = False,
) -> None:
    """List a run's conversations, or follow one message by message."""

    async def question(reader: Reader) -> list[Row]:
        run_id = await reader.run_id(run)
        filters = [] if conversation is None else [equal("conversation_id", conversation)]
        return await reader.all(
            "agent_negotiations",
            run=run_id,
            filters=filters,
            order=[Order("conversation_id"), Order("sequence")],
        )

    rows = _read(question)
    if conversation is not None and not rows:
        raise InputError(
            f"run {run} has no conversation {conversation!r}; `inspect negotiations` lists them",
            value=conversation,
        )
    how = form(as_json=as_json, as_csv=as_csv)
    if conversation is None:
        write_rows(stories.conversations(rows), how, title="Conversations")
    elif rounds:
        write_rows(stories.rounds(rows), how, title=f"Rounds of {conversation}")
    elif how is Form.TABLE:
        write_rows(stories.messages(rows), how, title=f"Messages of {conversation}")
    else:
        write_rows(rows, how)


@app.command()
def schedule(*, run: Run = LATEST, as_json: Json = False, as_csv: Csv = False) -> None:
    """When and where each workload runs."""

    async def question(reader: Reader) -> list[Row]:
        return await reader.all("workload_schedules", run=await reader.run_id(run))

    write_rows(
        stories.schedule(_read(question)),
        form(as_json=as_json, as_csv=as_csv),
        title="Schedule",
        empty="nothing is scheduled in this run",
    )


@app.command()
def workload(
    workload_id: Annotated[str, typer.Argument(help="A workload's name, or its id.")],
    *,
    run: Run = LATEST,
    as_json: Json = False,
) -> None:
    """Tell one workload's story: what it asked, what it was offered, what it got and why."""

    async def question(reader: Reader) -> tuple[list[Row], list[Row], list[Row]]:
        run_id = await reader.run_id(run)
        column = "id" if len(workload_id) == 36 and workload_id.count("-") == 4 else "workload_name"  # noqa: PLR2004
        found = await reader.all(
            "compute_workloads", run=run_id, filters=[equal(column, workload_id)]
        )
        ids = [str(row["id"]) for row in found]
        if not ids:
            return [], [], []
        mine = [Filter("workload_id", Operator.IN, ids)]
        said = await reader.all(
            "agent_negotiations",
            run=run_id,
            filters=mine,
            order=[Order("conversation_id"), Order("sequence")],
        )
        booked = await reader.all("workload_schedules", run=run_id, filters=mine)
        return found, said, booked

    found, said, booked = _read(question)
    if not found:
        raise InputError(
            f"run {run} has no workload {workload_id!r}; `inspect schedule` lists names",
            value=workload_id,
        )
    if form(as_json=as_json) is Form.JSON:
        write_json({"workload": found[0], "messages": said, "schedule": booked})
        return
    hidden = {"id", "run_id", "agent_id", "version", "recorded_at", "updated_at"}
    facts = [
        {"field": name, "value": value}
        for name, value in found[0].items()
        if name not in hidden and value is not None
    ]
    write_rows(facts, Form.TABLE, title=f"Workload {found[0]['workload_name']}")
    write_rows(stories.messages(said), Form.TABLE, title="What was said about it")
    write_rows(stories.schedule(booked), Form.TABLE, title="When it runs", empty="not scheduled")


@app.command()
def grid(*, run: Run = LATEST, as_json: Json = False, as_csv: Csv = False) -> None:
    """Show the latest national conditions and each region's best windows."""

    async def question(reader: Reader) -> tuple[list[Row], list[Row]]:
        run_id = await reader.run_id(run)
        return (
            await reader.all("current_grid_status", run=run_id),
            await reader.all("regional_compute_opportunities", run=run_id),
        )

    status, regions = _read(question)
    how = form(as_json=as_json, as_csv=as_csv)
    if how is Form.JSON:
        write_json({"status": status, "regions": regions})
        return
    write_rows(status, how, title="Latest national conditions")
    write_rows(regions, how, title="Best windows of the next 48 hours")


@app.command()
def sources(*, run: Run = LATEST, as_json: Json = False, as_csv: Csv = False) -> None:
    """How each source has been doing: last success, rows, rejections, fallbacks."""

    async def question(reader: Reader) -> list[Row]:
        return await reader.all("api_logs", run=await reader.run_id(run))

    write_rows(
        stories.sources(_read(question)), form(as_json=as_json, as_csv=as_csv), title="Sources"
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

    async def question(reader: Reader) -> list[Row]:
        return await reader.all(
            "api_logs",
            run=await reader.run_id(run),
            order=[Order("requested_at", descending=True)],
            limit=limit,
        )

    rows = _read(question)
    how = form(as_json=as_json, as_csv=as_csv)
    if how is not Form.TABLE:
        write_rows(rows, how)
        return
    shown = (
        "requested_at",
        "source",
        "endpoint",
        "http_status",
        "outcome",
        "attempt",
        "duration_ms",
        "response_bytes",
        "rows_parsed",
        "rows_rejected",
        "fallback",
        "error",
    )
    write_rows([{name: row[name] for name in shown} for row in rows], how, title="Requests")


@app.command("audit")
def audit_run(*, run: Run = LATEST, as_json: Json = False) -> int:
    """Rebuild the schedule from the message log alone and check it; exit 1 on a violation."""

    async def question(reader: Reader) -> tuple[str, AuditReport]:
        run_id = await reader.run_id(run)
        tables = [
            await reader.all(table, run=run_id)
            for table in (
                "agent_negotiations",
                "compute_workloads",
                "workload_schedules",
                "compute_windows",
                "compute_assets",
            )
        ]
        return run_id, audit(*tables)

    run_id, report = _read(question)
    if form(as_json=as_json) is Form.JSON:
        write_json({"run_id": run_id, "ok": not report.violations, **_report_json(report)})
    else:
        _print_report(run_id, report)
    return 1 if report.violations else 0


def _report_json(report: AuditReport) -> Row:
    return {
        "conversations": report.conversations,
        "messages": report.messages,
        "workloads": report.workloads,
        "awarded": report.awarded,
        "cells": report.cells,
        "violations": [
            {
                "rule": item.rule,
                "title": item.title,
                "detail": item.detail,
                "table": item.table,
                "rows": list(item.rows),
            }
            for item in report.violations
        ],
    }


def _print_report(run_id: str, report: AuditReport) -> None:
    console = Console(highlight=False)
    console.print(
        f"Run {run_id}: {report.messages} messages of {report.conversations} conversations rebuild "
        f"the contracts of {report.awarded} of {report.workloads} workloads; "
        f"{report.cells} cells were checked."
    )
    if not report.violations:
        console.print("[green]No violation.[/] The log explains the schedule and breaks no rule.")
        return
    console.print(f"[bold red]{len(report.violations)} violations[/]")
    for item in report.violations:
        console.print(f"  rule {item.rule} ({item.title}): {item.detail}", soft_wrap=True)
        console.print(f"      {item.table}: {', '.join(item.rows)}", style="dim", soft_wrap=True)
