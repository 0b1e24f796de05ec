"""``submit`` and ``cancel``: workloads for the live run, from files, for whoever runs it."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated, TypeVar

import typer
from rich.console import Console

from schema.errors import InputError
from storage.embedded.attach import attach_or_start
from storage.migrations import migrate
from storage.ports import Store
from storage.preflight import check_supabase
from storage.present import form, write_json, write_rows
from storage.settings_loader import load_settings

T = TypeVar("T")

Json = Annotated[bool, typer.Option("--json", help="One JSON document on stdout.")]


def submit(
    file: Annotated[Path, typer.Argument(help="A CSV like that of plan --workloads.")],
    *,
    agent: Annotated[
        str | None, typer.Option(help="Compute agent, for rows without an agent_name.")
    ] = None,
    as_json: Json = False,
) -> None:
    """Submit workloads to the live run; they are placed at its next tick."""
    from scenarios.live import submitting

    work = submitting.read_file(file, agent)
    now = datetime.now(UTC).replace(microsecond=0)

    async def put(store: Store) -> tuple[list[submitting.Row], bool]:
        rows = await submitting.submit(store, work, file.name, now)
        return rows, await submitting.is_running(store)

    rows, running = _with_store(put)
    if not running:
        _say("the live run is not running now; they are taken up when `start` runs")
    if as_json:
        write_json({"submitted": len(rows), "workloads": rows})
    else:
        write_rows([dict(row) for row in rows], form(as_json=False), title="Submitted")


def cancel(
    workload: Annotated[str, typer.Argument(help="Its id, its name, or agent/name.")],
    *,
    as_json: Json = False,
) -> None:
    """Call a workload of the live run off; what has started stops with its half hour."""
    from scenarios.live import submitting

    if not workload.strip():
        raise InputError("the name of a workload is empty; give its id, its name, or agent/name")
    row = _with_store(lambda store: submitting.cancel(store, workload))
    if as_json:
        write_json(dict(row))
    else:
        write_rows([dict(row)], form(as_json=False), title="Cancelled")


def _with_store(question: Callable[[Store], Awaitable[T]]) -> T:
    # Imported here: supabase-py is heavy, and a file with faults must be told at once.
    from storage.supabase_store import from_state_file

    async def put() -> T:
        store = from_state_file(str(endpoint.state_file))
        try:
            return await question(store)
        finally:
            await store.close()

    with attach_or_start(load_settings(), migrate=migrate, progress=_say) as endpoint:
        if endpoint.mode == "hosted":
            check_supabase(endpoint)
        return asyncio.run(put())


def _say(text: str) -> None:
    Console(stderr=True).print(text, style="dim", highlight=False, markup=False)
