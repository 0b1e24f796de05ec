"""What a source answers to a request: the one place that both the replay and the server ask.

A request here is its parts, without any HTTP library: the replay's transport takes them from
httpx, the server from a socket, and both get the same bytes.
"""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime, timedelta
from urllib.parse import parse_qs

from scenarios.model import FaultKind, WireFault
from scenarios.scenario import Scenario
from scenarios.wire.beckn import BecknWire, Callback
from scenarios.wire.carbon_intensity import CarbonIntensityWire
from scenarios.wire.elexon import ElexonWire
from scenarios.wire.neso import NesoWire
from scenarios.wire.reply import Reply, json_reply
from schema.readings import Source

Query = dict[str, list[str]]

_BEGINNINGS: dict[Source, tuple[str, ...]] = {
    Source.CARBON_INTENSITY: ("/intensity", "/generation", "/regional"),
    Source.ELEXON: ("/balancing", "/datasets", "/demand", "/forecast", "/generation"),
    Source.NESO: (),
    Source.BECKN: (),
}


class SourceAnswers:
    """Answers for one source of a scenario; keeps no state that matters."""

    def __init__(self, scenario: Scenario, source: Source) -> None:
        self._source = source
        self._beckn = BecknWire(scenario) if source is Source.BECKN else None
        self._answer = _answerer(scenario, source, self._beckn)

    def path(self, path: str) -> str:
        """Give the path behind whatever base address is configured."""
        begins = [at for prefix in _BEGINNINGS[self._source] if (at := path.find(prefix)) >= 0]
        return path[min(begins) :] if begins else path

    def answer(self, method: str, path: str, query: str, body: bytes, now: datetime) -> Reply:
        """Answer a request.

        Args:
            method: Only GET and POST are answered.
            path: As ``path`` gives it, without the query.
            query: As it stands in the address.
            body: Of a POST.
            now: What is published by then is told.
        """
        if method not in {"GET", "POST"}:
            return json_reply({"message": "Method Not Allowed"}, status=405)
        return self._answer(path, parse_qs(query, keep_blank_values=True), body, now)

    def callbacks(self, since: datetime, until: datetime) -> list[Callback]:
        """Give what the source sends by itself with ``since < at <= until`` (Beckn on_update)."""
        return [] if self._beckn is None else self._beckn.callbacks(since, until)


def wire_fault(scenario: Scenario, source: Source, path: str, now: datetime) -> WireFault | None:
    """Give the scenario's own fault that hits a request; NACKs are answers, not faults."""
    hour = (now - scenario.start) / timedelta(hours=1)
    for fault in scenario.file.faults:
        if (
            fault.kind is not FaultKind.NACK
            and fault.source is source
            and fault.from_h <= hour < fault.to_h
            and fault.path in path
        ):
            return fault
    return None


def _answerer(
    scenario: Scenario, source: Source, beckn: BecknWire | None
) -> Callable[[str, Query, bytes, datetime], Reply]:
    match source:
        case Source.CARBON_INTENSITY:
            carbon = CarbonIntensityWire(scenario)
            return lambda path, _query, _body, now: carbon.answer(path, now)
        case Source.ELEXON:
            elexon = ElexonWire(scenario)
            return lambda path, query, _body, now: elexon.answer(path, query, now)
        case Source.NESO:
            neso = NesoWire(scenario)
            return lambda path, query, _body, now: neso.answer(path, query, now)
        case Source.BECKN:
            wire = beckn or BecknWire(scenario)
            return lambda path, query, body, now: wire.answer(path, body, now, query)
