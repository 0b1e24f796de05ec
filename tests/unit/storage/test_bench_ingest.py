"""What ``bench ingest`` stores and how it puts times into figures."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
import time
from pathlib import Path as Proc

import pytest
from storage_samples import OTHER_RUN, RUN

from storage.bench.copy_path import as_values
from storage.bench.ingest import Passage, Path, Timed, figures
from storage.bench.processor_time import StageTimes, between
from storage.bench.rows import TABLE, made_records


def timed(path: Path, stored: float, sent: float, copied: float) -> list[Timed]:
    return [
        Timed(path, Passage.STORED, stored),
        Timed(path, Passage.SENT, sent),
        Timed(path, Passage.COPIED, copied),
    ]


def test_a_higher_version_has_the_same_keys_and_other_figures() -> None:
    first = made_records(500, RUN, seed=1, version=1)
    again = made_records(500, RUN, seed=1, version=2)
    assert len({record.id for record in first}) == 500
    assert [record.id for record in first] == [record.id for record in again]
    assert {record.version for record in again} == {2}
    changed = sum(
        before.columns()["generation_pct"] != after.columns()["generation_pct"]
        for before, after in zip(first, again, strict=True)
    )
    # Figures are tenths of a percent: about one in a thousand is drawn twice.
    assert changed > 490


def test_rows_are_drawn_from_their_seed_and_marked_as_made_up() -> None:
    (record,) = made_records(1, RUN, seed=7, version=1)
    assert made_records(1, RUN, seed=7, version=1) == [record]
    assert made_records(1, RUN, seed=8, version=1) != [record]
    assert made_records(1, OTHER_RUN, seed=7, version=1)[0].id != record.id
    columns = record.columns()
    assert record.table == TABLE
    assert (columns["quality"], columns["source"], columns["seed"]) == ("synthetic", "bench", 7)


def test_copy_gets_the_very_content_that_the_spool_gets() -> None:
    records = made_records(30, RUN, seed=1, version=1)
    columns, values = as_values(records)
    assert [dict(zip(columns, row, strict=True)) for row in values] == [
        record.columns() for record in records
    ]


def test_rates_are_of_median_times_and_ratios_medians_of_the_rounds() -> None:
    told = figures(
        1000,
        [
            *timed(Path.INSERT, stored=4.0, sent=2.0, copied=1.0),
            *timed(Path.UPDATE, stored=5.0, sent=5.0, copied=5.0),
            *timed(Path.INSERT, stored=5.0, sent=4.0, copied=3.0),
            *timed(Path.INSERT, stored=8.0, sent=5.0, copied=2.0),
        ],
    )
    insert, update = told
    assert (insert.path, update.path) == ("insert", "update")
    # Medians of 4, 5, 8 s, of 2, 4, 5 s and of 1, 3, 2 s for 1000 rows.
    assert insert.ours_rows_per_s == pytest.approx(200.0)
    assert insert.sending_rows_per_s == pytest.approx(250.0)
    assert insert.copy_rows_per_s == pytest.approx(500.0)
    # Round by round 1/4, 3/5, 2/8, and 1/2, 3/4, 2/5.
    assert insert.ratios == pytest.approx([0.25, 0.6, 0.25])
    assert insert.ratio == pytest.approx(0.25)
    assert insert.sending_ratio == pytest.approx(0.5)
    assert (update.ratio, update.sending_ratio) == (1.0, 1.0)


def test_processor_time_is_told_by_stage_a_row() -> None:
    rounds = [
        Timed(path, passage, 1.0, {"caller": used, "postgres": 10 * used})
        for path in Path
        for used in (0.1, 0.3)
        for passage in Passage
    ]
    for told in figures(100_000, rounds):
        # 0.2 s on average over 100,000 rows.
        assert told.ours_us_per_row == told.copy_us_per_row == {"caller": 2.0, "postgres": 20.0}


@pytest.mark.skipif(not Proc("/proc/self/stat").exists(), reason="counted by Linux alone")
def test_threads_and_processes_count_for_their_stage() -> None:
    done = threading.Event()
    child = subprocess.Popen([sys.executable, "-c", "while True: pass"])
    before = StageTimes({"api_pid": child.pid, "postgres_pid": os.getpid()}).read()
    writer = threading.Thread(target=_work_until, args=(done,), name="spool-writer")
    writer.start()
    try:
        time.sleep(0.5)
        used = between(
            before, StageTimes({"api_pid": child.pid, "postgres_pid": os.getpid()}).read()
        )
    finally:
        done.set()
        writer.join()
        child.kill()
        child.wait()
    assert used["accepting"] > 0.05
    assert used["api"] > 0.05
    # A stand-in for PostgreSQL: this process and its child.
    assert used["postgres"] >= used["accepting"] + used["api"] - 0.1
    assert used["sending"] == 0.0


def test_a_process_that_has_gone_uses_nothing() -> None:
    child = subprocess.Popen([sys.executable, "-c", ""])
    child.wait()
    assert StageTimes({"api_pid": child.pid}).read().get("api", 0.0) == 0.0


def _work_until(done: threading.Event) -> None:
    while not done.is_set():
        sum(range(1000))
