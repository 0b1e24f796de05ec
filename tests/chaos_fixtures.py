"""How often each promise is tried, and the table at the end.

``GRIDPACT_CHAOS_TRIALS`` is the number of kills, power cuts and the like; 1,000 in ``make chaos``,
20 unless told.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import asdict

import pytest
from chaos_table import Line, Tally, drawn

TRIALS = int(os.environ.get("GRIDPACT_CHAOS_TRIALS", "20"))
#: A test's lines travel in its report.
_PROPERTY = "promise"


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
        # With xdist the name ends with the group that runs in one process.
        test = request.node.nodeid.partition("@")[0]
        line = Line(promise, trials, len(failures), control, test, note)
        request.node.user_properties.append((_PROPERTY, asdict(line)))
        assert trials > 0, f"{promise}: tried not once, so nothing is shown"
        assert not failures, f"{promise}: {len(failures)} of {trials}, first {failures[:3]}"

    return add


class _Table:
    """Gathers the lines of all tests, whichever process ran them."""

    def __init__(self) -> None:
        self.lines: list[Line] = []

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        if report.when == "call":
            self.lines += [
                Line(**values) for name, values in report.user_properties if name == _PROPERTY
            ]

    def pytest_terminal_summary(self, terminalreporter: pytest.TerminalReporter) -> None:
        if not self.lines:
            return
        terminalreporter.section(f"promises, tried {TRIALS:,} times where that is possible")
        for line in drawn(self.lines):
            terminalreporter.write_line(line)
        terminalreporter.write_line(
            f"with GRIDPACT_CHAOS_TRIALS={TRIALS}; the rate of failures is below that with 95 %"
        )


def pytest_configure(config: pytest.Config) -> None:
    config.pluginmanager.register(_Table())
