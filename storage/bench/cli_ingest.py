"""``bench ingest``: rows a second through the spool into Supabase, beside COPY."""

from __future__ import annotations

import asyncio
import os
import shutil
import tempfile
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.console import Console

from schema.settings import Settings
from storage.embedded.attach import attach_or_start
from storage.embedded.endpoint import SupabaseEndpoint
from storage.embedded.layout import Layout, read_pids
from storage.home import prepare_home, resolve_home
from storage.lane import DrainSettings
from storage.machine import machine
from storage.migrations import migrate
from storage.present import Form, write_json, write_rows
from storage.settings_loader import load_settings
from storage.spool_file import SpoolSettings
from storage.system_clock import SystemClock

if TYPE_CHECKING:
    from storage.bench.ingest import PathFigures, Say, Timed

_SEED = 1


def ingest(
    *,
    rows: Annotated[int, typer.Option(min=10, max=200_000, help="Of each passage.")] = 20_000,
    repeat: Annotated[int, typer.Option(min=1, help="Rounds; figures are medians.")] = 5,
    as_json: Annotated[bool, typer.Option("--json", help="One JSON document on stdout.")] = False,
) -> None:
    """Store made-up rows through the spool, and by psycopg COPY, in turn: rows a second.

    In the embedded Supabase, under runs of their own that are removed again.
    """
    # The embedded one, always: nothing made up goes into a hosted project.
    settings = load_settings().model_copy(update={"supabase_url": None})
    home = prepare_home(settings.home or resolve_home())
    console = Console(stderr=True, highlight=False)
    with (
        console.status("starting Supabase") as status,
        attach_or_start(settings, migrate=migrate, progress=status.update) as endpoint,
    ):
        timed = measure(endpoint, home, settings, rows=rows, repeat=repeat, say=status.update)
    from storage.bench.ingest import figures
    from storage.bench.rows import TABLE

    paths = figures(rows, timed)
    if as_json:
        write_json(
            {
                "machine": machine() | {"load_average": os.getloadavg()[0]},
                "table": TABLE,
                "rows": rows,
                "repeat": repeat,
                "batch_rows": settings.ingest_batch_rows,
                "batch_bytes": settings.ingest_batch_bytes,
                "in_flight": settings.ingest_in_flight,
                "paths": [asdict(path) for path in paths],
            }
        )
        return
    write_rows(
        _lines(paths),
        Form.TABLE,
        title=f"{rows:,} made-up rows of {TABLE}: rows a second, medians of {repeat} rounds",
    )
    write_rows(
        [
            {"path": one.path, "way": way} | used
            for one in paths
            for way, used in (("spool", one.ours_us_per_row), ("COPY", one.copy_us_per_row))
        ],
        Form.TABLE,
        title="Processor time by stage, microseconds a row",
    )


def measure(
    endpoint: SupabaseEndpoint,
    home: Path,
    settings: Settings,
    *,
    rows: int,
    repeat: int,
    say: Say,
) -> Sequence[Timed]:
    """Measure over a spool of its own, on the disk where the others lie."""
    # Imported here: supabase-py takes a second, and the other commands do without it.
    from storage.bench.copy_path import CopyPath
    from storage.bench.ingest import IngestBench
    from storage.bench.processor_time import StageTimes
    from storage.service import StorageService
    from storage.supabase_store import SupabaseStore

    assert endpoint.database_url is not None, "an embedded one has a database of its own"
    clock = SystemClock()
    stages = StageTimes(read_pids(Layout.of(home)))
    folder = Path(tempfile.mkdtemp(prefix=".bench-", dir=home))
    service = StorageService(
        folder,
        SupabaseStore(endpoint.url, endpoint.secret_key),
        clock=clock,
        # Its usual size, whatever the settings: rows of a whole passage wait in it.
        spool=SpoolSettings(ballast_bytes=0),
        drain=DrainSettings(
            batch_rows=settings.ingest_batch_rows,
            batch_bytes=settings.ingest_batch_bytes,
            in_flight=settings.ingest_in_flight,
        ),
    )

    async def go(copy: CopyPath) -> list[Timed]:
        janitor = SupabaseStore(endpoint.url, endpoint.secret_key)
        try:
            bench = IngestBench(service, janitor, copy, clock=clock, seed=_SEED, stages=stages)
            return await bench.measure(rows, repeat, say)
        finally:
            await janitor.close()

    try:
        with service, CopyPath(endpoint.database_url, settings.ingest_batch_rows) as copy:
            return asyncio.run(go(copy))
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _lines(paths: Sequence[PathFigures]) -> list[dict[str, Any]]:
    return [
        {
            "path": one.path,
            "accepted and stored": one.ours_rows_per_s,
            "COPY": one.copy_rows_per_s,
            "ratio": round(one.ratio, 2),
            "sending alone": one.sending_rows_per_s,
            "sending ratio": round(one.sending_ratio, 2),
        }
        for one in paths
    ]
