"""Our own address over real sockets of this machine."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator
from datetime import timedelta
from pathlib import Path

import httpx
import orjson
import pytest
from callback_kit import KEYS, NO_KEYS, NOON, OWN_ID, body_of, signed

from fetchers.beckn import listener as module
from fetchers.beckn.inbox import Inbox
from fetchers.beckn.keys import KeyRing
from fetchers.beckn.listener import HOST, CallbackListener
from fetchers.plan import EPOCH
from schema.clock import VirtualClock
from schema.errors import ConfigurationError

JSON = {"Content-Type": "application/json"}
LATER = NOON + timedelta(minutes=1)


def listening(inbox: Inbox, keys: KeyRing = KEYS, port: int = 0) -> CallbackListener:
    return CallbackListener(inbox, keys, own_id=OWN_ID, clock=VirtualClock(NOON), port=port)


@pytest.fixture
async def address() -> AsyncIterator[CallbackListener]:
    listener = listening(Inbox(None))
    await listener.open()
    yield listener
    await listener.close()


async def post(
    listener: CallbackListener, body: bytes, action: str = "on_update", **headers: str
) -> httpx.Response:
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    async with httpx.AsyncClient(trust_env=False) as client:
        return await client.post(f"{listener.url}/{action}", content=body, headers=JSON | named)


async def test_a_signed_callback_is_on_disk_and_then_acknowledged(
    address: CallbackListener,
) -> None:
    body = body_of()
    answer = await post(address, body, Authorization=signed(body))
    assert (answer.status_code, answer.json()) == (
        200,
        {"message": {"status": "ACK", "messageId": "m-1"}},
    )
    assert [one.body for one in address._inbox.callbacks(EPOCH, LATER)] == [body]
    assert address.counts == {"new": 1}


async def test_a_copy_is_acknowledged_and_has_no_effect(address: CallbackListener) -> None:
    body = body_of()
    for _ in range(3):
        answer = await post(address, body, Authorization=signed(body))
        assert answer.status_code == 200
    assert len(address._inbox.callbacks(EPOCH, LATER)) == 1
    assert address.counts == {"new": 1, "repeated": 2}


async def test_a_stranger_is_told_to_sign_and_leaves_nothing(address: CallbackListener) -> None:
    body = body_of()
    answer = await post(address, body)
    assert answer.status_code == 401
    assert answer.headers["www-authenticate"] == (
        'Signature realm="bap.example",headers="(created) (expires) digest"'
    )
    assert answer.json() == {
        "message": {
            "ack": {"status": "NACK"},
            "error": {
                "code": "AUT_SIGNATURE_MISSING",
                "message": "the Authorization header is missing",
            },
        }
    }
    assert address._inbox.callbacks(EPOCH, LATER) == []


async def test_a_used_message_id_is_refused(address: CallbackListener) -> None:
    first, second = body_of(), body_of(timestamp=LATER.isoformat())
    await post(address, first, Authorization=signed(first))
    answer = await post(address, second, Authorization=signed(second))
    assert answer.status_code == 400
    assert answer.json()["message"]["error"]["code"] == "SCH_MESSAGE_ID_REUSED"


async def test_what_is_too_large_too_deep_or_elsewhere_is_refused(
    address: CallbackListener,
) -> None:
    large = await post(address, b"x" * (module.MAX_BODY + 1))
    deep = await post(address, b"[" * 100 + b"]" * 100)
    nowhere = await post(address, b"{}", action="a/b")
    assert [one.status_code for one in (large, deep, nowhere)] == [413, 400, 404]
    async with httpx.AsyncClient(trust_env=False) as client:
        got = await client.get(f"{address.url}/on_update")
        root = await client.get(f"http://{HOST}:{address.port}/")
    assert (got.status_code, root.status_code) == (405, 404)


@pytest.mark.parametrize("header", ["Origin", "Sec_Fetch_Site"])
async def test_a_web_page_is_no_provider(header: str) -> None:
    """Without keys a page that the operator opens could post to this machine, too."""
    listener = listening(Inbox(None), NO_KEYS)
    await listener.open()
    try:
        answer = await post(listener, body_of(), **{header: "https://evil.example"})
        assert answer.status_code == 403
        assert listener._inbox.callbacks(EPOCH, LATER) == []
        assert (await post(listener, body_of())).status_code == 200
    finally:
        await listener.close()


async def test_what_cannot_be_kept_is_not_acknowledged(address: CallbackListener) -> None:
    address._inbox.close()
    body = body_of()
    answer = await post(address, body, Authorization=signed(body))
    assert answer.status_code == 503
    assert answer.json()["message"]["ack"]["status"] == "NACK"


@contextlib.asynccontextmanager
async def connected(
    listener: CallbackListener,
) -> AsyncIterator[tuple[asyncio.StreamReader, asyncio.StreamWriter]]:
    reader, writer = await asyncio.open_connection(HOST, listener.port)
    try:
        yield reader, writer
    finally:
        writer.close()
        with contextlib.suppress(ConnectionError):
            await writer.wait_closed()


async def read_all(reader: asyncio.StreamReader) -> bytes:
    """Read until the other side ends the connection, one way or the other."""
    with contextlib.suppress(ConnectionError):
        return await asyncio.wait_for(reader.read(), 5)
    return b""


async def test_a_slow_sender_is_cut_off(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "CONNECTION_S", 0.2)
    listener = listening(Inbox(None))
    await listener.open()
    try:
        for start in (b"", b"POST /callbacks/on_update HTTP/1.1\r\nHost: x\r\nContent-Le"):
            async with connected(listener) as (reader, writer):
                writer.write(start)
                await writer.drain()
                assert await read_all(reader) == b""
    finally:
        await listener.close()


async def test_more_connections_than_there_is_room_for_are_closed(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(module, "MOST_CONNECTIONS", 2)
    listener = listening(Inbox(None), NO_KEYS)
    await listener.open()
    try:
        async with connected(listener), connected(listener), connected(listener) as (reader, _):
            assert await read_all(reader) == b""
        assert (await post(listener, body_of())).status_code == 200
    finally:
        await listener.close()


async def test_what_is_no_http_gets_no_further(address: CallbackListener) -> None:
    async with connected(address) as (reader, writer):
        writer.write(b"\x16\x03\x01 this is TLS\r\n\r\n")
        await writer.drain()
        assert b"400" in (await read_all(reader)).split(b"\r\n")[0]


async def test_the_port_stays_the_same_across_a_restart(tmp_path: Path) -> None:
    path = tmp_path / "inbox.sqlite"
    first = listening(Inbox(path))
    await first.open()
    await first.open()
    port = first.port
    await first.close()
    first._inbox.close()
    second = listening(Inbox(path))
    await second.open()
    assert second.port == port
    # Taken by someone else meanwhile: another one does.
    third = listening(Inbox(path))
    await third.open()
    assert third.port != port
    await second.close()
    await third.close()


async def test_a_port_that_was_asked_for_and_is_taken_is_named(address: CallbackListener) -> None:
    assert address.port is not None
    other = listening(Inbox(None), port=address.port)
    with pytest.raises(ConfigurationError, match="GRIDPACT_BECKN_CALLBACK_PORT"):
        await other.open()
    await other.close()


async def test_only_this_machine_can_reach_it(address: CallbackListener) -> None:
    assert address._server is not None
    assert [one.getsockname()[0] for one in address._server.sockets] == ["127.0.0.1"]
    assert orjson.loads(orjson.dumps({"url": address.url}))["url"].startswith("http://127.0.0.1:")
