"""The service as its users see it: restart, runs, clocks, status; and the client's retries."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path

import orjson
import pytest
from storage_samples import (
    HALF_HOUR,
    OTHER_RUN,
    RUN,
    START,
    ScriptedStore,
    agent,
    log,
    message,
    national,
    offer,
    price,
    regional,
    run_record,
    run_row,
    window,
    zone,
)

from schema.clock import VirtualClock
from schema.errors import AgentUnavailable, RecordConflict, SpoolFull, StorageError
from schema.rows import Record
from schema.rows.system import RunState
from storage.client import PUT_ROWS, StorageClient, pack, retry_delay, unpack
from storage.last_word import leave_run
from storage.memory import MemoryStore
from storage.ports import Checkpoint, PutAck
from storage.service import StorageService
from storage.spool_file import SpoolSettings

QUIET = SpoolSettings(ballast_bytes=0)


def service(folder: Path, store: MemoryStore | None = None) -> StorageService:
    return StorageService(folder, store or MemoryStore(), clock=VirtualClock(START), spool=QUIET)


GRID = [
    zone("zone-1", 13),
    window("w", START),
    offer("w", START, "o", 0.2),
    national(START, 200.0),
    *(regional(r, START + i * HALF_HOUR, r + i) for r in range(1, 15) for i in range(10)),
    price(START - timedelta(days=1), 44.0),
]


async def test_a_restarted_service_has_the_same_grid_state_at_once(tmp_path: Path) -> None:
    first = service(tmp_path).open()
    await first.put_run(RUN, run_row())
    await first.put(GRID)
    await first.put([regional(1, START, 500.0, version=9)])
    before = first.grid_state()
    await first.stop()

    again = service(tmp_path).open()
    after = again.grid_state()
    assert after.digest() == before.digest()
    assert (after.version, after.run_id, after.as_of) == (before.version, RUN, START)
    # A producer that did not hear the acknowledgement puts again: nothing changes.
    assert (await again.put(GRID)).known == len(GRID)
    assert again.grid_state() is after
    await again.stop()


async def test_the_grid_state_shows_every_acknowledged_row(tmp_path: Path) -> None:
    with service(tmp_path) as storage:
        await storage.put_run(RUN, run_row())
        for n in range(20):
            await storage.put([regional(1, START, float(n), version=n)])
            assert storage.grid_state().intensity_gco2_per_kwh[0, 0] == n


async def test_the_last_word_of_a_run_goes_with_the_next_who_opens_its_spool(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    store = MemoryStore()
    with service(tmp_path, store) as storage:
        await storage.put_run(RUN, run_row())
    failed = run_row().model_copy(update={"state": RunState.FAILED, "clock_at": None})
    leave_run(tmp_path, RUN, failed, VirtualClock(START + timedelta(minutes=1)))
    with service(tmp_path, store) as storage:
        await storage.barrier(10)
        row = store.tables["scenario_runs"][RUN]
        assert (row["state"], row["clock_at"]) == ("failed", "2026-05-01T10:00:00Z")
        # Somebody holds the spool: nothing is written, and the log says so.
        leave_run(tmp_path, RUN, run_row(), VirtualClock(START + timedelta(minutes=2)))
    assert "could not be marked running" in caplog.text


async def test_runs_do_not_see_each_other(tmp_path: Path) -> None:
    with service(tmp_path) as storage:
        await storage.put_run(RUN, run_row())
        await storage.put([regional(1, START, 100.0)])
        await storage.put_run(OTHER_RUN, run_row())
        await storage.put([regional(1, START, 50.0, run=OTHER_RUN)])
        # The run begun last is the one asked for by default.
        assert storage.grid_state().intensity_gco2_per_kwh[0, 0] == 50.0
        assert storage.grid_state(RUN).intensity_gco2_per_kwh[0, 0] == 100.0


async def test_the_runs_clock_is_the_grids_now_and_survives_a_restart(tmp_path: Path) -> None:
    store = MemoryStore()
    first = service(tmp_path, store).open()
    await first.put_run(RUN, run_row())
    assert (await first.set_clock_at(RUN, START + timedelta(hours=3))).accepted == 1
    assert (await first.set_clock_at(RUN, START + timedelta(hours=3))).known == 1
    assert first.grid_state().origin == START + timedelta(hours=3)
    await first.barrier(10)
    await first.stop()
    row = store.tables["scenario_runs"][RUN]
    # Two contents at 2026-05-01T10:00Z, 1777629600 seconds after 1970.
    assert (row["version"], row["clock_at"]) == (1777629601, "2026-05-01T13:00:00Z")
    again = service(tmp_path, store).open()
    assert again.grid_state().as_of == START + timedelta(hours=3)
    await again.stop()


async def test_storage_counts_the_versions_of_a_runs_row(tmp_path: Path) -> None:
    store = MemoryStore()
    with service(tmp_path, store) as storage:
        assert (await storage.put_run(RUN, run_row())).accepted == 1
        assert (await storage.put_run(RUN, run_row())).known == 1
        await storage.set_clock_at(RUN, START + HALF_HOUR)
        # A row without a clock leaves the clock where it stands.
        await storage.put_run(RUN, run_row(clock_at=None, state="done", digest="abc"))
        await storage.barrier(10)
    row = store.tables["scenario_runs"][RUN]
    # The third content of one second.
    assert (row["version"], row["state"], row["digest"]) == (1777629602, "done", "abc")
    assert row["clock_at"] == "2026-05-01T10:30:00Z"


async def test_a_run_goes_on_after_its_spool_was_lost_with_its_disk(tmp_path: Path) -> None:
    store = MemoryStore()
    with service(tmp_path / "first", store) as storage:
        await storage.put_run(RUN, run_row())
        for hours in range(1, 4):
            await storage.set_clock_at(RUN, START + timedelta(hours=hours))
        await storage.barrier(10)
    clock = VirtualClock(START + timedelta(hours=4))
    with StorageService(tmp_path / "second", store, clock=clock, spool=QUIET) as storage:
        await storage.put_run(RUN, run_row(clock_at=START + timedelta(hours=4)))
        await storage.barrier(10)
    assert store.tables["scenario_runs"][RUN]["clock_at"] == "2026-05-01T14:00:00Z"


async def test_the_clock_of_an_unknown_run_is_an_error(tmp_path: Path) -> None:
    with service(tmp_path) as storage:
        with pytest.raises(StorageError, match="put its row first"):
            await storage.set_clock_at(RUN, START)
        with pytest.raises(StorageError, match="no run has begun"):
            storage.grid_state()


async def test_prices_of_ten_days_ago_are_forgotten_as_the_clock_moves_on(tmp_path: Path) -> None:
    with service(tmp_path) as storage:
        await storage.put_run(RUN, run_row())
        await storage.put([price(START, 44.0), zone("z", 1)])
        await storage.set_clock_at(RUN, START + timedelta(days=7))
        assert storage.grid_state().price_gbp_per_mwh[0] == 44.0
        await storage.set_clock_at(RUN, START + timedelta(days=11))
        past = storage.grid_state(origin=START, as_of=START)
        assert past.price_quality[0] == 0


async def test_rows_of_the_last_life_are_sent_after_a_restart(tmp_path: Path) -> None:
    class Down(ScriptedStore):
        async def pause(self) -> None:
            await asyncio.Event().wait()

    first = service(tmp_path, Down()).open()
    await first.put([run_record(), agent("a"), *(log(n) for n in range(30))])
    await first.put([message(n) for n in range(30)])
    await first.stop()
    store = MemoryStore()
    with service(tmp_path, store) as storage:
        assert (await storage.barrier(10)).depth == 0
    assert len(store.tables["api_logs"]) == len(store.tables["agent_negotiations"]) == 30


async def test_status_is_plain_json(tmp_path: Path) -> None:
    with service(tmp_path) as storage:
        await storage.put([run_record(), agent("a")])
        await storage.put([log(1, run=OTHER_RUN)])
        with pytest.raises(RecordConflict):
            await storage.put([agent("a", node="n")])
        status = orjson.loads(orjson.dumps(await storage.status()))
    assert status["conflicts"] == 1
    assert status["oldest_unsent_s"] == 0
    assert set(status["lanes"]) == {"ordered", "facts"}
    assert 0 < status["fill"] < 0.01


async def test_reading_goes_to_the_store(tmp_path: Path) -> None:
    store = MemoryStore()
    with service(tmp_path, store) as storage:
        await storage.put([run_record(), agent("a")])
        await storage.barrier(10)
        (row,) = await storage.select("agents")
        assert row["agent_name"] == "a"
        assert await storage.count("agents") == 1
        await storage.refresh_views()
        assert store.refreshes == 1
        assert await storage.schema_version() > 0


def test_a_caller_without_an_event_loop_is_served(tmp_path: Path) -> None:
    with service(tmp_path) as storage:
        assert storage.put_blocking([run_record()]).accepted == 1
        assert StorageClient(storage).put_sync([run_record()]).known == 1
        asyncio.run(storage.barrier(10))


async def test_a_service_that_is_not_open_says_so(tmp_path: Path) -> None:
    storage = service(tmp_path)
    with pytest.raises(StorageError, match="call open"):
        await storage.put([log(1)])
    storage.open()
    await storage.stop()
    with pytest.raises(StorageError):
        await storage.put([log(1)])
    with pytest.raises(StorageError, match="nothing after stop"):
        await storage.barrier(1)


async def test_a_cancelled_put_harms_nobody(tmp_path: Path) -> None:
    with service(tmp_path) as storage:
        tasks = [asyncio.create_task(storage.put([log(n)])) for n in range(50)]
        await asyncio.sleep(0)
        for task in tasks[::2]:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        acks = [task.result() for task in tasks[1::2]]
        assert all(ack.accepted == 1 for ack in acks)
        assert (await storage.put([log(n) for n in range(50)])).known >= 25


# -- the client ---------------------------------------------------------------------------


class Scripted:
    """A backend that answers from a list."""

    def __init__(self, *answers: PutAck | Exception) -> None:
        self.answers = list(answers)
        self.puts: list[Sequence[Record]] = []
        self.checkpoints: list[Checkpoint | None] = []

    async def put(self, records: Sequence[Record], checkpoint: Checkpoint | None = None) -> PutAck:
        return self.put_blocking(records, checkpoint=checkpoint)

    def put_blocking(
        self,
        records: Sequence[Record],
        timeout_s: float | None = None,
        *,
        checkpoint: Checkpoint | None = None,
    ) -> PutAck:
        self.puts.append(records)
        self.checkpoints.append(checkpoint)
        answer = self.answers.pop(0)
        if isinstance(answer, Exception):
            raise answer
        return answer


ACK = PutAck(1, 0)


async def test_the_client_puts_the_same_rows_again_until_it_is_answered() -> None:
    backend = Scripted(AgentUnavailable("away"), SpoolFull("full"), ACK)
    client = StorageClient(backend, clock=VirtualClock(START))  # type: ignore[arg-type]
    rows = [log(1)]
    assert await client.put(rows) is ACK
    assert [list(put) for put in backend.puts] == [rows, rows, rows]
    assert client.retries == 2


async def test_the_client_hands_on_what_no_retry_mends() -> None:
    backend = Scripted(RecordConflict("other content"))
    client = StorageClient(backend, clock=VirtualClock(START))  # type: ignore[arg-type]
    with pytest.raises(RecordConflict):
        await client.put([log(1)])
    assert len(backend.puts) == 1


async def test_the_clients_patience_ends() -> None:
    backend = Scripted(*(AgentUnavailable("away") for _ in range(100)))
    client = StorageClient(backend, clock=VirtualClock(START), patience_s=20.0)  # type: ignore[arg-type]
    with pytest.raises(AgentUnavailable):
        await client.put([log(1)])
    assert 4 < len(backend.puts) < 40


def test_the_blocking_client_pauses_between_tries() -> None:
    pauses: list[float] = []
    backend = Scripted(AgentUnavailable("away"), AgentUnavailable("away"), ACK)
    client = StorageClient(backend, clock=VirtualClock(START), pause=pauses.append)  # type: ignore[arg-type]
    assert client.put_sync([log(1)]) is ACK
    assert len(pauses) == 2
    assert 0 <= pauses[0] <= 0.2
    assert 0 <= pauses[1] <= 0.4


def test_many_rows_go_in_several_puts_and_the_checkpoint_with_the_last() -> None:
    backend = Scripted(PutAck(PUT_ROWS, 0), AgentUnavailable("away"), PutAck(1, 1999), PutAck(1, 0))
    client = StorageClient(backend, clock=VirtualClock(START), pause=lambda _: None)  # type: ignore[arg-type]
    kept = Checkpoint(RUN, "orchestrator", 1, b"state")
    rows = [log(number) for number in range(2 * PUT_ROWS + 1)]
    assert client.put_sync(rows, kept) == PutAck(PUT_ROWS + 2, 1999)
    assert [len(put) for put in backend.puts] == [PUT_ROWS, PUT_ROWS, PUT_ROWS, 1]
    assert backend.puts[0] == rows[:PUT_ROWS]
    assert backend.puts[3] == rows[-1:]
    assert backend.checkpoints == [None, None, None, kept]


def test_retries_never_wait_more_than_five_seconds() -> None:
    from random import Random

    assert max(retry_delay(n, Random(n)) for n in range(200)) <= 5.0


def test_packed_records_come_out_as_they_went_in() -> None:
    rows = [agent("a"), log(1), regional(1, START, 3.0, version=4)]
    assert unpack(pack(rows)) == rows
    assert unpack(pack([])) == []


async def test_the_client_reads_the_grid_of_a_service_in_this_process(tmp_path: Path) -> None:
    with service(tmp_path) as storage:
        client = StorageClient(storage)
        await client.put_run(RUN, run_row())
        await client.put([regional(1, START, 3.0)])
        state = await client.grid_state(periods=2)
        assert state.intensity_gco2_per_kwh.shape == (14, 2)
        await client.set_clock_at(RUN, datetime(2026, 5, 1, 10, 30, tzinfo=UTC))
        assert (await client.grid_state()).origin == START + HALF_HOUR
