"""Signatures of Beckn messages: Ed25519 over a digest of the exact body bytes.

Cryptography and policy stand apart: ``sign`` and ``verify_signature`` know keys and bytes,
``check_policy`` knows lifetimes and names. Sign the bytes that will be sent, verify the bytes
that arrived; any writing of the JSON anew breaks both.

Source: BECKN-006 and the ONIX adapter (signer, signvalidator). Header:
``Signature keyId="{subscriber}|{key id}|ed25519",algorithm="ed25519",created="…",expires="…",
headers="(created) (expires) digest",signature="{base64}"``. The digest is unkeyed BLAKE2b with
64 bytes of output, written ``BLAKE-512={base64}``.
"""

from __future__ import annotations

import base64
import binascii
import re
from dataclasses import dataclass
from datetime import datetime, timedelta
from hashlib import blake2b

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import (
    Ed25519PrivateKey,
    Ed25519PublicKey,
)

from schema.errors import ProtocolViolation

ALGORITHM = "ed25519"
SIGNED_HEADERS = "(created) (expires) digest"
SEED_BYTES = 32
LONGEST_LIFE = timedelta(minutes=5)
#: A sender's clock may be ahead of ours by this much; expiry has no tolerance.
CLOCK_AHEAD = timedelta(seconds=5)
_SCHEME = "Signature "
_PAIR = re.compile(r'\s*([A-Za-z]+)\s*=\s*"([^"]*)"\s*(?:,|$)')
_WANTED = frozenset({"keyId", "algorithm", "created", "expires", "headers", "signature"})


@dataclass(frozen=True, slots=True)
class SignatureHeader:
    """The parts of an Authorization header; ``created`` and ``expires`` are Unix seconds."""

    subscriber: str
    key_id: str
    key_algorithm: str
    algorithm: str
    created: int
    expires: int
    headers: str
    signature: bytes


def digest(body: bytes) -> str:
    """Give the base64 digest of a body's bytes."""
    return base64.b64encode(blake2b(body, digest_size=64).digest()).decode()


def signing_string(body: bytes, created: int, expires: int) -> bytes:
    """Give the three lines that are signed."""
    lines = (f"(created): {created}", f"(expires): {expires}", f"digest: BLAKE-512={digest(body)}")
    return "\n".join(lines).encode()


def sign(
    body: bytes,
    *,
    private_key: str,
    subscriber: str,
    key_id: str,
    created: datetime,
    life: timedelta = LONGEST_LIFE,
) -> str:
    """Give the Authorization header for a body.

    Args:
        body: The bytes as they will be sent.
        private_key: Base64 of the 32-byte seed; of a 64-byte key the seed comes first.
        subscriber: Our id on the network, the body's ``bap_id``.
        key_id: Which of our keys signs.
        created: Now.
        life: How long the signature holds.
    """
    seed = _decoded(private_key, "private key")[:SEED_BYTES]
    if len(seed) != SEED_BYTES:
        msg = f"the private key has {len(seed)} bytes; an Ed25519 seed has {SEED_BYTES}"
        raise ProtocolViolation(msg)
    start = int(created.timestamp())
    end = start + int(life.total_seconds())
    signature = Ed25519PrivateKey.from_private_bytes(seed).sign(signing_string(body, start, end))
    return (
        f'{_SCHEME}keyId="{subscriber}|{key_id}|{ALGORITHM}",algorithm="{ALGORITHM}",'
        f'created="{start}",expires="{end}",headers="{SIGNED_HEADERS}",'
        f'signature="{base64.b64encode(signature).decode()}"'
    )


def parse_header(text: str) -> SignatureHeader:
    """Read an Authorization header.

    Raises:
        ProtocolViolation: Another scheme, a missing or doubled part, or one that cannot be read.
    """
    if not text.startswith(_SCHEME):
        msg = "the Authorization header does not start with 'Signature '"
        raise ProtocolViolation(msg)
    parts: dict[str, str] = {}
    position = len(_SCHEME)
    while position < len(text):
        match = _PAIR.match(text, position)
        if match is None or match[1] in parts:
            msg = f"the signature header cannot be read at character {position}"
            raise ProtocolViolation(msg)
        parts[match[1]] = match[2]
        position = match.end()
    missing = sorted(_WANTED - parts.keys())
    key = parts.get("keyId", "").split("|")
    if missing or len(key) != len(("subscriber", "key", "algorithm")):
        lacking = ", ".join(missing) or "a keyId of the form subscriber|key|algorithm"
        msg = f"the signature header lacks {lacking}"
        raise ProtocolViolation(msg)
    try:
        created, expires = int(parts["created"]), int(parts["expires"])
    except ValueError:
        msg = "created and expires of a signature are Unix seconds"
        raise ProtocolViolation(msg) from None
    return SignatureHeader(
        subscriber=key[0],
        key_id=key[1],
        key_algorithm=key[2],
        algorithm=parts["algorithm"],
        created=created,
        expires=expires,
        headers=parts["headers"],
        signature=_decoded(parts["signature"], "signature"),
    )


def verify_signature(body: bytes, header: SignatureHeader, public_key: str) -> None:
    """Check that the key's owner signed exactly these bytes.

    Args:
        body: The bytes as they arrived.
        header: From ``parse_header``.
        public_key: Base64 of the raw 32 bytes.

    Raises:
        ProtocolViolation: It did not.
    """
    raw = _decoded(public_key, "public key")
    try:
        key = Ed25519PublicKey.from_public_bytes(raw)
        key.verify(header.signature, signing_string(body, header.created, header.expires))
    except ValueError:
        msg = f"the public key of {header.subscriber} is no Ed25519 key ({len(raw)} bytes)"
        raise ProtocolViolation(msg) from None
    except InvalidSignature:
        msg = f"the signature of {header.subscriber} does not fit the body"
        raise ProtocolViolation(msg) from None


def check_policy(
    header: SignatureHeader,
    *,
    now: datetime,
    sender: str,
    longest_life: timedelta = LONGEST_LIFE,
    clock_ahead: timedelta = CLOCK_AHEAD,
) -> None:
    """Check what surrounds a signature: its algorithm, its owner, its lifetime.

    Args:
        header: From ``parse_header``.
        now: Our clock.
        sender: ``bap_id`` or ``bpp_id`` of the body, whichever sent it.
        longest_life: Longest lifetime accepted.
        clock_ahead: How far ``created`` may lie in the future.

    Raises:
        ProtocolViolation: One of them does not hold; the message says which.
    """
    moment = now.timestamp()
    life = header.expires - header.created
    failed = None
    if header.algorithm != ALGORITHM or header.key_algorithm != ALGORITHM:
        failed = f"uses {header.algorithm!r} with a {header.key_algorithm!r} key, not {ALGORITHM}"
    elif header.headers.split() != SIGNED_HEADERS.split():
        failed = f"covers {header.headers!r}, not {SIGNED_HEADERS!r}"
    elif header.subscriber != sender:
        failed = f"belongs to {header.subscriber!r}, the body to {sender!r}"
    elif header.expires <= moment:
        failed = f"expired at {header.expires}, now is {int(moment)}"
    elif header.created > moment + clock_ahead.total_seconds():
        failed = f"was created at {header.created}, in the future of {int(moment)}"
    elif not 0 < life <= longest_life.total_seconds():
        failed = f"holds {life} s; at most {int(longest_life.total_seconds())} s are accepted"
    if failed is not None:
        msg = f"the signature {failed}"
        raise ProtocolViolation(msg)


def _decoded(text: str, what: str) -> bytes:
    try:
        return base64.b64decode(text, validate=True)
    except (binascii.Error, ValueError):
        msg = f"the {what} is not base64"
        raise ProtocolViolation(msg) from None
