"""Getting a Supabase to work with: the hosted one, the one that is up, or one of our own."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from schema.errors import StorageUnavailable
from schema.settings import Settings
from storage.embedded import processes
from storage.embedded.api import probe
from storage.embedded.endpoint import SupabaseEndpoint
from storage.embedded.layout import InstanceHeld, Layout, make_folder, read_holder
from storage.embedded.processes import Progress, silent
from storage.embedded.state import InstanceState
from storage.embedded.supervisor import EmbeddedSupabase, Migrate
from storage.home import prepare_home, resolve_home

_WAIT_S = 120.0
_RELOAD_S = 30.0
_PAUSE_S = 0.2


@contextmanager
def attach_or_start(
    settings: Settings,
    *,
    migrate: Migrate | None = None,
    packages: Path | None = None,
    progress: Progress = silent,
) -> Iterator[SupabaseEndpoint]:
    """Give a Supabase for the time of a ``with`` block.

    Hosted when ``SUPABASE_URL`` is set: nothing is started. Else the one that is up for this
    home, which stays up. Else one is started, and stopped at the end of the block.

    Args:
        settings: Read for the hosted project and the home.
        migrate: Brings the embedded database up to date before the block; a hosted one is left
            alone (its migrations are applied by ``db migrate``, on purpose).
        packages: Folder of installed programs; of the home when None.
        progress: Told of slow steps.

    Raises:
        ConfigurationError: This machine or home cannot run it.
        StorageUnavailable: It cannot be started, or the process that holds it does not serve.
    """
    home = prepare_home(settings.home or resolve_home())
    layout = Layout.of(home, packages)
    make_folder(layout)
    if settings.supabase_url is not None:
        with _hosted(settings, layout) as endpoint:
            yield endpoint
        return
    supervisor = EmbeddedSupabase(home, migrate, packages=packages, progress=progress)
    deadline = time.monotonic() + _WAIT_S
    while True:
        endpoint_up = find_running(layout)
        if endpoint_up is not None:
            if migrate is not None:
                catch_up(endpoint_up, layout, migrate, progress)
            yield endpoint_up
            return
        try:
            own = supervisor.start()
        except InstanceHeld:
            # Its holder is still starting, or restarts a process, or is just ending.
            if time.monotonic() > deadline:
                raise
            time.sleep(_PAUSE_S)
            continue
        try:
            yield own
        finally:
            supervisor.stop()
        return


def find_running(layout: Layout) -> SupabaseEndpoint | None:
    """Give the embedded Supabase that serves this home now; None when none does.

    Files prove nothing: its supervisor must hold the lock, and its API must answer the health
    page with this home's instance.
    """
    state = InstanceState.load(layout.state)
    if state is None or read_holder(layout) is None:
        return None
    found = probe(state.api_port)
    if found is None or found[0] != state.instance:
        return None
    return state.endpoint(layout.endpoint)


def reload_schema(layout: Layout) -> None:
    """Make the API that serves this home read the schema anew; needed after every DDL.

    It is ended, and its supervisor starts it again, whichever process that is (under 2 s).
    Nothing happens when it does not run.

    Raises:
        StorageUnavailable: It did not come back.
    """
    if read_holder(layout) is None:
        return
    deadline = time.monotonic() + _RELOAD_S
    before = _await_api(layout, deadline)
    processes.end_stranger(before, [(signal.SIGTERM, 5.0), (signal.SIGKILL, 1.0)])
    _await_api(layout, deadline, other_than=before)


def _await_api(layout: Layout, deadline: float, *, other_than: int | None = None) -> int:
    """Give the process that serves this home's API as soon as one answers."""
    while time.monotonic() < deadline:
        state = InstanceState.load(layout.state)
        found = None if state is None else probe(state.api_port)
        if state is not None and found is not None:
            instance, pid = found
            if instance == state.instance and pid != other_than:
                return pid
        time.sleep(_PAUSE_S)
    msg = f"the Supabase API did not come back for a reload of the schema; see {layout.api_log}"
    raise StorageUnavailable(msg)


def catch_up(
    endpoint: SupabaseEndpoint, layout: Layout, migrate: Migrate, progress: Progress
) -> None:
    """Bring the database of a Supabase that is up to date; its API then reads the schema anew."""
    assert endpoint.database_url is not None
    outcome = migrate(endpoint.database_url)
    if outcome is not None and outcome.applied:
        progress("the schema changed; the Supabase API reads it anew …")
        reload_schema(layout)


@contextmanager
def _hosted(settings: Settings, layout: Layout) -> Iterator[SupabaseEndpoint]:
    assert settings.supabase_url is not None
    assert settings.supabase_key is not None
    database = settings.supabase_db_url
    # A file of this process: another one may use another project at the same time.
    endpoint = SupabaseEndpoint(
        url=settings.supabase_url.rstrip("/"),
        publishable_key=None,
        secret_key=settings.supabase_key.get_secret_value(),
        database_url=None if database is None else database.get_secret_value(),
        mode="hosted",
        state_file=layout.folder / f"hosted-{os.getpid()}.json",
    )
    for left in layout.folder.glob("hosted-*.json"):
        if not processes.is_running(int(left.stem.removeprefix("hosted-"))):
            left.unlink(missing_ok=True)
    endpoint.save()
    try:
        yield endpoint
    finally:
        endpoint.state_file.unlink(missing_ok=True)
