"""How often each promise is tried, and the table at the end.

``GRIDPACT_CHAOS_TRIALS`` is the number of kills, power cuts and the like; 1,000 in ``make chaos``,
20 unless told.
"""

from __future__ import annotations

import os
from collections.abc import Sequence

import pytest
from chaos_table import Line, Tally, drawn

TRIALS = int(os.environ.get("GRIDPACT_CHAOS_TRIALS", "20"))
_LINES = pytest.StashKey[list[Line]]()


@pytest.fixture(scope="session")
def trials() -> int:
    """Give how often a promise is to be tried."""
    return TRIALS


@pytest.fixture
def tally(request: pytest.FixtureRequest) -> Tally:
    """Note a line of the table, and fail the test when its promise was broken."""

    def add(
        promise: str,
        trials: int,
        failures: Sequence[object],
        *,
        control: bool = False,
        note: str = "",
    ) -> None:
        lines = request.config.stash.setdefault(_LINES, [])
        lines.append(Line(promise, trials, len(failures), control, request.node.nodeid, note))
        assert trials > 0, f"{promise}: tried not once, so nothing is shown"
        assert not failures, f"{promise}: {len(failures)} of {trials}, first {failures[:3]}"

    return add


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    lines = terminalreporter.config.stash.get(_LINES, [])
    if not lines:
        return
    terminalreporter.section(f"promises, tried {TRIALS:,} times where that is possible")
    for line in drawn(lines):
        terminalreporter.write_line(line)
    terminalreporter.write_line(
        f"with GRIDPACT_CHAOS_TRIALS={TRIALS}; the rate of failures is below that with 95 %"
    )
