"""Puts for producers, the ledger of those that were acknowledged, and the count at the end.

The ledger is a file with an fsync of its own, written by a process that nobody kills.
"""

from __future__ import annotations

import json
import os
import pickle
import socket
import struct
import threading
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

Key = tuple[str, int]
"""The natural key of a row without its run: table and number."""


def send(connection: socket.socket, value: object) -> None:
    data = pickle.dumps(value)
    connection.sendall(struct.pack(">I", len(data)) + data)


def receive(connection: socket.socket) -> Any:
    (size,) = struct.unpack(">I", _exactly(connection, 4))
    return pickle.loads(_exactly(connection, size))


def _exactly(connection: socket.socket, size: int) -> bytes:
    data = b""
    while len(data) < size:
        part = connection.recv(size - len(data))
        if not part:
            raise ConnectionError("the other side has gone")
        data += part
    return data


def key_of(record: Any) -> Key:
    return (record.table, json.loads(record.body)["sequence"])


@dataclass(frozen=True)
class Found:
    """The sink held against the ledger."""

    acknowledged: int
    lost: list[Key]
    doubled: list[Key]
    unexpected: list[Key]
    recovered: int
    """Rows that arrived though nobody was told so: the answer died with a process."""

    @property
    def faults(self) -> list[str]:
        parts = {"lost": self.lost, "doubled": self.doubled, "unexpected": self.unexpected}
        return [f"{name} {key}" for name, keys in parts.items() for key in keys]


class Feed:
    """Gives out one put after the other, to any number of threads.

    Args:
        ledger: Where acknowledged rows are written down.
        make: Makes the rows of the n-th put.
    """

    def __init__(self, ledger: Path, make: Callable[[int], list[Any]]) -> None:
        self._ledger = ledger
        self._make = make
        self._lock = threading.Lock()
        self._queue: list[tuple[int, list[Any]]] = []
        self._next = 0
        self._more = True
        self._attempted: set[Key] = set()
        self.in_flight = 0
        """Puts that were given out and have no answer yet."""
        self.acknowledged_puts = 0

    def take(self) -> tuple[int, list[Any]] | None:
        """Give a put, first of all one that was given back; None when there are to be no more."""
        with self._lock:
            if self._queue:
                self.in_flight += 1
                return self._queue.pop()
            if not self._more:
                return None
            batch = self._make(self._next)
            self._next += 1
            self._attempted |= {key_of(record) for record in batch}
            self.in_flight += 1
            return self._next, batch

    def give_back(self, put: tuple[int, list[Any]]) -> None:
        """Take back a put without an answer: whoever is next gets the same rows."""
        with self._lock:
            self.in_flight -= 1
            self._queue.append(put)

    def note(self, put: tuple[int, list[Any]]) -> None:
        """Write down a put that was acknowledged."""
        with self._lock, self._ledger.open("a") as file:
            file.writelines(f"{table} {number}\n" for table, number in map(key_of, put[1]))
            file.flush()
            os.fsync(file.fileno())
            self.in_flight -= 1
            self.acknowledged_puts += 1

    def stop(self) -> None:
        """Give out no new puts."""
        with self._lock:
            self._more = False

    def acknowledged(self) -> set[Key]:
        """Read the ledger."""
        lines = self._ledger.read_text().splitlines()
        return {(table, int(number)) for table, number in map(str.split, lines)}

    def compare(self, counts: Counter[Key]) -> Found:
        """Hold what the sink has, counted by natural key, against the ledger."""
        acknowledged = self.acknowledged()
        return Found(
            len(acknowledged),
            sorted(acknowledged - counts.keys()),
            sorted((counts - Counter(counts.keys())).elements()),
            sorted(counts.keys() - self._attempted),
            len((counts.keys() & self._attempted) - acknowledged),
        )
