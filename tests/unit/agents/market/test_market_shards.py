"""One outcome for any number of shards, in one process or behind a wall, asked once or twice."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from itertools import pairwise

import numpy as np
import pytest
from market_samples import half_hearted, in_pairs, overloaded
from outcome_checks import hold, hold_watched, with_some_accepted

from agents.core.market import negotiate as module
from agents.core.market.contractors import (
    InProcessContractors,
    make_books,
    shard_groups,
)
from agents.core.market.digest import digest_of
from agents.core.market.fleet import sort_rows
from agents.core.market.instances import Instance, make_instance
from agents.core.market.negotiate import Options, Quality, WarmStart, negotiate
from agents.core.market.order import GROUPS, groups_of, sampled, shuffled, workload_keys
from agents.core.market.plans import Places

AS_LARGE = -1


def digests(
    made: Instance,
    options: Options,
    *,
    warm: WarmStart | None = None,
    in_force: Sequence[Places] = (),
    shards: Sequence[int] = (1, 2, 4, 8),
) -> set[str]:
    found = set()
    for number in shards:
        outcome = hold(
            made.market, made.fleets, options, shards=number, warm=warm, in_force=in_force
        )
        found.add(digest_of(outcome))
    return found


KINDS = {
    "plain": lambda: make_instance(120, seed=1, periods=48, organisations=2),
    "interruptible": lambda: make_instance(100, seed=2, periods=48, interruptible=1.0),
    "windows": lambda: make_instance(90, seed=3, periods=48, window_share=0.2),
    "two sites a region": lambda: in_pairs(
        make_instance(90, seed=4, periods=48, organisations=2, window_share=0.3)
    ),
    "refusals": lambda: overloaded(
        half_hearted(make_instance(90, seed=5, periods=48, window_share=0.1), 5),
        0.6,
    ),
}


@pytest.mark.parametrize("large", [False, True])
@pytest.mark.parametrize("kind", KINDS)
def test_one_two_four_and_eight_shards_give_one_digest(
    kind: str, large: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    options = Options(seed=7, starts=2, quality=Quality.FAST)
    if large:
        monkeypatch.setattr(module, "SAMPLE_FROM", 30)
        monkeypatch.setattr(module, "CLASSES_UP_TO", 0)
        options = replace(options, muster_up_to=AS_LARGE)
    assert len(digests(KINDS[kind](), options)) == 1


@pytest.mark.parametrize("large", [False, True])
def test_a_warm_start_with_a_plan_in_force_is_the_same_for_all_shards(large: bool) -> None:
    made = make_instance(90, seed=8, periods=48, organisations=2, window_share=0.2)
    options = Options(
        seed=8, starts=1, quality=Quality.FAST, muster_up_to=AS_LARGE if large else 20_000
    )
    first = hold(made.market, made.fleets, options)
    later, in_force = with_some_accepted(made, first, seed=8)
    # Prices turn round and a tenth of the capacity that is not contracted goes.
    market = replace(later.market, grid_q=np.ascontiguousarray(later.market.grid_q[:, ::-1]))
    later = replace(later, market=market)
    warm = WarmStart(first.mu_q, first.supply_q)
    assert len(digests(later, options, warm=warm, in_force=in_force)) == 1


@pytest.mark.parametrize("seed", range(3))
def test_sites_that_share_windows_settle_alike_in_any_number_of_shards(seed: int) -> None:
    # A move changes the room of windows that other sites of the region see too: their quotes in a
    # standing table have to follow, or a shard that makes its table anew sees other prices.
    made = in_pairs(make_instance(200, seed=seed, periods=24, window_share=0.5))
    options = Options(seed=seed, starts=1, muster_up_to=AS_LARGE)
    assert len(digests(made, options, shards=(1, 8))) == 1


@pytest.mark.parametrize("large", [False, True])
def test_read_only_copies_give_the_same_digest(large: bool) -> None:
    made = make_instance(100, seed=9, periods=48, organisations=2, window_share=0.2)
    options = Options(seed=9, starts=2, muster_up_to=AS_LARGE if large else 20_000)
    here = hold(made.market, made.fleets, options)
    there, _ = hold_watched(made.market, made.fleets, options, shards=3)
    assert digest_of(here) == digest_of(there)


def test_a_conversation_held_again_gives_the_same_digest() -> None:
    made = make_instance(100, seed=10, periods=48, interruptible=0.5, window_share=0.1)
    contractors = InProcessContractors(make_books(made.fleets, 2))
    first = digest_of(negotiate(made.market, contractors))
    # Another conversation in between leaves nothing behind.
    negotiate(overloaded(made, 0.5).market, contractors, Options(seed=3))
    assert digest_of(negotiate(made.market, contractors)) == first


def test_another_seed_gives_another_digest() -> None:
    made = make_instance(100, seed=11, periods=48)
    found = {digest_of(hold(made.market, made.fleets, Options(seed=seed))) for seed in (0, 1)}
    assert len(found) == 2


def test_threads_do_not_change_the_digest(monkeypatch: pytest.MonkeyPatch) -> None:
    from agents.core.market import contractors as threads

    made = make_instance(150, seed=12, periods=48, organisations=3)
    alone = digest_of(hold(made.market, made.fleets, shards=4))
    monkeypatch.setattr(threads, "THREADS_FROM", 1)
    assert digest_of(hold(made.market, made.fleets, shards=4)) == alone


# -- what equality rests on ------------------------------------------------------------------------


@pytest.mark.parametrize("shards", range(1, GROUPS + 1))
def test_shards_own_all_groups_once_and_in_order(shards: int) -> None:
    dealt = shard_groups(shards)
    assert [group for part in dealt for group in part] == list(range(GROUPS))
    assert len(dealt) == shards
    assert min(len(part) for part in dealt) >= 1


def test_a_group_is_the_top_three_bits_of_a_key() -> None:
    keys = np.array([0, (1 << 61) - 1, 1 << 61, 7 << 61, (1 << 64) - 1], np.uint64)
    assert groups_of(keys).tolist() == [0, 0, 1, 7, 7]
    many = workload_keys("acme", [f"w{number}" for number in range(8000)])
    counts = np.bincount(groups_of(many), minlength=GROUPS)
    assert counts.min() > 800
    assert len(set(many.tolist())) == 8000
    assert not set(many.tolist()) & set(workload_keys("birch", ["w1", "w2"]).tolist())


def test_the_order_of_a_sweep_is_a_permutation_of_those_chosen() -> None:
    keys = workload_keys("acme", [f"w{number}" for number in range(500)])
    chosen = np.arange(0, 500, 3)
    seen = []
    for salt in (1, 2):
        out = np.empty(len(chosen), np.int64)
        shuffled(keys, np.uint64(salt), chosen, len(chosen), out)
        assert sorted(out.tolist()) == chosen.tolist()
        seen.append(out.tolist())
    assert seen[0] != seen[1]
    # Who comes first of two does not depend on who else takes part.
    rank = {row: at for at, row in enumerate(seen[0])}
    few = chosen[::2]
    out = np.empty(len(few), np.int64)
    shuffled(keys, np.uint64(1), few, len(few), out)
    places = [rank[row] for row in out.tolist()]
    assert sum(a < b for a, b in pairwise(places)) >= 0.9 * len(few)


def test_a_sample_takes_about_its_share_and_follows_the_key_alone() -> None:
    keys = workload_keys("acme", [f"w{number}" for number in range(10_000)])
    quarter = sampled(keys, np.uint64(5), 1 << 30)
    # 2,500 expected with a standard deviation of 43.
    assert 2300 < len(quarter) < 2700
    half = sampled(keys, np.uint64(5), 1 << 31)
    assert set(quarter.tolist()) < set(half.tolist())
    turned = sampled(keys[::-1].copy(), np.uint64(5), 1 << 30)
    assert sorted((9999 - turned).tolist()) == quarter.tolist()


@pytest.mark.parametrize("shards", [2, 8])
def test_rows_are_sorted_alike_whoever_owns_them(shards: int) -> None:
    made = make_instance(300, seed=13, periods=48)
    (fleet,) = made.fleets
    edges = np.array([400, 900], np.int64)
    whole, place, origin = sort_rows(fleet, range(GROUPS), edges, with_supplies=True)
    assert sorted(origin.tolist()) == list(range(300))
    assert place.tolist() == [0, *np.cumsum(np.bincount(groups_of(fleet.key), minlength=8))]
    keys: list[int] = []
    for groups in shard_groups(shards):
        rows, bounds, _ = sort_rows(fleet, groups, edges, with_supplies=True)
        assert len(bounds) == len(groups) + 1
        keys += rows.key.tolist()
    assert keys == whole.key.tolist()
    # Within a group: class, interruptible, then kinds together, and first periods rising in each.
    for low, high in zip(place[:-1].tolist(), place[1:].tolist(), strict=True):
        kind = list(zip(whole.power_class[low:high], whole.interruptible[low:high], strict=True))
        assert kind == sorted(kind)
