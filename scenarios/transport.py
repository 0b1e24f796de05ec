"""The replay transport: answers HTTP requests for the four sources from a scenario.

Everything above it is the code that runs live: the same request builders, client, retries and
parsers. Hosts are ignored and paths are told apart by their known beginnings, so any base address
may be configured. A reply holds only what the source would have published by the clock's now.
"""

from __future__ import annotations

from datetime import datetime

import httpx

from scenarios.answers import SourceAnswers, wire_fault
from scenarios.loader import load
from scenarios.model import FaultKind, WireFault
from scenarios.scenario import Scenario
from scenarios.wire.beckn import Callback
from scenarios.wire.spoil import spoiled
from schema.clock import Clock
from schema.readings import Source


def replay_transport(*, scenario: str, seed: int, source: str, clock: Clock) -> ReplayTransport:
    """Make the transport of one source of a replay.

    Args:
        scenario: Name or folder.
        seed: Of the run.
        source: One of ``schema.readings.Source``.
        clock: The run's clock; its now decides what is published.
    """
    return ReplayTransport(load(scenario, seed), Source(source), clock)


class ReplayTransport(httpx.AsyncBaseTransport):
    """Answers one source's requests; keeps no state that matters."""

    def __init__(self, scenario: Scenario, source: Source, clock: Clock) -> None:
        self._scenario = scenario
        self._source = source
        self._answers = SourceAnswers(scenario, source)
        self._clock = clock

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        """Answer a request, or fail as the scenario's faults want it."""
        await request.aread()
        now = self._clock.now()
        path = self._answers.path(request.url.path)
        fault = wire_fault(self._scenario, self._source, path, now)
        if fault is not None:
            _fail(fault, request)
        query = request.url.query.decode()
        reply = self._answers.answer(request.method, path, query, request.content, now)
        if fault is not None:
            reply = spoiled(reply, fault)
        headers = {"content-type": reply.content_type, **dict(reply.headers)}
        return httpx.Response(reply.status, headers=headers, content=reply.body, request=request)

    def callbacks(self, since: datetime, until: datetime) -> list[Callback]:
        """Give what the source sends by itself with ``since < at <= until`` (Beckn on_update)."""
        return self._answers.callbacks(since, until)


def _fail(fault: WireFault, request: httpx.Request) -> None:
    """Raise what httpx raises when the source cannot be reached; return for other faults."""
    if fault.kind is FaultKind.REFUSE:
        msg = "connection refused (scenario fault)"
        raise httpx.ConnectError(msg, request=request)
    if fault.kind is FaultKind.TIMEOUT:
        msg = "timed out (scenario fault)"
        raise httpx.ReadTimeout(msg, request=request)
