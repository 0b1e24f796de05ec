"""The transport: one source each, faults by the clock, and replies the parsers take whole."""

from __future__ import annotations

from datetime import datetime, timedelta

import httpx
import pytest
from source_requests import live_plan

from fetchers import registry
from fetchers.carbon_intensity import endpoints as carbon
from fetchers.elexon import endpoints as elexon
from fetchers.parsing import ParseContext
from fetchers.request import Request
from scenarios.loader import bundled, load
from scenarios.model import FaultKind, WireFault
from scenarios.scenario import Scenario
from scenarios.transport import ReplayTransport, replay_transport
from schema.clock import VirtualClock
from schema.readings import Source


async def _send(transport: ReplayTransport, request: Request) -> httpx.Response:
    async with httpx.AsyncClient(transport=transport) as client:
        return await client.request(
            request.method,
            request.url,
            params=list(request.params) or None,
            headers=list(request.headers),
            content=request.body,
        )


@pytest.mark.parametrize("name", bundled())
async def test_no_parser_rejects_a_row_of_a_clean_replay(name: str) -> None:
    scenario = _with_faults(load(name))
    for hours in (0.0, 9.5, 23.5):
        now = scenario.start + timedelta(hours=hours)
        clock = VirtualClock(now)
        transports = {source: ReplayTransport(scenario, source, clock) for source in Source}
        for request in live_plan(now):
            reply = await _send(transports[Source(request.source)], request)
            assert reply.status_code == 200, request
            parser = registry.find(str(request.source), request.endpoint)
            parsed = parser.parse(reply.content, ParseContext(now=now))
            assert parsed.rejected == (), (request.endpoint, parsed.rejected[:2])
            assert parsed.rows or not parser.tables, request.endpoint


async def test_the_factory_makes_one_sources_transport_under_a_clock() -> None:
    scenario = load("windy-night", 7)
    clock = VirtualClock(scenario.start)
    transport = replay_transport(
        scenario="windy-night", seed=7, source="carbon_intensity", clock=clock
    )
    request = carbon.build_intensity("http://127.0.0.1:9/any/base")
    first = (await _send(transport, request)).json()["data"][0]
    assert first["from"] == "2026-02-03T14:30Z"
    clock.advance(timedelta(hours=1))
    assert (await _send(transport, request)).json()["data"][0]["from"] == "2026-02-03T15:30Z"


async def test_two_transports_give_the_same_bytes(windy: Scenario) -> None:
    clock = VirtualClock(windy.start + timedelta(hours=2))
    for request in live_plan(clock.now()):
        one = await _send(ReplayTransport(windy, Source(request.source), clock), request)
        other = ReplayTransport(load("windy-night"), Source(request.source), clock)
        assert one.content == (await _send(other, request)).content, request.endpoint


def _with_faults(scenario: Scenario, *faults: WireFault) -> Scenario:
    file = scenario.file.model_copy(update={"faults": faults})
    return Scenario(file, scenario.folder, scenario.seed, scenario.given)


def _with_fault(scenario: Scenario, kind: FaultKind, path: str = "") -> Scenario:
    fault = WireFault(kind=kind, source=Source.ELEXON, from_h=1, to_h=1.5, path=path)
    return _with_faults(scenario, fault)


def _outturn(at: datetime) -> Request:
    return elexon.build_demand_outturn(at.date(), at.date())


@pytest.mark.parametrize(
    ("kind", "error"),
    [(FaultKind.REFUSE, httpx.ConnectError), (FaultKind.TIMEOUT, httpx.ReadTimeout)],
)
async def test_an_unreachable_source_raises_what_httpx_raises(
    windy: Scenario, kind: FaultKind, error: type[Exception]
) -> None:
    clock = VirtualClock(windy.start + timedelta(hours=1))
    transport = ReplayTransport(_with_fault(windy, kind), Source.ELEXON, clock)
    with pytest.raises(error):
        await _send(transport, _outturn(windy.start))
    clock.advance(timedelta(minutes=30))
    assert (await _send(transport, _outturn(windy.start))).status_code == 200


@pytest.mark.parametrize(
    ("kind", "status"),
    [
        (FaultKind.THROTTLE, 429),
        (FaultKind.SERVER_ERROR, 500),
        (FaultKind.HTML, 200),
        (FaultKind.TRUNCATED, 200),
        (FaultKind.WRONG_TYPES, 200),
    ],
)
async def test_a_misbehaving_source_spoils_its_replies(
    windy: Scenario, kind: FaultKind, status: int
) -> None:
    clock = VirtualClock(windy.start + timedelta(hours=1))
    good = await _send(ReplayTransport(windy, Source.ELEXON, clock), _outturn(windy.start))
    transport = ReplayTransport(_with_fault(windy, kind), Source.ELEXON, clock)
    bad = await _send(transport, _outturn(windy.start))
    assert bad.status_code == status
    assert bad.content != good.content
    if kind is FaultKind.THROTTLE:
        assert bad.headers["retry-after"] == "30"
    if kind is FaultKind.TRUNCATED:
        assert good.content.startswith(bad.content)
    if kind is FaultKind.WRONG_TYPES:
        assert isinstance(bad.json()["data"][0]["initialDemandOutturn"], str)


async def test_a_fault_hits_only_its_source_path_and_time(windy: Scenario) -> None:
    broken = _with_fault(windy, FaultKind.REFUSE, path="/datasets")
    clock = VirtualClock(windy.start + timedelta(hours=1))
    transport = ReplayTransport(broken, Source.ELEXON, clock)
    assert (await _send(transport, _outturn(windy.start))).status_code == 200
    other = ReplayTransport(broken, Source.CARBON_INTENSITY, clock)
    assert (await _send(other, carbon.build_generation())).status_code == 200


async def test_only_get_and_post_are_answered(windy: Scenario) -> None:
    transport = ReplayTransport(windy, Source.NESO, VirtualClock(windy.start))
    async with httpx.AsyncClient(transport=transport) as client:
        reply = await client.delete("https://x/api/3/action/package_show")
    assert reply.status_code == 405


def test_only_beckn_sends_by_itself(rush: Scenario) -> None:
    clock = VirtualClock(rush.start)
    counts = {
        source: len(ReplayTransport(rush, source, clock).callbacks(rush.start, rush.end))
        for source in Source
    }
    assert counts == {
        Source.CARBON_INTENSITY: 0,
        Source.NESO: 0,
        Source.ELEXON: 0,
        Source.BECKN: 1,
    }


async def test_an_unsolicited_update_is_taken_by_the_parser(rush: Scenario) -> None:
    transport = ReplayTransport(rush, Source.BECKN, VirtualClock(rush.start))
    (callback,) = transport.callbacks(rush.start, rush.end)
    parsed = registry.find("beckn", "on-update").parse(callback.body, ParseContext(now=callback.at))
    assert parsed.rejected == ()
    windows = [row for row in parsed.rows if row.TABLE == "compute_windows"]
    assert [(row.item_id, row.capacity_kw) for row in windows] == [("item-ce-rush-020", 20.0)]  # type: ignore[attr-defined]
