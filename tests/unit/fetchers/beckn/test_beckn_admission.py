"""Which messages are taken at our own address, and how each is answered."""

from __future__ import annotations

import base64
from datetime import UTC, datetime, timedelta

import orjson
import pytest
from callback_kit import (
    BPP_ID,
    KEYS,
    NO_KEYS,
    NOON,
    OWN_ID,
    STRANGER_PRIVATE,
    body_of,
    message,
    signed,
)

from fetchers.beckn import admission
from fetchers.beckn.acks import ack_body
from fetchers.beckn.admission import Admitted, Refused, admit, is_late
from fetchers.beckn.signing import parse_header
from fetchers.beckn.wire import AckStatus, read_envelope

BODY = body_of()


def judged(
    body: bytes = BODY,
    authorization: str | None = None,
    *,
    action: str = "on_update",
    now: datetime = NOON,
    sign: bool = True,
) -> Admitted | Refused:
    header = signed(body) if sign and authorization is None else authorization
    return admit(action, body, header, KEYS, own_id=OWN_ID, now=now)


def test_a_signed_message_is_taken_under_its_signers_name() -> None:
    taken = judged()
    assert isinstance(taken, Admitted)
    assert (taken.sender, taken.message_id, taken.action, taken.transaction_id) == (
        BPP_ID,
        "m-1",
        "on_update",
        "t-1",
    )
    assert (taken.signed, taken.keep_until) == (True, NOON + timedelta(minutes=5))


def test_no_flipped_bit_is_taken_and_nothing_of_it_is_read(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The signature over the raw bytes is looked at before anything that reads them."""
    header = signed(BODY)
    signature = base64.b64encode(parse_header(header).signature).decode()

    def never(body: bytes) -> None:
        raise AssertionError

    monkeypatch.setattr(admission, "read_envelope", never)
    tried = 0
    for bit in range(len(BODY) * 8):
        flipped = bytearray(BODY)
        flipped[bit // 8] ^= 1 << bit % 8
        refused = judged(bytes(flipped), header)
        assert isinstance(refused, Refused)
        assert (refused.status, refused.code) == (401, "AUT_SIGNATURE_INVALID")
        tried += 1
    for bit in range(512):
        raw = bytearray(base64.b64decode(signature))
        raw[bit // 8] ^= 1 << bit % 8
        forged = header.replace(signature, base64.b64encode(raw).decode())
        assert isinstance(judged(BODY, forged), Refused)
        tried += 1
    assert tried == len(BODY) * 8 + 512


HEADER = signed(BODY)


@pytest.mark.parametrize(
    ("header", "code"),
    [
        (None, "AUT_SIGNATURE_MISSING"),
        ("Bearer abc", "AUT_SIGNATURE_INVALID"),
        (HEADER.replace(f"{BPP_ID}|k7", f"{BPP_ID}|k8"), "AUT_KEY_NOT_FOUND"),
        (HEADER.replace(f"{BPP_ID}|k7", f"{OWN_ID}|k7"), "AUT_KEY_NOT_FOUND"),
        (HEADER.replace('algorithm="ed25519"', 'algorithm="rsa"'), "AUT_SIGNATURE_INVALID"),
        (HEADER.replace("|ed25519", "|rsa"), "AUT_SIGNATURE_INVALID"),
        (HEADER.replace("(expires) digest", "digest"), "AUT_SIGNATURE_INVALID"),
        (signed(BODY, private_key=STRANGER_PRIVATE), "AUT_SIGNATURE_INVALID"),
        (signed(BODY, created=NOON + timedelta(seconds=6)), "AUT_SIGNATURE_INVALID"),
        (signed(BODY, created=NOON - timedelta(minutes=5)), "AUT_SIGNATURE_INVALID"),
        (signed(BODY, life=timedelta(seconds=301)), "AUT_SIGNATURE_INVALID"),
        (signed(body_of(message_id="m-2")), "AUT_SIGNATURE_INVALID"),
    ],
    ids=[
        "missing",
        "scheme",
        "other-key",
        "other-subscriber",
        "algorithm",
        "key-algorithm",
        "headers",
        "stranger",
        "future",
        "expired",
        "life",
        "other-body",
    ],
)
def test_a_signature_that_does_not_hold_is_answered_with_401(header: str | None, code: str) -> None:
    refused = admit("on_update", BODY, header, KEYS, own_id=OWN_ID, now=NOON)
    assert isinstance(refused, Refused)
    assert (refused.status, refused.code) == (401, code)


def test_a_known_key_cannot_speak_for_another_provider() -> None:
    body = body_of(bpp_id="other.example")
    refused = judged(body)
    assert isinstance(refused, Refused)
    assert (refused.status, refused.code) == (401, "AUT_SIGNATURE_INVALID")
    assert "belongs to 'grid.example', the body to 'other.example'" in refused.reason
    assert isinstance(judged(body_of(bpp_id=None)), Refused)


def test_a_discovery_service_may_name_no_provider() -> None:
    assert isinstance(judged(body_of("on_discover", bpp_id=None), action="on_discover"), Admitted)


@pytest.mark.parametrize(
    ("action", "body", "status", "code"),
    [
        ("on_update", b"<html>", 400, "SCH_INVALID_JSON"),
        ("on_update", b"[]", 400, "SCH_INVALID_JSON"),
        ("on_update", body_of("update"), 400, "SCH_INVALID_JSON"),
        ("on_select", BODY, 400, "SCH_ACTION_MISMATCH"),
        ("on_update", body_of(bap_id="someone.else"), 400, "AUT_UNAUTHORIZED_ACTION"),
        ("on_update", orjson.dumps({"context": message()["context"]}), 400, "SCH_FIELD_MISSING"),
        ("update", BODY, 404, "NET_ENTITY_NOT_FOUND"),
        ("../on_update", BODY, 404, "NET_ENTITY_NOT_FOUND"),
        ("", BODY, 404, "NET_ENTITY_NOT_FOUND"),
    ],
)
def test_what_is_no_callback_for_us_is_refused_with_its_reason(
    action: str, body: bytes, status: int, code: str
) -> None:
    refused = judged(body, action=action)
    assert isinstance(refused, Refused)
    assert (refused.status, refused.code) == (status, code)
    assert refused.reason


def test_without_pinned_keys_nobody_needs_to_sign() -> None:
    taken = admit("on_rate", body_of("on_rating"), None, NO_KEYS, own_id=OWN_ID, now=NOON)
    assert isinstance(taken, Admitted)
    assert (taken.action, taken.signed, taken.sender) == ("on_rating", False, BPP_ID)
    assert taken.keep_until == NOON + timedelta(days=1)


def test_camel_case_is_read_too() -> None:
    body = orjson.dumps(
        {
            "context": {
                "action": "on_update",
                "messageId": "m-9",
                "transactionId": "t-9",
                "bapId": OWN_ID,
                "bppId": BPP_ID,
            },
            "message": {"order": {}},
        }
    )
    taken = judged(body)
    assert isinstance(taken, Admitted)
    assert (taken.message_id, taken.transaction_id) == ("m-9", "t-9")


@pytest.mark.parametrize(
    ("ttl", "after_s", "late"),
    [("PT30S", 30, False), ("PT30S", 31, True), ("P1M", 10**6, False), (None, 10**6, False)],
)
def test_an_answer_is_late_after_its_time_to_live(
    ttl: str | None, after_s: int, late: bool
) -> None:
    envelope = read_envelope(body_of(ttl=ttl))
    assert is_late(envelope, NOON + timedelta(seconds=after_s)) is late


CAMEL = {"context": {"messageId": "m-9", "transactionId": "t-9", "version": "2.0.0"}}
SNAKE_2 = {"context": {"message_id": "m-9", "version": "2.0.0"}}
SNAKE_1 = {"context": {"message_id": "m-9", "version": "1.1.0"}}


@pytest.mark.parametrize(
    ("received", "expected"),
    [
        (CAMEL, {"status": "ACK", "messageId": "m-9"}),
        (SNAKE_2, {"message": {"status": "ACK", "messageId": "m-9"}}),
        (SNAKE_1, {"message": {"ack": {"status": "ACK"}}}),
        (None, {"message": {"ack": {"status": "ACK"}}}),
        ({"context": 7}, {"message": {"ack": {"status": "ACK"}}}),
    ],
)
def test_we_acknowledge_in_the_spelling_of_the_message(received: object, expected: object) -> None:
    assert orjson.loads(ack_body(received)) == expected


@pytest.mark.parametrize("received", [CAMEL, SNAKE_2, SNAKE_1, None])
def test_our_own_reader_understands_each_of_our_answers(received: object) -> None:
    taken = read_envelope(ack_body(received))
    assert (taken.ack, taken.error, taken.message) == (AckStatus.ACK, None, None)
    refused = read_envelope(ack_body(received, code="AUT_KEY_NOT_FOUND", reason="no key"))
    assert refused.refused
    assert str(refused.error) == "AUT_KEY_NOT_FOUND no key"


def test_the_instant_of_expiry_is_utc() -> None:
    taken = judged()
    assert isinstance(taken, Admitted)
    assert taken.keep_until.tzinfo is UTC
