"""``gridpact storage``: spools from outside, and the rows that were put aside.

A database has one spool for replays, one for the live run and one for backfills.
"""

from __future__ import annotations

import asyncio
import os
import sys
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

import orjson
import typer

from schema.errors import InputError, StorageError
from schema.periods import format_instant
from schema.settings import Settings
from storage.dead_letters import DeadRow, drop, list_dead, retry
from storage.embedded.attach import attach_or_start
from storage.embedded.endpoint import SupabaseEndpoint
from storage.home import prepare_home, resolve_home
from storage.lane import DrainSettings
from storage.migrations import migrate
from storage.ports import DrainStatus
from storage.preflight import check_supabase
from storage.present import form, write_json, write_rows
from storage.service import StorageService
from storage.settings_loader import load_settings
from storage.spool_file import SpoolSettings, holder_of
from storage.spool_look import SpoolLook, SpoolState, look, spools_of, stopped_spool
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
_Spool = Annotated[
    str | None,
    typer.Option("--spool", help="One spool by its name; all of the database if absent."),
]


@dataclass(frozen=True, slots=True)
class _Place:
    """The home, its settings, and its spools: of the database in use, and of others."""

    settings: Settings
    home: Path
    mine: list[Path]
    others: list[Path]
    limits: SpoolSettings

    def named(self, name: str | None) -> list[Path]:
        """Give the spools that are meant.

        Raises:
            InputError: There is none of that name.
        """
        if name is None:
            return self.mine
        found = [folder for folder in (*self.mine, *self.others) if folder.name == name]
        if not found:
            known = ", ".join(folder.name for folder in (*self.mine, *self.others)) or "none"
            msg = f"there is no spool {name!r}; there are: {known}"
            raise InputError(msg, field="spool", value=name)
        return found


def _place() -> _Place:
    settings = load_settings()
    home = prepare_home(settings.home or resolve_home())
    mine, others = spools_of(home, settings.supabase_url)
    limits = SpoolSettings(limit_bytes=settings.spool_limit_bytes)
    return _Place(settings, home, mine, others, limits)


@app.command()
def status(*, as_json: _Json = False) -> None:
    """Say how many rows wait for Supabase, how long, and how many were put aside."""
    place, clock = _place(), SystemClock()
    mine = [look(folder, place.limits, clock) for folder in place.mine]
    others = [look(folder, place.limits, clock) for folder in place.others]
    if as_json:
        write_json(_totals(mine, others))
        return
    now = clock.now()
    rows = [
        {
            "spool": found.spool,
            "state": "stopped" if found.held_by is None else f"process {found.held_by}",
            "waiting": found.depth,
            "oldest_s": found.oldest_unsent_s,
            "put_aside": found.dead,
            "filled_pct": None if found.fill is None else round(100 * found.fill, 1),
            "bytes": found.bytes,
            "lanes": ", ".join(f"{lane} {state}" for lane, state in found.lanes.items()),
            "as_of_s": round(found.age_s(now) or 0) if found.state is SpoolState.HELD else None,
            "database": "in use" if found in mine else "another",
        }
        for found in (*mine, *others)
    ]
    write_rows(rows, form(as_json=False), empty="no spool: nothing was stored yet")
    for found in (*mine, *others):
        for error in found.errors:
            typer.echo(f"{found.spool}: {error}")


def _totals(mine: Sequence[SpoolLook], others: Sequence[SpoolLook]) -> dict[str, Any]:
    waits = [found.oldest_unsent_s for found in mine if found.oldest_unsent_s is not None]
    return {
        "depth": sum(found.depth or 0 for found in mine),
        "oldest_unsent_s": max(waits, default=None),
        "dead": sum(found.dead or 0 for found in mine),
        "fill": max((found.fill or 0.0 for found in mine), default=0.0),
        "bytes": sum(found.bytes for found in mine),
        "spools": [found.to_json() for found in mine],
        "others": [found.to_json() for found in others],
    }


@app.command()
def drain(
    *,
    timeout_s: Annotated[float, typer.Option(min=1, help="How long to try, in seconds.")] = 600.0,
    as_json: _Json = False,
) -> None:
    """Send what stopped spools hold to Supabase, without a run. Exit 1 if some is left."""
    place = _place()
    waiting = []
    for folder in place.mine:
        found = look(folder, place.limits, SystemClock())
        if found.held_by is not None:
            _say(f"{found.spool} is left to process {found.held_by}, which sends its rows itself")
        elif found.depth:
            waiting.append(folder)
    outcomes: dict[str, DrainStatus] = {}
    if waiting:
        with attach_or_start(place.settings, migrate=migrate, progress=_say) as endpoint:
            if endpoint.mode == "hosted":
                check_supabase(endpoint)
            for folder in waiting:
                outcomes[folder.name] = asyncio.run(_drain(place, folder, endpoint, timeout_s))
    sent = sum((Counter(outcome.sent) for outcome in outcomes.values()), Counter[str]())
    dead = sum(outcome.dead for outcome in outcomes.values())
    if as_json:
        write_json({"sent": dict(sent), "dead": dead, "spools": list(outcomes)})
    else:
        typer.echo(f"{sent.total()} rows sent, {dead} put aside")


async def _drain(
    place: _Place, folder: Path, endpoint: SupabaseEndpoint, timeout_s: float
) -> DrainStatus:
    # Imported here: 109 MB that no other command of this module needs.
    from storage.supabase_store import SupabaseStore

    settings = place.settings
    service = StorageService(
        folder,
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
    spool: _Spool = None,
    limit: Annotated[int, typer.Option(min=1, help="At most so many, the newest first.")] = 100,
    as_json: _Json = False,
    as_csv: _Csv = False,
) -> None:
    """List rows that were put aside, why, and what they hold (--json)."""
    place = _place()
    found: list[dict[str, Any]] = []
    for folder in _free(place.named(spool), must=spool is not None):
        with stopped_spool(folder, place.limits, SystemClock()) as run:
            rows = run(lambda vault: list_dead(vault.spool, limit))
        found += [_document(folder.name, row) for row in rows]
    found = sorted(found, key=lambda row: str(row["at"]), reverse=True)[:limit]
    if as_json:
        write_json(found)
        return
    shown = [{k: v for k, v in row.items() if k != "body"} for row in found]
    write_rows(shown, form(as_json=False, as_csv=as_csv), empty="no row was put aside")


@dead_app.command("retry")
def retry_command(
    seqs: _Seqs = None, *, every: _All = False, spool: _Spool = None, as_json: _Json = False
) -> None:
    """Put rows back among those to be sent: when the database has been mended."""
    place = _place()
    moved = 0
    for folder, chosen in _chosen(place, seqs, spool, every=every):
        with stopped_spool(folder, place.limits, SystemClock()) as run:
            moved += run(lambda vault, chosen=chosen: retry(vault.spool, chosen))  # type: ignore[misc]
    if as_json:
        write_json({"retried": moved})
    else:
        typer.echo(f"{moved} rows wait again; the next run sends them, or `storage drain` now")


@dead_app.command("drop")
def drop_command(
    seqs: _Seqs = None,
    *,
    every: _All = False,
    spool: _Spool = None,
    out: Annotated[
        Path | None,
        typer.Option(help="Where their copies go; a file of the state folder if absent."),
    ] = None,
    as_json: _Json = False,
) -> None:
    """Give rows up for good, after writing a copy of them into a file."""
    place, clock = _place(), SystemClock()
    path = out or place.home / "dropped" / f"{clock.now():%Y%m%dT%H%M%S}.jsonl"
    meant = []
    for folder, chosen in _chosen(place, seqs, spool, every=every):
        with stopped_spool(folder, place.limits, clock) as run:
            rows = run(lambda vault, chosen=chosen: list_dead(vault.spool, None, chosen))  # type: ignore[misc]
        meant.append((folder, rows))
    total = sum(len(rows) for _, rows in meant)
    if total:
        _keep_copy(path, [_document(folder.name, row) for folder, rows in meant for row in rows])
    dropped = 0
    for folder, rows in meant:
        with stopped_spool(folder, place.limits, clock) as run:
            gone, now_s = [row.seq for row in rows], int(clock.now().timestamp())
            dropped += run(lambda vault, gone=gone, now_s=now_s: drop(vault.spool, gone, now_s))  # type: ignore[misc]
    if as_json:
        write_json({"dropped": dropped, "copy": str(path) if total else None})
    else:
        copies = f"; their copies are in {path}" if total else ""
        typer.echo(f"{dropped} rows given up{copies}")


def _chosen(
    place: _Place, seqs: list[int] | None, spool: str | None, *, every: bool
) -> Iterator[tuple[Path, list[int] | None]]:
    """Give the spools that are meant, each with the rows that are; None for all of them.

    Raises:
        InputError: Neither rows nor all were named, or both; or a row was never put aside.
    """
    if bool(seqs) == every:
        msg = "name rows by their numbers from `storage dead list`, or give --all; one of the two"
        raise InputError(msg, field="SEQ")
    folders = _free(place.named(spool), must=spool is not None or not every)
    if seqs is None or not seqs:
        yield from ((folder, None) for folder in folders)
        return
    if len(folders) > 1:
        names = ", ".join(folder.name for folder in folders)
        msg = f"numbers are those of one spool; add --spool, one of: {names}"
        raise InputError(msg, field="spool")
    for folder in folders:
        with stopped_spool(folder, place.limits, SystemClock()) as run:
            known = {row.seq for row in run(lambda vault: list_dead(vault.spool, None, seqs))}
        lost = [seq for seq in seqs if seq not in known]
        if lost:
            msg = f"no row {lost[0]} was put aside; `storage dead list` names those that were"
            raise InputError(msg, field="SEQ", value=lost[0])
        yield folder, seqs


def _free(folders: Sequence[Path], *, must: bool) -> list[Path]:
    """Give the spools that no run has.

    Args:
        folders: Those that are meant.
        must: A held one is an error, not only left out.

    Raises:
        StorageError: There is none that could be opened.
    """
    held = {folder: holder for folder in folders if (holder := holder_of(folder)) is not None}
    told = [f"the spool {folder.name} is in use by process {pid}" for folder, pid in held.items()]
    if told and (must or len(held) == len(folders)):
        msg = f"{told[0]}; stop that one first"
        raise StorageError(msg, path=str(next(iter(held))))
    for line in told:
        _say(f"{line} and left out")
    return [folder for folder in folders if folder not in held]


def _keep_copy(path: Path, documents: Sequence[dict[str, Any]]) -> None:
    """Write a copy that is on disk before anything is given up."""
    try:
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        handle = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    except OSError as exc:
        msg = f"{path} cannot be written: {exc.strerror}; choose another --out"
        raise InputError(msg, field="out", value=str(path)) from exc
    with os.fdopen(handle, "wb") as file:
        for document in documents:
            file.write(orjson.dumps(document) + b"\n")
        file.flush()
        os.fsync(file.fileno())


def _document(spool: str, row: DeadRow) -> dict[str, Any]:
    return {
        "spool": spool,
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


def _say(line: str) -> None:
    print(line, file=sys.stderr, flush=True)
