"""Ray's raylet, its GCS, everything at once, and the storage actor die by SIGKILL in mid-work.

A kill counts only when rows waited in the spool and a put was in flight. The ledger is written by
the test's process, which nobody kills, and the rows are counted in SQL by natural key; the
constraint that would refuse a doubled one is taken away.
"""

from __future__ import annotations

import os
import signal
import time
import uuid
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path

import psycopg
import pytest
from chaos_table import Tally
from embedded_fixtures import EmbeddedServer, serve
from feeding import Found, Key
from process_kit import Launched
from ray_lives import END_WITHIN_S, Kills, Lives, everything, program
from replay_world import make_home

from storage.embedded.supervisor import Migrate

pytestmark = [
    pytest.mark.chaos,
    pytest.mark.xdist_group("ray"),
    pytest.mark.long,
    pytest.mark.ray,
    pytest.mark.embedded,
    pytest.mark.timeout(1200),
]

#: A life of Ray takes seconds, so of all trials there is one in so many.
SHARE = 50
TABLES = ("api_logs", "agent_negotiations")

MakeLives = Callable[[], Lives]


@pytest.fixture(scope="module")
def server(
    tmp_path_factory: pytest.TempPathFactory, migrate_hook: Migrate
) -> Iterator[EmbeddedServer]:
    """Give a Supabase of this module's own, which takes doubled rows."""
    for found in serve(tmp_path_factory.mktemp("own-supabase"), migrate_hook):
        with closing(psycopg.connect(_url(found), autocommit=True)) as connection:
            for table in TABLES:
                connection.execute(f"alter table {table} drop constraint {table}_key")
        yield found


@pytest.fixture
def run_id() -> str:
    return str(uuid.uuid4())


@pytest.fixture
def lives(server: EmbeddedServer, tmp_path: Path, run_id: str) -> Iterator[Lives]:
    home = make_home(tmp_path / "home")
    with closing(Lives(tmp_path, home, server.endpoint.state_file, run_id)) as made:
        yield made


@pytest.mark.parametrize(
    ("victim", "kill", "code"),
    [
        ("raylet", program("/raylet/raylet "), 1),
        ("GCS", program("/gcs/gcs_server "), 1),
        ("all processes at once", everything, -signal.SIGKILL),
    ],
    ids=["raylet", "gcs", "all"],
)
def test_what_was_acknowledged_outlives_ray(
    lives: Lives,
    server: EmbeddedServer,
    run_id: str,
    trials: int,
    tally: Tally,
    victim: str,
    kill: Callable[[Launched], None],
    code: int,
) -> None:
    runs = max(1, trials // SHARE)
    all_kills = Kills()
    for _ in range(runs):
        kills = lives.end_by(kill, code)
        all_kills.waiting += kills.waiting
        all_kills.in_flight += kills.in_flight
        all_kills.seconds += kills.seconds
        all_kills.faults += kills.faults[:1]
    _tell(lives, server, run_id, tally, f"2: kill -9 of {victim} in mid-work", all_kills)


def test_what_was_acknowledged_outlives_the_storage_actor(
    lives: Lives, server: EmbeddedServer, run_id: str, trials: int, tally: Tally
) -> None:
    runs = max(1, trials // SHARE)
    kills = Kills()
    launched = lives.life()
    for _ in range(runs):
        lives.until_at_work(launched, kills)
        before = launched.actors("StorageActor")
        began = time.monotonic()
        for pid in before:
            os.kill(pid, signal.SIGKILL)
        launched.until(
            "another storage actor",
            lambda old=before: set(launched.actors("StorageActor")) - set(old),
        )
        acknowledged = lives.feed.acknowledged_puts
        launched.until("puts again", lambda n=acknowledged: lives.feed.acknowledged_puts > n)
        kills.seconds.append(time.monotonic() - began)
        if len(before) != 1:
            kills.faults.append(f"{len(before)} storage actors")
    lives.feed.stop()
    finished = launched.wait(2 * END_WITHIN_S)
    if finished.code != 0:
        kills.faults.append(finished.err[-2000:])
    promise = "1: kill -9 of the storage actor on Ray in mid-work"
    _tell(lives, server, run_id, tally, promise, kills)


def test_a_lost_and_a_doubled_row_are_seen(
    lives: Lives, server: EmbeddedServer, run_id: str, tally: Tally
) -> None:
    kills = Kills()
    launched = lives.life()
    lives.until_at_work(launched, kills)
    lives.feed.stop()
    assert launched.wait(120).code == 0
    assert _compared(lives, server, run_id).faults == []
    with closing(psycopg.connect(_url(server), autocommit=True)) as connection:
        connection.execute("delete from api_logs where run_id = %s and sequence = 0", [run_id])
        connection.execute(
            "create temporary table one as select * from api_logs where run_id = %s"
            " and sequence = 1",
            [run_id],
        )
        connection.execute("update one set id = gen_random_uuid()")
        connection.execute("insert into api_logs select * from one")
    found = _compared(lives, server, run_id)
    seen = (found.lost, found.doubled) == ([("api_logs", 0)], [("api_logs", 1)])
    tally(
        "one row removed and one doubled by hand, rows put through Ray",
        1,
        [] if seen else ["not seen"],
        control=True,
    )


def _tell(
    lives: Lives, server: EmbeddedServer, run_id: str, tally: Tally, promise: str, kills: Kills
) -> None:
    """Let all that waits be sent, count, and note the line."""
    finished = lives.finish()
    if finished.code != 0:
        kills.faults.append(f"the last life: {finished.err[-2000:]}")
    found = _compared(lives, server, run_id)
    # What was given out while it died may have arrived all the same, and no more than that.
    assert found.recovered <= 5 * sum(kills.in_flight)
    assert min(kills.waiting) > 0
    assert min(kills.in_flight) > 0
    tally(
        f"{promise}, nothing lost or doubled",
        len(kills.seconds),
        [*kills.faults, *found.faults],
        note=f"{kills.told}; rows acknowledged {found.acknowledged:,}, lost {len(found.lost)}, "
        f"doubled {len(found.doubled)}, unexpected {len(found.unexpected)}",
    )


def _compared(lives: Lives, server: EmbeddedServer, run_id: str) -> Found:
    counts: Counter[Key] = Counter()
    with closing(psycopg.connect(_url(server))) as connection:
        for table in TABLES:
            rows = connection.execute(
                f"select sequence, count(*) from {table} where run_id = %s group by sequence",
                [run_id],
            )
            counts.update({(table, number): count for number, count in rows})
    return lives.feed.compare(counts)


def _url(server: EmbeddedServer) -> str:
    url = server.endpoint.database_url
    assert url is not None
    return url
