"""Which rows of chunks are known: an index in memory, sixteen bytes a row.

A row's number is made from half of its id, which is random, and its version. Two rows can have one
number, and a row may be gone that had it: a hit is a reason to look into the chunk, no more. That a
number is absent is certain.
"""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np
from numpy.typing import NDArray

Numbers = NDArray[np.uint64]
_Run = tuple[Numbers, NDArray[np.int64]]

#: Odd and without pattern, so that versions of one row are far apart.
_SPREAD = np.uint64(0x9E3779B97F4A7C15)


def numbers_of(ids: bytes, versions: NDArray[np.int64]) -> Numbers:
    """Give the numbers of rows.

    Args:
        ids: Uuids of 16 bytes, one after the other.
        versions: As many.
    """
    halves = np.frombuffer(ids, dtype=">u8")[::2].astype(np.uint64)
    return halves ^ (versions.astype(np.uint64) * _SPREAD)


class KnownRows:
    """Sorted arrays, each at least twice as long as the next: adding costs little, asking too."""

    def __init__(self) -> None:
        self._runs: list[_Run] = []

    def __len__(self) -> int:
        return sum(len(numbers) for numbers, _ in self._runs)

    def add(self, numbers: Numbers, chunk: int) -> None:
        """Remember the rows of a chunk."""
        self._push((np.sort(numbers), np.full(len(numbers), chunk, dtype=np.int64)))

    def may_know(self, numbers: Numbers) -> bool:
        """Say whether any of these rows may be known; False is certain."""
        for known, _ in self._runs:
            places = np.searchsorted(known, numbers)
            places[places == len(known)] = 0
            if bool((known[places] == numbers).any()):
                return True
        return False

    def chunks_with(self, number: np.uint64) -> list[int]:
        """Give the chunks that may hold a row of this number."""
        found: list[int] = []
        for known, chunks in self._runs:
            first, last = np.searchsorted(known, number), np.searchsorted(known, number, "right")
            found += chunks[first:last].tolist()
        return found

    def forget(self, *, before: int = 0, after: int | None = None) -> None:
        """Forget chunks by their number: those before one, and those after another."""
        runs, self._runs = self._runs, []
        for numbers, chunks in runs:
            kept = chunks >= before
            if after is not None:
                kept &= chunks <= after
            if kept.all():
                self._runs.append((numbers, chunks))
            elif kept.any():
                self._push((numbers[kept], chunks[kept]))

    def _push(self, run: _Run) -> None:
        while self._runs and len(self._runs[-1][0]) < 2 * len(run[0]):
            run = _merged((self._runs.pop(), run))
        self._runs.append(run)


def _merged(runs: Iterable[_Run]) -> _Run:
    numbers, chunks = (np.concatenate(side) for side in zip(*runs, strict=True))
    # Stable sorting of what is sorted in stretches only merges them.
    order = np.argsort(numbers, kind="stable")
    return numbers[order], chunks[order]
