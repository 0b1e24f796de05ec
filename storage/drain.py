"""Sending on: from the spool into the store, in two lanes, until each row is there or judged.

    ordered   one request in flight, oldest first; runs, agents, windows, workloads, negotiations
    facts     up to four in flight, any order; readings and request logs; waits for the run's row

A row leaves the spool only after the store has confirmed it, or after it was judged and put aside.
Anything ambiguous is sent again: ids and versions make that harmless. Errors are judged by code
(``storage.verdicts``); a batch with a bad row in it is halved until the row is alone.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from random import Random
from typing import TypeVar

import orjson

from schema.clock import Clock
from schema.errors import ConstraintViolated, GridpactError, StorageError, StorageUnavailable
from schema.rows import Lane
from storage.batching import Batch, bodies_by_table, coalesce, sorted_facts
from storage.dead_letters import Obituary, Reason, bury, dead_among, pending_among
from storage.gate import PROBE_S, Gate
from storage.lane import DrainSettings, LaneStatus
from storage.links import RUN_COLUMN, RUN_TABLE, parent_ids
from storage.ports import DrainStatus, LaneState, Store
from storage.spool_rows import CrashPoint, SpoolRow, no_crash
from storage.verdicts import Verdict, verdict_of
from storage.writer import SpoolWriter, Vault

log = logging.getLogger(__name__)
T = TypeVar("T")

Casualty = tuple[SpoolRow, Obituary]


class Drain:
    """Both lanes over one store; made and run in one event loop."""

    def __init__(
        self,
        writer: SpoolWriter,
        store: Store,
        clock: Clock,
        rng: Random,
        settings: DrainSettings | None = None,
        crash_point: CrashPoint = no_crash,
    ) -> None:
        self._writer = writer
        self._store = store
        self._clock = clock
        self._rng = rng
        self._settings = settings or DrainSettings()
        self._crash_point = crash_point
        self._outage = Gate(clock, rng)
        self._lanes = {lane: LaneStatus(lane, self._settings, clock, rng) for lane in Lane}
        self._changed = asyncio.Event()
        self._schema_behind_since: float | None = None

    # -- running --------------------------------------------------------------------------

    async def run(self) -> None:
        """Send until cancelled; after a failure of our own, tell, wait and begin anew."""
        while True:
            failure = await self._first_failure()
            log.error("sending on has failed; beginning anew", exc_info=failure)
            # Whoever was to find out whether the store is back has been cancelled.
            self._outage.succeeded()
            for lane in self._lanes.values():
                msg = f"sending on has failed and begins anew soon: {failure!r}"
                lane.fail(StorageError(msg))
            self._notify()
            await self._clock.sleep(self._rng.uniform(PROBE_S, 1.5 * PROBE_S))

    async def _first_failure(self) -> BaseException:
        """Send on both lanes until one fails, and end the other.

        No task group: one whose child fails as it is cancelled tells of the failure alone, and who
        cancelled it waits for ever.
        """
        tasks = [
            asyncio.create_task(self._run_ordered(self._lanes[Lane.ORDERED])),
            asyncio.create_task(self._run_facts(self._lanes[Lane.FACTS])),
        ]
        try:
            await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for task in tasks:
                task.cancel()
            ended = await asyncio.gather(*tasks, return_exceptions=True)
        return next(
            found
            for found in ended
            if found is not None and not isinstance(found, asyncio.CancelledError)
        )

    def look_again(self) -> None:
        """Say that rows which had been passed by are waiting once more."""
        for lane in self._lanes.values():
            lane.look_again()
        self.nudge()

    def try_now(self) -> None:
        """Say that the store may be back: whoever waits to try again tries now."""
        self._outage.hurry()
        for lane in self._lanes.values():
            lane.gate.hurry()

    def nudge(self) -> None:
        """Say that there may be something new to send."""
        for lane in self._lanes.values():
            lane.wake.set()

    async def _run_ordered(self, lane: LaneStatus) -> None:
        while True:
            lane.wake.clear()
            batch = await self._next(lane)
            if batch is None:
                await self._idle(lane)
            else:
                await self._deliver(lane, batch)

    async def _run_facts(self, lane: LaneStatus) -> None:
        async with asyncio.TaskGroup() as group:
            free = asyncio.Semaphore(self._settings.in_flight)

            async def deliver(batch: Batch) -> None:
                try:
                    await self._deliver(lane, batch)
                finally:
                    free.release()

            while True:
                await free.acquire()
                lane.wake.clear()
                batch = await self._next(lane)
                if batch is None:
                    free.release()
                    await self._idle(lane)
                else:
                    group.create_task(deliver(batch))

    async def _next(self, lane: LaneStatus) -> Batch | None:
        now_s = self._now_s()
        return await self._do(lambda vault: lane.next_batch(vault, now_s))

    async def _idle(self, lane: LaneStatus) -> None:
        """Wait for something new, or until a row that was put off is due."""
        due = await self._do(lambda vault: vault.spool.next_due(lane.lane))
        if due is None:
            await lane.wake.wait()
            return
        waits = [
            asyncio.ensure_future(lane.wake.wait()),
            # A little more: seconds since 1970 are too coarse for a float to hit a moment.
            asyncio.ensure_future(self._clock.sleep(max(0.0, due - self._now_s()) + 0.001)),
        ]
        try:
            await asyncio.wait(waits, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for wait in waits:
                wait.cancel()

    # -- one batch ------------------------------------------------------------------------

    async def _deliver(self, lane: LaneStatus, batch: Batch) -> None:
        rest: Batch | None = batch
        while rest is not None:
            rest = await self._send_and_judge(lane, rest)

    async def _send_and_judge(self, lane: LaneStatus, batch: Batch) -> Batch | None:
        """Send a batch, halving it around bad rows.

        Returns:
            None when every row is in the store or put aside; else what is left of a batch with
            so many bad rows that the fault is hardly theirs, and the lane has stopped.
        """
        parts = [batch]
        casualties: list[Casualty] = []
        poison = 0
        limit = max(self._settings.poison_floor, self._settings.poison_share * batch.size)
        while parts:
            part = parts.pop()
            error = await self._attempt(lane, part)
            if error is None:
                await self._settle(part)
                continue
            if part.chunks:
                pieces = part.pieces()
                if len(pieces) > 1:
                    parts += reversed(pieces)
                    continue
                # What was said of the chunk holds for its rows together.
                part = await self._opened(part)
            whole_part_is_lost = lane.lane is Lane.FACTS and verdict_of(error) is Verdict.ORPHAN
            if len(part.rows) > 1 and not whole_part_is_lost:
                first, second = part.halves()
                parts += [second, first]
                continue
            if verdict_of(error) is Verdict.ORPHAN:
                casualties += await self._judge_orphans(lane, part, error, casualties)
                continue
            poison += 1
            casualties += [(row, _obituary(Reason.POISON, error)) for row in part.rows]
            if poison > limit and not lane.bury_all:
                await self._refuse(lane, error, poison, batch.size)
                left = [*(row for row, _ in casualties), *(r for p in parts for r in p.rows)]
                return Batch(
                    tuple(left),
                    tuple(r for p in parts for r in p.superseded),
                    tuple(chunk for p in parts for chunk in p.chunks),
                )
        if casualties:
            now_s = int(self._now_s())
            await self._do(lambda vault: bury(vault.spool, casualties, now_s))
            log.error("%d rows put aside, first: %s", len(casualties), casualties[0][1].message)
            self._notify()
        lane.bury_all = False
        return None

    async def _attempt(self, lane: LaneStatus, batch: Batch) -> GridpactError | None:
        """Send until the store has it (None) or says what is wrong with the rows."""
        while True:
            await asyncio.sleep(0)
            outage_passage = await self._outage.passage()
            passage = await lane.gate.passage()
            started = self._clock.monotonic_s()
            try:
                if batch.rows:
                    await self._store.ingest(bodies_by_table(batch.rows))
                if batch.chunks:
                    await self._store.ingest_columns([chunk.part for chunk in batch.chunks])
            except GridpactError as exc:
                error = exc
            except Exception as exc:  # noqa: BLE001  # recorded as a stopped lane, tried again
                error = StorageError(f"sending failed in an unforeseen way: {exc!r}")
            else:
                self._outage.succeeded()
                lane.succeeded(batch, self._clock.monotonic_s() - started)
                self._schema_behind_since = None
                return None
            if self._judged(lane, batch.size, error, outage_passage, passage):
                return error
            self._notify()

    def _judged(
        self, lane: LaneStatus, rows: int, error: GridpactError, outage: int, passage: int
    ) -> bool:
        """Say whether the rows are to be looked at; else note when the batch may go again."""
        verdict = verdict_of(error)
        if verdict in (Verdict.RETRY, Verdict.SHRINK):
            lane.waiting(error)
            lane.gate.undecided(passage)
            self._outage.failed(outage, _retry_after(error))
            if verdict is Verdict.SHRINK:
                lane.shrink(rows)
            return verdict is Verdict.SHRINK and rows > 1
        self._outage.succeeded()
        of_the_rows = verdict in (Verdict.POISON, Verdict.ORPHAN)
        if of_the_rows and not lane.too_poisonous:
            lane.answered()
            return True
        if of_the_rows:
            # Still too poisonous: the lane stays stopped and keeps the reason it has.
            lane.gate.stopped(passage)
        elif self._within_grace(verdict):
            lane.waiting(error)
            lane.gate.stopped(passage)
        else:
            lane.stop(error, passage)
        return False

    def _within_grace(self, verdict: Verdict) -> bool:
        """Say whether a missing table may still be the server's cache."""
        if verdict is not Verdict.SCHEMA:
            return False
        now = self._clock.monotonic_s()
        if self._schema_behind_since is None:
            self._schema_behind_since = now
        return now - self._schema_behind_since < self._settings.schema_grace_s

    async def _settle(self, batch: Batch) -> None:
        self._crash_point("after_response_before_delete")
        # In order of acceptance, because the file lies in that order.
        rows = sorted(batch.all_rows, key=lambda row: row.seq)
        now_s = int(self._now_s())
        for start in range(0, len(rows), self._settings.settle_rows):
            chunk = rows[start : start + self._settings.settle_rows]
            await self._do(lambda vault, chunk=chunk: vault.spool.settle(chunk, now_s))  # type: ignore[misc]
        if batch.chunks:
            await self._do(lambda vault: vault.spool.settle_chunks(batch.chunks, now_s))
        if any(row.table == RUN_TABLE for row in rows):
            self.nudge()
        self._notify()

    async def _opened(self, batch: Batch) -> Batch:
        """Turn a batch of one chunk into the chunk's rows."""
        (chunk,) = batch.chunks
        rows = await self._do(lambda vault: vault.spool.chunks.open(chunk.first))
        return sorted_facts(coalesce(rows))

    async def _judge_orphans(
        self, lane: LaneStatus, part: Batch, error: GridpactError, casualties: list[Casualty]
    ) -> list[Casualty]:
        """Say what becomes of rows whose parent is missing: put aside now, or put off."""
        if lane.lane is Lane.FACTS:
            # Facts go only after their run's row was delivered, so it was deleted since.
            return [(row, _obituary(Reason.ORPHAN, error)) for row in part.rows]
        (row,) = part.rows
        parents = _parents(row)
        dying = {other.id.hex() for other, _ in casualties}
        known_dead = await self._do(lambda vault: dead_among(vault.spool, parents))
        if known_dead or any(parent.replace("-", "") in dying for parent in parents):
            return [(row, _obituary(Reason.PARENT_DEAD, error))]
        pending = await self._do(lambda vault: pending_among(vault.spool, parents))
        if not pending and row.attempts + 1 >= self._settings.orphan_attempts:
            return [(row, _obituary(Reason.ORPHAN, error))]
        until_s = self._now_s() + self._rng.uniform(0.5, 1.0) * min(60.0, 2.0**row.attempts)
        for waiting in part.all_rows:
            await self._do(lambda vault, row=waiting: vault.spool.delay(row, until_s))  # type: ignore[misc]
        return []

    async def _refuse(self, lane: LaneStatus, error: GridpactError, poison: int, rows: int) -> None:
        """Stop a lane whose rows are refused in such numbers that the database is to blame."""
        msg = (
            f"Supabase refused {poison} of a batch of {rows} rows, which looks like a wrong "
            f"schema, not wrong rows; nothing was put aside. The last: {error.message}"
        )
        lane.too_poisonous = True
        lane.stop(ConstraintViolated(msg, **error.details), await lane.gate.passage())
        self._notify()

    # -- asking ---------------------------------------------------------------------------

    async def drained(self) -> None:
        """Return when everything accepted until now has left the spool.

        Raises:
            GridpactError: A lane has stopped; somebody must mend something first.
        """
        last = await self._do(lambda vault: vault.spool.last_seq)
        while True:
            changed = self._changed
            first = await self._do(lambda vault: vault.spool.first_waiting())
            if first is None or first > last:
                return
            for lane in self._lanes.values():
                if lane.error is not None:
                    raise lane.error
            await changed.wait()

    async def status(self) -> DrainStatus:
        """Say how far sending on has come."""
        depth, dead = await self._do(
            lambda vault: (sum(vault.spool.depths.values()), vault.spool.dead)
        )
        sent = self._lanes[Lane.ORDERED].sent + self._lanes[Lane.FACTS].sent
        lanes = {lane.value: status.state for lane, status in self._lanes.items()}
        errors = tuple(s.error for s in self._lanes.values() if s.error is not None)
        return DrainStatus(depth, dead, dict(sent), lanes, errors)

    def resume(self) -> None:
        """Try stopped lanes now, and put aside whatever rows are refused, however many."""
        for lane in self._lanes.values():
            if lane.state is LaneState.STOPPED:
                lane.bury_all = lane.too_poisonous
                lane.too_poisonous = False
                lane.gate.succeeded()

    def unavailable(self, depth: int) -> StorageUnavailable:
        """Make the error for somebody whose patience has ended."""
        lanes = ", ".join(f"{lane.value} {s.state.value}" for lane, s in self._lanes.items())
        msg = (
            f"{depth} rows are still on their way to Supabase (lanes: {lanes}); they are safe in "
            "the spool and go on at the next start"
        )
        causes = {s.waits_for: None for s in self._lanes.values() if s.waits_for is not None}
        if causes:
            msg += f"; it last said: {'; '.join(causes)}"
        return StorageUnavailable(msg, depth=depth, lanes=lanes)

    # -- small things ---------------------------------------------------------------------

    async def _do(self, job: Callable[[Vault], T]) -> T:
        return await asyncio.wrap_future(self._writer.call(job))

    def _now_s(self) -> float:
        return self._clock.now().timestamp()

    def _notify(self) -> None:
        self._changed.set()
        self._changed = asyncio.Event()


def _obituary(reason: Reason, error: GridpactError) -> Obituary:
    code, http = error.details.get("code"), error.details.get("http_status")
    return Obituary(
        reason,
        error.message,
        code if isinstance(code, str) else None,
        http if isinstance(http, int) else None,
    )


def _retry_after(error: GridpactError) -> float | None:
    found = error.details.get("retry_after_s")
    return found if isinstance(found, float) else None


def _parents(row: SpoolRow) -> list[str]:
    columns = orjson.loads(row.body)
    ids = [parent for _, parent in parent_ids(row.table, columns)]
    if row.table != RUN_TABLE:
        ids.append(columns[RUN_COLUMN])
    return ids
