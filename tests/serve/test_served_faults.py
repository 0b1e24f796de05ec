"""Each fault, seen by a plain client, is what its name says."""

from __future__ import annotations

import gzip
import socket
import time
import zlib
from datetime import timedelta

import httpx
import orjson
import pytest
from upstream_fixtures import ServeUpstream, scenario_once

from fetchers.neso import endpoints as neso
from scenarios.model import FaultKind, WireFault
from scenarios.scenario import Scenario
from scenarios.serve.faults import Kind
from scenarios.serve.server import UpstreamServer
from schema.clock import VirtualClock
from schema.readings import Source

_PATH = "/intensity/2026-02-03T15:00Z/fw48h"
_SLOW_S = 0.4


@pytest.fixture
def carbon(serve_upstream: ServeUpstream) -> UpstreamServer:
    return serve_upstream(sources=[Source.CARBON_INTENSITY])


def _url(server: UpstreamServer, path: str = _PATH) -> str:
    return server.urls[Source.CARBON_INTENSITY] + path


def _get(server: UpstreamServer, path: str = _PATH) -> httpx.Response:
    return httpx.get(_url(server, path), headers={"Accept-Encoding": "identity"}, timeout=5)


def _raw(server: UpstreamServer, path: str = _PATH) -> socket.socket:
    """Ask by a bare socket, to see what happens to the connection itself."""
    port = httpx.URL(_url(server)).port or 0
    raw = socket.create_connection(("127.0.0.1", port), timeout=5)
    raw.sendall(f"GET {path} HTTP/1.1\r\nHost: x\r\n\r\n".encode())
    return raw


def _all_of(raw: socket.socket) -> bytes:
    parts = []
    while part := raw.recv(65_536):
        parts.append(part)
    return b"".join(parts)


def _until_reset(raw: socket.socket) -> bytes:
    parts = []
    try:
        while part := raw.recv(65_536):
            parts.append(part)
    except ConnectionResetError:
        return b"".join(parts)
    pytest.fail("the connection was closed, not reset")


def _last(server: UpstreamServer) -> tuple[int | None, str | None, int]:
    record = server.records[-1]
    return record.status, record.fault, record.bytes


def test_refuse_closes_the_port_and_keeps_its_number(carbon: UpstreamServer) -> None:
    good = _get(carbon)
    with httpx.Client() as client:
        client.get(_url(carbon, "/generation"))  # leaves a connection open
        carbon.set_faults("carbon_intensity:refuse")
        with pytest.raises(httpx.TransportError):
            client.get(_url(carbon, "/generation"))
    with pytest.raises(httpx.ConnectError):
        _get(carbon)
    carbon.set_faults("")
    assert _get(carbon).content == good.content
    # Nobody hears of a refused connection: before, on the open one, and after.
    assert [record.fault for record in carbon.records] == [None, None, None]


def test_a_port_opens_and_closes_as_the_clock_passes(serve_upstream: ServeUpstream) -> None:
    clock = VirtualClock(scenario_once("windy-night").start)
    server = serve_upstream(
        clock=clock, sources=[Source.CARBON_INTENSITY], faults="carbon_intensity:refuse:60-120"
    )

    def state() -> str:
        try:
            return str(_get(server).status_code)
        except httpx.ConnectError:
            return "refused"

    def settles(wanted: str) -> bool:
        ends = time.monotonic() + 5
        while state() != wanted:
            if time.monotonic() > ends:
                return False
            time.sleep(0.01)
        return True

    assert state() == "200"
    clock.advance(timedelta(seconds=60))
    assert settles("refused")
    clock.advance(timedelta(seconds=60))
    assert settles("200")


def test_refuse_for_a_path_resets_before_a_byte(carbon: UpstreamServer) -> None:
    carbon.set_faults("carbon_intensity:refuse:/generation")
    assert _get(carbon).status_code == 200
    with _raw(carbon, "/generation") as raw, pytest.raises(ConnectionResetError):
        raw.recv(1)
    assert _last(carbon) == (None, "refuse", 0)


def test_reset_ends_the_connection_in_the_middle_of_the_body(carbon: UpstreamServer) -> None:
    whole = _get(carbon).content
    carbon.set_faults("carbon_intensity:reset")
    with _raw(carbon) as raw:
        raw.settimeout(5)
        head, _, body = raw.recv(65_536).partition(b"\r\n\r\n")
        body += _until_reset(raw)
    assert f"Content-Length: {len(whole)}".encode() in head
    assert body == whole[: len(whole) // 2]
    assert _last(carbon) == (200, "reset", len(whole) // 2)
    with pytest.raises(httpx.ReadError):
        _get(carbon)


def test_hang_accepts_and_never_answers(carbon: UpstreamServer) -> None:
    carbon.set_faults("carbon_intensity:hang")
    with pytest.raises(httpx.ReadTimeout):
        httpx.get(_url(carbon), timeout=_SLOW_S)
    assert _last(carbon) == (None, "hang", 0)
    carbon.set_faults("")
    assert _get(carbon).status_code == 200


def test_drip_sends_a_byte_a_second(carbon: UpstreamServer) -> None:
    whole = _get(carbon).content
    carbon.set_faults("carbon_intensity:drip")
    with _raw(carbon) as raw:
        raw.settimeout(2)
        began = time.monotonic()
        got = raw.recv(65_536)
        while len(got.partition(b"\r\n\r\n")[2]) < 3:
            got += raw.recv(65_536)
        took = time.monotonic() - began
    # The first byte comes at once, the third two seconds later.
    assert got.partition(b"\r\n\r\n")[2] == whole[:3]
    assert 1.9 < took < 4
    assert _last(carbon) == (200, "drip", len(whole))


def test_a_faster_drip_is_whole_in_the_end(carbon: UpstreamServer) -> None:
    whole = _get(carbon, "/generation").content
    carbon.set_faults("carbon_intensity:drip=10000")
    assert _get(carbon, "/generation").content == whole


def test_throttle_says_how_long_to_wait(carbon: UpstreamServer) -> None:
    carbon.set_faults("carbon_intensity:throttle=17")
    reply = _get(carbon)
    assert (reply.status_code, reply.headers["retry-after"]) == (429, "17")
    assert _last(carbon)[:2] == (429, "throttle")


@pytest.mark.parametrize(("text", "status"), [("error", 500), ("error=503", 503)])
def test_error_is_a_5xx(carbon: UpstreamServer, text: str, status: int) -> None:
    carbon.set_faults(f"carbon_intensity:{text}")
    assert _get(carbon).status_code == status


def test_html_comes_with_200(carbon: UpstreamServer) -> None:
    carbon.set_faults("carbon_intensity:html")
    reply = _get(carbon)
    assert reply.status_code == 200
    assert reply.headers["content-type"].startswith("text/html")
    assert reply.text.startswith("<!DOCTYPE html>")


def test_truncated_is_half_the_json_with_its_right_length(carbon: UpstreamServer) -> None:
    whole = _get(carbon).content
    carbon.set_faults("carbon_intensity:truncated")
    reply = _get(carbon)
    assert reply.content == whole[: len(whole) // 2]
    assert reply.headers["content-length"] == str(len(whole) // 2)
    with pytest.raises(orjson.JSONDecodeError):
        orjson.loads(reply.content)


def test_truncated_wrong_promises_the_whole_and_closes_at_half(carbon: UpstreamServer) -> None:
    whole = _get(carbon).content
    carbon.set_faults("carbon_intensity:truncated=wrong")
    with _raw(carbon) as raw:
        head, _, body = _all_of(raw).partition(b"\r\n\r\n")
    assert f"Content-Length: {len(whole)}".encode() in head
    assert body == whole[: len(whole) // 2]
    with pytest.raises(httpx.RemoteProtocolError):
        _get(carbon)


def test_wrong_types_makes_numbers_text(carbon: UpstreamServer) -> None:
    good = _get(carbon).json()["data"][0]["intensity"]["forecast"]
    carbon.set_faults("carbon_intensity:wrong-types")
    assert _get(carbon).json()["data"][0]["intensity"]["forecast"] == f"{good} units"


@pytest.mark.parametrize(
    ("how", "fields"),
    [
        ("", ["forecastV2", "actual", "schemaVersion"]),
        ("=renamed", ["forecastV2", "actual", "index"]),
        ("=missing", ["forecast", "actual"]),
        ("=extra", ["forecast", "actual", "index", "schemaVersion"]),
    ],
)
def test_schema_drift_changes_fields(carbon: UpstreamServer, how: str, fields: list[str]) -> None:
    carbon.set_faults(f"carbon_intensity:schema-drift{how}")
    row = _get(carbon).json()["data"][0]
    assert list(row) == ["from", "to", "intensity"]
    assert list(row["intensity"]) == fields


def test_schema_drift_of_a_table_renames_its_first_column(serve_upstream: ServeUpstream) -> None:
    server = serve_upstream(sources=[Source.NESO])
    file = neso.DEMAND_FORECAST_1D.resource_id
    url = server.urls[Source.NESO].removesuffix("/api/3/action") + f"/x/download/{file}"
    good = httpx.get(url).text.splitlines()
    server.set_faults("neso:schema-drift")
    bad = httpx.get(url).text.splitlines()
    assert good[0].startswith('"DAYSAHEAD",')
    assert bad[0].startswith('"DAYSAHEAD_v2",')
    assert bad[1:] == good[1:]


def test_a_gzip_bomb_grows_about_a_thousandfold(carbon: UpstreamServer) -> None:
    carbon.set_faults("carbon_intensity:gzip-bomb=8")
    with httpx.stream("GET", _url(carbon)) as reply:
        small = b"".join(reply.iter_raw())
    assert reply.headers["content-encoding"] == "gzip"
    assert len(small) < 20_000
    assert len(gzip.decompress(small)) == 8 * 1024 * 1024
    assert _last(carbon) == (200, "gzip-bomb", len(small))


def test_the_usual_gzip_bomb_is_100_mib(carbon: UpstreamServer) -> None:
    carbon.set_faults("carbon_intensity:gzip-bomb")
    with httpx.stream("GET", _url(carbon)) as reply:
        small = b"".join(reply.iter_raw())
    unpacker, size, waiting = zlib.decompressobj(31), 0, small
    while waiting:
        size += len(unpacker.decompress(waiting, 1024 * 1024))
        waiting = unpacker.unconsumed_tail
    assert size == 100 * 1024 * 1024


@pytest.mark.parametrize(
    ("how", "target"),
    [
        ("", "http://169.254.169.254/latest/meta-data/"),
        ("=file", "file:///etc/passwd"),
    ],
)
def test_redirect_leads_where_no_client_should_go(
    carbon: UpstreamServer, how: str, target: str
) -> None:
    carbon.set_faults(f"carbon_intensity:redirect{how}")
    reply = _get(carbon)
    assert (reply.status_code, reply.headers["location"]) == (302, target)


def test_deep_is_json_ten_thousand_levels_deep(carbon: UpstreamServer) -> None:
    carbon.set_faults("carbon_intensity:deep")
    assert _get(carbon).content == b"[" * 10_000 + b"]" * 10_000


def test_clock_skew_moves_the_date_and_the_data(carbon: UpstreamServer) -> None:
    carbon.set_faults("carbon_intensity:clock-skew=-5400")
    reply = _get(carbon, "/intensity")
    # The scenario's 15:00Z less an hour and a half: 13:00 to 13:30 is the half hour last over.
    assert reply.headers["date"] == "Tue, 03 Feb 2026 13:30:00 GMT"
    assert reply.json()["data"][0]["from"] == "2026-02-03T13:00Z"


def test_stale_resource_gives_files_new_ids_that_the_catalogue_knows(
    serve_upstream: ServeUpstream,
) -> None:
    server = serve_upstream(sources=[Source.NESO])
    base, file = server.urls[Source.NESO], neso.DEMAND_UPDATE
    old = httpx.get(f"{base}/datastore_search?resource_id={file.resource_id}").json()
    server.set_faults("neso:stale-resource")
    for query in (
        f"resource_show?id={file.resource_id}",
        f"datastore_search?resource_id={file.resource_id}",
        f'datastore_search_sql?sql=SELECT * FROM "{file.resource_id}" LIMIT 1',
    ):
        gone = httpx.get(f"{base}/{query}")
        assert (gone.status_code, gone.json()["success"]) == (404, False)
    assert file.resource_id in httpx.get(f"{base}/{query}").text
    package = httpx.get(f"{base}/package_show?id={file.package}").json()["result"]
    (new,) = [r["id"] for r in package["resources"] if r["name"] == file.name]
    assert new != file.resource_id
    again = httpx.get(f"{base}/datastore_search?resource_id={new}").json()
    assert again["result"]["records"] == old["result"]["records"]
    sql = httpx.get(f"{base}/datastore_search_sql", params={"sql": f'SELECT * FROM "{new}"'})
    assert sql.status_code == 200


def test_a_fault_hits_its_path_alone_and_is_in_the_log(carbon: UpstreamServer) -> None:
    carbon.set_faults("carbon_intensity:error:/generation")
    assert _get(carbon).status_code == 200
    assert _get(carbon, "/generation").status_code == 500
    assert [(r.path, r.fault) for r in carbon.records] == [
        (_PATH, None),
        ("/generation", "error"),
    ]


def test_the_scenarios_own_faults_are_served_too(serve_upstream: ServeUpstream) -> None:
    plain = scenario_once("windy-night")
    own = WireFault(
        kind=FaultKind.TIMEOUT, source=Source.ELEXON, from_h=0, to_h=1, path="/datasets"
    )
    file = plain.file.model_copy(update={"faults": (own,)})
    scenario = Scenario(file, plain.folder, plain.seed, plain.given)
    with UpstreamServer(scenario, VirtualClock(scenario.start)) as server:
        base = server.urls[Source.ELEXON]
        assert httpx.get(f"{base}/generation/outturn/current").status_code == 200
        with pytest.raises(httpx.ReadTimeout):
            httpx.get(f"{base}/datasets/NDF", timeout=_SLOW_S)


def test_stopping_ends_a_hang_and_a_drip_within_two_seconds(carbon: UpstreamServer) -> None:
    carbon.set_faults("carbon_intensity:hang:/generation,carbon_intensity:drip")
    with _raw(carbon, "/generation") as hanging, _raw(carbon) as dripping:
        dripping.recv(1)
        while len(carbon.records) < 2:
            time.sleep(0.01)
        began = time.monotonic()
        carbon.stop()
        assert time.monotonic() - began < 2
        assert hanging.recv(1) == b""


def test_under_random_faults_every_request_that_got_through_is_logged(
    serve_upstream: ServeUpstream,
) -> None:
    clock = VirtualClock(scenario_once("windy-night").start)
    server = serve_upstream(clock=clock, sources=[Source.ELEXON], faults="random:5")
    url = server.urls[Source.ELEXON] + "/generation/outturn/current"
    refused = answered = 0
    for _ in range(60):
        try:
            httpx.get(url, timeout=0.5)
            answered += 1
        except httpx.ConnectError:
            refused += 1
        except httpx.TransportError:
            answered += 1  # it was heard, and treated badly
        clock.advance(timedelta(seconds=20))
        server.set_faults("random:5")  # the same ones; ports have followed the clock after it
    ends = time.monotonic() + 5
    while len(server.records) < answered and time.monotonic() < ends:
        time.sleep(0.01)
    assert len(server.records) == answered
    assert answered + refused == 60
    assert len({record.fault for record in server.records} - {None}) >= 3
    assert {record.fault for record in server.records} <= {None, *(kind.value for kind in Kind)}
