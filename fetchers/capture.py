"""A recorded reply as it lies in a file: bare, in a capture envelope, or a request by mistake.

``seal`` makes the envelope, without secrets; ``open_capture`` takes the reply out again.
"""

from __future__ import annotations

import json
import re
from collections.abc import Collection
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from fetchers.redact import clean_address, clean_json, clean_text
from fetchers.reply import Reply
from fetchers.request import Request
from fetchers.wire import Unusable, instant, load_json
from schema.errors import InputError, SourcePayloadInvalid
from schema.periods import format_instant

_REQUEST_LINE = re.compile(rb"(?:GET|POST|PUT|HEAD) \S+(?: HTTP/[\d.]+)?\r?(?:\n|$)")


@dataclass(frozen=True, slots=True)
class Capture:
    """The reply's own bytes, and when it was captured, where the envelope says so."""

    body: bytes
    captured_at: datetime | None = None


def open_capture(content: bytes, name: str) -> Capture:
    """Take a reply out of its file.

    A capture envelope is a JSON object with ``payload`` beside ``captured_at``, ``endpoint``,
    ``url`` or ``status``; a payload that is text (CSV, a page) stands for the bytes themselves.

    Raises:
        InputError: The file holds a request, or an envelope that cannot be read.
    """
    if _REQUEST_LINE.match(content):
        raise _request(name, "its first line is a request line")
    try:
        document = load_json(content, name)
    except SourcePayloadInvalid:
        # CSV, a page, broken JSON: the parser says what it thinks of it.
        return Capture(content)
    if not isinstance(document, dict):
        return Capture(content)
    if "payload" in document and not _ENVELOPE_MARKS.isdisjoint(document):
        capture = _unwrap(document, name)
        refuse_request(document["payload"], name)
        return capture
    refuse_request(document, name)
    return Capture(content)


ENVELOPE_VERSION = 1


def seal(
    request: Request, reply: Reply, captured_at: datetime, secrets: Collection[str] = ()
) -> bytes:
    """Put a reply into a capture envelope, for others to read.

    No header is kept and nothing of the request but method and address. Secrets are taken out of
    the address and of the reply; a reply that is no JSON is kept as text.

    Args:
        request: What was asked.
        reply: What came.
        captured_at: When it came.
        secrets: Exact texts that must not stand in the file.
    """
    try:
        payload = clean_json(load_json(reply.body, request.source), secrets)
    except (SourcePayloadInvalid, RecursionError):
        payload = clean_text(reply.body.decode("utf-8", errors="replace"), secrets)
    envelope = {
        "envelope_version": ENVELOPE_VERSION,
        "source": request.source,
        "endpoint": request.endpoint,
        "method": request.method,
        "url": clean_text(clean_address(request.full_url), secrets),
        "status": reply.status,
        "captured_at": format_instant(captured_at),
        "payload": payload,
    }
    return json.dumps(envelope, ensure_ascii=False, separators=(",", ":")).encode(
        "utf-8", errors="replace"
    )


_ENVELOPE_MARKS = frozenset({"captured_at", "endpoint", "envelope_version", "url", "status"})


def refuse_request(document: Any, name: str) -> None:
    """Say so when a document is what we send, not what a source answers.

    Raises:
        InputError: A Beckn action without ``on_``, or a method with an address.
    """
    if not isinstance(document, dict):
        return
    context = document.get("context")
    action = context.get("action") if isinstance(context, dict) else None
    if isinstance(action, str) and not action.startswith("on_"):
        raise _request(
            name, f"its action is {action[:40]!r}; the reply to it is 'on_{action[:40]}'"
        )
    if isinstance(document.get("method"), str) and isinstance(document.get("url"), str):
        raise _request(name, "it has a method and an address")


def _request(name: str, why: str) -> InputError:
    msg = f"{name} holds a request, not a reply: {why}. parse reads replies"
    return InputError(msg, file=name)


def _unwrap(document: dict[str, Any], name: str) -> Capture:
    payload = document["payload"]
    try:
        body = payload.encode() if isinstance(payload, str) else json.dumps(payload).encode()
    except (RecursionError, UnicodeEncodeError) as exc:
        msg = f"{name}: payload of the capture envelope cannot be read ({exc})"
        raise InputError(msg, file=name, field="payload") from None
    written = document.get("captured_at")
    if written is None:
        return Capture(body)
    try:
        return Capture(body, instant(written, "captured_at"))
    except Unusable as exc:
        raise InputError(f"{name}: {exc}", file=name, field="captured_at") from None
