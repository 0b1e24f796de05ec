"""A write-ahead log that ends anywhere, or has a wrong bit, leaves exactly whole commits.

Trials are cuts: of 1,000 trials on every byte is cut, of fewer a sample. What stands behind a cut
is nothing, or bytes that mean nothing.
"""

from __future__ import annotations

import random
import shutil
from collections.abc import Iterator
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path

import pytest
from chaos_table import Tally
from storage_samples import log, run_record

from storage.spool import Spool
from storage.spool_file import SpoolSettings, open_database

pytestmark = [pytest.mark.chaos, pytest.mark.xdist_group("damaged-logs"), pytest.mark.timeout(900)]

QUIET = SpoolSettings(ballast_bytes=0)
COMMITS = 3
EVERY_BYTE_FROM = 1000
CUTS_A_TRIAL = 20


@dataclass(frozen=True)
class Whole:
    """A spool whose commits all lie in the log still."""

    main: bytes
    wal: bytes
    ends: tuple[int, ...]
    """Length of the log after each commit."""

    def rows(self, upto: int) -> list[int]:
        """Give the rows of the commits that lie before a byte of the log."""
        return list(range(1, sum(end <= upto for end in self.ends) + 1))


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Whole:
    folder = tmp_path_factory.mktemp("whole")
    with closing(open_database(folder, QUIET)) as db:
        spool = Spool(db, QUIET)
        for record in (run_record(), log(0)):
            db.execute("begin immediate")
            spool.accept([record], 0)
            db.execute("commit")
        # The tables lie in the file from here on, so that a short log is read again and again.
        db.execute("pragma wal_checkpoint(truncate)")
        db.execute("pragma wal_autocheckpoint = 0")
        ends = []
        for number in range(COMMITS):
            db.execute("begin immediate")
            spool.accept([log(1 + number)], 0)
            db.execute("commit")
            ends.append((folder / "spool.db-wal").stat().st_size)
        found = Whole(
            (folder / "spool.db").read_bytes(), (folder / "spool.db-wal").read_bytes(), tuple(ends)
        )
    assert len(found.wal) == ends[-1]
    return found


@pytest.fixture
def place(tmp_path: Path) -> Iterator[Path]:
    yield tmp_path
    shutil.rmtree(tmp_path)


def rows_after(place: Path, whole: Whole, wal: bytes) -> list[int] | str:
    """Open the spool with another log; gives the rows of the log's commits, or what is wrong."""
    (place / "spool.db").write_bytes(whole.main)
    (place / "spool.db-wal").write_bytes(wal)
    with closing(open_database(place, QUIET)) as db:
        rows = [seq - 2 for (seq,) in db.execute("select seq from records where seq > 2")]
        (integrity,) = db.execute("pragma integrity_check").fetchone()
    return rows if integrity == "ok" else str(integrity)


def test_a_log_that_ends_at_any_byte_leaves_the_commits_before_it(
    place: Path, whole: Whole, trials: int, tally: Tally
) -> None:
    rng = random.Random(1)
    size = len(whole.wal)
    if trials >= EVERY_BYTE_FROM:
        cuts = list(range(size + 1))
    else:
        # Where a commit ends, one byte less and more, and a sample.
        near = {end + by for end in whole.ends for by in (-1, 0, 1)}
        cuts = sorted(
            {cut for cut in near if cut <= size}
            | set(rng.sample(range(size), CUTS_A_TRIAL * trials))
        )
    wrong = []
    for number, cut in enumerate(cuts):
        behind = rng.randbytes(rng.randint(1, 5000)) if number % 2 else b""
        if rows_after(place, whole, whole.wal[:cut] + behind) != whole.rows(cut):
            wrong.append(cut)
    what = "every byte" if len(cuts) == size + 1 else "a sample of bytes"
    tally(f"6: log cut at {what}, whole commits are left", len(cuts), wrong)


def test_a_wrong_bit_in_the_log_leaves_the_commits_before_it(
    place: Path, whole: Whole, trials: int, tally: Tally
) -> None:
    rng = random.Random(2)
    wrong = []
    for _ in range(trials):
        bit = rng.randrange(8 * len(whole.wal))
        wal = bytearray(whole.wal)
        wal[bit // 8] ^= 1 << bit % 8
        rows = rows_after(place, whole, bytes(wal))
        # Four bytes of the head are a count that nobody reads.
        if rows != whole.rows(bit // 8) and not (
            12 <= bit // 8 < 16 and rows == whole.rows(len(wal))
        ):
            wrong.append((bit, rows))
    tally("6: one wrong bit in the log, whole commits are left", trials, wrong)
