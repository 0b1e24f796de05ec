"""The access log: one record a request, written before its answer leaves."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Literal, TextIO

import orjson

from schema.errors import InputError
from schema.periods import format_instant
from schema.readings import Source


@dataclass(frozen=True, slots=True)
class AccessRecord:
    """One request that arrived, or one callback that was sent.

    Attributes:
        at: On the server's clock.
        source: Who was asked, or who calls back.
        direction: ``in`` for requests, ``out`` for callbacks.
        method: As received.
        path: With the query, as received; the whole address for a callback.
        status: HTTP status; None where the fault sends none, or no one took the callback.
        fault: Name of the fault that hit it.
        bytes: Size of the body as it goes over the wire; what the fault lets through of it.
        user_agent: Who asked.
        error: Why a callback did not arrive.
    """

    at: datetime
    source: Source
    direction: Literal["in", "out"]
    method: str
    path: str
    status: int | None
    fault: str | None
    bytes: int
    user_agent: str = ""
    error: str | None = None

    def line(self) -> str:
        """Give the record as a line of JSON."""
        values = {
            "at": format_instant(self.at),
            "source": self.source.value,
            "direction": self.direction,
            "method": self.method,
            "path": self.path,
            "status": self.status,
            "fault": self.fault,
            "bytes": self.bytes,
            "user_agent": self.user_agent,
            "error": self.error,
        }
        return orjson.dumps(values).decode() + "\n"


class AccessLog:
    """Keeps all records, and appends each to a file at once where there is one."""

    def __init__(self, path: Path | None = None) -> None:
        self._records: list[AccessRecord] = []
        self._file: TextIO | None = None
        if path is not None:
            try:
                self._file = path.open("a", encoding="utf-8", buffering=1)
            except OSError as exc:
                msg = f"the access log {path} cannot be written: {exc.strerror}; name another file"
                raise InputError(msg, file=str(path)) from exc

    def write(self, record: AccessRecord) -> None:
        """Take a record; a reader of the file sees it when this returns."""
        self._records.append(record)
        if self._file is not None:
            self._file.write(record.line())

    def records(self) -> tuple[AccessRecord, ...]:
        """Give all records so far, in the order of arrival."""
        return tuple(self._records)

    def close(self) -> None:
        """Close the file; the records stay."""
        if self._file is not None:
            self._file.close()
            self._file = None
