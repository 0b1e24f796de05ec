"""One number that is the same exactly when two runs decided the same.

A chain of SHA-256 over decisions in canonical form: integers and text only, in the order they
were taken. Each link is the hash of the one before and of one decision, so that what stands after
any decision is 32 bytes: a run that is taken up again goes on from them. Left out is what may
differ between equal runs: run ids, row ids, wall-clock columns, and messages that exist only
because an organisation's work was spread over several shards.
"""

from __future__ import annotations

from hashlib import sha256

import orjson

from agents.core.market.units import Ints


def table_hash(table: Ints) -> str:
    """Hash an integer table with its shape; the same on every machine."""
    shape = ",".join(map(str, table.shape)).encode()
    return sha256(shape + b"|" + table.astype("<i8").tobytes()).hexdigest()


class RunDigest:
    """Takes decisions in order and gives their hash; can be pickled and goes on from there."""

    def __init__(self) -> None:
        self._link = sha256().digest()
        self.lines = 0

    def add(self, *parts: object) -> None:
        """Take one decision: integers, text, None, or lists of these.

        Raises:
            TypeError: A float or another type that has no single spelling.
        """
        _check(parts)
        self._link = sha256(self._link + orjson.dumps(parts)).digest()
        self.lines += 1

    def hexdigest(self) -> str:
        """Give the hash of all decisions so far."""
        return self._link.hex()


def _check(part: object) -> None:
    if part is None or isinstance(part, str | int):
        return
    if isinstance(part, list | tuple):
        for item in part:
            _check(item)
        return
    raise TypeError(
        f"a digest takes integers and text, got {type(part).__name__} {part!r}: floats have no "
        "single spelling"
    )
