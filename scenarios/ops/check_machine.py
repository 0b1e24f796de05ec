"""What of this machine a live run stands on: disk, spool, Ray, the embedded Supabase's programs."""

from __future__ import annotations

import asyncio
import os
import shutil
import stat
import sys
from collections.abc import Sequence
from datetime import datetime
from importlib import metadata
from pathlib import Path

from scenarios.ops.findings import CheckStatus, Finding, fail, ok, warn
from schema.clock import Clock
from schema.settings import Settings
from storage.embedded.install import lock_hash
from storage.embedded.node import find_node
from storage.home import packages_folder
from storage.spool_file import MIB, UNSAFE_FILE_SYSTEMS, SpoolSettings, file_system_of
from storage.spool_look import SpoolLook, look, spools_of

#: Below this nothing useful can be stored.
LEAST_FREE_BYTES = 64 * MIB
OLDEST_UNSENT_S = 15 * 60
#: A process that has a spool tells of it every few seconds.
SILENT_S = 60.0
FULL_SHARE, FILLING_SHARE = 0.85, 0.70
#: The first Ray whose token mode covers every port.
LEAST_RAY = (2, 54)
_RAY_TIMEOUT_S = 60.0
_OTHERS = 0o077
_GRAVITY = {CheckStatus.OK: 0, CheckStatus.WARN: 1, CheckStatus.FAIL: 2}


async def check_disk(home: Path, settings: Settings) -> Finding:
    """See that the state folder's disk has room for a full spool, and remembers."""
    usage = shutil.disk_usage(home)
    free = f"{usage.free / MIB:,.0f} MiB free under {home}"
    if usage.free < LEAST_FREE_BYTES:
        return fail(free, "free the disk, or set GRIDPACT_HOME to a folder on another one")
    kind = file_system_of(home)
    if kind in UNSAFE_FILE_SYSTEMS:
        return warn(
            f"{free}, on {kind}, which may lose accepted rows at a power cut",
            "set GRIDPACT_HOME to a folder on a local disk",
        )
    wanted = SpoolSettings(limit_bytes=settings.spool_limit_bytes)
    if usage.free < wanted.limit_bytes * wanted.hard_cap_share + wanted.ballast_bytes:
        return warn(
            f"{free}; a spool may grow to {wanted.limit_bytes / MIB:,.0f} MiB",
            "free the disk, or lower GRIDPACT_SPOOL_LIMIT_BYTES",
        )
    return ok(free)


async def check_spool(home: Path, settings: Settings, clock: Clock) -> Finding:
    """See that rows get away: none put aside, none old, room left."""
    limits = SpoolSettings(limit_bytes=settings.spool_limit_bytes)
    mine, others = spools_of(home, settings.supabase_url)
    return judge_spools(
        [look(folder, limits, clock) for folder in mine],
        [look(folder, limits, clock) for folder in others],
        clock.now(),
    )


def judge_spools(mine: Sequence[SpoolLook], others: Sequence[SpoolLook], now: datetime) -> Finding:
    """Judge the spools of the database in use, and what waits for other databases."""
    if not mine:
        found = [ok("empty: nothing was stored for this database yet")]
    else:
        found = [judge_spool(one, now) for one in mine]
    forgotten = [other for other in others if other.depth]
    if forgotten:
        names = ", ".join(f"{other.spool} ({other.depth:,} rows)" for other in forgotten)
        found.append(
            warn(
                f"rows wait for other databases: {names}",
                "set SUPABASE_URL and SUPABASE_KEY to that database and run `storage drain`",
            )
        )
    gravest = max(found, key=lambda one: _GRAVITY[one.status])
    return Finding(gravest.status, "; ".join(one.detail for one in found), gravest.hint)


def judge_spool(found: SpoolLook, now: datetime) -> Finding:
    """Judge one spool by what was seen of it, and by how long ago its holder said so."""
    if found.depth is None:
        said = f"in use by process {found.held_by}, which has told nothing of it yet"
    else:
        said = f"{found.depth:,} rows wait, {found.dead or 0:,} put aside"
        said += f", {100 * (found.fill or 0):.0f} % full"
        if found.held_by is not None:
            said += f", in use by process {found.held_by}"
    said = f"{found.spool}: {said}"
    if found.errors:
        return fail(f"{said}; {found.errors[0]}", "mend what the message says; no row is lost")
    if (found.fill or 0) >= FULL_SHARE:
        return fail(said, "see that Supabase can be reached: readings are refused already")
    if found.dead:
        return warn(said, "see `run_cluster.py storage dead list`, then `storage dead retry --all`")
    if (found.oldest_unsent_s or 0) > OLDEST_UNSENT_S:
        return warn(
            f"{said}; the oldest for {found.oldest_unsent_s:,} s",
            "a run sends them once Supabase can be reached, or `run_cluster.py storage drain`",
        )
    age_s = found.age_s(now) if found.held_by is not None else None
    if age_s is not None and age_s > SILENT_S:
        return warn(
            f"{said}, which last told of it {age_s:,.0f} s ago",
            "see whether that process hangs; stop it and start it again if so",
        )
    if (found.fill or 0) >= FILLING_SHARE:
        return warn(said, "see that Supabase can be reached; raise GRIDPACT_SPOOL_LIMIT_BYTES")
    return ok(said)


async def check_ray(home: Path) -> Finding:
    """See that Ray can be imported, and that nobody else can read its token."""
    mode = os.environ.get("RAY_AUTH_MODE", "token")
    if mode != "token":
        return fail(f"RAY_AUTH_MODE is {mode!r}", "unset it: only 'token' keeps strangers out")
    token = home / "ray" / "token"
    if token.exists() and stat.S_IMODE(token.stat().st_mode) & _OTHERS:
        return fail(f"the Ray token {token} can be read by others", f"run: chmod 600 {token}")
    version = metadata.version("ray")
    if tuple(map(int, version.split(".")[:2])) < LEAST_RAY:
        return fail(
            f"Ray {version} is installed", f"install Ray {'.'.join(map(str, LEAST_RAY))} or newer"
        )
    # In a process of its own: importing Ray reads the environment for good.
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        "-c",
        "import ray",
        stdout=asyncio.subprocess.DEVNULL,
        stderr=asyncio.subprocess.PIPE,
    )
    try:
        _, errors = await asyncio.wait_for(process.communicate(), _RAY_TIMEOUT_S)
    except TimeoutError:
        process.kill()
        await process.wait()
        return fail(f"Ray {version} takes over {_RAY_TIMEOUT_S:.0f} s to import", "see the disk")
    if process.returncode:
        last = errors.decode(errors="replace").strip().splitlines()[-1:]
        return fail(f"Ray {version} cannot be imported: {''.join(last)}", "run `make setup`")
    private = "token private" if token.exists() else "token made at the first run"
    return ok(f"Ray {version} imports, {private}")


async def check_programs(home: Path, settings: Settings, packages: Path | None) -> Finding:
    """See that the embedded Supabase has its programs, where it is what is used."""
    if settings.hosted:
        return ok("a hosted Supabase is used; nothing runs on this machine")
    node = await asyncio.to_thread(find_node)
    if not ((packages or packages_folder(home)) / lock_hash()).is_dir():
        return warn(
            f"Node {node.version_text}; PostgreSQL and the Supabase API are not installed yet",
            "run `run_cluster.py supabase install` while there is a network",
        )
    return ok(f"Node {node.version_text}, PostgreSQL 17 and the Supabase API installed")
