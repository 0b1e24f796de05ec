"""Sending chunks on: whole while all is well, by rows when something is not."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
from storage_samples import (
    START,
    BadRows,
    FirstCalls,
    ScriptedStore,
    log,
    message,
    refusal,
    run_record,
)

from schema.clock import VirtualClock
from schema.errors import ConstraintViolated
from schema.rows import Record
from storage import lane
from storage.lane import DrainSettings
from storage.service import StorageService
from storage.spool_file import SpoolSettings
from storage.verdicts import Verdict

SETTINGS = SpoolSettings(ballast_bytes=0, chunk_rows=10, chunk_most_rows=100)


class ColumnsStore(ScriptedStore):
    """Notes how many rows each request by columns had; ``requests`` has both kinds."""

    def __init__(self, *args: Any) -> None:
        super().__init__(*args)
        self.whole: list[int] = []

    async def ingest_columns(self, parts: Sequence[bytes]) -> Mapping[str, int]:
        counts = await super().ingest_columns(parts)
        self.whole.append(sum(counts.values()))
        return counts


@asynccontextmanager
async def serving(
    folder: Path, store: ScriptedStore, spool: SpoolSettings = SETTINGS, **drain: Any
) -> AsyncIterator[StorageService]:
    service = StorageService(
        folder, store, clock=VirtualClock(START), spool=spool, drain=DrainSettings(**drain)
    )
    service.open()
    try:
        await service.put([run_record()])
        await service.barrier(10)
        store.requests.clear()
        yield service
    finally:
        service.close()


def logs(first: int, count: int) -> list[Record]:
    return [log(number) for number in range(first, first + count)]


def sizes(store: ScriptedStore) -> list[int]:
    return [len(request["api_logs"]) for request in store.requests if "api_logs" in request]


async def test_a_chunk_is_one_request_and_what_was_stored_is_not_sent_again(tmp_path: Path) -> None:
    store = ColumnsStore()
    async with serving(tmp_path, store) as service:
        await service.put([*logs(0, 80), message(1)])
        status = await service.barrier(10)
        assert (status.depth, status.sent["api_logs"]) == (0, 80)
        assert (await service.put(logs(0, 80))).known == 80
        await service.barrier(10)
    assert (store.whole, sizes(store)) == ([80], [80])
    async with serving(tmp_path, store) as service:
        assert (await service.put(logs(0, 80))).known == 80
        assert (await service.barrier(10)).depth == 0
    assert store.whole == [80]


async def test_what_waits_when_the_process_ends_is_sent_by_the_next(tmp_path: Path) -> None:
    def down(_: object) -> None:
        raise refusal(Verdict.RETRY, "57P01")

    store = ColumnsStore(down)
    service = StorageService(tmp_path, store, spool=SETTINGS).open()
    await service.put([run_record(), *logs(0, 250)])
    service.close()
    store.before = None
    async with serving(tmp_path, store) as service:
        await service.barrier(10)
    assert len(store.ids("api_logs")) == 250
    assert sum(store.whole) == 250


async def test_rows_between_chunks_are_not_passed_over(tmp_path: Path) -> None:
    store = ColumnsStore()
    async with serving(tmp_path, store, in_flight=1) as service:
        for first in (0, 100, 200):
            await service.put(logs(first, 3))
            await service.put(logs(first + 10, 20))
        assert (await service.barrier(10)).depth == 0
    assert len(store.ids("api_logs")) == 69
    assert sum(store.whole) == 60


async def test_a_lost_answer_is_sent_again_without_harm(tmp_path: Path) -> None:
    store = ColumnsStore()
    async with serving(tmp_path, store) as service:
        store.after = FirstCalls(refusal(Verdict.RETRY, "502"))
        await service.put(logs(0, 50))
        await service.barrier(10)
    # The second time nothing is new.
    assert (sizes(store), store.whole) == ([50, 50], [0])
    assert len(store.ids("api_logs")) == 50


async def test_one_bad_row_in_one_of_two_chunks_is_put_aside_alone(tmp_path: Path) -> None:
    rows = logs(0, 128)
    bad = rows[70]
    store = ColumnsStore(BadRows({bad.id}))
    settings = SpoolSettings(ballast_bytes=0, chunk_rows=10, chunk_most_rows=64)
    async with serving(tmp_path, store, settings) as service:
        await service.put(rows)
        status = await service.barrier(10)
        (dead,) = await service.dead_rows()
    assert (dead.id, dead.sqlstate, dead.seq) == (bad.id, "23514", 72)
    assert dead.body is not None
    assert (status.dead, len(store.ids("api_logs"))) == (1, 127)
    # Both chunks together, then the first, then the second; its rows are halved down from 64:
    # two requests on each of 6 levels.
    assert sizes(store)[:3] == [128, 64, 64]
    assert len(store.requests) == 3 + 2 * 6


async def test_too_much_poison_in_a_chunk_stops_the_lane_and_buries_nothing(
    tmp_path: Path,
) -> None:
    rows = logs(0, 100)
    bad = BadRows({row.id for row in rows[::2]})
    store = ColumnsStore(bad)
    async with serving(tmp_path, store) as service:
        await service.put(rows)
        with pytest.raises(ConstraintViolated, match="of a batch of 100 rows"):
            await service.barrier(10)
        assert (await service.status())["dead"] == 0
        bad.ids = set()
        assert (await service.barrier(10)).depth == 0
    assert len(store.ids("api_logs")) == 100


async def test_a_timeout_sends_a_chunk_in_halves_and_later_ones_by_smaller_requests(
    tmp_path: Path,
) -> None:
    def too_large(batch: Mapping[str, Sequence[bytes]]) -> None:
        if len(batch.get("api_logs", ())) > 40:
            raise refusal(Verdict.SHRINK, "57014")

    store = ColumnsStore(too_large)
    async with serving(tmp_path, store, in_flight=1, start_rows=100, quick_s=-1.0) as service:
        await service.put(logs(0, 80))
        await service.barrier(10)
        assert sizes(store) == [80, 40, 40]
        store.requests.clear()
        # Requests have 40 rows now: a chunk of 30 goes whole, one of 60 does not.
        await service.put(logs(100, 30))
        await service.barrier(10)
        await service.put(logs(200, 60))
        await service.barrier(10)
    assert (sizes(store), store.whole) == ([30, 40, 20], [30])


async def test_chunks_beyond_the_size_of_requests_go_by_rows(tmp_path: Path) -> None:
    def down(_: object) -> None:
        raise refusal(Verdict.RETRY, "57P01")

    store = ColumnsStore(down)
    service = StorageService(tmp_path, store, spool=SETTINGS).open()
    await service.put([run_record()])
    for first, count in ((0, 50), (100, 50), (200, 1)):
        await service.put(logs(first, count))
    service.close()
    store.before = None
    async with serving(tmp_path, store, batch_bytes=2000) as service:
        assert (await service.barrier(10)).depth == 0
    assert (store.whole, len(store.ids("api_logs"))) == ([], 101)


async def test_a_chunk_of_an_earlier_release_goes_by_rows(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # To this drain a chunk of today is one of an earlier form.
    monkeypatch.setattr(lane, "SCHEMA_VERSION", 2)
    store = ColumnsStore()
    async with serving(tmp_path, store) as service:
        await service.put(logs(0, 50))
        assert (await service.barrier(10)).depth == 0
    assert (store.whole, len(store.ids("api_logs"))) == ([], 50)
