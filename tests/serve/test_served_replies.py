"""Replies over a real socket: the replay's bytes, with the headers of the real services."""

from __future__ import annotations

import socket
import threading
import time
from datetime import timedelta
from pathlib import Path

import httpx
import orjson
import pytest
from source_requests import BECKN_BASE, live_plan
from upstream_fixtures import ServeUpstream, scenario_once

from fetchers.request import Request
from scenarios.serve.clock import PacedClock
from scenarios.serve.headers import packed
from scenarios.serve.server import UpstreamServer
from scenarios.transport import ReplayTransport
from schema.clock import VirtualClock
from schema.errors import InputError
from schema.readings import Source
from schema.settings import Settings

_NO_GZIP = {"Accept-Encoding": "identity"}
_FILE = "177f6fa4-ae49-4182-81ea-0c6b35f26ca6"
_DOWNLOAD = f"/dataset/x/resource/{_FILE}/download/demanddataupdate.csv"


def _real_base(source: Source) -> str:
    if source is Source.BECKN:
        return BECKN_BASE
    return str(Settings.model_fields[f"{source.value}_url"].default).rstrip("/")


async def _served(server: UpstreamServer, request: Request) -> httpx.Response:
    source = Source(request.source)
    url = server.urls[source] + request.url.removeprefix(_real_base(source))
    async with httpx.AsyncClient() as client:
        return await client.request(
            request.method,
            url,
            params=list(request.params) or None,
            headers=list(request.headers),
            content=request.body,
        )


async def _replayed(clock: VirtualClock, request: Request) -> httpx.Response:
    transport = ReplayTransport(scenario_once("windy-night"), Source(request.source), clock)
    async with httpx.AsyncClient(transport=transport) as client:
        return await client.request(
            request.method,
            request.url,
            params=list(request.params) or None,
            headers=list(request.headers),
            content=request.body,
        )


@pytest.mark.parametrize("hours", [0.0, 9.5])
async def test_every_endpoint_of_the_live_plan_gives_the_bytes_of_the_replay(
    serve_upstream: ServeUpstream, hours: float
) -> None:
    clock = VirtualClock(scenario_once("windy-night").start + timedelta(hours=hours))
    server = serve_upstream(clock=clock)
    asked = list(live_plan(clock.now()))
    for request in asked:
        over_socket = await _served(server, request)
        in_process = await _replayed(clock, request)
        assert over_socket.status_code == in_process.status_code == 200, request
        assert over_socket.content == in_process.content, request.endpoint
        assert over_socket.headers["content-type"] == in_process.headers["content-type"]
    assert {request.source for request in asked} == set(Source)
    assert [record.status for record in server.records] == [200] * len(asked)


async def test_refusals_are_the_replays_too(serve_upstream: ServeUpstream) -> None:
    server = serve_upstream()
    clock = VirtualClock(scenario_once("windy-night").start)
    for source, path in (
        (Source.CARBON_INTENSITY, "/intensity/nonsense"),
        (Source.ELEXON, "/datasets/NOSUCH?from=2026-02-03"),
        (Source.NESO, "/resource_show?id=00000000-0000-0000-0000-000000000000"),
        (Source.NESO, "/no_such_action"),
    ):
        request = Request(source, "any", f"{_real_base(source)}{path}")
        over_socket = await _served(server, request)
        in_process = await _replayed(clock, request)
        assert over_socket.status_code == in_process.status_code >= 400
        assert over_socket.content == in_process.content


def test_the_clock_decides_what_is_out_while_the_server_runs(
    serve_upstream: ServeUpstream,
) -> None:
    clock = VirtualClock(scenario_once("windy-night").start)  # 15:00Z
    server = serve_upstream(clock=clock, sources=[Source.CARBON_INTENSITY])
    url = server.urls[Source.CARBON_INTENSITY] + "/intensity"
    assert httpx.get(url).json()["data"][0]["from"] == "2026-02-03T14:30Z"
    clock.advance(timedelta(hours=1))
    reply = httpx.get(url)
    assert reply.json()["data"][0]["from"] == "2026-02-03T15:30Z"
    assert reply.headers["date"] == "Tue, 03 Feb 2026 16:00:00 GMT"


def test_large_replies_are_packed_for_those_who_take_it(serve_upstream: ServeUpstream) -> None:
    server = serve_upstream(sources=[Source.CARBON_INTENSITY])
    url = server.urls[Source.CARBON_INTENSITY] + "/regional"
    plain = httpx.get(url, headers=_NO_GZIP)
    small = httpx.get(url, headers={"Accept-Encoding": "gzip"})
    assert "content-encoding" not in plain.headers
    assert small.headers["content-encoding"] == "gzip"
    assert small.content == plain.content
    sizes = [record.bytes for record in server.records]
    assert sizes == [len(plain.content), int(small.headers["content-length"])]
    assert sizes[1] < sizes[0] / 2


@pytest.mark.parametrize(
    ("accepted", "wanted"),
    [("gzip", True), ("br, gzip;q=0.5", True), ("*", True), ("gzip;q=0", False), ("br", False)],
)
def test_a_client_says_whether_it_takes_gzip(accepted: str, wanted: bool) -> None:
    assert (packed(b"x" * 2000, accepted) is not None) is wanted


def test_headers_are_those_of_the_real_services(serve_upstream: ServeUpstream) -> None:
    server = serve_upstream()
    carbon = httpx.get(server.urls[Source.CARBON_INTENSITY] + "/intensity").headers
    assert len(carbon["x-amzn-requestid"]) == 36
    neso = httpx.get(server.urls[Source.NESO] + f"/resource_show?id={_FILE}").headers
    assert neso["cache-control"] == "no-cache"
    assert "etag" not in neso
    assert carbon["access-control-allow-origin"] == neso["access-control-allow-origin"] == "*"


def test_a_downloaded_file_is_sent_again_only_when_a_new_one_is_out(
    serve_upstream: ServeUpstream,
) -> None:
    clock = VirtualClock(scenario_once("windy-night").start)
    server = serve_upstream(clock=clock, sources=[Source.NESO])
    url = server.urls[Source.NESO].removesuffix("/api/3/action") + _DOWNLOAD
    first = httpx.get(url)
    # Hourly at ten past; it is 15:00Z.
    assert first.headers["last-modified"] == "Tue, 03 Feb 2026 14:10:00 GMT"
    by_tag = {"If-None-Match": first.headers["etag"]}
    by_time = {"If-Modified-Since": first.headers["last-modified"]}
    for condition in (by_tag, by_time):
        again = httpx.get(url, headers=condition)
        assert (again.status_code, again.content) == (304, b"")
    clock.advance(timedelta(minutes=10))
    for condition in (by_tag, by_time):
        assert httpx.get(url, headers=condition).status_code == 200
    assert httpx.get(url, headers={"If-Modified-Since": "yesterday"}).status_code == 200


def test_other_methods_are_refused(serve_upstream: ServeUpstream) -> None:
    server = serve_upstream(sources=[Source.ELEXON])
    assert httpx.delete(server.urls[Source.ELEXON] + "/datasets/MID").status_code == 405


def test_a_body_beyond_all_use_is_refused(serve_upstream: ServeUpstream) -> None:
    server = serve_upstream(sources=[Source.BECKN])
    reply = httpx.post(server.urls[Source.BECKN] + "/discover", content=b"x" * 2_000_000)
    assert reply.status_code == 413
    assert [record.status for record in server.records] == [413]


def test_the_log_holds_every_request_and_the_file_every_line_at_once(
    serve_upstream: ServeUpstream, tmp_path: Path
) -> None:
    path = tmp_path / "access.jsonl"
    server = serve_upstream(log=path, sources=[Source.CARBON_INTENSITY, Source.ELEXON])
    carbon = server.urls[Source.CARBON_INTENSITY]

    def ask() -> None:
        for _ in range(10):
            httpx.get(f"{carbon}/intensity", headers={"User-Agent": "a test"})

    askers = [threading.Thread(target=ask) for _ in range(4)]
    for asker in askers:
        asker.start()
    for asker in askers:
        asker.join()
    httpx.get(server.urls[Source.ELEXON] + "/generation/outturn/current?a=%20b")
    lines = [orjson.loads(line) for line in path.read_bytes().splitlines()]
    assert [line["source"] for line in lines] == ["carbon_intensity"] * 40 + ["elexon"]
    assert lines[0] == {
        "at": "2026-02-03T15:00:00Z",
        "source": "carbon_intensity",
        "direction": "in",
        "method": "GET",
        "path": "/intensity",
        "status": 200,
        "fault": None,
        "bytes": server.records[0].bytes,
        "user_agent": "a test",
        "error": None,
    }
    assert lines[-1]["path"] == "/bmrs/api/v1/generation/outturn/current?a=%20b"


def test_what_is_no_http_is_answered_400_and_logged(serve_upstream: ServeUpstream) -> None:
    server = serve_upstream(sources=[Source.NESO])
    port = httpx.URL(server.urls[Source.NESO]).port
    with socket.create_connection(("127.0.0.1", port or 0), timeout=5) as raw:
        raw.sendall(b"no http at all\r\n\r\n")
        assert raw.recv(100).startswith(b"HTTP/1.0 400")
    assert [(record.status, record.fault) for record in server.records] == [(400, None)]


def test_stopping_drops_connections_and_gives_the_ports_back(
    serve_upstream: ServeUpstream,
) -> None:
    server = serve_upstream()
    port = httpx.URL(server.urls[Source.ELEXON]).port or 0
    with socket.create_connection(("127.0.0.1", port), timeout=5) as idle:
        began = time.monotonic()
        server.stop()
        assert time.monotonic() - began < 2
        assert idle.recv(1) == b""
    with pytest.raises(ConnectionRefusedError):
        socket.create_connection(("127.0.0.1", port), timeout=5)
    with socket.socket() as mine:
        mine.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        mine.bind(("127.0.0.1", port))


def test_a_taken_port_is_named(serve_upstream: ServeUpstream) -> None:
    with socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        other.listen()
        taken = other.getsockname()[1]
        with pytest.raises(InputError, match=f"port {taken} of 127.0.0.1 cannot be taken"):
            serve_upstream(port_base=taken)


def test_an_access_log_that_cannot_be_written_is_named(serve_upstream: ServeUpstream) -> None:
    with pytest.raises(InputError, match="the access log /no/such/folder/log cannot be written"):
        serve_upstream(log=Path("/no/such/folder/log"))


def test_a_paced_clock_runs_as_fast_as_told() -> None:
    start = scenario_once("windy-night").start
    wall = VirtualClock(start + timedelta(days=100))
    clock = PacedClock(start, 60.0, wall.now)
    # 60 times the machine's seconds since 1970, which is 100 days ahead, is to be the start.
    assert clock.offset_s == start.timestamp() - 60 * (start.timestamp() + 100 * 86_400)
    wall.advance(timedelta(seconds=30))
    assert clock.now() == start + timedelta(minutes=30)
