"""Four sources by twelve faults, four hours each, on a virtual clock against a scenario's replies.

Figures are made up only for what the market needs, only once a source has been silent for longer
than its limit, and always say so; no published row is touched; real figures are back at the first
poll after the source is.
"""

from __future__ import annotations

import gzip
from collections.abc import Callable, Sequence
from datetime import datetime, timedelta
from functools import cache
from typing import Any

import httpx
import pytest

from fetchers import registry
from fetchers.factory import make_fetcher
from fetchers.fetcher import Fetcher
from fetchers.report import PollReport
from scenarios.loader import load
from scenarios.scenario import Scenario
from scenarios.transport import ReplayTransport
from schema.clock import VirtualClock
from schema.readings import Source
from schema.rows import Record
from storage.ports import PutAck

RUN = "00000000-0000-0000-0000-00000000000a"
SEED = 7
EVERY = timedelta(minutes=5)
BEGINS, ENDS = timedelta(minutes=5), timedelta(hours=4)
TABLES = {
    "carbon_intensity": {"carbon_intensity_national", "carbon_intensity_regional"},
    "elexon": {"wholesale_prices"},
}
Fault = Callable[[httpx.Request, httpx.Response, VirtualClock], httpx.Response]


def raising(kind: type[httpx.TransportError]) -> Fault:
    def fault(request: httpx.Request, _reply: httpx.Response, _clock: VirtualClock) -> Any:
        raise kind("gone", request=request)

    return fault


def hanging(_request: httpx.Request, reply: httpx.Response, clock: VirtualClock) -> httpx.Response:
    clock.advance(timedelta(seconds=60))
    return reply


def answering(status: int, body: bytes = b"{}", **headers: str) -> Fault:
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    return lambda _request, _reply, _clock: httpx.Response(status, content=body, headers=named)


def cut(_request: httpx.Request, reply: httpx.Response, _clock: VirtualClock) -> httpx.Response:
    return httpx.Response(200, content=reply.content[: len(reply.content) // 2])


def nothing_new(request: httpx.Request, _reply: Any, _clock: VirtualClock) -> httpx.Response:
    """Give each source's way to say that there is nothing."""
    if "datastore" in request.url.path or "_show" in request.url.path:
        return httpx.Response(200, json={"success": True, "result": {"records": [], "total": 0}})
    if request.method == "POST":
        return httpx.Response(200, json={"message": {"ack": {"status": "NACK"}}})
    return httpx.Response(200, json={"data": []})


BOMB = gzip.compress(b" " * 40_000_000)


class Bomb(httpx.AsyncByteStream):
    async def __aiter__(self) -> Any:
        yield BOMB


def bomb(_request: httpx.Request, _reply: httpx.Response, _clock: VirtualClock) -> httpx.Response:
    return httpx.Response(200, stream=Bomb(), headers={"content-encoding": "gzip"})


FAULTS: dict[str, Fault] = {
    "refused": raising(httpx.ConnectError),
    "reset": raising(httpx.ReadError),
    "hang": hanging,
    "500": answering(500, b'{"error":{"code":"500 Internal Server Error"}}'),
    "503-wait": answering(503, Retry_After="120"),
    "429": answering(429, Retry_After="20"),
    "403": answering(403, b'{"message":"Forbidden"}'),
    "404": answering(404),
    "page": answering(200, b"<html><title>Maintenance</title></html>"),
    "cut": cut,
    "nothing": nothing_new,
    "bomb": bomb,
}
#: Faults that need the reply they spoil.
SPOILED = (hanging, cut)
NO_REPLY = httpx.Response(599)
LOGGED = {
    "refused": "unavailable",
    "reset": "unavailable",
    "hang": "timeout",
    "500": "unavailable",
    "503-wait": "unavailable",
    "429": "throttled",
    "403": "rejected",
    "404": "rejected",
    "page": "invalid_payload",
    "cut": "invalid_payload",
    "bomb": "invalid_payload",
}


class Faulty(httpx.AsyncBaseTransport):
    """A scenario's source that is out for some hours."""

    def __init__(self, scenario: Scenario, source: str, fault: Fault, clock: VirtualClock) -> None:
        self._inner = ReplayTransport(scenario, Source(source), clock)
        self._from, self._to = scenario.start + BEGINS, scenario.start + ENDS
        self._fault, self._clock = fault, clock

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        out = self._from <= self._clock.now() < self._to
        if out and self._fault not in SPOILED:
            return self._fault(request, NO_REPLY, self._clock)
        reply = await self._inner.handle_async_request(request)
        return self._fault(request, reply, self._clock) if out else reply


class Store:
    def __init__(self) -> None:
        self.records: list[Record] = []

    async def put(self, records: Sequence[Record], checkpoint: object = None) -> PutAck:
        self.records.extend(records)
        return PutAck(len(records), 0)

    def rows(self, quality: str) -> list[dict[str, Any]]:
        mark = f'"quality":"{quality}"'.encode()
        return [one.columns() | {"table": one.table} for one in self.records if mark in one.body]


@cache
def scenario() -> Scenario:
    return load("windy-night", SEED)


Life = tuple[Fetcher, Store, dict[datetime, PollReport]]
LIVED: dict[tuple[str, str], Life] = {}


async def lived(source: str, fault: str) -> Life:
    """Poll a source every five minutes until its outage is over; once for all tests."""
    if (source, fault) not in LIVED:
        LIVED[source, fault] = await live(source, FAULTS[fault])
    return LIVED[source, fault]


async def live(source: str, fault: Fault) -> Life:
    start = scenario().start
    clock, store = VirtualClock(start), Store()
    fetcher = make_fetcher(
        source,
        base_url="https://api.example/v1",
        run_id=RUN,
        clock=clock,
        storage=store,
        seed=SEED,
        transport=Faulty(scenario(), source, fault, clock),
        incarnation="live",
        interval_s=EVERY.total_seconds(),
    )
    reports = {}
    for number in range(ENDS // EVERY + 1):
        moment = start + number * EVERY
        reports[moment] = await fetcher.poll(moment)
    return fetcher, store, reports


@pytest.mark.parametrize("fault", FAULTS)
@pytest.mark.parametrize("source", [one.value for one in Source])
async def test_an_outage_is_bridged_where_the_market_needs_it(source: str, fault: str) -> None:
    fetcher, store, reports = await lived(source, fault)
    start = scenario().start
    made_up = {moment for moment, report in reports.items() if report.fallbacks}
    if fetcher.plan.needed():
        # Read whole at the start; the first poll at which that is longer ago than the limit.
        limit = registry.definition(source).stale_after
        assert min(made_up) == start + limit + EVERY
    else:
        assert made_up == set()
    rows = store.rows("synthetic")
    assert {row["table"] for row in rows} == TABLES.get(source, set())
    assert all(f"{source} is out" in row["reason"] for row in rows)
    assert all(row["seed"] == SEED for row in rows)
    published = {(row["table"], row["id"]) for row in store.rows("published")}
    assert published
    assert not published & {(row["table"], row["id"]) for row in rows}

    # Back: the first poll reads it whole, and each figure made up has a real one beside it.
    back = reports[start + ENDS]
    wanted = set(fetcher.plan.needed())
    assert {one.feed for one in back.asked if one.outcome == "ok"} >= wanted
    assert back.fallbacks == 0
    assert missing_twins(store) == set()


def missing_twins(store: Store) -> set[tuple[Any, ...]]:
    """Name the synthetic figures that no published one stands beside."""

    def key(row: dict[str, Any]) -> tuple[Any, ...]:
        return (row["table"], row["valid_from"], row.get("region_id"), row.get("market"))

    named = {key(row) for row in store.rows("published") if "valid_from" in row}
    return {key(row) for row in store.rows("synthetic")} - named


@pytest.mark.parametrize("fault", LOGGED)
@pytest.mark.parametrize("source", [one.value for one in Source])
async def test_every_attempt_of_an_outage_is_in_the_log(source: str, fault: str) -> None:
    _, store, reports = await lived(source, fault)
    logs = [one.columns() for one in store.records if one.table == "api_logs"]
    sent = [log for log in logs if log["outcome"] != "breaker_open"]
    assert len(sent) == sum(report.requests for report in reports.values())
    assert [log["sequence"] for log in logs] == list(range(len(logs)))
    told = {log["outcome"] for log in logs} - {"ok", "breaker_open", "not_yet_published"}
    assert told == {LOGGED[fault]}
    # What the breaker kept back never left: it has no status and took no time.
    kept_back = [log for log in logs if log["outcome"] == "breaker_open"]
    assert all(log["http_status"] is None and log["duration_ms"] is None for log in kept_back)
    marked = [log for log in logs if log["fallback"]]
    assert bool(marked) == any(report.fallbacks for report in reports.values())
