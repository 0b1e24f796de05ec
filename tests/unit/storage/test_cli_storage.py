"""``storage`` as a user meets it: a stopped spool, a held one, and rows that were put aside."""

from __future__ import annotations

import asyncio
import json
import os
import stat
from collections.abc import Callable
from pathlib import Path
from typing import Any

import orjson
import pytest
from storage_samples import RUN, START, BadRows, ScriptedStore, agent, log, run_record, run_row
from typer.testing import CliRunner

from schema.clock import VirtualClock
from schema.errors import InputError, StorageError
from schema.settings import Settings
from storage import cli_storage
from storage.home import spool_folder
from storage.memory import MemoryStore
from storage.service import StorageService
from storage.spool_file import SpoolSettings, holder_of
from storage.spool_look import SpoolState, look
from storage.system_clock import SystemClock

QUIET = SpoolSettings(ballast_bytes=0)
Run = Callable[..., tuple[int, str]]


@pytest.fixture
def home(tmp_path: Path) -> Path:
    return tmp_path / "home"


@pytest.fixture
def spool(home: Path) -> Path:
    return spool_folder(home, None)


@pytest.fixture
def run(monkeypatch: pytest.MonkeyPatch, home: Path) -> Run:
    settings = Settings(_env_file=None, GRIDPACT_HOME=home, home=home)  # type: ignore[call-arg]
    monkeypatch.setattr(cli_storage, "load_settings", lambda: settings)

    def invoke(*arguments: object) -> tuple[int, str]:
        result = CliRunner().invoke(cli_storage.app, [str(word) for word in arguments])
        if result.exception is not None and not isinstance(result.exception, SystemExit):
            raise result.exception
        return result.exit_code, result.stdout

    return invoke


def service(folder: Path, store: MemoryStore, **more: Any) -> StorageService:
    return StorageService(folder, store, clock=VirtualClock(START), spool=QUIET, **more)


class Away(ScriptedStore):
    """A store that never answers."""

    async def pause(self) -> None:
        await asyncio.Event().wait()


async def leave_unsent(folder: Path) -> None:
    """Leave a stopped spool with a run's row and four others in it."""
    opened = service(folder, Away()).open()
    await opened.put([run_record(), agent("a"), *(log(n) for n in range(3))])
    await opened.stop()


async def bury_two(folder: Path) -> list[str]:
    """Leave a stopped spool with two rows put aside; gives their ids."""
    bad = [log(1), log(2)]
    store = ScriptedStore(before=BadRows({record.id for record in bad}))
    opened = service(folder, store).open()
    await opened.put_run(RUN, run_row())
    await opened.put([log(0), *bad])
    await opened.barrier(20)
    await opened.stop()
    return [record.id for record in bad]


# -- status ----------------------------------------------------------------------------------


def test_a_home_without_a_spool_says_so_and_makes_none(run: Run, spool: Path) -> None:
    code, said = run("status", "--json")
    answer = json.loads(said)
    assert (code, answer["depth"], answer["oldest_unsent_s"]) == (0, 0, None)
    assert (answer["spools"], answer["others"]) == ([], [])
    assert not spool.exists()
    assert look(spool, QUIET, SystemClock()).state is SpoolState.ABSENT


async def test_a_stopped_spool_tells_depth_age_and_size(spool: Path) -> None:
    await leave_unsent(spool)
    clock = VirtualClock(START)
    clock.set(START.replace(hour=11))
    found = look(spool, QUIET, clock)
    # The run's row, the agent and three logs were accepted at 10:00, an hour before.
    assert (found.state, found.depth, found.oldest_unsent_s) == (SpoolState.STOPPED, 5, 3600)
    assert found.bytes >= (spool / "spool.db").stat().st_size
    # Looking has let go of it again.
    assert holder_of(spool) is None


async def test_a_held_spool_tells_what_its_holder_wrote_down_last(spool: Path) -> None:
    held = StorageService(
        spool, Away(), clock=SystemClock(), spool=QUIET, status_interval_s=0.05
    ).open()
    try:
        early = look(spool, QUIET, SystemClock())
        assert (early.state, early.held_by) == (SpoolState.HELD, str(os.getpid()))
        await held.put([run_record(), agent("a")])
        for _ in range(500):
            if look(spool, QUIET, SystemClock()).depth == 2:
                break
            await asyncio.sleep(0.02)
        found = look(spool, QUIET, SystemClock())
        assert found.depth == 2
        assert set(found.lanes) == {"ordered", "facts"}
        age = found.age_s(SystemClock().now())
        assert age is not None
        assert age < 10
        assert stat.S_IMODE((spool / "status.json").stat().st_mode) == 0o600
    finally:
        await held.stop()


async def test_what_an_earlier_holder_wrote_is_not_taken_for_news(spool: Path) -> None:
    await leave_unsent(spool)
    (spool / "status.json").write_bytes(orjson.dumps({"pid": 1, "depth": 77, "at": "2026-01-01"}))
    held = service(spool, MemoryStore()).open()
    try:
        assert look(spool, QUIET, SystemClock()).depth is None
    finally:
        await held.stop()


async def test_all_spools_of_the_database_are_added_up_and_others_told_apart(
    run: Run, home: Path, spool: Path
) -> None:
    live, other = spool_folder(home, None, "live"), spool_folder(home, "https://x.supabase.co")
    for folder in (spool, live, other):
        await leave_unsent(folder)
    assert live.name == "embedded-live"
    assert spool_folder(home, "https://x.supabase.co/") == other
    answer = json.loads((await asyncio.to_thread(run, "status", "--json"))[1])
    assert answer["depth"] == 10
    assert [found["spool"] for found in answer["spools"]] == ["embedded", "embedded-live"]
    assert [(found["spool"], found["depth"]) for found in answer["others"]] == [(other.name, 5)]
    table = (await asyncio.to_thread(run, "status"))[1]
    assert [line.split()[-1] for line in table.splitlines()[-3:]] == ["use", "use", "another"]


# -- rows put aside --------------------------------------------------------------------------


async def test_dead_rows_are_listed_with_reason_and_content(run: Run, spool: Path) -> None:
    ids = await bury_two(spool)
    rows = json.loads((await asyncio.to_thread(run, "dead", "list", "--json"))[1])
    assert {row["id"] for row in rows} == set(ids)
    assert {(row["table"], row["reason"], row["sqlstate"]) for row in rows} == {
        ("api_logs", "poison", "23514")
    }
    assert {row["body"]["sequence"] for row in rows} == {1, 2}
    _, table = await asyncio.to_thread(run, "dead", "list", "--csv")
    assert table.splitlines()[0] == "spool,seq,table,reason,sqlstate,http,at,message,id,version"
    assert len(table.splitlines()) == 3
    assert {row["spool"] for row in rows} == {"embedded"}
    assert json.loads((await asyncio.to_thread(run, "status", "--json"))[1])["dead"] == 2


async def test_a_row_put_back_is_sent_by_the_next_run(run: Run, spool: Path) -> None:
    ids = await bury_two(spool)
    rows = json.loads((await asyncio.to_thread(run, "dead", "list", "--json"))[1])
    chosen = next(row["seq"] for row in rows if row["id"] == ids[0])
    assert "1 rows wait again" in (await asyncio.to_thread(run, "dead", "retry", chosen))[1]
    # The database has been mended: it takes whatever comes.
    store = MemoryStore()
    await store.ingest({"scenario_runs": [run_record().body]})
    opened = service(spool, store).open()
    await opened.barrier(20)
    await opened.stop()
    assert set(store.tables["api_logs"]) == {ids[0]}
    assert look(spool, QUIET, SystemClock()).dead == 1


async def test_a_dropped_row_leaves_a_private_copy_and_never_comes_back(
    run: Run, spool: Path, tmp_path: Path
) -> None:
    ids = await bury_two(spool)
    copy = tmp_path / "copies" / "dropped.jsonl"
    code, said = await asyncio.to_thread(run, "dead", "drop", "--all", "--out", copy, "--json")
    assert (code, json.loads(said)) == (0, {"dropped": 2, "copy": str(copy)})
    kept = [orjson.loads(line) for line in copy.read_bytes().splitlines()]
    assert {row["body"]["id"] for row in kept} == set(ids)
    assert stat.S_IMODE(copy.stat().st_mode) == 0o600
    assert look(spool, QUIET, SystemClock()).dead == 0
    # Its producer sends one again: it is answered as known, and nothing waits.
    opened = service(spool, Away()).open()
    assert (await opened.put([log(1)])).known == 1
    await opened.stop()
    assert look(spool, QUIET, SystemClock()).depth == 0


async def test_nothing_is_dropped_when_its_copy_cannot_be_written(
    run: Run, spool: Path, tmp_path: Path
) -> None:
    await bury_two(spool)
    taken = tmp_path / "taken.jsonl"
    taken.write_text("mine")
    with pytest.raises(InputError, match="choose another --out"):
        await asyncio.to_thread(run, "dead", "drop", "--all", "--out", taken)
    assert taken.read_text() == "mine"
    assert look(spool, QUIET, SystemClock()).dead == 2


@pytest.mark.parametrize("command", ["retry", "drop"])
async def test_rows_are_named_or_all_are_meant(run: Run, spool: Path, command: str) -> None:
    await bury_two(spool)
    for words in ([], ["--all", 1]):
        with pytest.raises(InputError, match="one of the two"):
            await asyncio.to_thread(run, "dead", command, *words)
    with pytest.raises(InputError, match="no row 4711 was put aside"):
        await asyncio.to_thread(run, "dead", command, 4711)
    assert look(spool, QUIET, SystemClock()).dead == 2


async def test_numbers_of_several_spools_need_the_spools_name(run: Run, home: Path) -> None:
    folders = [spool_folder(home, None), spool_folder(home, None, "live")]
    for folder in folders:
        await bury_two(folder)
    rows = json.loads((await asyncio.to_thread(run, "dead", "list", "--json"))[1])
    assert {row["spool"] for row in rows} == {"embedded", "embedded-live"}
    seq = rows[0]["seq"]
    with pytest.raises(InputError, match="add --spool, one of: embedded, embedded-live"):
        await asyncio.to_thread(run, "dead", "drop", seq)
    with pytest.raises(InputError, match="there is no spool 'embeded'"):
        await asyncio.to_thread(run, "dead", "retry", seq, "--spool", "embeded")
    await asyncio.to_thread(run, "dead", "retry", seq, "--spool", "embedded-live")
    assert [look(folder, QUIET, SystemClock()).dead for folder in folders] == [2, 1]
    # All means all of them.
    _, said = await asyncio.to_thread(run, "dead", "drop", "--all", "--json")
    assert json.loads(said)["dropped"] == 3


async def test_a_spool_that_a_run_has_is_left_to_it(run: Run, spool: Path) -> None:
    held = service(spool, MemoryStore()).open()
    try:
        for words in (["list"], ["retry", "--all"], ["drop", "--all"], ["retry", 1]):
            with pytest.raises(StorageError, match=f"in use by process {os.getpid()}"):
                await asyncio.to_thread(run, "dead", *words)
    finally:
        await held.stop()


async def test_a_held_spool_keeps_no_other_from_being_read(
    run: Run, home: Path, spool: Path
) -> None:
    await bury_two(spool)
    held = service(spool_folder(home, None, "live"), MemoryStore()).open()
    try:
        rows = json.loads((await asyncio.to_thread(run, "dead", "list", "--json"))[1])
        assert {row["spool"] for row in rows} == {"embedded"}
    finally:
        await held.stop()


def test_without_a_spool_there_is_nothing_to_list(run: Run) -> None:
    assert json.loads(run("dead", "list", "--json")[1]) == []


def test_draining_nothing_needs_no_database(run: Run) -> None:
    code, said = run("drain", "--json")
    assert (code, json.loads(said)) == (0, {"sent": {}, "dead": 0, "spools": []})
