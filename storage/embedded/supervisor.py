"""Starting, keeping up and stopping the embedded Supabase: a plain class, no actor.

Order of a start: lock, state file, initdb if needed, orphans, PostgreSQL, roles, auth tables,
migrations, API, watcher. The API keeps the schema it saw at its start, so migrations come first.
"""

from __future__ import annotations

import os
import signal
import sys
import threading
import time
from collections.abc import Callable, Collection
from datetime import UTC, datetime
from pathlib import Path
from types import TracebackType
from typing import Protocol, Self

from schema.errors import StorageUnavailable
from storage.embedded import processes
from storage.embedded.account import service_account
from storage.embedded.api import ApiServer
from storage.embedded.bootstrap import ensure_auth, ensure_roles
from storage.embedded.endpoint import SupabaseEndpoint
from storage.embedded.files import write_private_json
from storage.embedded.install import Installation, install
from storage.embedded.layout import Holder, InstanceLock, Layout, make_folder, read_pids
from storage.embedded.postgres import PortTaken, PostgresServer
from storage.embedded.processes import Progress, free_port, silent
from storage.embedded.restarts import Backoff, Health
from storage.embedded.state import InstanceState
from storage.home import prepare_home

_WATCH_S = 0.3
_ROTATE_EVERY_S = 30.0
_PORT_TRIES = 5


class MigrationOutcome(Protocol):
    """What a migration run did."""

    @property
    def applied(self) -> Collection[object]:
        """Migrations applied now; empty when there was nothing to do."""
        ...


Migrate = Callable[[str], MigrationOutcome | None]
"""Brings the database of a superuser's URL up to date."""


class EmbeddedSupabase:
    """PostgreSQL and the API of one home, while this process lives.

    Not for two threads at once, but for ``stop``, which any thread may call.
    """

    def __init__(
        self,
        home: Path,
        migrate: Migrate | None = None,
        *,
        packages: Path | None = None,
        progress: Progress = silent,
        detached: bool = False,
    ) -> None:
        """Say what to run; nothing happens yet.

        Args:
            home: The state folder; made if needed.
            migrate: Called with the superuser's URL before the API starts.
            packages: Folder of installed programs; of the home when None.
            progress: Told of slow steps, changed ports and restarts.
            detached: Written into the lock: this process serves until ``supabase stop``.
        """
        self._layout = Layout.of(home, packages)
        self._migrate = migrate
        self._tell = progress
        self._detached = detached
        self._lock = InstanceLock(self._layout)
        self._starting = threading.Lock()
        self._stopping = threading.Event()
        self._watcher: threading.Thread | None = None
        self._state: InstanceState | None = None
        self._postgres: PostgresServer | None = None
        self._api: ApiServer | None = None
        self._restarts = 0

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.stop()

    def start(self) -> SupabaseEndpoint:
        """Start it and wait until it serves; a second call gives the same endpoint.

        Raises:
            InstanceHeld: Another process runs the one of this home.
            ConfigurationError: This machine or home cannot run it.
            StorageUnavailable: A part does not start; what was started is stopped again.
        """
        with self._starting:
            if self._state is not None:
                return self._endpoint(self._state)
            prepare_home(self._layout.home)
            make_folder(self._layout)
            self._lock.take(this_process(detached=self._detached))
            self._stopping.clear()
            try:
                return self._start_all()
            except BaseException:
                self._stop_all()
                raise

    def stop(self) -> None:
        """Stop it, within 10 s; nothing happens when it does not run.

        Not from a signal handler: a start in the same thread would wait for itself.
        """
        # The watcher first, and joined: it would restart what is being stopped.
        self._stopping.set()
        with self._starting:
            self._stop_all()

    def health(self) -> Health:
        """Say what runs now."""
        return Health(
            None if self._postgres is None else self._postgres.pid,
            None if self._api is None else self._api.pid,
            self._restarts,
        )

    def _start_all(self) -> SupabaseEndpoint:
        layout = self._layout
        account = service_account()
        installation = install(layout.packages, account, self._tell)
        state = InstanceState.load(layout.state)
        if state is None:
            state = InstanceState.make()
            state.save(layout.state)
        self._postgres = PostgresServer(
            installation.postgres_bin, layout.data, layout.postgres_log, account
        )
        self._api = ApiServer(installation, layout.api_log, account)
        self._stop_orphans(self._postgres)
        self._postgres.prepare(state.instance, state.postgres_password, self._tell)
        state = self._start_postgres(state)
        self._prepare_database(state, installation)
        state = self._start_api(state)
        self._write_down(state)
        self._watcher = threading.Thread(target=self._watch, name="supabase-watcher", daemon=True)
        self._watcher.start()
        return self._endpoint(state)

    def _stop_orphans(self, postgres: PostgresServer) -> None:
        postgres.stop_orphan(self._tell)
        # The API leaves by itself when its parent has gone; this frees its port a second sooner.
        pid = read_pids(self._layout).get("api_pid")
        if pid is not None and str(self._layout.packages) in processes.command_line(pid):
            processes.end_stranger(pid, [(signal.SIGTERM, 5.0), (signal.SIGKILL, 1.0)])

    def _prepare_database(self, state: InstanceState, installation: Installation) -> None:
        url, api = state.database_url(), self._api
        assert api is not None
        ensure_roles(url, state.api_password)
        ensure_auth(url, installation.lock_hash, lambda u: api.make_auth_tables(state, u))
        if self._migrate is not None:
            self._migrate(url)

    def _start_postgres(self, state: InstanceState) -> InstanceState:
        postgres = self._postgres
        assert postgres is not None
        for _ in range(_PORT_TRIES):
            try:
                postgres.start(state.postgres_port)
                postgres.wait_ready(state.database_url(), self._stopping.is_set)
            except PortTaken:
                state = self._move(state, state.with_ports(postgres=free_port()), "PostgreSQL")
                continue
            self._state = state
            return state
        msg = f"PostgreSQL found {_PORT_TRIES} ports taken one after the other; see {postgres.log}"
        raise StorageUnavailable(msg)

    def _start_api(self, state: InstanceState) -> InstanceState:
        api = self._api
        assert api is not None
        for _ in range(_PORT_TRIES):
            try:
                api.start(state, state.api_port)
                api.wait_ready(state, state.api_port, self._stopping.is_set)
            except PortTaken:
                state = self._move(state, state.with_ports(api=free_port()), "the Supabase API")
                continue
            self._state = state
            return state
        msg = f"the Supabase API found {_PORT_TRIES} ports taken one after the other; see {api.log}"
        raise StorageUnavailable(msg)

    def _move(self, old: InstanceState, new: InstanceState, who: str) -> InstanceState:
        new.save(self._layout.state)
        ports = {(old.postgres_port, new.postgres_port), (old.api_port, new.api_port)}
        for before, after in sorted(ports):
            if before != after:
                self._tell(f"port {before} is taken by another program; {who} uses {after} now")
        return new

    def _write_down(self, state: InstanceState) -> None:
        self._endpoint(state).save()
        health = self.health()
        write_private_json(
            self._layout.running,
            {
                "supervisor_pid": os.getpid(),
                "postgres_pid": health.postgres_pid,
                "api_pid": health.api_pid,
            },
        )

    def _endpoint(self, state: InstanceState) -> SupabaseEndpoint:
        return state.endpoint(self._layout.endpoint)

    def _watch(self) -> None:
        backoffs = {"postgres": Backoff(), "api": Backoff()}
        started = dict.fromkeys(backoffs, time.monotonic())
        rotated = time.monotonic()
        while not self._stopping.wait(_WATCH_S):
            if time.monotonic() - rotated > _ROTATE_EVERY_S:
                rotated = time.monotonic()
                for log in (self._layout.postgres_log, self._layout.api_log):
                    processes.rotate(log)
            health = self.health()
            # PostgreSQL first: the API needs it to become ready.
            down = "postgres" if health.postgres_pid is None else "api"
            if health.serving:
                continue
            if self._stopping.wait(backoffs[down].next_delay_s(time.monotonic() - started[down])):
                return
            self._restart(down)
            started[down] = time.monotonic()

    def _restart(self, which: str) -> None:
        state, api = self._state, self._api
        if state is None or api is None:
            return
        name = "PostgreSQL" if which == "postgres" else "the Supabase API"
        self._tell(f"{name} ended by itself; starting it again")
        self._restarts += 1
        try:
            if which == "postgres":
                moved = self._start_postgres(state)
                if moved.postgres_port != state.postgres_port:
                    # The API still looks for the old port.
                    api.stop()
                    moved = self._start_api(moved)
            else:
                moved = self._start_api(state)
            self._write_down(moved)
        except (StorageUnavailable, OSError) as exc:
            if not self._stopping.is_set():
                self._tell(f"{name} did not start: {exc}; trying again")

    def _stop_all(self) -> None:
        self._stopping.set()
        interrupted: KeyboardInterrupt | None = None
        for step in (self._stop_watcher, self._stop_api, self._stop_postgres):
            try:
                step()
            except KeyboardInterrupt as exc:
                # A second Ctrl-C must not leave a database running.
                interrupted = exc
                step()
        if self._state is not None:
            self._layout.running.unlink(missing_ok=True)
        self._state = self._postgres = self._api = self._watcher = None
        self._lock.release()
        if interrupted is not None:
            raise interrupted

    def _stop_watcher(self) -> None:
        if self._watcher is not None:
            self._watcher.join()

    def _stop_api(self) -> None:
        if self._api is not None:
            self._api.stop()

    def _stop_postgres(self) -> None:
        if self._postgres is not None:
            self._postgres.stop()


def this_process(*, detached: bool) -> Holder:
    """Name this process as the holder of a home's embedded Supabase."""
    words = [Path(sys.argv[0]).name, *sys.argv[1:3]]
    command = "gridpact supabase up" if detached else " ".join(words)
    return Holder(os.getpid(), detached, command, datetime.now(UTC).isoformat(timespec="seconds"))
