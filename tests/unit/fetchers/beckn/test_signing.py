"""Beckn signatures."""

from __future__ import annotations

import base64
import contextlib
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest

from fetchers.beckn.signing import (
    check_policy,
    digest,
    parse_header,
    sign,
    verify_signature,
)
from schema.errors import ProtocolViolation

# The key is bytes 0 to 31. Digest and signature were made with b2sum and openssl pkeyutl.
SEED = "AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8="
PUBLIC = "A6EHv/POEL4dcN0Y50vAmWfk1jCbpQ1fHdyGZBJVMbg="
BODY = b'{"context":{"bap_id":"us.example"},"message":{}}'
DIGEST = "GrzCE92+cWNKry1e5upxPEdDFWGf5krga97erCX7irgEo7HLjGj8J7beLyN+v4tUVueRTphe4++h5XCs0DmeHg=="
SIGNATURE = (
    "Z8WJOQeZWzLiMSJSGeL3Nj5LuC3Sl3a2e7suMtgml0e7ZYzs+VRfg8T5kuhDOceI2/Snm+1ghUiPfsFiul+RBg=="
)
CREATED = datetime(2031, 1, 26, 8, tzinfo=UTC)
GOLDEN = (
    'Signature keyId="us.example|k1|ed25519",algorithm="ed25519",created="1927180800",'
    f'expires="1927181100",headers="(created) (expires) digest",signature="{SIGNATURE}"'
)


def test_the_digest_is_blake2b_of_the_exact_bytes() -> None:
    assert digest(BODY) == DIGEST


def test_signing_gives_the_golden_header() -> None:
    header = sign(BODY, private_key=SEED, subscriber="us.example", key_id="k1", created=CREATED)
    assert header == GOLDEN


def test_a_key_of_64_bytes_is_its_seed_first() -> None:
    long_key = base64.b64encode(base64.b64decode(SEED) + base64.b64decode(PUBLIC)).decode()
    header = sign(BODY, private_key=long_key, subscriber="us.example", key_id="k1", created=CREATED)
    assert header == GOLDEN


def test_the_golden_header_verifies() -> None:
    header = parse_header(GOLDEN)
    verify_signature(BODY, header, PUBLIC)
    check_policy(header, now=CREATED + timedelta(seconds=10), sender="us.example")


def test_no_flipped_bit_of_body_or_signature_is_accepted() -> None:
    header = parse_header(GOLDEN)
    flipped = 0
    for index in range(len(BODY) * 8):
        body = bytearray(BODY)
        body[index // 8] ^= 1 << index % 8
        with pytest.raises(ProtocolViolation):
            verify_signature(bytes(body), header, PUBLIC)
        flipped += 1
    for index in range(64 * 8):
        signature = bytearray(header.signature)
        signature[index // 8] ^= 1 << index % 8
        with pytest.raises(ProtocolViolation):
            verify_signature(BODY, replace(header, signature=bytes(signature)), PUBLIC)
        flipped += 1
    # 48 bytes of body and 64 of signature
    assert flipped == (48 + 64) * 8


def test_created_and_expires_are_signed_too() -> None:
    header = parse_header(GOLDEN)
    for changed in (
        replace(header, created=header.created + 1),
        replace(header, expires=header.expires + 1),
    ):
        with pytest.raises(ProtocolViolation, match="does not fit"):
            verify_signature(BODY, changed, PUBLIC)


@pytest.mark.parametrize(
    ("change", "moment", "reason"),
    [
        ({}, timedelta(minutes=5), "expired"),
        ({}, timedelta(seconds=-6), "in the future"),
        ({"algorithm": "rsa"}, timedelta(0), "not ed25519"),
        ({"key_algorithm": "rsa"}, timedelta(0), "not ed25519"),
        ({"headers": "digest"}, timedelta(0), "covers"),
        ({"subscriber": "them.example"}, timedelta(0), "belongs to 'them.example'"),
        ({"expires": 1927180800 + 301}, timedelta(0), "holds 301 s"),
    ],
    ids=["expired", "future", "algorithm", "key-algorithm", "headers", "sender", "life"],
)
def test_policy_refuses(change: dict[str, str | int], moment: timedelta, reason: str) -> None:
    header = replace(parse_header(GOLDEN), **change)  # type: ignore[arg-type]
    with pytest.raises(ProtocolViolation, match=reason):
        check_policy(header, now=CREATED + moment, sender="us.example")


def test_a_clock_five_seconds_ahead_is_tolerated() -> None:
    check_policy(parse_header(GOLDEN), now=CREATED - timedelta(seconds=5), sender="us.example")


@pytest.mark.parametrize(
    "text",
    [
        "Bearer abc",
        GOLDEN.replace('algorithm="ed25519",', ""),
        GOLDEN.replace("us.example|k1|ed25519", "us.example"),
        GOLDEN.replace("1927181100", "soon"),
        GOLDEN.replace(SIGNATURE, "not base64!"),
        GOLDEN + ',created="1"',
        GOLDEN + " rubbish",
    ],
    ids=["scheme", "missing", "key-id", "no-number", "no-base64", "doubled", "tail"],
)
def test_a_header_that_is_none_is_refused(text: str) -> None:
    with pytest.raises(ProtocolViolation):
        parse_header(text)


def test_a_public_key_of_another_length_is_refused() -> None:
    short = base64.b64encode(b"x" * 31).decode()
    with pytest.raises(ProtocolViolation, match="no Ed25519 key"):
        verify_signature(BODY, parse_header(GOLDEN), short)


# The worked example of BECKN-006 ("Signing Beckn APIs in HTTP"): body, keys, digest and signature
# are the document's own. Its signature holds an hour: cryptography takes it, our policy does not.
BECKN_006_BODY = (
    b'{"context":{"domain":"nic2004:60212","country":"IND","city":"Kochi","action":"search",'
    b'"core_version":"0.9.1","bap_id":"bap.stayhalo.in",'
    b'"bap_uri":"https://8f9f-49-207-209-131.ngrok.io/protocol/",'
    b'"transaction_id":"e6d9f908-1d26-4ff3-a6d1-3af3d3721054",'
    b'"message_id":"a2fe6d52-9fe4-4d1a-9d0b-dccb8b48522d",'
    b'"timestamp":"2022-01-04T09:17:55.971Z","ttl":"P1M"},"message":{"intent":{"fulfillment":'
    b'{"start":{"location":{"gps":"10.108768, 76.347517"}},'
    b'"end":{"location":{"gps":"10.102997, 76.353480"}}}}}}'
)
BECKN_006_DIGEST = (
    "b6lf6lRgOweajukcvcLsagQ2T60+85kRh/Rd2bdS+TG/5ALebOEgDJfyCrre/1+BMu5nA94o4DT3pTFXuUg7sw=="
)
BECKN_006_PRIVATE = (
    "lP3sHA+9gileOkXYJXh4Jg8tK0gEEMbf9yCPnFpbldhrAY+NErqL9WD+Vav7TE5tyVXGXBle9ONZi2W7o144eQ=="
)
BECKN_006_PUBLIC = "awGPjRK6i/Vg/lWr+0xObclVxlwZXvTjWYtlu6NeOHk="
BECKN_006_CREATED = datetime(2022, 1, 4, 9, 17, 55, tzinfo=UTC)
BECKN_006_HEADER = (
    'Signature keyId="bap.stayhalo.in|ae3ea24b-cfec-495e-81f8-044aaef164ac|ed25519",'
    'algorithm="ed25519",created="1641287875",expires="1641291475",'
    'headers="(created) (expires) digest",signature="cjbhP0PFyrlSCNszJM1F/YmHDVAWsZqJUPzojnE/7TJU3'
    'fJ/rmIlgaUHEr5E0/2PIyf0tpSnWtT6cyNNlpmoAQ=="'
)


def test_the_worked_example_of_the_standard_comes_out_byte_for_byte() -> None:
    assert digest(BECKN_006_BODY) == BECKN_006_DIGEST
    header = sign(
        BECKN_006_BODY,
        private_key=BECKN_006_PRIVATE,
        subscriber="bap.stayhalo.in",
        key_id="ae3ea24b-cfec-495e-81f8-044aaef164ac",
        created=BECKN_006_CREATED,
        life=timedelta(hours=1),
    )
    assert header == BECKN_006_HEADER
    verify_signature(BECKN_006_BODY, parse_header(BECKN_006_HEADER), BECKN_006_PUBLIC)


def test_no_flipped_bit_of_the_standards_example_is_accepted() -> None:
    header = parse_header(BECKN_006_HEADER)
    flips = [(BECKN_006_BODY, bit) for bit in range(len(BECKN_006_BODY) * 8)]
    flips += [(header.signature, bit) for bit in range(64 * 8)]
    accepted = 0
    for original, bit in flips:
        flipped = bytearray(original)
        flipped[bit // 8] ^= 1 << bit % 8
        of_body = original is BECKN_006_BODY
        body = bytes(flipped) if of_body else BECKN_006_BODY
        with contextlib.suppress(ProtocolViolation):
            changed = header if of_body else replace(header, signature=bytes(flipped))
            verify_signature(body, changed, BECKN_006_PUBLIC)
            accepted += 1
    # 496 bytes of body and 64 of signature
    assert (len(flips), accepted) == ((496 + 64) * 8, 0)


def test_a_signature_that_holds_an_hour_is_refused_by_policy() -> None:
    with pytest.raises(ProtocolViolation, match="holds 3600 s; at most 300 s"):
        check_policy(
            parse_header(BECKN_006_HEADER), now=BECKN_006_CREATED, sender="bap.stayhalo.in"
        )
