"""One number that changes with any decision."""

from __future__ import annotations

import pickle
from hashlib import sha256

import numpy as np
import pytest

from agents.core.digest import RunDigest, table_hash

AWARD = ["accept-proposal", "north", "train-1", [[3, 985_000, 4, None]]]


def digest_of(*lines: list[object]) -> str:
    digest = RunDigest()
    for line in lines:
        digest.add(*line)
    return digest.hexdigest()


def test_one_award_changed_by_hand_changes_the_digest() -> None:
    moved = ["accept-proposal", "north", "train-1", [[3, 985_001, 4, None]]]
    assert digest_of(AWARD) == digest_of(list(AWARD))
    assert digest_of(AWARD) != digest_of(moved)


def test_the_order_of_decisions_matters() -> None:
    other = ["reject-proposal", "north", "train-2", "power above any capacity"]
    assert digest_of(AWARD, other) != digest_of(other, AWARD)


def test_each_link_is_the_hash_of_the_one_before_and_of_one_decision() -> None:
    first = sha256(sha256(b"").digest() + b'["award",1]').digest()
    second = sha256(first + b'["award",2]').hexdigest()
    assert digest_of(["award", 1], ["award", 2]) == second


def test_a_digest_that_was_put_away_goes_on_as_if_it_had_not_been() -> None:
    digest = RunDigest()
    digest.add(*AWARD)
    again: RunDigest = pickle.loads(pickle.dumps(digest))
    for one in (digest, again):
        one.add("settled", "0001", 5)
    assert (again.hexdigest(), again.lines) == (digest.hexdigest(), 2)


def test_a_float_has_no_single_spelling_and_is_refused() -> None:
    with pytest.raises(TypeError, match="float"):
        RunDigest().add("bound", 0.1)


def test_tables_of_equal_bytes_and_other_shape_differ() -> None:
    flat = np.arange(6, dtype=np.int64)
    assert table_hash(flat.reshape(2, 3)) != table_hash(flat.reshape(3, 2))
    assert table_hash(flat) == table_hash(flat.astype(np.int32))
