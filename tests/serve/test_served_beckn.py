"""Beckn over sockets: acknowledgements, callbacks, spellings, and what goes wrong with them."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import httpx
import orjson
import pytest
from upstream_fixtures import ServeUpstream, scenario_once

from scenarios.model import AckShape
from scenarios.serve.beckn import BecknMode
from scenarios.serve.server import UpstreamServer
from schema.clock import VirtualClock
from schema.readings import Source

_RUSH = "beckn-window-rush"
_TRANSACTION = "5b1f5f4e-0000-4000-8000-000000000001"
_MESSAGE = "5b1f5f4e-0000-4000-8000-000000000002"


@dataclass
class Receiver:
    """A BAP that takes callbacks and answers each with the next of its statuses, at last 200."""

    address: str
    statuses: list[int] = field(default_factory=list)
    got: list[tuple[str, dict[str, Any], dict[str, str]]] = field(default_factory=list)

    def wait(self, count: int) -> list[tuple[str, dict[str, Any], dict[str, str]]]:
        ends = time.monotonic() + 10
        while len(self.got) < count and time.monotonic() < ends:
            time.sleep(0.01)
        return self.got


@pytest.fixture
def receiver() -> Iterator[Receiver]:
    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["Content-Length"]))
            headers = {name.lower(): value for name, value in self.headers.items()}
            made.got.append((self.path, orjson.loads(body), headers))
            self.send_response(made.statuses.pop(0) if made.statuses else 200)
            self.send_header("Content-Length", "0")
            self.end_headers()

        def log_message(self, *args: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    made = Receiver(f"http://127.0.0.1:{server.server_port}/callbacks")
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    yield made
    server.shutdown()
    thread.join()
    server.server_close()


def _context(action: str, bap_uri: str) -> dict[str, Any]:
    return {
        "version": "2.0.0",
        "action": action,
        "domain": "beckn.one:DEG:compute-energy:1.0",
        "timestamp": "2026-06-16T05:00:00Z",
        "message_id": _MESSAGE,
        "transaction_id": _TRANSACTION,
        "bap_id": "our.example",
        "bap_uri": bap_uri,
        "ttl": "PT30S",
    }


def _post(server: UpstreamServer, action: str, context: dict[str, Any]) -> httpx.Response:
    message = {"order": {"beckn:id": "order-1", "beckn:orderItems": []}}
    body = {"context": context, "message": {} if action == "discover" else message}
    return httpx.post(f"{server.urls[Source.BECKN]}/{action}", json=body)


def _discover(server: UpstreamServer, bap_uri: str = "https://bap.example") -> dict[str, Any]:
    answer: dict[str, Any] = _post(server, "discover", _context("discover", bap_uri)).json()
    return answer


def _start(serve: ServeUpstream, clock: VirtualClock | None = None, **o: Any) -> UpstreamServer:
    return serve(_RUSH, clock=clock, sources=[Source.BECKN], **o)


def _clock() -> VirtualClock:
    return VirtualClock(scenario_once(_RUSH).start)


def test_the_sandbox_answers_in_the_reply(serve_upstream: ServeUpstream) -> None:
    answer = _discover(_start(serve_upstream))
    assert answer["context"]["action"] == "on_discover"
    assert answer["message"]["catalogs"]


@pytest.mark.parametrize(
    ("shape", "expected"),
    [
        (AckShape.MESSAGE_ACK, {"message": {"ack": {"status": "ACK"}}}),
        (
            AckShape.ACK_STATUS,
            {
                "transaction_id": _TRANSACTION,
                "timestamp": "2026-06-16T05:00:00Z",
                "ack_status": "ACK",
            },
        ),
        (AckShape.MESSAGE_STATUS, {"message": {"status": "ACK", "messageId": _MESSAGE}}),
        (AckShape.STATUS, {"status": "ACK", "signature": ""}),
    ],
)
def test_asynchronous_is_an_ack_now_and_the_same_answer_by_callback(
    serve_upstream: ServeUpstream, receiver: Receiver, shape: AckShape, expected: dict[str, Any]
) -> None:
    mode = BecknMode(asynchronous=True, ack=shape)
    server = _start(serve_upstream, beckn=mode)
    assert _discover(server, receiver.address) == expected
    ((path, body, headers),) = receiver.wait(1)
    assert path == "/callbacks/on_discover"
    assert headers["content-type"] == "application/json"
    assert body == _discover(_start(serve_upstream), receiver.address)


def test_callbacks_are_in_the_log_beside_requests(
    serve_upstream: ServeUpstream, receiver: Receiver
) -> None:
    server = _start(serve_upstream, beckn=BecknMode(asynchronous=True))
    _discover(server, receiver.address)
    receiver.wait(1)
    records = _records(server, 2)
    assert [(r.direction, r.method, r.status) for r in records] == [
        ("in", "POST", 200),
        ("out", "POST", 200),
    ]
    assert records[1].path == f"{receiver.address}/on_discover"


def _records(server: UpstreamServer, count: int) -> Any:
    ends = time.monotonic() + 10
    while len(server.records) < count and time.monotonic() < ends:
        time.sleep(0.01)
    return server.records


def test_what_is_no_message_is_refused_at_once(
    serve_upstream: ServeUpstream, receiver: Receiver
) -> None:
    server = _start(serve_upstream, beckn=BecknMode(asynchronous=True))
    reply = httpx.post(f"{server.urls[Source.BECKN]}/select", content=b'{"context": 3}')
    assert reply.status_code == 400
    assert reply.json()["message"]["ack"]["status"] == "NACK"


def test_a_business_refusal_comes_by_callback_with_an_error(
    serve_upstream: ServeUpstream, receiver: Receiver
) -> None:
    server = _start(serve_upstream, beckn=BecknMode(asynchronous=True))
    _post(server, "select", _context("select", receiver.address))
    ((path, body, _),) = receiver.wait(1)
    assert path == "/callbacks/on_select"
    assert body["error"]["code"] == "SCH_FIELD_MISSING"


@pytest.mark.parametrize("shape", list(AckShape))
@pytest.mark.parametrize("asynchronous", [False, True])
def test_nack_refuses_in_the_reply_in_each_of_the_four_shapes(
    serve_upstream: ServeUpstream, receiver: Receiver, shape: AckShape, asynchronous: bool
) -> None:
    mode = BecknMode(asynchronous=asynchronous)
    server = _start(serve_upstream, beckn=mode, faults=f"beckn:nack={shape.value}:/select")
    reply = _post(server, "select", _context("select", receiver.address))
    assert reply.status_code == 200
    body = reply.json()
    said = {
        AckShape.MESSAGE_ACK: lambda: body["message"]["ack"]["status"],
        AckShape.ACK_STATUS: lambda: body["ack_status"],
        AckShape.MESSAGE_STATUS: lambda: body["message"]["status"],
        AckShape.STATUS: lambda: body["status"],
    }[shape]()
    assert said == "NACK"
    assert server.records[-1].fault == "nack"
    time.sleep(0.1)
    assert receiver.got == []
    assert "error" not in _discover(server, receiver.address)


def _camel(context: dict[str, Any]) -> dict[str, Any]:
    names = {"message_id": "messageId", "transaction_id": "transactionId"}
    names |= {"bap_id": "bapId", "bap_uri": "bapUri"}
    return {names.get(key, key): value for key, value in context.items()}


def test_who_asks_in_camel_case_is_answered_in_camel_case(serve_upstream: ServeUpstream) -> None:
    server = _start(serve_upstream)
    snake = _discover(server)
    camel = _post(server, "discover", _camel(_context("discover", "https://bap.example"))).json()
    assert camel["message"] == snake["message"]
    assert camel["context"]["transactionId"] == snake["context"]["transaction_id"]
    assert camel["context"]["bppUri"] == snake["context"]["bpp_uri"]
    assert not [key for key in camel["context"] if "_" in key]


def test_the_spelling_can_be_forced(serve_upstream: ServeUpstream) -> None:
    camel = _discover(_start(serve_upstream, beckn=BecknMode(camel=True)))
    assert camel["context"]["messageId"] == _MESSAGE
    server = _start(serve_upstream, beckn=BecknMode(camel=False))
    snake = _post(server, "discover", _camel(_context("discover", "https://bap.example"))).json()
    assert snake["context"]["message_id"] == _MESSAGE
    mode = BecknMode(asynchronous=True, camel=True, ack=AckShape.ACK_STATUS)
    ack = _discover(_start(serve_upstream, beckn=mode))
    assert ack["ackStatus"] == "ACK"


def test_a_late_callback_comes_after_its_messages_life(
    serve_upstream: ServeUpstream, receiver: Receiver
) -> None:
    clock = _clock()
    mode = BecknMode(asynchronous=True)
    server = _start(serve_upstream, clock, beckn=mode, faults="beckn:late-callback")
    _discover(server, receiver.address)
    clock.advance(timedelta(seconds=44))
    time.sleep(0.2)
    assert receiver.got == []
    clock.advance(timedelta(seconds=1))
    ((_, body, _),) = receiver.wait(1)
    sent_at = datetime.fromisoformat(body["context"]["timestamp"])
    assert (body["context"]["ttl"], clock.now() - sent_at) == ("PT30S", timedelta(seconds=45))
    assert _records(server, 2)[1].fault == "late-callback"


def test_a_duplicate_callback_comes_twice_with_the_same_ids(
    serve_upstream: ServeUpstream, receiver: Receiver
) -> None:
    mode = BecknMode(asynchronous=True)
    server = _start(serve_upstream, beckn=mode, faults="beckn:duplicate-callback")
    _discover(server, receiver.address)
    first, second = receiver.wait(2)
    assert first[:2] == second[:2]
    assert [record.fault for record in _records(server, 3)] == ["duplicate-callback"] * 3


def test_a_callback_that_fails_is_tried_again_and_one_refused_is_not(
    serve_upstream: ServeUpstream, receiver: Receiver
) -> None:
    receiver.statuses = [503, 200, 401]
    server = _start(serve_upstream, beckn=BecknMode(asynchronous=True))
    _discover(server, receiver.address)
    receiver.wait(2)
    _discover(server, receiver.address)
    receiver.wait(3)
    time.sleep(0.8)  # longer than the pause between attempts
    assert [r.status for r in server.records if r.direction == "out"] == [503, 200, 401]


def test_no_other_machine_is_ever_called_back(serve_upstream: ServeUpstream) -> None:
    server = _start(serve_upstream, beckn=BecknMode(asynchronous=True))
    _discover(server, "http://192.0.2.7/bap")
    sent = _records(server, 2)[1]
    assert (sent.status, sent.error) == (None, "not sent: its bap_uri is not on this machine")


def test_a_receiver_that_is_not_there_is_logged_three_times(serve_upstream: ServeUpstream) -> None:
    server = _start(serve_upstream, beckn=BecknMode(asynchronous=True))
    _discover(server, "http://127.0.0.1:9")
    tries = _records(server, 4)[1:]
    assert len(tries) == 3
    assert all(record.status is None and record.error for record in tries)


def test_a_callback_is_signed_if_the_mode_says_how(
    serve_upstream: ServeUpstream, receiver: Receiver
) -> None:
    mode = BecknMode(asynchronous=True, sign=lambda body, at: f"Signature {len(body)} {at:%H:%M}")
    _discover(_start(serve_upstream, beckn=mode), receiver.address)
    ((_, body, headers),) = receiver.wait(1)
    assert headers["authorization"] == f"Signature {len(orjson.dumps(body))} 05:00"


def test_a_change_is_announced_to_whoever_has_talked_to_the_provider_when_it_happens(
    serve_upstream: ServeUpstream, receiver: Receiver
) -> None:
    scenario = scenario_once(_RUSH)
    (change,) = scenario.file.window_changes
    clock = _clock()
    server = _start(serve_upstream, clock)
    _discover(server, receiver.address)
    clock.advance(timedelta(hours=change.at_h) - timedelta(seconds=1))
    time.sleep(0.2)
    assert receiver.got == []
    clock.advance(timedelta(seconds=1))
    ((path, body, _),) = receiver.wait(1)
    assert path == "/callbacks/on_update"
    assert body["context"]["bap_uri"] == receiver.address
    assert body["context"]["bap_id"] == "our.example"
    (line,) = body["message"]["order"]["beckn:orderItems"]
    assert line["beckn:orderedItem"] == change.item_id
    clock.advance(timedelta(hours=1))
    time.sleep(0.2)
    assert len(receiver.got) == 1
