"""The database and its API die by SIGKILL under load; rows wait for them, and none is lost.

Storage is at work in the test's process, over the embedded Supabase and its real API. A kill counts
only when rows waited in the spool and the database was carrying out a request of the API. Rows are
counted in SQL by natural key, without the constraint that would refuse a doubled one.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import threading
import time
import uuid
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import closing
from dataclasses import dataclass, field
from pathlib import Path

import psycopg
import pytest
from chaos_table import Tally
from embedded_fixtures import EmbeddedServer, serve
from feeding import Feed, Found, Key
from storage_samples import log, message, run_record

from storage.embedded import restarts
from storage.embedded.supervisor import Migrate
from storage.lane import DrainSettings
from storage.service import StorageService
from storage.spool_file import SpoolSettings
from storage.supabase_store import from_state_file
from storage.system_clock import SystemClock

pytestmark = [
    pytest.mark.chaos,
    pytest.mark.xdist_group("database-kills"),
    pytest.mark.long,
    pytest.mark.embedded,
    pytest.mark.timeout(1200),
]

#: What was killed needs a second or two to be back, so of all trials there is one in so many.
SHARE = 50
TABLES = ("api_logs", "agent_negotiations")
PRODUCERS = 3
#: Between two puts of a producer.
PAUSE_S = 0.02
BACK_WITHIN_S = 60.0
#: Of what ends often its keeper waits longer and longer, up to 10 s; here every end is meant.
LONGEST_DELAY_S = 0.4
#: After a failure it is tried again within 10 s, or a minute while all fail; here within this.
LONGEST_WAIT_S = 0.5
#: Requests of the API that bring rows, and nobody else's.
BUSY = (
    "select pid from pg_stat_activity where usename = 'authenticator' and state = 'active'"
    " and query ilike '%ingest%'"
)


class Hasty(SystemClock):
    """Real time, with less patience."""

    async def sleep(self, seconds: float) -> None:
        await super().sleep(min(seconds, LONGEST_WAIT_S))


@pytest.fixture
def server(
    tmp_path_factory: pytest.TempPathFactory,
    migrate_hook: Migrate,
    monkeypatch: pytest.MonkeyPatch,
) -> Iterator[EmbeddedServer]:
    """Give a Supabase of the test's own, which takes doubled rows."""
    monkeypatch.setattr(restarts, "_LONGEST_DELAY_S", LONGEST_DELAY_S)
    for found in serve(tmp_path_factory.mktemp("own-supabase"), migrate_hook):
        with closing(psycopg.connect(url_of(found), autocommit=True)) as connection:
            for table in TABLES:
                connection.execute(f"alter table {table} drop constraint {table}_key")
        yield found


def postmaster(server: EmbeddedServer, _: int) -> int | None:
    return server.supervisor.health().postgres_pid


def backend(_: EmbeddedServer, busy: int) -> int | None:
    return busy


def rest(server: EmbeddedServer, _: int) -> int | None:
    return server.supervisor.health().api_pid


@dataclass
class Load:
    """Producers over one storage service, and what was so at the kills."""

    server: EmbeddedServer
    folder: Path
    run_id: str = field(default_factory=lambda: str(uuid.uuid4()))
    waiting: list[int] = field(default_factory=list)
    seconds: list[float] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.feed = Feed(self.folder / "ledger.txt", self._rows)
        self.service = StorageService(
            self.folder / "spool",
            from_state_file(str(self.server.endpoint.state_file)),
            clock=Hasty(),
            # Logs go by columns, messages by rows.
            spool=SpoolSettings(ballast_bytes=0, chunk_rows=3),
            drain=DrainSettings(batch_rows=100, start_rows=50),
        ).open()
        self.service.put_blocking([run_record(self.run_id)])
        self._producers = [
            threading.Thread(target=self._produce, daemon=True) for _ in range(PRODUCERS)
        ]
        for producer in self._producers:
            producer.start()

    def kill(self, victim: Callable[[EmbeddedServer, int], int | None]) -> None:
        """Kill in the midst of a request, and wait until rows are sent again."""
        pid, waiting = self._at_work(victim)
        began = time.monotonic()
        os.kill(pid, signal.SIGKILL)
        self.waiting.append(waiting)
        # Of the dead one's last moments nothing may count as the next one's work.
        time.sleep(0.05)
        before = self._sent()
        while self._sent() <= before or not self.server.supervisor.health().serving:
            assert time.monotonic() - began < BACK_WITHIN_S, self.server.supervisor.health()
            time.sleep(0.02)
        self.seconds.append(time.monotonic() - began)

    def _at_work(self, victim: Callable[[EmbeddedServer, int], int | None]) -> tuple[int, int]:
        deadline = time.monotonic() + BACK_WITHIN_S
        while time.monotonic() < deadline:
            with (
                contextlib.suppress(psycopg.OperationalError),
                closing(psycopg.connect(url_of(self.server), autocommit=True)) as connection,
            ):
                while time.monotonic() < deadline:
                    busy = connection.execute(BUSY).fetchone()
                    waiting = self._depth()
                    pid = None if busy is None else victim(self.server, busy[0])
                    if pid is not None and waiting:
                        return pid, waiting
            time.sleep(0.05)
        raise AssertionError("no row waited, or the database was never at work")

    def finish(self) -> Found:
        """Send what waits, and count."""
        self.feed.stop()
        for producer in self._producers:
            producer.join()
        asyncio.run(self.service.barrier(BACK_WITHIN_S))
        self.service.close()
        counts: Counter[Key] = Counter()
        with closing(psycopg.connect(url_of(self.server))) as connection:
            for table in TABLES:
                rows = connection.execute(
                    f"select sequence, count(*) from {table} where run_id = %s group by sequence",
                    [self.run_id],
                )
                counts.update({(table, number): count for number, count in rows})
        return self.feed.compare(counts)

    def _produce(self) -> None:
        while (put := self.feed.take()) is not None:
            self.service.put_blocking(put[1])
            self.feed.note(put)
            time.sleep(PAUSE_S)

    def _rows(self, number: int) -> list[object]:
        logs = [log(number * 3 + n, self.run_id) for n in range(3)]
        return [*logs, *(message(number * 2 + n, self.run_id) for n in range(2))]

    def _depth(self) -> int:
        """Give how many rows wait."""
        depth = asyncio.run(self.service.status())["depth"]
        assert isinstance(depth, int)
        return depth

    def _sent(self) -> int:
        """Give how many rows were confirmed by the database; a put is five rows."""
        acknowledged = 5 * self.feed.acknowledged_puts
        return acknowledged - self._depth()


@pytest.mark.parametrize(
    ("name", "victim"),
    [
        ("PostgreSQL's postmaster", postmaster),
        ("a backend of PostgreSQL", backend),
        ("the REST server", rest),
    ],
    ids=["postmaster", "backend", "rest"],
)
def test_rows_wait_for_what_was_killed(
    server: EmbeddedServer,
    tmp_path: Path,
    trials: int,
    tally: Tally,
    name: str,
    victim: Callable[[EmbeddedServer, int], int | None],
) -> None:
    runs = max(1, trials // SHARE)
    load = Load(server, tmp_path)
    for _ in range(runs):
        load.kill(victim)
    found = load.finish()
    # Nobody that puts rows has been killed.
    assert found.recovered == 0
    tally(
        f"4: kill -9 of {name} during a request, nothing lost or doubled",
        runs,
        found.faults,
        note=f"at the kills {min(load.waiting):,} to {max(load.waiting):,} rows waited; sent again "
        f"after {max(load.seconds):.1f} s at most; rows acknowledged {found.acknowledged:,}, lost "
        f"{len(found.lost)}, doubled {len(found.doubled)}, unexpected {len(found.unexpected)}",
    )


def url_of(server: EmbeddedServer) -> str:
    url = server.endpoint.database_url
    assert url is not None
    return url
