"""PostgreSQL on a real small disk that others fill: rows wait in the spool, and none is lost."""

from __future__ import annotations

import shutil
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import closing
from dataclasses import dataclass
from typing import Any

import psycopg
import pytest
import storage_samples as samples
from embedded_fixtures import PACKAGES
from small_disks import Kind, Others, small_disk

from schema.errors import StorageUnavailable
from storage.embedded.supervisor import EmbeddedSupabase, Migrate
from storage.home import database_folder
from storage.service import StorageService
from storage.supabase_store import SupabaseStore

pytestmark = [pytest.mark.embedded, pytest.mark.long, pytest.mark.timeout(400)]

DISK_BYTES = 256 * 1024 * 1024
LEFT_BYTES = 2 * 1024 * 1024
PUT_ROWS = 200
MOST_PUTS = 400
PUTS_WHILE_FULL = 10
DRAIN_TIMEOUT_S = 120.0


@dataclass(frozen=True)
class Filled:
    acknowledged: int
    waiting: int
    told: str
    while_full: int
    dead: int
    left: int
    stored: Counter[int]
    """How often each number is in the database."""
    recovered_s: float


@pytest.fixture(scope="module")
def filled(tmp_path_factory: pytest.TempPathFactory, migrate_hook: Migrate) -> Iterator[Filled]:
    folder = tmp_path_factory.mktemp("small")
    home = folder / "home"
    data = database_folder(home)
    try:
        with (
            small_disk(Kind.TMPFS, data, DISK_BYTES) as disk,
            EmbeddedSupabase(home, migrate_hook, packages=PACKAGES) as supabase,
        ):
            endpoint = supabase.start()
            store = SupabaseStore(endpoint.url, endpoint.secret_key)
            with StorageService(folder / "spool", store) as service:
                yield _fill(service, Others(disk), str(endpoint.database_url))
    finally:
        shutil.rmtree(data, ignore_errors=True)


def _fill(service: StorageService, others: Others, url: str) -> Filled:
    taken = 0

    def put() -> None:
        nonlocal taken
        records = [samples.log(taken + n, error="x" * 500) for n in range(PUT_ROWS)]
        service.put_blocking(records, 30)
        taken += PUT_ROWS

    def status() -> dict[str, Any]:
        return service._loop.submit(service.status()).result(30)

    service.put_blocking([samples.run_record()], 30)
    put()
    service._loop.submit(service.barrier(60)).result(60)
    others.fill(leave=LEFT_BYTES)
    for _ in range(MOST_PUTS):
        put()
        others.fill()
        if status()["lanes"]["facts"] == "waiting":
            break
        time.sleep(0.2)
    before = taken
    for _ in range(PUTS_WHILE_FULL):
        put()
    seen = status()
    with pytest.raises(StorageUnavailable) as told:
        service._loop.submit(service.barrier(1)).result(10)
    others.leave()
    freed = time.monotonic()
    service._loop.submit(service.barrier(DRAIN_TIMEOUT_S)).result(DRAIN_TIMEOUT_S + 10)
    recovered_s = time.monotonic() - freed
    after = status()
    with closing(psycopg.connect(url)) as connection:
        found = connection.execute(
            "select sequence from public.api_logs where run_id = %s", [samples.RUN]
        ).fetchall()
    return Filled(
        acknowledged=taken,
        waiting=int(seen["depth"]),
        told=told.value.message,
        while_full=taken - before,
        dead=int(after["dead"]),
        left=int(after["depth"]),
        stored=Counter(number for (number,) in found),
        recovered_s=recovered_s,
    )


def test_rows_are_taken_while_the_database_is_full(filled: Filled) -> None:
    assert filled.while_full == PUTS_WHILE_FULL * PUT_ROWS
    assert filled.waiting >= filled.while_full


def test_it_is_said_what_is_wrong(filled: Filled) -> None:
    # PostgreSQL's own code for a full disk, and its words.
    assert "[53100]" in filled.told
    assert "No space left on device" in filled.told
    assert "safe in the spool" in filled.told


def test_once_there_is_room_everything_arrives_once(
    filled: Filled, capsys: pytest.CaptureFixture[str]
) -> None:
    assert (filled.dead, filled.left) == (0, 0)
    assert filled.stored == Counter(range(filled.acknowledged))
    with capsys.disabled():
        print(f"\n{filled.acknowledged:,} rows, {filled.waiting:,} of them while it was full, all")
        print(f"stored once {filled.recovered_s:.0f} s after there was room")
