"""The files of one embedded Supabase, and the lock that lets one supervisor have them."""

from __future__ import annotations

import fcntl
import time
from dataclasses import dataclass
from pathlib import Path
from typing import IO

import orjson

from schema.errors import StorageUnavailable
from storage.embedded.files import read_json
from storage.home import database_folder, packages_folder

_LOCK_TRIES = 5
_LOCK_PAUSE_S = 0.05


class InstanceHeld(StorageUnavailable):
    """Another process supervises the Supabase of this home; details hold its pid."""


@dataclass(frozen=True, slots=True)
class Layout:
    """Where everything of one home's embedded Supabase lies.

    Attributes:
        home: The state folder of gridpact (``GRIDPACT_HOME``).
        packages: Installed programs.
    """

    home: Path
    packages: Path

    @classmethod
    def of(cls, home: Path, packages: Path | None = None) -> Layout:
        """Give the layout of a home; ``packages`` may be shared by several."""
        home = home.absolute()
        return cls(home, packages or packages_folder(home))

    @property
    def folder(self) -> Path:
        """Holds state, lock and logs; ours alone."""
        return self.home / "supabase"

    @property
    def data(self) -> Path:
        """PostgreSQL's data folder; for root it lies outside of the home."""
        return database_folder(self.home) / "postgres17"

    @property
    def lock(self) -> Path:
        """Locked by the supervisor; its text says who that is."""
        return self.folder / "lock"

    @property
    def state(self) -> Path:
        """Ports, passwords and keys."""
        return self.folder / "state.json"

    @property
    def endpoint(self) -> Path:
        """What clients need; its path is handed to actors."""
        return self.folder / "endpoint.json"

    @property
    def running(self) -> Path:
        """Process ids of what runs now."""
        return self.folder / "running.json"

    @property
    def postgres_log(self) -> Path:
        """PostgreSQL's output."""
        return self.folder / "postgres.log"

    @property
    def api_log(self) -> Path:
        """The API's output; holds rows of failed requests."""
        return self.folder / "api.log"

    @property
    def supervisor_log(self) -> Path:
        """Output of the detached supervisor."""
        return self.folder / "supervisor.log"


@dataclass(frozen=True, slots=True)
class Holder:
    """Who supervises: a detached process (``supabase up``), or another command for its time."""

    pid: int
    detached: bool
    command: str
    since: str

    def __str__(self) -> str:
        """Give it for a message."""
        return f"pid {self.pid} ({self.command}, since {self.since})"


class InstanceLock:
    """At most one supervisor a home; freed by the kernel when its process dies."""

    def __init__(self, layout: Layout) -> None:
        self._layout = layout
        self._file: IO[bytes] | None = None

    def take(self, holder: Holder) -> None:
        """Take the lock and say in it who we are.

        Raises:
            InstanceHeld: Somebody else has it; the message says who.
        """
        layout = self._layout
        file = layout.lock.open("a+b")
        for attempt in range(_LOCK_TRIES):
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                # read_holder takes a shared lock for an instant; that is no other supervisor.
                if attempt + 1 < _LOCK_TRIES:
                    time.sleep(_LOCK_PAUSE_S)
                    continue
                file.close()
                other = read_holder(layout)
                msg = (
                    f"the embedded Supabase of {layout.home} is run by "
                    f"{other or 'another process'}; "
                    "use that one, or end it with `gridpact supabase stop`"
                )
                raise InstanceHeld(msg, pid=None if other is None else other.pid) from None
            break
        file.truncate(0)
        content = {
            "pid": holder.pid,
            "detached": holder.detached,
            "command": holder.command,
            "since": holder.since,
        }
        file.write(orjson.dumps(content))
        file.flush()
        self._file = file

    def release(self) -> None:
        """Give the lock back."""
        if self._file is not None:
            self._file.close()
            self._file = None


def read_holder(layout: Layout) -> Holder | None:
    """Say who holds the lock now; None when nobody does."""
    try:
        with layout.lock.open("rb") as file:
            try:
                fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
            except BlockingIOError:
                text = file.read()
            else:
                return None
    except FileNotFoundError:
        return None
    try:
        content = orjson.loads(text)
        return Holder(
            pid=int(content["pid"]),
            detached=bool(content["detached"]),
            command=str(content["command"]),
            since=str(content["since"]),
        )
    except (orjson.JSONDecodeError, KeyError, TypeError, ValueError):
        # Taken an instant ago; its text is not written yet.
        return Holder(pid=0, detached=False, command="starting", since="now")


def read_pids(layout: Layout) -> dict[str, int]:
    """Give the process ids that the last supervisor wrote down; they may be gone."""
    content = read_json(layout.running) or {}
    return {name: pid for name, pid in content.items() if isinstance(pid, int)}


def make_folder(layout: Layout) -> None:
    """Make the folder of state, lock and logs."""
    layout.folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    layout.folder.chmod(0o700)
