"""Beckn signatures."""

from __future__ import annotations

import base64
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
