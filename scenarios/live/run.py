"""Which run a live pipeline writes to, and where it keeps what must survive it."""

from __future__ import annotations

import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager
from hashlib import sha256
from pathlib import Path

from fetchers import registry
from schema.errors import ConfigurationError
from schema.ids import row_id
from schema.readings import Source
from schema.settings import Settings
from storage.embedded.endpoint import SupabaseEndpoint

_PRIVATE = 0o700


def live_run_id(settings: Settings) -> str:
    """Give the id of the live run: the same in every database and at every start.

    A clock that is moved has a run of its own: the versions of its rows would outlive those of
    the real time.
    """
    if settings.clock_offset_s == 0.0 and settings.clock_speed == 1.0:
        return row_id("scenario_runs", "live")
    return row_id("scenario_runs", "live", _clock_of(settings))


def _clock_of(settings: Settings) -> str:
    """Name a run's clock."""
    faster = "" if settings.clock_speed == 1.0 else f"x{settings.clock_speed:g}"
    return f"{settings.clock_offset_s:.0f}{faster}"


def live_folder(home: Path) -> Path:
    """Give the folder of all live state, made if needed."""
    folder = home / "live"
    folder.mkdir(mode=_PRIVATE, exist_ok=True)
    return folder


def database_key(endpoint: SupabaseEndpoint) -> str:
    """Name a database within a home; its address without secrets."""
    if endpoint.mode == "embedded":
        return "embedded"
    return sha256(endpoint.url.encode()).hexdigest()[:12]


def state_folder(home: Path, endpoint: SupabaseEndpoint, settings: Settings) -> Path:
    """Give the folder of plans, rate limits and orders: one a database, sources and clock.

    What was asked of one server says nothing about what is due at another.
    """
    addresses = [registry.base_url(source, settings) for source in Source]
    others = [f"{name}={url}" for name, url in sorted(settings.source_urls.items())]
    world = "|".join([_clock_of(settings), *addresses, *others])
    key = sha256(world.encode()).hexdigest()[:8]
    return live_folder(home) / f"{database_key(endpoint)}-{key}"


def spool_folder(home: Path, endpoint: SupabaseEndpoint) -> Path:
    """Give the spool: apart from the replays', so that both may run at the same time."""
    return home / "spool" / f"{database_key(endpoint)}-live"


@contextmanager
def only_one(home: Path) -> Iterator[None]:
    """Hold the home's live pipeline for the time of a ``with`` block.

    Raises:
        ConfigurationError: Another process runs it; names it.
    """
    path = live_folder(home) / "lock"
    handle = os.open(path, os.O_RDWR | os.O_CREAT, 0o600)
    with os.fdopen(handle, "r+") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as exc:
            holder = file.read().strip() or "unknown"
            msg = (
                f"a live pipeline of {home} runs already (process {holder}); stop it first, or "
                "set GRIDPACT_HOME to another folder for a second one"
            )
            raise ConfigurationError(msg, path=str(path)) from exc
        file.truncate(0)
        file.write(str(os.getpid()))
        file.flush()
        yield
