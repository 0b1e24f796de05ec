"""The storage actor's inside: accept, remember the grid, send on. Works without Ray.

Every method may be called from any thread and any event loop. Two threads do the work: the writer
(SQLite) and the drain (an event loop of its own, which also owns the store's connections). Async
methods wait for them without blocking the caller's loop.
"""

from __future__ import annotations

import asyncio
import logging
import os
import sqlite3
from collections.abc import Callable, Coroutine, Sequence
from concurrent.futures import Future
from datetime import datetime
from pathlib import Path
from random import Random
from typing import Any, Self, TypeVar

from schema.clock import Clock
from schema.errors import GridpactError, StorageError
from schema.periods import format_instant, require_utc
from schema.rows import Record, ScenarioRunRow
from storage.background import BackgroundLoop
from storage.dead_letters import DeadRow, list_dead, retry
from storage.drain import Drain
from storage.embedded.files import write_private_json
from storage.grid_state import PERIODS, GridState, view
from storage.lane import DrainSettings
from storage.outages import FailingStore, Outage
from storage.ports import (
    Checkpoint,
    DrainStatus,
    Filter,
    JsonObject,
    JsonValue,
    Order,
    PutAck,
    Store,
)
from storage.refresh import Refreshed, is_due, shown_rows
from storage.runs import clock_of, newest_run, write_clock, write_run
from storage.spool_file import STATUS_FILE, SpoolSettings
from storage.spool_rows import CrashPoint, no_crash
from storage.system_clock import SystemClock
from storage.writer import SpoolWriter, Vault

log = logging.getLogger(__name__)
MANY_ROWS = 500
T = TypeVar("T")


class StorageService:
    """Spool, grid state and drain over one store.

    Args:
        folder: Where the spool lives; one process at a time.
        store: Where it drains to.
        clock: Times back-off and ages. Not the clock of a replay: what storage waits for is real.
        seed: Of the jitter.
        spool: Limits of the spool.
        drain: Sizes of requests.
        refresh_interval_s: Least seconds between refreshes of the views; None leaves them to
            ``refresh_views``.
        status_interval_s: Seconds between two writings of ``status.json`` beside the spool, for
            those who may not open it; None writes none.
        outages: When, by the clock of a run that is replayed, the store is to fail.
        crash_point: Called at labelled points of the code; tests of kills end the process there.
        on_fatal: Called when the spool has failed for good; a shell ends its process.
    """

    def __init__(
        self,
        folder: Path,
        store: Store,
        *,
        clock: Clock | None = None,
        seed: int = 0,
        spool: SpoolSettings | None = None,
        drain: DrainSettings | None = None,
        refresh_interval_s: float | None = None,
        status_interval_s: float | None = None,
        outages: Sequence[Outage] = (),
        crash_point: CrashPoint = no_crash,
        on_fatal: Callable[[BaseException], None] | None = None,
    ) -> None:
        self._clock = clock or SystemClock()
        self._failing = FailingStore(store, outages) if outages else None
        self._store: Store = self._failing or store
        self._rng = Random(seed)  # noqa: S311  # jitter, no secret
        self._drain_settings = drain
        self._refresh_interval_s = refresh_interval_s
        self._status_interval_s = status_interval_s
        self._status_file = folder / STATUS_FILE
        self._crash_point = crash_point
        self._writer = SpoolWriter(
            folder, self._clock, spool, crash_point=crash_point, on_fatal=on_fatal
        )
        self._loop = BackgroundLoop("storage-drain")
        self._vault: Vault | None = None
        self._drain: Drain | None = None
        self._tasks: list[asyncio.Task[None]] = []
        self._view: tuple[tuple[object, ...], GridState] | None = None

    # -- life -----------------------------------------------------------------------------

    def open(self) -> Self:
        """Open the spool, restore what it holds, start sending on.

        Raises:
            StorageError: Another process has the spool, or it is damaged.
            ConfigurationError: The folder cannot be used.
        """
        self._vault = self._writer.open()
        if self._failing is not None and (run := newest_run(self._vault)) is not None:
            # A restart in the midst of an outage.
            self._failing.move_to(clock_of(self._vault, run) or self._clock.now())
        self._loop.start()
        self._drain = self._loop.submit(self._start_drain()).result()
        return self

    async def _start_drain(self) -> Drain:
        drain = Drain(
            self._writer,
            self._store,
            self._clock,
            self._rng,
            self._drain_settings,
            self._crash_point,
        )
        self._tasks = [asyncio.create_task(self._watch(drain.run(), "sending on"))]
        if self._refresh_interval_s is not None:
            work = self._keep_views_fresh(drain, self._refresh_interval_s)
            self._tasks.append(asyncio.create_task(self._watch(work, "refreshing views")))
        if self._status_interval_s is not None:
            telling = self._keep_status_file(self._status_interval_s)
            self._tasks.append(asyncio.create_task(self._watch(telling, "writing the status")))
        return drain

    async def _watch(self, work: Coroutine[Any, Any, None], name: str) -> None:
        try:
            await work
        except Exception:
            # Nobody awaits this task; the log and the growing depth tell.
            log.exception("%s has ended", name)

    async def stop(self, timeout_s: float = 10.0) -> None:
        """Stop sending, commit what waits, tidy and close the spool; rows in it stay."""
        await asyncio.to_thread(self.close, timeout_s)

    def close(self, timeout_s: float = 10.0) -> None:
        """Do what ``stop`` does, blocking."""
        if self._drain is not None:
            try:
                self._loop.submit(self._store.close()).result(timeout_s / 2)
            except (TimeoutError, GridpactError, OSError) as exc:
                log.warning("closing the store's connections failed: %s", exc)
            self._loop.stop(timeout_s / 2)
            self._drain = None
        self._writer.close(timeout_s)

    def __enter__(self) -> Self:
        return self.open()

    def __exit__(self, *exc_info: object) -> None:
        self.close()

    # -- accepting ------------------------------------------------------------------------

    async def put(self, records: Sequence[Record], checkpoint: Checkpoint | None = None) -> PutAck:
        """Return once the rows are on disk, fsynced; the same rows again are harmless.

        All of them or none, and the checkpoint with them. Parents come in an earlier put, or
        earlier in this one.

        Raises:
            SpoolFull: Wait and put them again.
            RecordConflict: A known id and version came with other content.
            ConstraintViolated: A row is too large or no record.
            StorageError: The spool has failed; nothing was acknowledged.
        """
        if len(records) < MANY_ROWS:
            return await asyncio.wrap_future(self._submit_put(records, checkpoint))
        # Opening so many takes milliseconds, which the caller's loop should not stand still for.
        future = await asyncio.to_thread(self._submit_put, records, checkpoint)
        return await asyncio.wrap_future(future)

    def put_blocking(
        self,
        records: Sequence[Record],
        timeout_s: float | None = None,
        *,
        checkpoint: Checkpoint | None = None,
    ) -> PutAck:
        """Do what ``put`` does, for callers without an event loop."""
        return self._submit_put(records, checkpoint).result(timeout_s)

    async def checkpoint(self, run_id: str, name: str) -> Checkpoint | None:
        """Give what an agent of a run saved last under a name; None where there is nothing."""
        self._opened()
        return await asyncio.wrap_future(
            self._writer.call(lambda vault: vault.spool.checkpoint(run_id, name))
        )

    async def put_run(self, run_id: str, row: ScenarioRunRow) -> PutAck:
        """Accept a run's own row, or its next content; storage counts its versions.

        A row without ``clock_at`` leaves the run's clock where it stands.
        """
        now_s = self._now_s()
        return await self._write(lambda vault: write_run(vault, run_id, row, now_s))

    async def set_clock_at(self, run_id: str, instant: datetime) -> PutAck:
        """Move the run's clock, which is the views' and the grid state's now."""
        now_s, at = self._now_s(), require_utc(instant)
        if self._failing is not None:
            await self._on_loop(self._play_outages(self._failing, at))
        return await self._write(lambda vault: write_clock(vault, run_id, at, now_s))

    async def _play_outages(self, store: FailingStore, now: datetime) -> None:
        if store.move_to(now):
            self._draining().try_now()

    def _submit_put(
        self, records: Sequence[Record], checkpoint: Checkpoint | None
    ) -> Future[PutAck]:
        self._opened()
        future = self._writer.put(records, checkpoint)
        future.add_done_callback(self._nudge)
        return future

    async def _write(self, job: Callable[[Vault], PutAck]) -> PutAck:
        self._opened()
        future = self._writer.call(job)
        future.add_done_callback(self._nudge)
        return await asyncio.wrap_future(future)

    def _nudge(self, future: Future[PutAck]) -> None:
        drain = self._drain
        if drain is not None and future.exception() is None and future.result().accepted:
            self._loop.post(drain.nudge)

    # -- the grid -------------------------------------------------------------------------

    def grid_state(
        self,
        run_id: str | None = None,
        *,
        as_of: datetime | None = None,
        origin: datetime | None = None,
        periods: int = PERIODS,
    ) -> GridState:
        """Give what is known of the grid, with every put that has been acknowledged.

        Args:
            run_id: Whose; the run begun last when not given.
            as_of: Now; the run's clock when not given, else the real time.
            origin: First half hour; the one that contains ``as_of`` when not given.
            periods: How many half hours.

        Raises:
            StorageError: No run was begun yet.
        """
        vault = self._opened()
        name = run_id or newest_run(vault)
        if name is None:
            msg = "no run has begun; put its row first"
            raise StorageError(msg)
        now = as_of or clock_of(vault, name) or self._clock.now()
        number = vault.spool.run_number(name)
        facts = vault.grid.facts(-1 if number is None else number)
        key = (name, facts.version, now, origin, periods)
        if self._view is None or self._view[0] != key:
            self._view = (key, view(facts, name, require_utc(now), origin=origin, periods=periods))
        return self._view[1]

    # -- the store ------------------------------------------------------------------------

    async def barrier(self, timeout_s: float = 60.0) -> DrainStatus:
        """Return when everything accepted until now has been sent on, or put aside as dead.

        Raises:
            StorageUnavailable: Not within that time; ``depth`` rows wait, and are safe.
            ConfigurationError, SchemaBehind, StorageError: A lane has stopped; the message says
                what to mend.
        """
        drain = self._draining()

        async def wait() -> DrainStatus:
            try:
                async with asyncio.timeout(timeout_s):
                    await drain.drained()
            except TimeoutError:
                raise drain.unavailable((await drain.status()).depth) from None
            return await drain.status()

        return await self._on_loop(wait())

    async def refresh_views(self) -> None:
        """Bring the four materialized views up to date with what the store holds."""
        self._draining()
        await self._on_loop(self._store.refresh_views())

    async def select(
        self,
        table: str,
        *,
        columns: Sequence[str] | None = None,
        filters: Sequence[Filter] = (),
        order: Sequence[Order] = (),
        limit: int | None = None,
    ) -> list[JsonObject]:
        """Read rows from the store; what is still in the spool is not among them."""
        self._draining()
        return await self._on_loop(
            self._store.select(table, columns=columns, filters=filters, order=order, limit=limit)
        )

    async def count(self, table: str, filters: Sequence[Filter] = ()) -> int:
        """Count rows in the store."""
        self._draining()
        return await self._on_loop(self._store.count(table, filters))

    async def schema_version(self) -> int:
        """Give the number of the newest migration the store has."""
        self._draining()
        return await self._on_loop(self._store.schema_version())

    # -- looking inside -------------------------------------------------------------------

    async def status(self) -> dict[str, JsonValue]:
        """Give depth, ages, dead letters, what was sent and how the lanes do, as plain JSON."""
        drain = self._draining()
        sent = await self._on_loop(drain.status())
        now_s = self._now_s()

        def look(vault: Vault) -> dict[str, JsonValue]:
            oldest = vault.spool.oldest_accepted_at()
            return {
                "oldest_unsent_s": None if oldest is None else max(0, now_s - oldest),
                "conflicts": vault.spool.conflicts,
                "fill": round(vault.spool.fill(), 4),
                "refusing": vault.spool.refuse_puts,
                "runs": len(vault.spool.run_clocks),
            }

        looked = await asyncio.wrap_future(self._writer.call(look))
        return {
            "depth": sent.depth,
            "dead": sent.dead,
            **looked,
            "sent": dict(sent.sent),
            "lanes": {name: state.value for name, state in sent.lanes.items()},
            "errors": [error.message for error in sent.errors],
            "sqlite": sqlite3.sqlite_version,
        }

    async def dead_rows(self, limit: int = 100) -> list[DeadRow]:
        """List rows put aside, the newest first."""
        return await asyncio.wrap_future(self._writer.call(lambda v: list_dead(v.spool, limit)))

    async def retry_dead(self, seqs: Sequence[int] | None = None) -> int:
        """Put dead rows back into the spool, all or some; gives how many."""
        moved = await asyncio.wrap_future(self._writer.call(lambda v: retry(v.spool, seqs)))
        self._loop.post(self._draining().look_again)
        return moved

    # -- small things ---------------------------------------------------------------------

    async def _keep_views_fresh(self, drain: Drain, interval_s: float) -> None:
        last: Refreshed | None = None
        while True:
            await self._clock.sleep(interval_s)
            status = await drain.status()
            now_s = self._clock.monotonic_s()
            if not is_due(
                last, now_s=now_s, sent=status.sent, backlog=status.depth, interval_s=interval_s
            ):
                continue
            try:
                await self._store.refresh_views()
            except GridpactError as exc:
                log.warning("refreshing the views failed, trying again later: %s", exc)
            else:
                last = Refreshed(now_s, shown_rows(status.sent))

    async def _keep_status_file(self, interval_s: float) -> None:
        told = True
        while True:
            await self._clock.sleep(interval_s)
            try:
                write_private_json(self._status_file, await self._written_status())
            except (OSError, GridpactError) as exc:
                # A full disk: the spool says so itself, and the file is only news.
                if told:
                    log.warning("%s cannot be written: %s", self._status_file, exc)
                told = False
            else:
                told = True

    async def _written_status(self) -> dict[str, object]:
        return {"at": format_instant(self._clock.now()), "pid": os.getpid(), **await self.status()}

    async def _on_loop(self, work: Coroutine[Any, Any, T]) -> T:
        return await asyncio.wrap_future(self._loop.submit(work))

    def _opened(self) -> Vault:
        if self._vault is None:
            msg = "the storage service is not open; call open() first"
            raise StorageError(msg)
        return self._vault

    def _draining(self) -> Drain:
        if self._drain is None:
            msg = "the storage service is not open; call open() first, and nothing after stop()"
            raise StorageError(msg)
        return self._drain

    def _now_s(self) -> int:
        return int(self._clock.now().timestamp())
