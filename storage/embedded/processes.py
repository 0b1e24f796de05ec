"""Starting, watching and ending the processes of the embedded Supabase."""

from __future__ import annotations

import contextlib
import os
import signal
import socket
import subprocess
import time
from collections.abc import Callable, Sequence
from pathlib import Path

from storage.embedded.account import ServiceAccount

Progress = Callable[[str], None]
"""Is given one line for the user at a time."""

POLL_S = 0.05
_LOG_LIMIT_BYTES = 10_000_000
_PASSED_ON = ("PATH", "HOME", "LANG", "TMPDIR", "LD_LIBRARY_PATH")


def silent(line: str) -> None:
    """Be a ``Progress`` that shows nothing."""


def plain_environment(**more: str) -> dict[str, str]:
    """Give an environment without anything secret: only what a program needs to run."""
    kept = {name: os.environ[name] for name in _PASSED_ON if name in os.environ}
    return {"PATH": os.defpath, **kept, "LC_ALL": "C", **more}


def spawn(
    command: Sequence[str | Path],
    *,
    log: Path,
    account: ServiceAccount | None,
    folder: Path,
    environment: dict[str, str],
    standard_input: bytes = b"",
) -> subprocess.Popen[bytes]:
    """Start a program in a session of its own, so that Ctrl-C reaches us first.

    Args:
        command: Program and arguments; secrets belong into ``standard_input``.
        log: Its output is appended here; made with mode 0600.
        account: The user to run it as; None for ourselves.
        folder: Working directory; ``account`` must be able to enter it.
        environment: The whole environment of the program.
        standard_input: Written and closed.
    """
    # Opened here, so that the other user needs no right to the log's folder.
    output = os.open(log, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)
    try:
        process = subprocess.Popen(
            [str(part) for part in command],
            stdin=subprocess.PIPE,
            stdout=output,
            stderr=output,
            cwd=folder,
            env=environment,
            start_new_session=True,
            user=None if account is None else account.uid,
            group=None if account is None else account.gid,
            extra_groups=None if account is None else [],
        )
    finally:
        os.close(output)
    # A program that died at once shows itself by its exit code, not by this broken pipe.
    with contextlib.suppress(BrokenPipeError):
        _feed(process, standard_input)
    return process


def _feed(process: subprocess.Popen[bytes], data: bytes) -> None:
    assert process.stdin is not None
    with process.stdin as pipe:
        pipe.write(data)


def end(process: subprocess.Popen[bytes], steps: Sequence[tuple[signal.Signals, float]]) -> None:
    """End a child: each signal in turn, with that many seconds to obey, and SIGKILL last."""
    for wanted, patience_s in (*steps, (signal.SIGKILL, 5.0)):
        if process.poll() is not None:
            return
        process.send_signal(wanted)
        try:
            process.wait(patience_s)
        except subprocess.TimeoutExpired:
            continue
        return


def end_stranger(pid: int, steps: Sequence[tuple[signal.Signals, float]]) -> bool:
    """End a process that is not our child; True when it is gone."""
    for wanted, patience_s in steps:
        try:
            os.kill(pid, wanted)
        except ProcessLookupError:
            return True
        deadline = time.monotonic() + patience_s
        while time.monotonic() < deadline:
            if not is_running(pid):
                return True
            time.sleep(POLL_S)
    return not is_running(pid)


def is_running(pid: int) -> bool:
    """Say whether a process of that id runs; a zombie does not."""
    try:
        state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except FileNotFoundError:
        if Path("/proc/self").exists():
            return False
        return bool(command_line(pid))
    except (ProcessLookupError, PermissionError):
        return False
    return state not in {"Z", "X"}


def command_line(pid: int) -> str:
    """Give the command line of a process, words joined by blanks; empty when there is none."""
    try:
        raw = Path(f"/proc/{pid}/cmdline").read_bytes()
    except (FileNotFoundError, ProcessLookupError):
        if Path("/proc/self").exists():
            return ""
    else:
        return raw.replace(b"\0", b" ").decode(errors="replace").strip()
    # No procfs (macOS).
    answer = subprocess.run(
        ["/bin/ps", "-o", "command=", "-p", str(pid)], capture_output=True, text=True, check=False
    )
    return answer.stdout.strip()


def free_port() -> int:
    """Give a port of 127.0.0.1 that nobody listens on at this moment."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
    return port


def tail(log: Path, start: int = 0, lines: int = 12) -> str:
    """Give the last lines of a log from a byte offset on."""
    try:
        with log.open("rb") as file:
            file.seek(max(start, log.stat().st_size - 20_000))
            text = file.read().decode(errors="replace")
    except FileNotFoundError:
        return ""
    return "\n".join(text.splitlines()[-lines:])


def log_size(log: Path) -> int:
    """Give the size of a log in bytes; 0 when there is none."""
    return log.stat().st_size if log.exists() else 0


def rotate(log: Path) -> None:
    """Keep a log short: past 10 MB its text moves to ``<name>.1`` and it starts anew.

    Copied and cut, not renamed: the program that writes it keeps its open file.
    """
    if log_size(log) <= _LOG_LIMIT_BYTES:
        return
    older = log.with_name(log.name + ".1")
    older.touch(mode=0o600)
    older.write_bytes(log.read_bytes())
    os.truncate(log, 0)
