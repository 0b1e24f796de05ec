"""Many seeds, each replayed twice: the same is decided, and the log holds no violation.

A half day of sixty workloads each. The second of the two runs has other processes: four shards an
organisation in place of one.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from chaos_table import Tally

pytestmark = [
    pytest.mark.chaos,
    pytest.mark.xdist_group("seeds-twice"),
    pytest.mark.long,
    pytest.mark.timeout(900),
]

#: A replay takes a second, so there are fewer of them.
SHARE = 20
FIRST_SEED = 1000


def test_the_same_seed_decides_the_same_and_audits_clean(
    replay_locally: Callable[..., Any], trials: int, tally: Tally
) -> None:
    differing: list[str] = []
    violations: list[str] = []
    digests: set[str] = set()
    conversations = messages = 0
    seeds = range(FIRST_SEED, FIRST_SEED + max(1, trials // SHARE))
    for seed in seeds:
        once, again = replay_locally(seed=seed), replay_locally(seed=seed, shards=4)
        digests.add(once.outcome.digest)
        if once.outcome.digest != again.outcome.digest:
            differing.append(f"seed {seed}")
        for replayed in (once, again):
            conversations += replayed.outcome.negotiation.conversations
            messages += replayed.outcome.negotiation.messages
            violations += [f"seed {seed}: {item}" for item in replayed.audit().violations]
    assert len(digests) == len(seeds)
    tally("24: same seed twice, same outcome", len(seeds), differing)
    tally(
        "23: conversations audited, no violation",
        conversations,
        violations,
        note=f"{messages:,} messages of {2 * len(seeds)} replays",
    )
