"""Logs of a live run: lines on stderr for people, JSON lines in a file for programs.

The file turns over by size. Neither ever holds a secret: whatever is known to be one, or looks
like one, is struck out of the finished line, wherever it came from.
"""

from __future__ import annotations

import json
import logging
import os
import re
from collections.abc import Collection, Iterator
from contextlib import contextmanager
from io import TextIOWrapper
from logging.handlers import RotatingFileHandler
from pathlib import Path

import structlog
from rich.console import Console
from structlog.typing import Processor

FILE_BYTES = 10 * 1024 * 1024
FILES_KEPT = 5
HIDDEN = "***"
#: Keys of Supabase, JSON web tokens, passwords in addresses.
_LOOKS_SECRET = re.compile(
    r"sb_secret_\w+|eyJ[\w-]{8,}\.[\w-]{8,}\.[\w-]+|(?<=://)[^/\s:@]+:[^/\s@]+(?=@)"
)
_CHATTY = ("httpx", "httpcore", "asyncio")


class Redactor(logging.Formatter):
    """A formatter whose lines hold no secret.

    Args:
        inner: Writes the line.
        secrets: Exact texts to strike out.
    """

    def __init__(self, inner: logging.Formatter, secrets: Collection[str]) -> None:
        super().__init__()
        self._inner = inner
        # The longest first, so that one that holds another goes whole.
        spelt = {text for secret in secrets if secret for text in _spellings(secret)}
        self._secrets = sorted(spelt, key=len, reverse=True)

    def format(self, record: logging.LogRecord) -> str:
        """Write a record as a line."""
        line = self._inner.format(record)
        for secret in self._secrets:
            line = line.replace(secret, HIDDEN)
        return _LOOKS_SECRET.sub(HIDDEN, line)


def _spellings(secret: str) -> set[str]:
    """Give a text as it is, as errors quote it, and both as JSON spells them."""
    plain = {secret, repr(secret)[1:-1]}
    return plain | {json.dumps(text)[1:-1] for text in plain}


class ScreenHandler(logging.Handler):
    """Writes through a rich console, so that lines stand above a live table."""

    def __init__(self, console: Console) -> None:
        super().__init__()
        self._console = console

    def emit(self, record: logging.LogRecord) -> None:
        """Print a record."""
        self._console.print(
            self.format(record), markup=False, highlight=False, soft_wrap=True, emoji=False
        )


class _PrivateFile(RotatingFileHandler):
    """A log file that only its owner reads, the turned over ones too."""

    def _open(self) -> TextIOWrapper:
        handle = os.open(self.baseFilename, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
        os.fchmod(handle, 0o600)
        return os.fdopen(handle, "a", encoding="utf-8")


@contextmanager
def logging_to(
    folder: Path, console: Console, *, secrets: Collection[str] = (), quiet: bool = False
) -> Iterator[Path]:
    """Log to a console and to ``gridpact.log`` for the time of a ``with`` block.

    Args:
        folder: Of the log file; made if needed, for its owner alone.
        console: Where people read.
        secrets: Texts that must not appear.
        quiet: Show warnings alone; the file has everything all the same.
    """
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    path = folder / "gridpact.log"
    file = _PrivateFile(path, maxBytes=FILE_BYTES, backupCount=FILES_KEPT, encoding="utf-8")
    file.setFormatter(
        Redactor(
            _formatter(structlog.processors.dict_tracebacks, structlog.processors.JSONRenderer()),
            secrets,
        )
    )
    screen = ScreenHandler(console)
    screen.setFormatter(
        Redactor(logging.Formatter("%(asctime)s %(levelname)-7s %(message)s", "%H:%M:%S"), secrets)
    )
    screen.setLevel(logging.WARNING if quiet else logging.INFO)
    root = logging.getLogger()
    before = root.level
    root.setLevel(logging.INFO)
    levels = {name: logging.getLogger(name).level for name in _CHATTY}
    for name in _CHATTY:
        # At INFO httpx logs whole URLs.
        logging.getLogger(name).setLevel(logging.WARNING)
    for handler in (file, screen):
        root.addHandler(handler)
    try:
        yield path
    finally:
        for handler in (file, screen):
            root.removeHandler(handler)
            handler.close()
        root.setLevel(before)
        for name, level in levels.items():
            logging.getLogger(name).setLevel(level)


def _formatter(*last: Processor) -> logging.Formatter:
    """Give a formatter of what any logger of the process says, ``extra`` fields included."""
    stamps: list[Processor] = [
        structlog.stdlib.add_logger_name,
        structlog.stdlib.add_log_level,
        structlog.stdlib.ExtraAdder(),
        structlog.processors.TimeStamper(fmt="iso", utc=True),
    ]
    return structlog.stdlib.ProcessorFormatter(
        foreign_pre_chain=stamps,
        processors=[structlog.stdlib.ProcessorFormatter.remove_processors_meta, *last],
    )
