"""The one thread that owns the spool's connection: group commit, and everything else in turn.

Callers hand in a put or a job and get a future. Puts that wait together share one commit, and so
one fsync: it closes at 64 rows, after 10 ms, or as soon as nobody else waits, so that a lone put
never waits for company. After each commit of puts one job may run; sending on and accepting thus
take turns and neither starves. A failed fsync or a damaged file is the end of this thread: nothing
is acknowledged after it, and ``on_fatal`` ends the process, since only a restart finds out what is
really on the disk.
"""

from __future__ import annotations

import logging
import sqlite3
import threading
from collections import deque
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from pathlib import Path
from typing import Any, TypeVar

from schema.clock import Clock
from schema.errors import SpoolFull, StorageError
from schema.rows import Record
from storage.gathering import Prepared, prepare
from storage.grid_book import GridBook
from storage.ports import Checkpoint, PutAck
from storage.spool import Spool
from storage.spool_file import (
    Ballast,
    Connect,
    SpoolLock,
    SpoolSettings,
    connect_plain,
    open_database,
    prepare_folder,
)
from storage.spool_rows import CrashPoint, no_crash

log = logging.getLogger(__name__)
T = TypeVar("T")

_LOCK_POLL_S = 0.05
#: The write-ahead log is copied into the file after this many changed rows, one or two pages each.
_CHECKPOINT_ROWS = 200
_PAGES_A_ROW = 2

Put = tuple[Sequence[Record], Prepared, Checkpoint | None, "Future[PutAck]"]
Job = tuple[Callable[["Vault"], Any], "Future[Any]"]


class Vault:
    """What a job may work with: the spool and the grid facts, inside one transaction."""

    def __init__(self, spool: Spool, grid: GridBook) -> None:
        self.spool = spool
        self.grid = grid

    def reload(self) -> None:
        """Forget what a rolled-back transaction had left in memory."""
        self.grid.discard()
        self.spool.reload()

    def put(
        self,
        records: Sequence[Record],
        now_s: int,
        checkpoint: Checkpoint | None = None,
        prepared: Prepared | None = None,
    ) -> PutAck:
        """Accept rows and a checkpoint, and fold the rows; all of it or nothing.

        Raises:
            SpoolFull, RecordConflict, ConstraintViolated: Refused; nothing of them is left.
        """
        db = self.spool.db
        db.execute("savepoint put")
        try:
            accepted = self.spool.accept(records, now_s, checkpoint, prepared)
            self.grid.absorb(accepted.new)
        except sqlite3.Error:
            raise
        except Exception:
            db.execute("rollback to put")
            db.execute("release put")
            self.spool.reload()
            raise
        db.execute("release put")
        return accepted.ack


class SpoolWriter:
    """Runs the writer thread."""

    def __init__(
        self,
        folder: Path,
        clock: Clock,
        settings: SpoolSettings | None = None,
        *,
        crash_point: CrashPoint = no_crash,
        on_fatal: Callable[[BaseException], None] | None = None,
        connect: Connect = connect_plain,
    ) -> None:
        self._folder = folder
        self._clock = clock
        self._settings = settings or SpoolSettings()
        self._crash_point = crash_point
        self._on_fatal = on_fatal
        self._connect = connect
        self._lock = SpoolLock(folder)
        self._ballast = Ballast(folder, self._settings.ballast_bytes)
        self._condition = threading.Condition()
        self._puts: deque[Put] = deque()
        self._jobs: deque[Job] = deque()
        self._checkpointed = 0
        self._closing = False
        self._failure: BaseException | None = None
        self._opened: Future[Vault] = Future()
        self._thread = threading.Thread(target=self._run, name="spool-writer", daemon=True)

    # -- for callers of any thread --------------------------------------------------------

    def open(self) -> Vault:
        """Take the lock, open the file, start the thread; gives what other threads may read.

        Raises:
            StorageError: Another process holds the spool, or its file is damaged.
            ConfigurationError: The folder cannot be used.
        """
        prepare_folder(self._folder, self._settings)
        self._take_lock()
        self._thread.start()
        try:
            return self._opened.result()
        except BaseException:
            self._lock.release()
            raise

    def put(
        self, records: Sequence[Record], checkpoint: Checkpoint | None = None
    ) -> Future[PutAck]:
        """Hand in rows, and a checkpoint with them; the future is done when they are on disk.

        Many rows are opened and written by columns here, in the caller's thread.
        """
        future: Future[PutAck] = Future()
        limits = self._settings
        prepared = prepare(records, least=limits.chunk_rows, most=limits.chunk_most_rows)
        with self._condition:
            if self._refused(future):
                return future
            self._puts.append((records, prepared, checkpoint, future))
            self._condition.notify()
        return future

    def call(self, job: Callable[[Vault], T]) -> Future[T]:
        """Run a job in a transaction of its own; the future is done when it is on disk."""
        future: Future[T] = Future()
        with self._condition:
            if self._refused(future):
                return future
            self._jobs.append((job, future))
            self._condition.notify()
        return future

    def close(self, timeout_s: float = 10.0) -> None:
        """Commit what waits, tidy the file, let go of the lock."""
        with self._condition:
            self._closing = True
            self._condition.notify()
        if self._thread.ident is not None:
            self._thread.join(timeout_s)
        self._lock.release()

    def _refused(self, future: Future[Any]) -> bool:
        if self._failure is None and not self._closing:
            return False
        why = "has failed" if self._failure is not None else "is closed"
        error = StorageError(f"the spool {why}; nothing more is accepted until it is restarted")
        error.__cause__ = self._failure
        future.set_exception(error)
        return True

    def _take_lock(self) -> None:
        waited = threading.Event()
        for _ in range(1 + int(self._settings.lock_wait_s / _LOCK_POLL_S)):
            if self._lock.acquire():
                return
            waited.wait(_LOCK_POLL_S if self._settings.lock_wait_s else 0)
        msg = (
            f"the spool in {self._folder} is in use by process {self._lock.held_by()}; "
            "stop that one first, or use another GRIDPACT_HOME"
        )
        raise StorageError(msg, path=str(self._folder), held_by=self._lock.held_by())

    # -- the thread -----------------------------------------------------------------------

    def _run(self) -> None:
        try:
            db = open_database(self._folder, self._settings, self._connect)
            log.info("spool open in %s, SQLite %s", self._folder, sqlite3.sqlite_version)
            vault = Vault(Spool(db, self._settings, self._crash_point), GridBook(db))
            self._ballast.create()
        except BaseException as exc:  # noqa: BLE001  # whatever it is, the opener must hear of it
            self._opened.set_exception(exc)
            return
        self._opened.set_result(vault)
        try:
            self._serve(vault)
            self._copy_log(vault, "truncate")
            db.close()
        except BaseException as exc:  # noqa: BLE001  # told to everyone who waits, and to on_fatal
            self._fail(exc)
            db.close()

    def _serve(self, vault: Vault) -> None:
        jobs_turn = False
        while True:
            with self._condition:
                while not (self._puts or self._jobs or self._closing):
                    self._condition.wait()
                if not (self._puts or self._jobs):
                    return
                run_job = bool(self._jobs) and (jobs_turn or not self._puts)
            if run_job:
                job, future = self._jobs.popleft()
                if future.set_running_or_notify_cancel():
                    self._do_job(vault, job, future)
            else:
                self._do_puts(vault)
            jobs_turn = not run_job
            self._checkpoint(vault)

    def _do_puts(self, vault: Vault) -> None:
        db = vault.spool.db
        group: list[tuple[Future[PutAck], PutAck]] = []
        taken: list[Future[PutAck]] = []
        db.execute("begin immediate")
        try:
            self._gather(vault, taken, group)
            self._crash_point("after_insert_before_commit")
            db.execute("commit")
        except sqlite3.Error as exc:
            refusal = self._undo(vault, exc)
            _refuse(taken, refusal)
            if not isinstance(refusal, SpoolFull):
                raise
            return
        except BaseException as exc:
            _refuse(taken, StorageError(f"the spool ended in mid-commit: {exc!r}"))
            raise
        vault.grid.publish()
        self._crash_point("after_commit_before_ack")
        for future, ack in group:
            future.set_result(ack)

    def _gather(
        self,
        vault: Vault,
        taken: list[Future[PutAck]],
        group: list[tuple[Future[PutAck], PutAck]],
    ) -> None:
        """Insert puts until the group is full, late or alone."""
        started = self._clock.monotonic_s()
        now_s = int(self._clock.now().timestamp())
        rows = 0
        while self._puts and rows < self._settings.group_rows:
            if taken and self._clock.monotonic_s() - started >= self._settings.group_s:
                break
            records, prepared, checkpoint, future = self._puts.popleft()
            if not future.set_running_or_notify_cancel():
                continue  # its caller has gone, unanswered
            taken.append(future)
            self._crash_point("before_insert")
            try:
                group.append((future, vault.put(records, now_s, checkpoint, prepared)))
            except sqlite3.Error:
                raise
            except Exception as exc:  # noqa: BLE001  # one put's fault stays with its caller
                # Refused, so nothing of it needs the disk: the caller may know at once.
                future.set_exception(exc)
            rows += len(records)

    def _do_job(
        self, vault: Vault, job: Callable[[Vault], Any], future: Future[Any], *, again: bool = False
    ) -> None:
        db = vault.spool.db
        try:
            db.execute("begin immediate")
            result = job(vault)
            db.execute("commit")
        except sqlite3.Error as exc:
            full = self._undo(vault, exc)
            if isinstance(full, SpoolFull) and not again:
                # The ballast has been let go: there is room for the drain now.
                self._do_job(vault, job, future, again=True)
                return
            future.set_exception(full)
            if not isinstance(full, SpoolFull):
                raise
        except Exception as exc:  # noqa: BLE001  # a job's failure is its caller's to handle
            db.execute("rollback")
            vault.reload()
            future.set_exception(exc)
        else:
            vault.grid.publish()
            self._regain(vault)
            future.set_result(result)

    def _undo(self, vault: Vault, exc: sqlite3.Error) -> StorageError:
        """Roll back; say whether the disk is full (callers wait) or worse (the thread ends)."""
        code = getattr(exc, "sqlite_errorcode", None)
        if code != sqlite3.SQLITE_FULL:
            failure = StorageError(f"the spool failed: {exc}; nothing was acknowledged")
            failure.__cause__ = exc
            return failure
        db = vault.spool.db
        if db.in_transaction:
            db.execute("rollback")
        vault.reload()
        (pages,) = db.execute("pragma page_count").fetchone()
        if pages < self._settings.cap_pages - 1:
            log.error(
                "others have filled the disk under %s; letting go of the ballast", self._folder
            )
            vault.spool.refuse_puts = True
            self._ballast.release()
        return SpoolFull("the disk under the spool is full; wait until rows have been sent on")

    def _regain(self, vault: Vault) -> None:
        """Open the door again once there is room for the ballast."""
        if vault.spool.refuse_puts and self._ballast.create():
            vault.spool.refuse_puts = False

    def _checkpoint(self, vault: Vault) -> None:
        spool = vault.spool
        changes = spool.db.total_changes + spool.chunks.logged_pages // _PAGES_A_ROW
        if changes - self._checkpointed >= _CHECKPOINT_ROWS:
            self._crash_point("mid_checkpoint")
            if self._copy_log(vault, "passive"):
                self._checkpointed = changes

    def _copy_log(self, vault: Vault, mode: str) -> bool:
        """Copy the log into the file; False where the disk is too full, which loses nothing."""
        try:
            vault.spool.db.execute(f"pragma wal_checkpoint({mode})")
        except sqlite3.Error as exc:
            if not isinstance(self._undo(vault, exc), SpoolFull):
                raise
            return False
        return True

    def _fail(self, exc: BaseException) -> None:
        log.critical("the spool in %s has failed: %s", self._folder, exc)
        with self._condition:
            self._failure = exc
            waiting: list[Future[Any]] = [future for *_, future in self._puts]
            waiting += [future for _, future in self._jobs]
            self._puts.clear()
            self._jobs.clear()
        for future in waiting:
            if future.set_running_or_notify_cancel():
                future.set_exception(StorageError(f"the spool has failed: {exc}"))
        if self._on_fatal is not None:
            self._on_fatal(exc)


def _refuse(futures: Sequence[Future[PutAck]], error: StorageError) -> None:
    for future in futures:
        if not future.done():
            future.set_exception(error)
