"""One PostgreSQL server: made, started, asked whether it is ready, stopped."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import psycopg

from schema.errors import StorageUnavailable
from storage.embedded import processes
from storage.embedded.account import ServiceAccount
from storage.embedded.processes import POLL_S, Progress

_READY_TIMEOUT_S = 60.0
_MARK = "gridpact-instance"
_SETTINGS = {
    "listen_addresses": "127.0.0.1",
    "unix_socket_directories": "",
    "timezone": "UTC",
    "log_timezone": "UTC",
    "shared_buffers": "256MB",
    "max_wal_size": "2GB",
    "wal_compression": "on",
    "statement_timeout": "120s",
}


class PortTaken(StorageUnavailable):
    """Another program listens on the port; choose a new one."""


@dataclass
class PostgresServer:
    """The database of one embedded Supabase.

    Attributes:
        programs: Folder of initdb and postgres.
        data: Its data folder.
        log: What it says; kept short by ``processes.rotate``.
        account: The user that runs it; None for ourselves.
    """

    programs: Path
    data: Path
    log: Path
    account: ServiceAccount | None
    process: subprocess.Popen[bytes] | None = field(default=None, init=False)
    _log_start: int = field(default=0, init=False)

    @property
    def pid(self) -> int | None:
        """Process id while it runs."""
        process = self.process
        return None if process is None or process.poll() is not None else process.pid

    def prepare(self, instance: str, password: str, progress: Progress) -> None:
        """Make the data folder unless this instance already has one.

        It is made beside and renamed when complete: an initdb killed half way leaves files that
        look like a finished folder. Data of another instance (its state file was deleted, so
        nobody knows its password) is set aside, never deleted; one such folder is kept.

        Raises:
            StorageUnavailable: initdb failed.
        """
        self._make_parent()
        mark = self.data / _MARK
        if mark.is_file() and mark.read_text() == instance:
            return
        if self.data.exists():
            aside = self.data.with_name(self.data.name + ".set-aside")
            shutil.rmtree(aside, ignore_errors=True)
            self.data.rename(aside)
            progress(f"{self.data} belongs to a deleted state; kept as {aside}")
        progress("making the database …")
        new = self.data.with_name(self.data.name + ".new")
        shutil.rmtree(new, ignore_errors=True)
        new.mkdir(mode=0o700)
        self._give_away(new)
        self._initdb(new, password)
        (new / _MARK).write_text(instance)
        self._give_away(new / _MARK)
        new.rename(self.data)

    def start(self, port: int) -> None:
        """Start it in the foreground as our child; ``wait_ready`` says when it serves."""
        processes.rotate(self.log)
        self._log_start = processes.log_size(self.log)
        settings = {**_SETTINGS, "port": str(port)}
        command: list[str | Path] = [self.programs / "postgres", "-D", self.data]
        for name, value in settings.items():
            command += ["-c", f"{name}={value}"]
        self.process = processes.spawn(
            command,
            log=self.log,
            account=self.account,
            folder=self.data.parent,
            environment=processes.plain_environment(),
        )

    def wait_ready(self, database_url: str, cancelled: Callable[[], bool]) -> None:
        """Wait until a connection succeeds.

        Raises:
            PortTaken: It ended because its port is in use.
            StorageUnavailable: It ended, took more than 60 s, or we were cancelled; holds the
                end of its log.
        """
        deadline = time.monotonic() + _READY_TIMEOUT_S
        while time.monotonic() < deadline:
            if cancelled():
                msg = "PostgreSQL was asked to stop while starting"
                raise StorageUnavailable(msg)
            # Before the first try too: one whose port is taken ends within this time, and the
            # program that has the port may keep a connection waiting.
            time.sleep(2 * POLL_S)
            if self.pid is None:
                said = processes.tail(self.log, self._log_start)
                if "could not create any TCP/IP sockets" in said:
                    raise PortTaken("PostgreSQL's port is taken by another program")
                msg = f"PostgreSQL ended while starting; the end of {self.log}:\n{said}"
                raise StorageUnavailable(msg)
            try:
                psycopg.connect(database_url, connect_timeout=2).close()
            except psycopg.OperationalError:
                continue
            return
        said = processes.tail(self.log, self._log_start)
        msg = f"PostgreSQL was not ready after {_READY_TIMEOUT_S:.0f} s; see {self.log}:\n{said}"
        raise StorageUnavailable(msg)

    def stop(self) -> None:
        """Stop it: fast shutdown, after 5 s immediate (the next start then recovers)."""
        if self.process is not None:
            processes.end(self.process, [(signal.SIGINT, 5.0), (signal.SIGQUIT, 2.0)])
            self.process = None

    def stop_orphan(self, progress: Progress) -> None:
        """Stop the server that a killed supervisor left running on our data folder.

        Raises:
            StorageUnavailable: It does not stop.
        """
        pid = self.orphan_pid()
        if pid is None:
            return
        progress(f"stopping the PostgreSQL that a killed run left behind (pid {pid}) …")
        if not processes.end_stranger(pid, [(signal.SIGINT, 30.0), (signal.SIGQUIT, 5.0)]):
            msg = f"PostgreSQL (pid {pid}) uses {self.data} and does not stop; end it and try again"
            raise StorageUnavailable(msg)

    def orphan_pid(self) -> int | None:
        """Give the process that serves our data folder but is not our child."""
        try:
            pid = int((self.data / "postmaster.pid").read_text().splitlines()[0])
        except (FileNotFoundError, ValueError, IndexError):
            return None
        if pid == self.pid or str(self.data) not in processes.command_line(pid):
            return None
        return pid if processes.is_running(pid) else None

    def _make_parent(self) -> None:
        parent = self.data.parent
        parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        if self.account is not None:
            parent.chmod(0o711)

    def _give_away(self, path: Path) -> None:
        if self.account is not None:
            os.chown(path, self.account.uid, self.account.gid)

    def _initdb(self, target: Path, password: str) -> None:
        handle, name = tempfile.mkstemp(prefix=".pw-", dir=self.data.parent)
        password_file = Path(name)
        try:
            with os.fdopen(handle, "w") as file:
                file.write(password)
            self._give_away(password_file)
            process = processes.spawn(
                [
                    *(self.programs / "initdb", "-D", target, "-U", "postgres", "-E", "UTF8"),
                    *("--no-locale", "--auth=scram-sha-256", f"--pwfile={password_file}"),
                ],
                log=self.log,
                account=self.account,
                folder=self.data.parent,
                environment=processes.plain_environment(),
            )
            try:
                code = process.wait()
            except BaseException:
                processes.end(process, [])
                raise
        finally:
            password_file.unlink(missing_ok=True)
        if code != 0:
            said = processes.tail(self.log)
            msg = f"initdb failed (exit {code}); the end of {self.log}:\n{said}"
            raise StorageUnavailable(msg)
