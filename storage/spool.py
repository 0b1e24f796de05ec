"""The spool: rows that were accepted and are not yet known to be in Supabase.

Accepted means: in this SQLite file, committed, fsynced. All methods belong to the one writer
thread (``storage.writer``), which also opens and ends the transactions; nothing here commits.

    records  what was accepted; ``seq`` is the order of acceptance, ``state`` what became of it:
             waiting to be sent, delivered (a tombstone, so that a producer's retry is not sent
             again), or dead (the database will never take it)
    bodies   content of what waits or is dead
    dead     why
    chunks   many facts of one put in one record: see ``storage.chunks``
    checkpoints  what agents must not forget: see ``storage.checkpoints``
    runs     per run: whether its own row was delivered, and that row's newest content

One index over (table, id, version) of ``records`` thus answers "is it known" for all states, and
what sending on does to the file runs along ``seq``, page after page. (With one table a state each,
every thousand rows sent rewrote most pages of two indexes over random ids.)
"""

from __future__ import annotations

import sqlite3
from collections import Counter
from collections.abc import Sequence

import orjson

from schema.errors import ConstraintViolated, RecordConflict, SpoolFull
from schema.rows import TABLES, Lane, Record
from storage import checkpoints
from storage.chunks import KEPT_BYTES, Chunk, Chunks
from storage.gathering import Gathered, Prepared, prepare
from storage.grid_facts import FACT_COLUMNS
from storage.links import RUN_TABLE
from storage.ports import Checkpoint, PutAck
from storage.spool_file import PAGE_BYTES, SpoolSettings
from storage.spool_rows import (
    LANE_NUMBER,
    SCHEMA_VERSION,
    Accepted,
    CrashPoint,
    NewRow,
    SpoolRow,
    State,
    no_crash,
    opened,
    stretches,
)

#: Beside its body a row costs about this much: hash, keys, three indexes, page slack.
_ROW_OVERHEAD = 230
_TOMBSTONE_BYTES = 150
_PRUNE_ROWS = 2000
_NO_END = 2**62

_INSERT = """
insert into records (seq, tbl, id, version, run, lane, rank, schema_version, sha256, at)
values (?, ?, ?, ?, ?, ?, ?, ?, ?, ?) on conflict (tbl, id, version) do nothing
"""
_INSERT_BODY = "insert into bodies (seq, body) values (?, ?)"
_ROW = (
    "r.seq, t.name, r.id, r.version, r.run, r.rank, r.schema_version, b.body, r.sha256, r.attempts"
)
_WAITING = "records r join bodies b on b.seq = r.seq join tables t on t.no = r.tbl"

#: seq, table, id, version, run, lane, rank, schema_version, sha256, at.
_Parameters = tuple[int, int, bytes, int, int, int, int, int, bytes, int]


class Spool:
    """The spool's rules over an open connection."""

    def __init__(
        self,
        db: sqlite3.Connection,
        settings: SpoolSettings,
        crash_point: CrashPoint = no_crash,
    ) -> None:
        self.db = db
        self.settings = settings
        self._crash_point = crash_point
        self.conflicts = 0
        self.refuse_puts = False
        self.chunks = Chunks(db, settings)
        self.reload()

    def reload(self) -> None:
        """Read numbers of tables and runs and the depths from the file, as after a rollback."""
        db = self.db
        self._tables: dict[str, int] = dict(db.execute("select name, no from tables"))
        self._runs: dict[str, int] = dict(db.execute("select run_id, no from runs"))
        self.depths: Counter[tuple[int, int]] = Counter()
        for lane, run, depth in db.execute(
            "select lane, run, count(*) from records where state = 0 group by 1, 2"
        ):
            self.depths[lane, run] = depth
        self.chunks.reload()
        for lane, run, depth in self.chunks.depths():
            self.depths[lane, run] += depth
        self.delivered_runs = {no for (no,) in db.execute("select no from runs where delivered")}
        (self.dead,) = db.execute("select count(*) from dead").fetchone()
        row = db.execute("select seq from sqlite_sequence where name = 'records'").fetchone()
        self.last_seq: int = max(0 if row is None else row[0], self.chunks.last_place())
        self._pruned_to = 0
        #: Runs whose own row is known, the newest last, with the moment their clock stands at.
        self.run_clocks: dict[str, str | None] = {
            run_id: orjson.loads(body).get("clock_at")
            for run_id, body in db.execute(
                "select run_id, body from runs where body is not null order by no"
            )
        }

    # -- accepting ------------------------------------------------------------------------

    def accept(
        self,
        records: Sequence[Record],
        now_s: int,
        checkpoint: Checkpoint | None = None,
        prepared: Prepared | None = None,
    ) -> Accepted:
        """Take rows in, and a checkpoint with them; the caller's commit makes it a promise.

        The caller rolls back whatever raises, and then calls ``reload``. ``prepared`` is what
        ``prepare`` makes of the same rows, if that was done before.

        Raises:
            SpoolFull: The door is shut for these rows.
            RecordConflict: A known id and version with other content.
            ConstraintViolated: A row or the checkpoint is too large, or a row is no record.
        """
        self._check_door(records, 0 if checkpoint is None else len(checkpoint.blob))
        if prepared is None:
            prepared = prepare(
                records, least=self.settings.chunk_rows, most=self.settings.chunk_most_rows
            )
        singles, pieces = list(prepared.singles), list[Gathered]()
        for of_table in prepared.chunks:
            if any(map(self.chunks.knows_any, of_table)):
                singles += [record for piece in of_table for record in piece.records]
            else:
                pieces += of_table
        new = [*self._accept_rows(singles, now_s)]
        added = len(new)
        for piece in pieces:
            new += self._accept_chunk(piece, now_s)
            added += len(piece.versions)
        if checkpoint is not None:
            checkpoints.save(self.db, self.run(checkpoint.run_id), checkpoint)
        ack = PutAck(added, len(records) - added, self.fill())
        return Accepted(ack, tuple(new))

    def _accept_chunk(self, piece: Gathered, now_s: int) -> list[NewRow]:
        """Take a chunk in; gives its rows if somebody wants to fold them."""
        run, rows = self.run(piece.run_id), len(piece.versions)
        self.chunks.insert(piece, self.last_seq + 1, self.table_number(piece.table), run, now_s)
        self.last_seq += rows
        self.depths[LANE_NUMBER[TABLES[piece.table].lane], run] += rows
        if piece.table not in FACT_COLUMNS:
            return []
        return [
            NewRow(run, piece.run_id, record, columns)
            for record, columns in zip(piece.records, piece.columns, strict=True)
        ]

    def _accept_rows(self, records: Sequence[Record], now_s: int) -> list[NewRow]:
        if not records:
            return []
        rows, run_ids, contents = self._read(records, now_s)
        db = self.db
        db.execute("savepoint bulk")
        before = db.total_changes
        in_chunk = self.chunks.may_know([(row[2], row[3]) for row in rows])
        if not in_chunk:
            db.executemany(_INSERT, rows)
        if not in_chunk and db.total_changes - before == len(rows):
            fresh = [True] * len(rows)
            db.executemany(
                _INSERT_BODY,
                [(row[0], record.body) for row, record in zip(rows, records, strict=True)],
            )
        else:
            db.execute("rollback to bulk")
            fresh = [
                self._insert_or_recognise(row, record)
                for row, record in zip(rows, records, strict=True)
            ]
        db.execute("release bulk")
        self.last_seq += len(rows)
        accepted = [
            NewRow(row[4], run_id, record, content)
            for row, run_id, record, content, new in zip(
                rows, run_ids, records, contents, fresh, strict=True
            )
            if new
        ]
        for row, new in zip(rows, fresh, strict=True):
            if new:
                self.depths[row[5], row[4]] += 1
        for new_row in accepted:
            if new_row.record.table == RUN_TABLE:
                self._note_run(new_row)
        return accepted

    def _insert_or_recognise(self, row: _Parameters, record: Record) -> bool:
        known = self.db.execute(
            "select sha256 from records where tbl = ? and id = ? and version = ?", row[1:4]
        ).fetchone()
        digest = self.chunks.hash_of(*row[1:4]) if known is None else known[0]
        if digest is None:
            self.db.execute(_INSERT, row)
            self.db.execute(_INSERT_BODY, (row[0], record.body))
            return True
        if digest != row[8]:
            self.conflicts += 1
            msg = (
                f"{record.table} {record.id} version {record.version} came again with other "
                "content; a changed row needs a higher version, a new row another natural key"
            )
            raise RecordConflict(msg, table=record.table, id=record.id, version=record.version)
        return False

    def _read(
        self, records: Sequence[Record], now_s: int
    ) -> tuple[list[_Parameters], list[str], list[dict[str, object]]]:
        """Open the records once: what to insert, their runs, their columns."""
        rows: list[_Parameters] = []
        run_ids: list[str] = []
        contents: list[dict[str, object]] = []
        kinds: dict[tuple[str, str], tuple[int, int, int, int]] = {}
        for record in records:
            row_id, run_id, columns = opened(record)
            kind = kinds.get((record.table, run_id))
            if kind is None:
                spec = TABLES[record.table]
                number, run = self.table_number(record.table), self.run(run_id)
                kind = kinds[record.table, run_id] = (
                    number,
                    run,
                    LANE_NUMBER[spec.lane],
                    spec.rank,
                )
            number, run, lane, rank = kind
            rows.append(
                (
                    self.last_seq + 1 + len(rows),
                    number,
                    row_id,
                    record.version,
                    run,
                    lane,
                    rank,
                    SCHEMA_VERSION,
                    record.sha256,
                    now_s,
                )
            )
            run_ids.append(run_id)
            contents.append(columns)
        return rows, run_ids, contents

    def table_number(self, name: str) -> int:
        """Give the number by which the spool knows a table."""
        if (known := self._tables.get(name)) is not None:
            return known
        self.db.execute("insert or ignore into tables (name) values (?)", (name,))
        (number,) = self.db.execute("select no from tables where name = ?", (name,)).fetchone()
        return self._tables.setdefault(name, int(number))

    # -- room -----------------------------------------------------------------------------

    def used_pages(self) -> int:
        """Count the pages that hold something."""
        (pages,) = self.db.execute("pragma page_count").fetchone()
        (free,) = self.db.execute("pragma freelist_count").fetchone()
        return int(pages) - int(free)

    def fill(self) -> float:
        """Give the share of the door in use."""
        return self.used_pages() / self.settings.door_pages

    def _check_door(self, records: Sequence[Record], more_bytes: int) -> None:
        need = sum(len(record.body) + _ROW_OVERHEAD for record in records) + more_bytes
        need //= PAGE_BYTES
        tables = {record.table for record in records}
        if unknown := tables - TABLES.keys():
            msg = f"no table that takes rows: {', '.join(unknown)}; known are {', '.join(TABLES)}"
            raise ConstraintViolated(msg, table=next(iter(unknown)))
        facts = any(TABLES[table].lane is Lane.FACTS for table in tables)
        share = self.settings.facts_door_share if facts else 1.0
        door = int(self.settings.door_pages * share)
        used = self.used_pages()
        if self.refuse_puts or used + need > door:
            why = "the disk is full" if self.refuse_puts else f"its door is at {door} pages"
            msg = (
                f"the spool takes no more rows ({used} pages in use, {why}); "
                "wait until Supabase has taken some, and see that it can be reached"
            )
            raise SpoolFull(msg, used_pages=used, door_pages=door)

    # -- runs -----------------------------------------------------------------------------

    def run(self, run_id: str) -> int:
        """Give the number by which the spool knows a run."""
        if (known := self._runs.get(run_id)) is not None:
            return known
        self.db.execute("insert or ignore into runs (run_id) values (?)", (run_id,))
        (number,) = self.db.execute("select no from runs where run_id = ?", (run_id,)).fetchone()
        return self._runs.setdefault(run_id, int(number))

    def run_number(self, run_id: str) -> int | None:
        """Give the number of a run, if any row of it was ever accepted; for any thread."""
        return self._runs.get(run_id)

    def run_content(self, run_id: str) -> tuple[int, bytes] | None:
        """Give version and body of a run's newest row; None when none was accepted."""
        row = self.db.execute(
            "select version, body from runs where run_id = ? and body is not null", (run_id,)
        ).fetchone()
        return None if row is None else (int(row[0]), bytes(row[1]))

    def _note_run(self, row: NewRow) -> None:
        record = row.record
        newer = self.db.execute(
            "update runs set version = ?, body = ? where no = ? and coalesce(version, -1) < ?",
            (record.version, record.body, row.run, record.version),
        ).rowcount
        if newer:
            clock_at = row.columns.get("clock_at")
            self.run_clocks[row.run_id] = clock_at if isinstance(clock_at, str) else None
            checkpoints.forget(self.db, row.run, row.columns)

    def checkpoint(self, run_id: str, name: str) -> Checkpoint | None:
        """Give what was saved last under a name of a run."""
        return checkpoints.load(self.db, self._runs.get(run_id), run_id, name)

    # -- sending on -----------------------------------------------------------------------

    def take(
        self,
        lane: Lane,
        run: int,
        after: int,
        *,
        rows: int,
        size: int,
        now_s: float,
        before: int | None = None,
    ) -> list[SpoolRow]:
        """Read the next rows of a run's lane, in order of acceptance.

        Args:
            lane: Which lane.
            run: Which run.
            after: Only rows with a higher ``seq``.
            rows: At most this many ...
            size: ... or this many bytes of body, but at least one row.
            now_s: Rows put off until later than this are left out.
            before: Only rows with a lower ``seq``.
        """
        cursor = self.db.execute(
            f"select {_ROW} from {_WAITING} "  # noqa: S608
            "where r.state = 0 and r.lane = ? and r.run = ? and r.seq > ? and r.seq < ? "
            "and r.not_before <= ? order by r.seq limit ?",
            (LANE_NUMBER[lane], run, after, _NO_END if before is None else before, now_s, rows),
        )
        taken: list[SpoolRow] = []
        total = 0
        for values in cursor:
            row = SpoolRow(*values)
            total += len(row.body)
            if taken and total > size:
                break
            taken.append(row)
        cursor.close()
        return taken

    def take_run_rows(self, run: int, now_s: float) -> list[SpoolRow]:
        """Read the rows of the run itself, which go before all others of it."""
        cursor = self.db.execute(
            f"select {_ROW} from {_WAITING} "  # noqa: S608
            "where r.state = 0 and r.lane = 0 and r.run = ? and t.name = ? and r.not_before <= ? "
            "order by r.seq",
            (run, RUN_TABLE, now_s),
        )
        return [SpoolRow(*values) for values in cursor]

    def next_due(self, lane: Lane) -> float | None:
        """Say when the first row that was put off may be tried again."""
        (due,) = self.db.execute(
            "select min(not_before) from records where state = 0 and not_before > 0 and lane = ?",
            (LANE_NUMBER[lane],),
        ).fetchone()
        return None if due is None else float(due)

    def first_waiting(self) -> int | None:
        """Give the lowest number of a row that is still to be sent; None when all were."""
        firsts = [
            self.db.execute(
                "select min(seq) from records where state = 0 and lane = ? and run = ?", key
            ).fetchone()[0]
            for key, depth in self.depths.items()
            if depth
        ]
        if (chunk := self.chunks.first_waiting()) is not None:
            firsts.append(chunk[0])
        return min((first for first in firsts if first is not None), default=None)

    def oldest_accepted_at(self) -> int | None:
        """Say when the oldest unsent row was accepted, in seconds; None when all are sent."""
        first = self.first_waiting()
        if first is None:
            return None
        chunk = self.chunks.first_waiting()
        if chunk is not None and chunk[0] == first:
            return chunk[1]
        (at,) = self.db.execute("select at from records where seq = ?", (first,)).fetchone()
        return int(at)

    def settle(self, rows: Sequence[SpoolRow], now_s: int) -> None:
        """Forget the content of rows that the store has; their ids are known for a while."""
        # Deleting first: at the hard cap this frees the pages that the rest may need.
        self.db.executemany("delete from bodies where seq between ? and ?", stretches(rows))
        self._crash_point("mid_delete")
        self.mark(rows, State.DELIVERED, now_s)
        for run in {row.run for row in rows if row.table == RUN_TABLE} - self.delivered_runs:
            self.db.execute("update runs set delivered = 1 where no = ?", (run,))
            self.delivered_runs.add(run)
        self._prune(now_s)

    def settle_chunks(self, chunks: Sequence[Chunk], now_s: int) -> None:
        """Forget the content of chunks that the store has; their ids are known for a while."""
        lane = LANE_NUMBER[Lane.FACTS]
        for chunk in chunks:
            self.depths[lane, chunk.run] -= self.chunks.settle(chunk, now_s)
            self._crash_point("mid_delete")
        self._prune(now_s)

    def delay(self, row: SpoolRow, until_s: float) -> None:
        """Put a row off: its parent is not there yet."""
        self.db.execute(
            "update records set attempts = attempts + 1, not_before = ? where seq = ?",
            (until_s, row.seq),
        )

    def mark(self, rows: Sequence[SpoolRow], state: State, now_s: int) -> None:
        """Say what became of waiting rows."""
        marked = self.db.executemany(
            "update records set state = ?, at = ? where state = 0 and seq between ? and ?",
            [(state, now_s, first, last) for first, last in stretches(rows)],
        ).rowcount
        if marked != len(rows):
            self.reload()
            return
        for row in rows:
            self.depths[LANE_NUMBER[TABLES[row.table].lane], row.run] -= 1

    def _prune(self, now_s: int) -> None:
        """Forget ids that were delivered long ago, or too many: a stretch at a time."""
        room = self.settings.limit_bytes * self.settings.tombstone_share
        self.chunks.prune(now_s - self.settings.tombstone_age_s, int(room / KEPT_BYTES))
        limit = (room - self.chunks.kept_rows * KEPT_BYTES) / _TOMBSTONE_BYTES
        (first,) = self.db.execute(
            "select min(seq) from records where seq > ?", (self._pruned_to,)
        ).fetchone()
        if first is None:
            self._pruned_to = 0
            return
        others = sum(self.depths.values()) + self.dead + self.chunks.kept_rows
        excess = self.last_seq - first + 1 - others - int(limit)
        before = now_s + 1 if excess > 0 else int(now_s - self.settings.tombstone_age_s)
        (at,) = self.db.execute("select at from records where seq = ?", (first,)).fetchone()
        if at >= before:
            self._pruned_to = 0
            return
        last = first + min(_PRUNE_ROWS, excess if excess > 0 else _PRUNE_ROWS) - 1
        self.db.execute(
            "delete from records where seq between ? and ? and state = 1 and at < ?",
            (first, last, before),
        )
        self._pruned_to = last
