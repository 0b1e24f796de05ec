"""Row ids, made by the producer before the first attempt, so that re-sending is harmless.

A fact's id is uuid5 of its table and its canonical natural key: UTC instants with whole seconds
and ``Z``, NFC text, integers in decimal. Floats never take part: two spellings of one number
would give two ids. An event without a natural key gets its id from the incarnation of its
sender and a counter.
"""

from __future__ import annotations

import unicodedata
from datetime import date, datetime
from enum import Enum
from functools import lru_cache
from hashlib import sha1
from uuid import UUID, uuid5

from schema.periods import format_instant

NAMESPACE = UUID("6f2c1f0e-53d0-5b0e-9c6e-2f1d3c8a7b41")
SEPARATOR = "\u241f"
_NAMESPACE_BYTES = NAMESPACE.bytes
#: The first digit of the fourth group: its upper two bits are 10.
_VARIANT = {digit: f"{int(digit, 16) & 0x3 | 0x8:x}" for digit in "0123456789abcdef"}

KeyPart = str | int | datetime | date | UUID | Enum | None


def canonical(part: KeyPart) -> str:
    """Write one part of a natural key in its only spelling."""
    # Most parts are plain text, which is its own normal form.
    if type(part) is str and part.isascii():
        return part
    match part:
        case None:
            return ""
        case bool():
            msg = "a bool is no part of a natural key; use a word"
            raise TypeError(msg)
        case Enum():
            return canonical(part.value)
        case datetime():
            return format_instant(part)
        case date():
            return part.isoformat()
        case int() | UUID():
            return str(part)
        case str():
            return unicodedata.normalize("NFC", part)
        case _:
            msg = f"{type(part).__name__} is no part of a natural key (value {part!r})"
            raise TypeError(msg)


def row_id(table: str, *key: KeyPart) -> str:
    """Give the id of the row of ``table`` with that natural key."""
    return _uuid5(SEPARATOR.join((table, *map(canonical, key))))


@lru_cache(maxsize=1 << 17)
def linked_id(table: str, *key: KeyPart) -> str:
    """Give the id of a row that many others point at; remembers those asked for last."""
    return row_id(table, *key)


def event_id(table: str, incarnation: str, actor: str, sequence: int) -> str:
    """Give the id of the n-th event of one life of an actor."""
    return row_id(table, incarnation, actor, sequence)


def _uuid5(name: str) -> str:
    # The text of uuid.uuid5, which spends most of its time in generic constructors.
    text = sha1(_NAMESPACE_BYTES + name.encode(), usedforsecurity=False).hexdigest()
    variant = _VARIANT[text[16]]
    return f"{text[:8]}-{text[8:12]}-5{text[13:16]}-{variant}{text[17:20]}-{text[20:32]}"


def named_uuid(name: str) -> UUID:
    """Give the uuid5 of a plain name in our namespace."""
    return uuid5(NAMESPACE, name)
