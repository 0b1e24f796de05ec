"""The replay transport: answers HTTP requests for the four sources from a scenario.

Everything above it is the code that runs live: the same request builders, client, retries and
parsers. Hosts are ignored and paths are told apart by their known beginnings, so any base address
may be configured. A reply holds only what the source would have published by the clock's now.
"""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime, timedelta
from urllib.parse import parse_qs

import httpx

from scenarios.loader import load
from scenarios.model import FaultKind, WireFault
from scenarios.scenario import Scenario
from scenarios.wire.beckn import BecknWire, Callback
from scenarios.wire.carbon_intensity import CarbonIntensityWire
from scenarios.wire.elexon import ElexonWire
from scenarios.wire.neso import NesoWire
from scenarios.wire.reply import Reply, json_reply
from scenarios.wire.spoil import spoiled
from schema.clock import Clock
from schema.readings import Source

Answer = Callable[[httpx.Request, str, datetime], Reply]

_BASES: dict[Source, tuple[str, ...]] = {
    Source.CARBON_INTENSITY: ("/intensity", "/generation", "/regional"),
    Source.ELEXON: ("/balancing", "/datasets", "/demand", "/forecast", "/generation"),
    Source.NESO: (),
    Source.BECKN: (),
}


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
        self._clock = clock
        self._beckn = BecknWire(scenario) if source is Source.BECKN else None
        self._answer = _answerer(scenario, source, self._beckn)

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        """Answer a request, or fail as the scenario's faults want it."""
        await request.aread()
        now = self._clock.now()
        path = self._path(request)
        fault = self._fault(path, now)
        if fault is not None:
            _fail(fault, request)
        reply = json_reply({"message": "Method Not Allowed"}, status=405)
        if request.method in {"GET", "POST"}:
            reply = self._answer(request, path, now)
        if fault is not None:
            reply = spoiled(reply, fault)
        headers = {"content-type": reply.content_type, **dict(reply.headers)}
        return httpx.Response(reply.status, headers=headers, content=reply.body, request=request)

    def callbacks(self, since: datetime, until: datetime) -> list[Callback]:
        """Give what the source sends by itself with ``since < at <= until`` (Beckn on_update)."""
        return [] if self._beckn is None else self._beckn.callbacks(since, until)

    def _path(self, request: httpx.Request) -> str:
        """Give the path behind whatever base address is configured."""
        path = request.url.path
        begins = [at for prefix in _BASES[self._source] if (at := path.find(prefix)) >= 0]
        return path[min(begins) :] if begins else path

    def _fault(self, path: str, now: datetime) -> WireFault | None:
        hour = (now - self._scenario.start) / timedelta(hours=1)
        for fault in self._scenario.file.faults:
            if (
                fault.kind is not FaultKind.NACK
                and fault.source is self._source
                and fault.from_h <= hour < fault.to_h
                and fault.path in path
            ):
                return fault
        return None


def _answerer(scenario: Scenario, source: Source, beckn: BecknWire | None) -> Answer:
    match source:
        case Source.CARBON_INTENSITY:
            carbon = CarbonIntensityWire(scenario)
            return lambda _request, path, now: carbon.answer(path, now)
        case Source.ELEXON:
            elexon = ElexonWire(scenario)
            return lambda request, path, now: elexon.answer(path, _query(request), now)
        case Source.NESO:
            neso = NesoWire(scenario)
            return lambda request, path, now: neso.answer(path, _query(request), now)
        case Source.BECKN:
            wire = beckn or BecknWire(scenario)
            return lambda request, path, now: wire.answer(
                path, request.content, now, _query(request)
            )


def _query(request: httpx.Request) -> dict[str, list[str]]:
    return parse_qs(request.url.query.decode(), keep_blank_values=True)


def _fail(fault: WireFault, request: httpx.Request) -> None:
    """Raise what httpx raises when the source cannot be reached; return for other faults."""
    if fault.kind is FaultKind.REFUSE:
        msg = "connection refused (scenario fault)"
        raise httpx.ConnectError(msg, request=request)
    if fault.kind is FaultKind.TIMEOUT:
        msg = "timed out (scenario fault)"
        raise httpx.ReadTimeout(msg, request=request)
