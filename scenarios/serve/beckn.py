"""Beckn beyond the synchronous sandbox: acknowledge now, call back later, in either spelling.

The provider's answers are the replay's (``BecknWire``). Here they are handed out as the network
does it: an ACK in the HTTP reply, then the ``on_…`` message to the ``bap_uri`` of the request's
context. What the provider sends by itself goes to everyone who has talked to it.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime, timedelta
from http import HTTPStatus
from typing import Any
from urllib.parse import urlsplit

import orjson

from scenarios.answers import SourceAnswers
from scenarios.model import AckShape
from scenarios.serve.faults import Fault, Kind
from scenarios.wire.beckn import acknowledgement, nack
from scenarios.wire.reply import Reply

Json = dict[str, Any]
_UPPER = re.compile(r"(?<=[a-z])([A-Z])")
_UNDER = re.compile(r"_([a-z])")
_THIS_MACHINE = frozenset({"127.0.0.1", "localhost", "::1"})


@dataclass(frozen=True, slots=True)
class BecknMode:
    """How the provider talks.

    Attributes:
        asynchronous: ACK and callback instead of the answer in the reply.
        camel: Context in camelCase, as the newer core has it; None spells as the request does.
        ack: Shape of the ACK.
        sign: Makes the Authorization header of a callback from its body and the instant.
    """

    asynchronous: bool = False
    camel: bool | None = None
    ack: AckShape = AckShape.MESSAGE_ACK
    sign: Callable[[bytes, datetime], str] | None = None


@dataclass(frozen=True, slots=True)
class Pending:
    """A callback that waits for its moment; ``copies`` of it are sent."""

    due: datetime
    url: str
    body: bytes
    copies: int = 1
    fault: str | None = None


@dataclass(slots=True)
class _Subscriber:
    bap_id: str
    heard: datetime
    camel: bool


class BecknDesk:
    """Turns requests and answers from the synchronous form into what the mode asks for.

    Args:
        mode: How the provider talks.
        answers: What the provider says.
    """

    def __init__(self, mode: BecknMode, answers: SourceAnswers) -> None:
        self._mode = mode
        self._answers = answers
        self._subscribers: dict[str, _Subscriber] = {}
        self._pending: list[Pending] = []

    def reply(self, path: str, body: bytes, now: datetime, fault: Fault | None) -> Reply:
        """Answer a POST; in asynchronous mode what follows waits in ``due``."""
        document = _object(body)
        context = document.get("context")
        if not isinstance(context, dict):
            return self._answers.answer("POST", path, "", body, now)
        camel = any(_UPPER.search(key) for key in context)
        if camel:
            context = _keys(context, _snake)
            body = orjson.dumps({**document, "context": context})
        spell = camel if self._mode.camel is None else self._mode.camel
        bap_uri = str(context.get("bap_uri", ""))
        if _is_here(bap_uri):
            bap_id = str(context.get("bap_id", ""))
            known = self._subscribers.setdefault(bap_uri, _Subscriber(bap_id, now, spell))
            known.bap_id, known.camel = bap_id, spell
        if fault is not None and fault.kind is Kind.NACK:
            return _spelled(nack(context, fault.ack_shape, "what was asked for"), camel=spell)
        reply = _spelled(self._answers.answer("POST", path, "", body, now), camel=spell)
        action = _object(reply.body).get("context", {}).get("action")
        if not self._mode.asynchronous or reply.status != HTTPStatus.OK or action is None:
            return reply
        self._pending.append(
            _misplaced(Pending(now, f"{bap_uri.rstrip('/')}/{action}", reply.body), fault)
        )
        return _spelled(acknowledgement(context, self._mode.ack), camel=spell)

    def due(self, now: datetime, fault: Fault | None) -> list[Pending]:
        """Take out the callbacks whose moment has come, in the order of their moments."""
        for bap_uri, subscriber in self._subscribers.items():
            for callback in self._answers.callbacks(subscriber.heard, now):
                body = _addressed(callback.body, bap_uri, subscriber)
                url = f"{bap_uri.rstrip('/')}/{callback.action}"
                self._pending.append(_misplaced(Pending(callback.at, url, body), fault))
            subscriber.heard = max(subscriber.heard, now)
        ready = sorted((p for p in self._pending if p.due <= now), key=lambda p: p.due)
        self._pending = [p for p in self._pending if p.due > now]
        return ready

    def headers(self, body: bytes, now: datetime) -> dict[str, str]:
        """Give the headers of a callback."""
        signed = {} if self._mode.sign is None else {"Authorization": self._mode.sign(body, now)}
        return {"Content-Type": "application/json", **signed}


def refusal(pending: Pending) -> str | None:
    """Say why a callback may not be sent: only programs on this machine are called back."""
    if _is_here(pending.url):
        return None
    return "not sent: its bap_uri is not on this machine"


def _misplaced(pending: Pending, fault: Fault | None) -> Pending:
    match fault:
        case Fault(kind=Kind.LATE_CALLBACK, amount=seconds):
            due = pending.due + timedelta(seconds=seconds)
            return Pending(due, pending.url, pending.body, fault=fault.kind.value)
        case Fault(kind=Kind.DUPLICATE_CALLBACK):
            return Pending(pending.due, pending.url, pending.body, 2, fault.kind.value)
        case _:
            return pending


def _addressed(body: bytes, bap_uri: str, subscriber: _Subscriber) -> bytes:
    document = _object(body)
    document["context"] |= {"bap_id": subscriber.bap_id, "bap_uri": bap_uri}
    if subscriber.camel:
        document["context"] = _keys(document["context"], _camel)
    return orjson.dumps(document)


def _is_here(address: str) -> bool:
    try:
        parts = urlsplit(address)
    except ValueError:
        return False
    return parts.scheme in {"http", "https"} and parts.hostname in _THIS_MACHINE


def _object(body: bytes) -> Json:
    try:
        document = orjson.loads(body)
    except orjson.JSONDecodeError:
        return {}
    return document if isinstance(document, dict) else {}


def _spelled(reply: Reply, *, camel: bool) -> Reply:
    """Give a reply with its envelope in camelCase if wanted; what it carries stays as it is."""
    document = _object(reply.body)
    if not camel or not document:
        return reply
    envelope = _keys(document, _camel)
    if isinstance(envelope.get("context"), dict):
        envelope["context"] = _keys(envelope["context"], _camel)
    return Reply(reply.status, orjson.dumps(envelope), reply.content_type, reply.headers)


def _keys(values: Json, spell: Callable[[str], str]) -> Json:
    return {spell(key): value for key, value in values.items()}


def _snake(name: str) -> str:
    return _UPPER.sub(lambda found: f"_{found[1].lower()}", name)


def _camel(name: str) -> str:
    return _UNDER.sub(lambda found: found[1].upper(), name)
