"""Fixtures over the scenario server: the four sources on loopback ports, for one test."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack
from functools import cache
from typing import Any

import pytest

from scenarios.loader import load
from scenarios.scenario import Scenario
from scenarios.serve.server import UpstreamServer
from schema.clock import Clock, VirtualClock

#: ``serve_upstream(name="windy-night", clock=None, **options)``; options are the server's own.
ServeUpstream = Callable[..., UpstreamServer]


@cache
def scenario_once(name: str) -> Scenario:
    """Load a scenario once a test process: its weather takes most of a second."""
    return load(name)


@pytest.fixture
def serve_upstream() -> Iterator[ServeUpstream]:
    """Start servers that stop with the test; without a clock they stand at the start."""
    with ExitStack() as stack:

        def start(
            name: str = "windy-night", clock: Clock | None = None, **options: Any
        ) -> UpstreamServer:
            scenario = scenario_once(name)
            server = UpstreamServer(scenario, clock or VirtualClock(scenario.start), **options)
            return stack.enter_context(server)

        yield start
