"""Random numbers that are the same on every machine.

Each use has its own stream: a Philox counter generator keyed by the seed and the stream's name,
so that one more draw somewhere moves nothing elsewhere. Only raw 32-bit words are taken from
the generator. Normal deviates are sums of twelve uniforms in integers (Irwin-Hall: mean 0,
variance 1, cut at six), because library normals call ``exp`` and ``log`` inside a rejection
loop, and two maths libraries that differ in the last bit would part ways for good there.
"""

from __future__ import annotations

from hashlib import sha256

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]

_WORD = 2**32
_UNIFORMS_PER_NORMAL = 12


class Stream:
    """One named stream of random numbers."""

    def __init__(self, seed: int, name: str) -> None:
        digest = sha256(f"gridpact/{seed}/{name}".encode()).digest()
        key = np.frombuffer(digest[:16], dtype="<u8").astype(np.uint64)
        self._bits = np.random.Philox(key=key)

    def words(self, count: int) -> Ints:
        """Draw whole numbers, uniform on 0 to 2^32 - 1."""
        raw = self._bits.random_raw((count + 1) // 2)
        halves = np.empty(2 * len(raw), dtype=np.int64)
        halves[0::2] = (raw & np.uint64(_WORD - 1)).astype(np.int64)
        halves[1::2] = (raw >> np.uint64(32)).astype(np.int64)
        return halves[:count]

    def uniform(self, count: int) -> Floats:
        """Draw from [0, 1); every value is a multiple of 2^-32 and exact."""
        return self.words(count) / float(_WORD)

    def integers(self, low: int, high: int, count: int) -> Ints:
        """Draw whole numbers from ``low`` to ``high``, both included."""
        return low + (self.words(count) * (high - low + 1)) // _WORD

    def normal(self, count: int) -> Floats:
        """Draw with mean 0 and variance 1; exact multiples of 2^-32, at most 6 from 0."""
        sums = self.words(count * _UNIFORMS_PER_NORMAL).reshape(count, -1).sum(axis=1)
        deviates: Floats = (sums - (_UNIFORMS_PER_NORMAL // 2) * _WORD) / float(_WORD)
        return deviates

    def choice(self, weights: Floats, count: int) -> Ints:
        """Draw indices with probability proportional to ``weights`` (read to one in a million)."""
        shares = np.rint(np.asarray(weights, dtype=np.float64) * 1e6).astype(np.int64)
        edges = np.cumsum(shares)
        picks = (self.words(count) * int(edges[-1])) // _WORD
        return np.searchsorted(edges, picks, side="right").astype(np.int64)


def whole(values: Floats) -> Ints:
    """Round to whole numbers, halves to even."""
    rounded: Ints = np.rint(values).astype(np.int64)
    return rounded


def autoregressive(stream: Stream, rows: int, length: int, persistence: float) -> Floats:
    """Draw AR(1) curves with variance 1.

    Args:
        stream: Where the shocks come from.
        rows: How many curves.
        length: Points a curve.
        persistence: Correlation of neighbours, 0 to below 1.

    Returns:
        Array ``[rows, length]``.
    """
    shocks = stream.normal(rows * length).reshape(length, rows)
    # sqrt is correctly rounded everywhere (IEEE 754), unlike exp and sin.
    fresh = float(np.sqrt(1.0 - persistence * persistence))
    curves = np.empty((length, rows))
    curves[0] = shocks[0]
    for i in range(1, length):
        curves[i] = persistence * curves[i - 1] + fresh * shocks[i]
    return np.ascontiguousarray(curves.T)
