"""What accepting promises, on the file itself."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from storage_samples import HALF_HOUR, OTHER_RUN, RUN, START, agent, log, message, run_record

from schema.errors import ConstraintViolated, RecordConflict, SpoolFull, StorageError
from schema.rows import CarbonIntensityRegionalRow, Lane, Record
from storage.dead_letters import Obituary, Reason, bury, list_dead, retry
from storage.spool import Spool
from storage.spool_file import SpoolSettings, open_database

MIB = 1024 * 1024


@pytest.fixture
def spool(tmp_path: Path) -> Iterator[Spool]:
    opened = _open(tmp_path)
    yield opened
    opened.db.close()


def _open(folder: Path, settings: SpoolSettings | None = None) -> Spool:
    limits = settings or SpoolSettings(ballast_bytes=0)
    return Spool(open_database(folder, limits), limits)


def _take(spool: Spool, lane: Lane = Lane.FACTS, run: str = RUN, after: int = 0) -> list:
    number = spool.run(run)
    return spool.take(lane, number, after, rows=10_000, size=10**9, now_s=0)


def test_every_open_sets_what_sqlite_forgets(tmp_path: Path) -> None:
    for _ in range(2):
        spool = _open(tmp_path, SpoolSettings(limit_bytes=8 * MIB, ballast_bytes=0))

        def pragma(name: str, db: sqlite3.Connection = spool.db) -> object:
            return db.execute(f"pragma {name}").fetchone()[0]

        assert pragma("journal_mode") == "wal"
        assert pragma("synchronous") == 2  # FULL
        assert pragma("wal_autocheckpoint") == 512
        assert pragma("journal_size_limit") == 4 * MIB
        # 8 MiB are 2048 pages of 4 KiB; a tenth above is 2252, plus 64.
        assert pragma("max_page_count") == 2316
        spool.db.close()


def test_files_are_for_the_owner_alone(tmp_path: Path, spool: Spool) -> None:
    assert (tmp_path / "spool.db").stat().st_mode & 0o777 == 0o600


def test_the_same_rows_again_are_known_whatever_became_of_them(spool: Spool) -> None:
    rows = [log(n) for n in range(3)]
    first = spool.accept(rows, 0).ack
    assert (first.accepted, first.known) == (3, 0)

    waiting = spool.accept([*rows, log(3)], 0)
    assert (waiting.ack.accepted, waiting.ack.known) == (1, 3)
    assert [row.record.id for row in waiting.new] == [log(3).id]

    taken = _take(spool)
    spool.settle(taken[:2], 0)
    bury(spool, [(taken[2], Obituary(Reason.POISON, "no"))], 0)
    again = spool.accept([*rows, log(3)], 0).ack
    assert (again.accepted, again.known) == (0, 4)


def test_a_row_twice_in_one_put_counts_once(spool: Spool) -> None:
    ack = spool.accept([log(1), log(1)], 0).ack
    assert (ack.accepted, ack.known) == (1, 1)
    assert len(_take(spool)) == 1


def test_only_the_moment_of_retrieval_may_differ(spool: Spool) -> None:
    row = CarbonIntensityRegionalRow(
        source="carbon_intensity",
        valid_from=START,
        valid_to=START + HALF_HOUR,
        region_id=1,
        forecast_gco2_per_kwh=100.0,
    )
    spool.accept([row.to_record(RUN, retrieved_at=START)], 0)
    assert spool.accept([row.to_record(RUN, retrieved_at=START + HALF_HOUR)], 0).ack.known == 1


@pytest.mark.parametrize("state", ["waiting", "delivered", "dead"])
def test_a_known_version_with_other_content_is_refused_and_counted(
    spool: Spool, state: str
) -> None:
    spool.accept([agent("a")], 0)
    taken = _take(spool, Lane.ORDERED)
    if state == "delivered":
        spool.settle(taken, 0)
    if state == "dead":
        bury(spool, [(taken[0], Obituary(Reason.POISON, "no"))], 0)
    with pytest.raises(RecordConflict, match="higher version"):
        spool.accept([agent("a", node="elsewhere")], 0)
    assert spool.conflicts == 1


def test_a_higher_version_is_a_new_row_even_after_delivery(spool: Spool) -> None:
    spool.accept([agent("a")], 0)
    spool.settle(_take(spool, Lane.ORDERED), 0)
    assert spool.accept([agent("a", version=1, node="n")], 0).ack.accepted == 1


def test_what_is_no_record_is_refused_at_the_door(spool: Spool) -> None:
    good = agent("a")
    for bad, said in (
        (good._replace(table="people"), "no table"),
        (good._replace(body=b"{"), "no JSON"),
        (good._replace(id="nonsense"), "no record"),
        (good._replace(body=b'{"id":"x"}'), "run_id"),
        (good._replace(body=b'"' + b"x" * 300_000 + b'"'), "262144"),
    ):
        with pytest.raises(ConstraintViolated, match=said):
            spool.accept([bad], 0)
    assert spool.last_seq == 0


def test_rows_come_out_in_order_of_acceptance_and_by_size(spool: Spool) -> None:
    spool.accept([log(n) for n in range(10)], 0)
    rows = _take(spool)
    assert [row.seq for row in rows] == list(range(1, 11))
    size = len(rows[0].body) + len(rows[1].body) + 1
    run = spool.run(RUN)
    assert len(spool.take(Lane.FACTS, run, 0, rows=100, size=size, now_s=0)) == 2
    assert len(spool.take(Lane.FACTS, run, 0, rows=100, size=1, now_s=0)) == 1
    assert [r.seq for r in spool.take(Lane.FACTS, run, 4, rows=3, size=10**9, now_s=0)] == [5, 6, 7]


def test_settled_rows_are_gone_and_depths_follow(spool: Spool) -> None:
    spool.accept([run_record(), *(log(n) for n in range(5))], 0)
    facts = _take(spool)
    spool.settle(facts[1:4], 0)
    assert [row.seq for row in _take(spool)] == [facts[0].seq, facts[4].seq]
    assert spool.depths[1, spool.run(RUN)] == 2
    assert spool.first_waiting() == 1
    # Settling rows that are settled already changes nothing.
    spool.settle(facts[1:4], 0)
    assert spool.depths[1, spool.run(RUN)] == 2


def test_a_run_is_delivered_when_its_own_row_is(spool: Spool) -> None:
    spool.accept([run_record(), message(1)], 0)
    run = spool.run(RUN)
    own = spool.take_run_rows(run, 0)
    assert [row.table for row in own] == ["scenario_runs"]
    assert run not in spool.delivered_runs
    spool.settle(own, 0)
    assert run in spool.delivered_runs


def test_everything_is_there_after_reopening(tmp_path: Path) -> None:
    spool = _open(tmp_path)
    spool.db.execute("begin immediate")
    spool.accept([run_record(), run_record(OTHER_RUN), agent("a"), *(log(n) for n in range(4))], 7)
    taken = _take(spool)
    spool.settle([taken[0]], 7)
    bury(spool, [(taken[1], Obituary(Reason.POISON, "no", "23514", 400))], 7)
    spool.db.execute("commit")
    before = (dict(spool.depths), spool.dead, spool.run_clocks, spool.last_seq)
    rows = _take(spool)
    spool.db.close()

    again = _open(tmp_path)
    assert (dict(again.depths), again.dead, again.run_clocks, again.last_seq) == before
    assert _take(again) == rows
    assert [row.sqlstate for row in list_dead(again, 10)] == ["23514"]
    assert again.oldest_accepted_at() == 7
    again.db.close()


def test_an_uncommitted_row_is_not_there_after_reopening(tmp_path: Path) -> None:
    spool = _open(tmp_path)
    spool.db.execute("begin immediate")
    spool.accept([log(1)], 0)
    spool.db.close()
    again = _open(tmp_path)
    assert again.first_waiting() is None
    again.db.close()


def test_a_file_of_another_form_is_refused(tmp_path: Path) -> None:
    spool = _open(tmp_path)
    spool.db.execute("pragma user_version = 99")
    spool.db.close()
    with pytest.raises(StorageError, match="form 99"):
        _open(tmp_path)


def test_a_file_that_is_no_database_is_refused_with_advice(tmp_path: Path) -> None:
    (tmp_path / "spool.db").write_bytes(b"not a database, " * 1000)
    with pytest.raises(StorageError, match="move them away"):
        _open(tmp_path)


# -- room ---------------------------------------------------------------------------------


def _small(**more: float) -> SpoolSettings:
    return SpoolSettings(limit_bytes=2 * MIB, ballast_bytes=0, **more)  # type: ignore[arg-type]


def _accept_until(
    spool: Spool, make: Callable[[int], Record], error: type[Exception], step: int
) -> tuple[int, str]:
    """Put rows in, a few at a time, until it fails; give how many went in and what was said."""
    accepted = 0
    while accepted < 100_000:
        spool.db.execute("begin immediate")
        try:
            spool.accept([make(n) for n in range(accepted, accepted + step)], 0)
            spool.db.execute("commit")
        except error as exc:
            if spool.db.in_transaction:
                spool.db.execute("rollback")
            spool.reload()
            return accepted, str(exc)
        accepted += step
    pytest.fail("the spool never filled")


def test_the_door_shuts_for_facts_before_it_shuts_for_negotiations(tmp_path: Path) -> None:
    spool = _open(tmp_path, _small())
    _accept_until(spool, log, SpoolFull, 50)
    assert 0.80 < spool.fill() < 0.86
    ordered, said = _accept_until(spool, message, SpoolFull, 50)
    assert ordered >= 100
    assert "wait until Supabase" in said
    assert 0.95 < spool.fill() <= 1.0
    spool.db.close()


def test_what_was_accepted_can_be_drained_at_the_hard_cap(tmp_path: Path) -> None:
    # The door stands far above the cap here, so that the file itself runs full.
    cap = SpoolSettings(limit_bytes=64 * MIB, hard_cap_share=0.01, ballast_bytes=0)
    spool = _open(tmp_path, cap)
    db = spool.db
    accepted, said = _accept_until(spool, log, sqlite3.OperationalError, 20)
    assert "full" in said
    drained = 0
    while rows := spool.take(Lane.FACTS, spool.run(RUN), 0, rows=500, size=10**9, now_s=0):
        db.execute("begin immediate")
        spool.settle(rows, 0)
        db.execute("commit")
        drained += len(rows)
    assert drained == accepted > 500
    assert db.execute("pragma integrity_check").fetchone()[0] == "ok"
    db.execute("begin immediate")
    spool.accept([log(n) for n in range(accepted, accepted + 200)], 0)
    db.execute("commit")
    db.close()


def test_tombstones_are_forgotten_by_age(tmp_path: Path) -> None:
    spool = _open(tmp_path, SpoolSettings(tombstone_age_s=100, ballast_bytes=0))
    spool.accept([log(n) for n in range(10)], 0)
    spool.settle(_take(spool), 1000)
    spool.accept([log(50)], 1000)
    spool.settle(_take(spool), 1099)
    assert spool.accept([log(3)], 1099).ack.known == 1
    spool.accept([log(51)], 1101)
    spool.settle(_take(spool), 1101)
    # Forgotten, so it is sent once more; the store knows its id.
    assert spool.accept([log(3)], 1101).ack.accepted == 1
    assert spool.accept([log(50)], 1101).ack.known == 1
    spool.db.close()


def test_tombstones_are_forgotten_by_number(tmp_path: Path) -> None:
    # 0.05 of 2 MiB at 150 bytes each are 699 tombstones.
    spool = _open(tmp_path, _small(tombstone_share=0.05, chunk_rows=501))
    for start in range(0, 3000, 500):
        spool.accept([log(n) for n in range(start, start + 500)], 0)
        spool.settle(_take(spool), 0)
    (count,) = spool.db.execute("select count(*) from records").fetchone()
    # Each settling forgets at most what is too much, so the newest stay.
    assert 699 <= count <= 1300
    assert spool.accept([log(2999)], 0).ack.known == 1
    spool.db.close()


def test_dead_rows_go_back_with_the_children_that_waited(spool: Spool) -> None:
    spool.accept([agent("a"), agent("b"), message(1)], 0)
    rows = _take(spool, Lane.ORDERED)
    poison, child, other = rows
    bury(spool, [(poison, Obituary(Reason.POISON, "no", "23514"))], 0)
    bury(spool, [(child, Obituary(Reason.PARENT_DEAD, "no parent", "23503"))], 0)
    bury(spool, [(other, Obituary(Reason.POISON, "no", "23502"))], 0)
    assert spool.dead == 3
    assert retry(spool, [poison.seq]) == 2
    assert [row.id for row in _take(spool, Lane.ORDERED)] == [poison.id, child.id]
    assert [row.seq for row in list_dead(spool, 10)] == [other.seq]
    assert retry(spool, None) == 1
    assert spool.dead == 0
