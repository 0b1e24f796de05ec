"""Many lives of ``ray_rig`` over one spool, each ended by a kill in the midst of its work."""

from __future__ import annotations

import contextlib
import os
import signal
import socket
import sqlite3
import threading
import time
from collections.abc import Callable, Mapping
from contextlib import closing
from dataclasses import dataclass, field
from pathlib import Path

from feeding import Feed, receive, send
from process_kit import Finished, Launched
from spool_reading import waiting_count
from storage_samples import START, log, message, run_record

from schema.clock import VirtualClock
from storage.spool_file import SpoolSettings
from storage.writer import SpoolWriter

RIG = Path(__file__).with_name("ray_rig.py")
#: Between two puts of a producer: enough to have rows waiting always, and not too many to count.
PAUSE_S = 0.005
PUTS_BEFORE_A_KILL = 40
END_WITHIN_S = 60.0
LEAVE_WITHIN_S = 20.0


@dataclass
class Kills:
    """What was so at the moments of the kills."""

    waiting: list[int] = field(default_factory=list)
    """Rows in the spool that Supabase had not confirmed."""
    in_flight: list[int] = field(default_factory=list)
    """Puts without an answer."""
    seconds: list[float] = field(default_factory=list)
    """Until the command had ended, or work went on."""
    faults: list[str] = field(default_factory=list)

    @property
    def told(self) -> str:
        return (
            f"at the kills {min(self.waiting):,} to {max(self.waiting):,} rows waited, "
            f"{sum(self.in_flight)} puts in flight; over after {max(self.seconds):.1f} s at most"
        )


class Lives:
    """One spool, one ledger, many lives.

    Args:
        folder: Of everything.
        home: State folder of the lives.
        state_file: Describes the Supabase.
        run_id: Of the rows.
    """

    def __init__(self, folder: Path, home: Path, state_file: Path, run_id: str) -> None:
        self._folder, self._home, self._state_file = folder, home, state_file
        self.spool = folder / "spool"
        self.feed = Feed(folder / "ledger.txt", lambda number: _rows(number, run_id))
        self._ends: list[Launched] = []
        writer = SpoolWriter(self.spool, VirtualClock(START), SpoolSettings(ballast_bytes=0))
        writer.open()
        writer.put([run_record(run_id)]).result(10)
        writer.close()
        self._path = str(folder / "s")
        self._server = socket.socket(socket.AF_UNIX)
        self._server.bind(self._path)
        self._server.listen(8)
        threading.Thread(target=self._accept, daemon=True).start()

    def life(self) -> Launched:
        """Begin a life."""
        environment: Mapping[str, str] = {
            "PYTHONPATH": os.pathsep.join([str(RIG.parents[1]), str(RIG.parents[2])])
        }
        launched = Launched(
            [str(self._home), str(self.spool), str(self._state_file), self._path],
            self._home,
            self._folder / "said",
            environment,
            program=RIG,
        )
        self._ends.append(launched)
        return launched

    def until_at_work(self, launched: Launched, kills: Kills) -> None:
        """Wait until this life has work under way: rows wait, and a put has no answer yet."""
        first = self.feed.acknowledged_puts
        launched.until("puts", lambda: self.feed.acknowledged_puts >= first + PUTS_BEFORE_A_KILL)
        launched._note_processes()
        deadline = time.monotonic() + END_WITHIN_S
        while not ((in_flight := self.feed.in_flight) and (waiting := self.waiting())):
            assert time.monotonic() < deadline, "no rows wait, or no put is in flight"
            time.sleep(0.001)
        kills.in_flight.append(in_flight)
        kills.waiting.append(waiting)

    def end_by(self, kill: Callable[[Launched], None], code: int) -> Kills:
        """Begin a life, kill what is to be killed, and see that everything ends.

        Args:
            kill: Kills.
            code: The exit code that the life is to have.
        """
        kills = Kills()
        launched = self.life()
        self.until_at_work(launched, kills)
        began = time.monotonic()
        kill(launched)
        finished = launched.wait(END_WITHIN_S)
        kills.seconds.append(time.monotonic() - began)
        if finished.code != code or (code == 1 and "has died" not in finished.err):
            kills.faults.append(f"code {finished.code}: {finished.err[-2000:]}")
        deadline = time.monotonic() + LEAVE_WITHIN_S
        while (left := launched.left_running()) and time.monotonic() < deadline:
            time.sleep(0.1)
        kills.faults += [f"left running: {line}" for line in left]
        return kills

    def finish(self) -> Finished:
        """Let a last life send everything."""
        self.feed.stop()
        return self.life().wait(120)

    def close(self) -> None:
        self._server.close()
        for launched in self._ends:
            launched.end()

    def waiting(self) -> int:
        """Count the rows that the spool holds and Supabase has not confirmed."""
        with closing(
            sqlite3.connect(f"file:{self.spool}/spool.db?mode=ro", uri=True, timeout=10)
        ) as connection:
            return waiting_count(connection)

    def _accept(self) -> None:
        while True:
            try:
                connection, _ = self._server.accept()
            except OSError:
                return
            threading.Thread(target=self._serve, args=(connection,), daemon=True).start()

    def _serve(self, connection: socket.socket) -> None:
        with connection, contextlib.suppress(OSError):
            while (put := self.feed.take()) is not None:
                try:
                    send(connection, put)
                    receive(connection)
                except OSError:
                    self.feed.give_back(put)
                    raise
                self.feed.note(put)
                time.sleep(PAUSE_S)
            send(connection, None)


def everything(launched: Launched) -> None:
    """Kill the main process and all that it has started, as the end of a machine does."""
    pids = [launched.pid, *launched.workers()]
    for pid in pids:
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)


def program(path: str) -> Callable[[Launched], None]:
    """Give what kills the one process of a program."""

    def kill(launched: Launched) -> None:
        (pid,) = (pid for pid, line in launched.workers().items() if path in line)
        os.kill(pid, signal.SIGKILL)

    return kill


def _rows(number: int, run_id: str) -> list[object]:
    """Five rows a put, of both lanes."""
    logs = [log(number * 3 + n, run_id) for n in range(3)]
    return [*logs, *(message(number * 2 + n, run_id) for n in range(2))]
