"""Keys, messages and signatures for what a provider sends to our own address."""

from __future__ import annotations

import base64
from datetime import UTC, datetime, timedelta
from typing import Any

import orjson
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from fetchers.beckn.keys import KeyRing, OwnKey
from fetchers.beckn.signing import sign

NOON = datetime(2031, 2, 3, 12, tzinfo=UTC)
OWN_ID, BPP_ID, KEY_ID = "bap.example", "grid.example", "k7"


def key_pair(byte: int) -> tuple[str, str]:
    """A private seed of one repeated byte, and its public key."""
    seed = bytes([byte]) * 32
    public = Ed25519PrivateKey.from_private_bytes(seed).public_key()
    raw = public.public_bytes(Encoding.Raw, PublicFormat.Raw)
    return base64.b64encode(seed).decode(), base64.b64encode(raw).decode()


OWN_PRIVATE, OWN_PUBLIC = key_pair(1)
BPP_PRIVATE, BPP_PUBLIC = key_pair(2)
STRANGER_PRIVATE, _ = key_pair(3)
KEYS = KeyRing(OwnKey(OWN_ID, "k1", OWN_PRIVATE), {(BPP_ID, KEY_ID): BPP_PUBLIC})
NO_KEYS = KeyRing()


def message(action: str = "on_update", **context: Any) -> dict[str, Any]:
    """A callback as a provider would send it; ``None`` leaves a name out."""
    head = {
        "version": "2.0.0",
        "action": action,
        "message_id": "m-1",
        "transaction_id": "t-1",
        "timestamp": NOON.isoformat(),
        "ttl": "PT30S",
        "bap_id": OWN_ID,
        "bpp_id": BPP_ID,
        **context,
    }
    kept = {name: value for name, value in head.items() if value is not None}
    return {"context": kept, "message": {"order": {"id": "o-1", "orderStatus": "CONFIRMED"}}}


def body_of(action: str = "on_update", **context: Any) -> bytes:
    return orjson.dumps(message(action, **context))


def signed(
    body: bytes,
    *,
    private_key: str = BPP_PRIVATE,
    subscriber: str = BPP_ID,
    key_id: str = KEY_ID,
    created: datetime = NOON,
    life: timedelta = timedelta(minutes=5),
) -> str:
    return sign(
        body,
        private_key=private_key,
        subscriber=subscriber,
        key_id=key_id,
        created=created,
        life=life,
    )
