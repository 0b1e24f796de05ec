"""The spool's files: opened the one safe way, by one process.

    spool.db     SQLite, WAL, synchronous=FULL
    spool.lock   flock; who holds it owns the spool
    ballast.bin  space to let go of when others have filled the disk
    status.json  what the process that has the spool last said of it, for others to read

Every pragma but ``journal_mode`` is forgotten at close, so all are set at each open.
"""

from __future__ import annotations

import fcntl
import logging
import os
import sqlite3
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from schema.errors import ConfigurationError, StorageError

log = logging.getLogger(__name__)

MIB = 1024 * 1024
STATUS_FILE = "status.json"
PAGE_BYTES = 4096
#: What ``pragma synchronous`` answers for FULL.
_FULL = 2
#: Form of the tables below. A file of another form is refused, never guessed at.
FILE_FORM = 3
#: File systems that forget at power-off, or whose locks and fsync cannot be relied on.
UNSAFE_FILE_SYSTEMS = frozenset(
    {"tmpfs", "ramfs", "nfs", "nfs4", "cifs", "smb3", "9p", "fuse.sshfs"}
)

_CHECKPOINTS = """
create table checkpoints (
    run integer not null, name text not null, number integer not null, blob blob not null,
    primary key (run, name));
"""
_CHUNKS = """
create table chunks (
    first integer primary key, last integer not null,
    tbl integer not null, run integer not null, rank integer not null,
    schema_version integer not null, at integer not null, state integer not null default 0);
create index chunks_waiting on chunks (run, first) where state = 0;
create table chunk_keys (
    first integer primary key, ids blob not null, versions blob not null, hashes blob not null);
create table chunk_bodies (first integer primary key, part blob not null);
"""
#: What brings a file of an earlier form to the next one.
_STEPS = {1: _CHECKPOINTS, 2: _CHUNKS}

DDL = f"""
create table tables (
    no integer primary key, name text not null unique);
create table runs (
    no integer primary key, run_id text not null unique,
    delivered integer not null default 0, dead integer not null default 0,
    version integer, body blob, grid_version integer not null default 0);
create table records (
    seq integer primary key autoincrement,
    tbl integer not null, id blob not null, version integer not null,
    run integer not null, lane integer not null, rank integer not null,
    schema_version integer not null, sha256 blob not null, at integer not null,
    state integer not null default 0,
    attempts integer not null default 0, not_before real not null default 0);
create unique index records_known on records (tbl, id, version);
create index records_waiting on records (lane, run, seq) where state = 0;
create index records_put_off on records (lane, not_before) where state = 0 and not_before > 0;
create index records_dead on records (id) where state = 2;
create table bodies (seq integer primary key, body blob not null);
create table dead (
    seq integer primary key, reason text not null, http integer, sqlstate text,
    message text not null, at integer not null, replayed_at integer);
create table grid_facts (
    run integer not null, id blob not null, tbl text not null, version integer not null,
    starts_at integer not null, payload blob not null,
    primary key (run, id)) without rowid;
{_CHECKPOINTS}
{_CHUNKS}
"""


@dataclass(frozen=True, slots=True)
class SpoolSettings:
    """Limits of the spool, in bytes, seconds and shares.

    Attributes:
        limit_bytes: The door: puts are refused above it.
        hard_cap_share: ``max_page_count`` over the door; the room between is the drain's alone.
        facts_door_share: Readings and request logs are refused above this share of the door; the
            rest is for negotiations and workloads.
        ballast_bytes: Written, fsynced bytes to give back when the disk is full; 0 for none.
        tombstone_age_s: How long a delivered row's id is remembered.
        tombstone_share: Most of the door that tombstones may take, whatever their age.
        group_rows: A commit closes at this many rows ...
        group_s: ... or after this long, or as soon as nobody else waits.
        lock_wait_s: How long to wait for another process to let go of the spool.
        chunk_rows: Facts of one table in one put, from this many on, become chunks ...
        chunk_most_rows: ... of at most this many rows each.
        allow_unsafe_disk: Only warn, not refuse, on a file system that forgets at power-off.
    """

    limit_bytes: int = 512 * MIB
    hard_cap_share: float = 1.10
    facts_door_share: float = 0.85
    ballast_bytes: int = 8 * MIB
    tombstone_age_s: float = 48 * 3600.0
    tombstone_share: float = 0.15
    group_rows: int = 64
    group_s: float = 0.010
    lock_wait_s: float = 0.0
    chunk_rows: int = 64
    chunk_most_rows: int = 2500
    allow_unsafe_disk: bool = True

    @property
    def door_pages(self) -> int:
        """Pages in use above which puts are refused."""
        return self.limit_bytes // PAGE_BYTES

    @property
    def cap_pages(self) -> int:
        """Pages the file may ever have."""
        return int(self.door_pages * self.hard_cap_share) + 64


def connect_plain(path: Path) -> sqlite3.Connection:
    """Connect the ordinary way; tests of power loss connect through a file system of their own."""
    return sqlite3.connect(
        path, isolation_level=None, check_same_thread=True, cached_statements=256
    )


Connect = Callable[[Path], sqlite3.Connection]


class SpoolLock:
    """Holds the spool's lock file; one process at a time."""

    def __init__(self, folder: Path) -> None:
        self._path = folder / "spool.lock"
        self._fd: int | None = None

    def acquire(self) -> bool:
        """Take the lock if it is free; write our pid for others to read."""
        fd = os.open(self._path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            os.close(fd)
            return False
        os.ftruncate(fd, 0)
        os.write(fd, f"{os.getpid()}\n".encode())
        self._fd = fd
        return True

    def held_by(self) -> str:
        """Give the pid that the holder wrote."""
        try:
            return self._path.read_text().strip() or "unknown"
        except OSError:
            return "unknown"

    def release(self) -> None:
        """Let go; closing the file is what unlocks."""
        if self._fd is not None:
            os.close(self._fd)
            self._fd = None


def holder_of(folder: Path) -> str | None:
    """Give the pid of the process that has the spool now; None when nobody has it."""
    try:
        with (folder / "spool.lock").open("rb") as file:
            try:
                fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
            except BlockingIOError:
                return file.read().decode(errors="replace").strip() or "unknown"
    except FileNotFoundError:
        return None
    return None


class Ballast:
    """Bytes on disk that we can give back."""

    def __init__(self, folder: Path, size: int) -> None:
        self._path = folder / "ballast.bin"
        self._size = size

    @property
    def present(self) -> bool:
        """Say whether it is there whole; one of no size always is."""
        return self._size == 0 or (self._path.exists() and self._path.stat().st_size == self._size)

    def create(self) -> bool:
        """Write it if it is not there; False when the disk has no room."""
        if self.present:
            return True
        try:
            with open(self._path, "wb", opener=_private) as file:
                # Random bytes: a file system that compresses or leaves holes would keep nothing.
                file.writelines(
                    os.urandom(min(MIB, self._size - start)) for start in range(0, self._size, MIB)
                )
                file.flush()
                os.fsync(file.fileno())
        except OSError:
            self._path.unlink(missing_ok=True)
            return False
        return True

    def release(self) -> None:
        """Give the space back."""
        self._path.unlink(missing_ok=True)


def prepare_folder(folder: Path, settings: SpoolSettings) -> None:
    """Make the spool's folder, private to us, on a disk that remembers.

    Raises:
        ConfigurationError: The folder cannot be made, or its file system forgets at power-off
            and the settings do not allow that.
    """
    try:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        folder.chmod(0o700)
    except OSError as exc:
        msg = f"the spool's folder {folder} cannot be used: {exc.strerror}; choose another"
        raise ConfigurationError(msg, path=str(folder)) from exc
    kind = file_system_of(folder)
    if kind in UNSAFE_FILE_SYSTEMS:
        msg = (
            f"the spool's folder {folder} lies on {kind}, which does not survive a power cut or "
            "does not lock reliably; set GRIDPACT_HOME to a folder on a local disk"
        )
        if not settings.allow_unsafe_disk:
            raise ConfigurationError(msg, path=str(folder))
        log.warning(msg)


def file_system_of(folder: Path, mounts: str | None = None) -> str:
    """Name the file system a folder lies on; "unknown" where the kernel does not say.

    Args:
        folder: An existing folder.
        mounts: The text of ``/proc/self/mounts``, read when not given.
    """
    if mounts is None:
        try:
            mounts = Path("/proc/self/mounts").read_text()
        except OSError:
            return "unknown"
    target = folder.resolve()
    best, kind = -1, "unknown"
    for line in mounts.splitlines():
        fields = line.split(" ")
        if len(fields) < 3:  # noqa: PLR2004
            continue
        point = Path(fields[1].replace("\\040", " "))
        if (target == point or point in target.parents) and len(point.parts) >= best:
            best, kind = len(point.parts), fields[2]
    return kind


def open_database(
    folder: Path, settings: SpoolSettings, connect: Connect = connect_plain
) -> sqlite3.Connection:
    """Open the database with every pragma set; the caller holds the lock.

    Raises:
        StorageError: The file is damaged or of another form.
    """
    path = folder / "spool.db"
    path.touch(mode=0o600)
    db = connect(path)
    try:
        _set_up(db, path, settings)
    except sqlite3.DatabaseError as exc:
        db.close()
        msg = (
            f"the spool {path} cannot be opened: {exc}; keep a copy of spool.db and spool.db-wal, "
            "then move them away to start with an empty spool"
        )
        raise StorageError(msg, path=str(path)) from exc
    except StorageError:
        db.close()
        raise
    return db


def _set_up(db: sqlite3.Connection, path: Path, settings: SpoolSettings) -> None:
    db.execute(f"pragma page_size = {PAGE_BYTES}")
    (mode,) = db.execute("pragma journal_mode = wal").fetchone()
    db.execute("pragma synchronous = full")
    db.execute("pragma wal_autocheckpoint = 512")
    db.execute(f"pragma journal_size_limit = {4 * MIB}")
    db.execute(f"pragma max_page_count = {settings.cap_pages}")
    db.execute("pragma cache_size = -16384")
    db.execute("pragma temp_store = memory")
    (synchronous,) = db.execute("pragma synchronous").fetchone()
    if mode != "wal" or synchronous != _FULL:
        msg = f"the spool {path} opened with {mode=} {synchronous=}; WAL and FULL are needed"
        raise StorageError(msg, path=str(path))
    (form,) = db.execute("pragma user_version").fetchone()
    if not 0 <= form <= FILE_FORM:
        msg = (
            f"the spool {path} has form {form}, this program reads {FILE_FORM}; "
            "use the release that wrote it to drain it first"
        )
        raise StorageError(msg, path=str(path))
    if form == 0:
        db.executescript(f"begin immediate; {DDL} pragma user_version = {FILE_FORM}; commit;")
        return
    for earlier in range(form, FILE_FORM):
        step = _STEPS[earlier]
        db.executescript(f"begin immediate; {step} pragma user_version = {earlier + 1}; commit;")


def _private(path: str, flags: int) -> int:
    return os.open(path, flags, 0o600)
