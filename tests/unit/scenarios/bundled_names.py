"""Names of the bundled scenarios for tests that look at each of them."""

from __future__ import annotations

import pytest

from scenarios.loader import bundled

#: Making its workloads takes seconds where the others take a tenth of one.
LARGE = "fleet-100k"


def bundled_one_by_one() -> list[object]:
    """Give all names; tests that make every workload of the large one are long."""
    return [
        pytest.param(name, marks=pytest.mark.long) if name == LARGE else name for name in bundled()
    ]
