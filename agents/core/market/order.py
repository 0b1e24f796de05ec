"""Ids as 64-bit keys, the eight groups, and the pseudo-random order of a sweep.

Everything here follows from the workload's id and a seed alone, never from the order in which
workloads arrive or from the number of shards.
"""

from __future__ import annotations

from collections.abc import Iterable
from hashlib import blake2b

import numpy as np
from numpy.typing import NDArray

from agents.core.market.jit import allocating, kernel
from agents.core.market.units import Ints

GROUPS = 8
"""Virtual groups of one organisation; a shard owns whole groups."""

Keys = NDArray[np.uint64]


def workload_keys(organisation: str, names: Iterable[str]) -> Keys:
    """Give the 64-bit key of each workload: BLAKE2b of organisation and name."""
    prefix = organisation.encode() + b"\x1f"
    digests = b"".join(
        blake2b(prefix + name.encode(), digest_size=8).digest() for name in map(str, names)
    )
    return np.frombuffer(digests, dtype="<u8").astype(np.uint64)


def groups_of(keys: Keys) -> Ints:
    """Give each workload's group, 0 to 7: the top three bits of its key."""
    return (keys >> np.uint64(61)).astype(np.int64)


@kernel
def mix(value: np.uint64) -> np.uint64:
    """Scramble 64 bits (the finaliser of SplitMix64)."""
    value = (value ^ (value >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    value = (value ^ (value >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return value ^ (value >> np.uint64(31))


@allocating
def shuffled(keys: Keys, salt: np.uint64, chosen: Ints, count: int, out: Ints) -> None:
    """Write ``chosen[:count]`` into ``out`` in the order of hash(salt, key).

    A counting sort over as many buckets as there are entries; entries that share a bucket keep
    their order.
    """
    bits = 1
    while (1 << bits) < count:
        bits += 1
    shift = np.uint64(64 - bits)
    starts = np.zeros((1 << bits) + 1, np.int64)
    buckets = np.empty(count, np.int64)
    for position in range(count):
        buckets[position] = np.int64(mix(keys[chosen[position]] ^ salt) >> shift)
        starts[buckets[position] + 1] += 1
    for bucket in range(1 << bits):
        starts[bucket + 1] += starts[bucket]
    for position in range(count):
        out[starts[buckets[position]]] = chosen[position]
        starts[buckets[position]] += 1


@kernel
def _mark_sampled(keys: Keys, salt: np.uint64, below: int, out: NDArray[np.bool_]) -> None:
    for i in range(keys.shape[0]):
        out[i] = np.int64(mix(keys[i] ^ salt) >> np.uint64(32)) < below


def sampled(keys: Keys, salt: np.uint64, below: int) -> Ints:
    """Give the places of the keys whose hash is below ``below`` (of 2^32), rising."""
    mark = np.zeros(len(keys), np.bool_)
    _mark_sampled(keys, salt, below, mark)
    return np.flatnonzero(mark)


def salt_of(seed: int, *parts: int) -> np.uint64:
    """Give the salt of one sweep from the seed and the sweep's numbers."""
    digest = blake2b(digest_size=8)
    for part in (seed, *parts):
        digest.update(int(part).to_bytes(16, "little", signed=True))
    return np.uint64(int.from_bytes(digest.digest(), "little"))
