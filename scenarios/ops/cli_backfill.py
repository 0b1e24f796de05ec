"""``backfill``: past days of a source into the live run."""

from __future__ import annotations

import asyncio
import sys
from contextlib import ExitStack
from datetime import date
from pathlib import Path
from typing import Annotated, Self
from uuid import uuid4

import typer
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from fetchers import registry
from fetchers.history import Days
from fetchers.history_reader import HistoryReader, history_of
from scenarios.live.run import live_run_id, only_one
from scenarios.ops.backfill import Backfill, BackfillOutcome, Book, Step, checked_days
from schema.errors import ConfigurationError, InputError
from schema.readings import Source
from schema.settings import Settings
from storage.client import StorageClient
from storage.embedded.attach import attach_or_start
from storage.embedded.endpoint import SupabaseEndpoint
from storage.home import prepare_home, resolve_home, spool_folder
from storage.lane import DrainSettings
from storage.migrations import migrate
from storage.preflight import check_supabase
from storage.present import write_json
from storage.service import StorageService
from storage.settings_loader import load_settings
from storage.spool_file import SpoolSettings
from storage.system_clock import SystemClock

USE = "backfill"
PATIENCE_S = 600.0


def backfill(
    source: Annotated[str, typer.Option(help="carbon_intensity, elexon or neso.")],
    first: Annotated[str, typer.Option("--from", help="First settlement day, yyyy-mm-dd.")],
    last: Annotated[str, typer.Option("--to", help="Last settlement day, yyyy-mm-dd.")],
    *,
    again: Annotated[
        bool, typer.Option("--again", help="Also ask for days that are done, for revisions.")
    ] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON document.")] = False,
) -> None:
    """Fetch past days of a source into the live run; run it again to go on where it ended."""
    settings = load_settings()
    clock = SystemClock(settings.clock_offset_s, settings.clock_speed)
    plan = history_of(source, registry.base_url(source, settings))
    try:
        days = checked_days(_day("from", first), _day("to", last), clock.now())
    except ValueError as exc:
        raise InputError(f"--from, --to: {exc}", field="to", value=last) from None
    home = prepare_home(settings.home or resolve_home())
    with ExitStack() as stack:
        if source == Source.NESO:
            _alone(stack, home)
        endpoint = stack.enter_context(attach_or_start(settings, migrate=migrate, progress=_say))
        if endpoint.mode == "hosted":
            check_supabase(endpoint)
        reader = HistoryReader(
            plan,
            clock=clock,
            transport=None,
            incarnation=f"backfill-{uuid4()}",
            # Of the source, whatever database its rows go to.
            state_path=home / "backfill" / "limits" / f"{source}.json",
        )
        outcome = asyncio.run(_fill(settings, home, endpoint, reader, days, again=again))
    if as_json:
        write_json(outcome.to_json())
    else:
        _print(outcome)
    if outcome.failed:
        raise typer.Exit(1)


async def _fill(
    settings: Settings,
    home: Path,
    endpoint: SupabaseEndpoint,
    reader: HistoryReader,
    days: Days,
    *,
    again: bool,
) -> BackfillOutcome:
    # Imported here: 109 MB that only this command of the module's needs.
    from storage.supabase_store import SupabaseStore

    run_id = live_run_id(settings)
    folder = spool_folder(home, settings.supabase_url, USE)
    book = home / "backfill" / f"{folder.name}-{run_id[:8]}" / f"{reader.plan.source.value}.json"
    service = StorageService(
        folder,
        SupabaseStore(endpoint.url, endpoint.secret_key),
        spool=SpoolSettings(limit_bytes=settings.spool_limit_bytes),
        drain=DrainSettings(
            batch_rows=settings.ingest_batch_rows,
            batch_bytes=settings.ingest_batch_bytes,
            in_flight=settings.ingest_in_flight,
        ),
    ).open()
    try:
        with _Watch() as watch:
            work = Backfill(
                reader,
                StorageClient(service, patience_s=PATIENCE_S),
                run_id,
                SystemClock(settings.clock_offset_s, settings.clock_speed),
                Book(book),
                watch.step,
            )
            return await work.run(days, again=again)
    finally:
        await reader.close()
        await service.stop()


def _alone(stack: ExitStack, home: Path) -> None:
    """Keep the live pipeline out: NESO's two data requests a minute are not enough for both."""
    try:
        stack.enter_context(only_one(home))
    except ConfigurationError as exc:
        msg = (
            "NESO allows two data requests a minute, and the live pipeline uses them: "
            f"{exc.message}"
        )
        raise InputError(msg, field="source", value=Source.NESO.value) from exc


class _Watch:
    """Progress on stderr: a bar on a terminal, else a line a step."""

    def __init__(self) -> None:
        console = Console(stderr=True)
        self._bar = Progress(
            TextColumn("{task.description}"),
            BarColumn(),
            MofNCompleteColumn(),
            TimeRemainingColumn(),
            console=console,
            disable=not console.is_terminal,
            transient=True,
        )
        self._task = self._bar.add_task("asking", total=None)
        self._lines = not console.is_terminal

    def __enter__(self) -> Self:
        self._bar.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._bar.stop()

    def step(self, step: Step) -> None:
        self._bar.update(self._task, total=step.count, completed=step.number, description=step.feed)
        if self._lines:
            _say(
                f"[{step.number}/{step.count}] {step.feed} {step.days}: {step.rows} rows, "
                f"{step.written} written"
            )


def _day(option: str, text: str) -> date:
    try:
        return date.fromisoformat(text)
    except ValueError as exc:
        msg = f"--{option} is {text!r}; write a day such as 2026-02-03"
        raise InputError(msg, field=option, value=text) from exc


def _print(outcome: BackfillOutcome) -> None:
    typer.echo(
        f"{outcome.source} {outcome.days}: {outcome.requests} requests, {outcome.read} rows read, "
        f"{outcome.new} new, {outcome.changed} changed, {outcome.known} known"
    )
    if outcome.days_done_before:
        typer.echo(
            f"{outcome.days_done_before} days of feeds were done before (--again asks them too)"
        )
    for fault in outcome.failed:
        typer.echo(f"{fault['feed']} stopped at {fault['days']}: {fault['reason']}")
    if outcome.failed:
        typer.echo("run the same command again to go on from there")


def _say(line: str) -> None:
    print(line, file=sys.stderr, flush=True)
