"""Compiles the market's kernels once, so that no first negotiation has to wait for it.

Run as ``python -m agents.core.warm``; the compiled code stays on disk.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from agents.core.market.contractors import InProcessContractors, make_books
from agents.core.market.instances import make_instance
from agents.core.market.negotiate import Options, WarmStart, negotiate
from agents.core.market.order import sampled

_WORKLOADS = 60


def compile_kernels() -> None:
    """Negotiate over a small made-up batch: with windows, as a large one, with a plan in force."""
    made = make_instance(_WORKLOADS, seed=1, periods=48, organisations=2, window_share=0.1)
    first = negotiate(made.market, InProcessContractors(make_books(made.fleets)), Options())
    for fleet in made.fleets:
        sampled(fleet.key, np.uint64(0), 1 << 31)
    negotiate(made.market, InProcessContractors(make_books(made.fleets)), Options(muster_up_to=0))
    fleets = []
    for fleet in made.fleets:
        accepted = np.zeros(len(fleet), np.bool_)
        accepted[::2] = True
        fleets.append(replace(fleet, accepted=accepted))
    negotiate(
        made.market,
        InProcessContractors(make_books(fleets)),
        Options(),
        warm=WarmStart(first.mu_q, first.supply_q),
        in_force=first.places,
    )


if __name__ == "__main__":
    compile_kernels()
