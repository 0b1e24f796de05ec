"""One of the drain's two lanes: what it may take next, how it is doing, what it waits for."""

from __future__ import annotations

import asyncio
import logging
from collections import Counter
from dataclasses import dataclass
from itertools import takewhile
from random import Random

from schema.clock import Clock
from schema.errors import GridpactError
from schema.rows import Lane
from storage.batching import Batch, coalesce, sorted_facts
from storage.chunks import Chunk
from storage.dead_letters import park_run, run_is_dead
from storage.gate import Gate
from storage.ports import LaneState
from storage.spool import Spool
from storage.spool_rows import LANE_NUMBER, SCHEMA_VERSION
from storage.writer import Vault

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class DrainSettings:
    """Sizes and limits of sending on.

    Attributes:
        batch_rows: Most rows of a request.
        batch_bytes: Most bytes of bodies of a request (one row may be larger).
        in_flight: Requests of the facts lane on their way at once.
        start_rows: Rows of the first request; doubled after each quick one, halved after a timeout.
        quick_s: A request that took less was quick.
        settle_rows: Rows forgotten in one local transaction; puts go between.
        poison_share: A batch with more poison than this share stops its lane ...
        poison_floor: ... if it is also more than this many rows.
        orphan_attempts: How often a row is tried whose parent is unknown.
        schema_grace_s: How long missing tables may be a cache that lags behind (hosted).
    """

    batch_rows: int = 5000
    batch_bytes: int = 1_000_000
    in_flight: int = 4
    start_rows: int = 1000
    quick_s: float = 1.0
    settle_rows: int = 1000
    poison_share: float = 0.10
    poison_floor: int = 20
    orphan_attempts: int = 10
    schema_grace_s: float = 60.0


class LaneStatus:
    """State of a lane; belongs to the drain's event loop."""

    def __init__(self, lane: Lane, settings: DrainSettings, clock: Clock, rng: Random) -> None:
        self.lane = lane
        self.gate = Gate(clock, rng)
        self.state = LaneState.RUNNING
        self.error: GridpactError | None = None
        self.waits_for: str | None = None
        self.too_poisonous = False
        self.bury_all = False
        self.wake = asyncio.Event()
        self.sent: Counter[str] = Counter()
        self._settings = settings
        self._rows = min(settings.start_rows, settings.batch_rows)
        #: A request took too long, and since then none of full size went through.
        self._shrunk = False
        self._cursors: dict[int, int] = {}

    # -- what is next ---------------------------------------------------------------------

    def next_batch(self, vault: Vault, now_s: float) -> Batch | None:
        """Choose the next batch, inside a job of the writer thread; None when nothing is due.

        The oldest run first. A run's own rows go alone and before all others of it; facts wait
        until they were delivered.
        """
        spool = vault.spool
        number = LANE_NUMBER[self.lane]
        waiting = sorted(run for (lane, run), n in spool.depths.items() if lane == number and n)
        for run in waiting:
            if run not in spool.delivered_runs:
                if self.lane is Lane.ORDERED:
                    if rows := spool.take_run_rows(run, now_s):
                        return coalesce(rows)
                    if run_is_dead(spool, run):
                        park_run(spool, run, int(now_s))
                continue
            if self.lane is Lane.FACTS:
                if (batch := self._next_facts(spool, run, now_s)) is not None:
                    return batch
                continue
            rows = spool.take(
                self.lane,
                run,
                0,
                rows=self._rows,
                size=self._settings.batch_bytes,
                now_s=now_s,
            )
            if rows:
                return coalesce(rows)
        return None

    def _next_facts(self, spool: Spool, run: int, now_s: float) -> Batch | None:
        """Take rows or chunks, whichever were accepted first.

        Several batches are on their way at once: the next one starts behind this one.
        """
        size = self._settings.batch_bytes
        after = self._cursors.get(run, 0)
        # Half the rows: such requests cost little each, and the last of many ends sooner.
        chunks = spool.chunks.take(run, after, rows=self._rows // 2, size=size)
        if chunks and not self._goes_whole(chunks[0]):
            spool.chunks.open(chunks[0].first)
            # The next chunk, if there is one, is where its rows end.
            chunks = spool.chunks.take(run, after, rows=self._rows // 2, size=size)
        before = chunks[0].first if chunks else None
        rows = spool.take(
            self.lane, run, after, rows=self._rows, size=size, now_s=now_s, before=before
        )
        if rows:
            self._cursors[run] = rows[-1].seq
            return sorted_facts(coalesce(rows))
        if chunks:
            chunks = list(takewhile(self._goes_whole, chunks))
            self._cursors[run] = chunks[-1].last
            return Batch((), (), tuple(chunks))
        return None

    def _goes_whole(self, chunk: Chunk) -> bool:
        """Say whether a chunk is of today's form and of a size that requests have now."""
        return chunk.schema_version == SCHEMA_VERSION and (
            len(chunk.part) <= self._settings.batch_bytes
            and (chunk.rows <= self._rows or not self._shrunk)
        )

    def look_again(self) -> None:
        """Begin from the oldest row: some that were passed by are waiting once more."""
        self._cursors.clear()

    # -- how it went ----------------------------------------------------------------------

    def succeeded(self, batch: Batch, took_s: float) -> None:
        """Note a request that went through."""
        self.answered()
        self.too_poisonous = False
        self.sent.update(batch.tables())
        if took_s < self._settings.quick_s and batch.size * 2 > self._rows:
            self._rows = min(self._settings.batch_rows, self._rows * 2)
            self._shrunk &= self._rows < self._settings.batch_rows

    def answered(self) -> None:
        """Note that the store takes our requests, whatever it said of the rows."""
        self.gate.succeeded()
        if self.error is not None or self.waits_for is not None:
            log.warning("the %s lane is sending again", self.lane)
        self.state, self.error, self.waits_for = LaneState.RUNNING, None, None

    def waiting(self, error: GridpactError) -> None:
        """Note that the store cannot be reached, or cannot go on for now, and why."""
        if self.waits_for != error.message:
            log.warning("the %s lane waits: %s", self.lane, error.message)
        self.waits_for = error.message
        if self.state is LaneState.RUNNING:
            self.state = LaneState.WAITING

    def shrink(self, rows: int) -> None:
        """Note that a request of so many rows took too long."""
        self._rows = max(1, min(self._rows, rows) // 2)
        self._shrunk = True

    def fail(self, error: GridpactError) -> None:
        """Note a failure of the drain itself; everything on its way begins anew."""
        self.state, self.error, self.waits_for = LaneState.STOPPED, error, None
        self.gate.succeeded()
        self.look_again()

    def stop(self, error: GridpactError, passage: int) -> None:
        """Stop until somebody has mended it; rows stay in the spool."""
        if self.error is None or self.error.message != error.message:
            log.error("the %s lane has stopped: %s", self.lane, error)
        self.state, self.error, self.waits_for = LaneState.STOPPED, error, None
        self.gate.stopped(passage)
