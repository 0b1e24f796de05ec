"""Chunks keep what the spool promises of single rows."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path

import numpy as np
import orjson
import pytest
from storage_samples import RUN, START, log, message, regional, run_record

from schema.errors import ConstraintViolated, RecordConflict
from schema.rows import Lane, Record
from storage.columns import rows_of
from storage.dead_letters import Obituary, Reason, bury, list_dead
from storage.known import KnownRows, numbers_of
from storage.spool import Spool
from storage.spool_file import SpoolSettings, open_database
from storage.spool_rows import SpoolRow

SETTINGS = SpoolSettings(ballast_bytes=0, chunk_rows=4, chunk_most_rows=10)


def _open(folder: Path, settings: SpoolSettings = SETTINGS) -> Spool:
    return Spool(open_database(folder, settings), settings)


@pytest.fixture
def spool(tmp_path: Path) -> Iterator[Spool]:
    opened = _open(tmp_path)
    yield opened
    opened.db.close()


def _count(spool: Spool, table: str) -> int:
    (count,) = spool.db.execute(f"select count(*) from {table}").fetchone()
    return int(count)


def _rows(spool: Spool) -> list[SpoolRow]:
    return spool.take(Lane.FACTS, spool.run(RUN), 0, rows=1000, size=10**9, now_s=0)


def _chunks(spool: Spool, after: int = 0, *, rows: int = 1000, size: int = 10**9) -> list:
    return spool.chunks.take(spool.run(RUN), after, rows=rows, size=size)


def _logs(*numbers: int) -> list[Record]:
    return [log(number) for number in numbers]


def test_many_facts_of_a_put_become_chunks_and_the_rest_stays_rows(spool: Spool) -> None:
    # 23 logs in chunks of at most 10: three of 8, 8 and 7. Three readings are too few for one.
    readings = [regional(n, START, 50.0) for n in (1, 2, 3)]
    ack = spool.accept([run_record(), *readings, *_logs(*range(23)), message(1)], 0).ack
    assert (ack.accepted, ack.known) == (28, 0)
    chunks = _chunks(spool)
    # Rows take the places 1 to 5, chunks follow.
    assert [(chunk.first, chunk.last) for chunk in chunks] == [(6, 13), (14, 21), (22, 28)]
    assert {chunk.table for chunk in chunks} == {"api_logs"}
    assert [row.table for row in _rows(spool)] == ["carbon_intensity_regional"] * 3
    found = [row for chunk in chunks for row in rows_of(chunk.part)[1]]
    assert found == [record.columns() for record in _logs(*range(23))]
    assert sum(spool.depths.values()) == 28


def test_rows_of_chunks_that_come_again_are_known_whatever_became_of_them(tmp_path: Path) -> None:
    spool = _open(tmp_path)
    spool.accept(_logs(*range(6)), 0)
    assert spool.accept(_logs(*range(6)), 0).ack.known == 6
    # In another company, alone, and beside new ones.
    assert spool.accept(_logs(4, 5, 6, 7), 0).ack.known == 2
    assert spool.accept(_logs(3), 0).ack.known == 1
    spool.settle_chunks(_chunks(spool), 0)
    assert spool.accept(_logs(*range(6)), 0).ack.known == 6
    spool.db.close()
    again = _open(tmp_path)
    assert again.accept(_logs(*range(6)), 0).ack.known == 6
    assert sum(again.depths.values()) == 2
    again.db.close()


def test_rows_that_were_accepted_one_by_one_do_not_come_back_in_a_chunk(spool: Spool) -> None:
    spool.accept(_logs(2), 0)
    assert spool.accept(_logs(*range(5)), 0).ack.known == 1
    assert (len(_rows(spool)), _chunks(spool)) == (5, [])


def test_another_content_under_a_known_version_is_refused_and_leaves_nothing(spool: Spool) -> None:
    spool.accept(_logs(*range(6)), 0)
    other = log(3, error="another")
    with pytest.raises(RecordConflict):
        spool.accept([other], 0)
    with pytest.raises(RecordConflict):
        spool.accept([*_logs(10, 11, 12), other], 0)
    assert spool.conflicts == 2


def test_a_higher_version_of_a_row_in_a_chunk_is_new(spool: Spool) -> None:
    def readings(version: int) -> list[Record]:
        return [regional(n, START, 50.0 + version, version=version) for n in range(1, 7)]

    for version in (0, 1, 2):
        assert spool.accept(readings(version), 0).ack.accepted == 6
    assert len(_chunks(spool)) == 3
    assert spool.accept(readings(1), 0).ack.known == 6


def test_a_put_with_two_versions_of_a_row_goes_by_rows(spool: Spool) -> None:
    twice = [regional(1, START, 50.0 + v, version=v) for v in range(5)]
    assert spool.accept(twice, 0).ack.accepted == 5
    assert (len(_rows(spool)), _chunks(spool)) == (5, [])


def test_a_bad_record_among_many_is_refused_by_name_and_nothing_is_left(spool: Spool) -> None:
    good = _logs(*range(6))
    bad = good[3]._replace(body=b'{"id":"x","run_id":"y"}')
    spool.db.execute("savepoint put")
    with pytest.raises(ConstraintViolated, match=bad.id):
        spool.accept([*good[:3], bad, *good[4:]], 0)
    spool.db.execute("rollback to put")
    spool.reload()
    assert sum(spool.depths.values()) == 0
    assert spool.accept(good, 0).ack.accepted == 6


def test_what_was_rolled_back_is_not_known(spool: Spool) -> None:
    spool.db.execute("begin immediate")
    spool.accept(_logs(*range(6)), 0)
    spool.db.execute("rollback")
    spool.reload()
    assert spool.accept(_logs(*range(6)), 0).ack.accepted == 6
    assert len(_chunks(spool)) == 1


def test_an_opened_chunk_is_the_same_rows_at_the_same_places(spool: Spool) -> None:
    records = _logs(*range(6))
    spool.accept([run_record(), *records], 0)
    (chunk,) = _chunks(spool)
    opened = spool.chunks.open(chunk.first)
    assert opened == _rows(spool)
    assert [row.seq for row in opened] == list(range(chunk.first, chunk.last + 1))
    assert [orjson.loads(row.body) for row in opened] == [r.columns() for r in records]
    assert [row.sha256 for row in opened] == [record.sha256 for record in records]
    assert (_chunks(spool), sum(spool.depths.values())) == ([], 7)
    spool.reload()
    assert sum(spool.depths.values()) == 7
    assert spool.accept(records, 0).ack.known == 6
    # One row may now be put aside alone.
    bury(spool, [(opened[2], Obituary(Reason.POISON, "no", "23514"))], 0)
    assert [dead.seq for dead in list_dead(spool, 10)] == [opened[2].seq]


def test_a_dead_run_takes_its_chunks_along(spool: Spool) -> None:
    spool.accept([run_record(), *_logs(*range(6))], 0)
    run_rows = spool.take_run_rows(spool.run(RUN), 0)
    bury(spool, [(run_rows[0], Obituary(Reason.POISON, "no", "23514"))], 0)
    assert {row.reason for row in list_dead(spool, 10)} == {Reason.POISON, Reason.PARENT_DEAD}
    assert (spool.dead, sum(spool.depths.values()), _chunks(spool)) == (7, 0, [])


def test_delivered_chunks_give_back_their_content_and_keep_their_ids(spool: Spool) -> None:
    spool.accept(_logs(*range(20)), 0)
    first, second = _chunks(spool)
    spool.settle_chunks([first], 0)
    assert (_count(spool, "chunk_bodies"), _count(spool, "chunk_keys")) == (1, 2)
    assert _chunks(spool) == [second]
    assert (spool.first_waiting(), sum(spool.depths.values())) == (second.first, 10)
    # Once more: the answer to an earlier request came late.
    spool.settle_chunks([first], 0)
    assert sum(spool.depths.values()) == 10


def test_delivered_chunks_are_forgotten_by_age(tmp_path: Path) -> None:
    settings = SpoolSettings(ballast_bytes=0, chunk_rows=4, tombstone_age_s=100)
    spool = _open(tmp_path, settings)
    for number in range(3):
        spool.accept(_logs(*range(10 * number, 10 * number + 5)), 50 * number)
        spool.settle_chunks(_chunks(spool), 50 * number)
    # At 151 the first, delivered at 0, is too old; the second, of 50, is so too.
    for at in (151, 151, 151):
        spool.settle_chunks([], at)
    assert _count(spool, "chunks") == 1
    assert spool.chunks.kept_rows == 5
    assert spool.accept(_logs(*range(20, 25)), 151).ack.known == 5
    assert spool.accept(_logs(*range(5)), 151).ack.accepted == 5
    spool.db.close()


def test_delivered_chunks_are_forgotten_by_number(tmp_path: Path) -> None:
    # 0.05 of 1 MiB at 56 bytes each are 936 rows: nine chunks of 100.
    settings = SpoolSettings(
        limit_bytes=1024 * 1024, ballast_bytes=0, chunk_rows=4, tombstone_share=0.05
    )
    spool = _open(tmp_path, settings)
    for start in range(0, 2000, 100):
        spool.accept(_logs(*range(start, start + 100)), 0)
        spool.settle_chunks(_chunks(spool), 0)
    assert (_count(spool, "chunks"), spool.chunks.kept_rows) == (9, 900)
    assert spool.accept(_logs(*range(1900, 2000)), 0).ack.known == 100
    spool.db.close()


def test_take_gives_neighbours_up_to_a_number_of_rows_and_bytes(spool: Spool) -> None:
    spool.accept(_logs(*range(30)), 0)
    first, second, third = _chunks(spool)
    assert _chunks(spool, rows=20) == [first, second]
    assert _chunks(spool, rows=1) == [first]
    assert _chunks(spool, size=1) == [first]
    assert _chunks(spool, second.last) == [third]
    # A row between two chunks: the second is not taken along.
    spool.accept(_logs(100), 0)
    spool.accept(_logs(*range(200, 205)), 0)
    assert _chunks(spool) == [first, second, third]


def test_the_oldest_row_may_be_in_a_chunk(spool: Spool) -> None:
    spool.accept(_logs(*range(5)), 7)
    spool.accept(_logs(50), 9)
    assert (spool.first_waiting(), spool.oldest_accepted_at()) == (1, 7)
    spool.settle_chunks(_chunks(spool), 10)
    assert (spool.first_waiting(), spool.oldest_accepted_at()) == (6, 9)


def test_an_index_finds_what_was_added_and_forgets_what_it_is_told() -> None:
    known = KnownRows()
    rng = np.random.default_rng(1)
    chunks = {}
    for chunk in range(40):
        ids = rng.bytes(16 * (1 + chunk * 7 % 30))
        versions = np.full(len(ids) // 16, chunk, dtype=np.int64)
        chunks[chunk] = numbers_of(ids, versions)
        known.add(chunks[chunk], chunk)
    assert len(known) == sum(len(numbers) for numbers in chunks.values())
    for chunk, numbers in chunks.items():
        assert known.chunks_with(numbers[0]) == [chunk]
        assert known.may_know(numbers[-1:])
    assert not known.may_know(numbers_of(rng.bytes(1600), np.zeros(100, dtype=np.int64)))
    known.forget(before=10, after=29)
    for chunk, numbers in chunks.items():
        assert known.may_know(numbers) == (10 <= chunk <= 29)


def test_versions_of_one_row_have_numbers_of_their_own() -> None:
    numbers = numbers_of(bytes(16) * 3, np.array([0, 1, 2], dtype=np.int64))
    assert len(set(numbers.tolist())) == 3


def test_readings_of_chunks_are_folded_into_the_grid(tmp_path: Path) -> None:
    spool = _open(tmp_path)
    readings = [regional(n, START + timedelta(minutes=30), 50.0) for n in range(1, 9)]
    new = spool.accept(readings, 0).new
    assert [row.record for row in new] == readings
    assert new[0].columns["forecast_gco2_per_kwh"] == 50.0
    # Nobody folds request logs, so none are handed on.
    assert spool.accept(_logs(*range(8)), 0).new == ()
    spool.db.close()
