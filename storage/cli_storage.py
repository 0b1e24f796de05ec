"""``gridpact storage``: the spool from outside, and the rows that were put aside."""

from __future__ import annotations

import asyncio
import os
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Annotated, Any

import orjson
import typer

from schema.errors import InputError
from schema.periods import format_instant
from schema.settings import Settings
from storage.dead_letters import DeadRow, drop, list_dead, retry
from storage.embedded.attach import attach_or_start
from storage.embedded.endpoint import SupabaseEndpoint
from storage.home import prepare_home, resolve_home, spool_folder
from storage.lane import DrainSettings
from storage.migrations import migrate
from storage.ports import DrainStatus
from storage.preflight import check_supabase
from storage.present import form, write_facts, write_json, write_rows
from storage.service import StorageService
from storage.settings_loader import load_settings
from storage.spool_file import MIB, SpoolSettings
from storage.spool_look import SpoolLook, SpoolState, look, look_around, stopped_spool
from storage.system_clock import SystemClock

app = typer.Typer(no_args_is_help=True, help="Rows on their way to Supabase, and rows put aside.")
dead_app = typer.Typer(no_args_is_help=True, help="Rows that the database would not take.")
app.add_typer(dead_app, name="dead")

_Json = Annotated[bool, typer.Option("--json", help="Print one JSON document.")]
_Csv = Annotated[bool, typer.Option("--csv", help="Print CSV.")]
_Seqs = Annotated[
    list[int] | None, typer.Argument(metavar="[SEQ]...", help="Numbers from `storage dead list`.")
]
_All = Annotated[bool, typer.Option("--all", help="All rows put aside.")]


@dataclass(frozen=True, slots=True)
class _Place:
    """The home, its settings, and the spool of the database in use."""

    settings: Settings
    home: Path
    spool: Path
    limits: SpoolSettings


def _place() -> _Place:
    settings = load_settings()
    home = prepare_home(settings.home or resolve_home())
    return _Place(
        settings,
        home,
        spool_folder(home, settings.supabase_url),
        SpoolSettings(limit_bytes=settings.spool_limit_bytes),
    )


@app.command()
def status(*, as_json: _Json = False) -> None:
    """Say how many rows wait for Supabase, how long, and how many were put aside."""
    place = _place()
    clock = SystemClock()
    mine = look(place.spool, place.limits, clock)
    others = [
        found
        for found in look_around(place.home, place.limits, clock)
        if found.folder != mine.folder
    ]
    if as_json:
        write_json({**mine.to_json(), "others": [found.to_json() for found in others]})
        return
    write_facts(_facts(mine, clock.now()), title="Spool of the database in use")
    for found in others:
        if found.depth or found.dead or found.depth is None:
            write_facts(
                _facts(found, clock.now()), title=f"Spool of another database: {found.spool}"
            )


@app.command()
def drain(
    *,
    timeout_s: Annotated[float, typer.Option(min=1, help="How long to try, in seconds.")] = 600.0,
    as_json: _Json = False,
) -> None:
    """Send what a stopped spool holds to Supabase, without a run. Exit 1 if some is left."""
    place = _place()
    found = look(place.spool, place.limits, SystemClock())
    if found.state is SpoolState.ABSENT or found.depth == 0:
        outcome = DrainStatus(0, found.dead or 0, {}, {})
    else:
        with attach_or_start(place.settings, migrate=migrate, progress=_say) as endpoint:
            if endpoint.mode == "hosted":
                check_supabase(endpoint)
            _say(f"sending {found.depth or 'the'} rows on")
            outcome = asyncio.run(_drain(place, endpoint, timeout_s))
    if as_json:
        write_json({"sent": dict(outcome.sent), "depth": outcome.depth, "dead": outcome.dead})
    else:
        typer.echo(
            f"{sum(outcome.sent.values())} rows sent, {outcome.depth} wait, "
            f"{outcome.dead} put aside"
        )


async def _drain(place: _Place, endpoint: SupabaseEndpoint, timeout_s: float) -> DrainStatus:
    # Imported here: 109 MB that no other command of this module needs.
    from storage.supabase_store import SupabaseStore

    settings = place.settings
    service = StorageService(
        place.spool,
        SupabaseStore(endpoint.url, endpoint.secret_key),
        spool=place.limits,
        drain=DrainSettings(
            batch_rows=settings.ingest_batch_rows,
            batch_bytes=settings.ingest_batch_bytes,
            in_flight=settings.ingest_in_flight,
        ),
    ).open()
    try:
        outcome = await service.barrier(timeout_s)
        await service.refresh_views()
    finally:
        await service.stop()
    return outcome


@dead_app.command("list")
def list_command(
    *,
    limit: Annotated[int, typer.Option(min=1, help="At most so many, the newest first.")] = 100,
    as_json: _Json = False,
    as_csv: _Csv = False,
) -> None:
    """List rows that were put aside, why, and what they hold (--json)."""
    place = _place()
    with stopped_spool(place.spool, place.limits, SystemClock()) as run:
        rows = run(lambda vault: list_dead(vault.spool, limit))
    if as_json:
        write_json([_document(row) for row in rows])
        return
    shown = [{k: v for k, v in _document(row).items() if k != "body"} for row in rows]
    write_rows(shown, form(as_json=False, as_csv=as_csv), empty="no row was put aside")


@dead_app.command("retry")
def retry_command(seqs: _Seqs = None, *, every: _All = False, as_json: _Json = False) -> None:
    """Put rows back among those to be sent: when the database has been mended."""
    chosen = _chosen(seqs, every=every)
    place = _place()
    with stopped_spool(place.spool, place.limits, SystemClock()) as run:
        run(lambda vault: _must_be_dead(vault.spool, chosen))
        moved = run(lambda vault: retry(vault.spool, chosen))
    if as_json:
        write_json({"retried": moved})
    else:
        typer.echo(f"{moved} rows wait again; the next run sends them, or `storage drain` now")


@dead_app.command("drop")
def drop_command(
    seqs: _Seqs = None,
    *,
    every: _All = False,
    out: Annotated[
        Path | None,
        typer.Option(help="Where their copies go; a file of the state folder if absent."),
    ] = None,
    as_json: _Json = False,
) -> None:
    """Give rows up for good, after writing a copy of them into a file."""
    chosen = _chosen(seqs, every=every)
    place = _place()
    clock = SystemClock()
    with stopped_spool(place.spool, place.limits, clock) as run:
        run(lambda vault: _must_be_dead(vault.spool, chosen))
        rows = run(lambda vault: list_dead(vault.spool, None, chosen))
        path = (
            out or place.home / "dropped" / f"{clock.now():%Y%m%dT%H%M%S}-{place.spool.name}.jsonl"
        )
        if rows:
            _keep_copy(path, rows)
        gone = [row.seq for row in rows]
        dropped = run(lambda vault: drop(vault.spool, gone, int(clock.now().timestamp())))
    if as_json:
        write_json({"dropped": dropped, "copy": str(path) if rows else None})
    else:
        typer.echo(f"{dropped} rows given up" + (f"; their copies are in {path}" if rows else ""))


def _chosen(seqs: list[int] | None, *, every: bool) -> list[int] | None:
    """Give the numbers asked for; None for all."""
    if bool(seqs) == every:
        msg = "name rows by their numbers from `storage dead list`, or give --all; one of the two"
        raise InputError(msg, field="SEQ")
    return None if every else seqs


def _must_be_dead(spool: Any, seqs: Sequence[int] | None) -> None:
    if seqs is None:
        return
    known = {row.seq for row in list_dead(spool, None, seqs)}
    lost = [seq for seq in seqs if seq not in known]
    if lost:
        msg = f"no row {lost[0]} was put aside; `storage dead list` names those that were"
        raise InputError(msg, field="SEQ", value=lost[0])


def _keep_copy(path: Path, rows: Sequence[DeadRow]) -> None:
    """Write a copy that is on disk before anything is given up."""
    try:
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        handle = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    except OSError as exc:
        msg = f"{path} cannot be written: {exc.strerror}; choose another --out"
        raise InputError(msg, field="out", value=str(path)) from exc
    with os.fdopen(handle, "wb") as file:
        for row in rows:
            file.write(orjson.dumps(_document(row)) + b"\n")
        file.flush()
        os.fsync(file.fileno())


def _document(row: DeadRow) -> dict[str, Any]:
    return {
        "seq": row.seq,
        "table": row.table,
        "reason": row.reason.value,
        "sqlstate": row.sqlstate,
        "http": row.http,
        "at": format_instant(row.at),
        "message": row.message,
        "id": row.id,
        "version": row.version,
        "body": orjson.loads(row.body),
    }


def _facts(found: SpoolLook, now: datetime) -> dict[str, str]:
    facts = {"folder": found.folder, "state": found.state.value}
    if found.state is SpoolState.ABSENT:
        return facts
    if found.held_by is not None:
        facts["state"] = f"in use by process {found.held_by}"
    if found.depth is None:
        facts["figures"] = "the process that has it has written none down yet"
        return facts | {"size": f"{found.bytes / MIB:.1f} MiB"}
    age = found.age_s(now)
    facts |= {
        "waiting": f"{found.depth:,} rows",
        "oldest": "-" if found.oldest_unsent_s is None else f"{found.oldest_unsent_s:,} s",
        "put aside": f"{found.dead or 0:,} rows",
        "filled": f"{100 * (found.fill or 0):.1f} % of its limit",
        "size": f"{found.bytes / MIB:.1f} MiB",
    }
    if found.lanes:
        facts["lanes"] = ", ".join(f"{lane} {state}" for lane, state in found.lanes.items())
    for number, error in enumerate(found.errors, start=1):
        facts[f"error {number}"] = error
    if found.state is SpoolState.HELD and age is not None:
        facts["as of"] = f"{age:.0f} s ago"
    return facts


def _say(line: str) -> None:
    print(line, file=sys.stderr, flush=True)
