"""Reading Beckn JSON: tolerant keys, envelopes, acknowledgements, errors.

Names on this wire come with or without a JSON-LD prefix (``beckn:timeWindow``, ``timeWindow``)
and in snake_case or camelCase (``transaction_id``, ``transactionId``). ``Node`` looks a name up
without caring which, and knows its path, so that a rejection can say where. Unknown keys are
ignored; the raw JSON is kept by whoever records the message.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from functools import lru_cache
from typing import Any

from fetchers.wire import instant, invalid, load_json
from schema.errors import SourcePayloadInvalid
from schema.readings import Source

DEEPEST = 64
PREFIXES = ("beckn:", "schema:")
REQUEST_ACTIONS = (
    "discover",
    "select",
    "init",
    "confirm",
    "update",
    "status",
    "cancel",
    "rating",
    "support",
)
#: The newer core renames rating to rate; both are the same action here.
ALIASES = {"on_rate": "on_rating", "rate": "rating", "on_search": "on_discover"}


@lru_cache(maxsize=4096)
def plain_name(key: str) -> str:
    """Give a wire name without prefix, in camelCase: ``beckn:slot_id`` is ``slotId``."""
    for prefix in PREFIXES:
        key = key.removeprefix(prefix)
    head, *tail = key.split("_")
    return head + "".join(part[:1].upper() + part[1:] for part in tail)


@dataclass(frozen=True, slots=True)
class Node:
    """One JSON value with the path at which it stood."""

    value: Any
    path: str = ""

    def get(self, *names: str) -> Node | None:
        """Give the first of these members that is there and not null."""
        if not isinstance(self.value, dict):
            return None
        wanted = [plain_name(name) for name in names]
        found = {
            plain_name(key): Node(value, f"{self.path}.{key}" if self.path else key)
            for key, value in self.value.items()
            if value is not None and plain_name(key) in wanted
        }
        return next((found[name] for name in wanted if name in found), None)

    def at(self, *steps: str) -> Node | None:
        """Walk down several members; None where one is missing."""
        node: Node | None = self
        for step in steps:
            node = node.get(step) if node is not None else None
        return node

    def items(self) -> Iterator[Node]:
        """Give the members of a list; a lone value counts as a list of one."""
        if isinstance(self.value, list):
            for index, value in enumerate(self.value):
                yield Node(value, f"{self.path}[{index}]")
        else:
            yield self

    def text(self, *names: str) -> str | None:
        """Give a member as text; None where it is missing, blank or no text."""
        node = self.get(*names)
        if node is None:
            return None
        if isinstance(node.value, str):
            return node.value.replace("\x00", "").strip() or None
        if isinstance(node.value, int) and not isinstance(node.value, bool):
            return str(node.value)
        return None

    def reference(self, *names: str) -> str | None:
        """Give the id that a member holds, as plain text or as an object with an id."""
        node = self.get(*names)
        if node is None:
            return None
        return node.text("id") if isinstance(node.value, dict) else self.text(*names)

    def number(self, *names: str) -> float | None:
        """Give a member as a number; numeric text counts, NaN and infinity do not.

        Raises:
            ValueError: There is a value and it is no finite number.
        """
        node = self.get(*names)
        if node is None or node.value == "":
            return None
        if not isinstance(node.value, bool) and isinstance(node.value, int | float | str):
            try:
                number = float(node.value)
            except (ValueError, OverflowError):
                number = math.nan
            if math.isfinite(number):
                return number
        msg = f"{node.path} is {_shown(node.value)}, not a finite number"
        raise ValueError(msg)

    def boolean(self, *names: str) -> bool | None:
        """Give a member that is true or false; None for anything else."""
        node = self.get(*names)
        return node.value if node is not None and isinstance(node.value, bool) else None

    def mapping(self, *names: str) -> dict[str, Any] | None:
        """Give a member that is an object, as it stood; None for anything else."""
        node = self.get(*names)
        return node.value if node is not None and isinstance(node.value, dict) else None


def _shown(value: object) -> str:
    text = repr(value)
    return text if len(text) <= 80 else f"{text[:77]}..."  # noqa: PLR2004


class AckStatus(StrEnum):
    """How the other side took a message."""

    ACK = "ACK"
    NACK = "NACK"


@dataclass(frozen=True, slots=True)
class WireError:
    """An error object of either vocabulary."""

    code: str | None
    message: str | None
    raw: dict[str, Any]

    def __str__(self) -> str:
        said = " ".join(part for part in (self.code, self.message) if part)
        return said or "no code and no message were given"


@dataclass(frozen=True, slots=True)
class Context:
    """The head of a message; what is missing on the wire is None."""

    action: str | None
    transaction_id: str | None
    message_id: str | None
    timestamp: datetime | None
    bap_id: str | None
    bap_uri: str | None
    bpp_id: str | None
    bpp_uri: str | None
    ttl: str | None


@dataclass(frozen=True, slots=True)
class Envelope:
    """One received body: a callback (``message``), an acknowledgement, an error, or several."""

    context: Context
    message: Node | None
    ack: AckStatus | None
    error: WireError | None
    raw: dict[str, Any]

    @property
    def refused(self) -> bool:
        """Say whether the other side refused: NACK, or an error where a message should be."""
        return self.ack is AckStatus.NACK or (self.error is not None and self.message is None)


def read_json(body: bytes) -> Any:
    """Decode a body.

    Raises:
        SourcePayloadInvalid: It is not JSON (a gateway's page, a cut reply), or nested deeper
            than any message is.
    """
    document = load_json(body, Source.BECKN.value)
    level: list[Any] = [document]
    for _ in range(DEEPEST):
        level = [
            member
            for value in level
            if isinstance(value, dict | list)
            for member in (value.values() if isinstance(value, dict) else value)
        ]
        if not level:
            return document
    raise invalid(Source.BECKN.value, f"the reply is nested deeper than {DEEPEST} levels", body)


def read_envelope(body: bytes) -> Envelope:
    """Read one received message of any shape.

    Raises:
        SourcePayloadInvalid: Not JSON, not an object, or a request where a reply is expected.
    """
    return envelope_of(read_json(body))


def read_envelopes(body: bytes) -> list[Envelope]:
    """Read one message or a list of them, as a poll for callbacks may return."""
    document = read_json(body)
    members = document if isinstance(document, list) else [document]
    return [envelope_of(member) for member in members]


def envelope_of(document: object) -> Envelope:
    """Read one decoded message; see ``read_envelope``."""
    if not isinstance(document, dict):
        msg = (
            f"a Beckn reply is a JSON object with context and message, got {_shown(document)}; "
            "check the address"
        )
        raise SourcePayloadInvalid(msg, source=Source.BECKN.value)
    root = Node(document)
    context = _context(root)
    if context.action in REQUEST_ACTIONS:
        msg = (
            f"this is a {context.action!r} request, not a reply: its context.action is "
            f"{context.action!r} where a reply has 'on_{context.action}'; "
            "give the file with the answer to it"
        )
        raise SourcePayloadInvalid(msg, source=Source.BECKN.value, action=context.action)
    message = root.get("message")
    ack = _ack(root)
    if message is not None and (not isinstance(message.value, dict) or _only_ack(message)):
        message = None
    return Envelope(context, message, ack, _error(root), document)


def _context(root: Node) -> Context:
    # The core's short acknowledgement carries these names at the top, without a context.
    head = root.get("context") or root
    action = head.text("action")
    stamp = head.text("timestamp")
    try:
        moment = instant(stamp, "timestamp") if stamp else None
    except ValueError:
        moment = None
    return Context(
        action=ALIASES.get(action, action) if action else None,
        transaction_id=head.text("transaction_id"),
        message_id=head.text("message_id"),
        timestamp=moment,
        bap_id=head.text("bap_id"),
        bap_uri=head.text("bap_uri"),
        bpp_id=head.text("bpp_id"),
        bpp_uri=head.text("bpp_uri"),
        ttl=head.text("ttl"),
    )


def _ack(root: Node) -> AckStatus | None:
    """Find the status in any of the four shapes, in order of nesting."""
    message = root.get("message")
    ack = root.at("message", "ack")
    said = (
        (ack.text("status") if ack is not None else None)
        or root.text("ack_status")
        or (message.text("status") if message is not None else None)
        or root.text("status")
    )
    return AckStatus(said.upper()) if said and said.upper() in set(AckStatus) else None


def _only_ack(message: Node) -> bool:
    return {plain_name(key) for key in message.value} <= {
        "ack",
        "status",
        "messageId",
        "error",
        "signature",
    }


def _error(root: Node) -> WireError | None:
    node = root.get("error") or root.at("message", "error") or root.at("message", "ack", "error")
    if node is None or not isinstance(node.value, dict):
        return None
    return WireError(
        code=node.text("code", "errorCode"),
        message=node.text("message", "errorMessage"),
        raw=node.value,
    )
