"""The supervisor as a process of its own: what ``supabase up`` leaves running.

It is started detached, writes to ``supervisor.log`` in the home, and ends by SIGTERM.
"""

from __future__ import annotations

import argparse
import importlib
import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

from schema.errors import ConfigurationError, GridpactError, StorageUnavailable
from storage.embedded import processes
from storage.embedded.attach import catch_up, find_running
from storage.embedded.endpoint import SupabaseEndpoint
from storage.embedded.layout import Layout, make_folder, read_holder
from storage.embedded.postgres import PostgresServer
from storage.embedded.processes import Progress, silent
from storage.embedded.supervisor import EmbeddedSupabase, Migrate
from storage.home import prepare_home

_UP_TIMEOUT_S = 900.0
"""A first start downloads 80 MB."""

_STOP_TIMEOUT_S = 10.0
_PAUSE_S = 0.1
_started: list[subprocess.Popen[bytes]] = []
# Kept, because a Popen that is collected while its process runs raises a ResourceWarning.

_SECRETS = ("SUPABASE_URL", "SUPABASE_KEY", "SUPABASE_DB_URL")


def start_detached(
    home: Path, migrate: str | None, packages: Path | None = None, progress: Progress = silent
) -> SupabaseEndpoint:
    """Leave an embedded Supabase running for this home; gives the one that is up if there is.

    Args:
        home: The state folder.
        migrate: What to call with the database's URL before the API starts, as
            ``package.module:function``: another process will import it.
        packages: Folder of installed programs; of the home when None.
        progress: Is given the lines that the detached process writes.

    Raises:
        StorageUnavailable: It ended while starting; holds the end of its log.
    """
    layout = Layout.of(prepare_home(home), packages)
    make_folder(layout)
    if (running := find_running(layout)) is not None:
        # A newer release may have come since it was started.
        if (function := _load(migrate)) is not None:
            catch_up(running, layout, function, progress)
        return running
    processes.rotate(layout.supervisor_log)
    start = processes.log_size(layout.supervisor_log)
    process = _spawn(layout, migrate)
    told = start
    deadline = time.monotonic() + _UP_TIMEOUT_S
    while time.monotonic() < deadline:
        told = _pass_on(layout.supervisor_log, told, progress)
        if (running := find_running(layout)) is not None:
            return running
        # One that lost the race for the lock ends too; then the winner is about to serve.
        if process.poll() is not None and read_holder(layout) is None:
            break
        time.sleep(_PAUSE_S)
    _pass_on(layout.supervisor_log, told, progress)
    said = processes.tail(layout.supervisor_log, start)
    msg = f"the embedded Supabase did not start; the end of {layout.supervisor_log}:\n{said}"
    raise StorageUnavailable(msg)


def stop_detached(home: Path, packages: Path | None = None) -> bool:
    """Stop what ``start_detached`` left running, within 10 s; False when nothing ran.

    Also stops the database that a killed supervisor left behind.

    Raises:
        StorageUnavailable: Another command runs it for its own time, or it does not stop.
    """
    layout = Layout.of(home, packages)
    holder = read_holder(layout)
    if holder is None:
        return _stop_orphan(layout)
    if not holder.detached:
        msg = f"the embedded Supabase belongs to {holder} and ends with it; end that command"
        raise StorageUnavailable(msg, pid=holder.pid)
    if not processes.end_stranger(holder.pid, [(signal.SIGTERM, _STOP_TIMEOUT_S)]):
        msg = f"{holder} did not stop in {_STOP_TIMEOUT_S:.0f} s; see {layout.supervisor_log}"
        raise StorageUnavailable(msg, pid=holder.pid)
    return True


def _stop_orphan(layout: Layout) -> bool:
    postgres = PostgresServer(Path(), layout.data, layout.postgres_log, None)
    if postgres.orphan_pid() is None:
        return False
    postgres.stop_orphan(silent)
    return True


def _spawn(layout: Layout, migrate: str | None) -> subprocess.Popen[bytes]:
    command = [sys.executable, "-m", "storage.embedded.daemon", "--home", str(layout.home)]
    command += ["--packages", str(layout.packages)]
    if migrate is not None:
        command += ["--migrate", migrate]
    output = os.open(layout.supervisor_log, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)
    try:
        process = subprocess.Popen(
            command,
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=output,
            # Where our packages are: `-m` looks there first.
            cwd=Path(__file__).resolve().parents[2],
            env={k: v for k, v in os.environ.items() if k not in _SECRETS},
            start_new_session=True,
        )
    finally:
        os.close(output)
    _started.append(process)
    return process


def _pass_on(log: Path, start: int, progress: Progress) -> int:
    with log.open("rb") as file:
        file.seek(start)
        text = file.read()
    whole = text.rfind(b"\n") + 1
    for line in text[:whole].decode(errors="replace").splitlines():
        progress(line)
    return start + whole


def _load(name: str | None) -> Migrate | None:
    if name is None:
        return None
    module, _, function = name.partition(":")
    found: Migrate | None = getattr(importlib.import_module(module), function, None)
    if found is None:
        msg = f"{name} is no migration function; expected package.module:function"
        raise ConfigurationError(msg)
    return found


def main() -> int:
    """Serve until SIGTERM or SIGINT; returns the exit code."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--home", type=Path, required=True)
    parser.add_argument("--packages", type=Path)
    parser.add_argument("--migrate")
    arguments = parser.parse_args()
    asked_to_stop = threading.Event()
    started = threading.Event()

    def on_signal(_number: int, _frame: object) -> None:
        first = not asked_to_stop.is_set()
        asked_to_stop.set()
        # Breaks off a start that is under way, once; afterwards the event is what counts.
        if first and not started.is_set():
            raise KeyboardInterrupt

    signal.signal(signal.SIGTERM, on_signal)
    signal.signal(signal.SIGINT, on_signal)
    try:
        supervisor = EmbeddedSupabase(
            arguments.home,
            _load(arguments.migrate),
            packages=arguments.packages,
            progress=lambda line: print(line, flush=True),
            detached=True,
        )
        try:
            print(f"serving at {supervisor.start().url}", flush=True)
            started.set()
            asked_to_stop.wait()
        finally:
            supervisor.stop()
    except KeyboardInterrupt:
        pass
    except GridpactError as exc:
        print(f"error: {exc}", flush=True)
        return exc.exit_code
    print("stopped", flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
