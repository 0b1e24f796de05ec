"""SHA-256 over what was decided, in integers and in one order.

Left out on purpose: ids of runs and conversations, wall clocks, and messages that exist only
because an organisation has several shards.
"""

from __future__ import annotations

from hashlib import sha256
from typing import Protocol

import numpy as np

from agents.core.market.outcome import Outcome
from agents.core.market.plans import Places
from agents.core.market.units import Ints


class _Hash(Protocol):
    def update(self, data: bytes, /) -> None: ...


def digest_of(outcome: Outcome) -> str:
    """Give the digest of one conversation."""
    total = sha256()
    for current in outcome.rounds:
        _add(total, f"round {current.number} {current.bound_nano} {int(current.sampled)}")
        _add_table(total, current.prices.mu_q)
        _add_table(total, current.prices.supply_q)
        for organisation in sorted(current.loads_by_organisation):
            _add(total, organisation)
            _add_table(total, current.loads_by_organisation[organisation])
    _add(total, f"final {outcome.bound_nano} {outcome.cost_nano}")
    for table in (outcome.market.grid_q, outcome.supply_q, outcome.mu_q, outcome.market.capacity_w):
        _add_table(total, table)
    for places in outcome.places:
        add_places(total, places)
    for refusal in outcome.refusals:
        _add(total, f"{refusal.organisation} {refusal.key} {refusal.kind} {refusal.site}")
    return total.hexdigest()


def add_places(total: _Hash, places: Places) -> None:
    """Add the places of one organisation."""
    _add(total, places.organisation)
    for table in (places.key.astype(np.int64), places.site, places.ptr, places.period):
        _add_table(total, table)
    _add_table(total, places.window)


def _add(total: _Hash, text: str) -> None:
    total.update(text.encode() + b"\n")


def _add_table(total: _Hash, table: Ints) -> None:
    total.update(np.asarray(table.shape, dtype="<i8").tobytes())
    total.update(np.ascontiguousarray(table, dtype="<i8").tobytes())
