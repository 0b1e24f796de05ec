"""The HTTP client against servers that misbehave; no socket is opened."""

from __future__ import annotations

import asyncio
import gzip
import zlib
from collections.abc import AsyncIterator, Callable
from datetime import UTC, datetime

import httpx
import pytest

from fetchers.address import safe_address
from fetchers.http import ENDPOINT, HttpClient, json_depth, retry_after_s
from fetchers.reply import Validators, clean_url
from fetchers.request import Request
from schema.clock import VirtualClock
from schema.errors import (
    ConfigurationError,
    SourceError,
    SourcePayloadInvalid,
    SourceRejected,
    SourceThrottled,
    SourceUnavailable,
)

NOON = datetime(2031, 2, 3, 12, tzinfo=UTC)
BASE = "https://api.example/v1"
REQUEST = Request("elexon", "mid-stream", f"{BASE}/data", params=(("a", "1"), ("a", "2")))
Handler = Callable[[httpx.Request], httpx.Response]


class Chunks(httpx.AsyncByteStream):
    """A body that arrives in parts, as a socket gives it."""

    def __init__(self, *parts: bytes, pause: float = 0.0) -> None:
        self.parts = parts
        self.pause = pause
        self.sent = 0

    async def __aiter__(self) -> AsyncIterator[bytes]:
        for part in self.parts:
            await asyncio.sleep(self.pause)
            self.sent += 1
            yield part


def client(
    handler: Handler, *, clock: VirtualClock | None = None, wall: bool = False
) -> HttpClient:
    return HttpClient(
        source="elexon",
        base_url=BASE,
        clock=clock or VirtualClock(NOON),
        transport=httpx.MockTransport(handler),
        wall_deadline=wall,
    )


def streamed(stream: Chunks, **headers: str) -> Handler:
    return lambda _: httpx.Response(200, stream=stream, headers=headers)


async def test_a_request_goes_out_whole_and_says_who_asks() -> None:
    seen: list[httpx.Request] = []

    def handler(request: httpx.Request) -> httpx.Response:
        seen.append(request)
        return httpx.Response(200, json=[1], headers={"X-Id": "7"})

    reply = await client(handler).send(REQUEST)
    assert (reply.status, reply.body, reply.headers["x-id"]) == (200, b"[1]", "7")
    (request,) = seen
    assert str(request.url) == "https://api.example/v1/data?a=1&a=2"
    assert request.headers["user-agent"].startswith("gridpact/")
    assert request.headers["accept"] == "application/json"


@pytest.mark.parametrize(
    ("status", "headers", "kind", "pause"),
    [
        (400, {}, SourceRejected, None),
        (404, {}, SourceRejected, None),
        (429, {"Retry-After": "17"}, SourceThrottled, 17.0),
        (429, {"Retry-After": "Mon, 03 Feb 2031 12:01:00 GMT"}, SourceThrottled, 60.0),
        (429, {}, SourceThrottled, None),
        (500, {}, SourceUnavailable, None),
        (503, {"Retry-After": "5"}, SourceUnavailable, 5.0),
        (304, {}, SourceRejected, None),
    ],
)
async def test_a_status_says_whose_fault_it_is(
    status: int, headers: dict[str, str], kind: type[SourceError], pause: float | None
) -> None:
    body = b'{"error":{"code":"x","message":"read the manual"}}'
    failing = client(lambda _: httpx.Response(status, content=body, headers=headers))
    with pytest.raises(kind, match="read the manual") as caught:
        await failing.send(REQUEST)
    assert type(caught.value) is kind
    assert caught.value.details["status"] == status
    assert caught.value.details.get("retry_after_s") == pause


async def test_a_gzipped_reply_is_decoded() -> None:
    packed = gzip.compress(b'{"a": 1}' * 100)
    stream = Chunks(packed[:20], packed[20:])
    reply = await client(streamed(stream, **{"content-encoding": "gzip"})).send(REQUEST)
    assert reply.body == b'{"a": 1}' * 100


async def test_a_bomb_is_not_unpacked_beyond_the_limit() -> None:
    bomb = gzip.compress(b" " * 50_000_000)
    assert len(bomb) < 60_000
    stream = Chunks(bomb)
    bombed = client(streamed(stream, **{"content-encoding": "gzip"}))
    with pytest.raises(SourcePayloadInvalid, match="more than 1000000 bytes"):
        await bombed.send(REQUEST, max_bytes=1_000_000)


async def test_an_endless_body_is_left_at_the_limit() -> None:
    stream = Chunks(*[b"x" * 1000] * 100)
    with pytest.raises(SourcePayloadInvalid, match="more than 5000 bytes"):
        await client(streamed(stream)).send(REQUEST, max_bytes=5000)
    assert stream.sent == 6


@pytest.mark.parametrize(
    ("body", "kind", "reason"),
    [
        (gzip.compress(b"[1]")[:-9], SourceUnavailable, "cut short"),
        (b"no gzip at all", SourcePayloadInvalid, "cannot be decoded"),
    ],
    ids=["cut", "garbage"],
)
async def test_a_broken_coding_is_told(body: bytes, kind: type[SourceError], reason: str) -> None:
    broken = client(streamed(Chunks(body), **{"content-encoding": "gzip"}))
    with pytest.raises(kind, match=reason):
        await broken.send(REQUEST)


async def test_a_coding_nobody_asked_for_is_refused() -> None:
    coded = client(streamed(Chunks(b"x"), **{"content-encoding": "br"}))
    with pytest.raises(SourcePayloadInvalid, match="content coding 'br'"):
        await coded.send(REQUEST)


async def test_zlib_is_read_too() -> None:
    stream = Chunks(zlib.compress(b"[1,2]"))
    reply = await client(streamed(stream, **{"content-encoding": "deflate"})).send(REQUEST)
    assert reply.body == b"[1,2]"


async def test_a_reply_nested_too_deep_is_refused() -> None:
    deep = b"[" * 100 + b"]" * 100
    with pytest.raises(SourcePayloadInvalid, match="nested deeper than 64"):
        await client(lambda _: httpx.Response(200, content=deep)).send(REQUEST)


@pytest.mark.parametrize(
    ("text", "depth"),
    [
        (b"[" * 70 + b"]" * 70, 70),
        (b'["' + b"[" * 70 + b'"]', 1),
        (b'["a\\"' + b"[" * 70 + b'"]', 1),
        (b'["a\\\\","' + b"{" * 70 + b'"]', 1),
        (b"[1]", 0),
    ],
    ids=["real", "in-a-string", "after-an-escaped-quote", "after-an-escaped-backslash", "few"],
)
def test_depth_counts_brackets_outside_strings(text: bytes, depth: int) -> None:
    assert json_depth(text) == depth


async def test_a_dripping_server_meets_the_total_deadline() -> None:
    stream = Chunks(*[b"x"] * 1000, pause=0.01)
    with pytest.raises(SourceUnavailable, match=r"within 0\.05 s") as caught:
        await client(streamed(stream), wall=True).send(REQUEST, deadline_s=0.05)
    assert caught.value.details["timeout"] is True
    assert stream.sent < 20


async def test_a_virtual_hang_is_a_timeout_without_any_wait() -> None:
    clock = VirtualClock(NOON)

    async def handler(request: httpx.Request) -> httpx.Response:
        await clock.sleep(11)
        return httpx.Response(200, json=[])

    hanging = HttpClient(
        source="elexon",
        base_url=BASE,
        clock=clock,
        transport=httpx.MockTransport(handler),
        wall_deadline=False,
    )
    with pytest.raises(SourceUnavailable) as caught:
        await hanging.send(REQUEST)
    assert caught.value.details["timeout"] is True


@pytest.mark.parametrize(
    ("error", "late"),
    [
        (httpx.ConnectError("refused"), None),
        (httpx.ReadError("reset"), None),
        (httpx.RemoteProtocolError("cut"), None),
        (httpx.ReadTimeout("slow"), True),
    ],
    ids=["refused", "reset", "cut", "timeout"],
)
async def test_no_connection_is_unavailable(error: httpx.TransportError, late: bool | None) -> None:
    def handler(_: httpx.Request) -> httpx.Response:
        raise error

    with pytest.raises(SourceUnavailable) as caught:
        await client(handler).send(REQUEST)
    assert caught.value.details.get("timeout") is late


@pytest.mark.parametrize(
    "target",
    [
        "https://evil.example/x",
        "http://api.example/v1/x",
        "https://169.254.169.254/",
        "file:///etc/passwd",
        "https://api.example:8443/x",
    ],
)
async def test_no_redirect_leaves_the_origin(target: str) -> None:
    asked: list[str] = []

    def handler(request: httpx.Request) -> httpx.Response:
        asked.append(str(request.url))
        return httpx.Response(302, headers={"location": target})

    with pytest.raises(SourceRejected, match="not its host"):
        await client(handler).send(REQUEST)
    assert len(asked) == 1


async def test_a_redirect_on_the_same_origin_is_followed_a_few_times() -> None:
    def handler(request: httpx.Request) -> httpx.Response:
        if request.url.path == "/v1/data":
            return httpx.Response(301, headers={"location": "/v2/data"})
        return httpx.Response(200, text="[]")

    assert (await client(handler).send(REQUEST)).body == b"[]"
    loop = client(lambda _: httpx.Response(302, headers={"location": "/again"}))
    with pytest.raises(SourceRejected, match="more than 3 times"):
        await loop.send(REQUEST)


async def test_another_host_is_never_asked() -> None:
    def handler(_: httpx.Request) -> httpx.Response:
        raise AssertionError

    with pytest.raises(SourceRejected, match="not its host"):
        await client(handler).send(Request("elexon", "x", "https://other.example/x"))


@pytest.mark.parametrize("text", ["soon", "-5", "Mon, 03 Feb 2031 12:01:00", ""])
def test_a_retry_after_that_says_nothing_is_nothing(text: str) -> None:
    assert retry_after_s(text, NOON) is None


def test_the_logged_address_holds_no_password() -> None:
    request = Request("elexon", "x", "https://me:secret@api.example/a", params=(("q", "1"),))
    assert clean_url(request) == "https://api.example/a?q=1"


@pytest.mark.parametrize(
    "address",
    ["https://api.example/v1", "http://127.0.0.1:8000/x", "http://[::1]:8000", "http://localhost"],
)
def test_https_anywhere_and_plain_http_to_this_machine(address: str) -> None:
    assert safe_address("elexon", address) == address


@pytest.mark.parametrize(
    "address",
    [
        "http://api.example/v1",
        "http://127.0.0.1.example/",
        "http://0.0.0.0:80/",
        "http://10.0.0.1/",
        "ftp://api.example/",
        "file:///etc/passwd",
        "https:///path",
        "api.example",
        "",
        "https://api.example:port",
    ],
)
def test_an_address_that_others_could_answer_for_is_refused(address: str) -> None:
    with pytest.raises(ConfigurationError, match="address of elexon"):
        HttpClient(
            source="elexon",
            base_url=address,
            clock=VirtualClock(NOON),
            transport=httpx.MockTransport(lambda _: httpx.Response(200)),
            wall_deadline=False,
        )


async def test_what_is_held_is_asked_for_by_its_validators() -> None:
    seen: list[httpx.Request] = []

    def handler(request: httpx.Request) -> httpx.Response:
        seen.append(request)
        return httpx.Response(304, headers={"ETag": '"2"'})

    known = Validators('"2"', "Mon, 03 Feb 2031 09:00:00 GMT")
    reply = await client(handler).send(REQUEST, known=known)
    assert (reply.status, reply.body, reply.unchanged) == (304, b"", True)
    assert seen[0].headers["if-none-match"] == '"2"'
    assert seen[0].headers["if-modified-since"] == "Mon, 03 Feb 2031 09:00:00 GMT"


@pytest.mark.parametrize(
    ("headers", "expected"),
    [
        ({"ETag": 'W/"a"'}, Validators('W/"a"', None)),
        ({"Last-Modified": "Mon, 03 Feb 2031"}, Validators(None, "Mon, 03 Feb 2031")),
        ({}, None),
        ({"ETag": "x" * 257}, None),
        ({"ETag": '"\u00e9"'}, None),
    ],
    ids=["etag", "date", "neither", "too-long", "not-ascii"],
)
async def test_validators_are_kept_as_they_came(
    headers: dict[str, str], expected: Validators | None
) -> None:
    raw = [(name.encode(), value.encode("latin-1")) for name, value in headers.items()]
    reply = await client(lambda _: httpx.Response(200, json=[], headers=raw)).send(REQUEST)
    assert reply.validators == expected


async def test_a_transport_of_this_process_learns_the_endpoint() -> None:
    def handler(request: httpx.Request) -> httpx.Response:
        return httpx.Response(200, text=request.extensions[ENDPOINT])

    assert (await client(handler).send(REQUEST)).body == b"mid-stream"
