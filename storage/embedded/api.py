"""The API process: Node running our launcher over one database."""

from __future__ import annotations

import http.client
import os
import signal
import subprocess
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from http import HTTPStatus
from pathlib import Path

import orjson

from schema.errors import StorageUnavailable
from storage.embedded import processes
from storage.embedded.account import ServiceAccount
from storage.embedded.install import Installation
from storage.embedded.postgres import PortTaken
from storage.embedded.processes import POLL_S
from storage.embedded.state import InstanceState

_READY_TIMEOUT_S = 60.0
_EXIT_PORT_TAKEN = 98
_NODE_ENVIRONMENT = {
    "DO_NOT_TRACK": "1",
    "LITE_TELEMETRY": "0",
    "NODE_ENV": "production",
    "NODE_OPTIONS": "--max-old-space-size=1024",
}


@dataclass
class ApiServer:
    """The REST and auth API; with ``admin`` also Studio.

    Attributes:
        installation: The programs.
        log: What it says; holds rows of failed requests, so it never leaves the machine.
        account: The user that runs it; None for ourselves.
        admin: Serve Studio; requests without a key are then the service role.
    """

    installation: Installation
    log: Path
    account: ServiceAccount | None
    admin: bool = False
    process: subprocess.Popen[bytes] | None = field(default=None, init=False)
    _log_start: int = field(default=0, init=False)

    @property
    def pid(self) -> int | None:
        """Process id while it runs."""
        process = self.process
        return None if process is None or process.poll() is not None else process.pid

    def start(self, state: InstanceState, port: int) -> None:
        """Start it as our child; ``wait_ready`` says when it serves."""
        processes.rotate(self.log)
        self._log_start = processes.log_size(self.log)
        self.process = self._launch(
            "serve",
            {
                "instance": state.instance,
                "database_url": state.api_database_url(),
                "port": port,
                "jwt_secret": state.jwt_secret,
                "publishable_key": state.publishable_key,
                "secret_key": state.secret_key,
                "admin": self.admin,
                "parent_pid": os.getpid(),
            },
        )

    def wait_ready(self, state: InstanceState, port: int, cancelled: Callable[[], bool]) -> None:
        """Wait until its health page answers for this instance and this process.

        Raises:
            PortTaken: It ended because its port is in use.
            StorageUnavailable: It ended, took more than 60 s, or we were cancelled.
        """
        deadline = time.monotonic() + _READY_TIMEOUT_S
        while time.monotonic() < deadline:
            if cancelled():
                msg = "the Supabase API was asked to stop while starting"
                raise StorageUnavailable(msg)
            process = self.process
            code = None if process is None else process.poll()
            if code == _EXIT_PORT_TAKEN:
                raise PortTaken("the API's port is taken by another program")
            if code is not None:
                said = processes.tail(self.log, self._log_start)
                msg = f"the Supabase API ended while starting (exit {code}); {self.log}:\n{said}"
                raise StorageUnavailable(msg)
            found = probe(port, timeout_s=0.5)
            if found is not None and found == (state.instance, self.pid):
                return
            time.sleep(POLL_S)
        said = processes.tail(self.log, self._log_start)
        msg = f"the Supabase API was not ready after {_READY_TIMEOUT_S:.0f} s; {self.log}:\n{said}"
        raise StorageUnavailable(msg)

    def make_auth_tables(self, state: InstanceState, database_url: str) -> None:
        """Make the tables and functions of the schema ``auth`` that policies refer to.

        Args:
            state: Of the server.
            database_url: As its superuser; any database of it.

        Raises:
            StorageUnavailable: It failed; holds the end of the log.
        """
        start = processes.log_size(self.log)
        process = self._launch(
            "auth-tables",
            {
                "database_url": database_url,
                "jwt_secret": state.jwt_secret,
                "publishable_key": state.publishable_key,
                "secret_key": state.secret_key,
                "max_connections": 2,
            },
        )
        try:
            code = process.wait(_READY_TIMEOUT_S)
        except subprocess.TimeoutExpired:
            code = None
        finally:
            processes.end(process, [])
        if code != 0:
            said = processes.tail(self.log, start)
            msg = f"making the auth tables failed (exit {code}); the end of {self.log}:\n{said}"
            raise StorageUnavailable(msg)

    def stop(self) -> None:
        """Stop it: running requests may end, 3 s at most."""
        if self.process is not None:
            processes.end(self.process, [(signal.SIGTERM, 3.0)])
            self.process = None

    def _launch(self, mode: str, configuration: dict[str, object]) -> subprocess.Popen[bytes]:
        return processes.spawn(
            [self.installation.node, self.installation.launcher, mode],
            log=self.log,
            account=self.account,
            folder=self.installation.folder,
            environment=processes.plain_environment(**_NODE_ENVIRONMENT),
            standard_input=orjson.dumps(configuration),
        )


def probe(port: int, timeout_s: float = 3.0) -> tuple[str, int] | None:
    """Ask who serves on a port: its instance and process id; None when nothing healthy does."""
    # Not httpx: it loads certificates for each client, 30 ms that a loopback probe need not pay.
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=timeout_s)
    try:
        connection.request("GET", "/healthz")
        answer = connection.getresponse()
        content = orjson.loads(answer.read(10_000)) if answer.status == HTTPStatus.OK else None
    except (OSError, http.client.HTTPException, orjson.JSONDecodeError):
        return None
    finally:
        connection.close()
    if not isinstance(content, dict):
        return None
    instance, pid = content.get("instance"), content.get("pid")
    return (instance, pid) if isinstance(instance, str) and isinstance(pid, int) else None
