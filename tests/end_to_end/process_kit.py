"""Running gridpact as a user does: a process of its own, a home of its own, nothing left behind."""

from __future__ import annotations

import json
import os
import signal
import sqlite3
import subprocess
import sys
import time
import uuid
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from spool_reading import lying_rows

from agents.listeners import process_tree
from storage.home import database_folder

ROOT = Path(__file__).resolve().parents[2]
PROGRAM = ROOT / "run_cluster.py"
MINI = str(ROOT / "tests" / "scenarios" / "mini")
PASSED_ON = ("PATH", "HOME", "LANG", "TMPDIR", "LD_LIBRARY_PATH", "VIRTUAL_ENV")
_MARK = "GRIDPACT_TEST_MARK"
#: JSON of more variables that every command gets; ``canary_fixtures`` sets it.
_GIVEN = "GRIDPACT_TEST_GIVEN"
_PAUSE_S = 0.1


@dataclass(frozen=True)
class Finished:
    """How a command ended."""

    code: int
    out: str
    err: str
    seconds: float

    def json(self) -> dict[str, Any]:
        assert self.code == 0, self.err
        found: dict[str, Any] = json.loads(self.out)
        return found

    def complaint(self) -> str:
        """Give the one error message; anything else on stderr fails the test."""
        assert "Traceback" not in self.err, self.err
        lines = self.err.strip().splitlines()
        assert len([line for line in lines if line.lower().startswith("error:")]) == 1, self.err
        return self.err.strip()


class Launched:
    """A command that runs."""

    def __init__(
        self,
        arguments: Sequence[str],
        home: Path,
        folder: Path,
        environment: Mapping[str, str],
        *,
        program: Path = PROGRAM,
    ) -> None:
        self._began = time.monotonic()
        self._home = home
        self._mark = uuid.uuid4().hex
        self._seen: dict[int, str] = {}
        folder.mkdir(parents=True, exist_ok=True)
        self._out, self._err = folder / f"{self._mark}.out", folder / f"{self._mark}.err"
        kept = {name: os.environ[name] for name in PASSED_ON if name in os.environ}
        with self._out.open("wb") as out, self._err.open("wb") as err:
            # A session of its own is a terminal of its own: Ctrl-C reaches this group alone.
            self._process = subprocess.Popen(
                [sys.executable, str(program), *arguments],
                stdin=subprocess.DEVNULL,
                stdout=out,
                stderr=err,
                cwd=folder,
                env={
                    **kept,
                    **json.loads(os.environ.get(_GIVEN, "{}")),
                    "GRIDPACT_HOME": str(home),
                    "COLUMNS": "400",
                    _MARK: self._mark,
                    **environment,
                },
                start_new_session=True,
            )

    @property
    def pid(self) -> int:
        return self._process.pid

    @property
    def said(self) -> str:
        """What it wrote to stderr until now."""
        return self._err.read_text(errors="replace")

    @property
    def answered(self) -> str:
        """What it wrote to stdout until now."""
        return self._out.read_text(errors="replace")

    def workers(self) -> dict[int, str]:
        """Give its descendants that live now, with their command lines."""
        return {
            pid: line for pid in process_tree(self.pid) - {self.pid} if (line := command_line(pid))
        }

    def actors(self, title: str) -> list[int]:
        """Give the processes of a kind of actor by the title that Ray gives them.

        It is the class, and while a call runs the method too: ``OrchestratorShell.tick``.
        """
        return [pid for pid, line in self.workers().items() if line.startswith(f"ray::{title}")]

    def kill(self, title: str) -> None:
        """Kill -9 the first process of a kind of actor."""
        os.kill(self.actors(title)[0], signal.SIGKILL)

    def kill_all(self, title: str) -> None:
        """Kill -9 every process of a kind of actor."""
        for pid in self.actors(title):
            os.kill(pid, signal.SIGKILL)

    def until(self, what: str, happened: Callable[[], object], timeout_s: float = 120.0) -> None:
        """Wait until something happened, while the command runs."""
        deadline = time.monotonic() + timeout_s
        while not happened():
            assert self._process.poll() is None, f"ended before {what}: {self.said}"
            assert time.monotonic() < deadline, f"no {what} after {timeout_s:g} s: {self.said}"
            time.sleep(_PAUSE_S)

    def interrupt(self) -> None:
        """Press Ctrl-C: the terminal sends SIGINT to every process of the foreground group."""
        self._note_processes()
        os.killpg(self.pid, signal.SIGINT)

    def terminate(self) -> None:
        """Ask to stop as a service manager does: SIGTERM to the main process alone."""
        self._note_processes()
        os.kill(self.pid, signal.SIGTERM)

    def wait(self, timeout_s: float = 300.0) -> Finished:
        """Wait for its end."""
        self._note_processes()
        try:
            code = self._process.wait(timeout_s)
        finally:
            self.end()
        return Finished(
            code, self._out.read_text(), self.said, round(time.monotonic() - self._began, 1)
        )

    def end(self) -> None:
        """End it for certain; a test that fails must not leave it running."""
        if self._process.poll() is None:
            survivors = [self.pid, *self.workers()]
            for pid in survivors:
                _kill(pid)
            self._process.wait(10)

    def left_running(self) -> list[str]:
        """Give processes that it started and that outlived it."""
        data = str(database_folder(self._home))
        left = []
        for entry in Path("/proc").iterdir():
            if not entry.name.isdigit() or int(entry.name) == os.getpid():
                continue
            pid, line = int(entry.name), command_line(int(entry.name))
            if not line:
                continue
            ours = self._seen.get(pid) == started_at(pid)
            if ours or data in line or self._mark in environment_of(pid):
                left.append(f"{pid} {line}")
        return left

    def _note_processes(self) -> None:
        self._seen.update({pid: started_at(pid) for pid in self.workers()})


def run(
    *arguments: str,
    home: Path,
    folder: Path,
    environment: Mapping[str, str] | None = None,
    timeout_s: float = 300.0,
) -> Finished:
    """Run a command to its end and see that nothing outlives it."""
    launched = Launched(arguments, home, folder, environment or {})
    finished = launched.wait(timeout_s)
    assert launched.left_running() == []
    return finished


def command_line(pid: int) -> str:
    """Give the command line of a process; empty for one that has ended."""
    try:
        raw = Path(f"/proc/{pid}/cmdline").read_bytes()
    except OSError:
        return ""
    return raw.replace(b"\0", b" ").decode(errors="replace").strip()


def environment_of(pid: int) -> str:
    """Give what a process was started with; empty where we may not look."""
    try:
        return Path(f"/proc/{pid}/environ").read_bytes().decode(errors="replace")
    except OSError:
        return ""


def started_at(pid: int) -> str:
    """Give the moment a process started, which tells it from a later one of the same number."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[19]
    except OSError:
        return "gone"


def waiting_rows(home: Path, *, live: bool = False) -> dict[str, int]:
    """Count the rows of each run that wait in a home's spool of replays, or its live one."""
    (path,) = (
        path
        for path in (home / "spool").glob("*/spool.db")
        if path.parent.name.endswith("-live") is live
    )
    with closing(sqlite3.connect(f"file:{path}?mode=ro", uri=True, timeout=10)) as connection:
        return dict(Counter(row.run_id for row in lying_rows(connection) if row.state == 0))


def _kill(pid: int) -> None:
    try:
        os.kill(pid, signal.SIGKILL)
    except ProcessLookupError:
        return
