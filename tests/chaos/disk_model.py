"""A disk that can lose power: what SQLite wrote, in order, and what may be left of it.

``Disk.connect`` opens a database through a file system of SQLite's own library that passes all
calls on and notes writes, cuts, deletions and syncs. From these notes ``survivor`` makes the files
as they may be found after a power cut: what was synced, and of the rest any sectors of 512 bytes.

It works on the very library that Python's ``sqlite3`` uses, so nothing else has to be installed.
"""

from __future__ import annotations

import ctypes
import sqlite3
import sys
from collections.abc import Sequence
from pathlib import Path
from random import Random
from typing import Any, ClassVar, NamedTuple

import pytest

SECTOR_BYTES = 512
FILES = ("spool.db", "spool.db-wal", "spool.db-journal")
_OK = 0
_FULL = 13
_IOERR_FSYNC = 10 | 4 << 8
_FOLDER = "."
_VFS = "gridpact-losing-power"


class Event(NamedTuple):
    """One thing that happened to a file, or a mark of ours between such things."""

    kind: str
    """write, truncate, delete, sync, failed_sync, mark."""
    file: str = ""
    offset: int = 0
    data: bytes = b""
    mark: Any = None


_P = ctypes.c_void_p
#: Paths go through as addresses: SQLite keeps the one it gave.
_OPEN = ctypes.CFUNCTYPE(ctypes.c_int, _P, _P, _P, ctypes.c_int, _P)
_DELETE = ctypes.CFUNCTYPE(ctypes.c_int, _P, _P, ctypes.c_int)
_WRITE = ctypes.CFUNCTYPE(ctypes.c_int, _P, _P, ctypes.c_int, ctypes.c_int64)
_TRUNCATE = ctypes.CFUNCTYPE(ctypes.c_int, _P, ctypes.c_int64)
_SYNC = ctypes.CFUNCTYPE(ctypes.c_int, _P, ctypes.c_int)


class _Vfs(ctypes.Structure):
    """The head of ``sqlite3_vfs`` and its tail, as sqlite3.h of 3.7 and later has them."""

    _fields_: ClassVar = [
        ("version", ctypes.c_int),
        ("file_size", ctypes.c_int),
        ("longest_path", ctypes.c_int),
        ("next", _P),
        ("name", ctypes.c_char_p),
        ("app_data", _P),
        ("open", _P),
        ("delete", _P),
        ("others", _P * 14),
    ]


class _Methods(ctypes.Structure):
    """``sqlite3_io_methods`` up to version 3."""

    _fields_: ClassVar = [
        ("version", ctypes.c_int),
        ("close", _P),
        ("read", _P),
        ("write", _P),
        ("truncate", _P),
        ("sync", _P),
        ("others", _P * 13),
    ]


class Disk:
    """Notes what happens to the spool's files; one at a time in a process.

    Attributes:
        events: What happened, in order; ``mark`` adds to it.
        fail_sync: The number of the sync, from 1, that fails with EIO; 0 for none.
        room: Bytes that the files may take together; may change at any time.
    """

    #: SQLite keeps pointers to these for as long as the process lives.
    _now: ClassVar[Disk | None] = None
    _kept: ClassVar[list[Any]] = []

    def __init__(self, *, fail_sync: int = 0) -> None:
        self.events: list[Event] = []
        self.fail_sync = fail_sync
        self.room = sys.maxsize
        self.sizes: dict[str, int] = {}
        self.syncs = 0
        Disk._now = self
        if not Disk._kept:
            _register()

    def connect(self, path: Path) -> sqlite3.Connection:
        """Connect as the spool does."""
        return self.connect_as(path, sqlite3.Connection)

    def connect_as(self, path: Path, factory: type[sqlite3.Connection]) -> sqlite3.Connection:
        """Connect by a class of connections that has a fault."""
        return sqlite3.connect(
            f"file:{path}?vfs={_VFS}",
            uri=True,
            isolation_level=None,
            check_same_thread=True,
            factory=factory,
        )

    def mark(self, mark: Any) -> None:
        """Note a moment of ours among the disk's."""
        self.events.append(Event("mark", mark=mark))

    def _fits(self, name: str, end: int) -> bool:
        size = self.sizes.get(name, 0)
        return end <= size or sum(self.sizes.values()) - size + end <= self.room

    def _wrote(self, name: str, offset: int, data: bytes) -> None:
        self.sizes[name] = max(self.sizes.get(name, 0), offset + len(data))
        self.events.append(Event("write", name, offset, data))

    def _cut(self, name: str, size: int) -> None:
        self.sizes[name] = size
        self.events.append(Event("truncate", name, size))

    def _deleted(self, name: str) -> None:
        self.sizes.pop(name, None)
        self.events.append(Event("delete", name))

    def _sync(self, name: str) -> bool:
        self.syncs += 1
        failed = self.syncs == self.fail_sync
        self.events.append(Event("failed_sync" if failed else "sync", name))
        return not failed


def survivor(
    events: Sequence[Event], rng: Random, *, before: dict[str, bytes] | None = None
) -> dict[str, bytes]:
    """Make the files that a power cut after these events may leave.

    A name that was deleted may be back until its folder is synced; SQLite does that with the first
    sync of a log that it made. After a failed sync the kernel takes what it was to write for
    written: any sectors of it may be missing for ever, whatever is synced later.

    Args:
        events: What happened since ``before``.
        rng: Says which sectors were lucky.
        before: The files as they were; none when not given.
    """
    durable = {name: bytearray(data) for name, data in (before or {}).items()}
    pending: dict[str, list[Event]] = {}
    old_names = set(durable)
    for event in events:
        if event.kind == "sync":
            if event.file not in old_names and event.file != FILES[0]:
                for deletion in pending.pop(_FOLDER, []):
                    _apply(durable, deletion, rng, 1.0)
            old_names.add(event.file)
            for waiting in pending.pop(event.file, []):
                _apply(durable, waiting, rng, 1.0)
        elif event.kind == "failed_sync":
            luck = rng.random()
            for waiting in pending.pop(event.file, []):
                _apply(durable, waiting, rng, luck)
        elif event.kind != "mark":
            where = _FOLDER if event.kind == "delete" else event.file
            pending.setdefault(where, []).append(event)
    for unsynced in pending.values():
        luck = rng.choice((0.0, rng.random(), 1.0))
        for waiting in unsynced:
            _apply(durable, waiting, rng, luck)
    return {name: bytes(data) for name, data in durable.items()}


def _apply(files: dict[str, bytearray], event: Event, rng: Random, luck: float) -> None:
    if event.kind != "write":
        if rng.random() >= luck:
            return
        if event.kind == "delete":
            files.pop(event.file, None)
        else:
            _resize(files.setdefault(event.file, bytearray()), event.offset)
        return
    data = files.setdefault(event.file, bytearray())
    start, end = event.offset, event.offset + len(event.data)
    while start < end:
        stop = min(end, (start // SECTOR_BYTES + 1) * SECTOR_BYTES)
        if rng.random() < luck:
            if len(data) < stop:
                _resize(data, stop)
            data[start:stop] = event.data[start - event.offset : stop - event.offset]
        start = stop


def _resize(data: bytearray, size: int) -> None:
    if size < len(data):
        del data[size:]
    else:
        data.extend(bytes(size - len(data)))


# -- SQLite's side ------------------------------------------------------------------------


def _library() -> ctypes.CDLL:
    """Load the library that ``sqlite3`` of Python uses, not another one of this machine."""
    mapped = {
        line.split()[-1]
        for line in Path("/proc/self/maps").read_text().splitlines()
        if "libsqlite3" in line
    }
    library = ctypes.CDLL(mapped.pop() if mapped else None)
    if not hasattr(library, "sqlite3_vfs_register"):
        pytest.skip("this Python hides the SQLite in it; no file system can be put under it")
    library.sqlite3_libversion.restype = ctypes.c_char_p
    assert library.sqlite3_libversion().decode() == sqlite3.sqlite_version
    return library


def _register() -> None:
    library = _library()
    library.sqlite3_vfs_find.restype = ctypes.POINTER(_Vfs)
    base = library.sqlite3_vfs_find(None)
    open_below, delete_below = _OPEN(base.contents.open), _DELETE(base.contents.delete)
    names: dict[int, str] = {}
    methods: dict[int, _Methods] = {}

    def disk() -> Disk:
        assert Disk._now is not None
        return Disk._now

    def name_at(path: int | None) -> str:
        return "" if path is None else Path(ctypes.string_at(path).decode()).name

    def noting(below: _Methods) -> _Methods:
        write_below, truncate_below = _WRITE(below.write), _TRUNCATE(below.truncate)
        sync_below = _SYNC(below.sync)

        @_WRITE
        def write(file: int, buffer: int, size: int, offset: int) -> int:
            if not disk()._fits(names[file], offset + size):
                return _FULL
            result: int = write_below(file, buffer, size, offset)
            if result == _OK:
                disk()._wrote(names[file], offset, ctypes.string_at(buffer, size))
            return result

        @_TRUNCATE
        def truncate(file: int, size: int) -> int:
            result: int = truncate_below(file, size)
            if result == _OK:
                disk()._cut(names[file], size)
            return result

        @_SYNC
        def sync(file: int, flags: int) -> int:
            if not disk()._sync(names[file]):
                return _IOERR_FSYNC
            return int(sync_below(file, flags))

        made = _Methods.from_buffer_copy(below)
        for name, function in (("write", write), ("truncate", truncate), ("sync", sync)):
            setattr(made, name, ctypes.cast(function, _P).value)
        Disk._kept.extend((made, write, truncate, sync, write_below, truncate_below, sync_below))
        return made

    @_OPEN
    def open_(_: int, path: int | None, file: int, flags: int, out: int) -> int:
        result: int = open_below(ctypes.addressof(base.contents), path, file, flags, out)
        name = name_at(path)
        if result == _OK and name in FILES:
            slot = ctypes.c_void_p.from_address(file)
            address = slot.value
            assert address is not None
            if address not in methods:
                methods[address] = noting(_Methods.from_address(address))
            names[file] = name
            slot.value = ctypes.addressof(methods[address])
        return result

    @_DELETE
    def delete(_: int, path: int, sync_folder: int) -> int:
        result: int = delete_below(ctypes.addressof(base.contents), path, sync_folder)
        name = name_at(path)
        if result == _OK and name in FILES:
            disk()._deleted(name)
        return result

    ours = _Vfs.from_buffer_copy(base.contents)
    ours.name = _VFS.encode()
    ours.next = None
    ours.open = ctypes.cast(open_, _P).value
    ours.delete = ctypes.cast(delete, _P).value
    Disk._kept.extend((ours, open_, delete, open_below, delete_below, methods, names))
    assert library.sqlite3_vfs_register(ctypes.byref(ours), 0) == _OK
