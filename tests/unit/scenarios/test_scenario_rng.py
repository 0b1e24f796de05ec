"""Random numbers are the same on every machine and independent by stream."""

from __future__ import annotations

import subprocess
import sys

import numpy as np
import pytest

from scenarios.rng import Stream, autoregressive

_DIGEST = """
import hashlib
from scenarios.loader import load
s = load("windy-night", 7)
h = hashlib.sha256()
for array in (s.regional.values, s.national.values, s.national_actual, s.prices.mid,
              s.prices.system_first, s.demand.national, s.generation.regional_mix):
    h.update(array.tobytes())
for name in s.organisations:
    h.update(repr(s.workloads(name)).encode())
    for asset in s.assets(name):
        h.update(asset.capacity_w.tobytes())
h.update(repr(s.windows).encode() + repr(s.flexibility).encode())
print(h.hexdigest())
"""


def test_a_stream_gives_the_words_of_philox_keyed_by_seed_and_name() -> None:
    # The key is the first 16 bytes of sha256("gridpact/5/x"); nothing else may enter it.
    from hashlib import sha256

    key = np.frombuffer(sha256(b"gridpact/5/x").digest()[:16], dtype="<u8")
    raw = np.random.Philox(key=key.astype(np.uint64)).random_raw(2)
    expected = [int(raw[0]) & 0xFFFFFFFF, int(raw[0]) >> 32, int(raw[1]) & 0xFFFFFFFF]
    assert Stream(5, "x").words(3).tolist() == expected


def test_streams_differ_by_name_and_by_seed() -> None:
    first = Stream(1, "wind").words(8).tolist()
    assert first != Stream(1, "cloud").words(8).tolist()
    assert first != Stream(2, "wind").words(8).tolist()
    assert first == Stream(1, "wind").words(8).tolist()


def test_normals_have_mean_zero_and_variance_one() -> None:
    # 40,000 draws: the mean's standard error is 0.005, the variance's about 0.007.
    draws = Stream(3, "n").normal(40_000)
    assert abs(draws.mean()) < 0.02
    assert abs(draws.var() - 1) < 0.03
    assert np.abs(draws).max() <= 6


def test_integers_reach_both_ends_and_no_further() -> None:
    draws = Stream(3, "i").integers(2, 5, 4_000)
    assert sorted(set(draws.tolist())) == [2, 3, 4, 5]


def test_choice_follows_its_weights() -> None:
    draws = Stream(3, "c").choice(np.array([1.0, 0.0, 3.0]), 20_000)
    assert (draws == 1).sum() == 0
    assert abs((draws == 2).mean() - 0.75) < 0.02


def test_autoregressive_curves_keep_unit_variance_and_their_persistence() -> None:
    curve = autoregressive(Stream(9, "a"), 1, 40_000, 0.8)[0]
    assert abs(curve.var() - 1) < 0.06
    assert np.corrcoef(curve[:-1], curve[1:])[0, 1] == pytest.approx(0.8, abs=0.02)


def test_another_process_derives_the_same_scenario() -> None:
    digests = {
        subprocess.run(
            [sys.executable, "-c", _DIGEST],
            env={"PYTHONHASHSEED": hashing, "OMP_NUM_THREADS": threads, "PATH": "/usr/bin"},
            capture_output=True,
            text=True,
            check=True,
        ).stdout
        for hashing, threads in (("1", "1"), ("2", "2"))
    }
    assert len(digests) == 1
