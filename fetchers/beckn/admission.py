"""Whether a message that arrives at our callback address is taken; pure.

The order matters. Where keys are known the signature over the raw bytes is verified first, before
anything reads the body: a parser is no place for what a stranger sent. Then the body, then what
surrounds the signature (whose it is, how long it holds), then whether it is meant for us.

Source: BECKN-006 and the ONIX adapter's codes. A refusal answers 401 with ``WWW-Authenticate``
where it is about who speaks, 400 where it is about what is said.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from hashlib import sha256

from fetchers.beckn.keys import KeyRing
from fetchers.beckn.signing import SignatureHeader, check_policy, parse_header, verify_signature
from fetchers.beckn.window import read_duration
from fetchers.beckn.wire import ALIASES, REQUEST_ACTIONS, Envelope, read_envelope
from schema.errors import ProtocolViolation, SourcePayloadInvalid

#: Actions that a provider may call us back with.
CALLBACKS = frozenset(f"on_{action}" for action in REQUEST_ACTIONS)
#: How long an unsigned message is known again; a signed one until its signature expires.
REMEMBERED = timedelta(days=1)
UNNAMED = "unnamed"


@dataclass(frozen=True, slots=True)
class Refused:
    """Why a message was not taken: HTTP status, the network's code, words."""

    status: int
    code: str
    reason: str


@dataclass(frozen=True, slots=True)
class Admitted:
    """A message that may be taken.

    ``digest`` is over the raw bytes. Until ``keep_until`` the same message has no effect again.
    """

    sender: str
    message_id: str
    action: str
    transaction_id: str
    signed: bool
    digest: str
    keep_until: datetime
    body: bytes
    envelope: Envelope


def admit(
    action: str,
    body: bytes,
    authorization: str | None,
    keys: KeyRing,
    *,
    own_id: str,
    now: datetime,
) -> Admitted | Refused:
    """Judge one message.

    Args:
        action: Last part of the path it was sent to.
        body: Its raw bytes.
        authorization: The header of that name.
        keys: Whom we believe. Without peers nobody needs to sign.
        own_id: Our name on the network.
        now: Our clock.
    """
    action = ALIASES.get(action, action)
    if action not in CALLBACKS:
        return Refused(404, "NET_ENTITY_NOT_FOUND", f"there is no callback {action[:40]!r}")
    header = None
    if keys.verifies:
        verified = _verified(body, authorization, keys)
        if isinstance(verified, Refused):
            return verified
        header = verified
    try:
        envelope = read_envelope(body)
    except SourcePayloadInvalid as exc:
        return Refused(400, "SCH_INVALID_JSON", exc.message)
    context = envelope.context
    if header is not None:
        try:
            # A discovery service answers for many providers and may name none.
            nobody = context.bpp_id is None and action == "on_discover"
            sender = header.subscriber if nobody else context.bpp_id or ""
            check_policy(header, now=now, sender=sender)
        except ProtocolViolation as exc:
            return Refused(401, "AUT_SIGNATURE_INVALID", exc.message)
        if context.bap_id is not None and context.bap_id != own_id:
            reason = f"it is for {context.bap_id[:80]!r}, we are {own_id!r}"
            return Refused(400, "AUT_UNAUTHORIZED_ACTION", reason)
    if context.action != action:
        said = (context.action or "nothing")[:40]
        return Refused(400, "SCH_ACTION_MISMATCH", f"context.action says {said!r}, not {action!r}")
    if envelope.message is None and envelope.error is None:
        return Refused(400, "SCH_FIELD_MISSING", "neither message nor error is there")
    digest = sha256(body).hexdigest()
    return Admitted(
        sender=header.subscriber if header is not None else context.bpp_id or UNNAMED,
        message_id=context.message_id or digest,
        action=action,
        transaction_id=context.transaction_id or "",
        signed=header is not None,
        digest=digest,
        keep_until=now + REMEMBERED if header is None else _instant(header.expires),
        body=body,
        envelope=envelope,
    )


def _verified(body: bytes, authorization: str | None, keys: KeyRing) -> SignatureHeader | Refused:
    if authorization is None:
        return Refused(401, "AUT_SIGNATURE_MISSING", "the Authorization header is missing")
    try:
        header = parse_header(authorization)
    except ProtocolViolation as exc:
        return Refused(401, "AUT_SIGNATURE_INVALID", exc.message)
    key = keys.peers.get((header.subscriber, header.key_id))
    if key is None:
        return Refused(401, "AUT_KEY_NOT_FOUND", "no key of that name is known here")
    try:
        verify_signature(body, header, key)
    except ProtocolViolation as exc:
        return Refused(401, "AUT_SIGNATURE_INVALID", exc.message)
    return header


def _instant(seconds: int) -> datetime:
    # Bounded by check_policy: a signature holds five minutes at most.
    return datetime.fromtimestamp(seconds, UTC)


def is_late(envelope: Envelope, arrived: datetime) -> bool:
    """Say whether an answer came after its time to live; one without a time is never late."""
    sent, life = envelope.context.timestamp, envelope.context.ttl
    if sent is None or life is None:
        return False
    try:
        return arrived > sent + read_duration(life, "ttl")
    except (ValueError, OverflowError):
        return False  # "P1M" is seen in examples: a month has no length
