"""Kills of a storage process, with a ledger and a sink that live in another process.

    test process   producers (put, put again until acknowledged, then note it in a ledger with its
                   own fsync), the sink (takes, refuses, or takes and then fails), the checker
    zygote         has imported everything; forks a victim when told to
    victim         a StorageService over one folder, killed at a labelled point or from outside

Every put has a checkpoint of its own that lists the put's rows; the checker holds them together.

This module is both: imported by tests it is the first, run as a script the other two.
"""

from __future__ import annotations

import contextlib
import json
import os
import random
import signal
import socket
import sqlite3
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

from feeding import Feed, Key, key_of, receive, send
from spool_reading import lying_rows, waiting_count

CRASH_POINTS = (
    "before_insert",
    "after_insert_before_commit",
    "after_commit_before_ack",
    "after_send_before_response",
    "after_response_before_delete",
    "mid_delete",
    "mid_checkpoint",
)
PRODUCERS = 3


# -- the test's side ----------------------------------------------------------------------


class RowSink(Protocol):
    """Where the rows end up."""

    requests: int

    def answer(self, batch: Mapping[str, Sequence[bytes]]) -> dict[str, Any]:
        """Take a request, or refuse it, or take it and say that it failed; from any thread."""
        ...

    def keys(self) -> Counter[Key]:
        """Count rows by natural key, leaving the run out."""
        ...


class Sink:
    """Takes rows by id, as the ingest function does; fails now and then, also after taking.

    With ``own_ids`` it makes an id for each row it is given, which is the fault that ids made by
    the producer keep out: the checker must see it.
    """

    def __init__(self, seed: int, *, own_ids: bool = False) -> None:
        self.rows: dict[str, tuple[str, int]] = {}
        self.requests = 0
        self._own_ids = own_ids
        self._rng = random.Random(seed)
        self._lock = threading.Lock()

    def answer(self, batch: Mapping[str, Sequence[bytes]]) -> dict[str, Any]:
        with self._lock:
            self.requests += 1
            dice = self._rng.random()
            if dice < 0.10:
                return {"error": "503"}
            for table, bodies in batch.items():
                for body in bodies:
                    columns = json.loads(body)
                    if table != "scenario_runs" and columns["run_id"] not in self.rows:
                        return {"error": "23503"}
                    row_id = f"own-{len(self.rows)}" if self._own_ids else columns["id"]
                    if table == "scenario_runs":
                        row_id = columns["id"]
                    self.rows.setdefault(row_id, (table, columns.get("sequence", 0)))
            if dice < 0.25:
                return {"error": "502"}
            return {"counts": {table: len(bodies) for table, bodies in batch.items()}}

    def keys(self) -> Counter[Key]:
        """Count rows by natural key, leaving the run out."""
        return Counter(key for key in self.rows.values() if key[0] != "scenario_runs")


@dataclass
class Outcome:
    """What the checker found."""

    kills: int
    acknowledged: int
    lost: int
    doubled: int
    unexpected: int
    hits: Counter[str]
    checkpoints: int
    torn: int
    """Checkpoints found without their rows at some death, and rows acknowledged without one."""
    recovered: int
    """Rows that arrived though nobody was told so: the answer died with the process."""
    mid_work: int
    """Kills with rows waiting in the spool and a put in flight."""
    puts_cut: int
    requests_cut: int
    """Puts and requests whose answer a kill took away."""


class Harness:
    """One folder, one sink, many lives.

    Two faults that the checker must see: with ``apart`` a checkpoint is saved before its rows, in a
    put of its own; with ``from_memory`` a put is acknowledged before it is on disk.
    """

    def __init__(
        self,
        folder: Path,
        make: Callable[[int], list[Any]],
        seed: int,
        sink: RowSink,
        *,
        apart: bool = False,
        from_memory: bool = False,
    ) -> None:
        self.sink = sink
        self.kills = self.mid_work = 0
        self.hits: Counter[str] = Counter()
        self._rng = random.Random(seed)
        self._feed = Feed(folder / "ledger.txt", make)
        self._spool = folder / "spool"
        self._faults = {"apart": apart, "from_memory": from_memory}
        self._torn = self._kept = 0
        self._puts_cut = self._seen_cut = self._requests_cut = self._connections = 0
        self._listed: set[Key] = set()
        self._lock = threading.RLock()
        self._gone = threading.Condition(self._lock)
        path = str(folder / "s")
        self._server = socket.socket(socket.AF_UNIX)
        self._server.bind(path)
        self._server.listen(32)
        self._zygote = subprocess.Popen(
            [sys.executable, __file__, path, str(self._spool)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        self._threads = [threading.Thread(target=self._accept, daemon=True)]
        self._threads[0].start()

    # Each connection of a victim says what it is for.
    def _accept(self) -> None:
        while True:
            try:
                connection, _ = self._server.accept()
            except OSError:
                return
            threading.Thread(target=self._serve, args=(connection,), daemon=True).start()

    def _serve(self, connection: socket.socket) -> None:
        with self._lock:
            self._connections += 1
        try:
            with connection, contextlib.suppress(OSError):
                if receive(connection) == "sink":
                    self._sink_request(connection)
                else:
                    self._producer(connection)
        finally:
            with self._gone:
                self._connections -= 1
                self._gone.notify_all()

    def _sink_request(self, connection: socket.socket) -> None:
        answer = self.sink.answer(receive(connection))
        try:
            send(connection, answer)
        except OSError:
            with self._lock:
                self._requests_cut += 1

    def _producer(self, connection: socket.socket) -> None:
        while (put := self._feed.take()) is not None:
            try:
                send(connection, put)
                answer = receive(connection)
            except OSError:
                with self._lock:
                    self._puts_cut += 1
                self._feed.give_back(put)
                raise
            if answer == "ok":
                self._feed.note(put)
            else:
                self._feed.give_back(put)
        send(connection, None)

    # -- lives --

    def life(self, crash_at: str | None = None, nth: int = 1) -> int:
        """Start a victim; gives its pid."""
        assert self._zygote.stdin is not None
        assert self._zygote.stdout is not None
        order = {"crash_at": crash_at, "nth": nth, "seed": self._rng.randrange(2**31)}
        order.update(self._faults)
        self._zygote.stdin.write(json.dumps(order) + "\n")
        self._zygote.stdin.flush()
        return int(self._zygote.stdout.readline())

    def ended(self) -> int:
        """Wait for the victim's end; gives its exit status as ``waitpid`` does."""
        assert self._zygote.stdout is not None
        return int(self._zygote.stdout.readline())

    def crash(self, point: str, nth: int | None = None) -> None:
        """Let a life end at a labelled point, at one of the first visits or at a certain one."""
        self.life(point, nth or self._rng.randint(1, 4))
        status = self.ended()
        assert os.waitstatus_to_exitcode(status) == -signal.SIGKILL, f"{point}: {status}"
        self.kills += 1
        self.hits[point] += 1
        self._look()

    def kill(self) -> None:
        """Let a life be ended from outside at a moment it does not choose."""
        pid = self.life()
        time.sleep(self._rng.uniform(0.03, 0.12))
        os.kill(pid, signal.SIGKILL)
        status = self.ended()
        assert os.WTERMSIG(status) == signal.SIGKILL
        self.kills += 1
        self.hits["random"] += 1
        self._look()

    def finish(self) -> Outcome:
        """Let the last life send everything, then compare ledger and sink."""
        self._feed.stop()
        self.life(nth=0)
        status = self.ended()
        assert os.waitstatus_to_exitcode(status) == 0, status
        found = self._feed.compare(self.sink.keys())
        self._look()
        return Outcome(
            self.kills,
            found.acknowledged,
            len(found.lost),
            len(found.doubled),
            len(found.unexpected),
            self.hits,
            self._kept,
            self._torn + len(self._feed.acknowledged() - self._listed),
            found.recovered,
            self.mid_work,
            self._puts_cut,
            self._requests_cut,
        )

    def _look(self) -> None:
        """Hold the checkpoints in the spool of a life that has ended against the rows there."""
        with self._gone:
            assert self._gone.wait_for(lambda: not self._connections, 30)
            in_flight = self._puts_cut - self._seen_cut
            self._seen_cut = self._puts_cut
        with closing(sqlite3.connect(f"file:{self._spool}/spool.db?mode=ro", uri=True)) as db:
            rows = {row.id.hex() for row in lying_rows(db)}
            kept = [json.loads(blob) for (blob,) in db.execute("select blob from checkpoints")]
            waiting = waiting_count(db)
        self.mid_work += in_flight > 0 and waiting > 0
        self._kept = len(kept)
        self._listed = {(table, number) for blob in kept for table, number, _ in blob}
        self._torn += sum(row_id not in rows for blob in kept for _, _, row_id in blob)

    def close(self) -> None:
        self._server.close()
        assert self._zygote.stdin is not None
        assert self._zygote.stdout is not None
        self._zygote.stdin.close()
        self._zygote.wait(10)
        self._zygote.stdout.close()


# -- zygote and victim --------------------------------------------------------------------


def _zygote(path: str, folder: str) -> None:
    import storage.service  # noqa: F401  # imported once, before any fork

    for line in sys.stdin:
        order = json.loads(line)
        pid = os.fork()
        if pid == 0:
            try:
                _victim(path, Path(folder), order)
            except BaseException as exc:  # noqa: BLE001
                print(f"victim: {exc!r}", file=sys.stderr)
                os._exit(1)
            os._exit(0)
        print(pid, flush=True)
        print(os.waitpid(pid, 0)[1], flush=True)


class _CrashAt:
    """Ends the process at the n-th visit of a labelled point."""

    def __init__(self, point: str | None, nth: int, seed: int) -> None:
        self._point = point
        self._left = nth
        self._rng = random.Random(seed)

    def __call__(self, name: str) -> None:
        if name != self._point:
            return
        self._left -= 1
        if self._left:
            return
        if name == "mid_checkpoint":
            # SQLite gives no way in: another thread ends the process while it is at work.
            delay = self._rng.uniform(0, 0.004)
            threading.Thread(target=lambda: (time.sleep(delay), _die())).start()
            return
        _die()


def _die() -> None:
    os.kill(os.getpid(), signal.SIGKILL)


def _victim(path: str, folder: Path, order: dict[str, Any]) -> None:
    import asyncio

    from schema.rows import Record
    from storage.lane import DrainSettings
    from storage.memory import MemoryStore
    from storage.ports import Checkpoint
    from storage.service import StorageService
    from storage.spool_file import SpoolSettings
    from storage.verdicts import judge, store_error

    crash_point = _CrashAt(order["crash_at"], order["nth"], order["seed"])

    class SinkStore(MemoryStore):
        """Sends to the sink of the test process."""

        async def ingest(self, batch: Mapping[str, Sequence[bytes]]) -> Mapping[str, int]:
            answer = await asyncio.to_thread(self._ask, batch)
            crash_point("after_send_before_response")
            if "error" in answer:
                code = answer["error"]
                raise store_error(judge(code, None, ""), "said the sink", code=code)
            counts: dict[str, int] = answer["counts"]
            return counts

        @staticmethod
        def _ask(batch: Mapping[str, Sequence[bytes]]) -> dict[str, Any]:
            with socket.socket(socket.AF_UNIX) as connection:
                connection.connect(path)
                send(connection, "sink")
                send(connection, dict(batch))
                answer: dict[str, Any] = receive(connection)
                return answer

    class Hasty:
        """Real time, but with little patience, as the sink is never down for long."""

        def __init__(self) -> None:
            from storage.system_clock import SystemClock

            self._real = SystemClock()
            self.now = self._real.now
            self.monotonic_s = self._real.monotonic_s

        async def sleep(self, seconds: float) -> None:
            await asyncio.sleep(min(seconds, 0.005))

    service = StorageService(
        folder,
        SinkStore(),
        clock=Hasty(),
        seed=order["seed"],
        # The three logs of a put are a chunk in one life, and single rows in another.
        spool=SpoolSettings(ballast_bytes=0, lock_wait_s=5.0, chunk_rows=3 + order["seed"] % 2),
        drain=DrainSettings(batch_rows=40, start_rows=40, settle_rows=25),
        crash_point=crash_point,
    ).open()

    def produce() -> None:
        with socket.socket(socket.AF_UNIX) as connection:
            connection.connect(path)
            send(connection, "put")
            while (told := receive(connection)) is not None:
                number, batch = told
                rows = [Record(*record) for record in batch]
                listed = [(*key_of(record), record.id.replace("-", "")) for record in rows]
                run_id = json.loads(rows[0].body)["run_id"]
                blob = json.dumps(listed).encode()
                checkpoint = Checkpoint(run_id, f"put-{number}", 1, blob)
                if order["apart"]:
                    service.put_blocking([], checkpoint=checkpoint)
                if order["from_memory"]:
                    service._submit_put(rows, checkpoint)
                else:
                    service.put_blocking(rows, checkpoint=checkpoint)
                send(connection, "ok")

    producers = [threading.Thread(target=produce, daemon=True) for _ in range(PRODUCERS)]
    for producer in producers:
        producer.start()
    for producer in producers:
        producer.join()
    asyncio.run(service.barrier(30))
    service.close()


if __name__ == "__main__":
    _zygote(sys.argv[1], sys.argv[2])
