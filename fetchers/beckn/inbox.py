"""Messages that arrived at our callback address, on disk before they are acknowledged.

One SQLite file. A message and the mark that it was seen are one row, hence one commit: a crash can
neither lose an acknowledged message nor let one have its effect twice. The same message again (same
sender, id, action and bytes) is acknowledged and changes nothing, also after a restart; the same
id with other bytes is refused where messages are signed, and another message where they are not,
because some unsigned providers use one id for ever.

A row is forgotten when it was read by a poll whose rows storage holds, and when its signature (of
unsigned messages: a day) is over. Until then a copy of it is known.
"""

from __future__ import annotations

import asyncio
import sqlite3
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from enum import StrEnum
from pathlib import Path
from typing import Any

from fetchers.beckn.admission import Admitted
from fetchers.beckn.wire import Envelope, read_envelope
from fetchers.plan import EPOCH
from schema.clock import Clock
from schema.errors import StorageUnavailable

#: Messages waiting for a poll, and rows in all; beyond them nothing more is taken.
MOST_WAITING = 2000
MOST_ROWS = 20_000
_TICK = timedelta(microseconds=1)
_SCHEMA = """
create table if not exists messages (
    at_us integer primary key,
    sender text not null,
    message_id text not null,
    action text not null,
    transaction_id text not null,
    digest text not null,
    keep_until_us integer not null,
    body blob not null,
    unique (sender, message_id, action, digest)
) strict;
create index if not exists messages_by_transaction on messages (transaction_id, action);
create table if not exists notes (name text primary key, value integer not null) strict;
"""


class Taken(StrEnum):
    """What became of an admitted message."""

    NEW = "new"
    REPEATED = "repeated"
    REUSED = "reused"
    FULL = "full"


@dataclass(frozen=True, slots=True)
class Arrived:
    """One message, and when it was taken: later than every one before it."""

    at: datetime
    body: bytes


class Inbox:
    """The file and whoever waits for an answer.

    Args:
        path: The file; None keeps messages in memory.

    Raises:
        StorageUnavailable: The file cannot be opened.
    """

    def __init__(self, path: Path | None) -> None:
        self._path = path
        self._waiting: list[tuple[Callable[[Envelope], bool], asyncio.Future[Envelope]]] = []
        with self._translated():
            if path is not None:
                path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
                path.touch(mode=0o600)
            self._db = sqlite3.connect(
                path or ":memory:", isolation_level=None, check_same_thread=False, timeout=5.0
            )
            self._db.execute("pragma journal_mode = wal")
            self._db.execute("pragma synchronous = full")
            self._db.executescript(_SCHEMA)
            (last,) = self._db.execute("select max(at_us) from messages").fetchone()
        self._newest = _instant(last or 0)

    def rise(self, read_until: datetime) -> None:
        """Say up to when earlier polls have read.

        What arrives from now on is dated after it, even if the clock was set back.
        """
        self._newest = max(self._newest, read_until)

    def accept(self, message: Admitted, now: datetime) -> Taken:
        """Take a message; returns after it is on disk.

        Raises:
            StorageUnavailable: It is not; it must not be acknowledged.
        """
        at = max(now, self._newest + _TICK)
        key = (message.sender, message.message_id, message.action)
        with self._translated(), self._transaction():
            known = self._db.execute(
                "select digest from messages where sender = ? and message_id = ? and action = ?",
                key,
            ).fetchall()
            if (message.digest,) in known:
                taken = Taken.REPEATED
            elif known and message.signed:
                return Taken.REUSED
            elif self._full():
                return Taken.FULL
            else:
                taken = Taken.NEW
                row = (*key, message.transaction_id, message.digest)
                times = _micros(at), _micros(message.keep_until)
                self._db.execute(
                    "insert into messages values (?, ?, ?, ?, ?, ?, ?, ?)",
                    (times[0], *row, times[1], message.body),
                )
        if taken is Taken.NEW:
            self._newest = at
        # Whoever waits may have lost what a first copy brought, so a repeated one counts too.
        for wanted, future in self._waiting:
            if not future.done() and wanted(message.envelope):
                future.set_result(message.envelope)
        return taken

    def callbacks(self, since: datetime, until: datetime) -> list[Arrived]:
        """Give the messages taken after ``since`` and up to ``until``, in order.

        What was taken up to ``since`` has been read and stored: it is forgotten when nobody could
        send it again.
        """
        self.rise(until)
        with self._translated():
            self._db.execute(
                "delete from messages where at_us <= ? and keep_until_us < ?",
                (_micros(since), _micros(until)),
            )
            self._note("read_us", _micros(since))
            rows = self._db.execute(
                "select at_us, body from messages where at_us > ? and at_us <= ? order by at_us",
                (_micros(since), _micros(until)),
            ).fetchall()
        return [Arrived(_instant(at), body) for at, body in rows]

    def answer(self, transaction_id: str, message_id: str, action: str) -> Envelope | None:
        """Give the newest message that answers one of ours; a restart may have missed it."""
        with self._translated():
            row = self._db.execute(
                "select body from messages where transaction_id = ? and action = ? "
                "and message_id = ? order by at_us desc limit 1",
                (transaction_id, action, message_id),
            ).fetchone()
        return None if row is None else read_envelope(row[0])

    @contextmanager
    def expecting(self, wanted: Callable[[Envelope], bool]) -> Iterator[asyncio.Future[Envelope]]:
        """Give a future of the next message that fits; ask before the request goes out."""
        future: asyncio.Future[Envelope] = asyncio.get_running_loop().create_future()
        entry = (wanted, future)
        self._waiting.append(entry)
        try:
            yield future
        finally:
            self._waiting.remove(entry)
            future.cancel()

    def noted(self, name: str) -> int | None:
        """Give a number that was noted, such as the port of the last time."""
        with self._translated():
            row = self._db.execute("select value from notes where name = ?", (name,)).fetchone()
        return None if row is None else int(row[0])

    def note(self, name: str, value: int) -> None:
        """Note a number."""
        with self._translated():
            self._note(name, value)

    def close(self) -> None:
        """Close the file."""
        self._db.close()

    def _note(self, name: str, value: int) -> None:
        self._db.execute("insert or replace into notes values (?, ?)", (name, value))

    def _full(self) -> bool:
        read_us = self._db.execute("select value from notes where name = 'read_us'").fetchone()
        waiting, rows = self._db.execute(
            "select count(*) filter (where at_us > ?), count(*) from messages",
            (read_us[0] if read_us else 0,),
        ).fetchone()
        return int(waiting) >= MOST_WAITING or int(rows) >= MOST_ROWS

    @contextmanager
    def _transaction(self) -> Iterator[None]:
        self._db.execute("begin immediate")
        try:
            yield
        except BaseException:
            self._db.execute("rollback")
            raise
        self._db.execute("commit")

    @contextmanager
    def _translated(self) -> Iterator[None]:
        try:
            yield
        except (sqlite3.Error, OSError) as exc:
            msg = f"the Beckn inbox {self._path or 'in memory'} cannot be used: {exc}"
            raise StorageUnavailable(msg, path=str(self._path)) from exc


async def answered_within(
    future: asyncio.Future[Envelope], seconds: float, clock: Clock
) -> Envelope | None:
    """Wait for an expected message on the run's clock; None where none came."""
    if future.done():
        return future.result()
    patience = asyncio.ensure_future(clock.sleep(seconds))
    waiting: set[asyncio.Future[Any]] = {future, patience}
    try:
        await asyncio.wait(waiting, return_when=asyncio.FIRST_COMPLETED)
        return future.result() if future.done() else None
    finally:
        patience.cancel()


def _micros(instant: datetime) -> int:
    return (instant - EPOCH) // _TICK


def _instant(micros: int) -> datetime:
    return EPOCH.astimezone(UTC) + micros * _TICK
