"""Reading wire values by hand: JSON, numbers, instants, and the bodies that say no.

Every reader takes the value and its name. It gives a checked value, ``None`` where the source
left it empty, or raises ``Unusable`` with the reason a ``Rejected`` row shows. Nothing here raises
anything else, whatever the bytes.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import orjson

from schema.errors import (
    SourceError,
    SourcePayloadInvalid,
    SourceRejected,
    SourceThrottled,
    SourceUnavailable,
)
from schema.periods import parse_instant

Json = Any
"""A decoded JSON value; narrowed by the readers below."""

KEPT_BYTES = 4096
"""How much of a bad reply an error carries."""
SHOWN_CHARS = 60
MESSAGE_CHARS = 500
FIRST_YEAR, LAST_YEAR = 2000, 2100
"""Instants outside are typing errors; arithmetic on them would overflow."""

_BOM = b"\xef\xbb\xbf"
_NUMBER = re.compile(r"[+-]?(?:\d+\.?\d*|\.\d+)(?:[eE][+-]?\d{1,3})?", re.ASCII)
_EMPTY_WORDS = frozenset({"", "na", "n/a", "null", "none"})
_ANSWERS = frozenset({"data", "result", "regionid"})
"""Keys that an answer has and an error body has not."""
_THROTTLED, _SERVER_FAULT, _LAST_STATUS = 429, 500, 599


class Unusable(ValueError):
    """One value or row that cannot be used; the text says what was found and what is allowed."""


@dataclass(frozen=True, slots=True)
class Refusal:
    """What a source said instead of an answer; ``status`` where the body names one."""

    message: str
    status: int | None = None


def describe(value: object) -> str:
    """Show a wire value in a reason: short, printable, never nested."""
    match value:
        case None:
            return "null"
        case bool():
            return str(value).lower()
        case Mapping():
            return "an object"
        case list() | tuple():
            return "a list"
    try:
        return _shorten(repr(value))
    except ValueError:  # an integer of more digits than Python writes
        return "a number of thousands of digits"


def _shorten(text: str, limit: int = SHOWN_CHARS) -> str:
    return text if len(text) <= limit else f"{text[: limit - 1]}…"


def strip_bom(body: bytes) -> bytes:
    """Give the body without byte order mark and white space around it."""
    return body.removeprefix(_BOM).strip()


def load_json(body: bytes, source: str) -> Json:
    """Decode a JSON reply.

    Tokens that JSON lacks but some servers write (``NaN``, ``Infinity``) become floats and are
    refused later in the row they stand in; of doubled keys the last counts. Nesting ends at
    about 1,000 levels.

    Raises:
        SourcePayloadInvalid: Empty, a page, truncated, too deep, or no JSON at all.
    """
    text = strip_bom(body)
    if not text:
        raise invalid(source, "the reply is empty; JSON was expected", body)
    if text.startswith(b"<"):
        raise invalid(source, f"the reply is a page, not JSON{_page_title(text)}", body)
    try:
        return orjson.loads(text)
    except (orjson.JSONDecodeError, RecursionError) as exc:
        strict = str(exc)
    try:
        return json.loads(text)
    except (ValueError, RecursionError):
        raise invalid(source, f"the reply is not JSON ({_shorten(strict, 120)})", body) from None


def _page_title(text: bytes) -> str:
    found = re.search(rb"<title[^>]*>([^<]{0,200})", text[:20_000], re.IGNORECASE)
    if found is None:
        return ""
    title = found.group(1).decode("utf-8", "replace").strip()
    return f" (its title: {_shorten(repr(title), 120)})"


def load_reply(body: bytes, source: str) -> Json:
    """Decode a JSON reply and raise what the source said if it is an error body.

    Raises:
        SourcePayloadInvalid: See ``load_json``.
        SourceRejected: The source refused the request; its message is kept.
        SourceThrottled: The body names status 429.
        SourceUnavailable: The body names a status of 500 or above.
    """
    payload = load_json(body, source)
    refused = refusal(payload)
    if refused is not None:
        raise refusal_error(source, refused)
    return payload


def refusal(payload: Json) -> Refusal | None:
    """Recognise the error bodies of the sources; ``None`` where the payload is none of them.

    Known forms: ``{"error": {"code", "message"}}`` (Carbon Intensity), ``{"success": false,
    "error": {...}}`` and a bare string (CKAN), problem details of RFC 9110 with ``title`` and
    ``errors`` (Elexon), and a gateway's ``{"message": ...}``.
    """
    if isinstance(payload, str):
        return Refusal(_message(payload))
    if not isinstance(payload, dict):
        return None
    error = payload.get("error")
    message = payload.get("message", payload.get("Message"))
    found: Refusal | None = None
    if isinstance(error, dict):
        found = Refusal(_error_message(error), _status(error.get("code")))
    elif isinstance(error, str) and error:
        found = Refusal(_message(error), _status(payload.get("status")))
    elif payload.get("success") is False:
        found = Refusal("the source says success: false and gives no reason")
    elif not _ANSWERS.isdisjoint(payload):
        pass
    elif isinstance(payload.get("title"), str) and ("status" in payload or "errors" in payload):
        found = Refusal(_problem_message(payload), _status(payload.get("status")))
    elif isinstance(message, str):
        found = Refusal(_message(message), _status(payload.get("statusCode")))
    return found


def refusal_error(source: str, refused: Refusal) -> SourceError:
    """Give the error for a refusal: whose fault it is follows from the status in the body."""
    status = refused.status
    text = f"{source} answered: {refused.message}"
    if status == _THROTTLED:
        return SourceThrottled(text, source=source, status=status)
    if status is not None and _SERVER_FAULT <= status <= _LAST_STATUS:
        return SourceUnavailable(text, source=source, status=status)
    return SourceRejected(text, source=source, status=status)


def describe_refusal(body: bytes, source: str) -> str:
    """Give the message in the body of a failed request, for a log; never raises."""
    try:
        refused = refusal(load_json(body, source))
    except SourcePayloadInvalid as exc:
        return exc.message
    return refused.message if refused is not None else "the body holds no error message"


def invalid(source: str, message: str, body: bytes = b"") -> SourcePayloadInvalid:
    """Make the error for a reply that is wholly something else."""
    return SourcePayloadInvalid(f"{source}: {message}", source=source, payload=body[:KEPT_BYTES])


def _message(text: str) -> str:
    # Logs and text columns take printable characters only.
    words = "".join(char if char.isprintable() else " " for char in text).split()
    return _shorten(" ".join(words), MESSAGE_CHARS) or "no message"


def _error_message(error: Mapping[str, Json]) -> str:
    message = error.get("message")
    kind = error.get("__type")
    parts = [_message(message)] if isinstance(message, str) else []
    parts += [
        f"{name}: {_message(_flat(value))}"
        for name, value in list(error.items())[:5]
        if name not in ("message", "__type", "code")
    ]
    text = "; ".join(parts) or "no message"
    return f"{text} ({kind})" if isinstance(kind, str) else text


def _problem_message(payload: Mapping[str, Json]) -> str:
    parts = [_message(payload["title"])]
    errors = payload.get("errors")
    if isinstance(errors, dict):
        # The field's name may be the empty string.
        parts += [
            f"{name}: {_message(_flat(value))}" if name else _message(_flat(value))
            for name, value in list(errors.items())[:5]
        ]
    detail = payload.get("detail")
    if isinstance(detail, str):
        parts.append(_message(detail))
    return " ".join(parts)


def _flat(value: Json) -> str:
    if isinstance(value, list):
        return " ".join(item if isinstance(item, str) else describe(item) for item in value[:5])
    return value if isinstance(value, str) else describe(value)


def _status(value: Json) -> int | None:
    # "400 Bad Request" in one source, 400 in another.
    if isinstance(value, bool):
        return None
    if isinstance(value, int):
        return value
    found = re.match(r"\d{3}\b", value, re.ASCII) if isinstance(value, str) else None
    return int(found.group()) if found else None


def obj(value: Json, name: str) -> dict[str, Json]:
    """Give a JSON object."""
    if not isinstance(value, dict):
        raise Unusable(f"{name} is {describe(value)}; an object is needed")
    return value


def array(value: Json, name: str) -> list[Json]:
    """Give a JSON array."""
    if not isinstance(value, list):
        raise Unusable(f"{name} is {describe(value)}; a list is needed")
    return value


def text(value: Json, name: str) -> str:
    """Give text that is not blank, without white space around it."""
    if not isinstance(value, str) or not value.strip():
        raise Unusable(f"{name} is {describe(value)}; text is needed")
    return value.strip()


def optional_text(value: Json, name: str) -> str | None:
    """Give text, or nothing where the source left it empty."""
    if value is None or (isinstance(value, str) and not value.strip()):
        return None
    return text(value, name)


def number(value: Json, name: str) -> float | None:
    """Give a finite number from a number or numeric text; nothing where it is empty.

    The same column comes as ``1069``, ``"1069"`` or blank, depending on a source's route.
    """
    if value is None:
        return None
    if isinstance(value, str):
        stripped = value.strip()
        if stripped.lower() in _EMPTY_WORDS:
            return None
        if not _NUMBER.fullmatch(stripped):
            raise Unusable(f"{name} is {describe(value)}; a number is needed")
        value = float(stripped)
    elif isinstance(value, bool) or not isinstance(value, int | float):
        raise Unusable(f"{name} is {describe(value)}; a number is needed")
    try:
        result = float(value)
    except OverflowError:
        result = math.inf
    if not math.isfinite(result):
        raise Unusable(f"{name} is {describe(value)}; a finite number is needed")
    return result


def required_number(value: Json, name: str) -> float:
    """Give a finite number that must be there."""
    result = number(value, name)
    if result is None:
        raise Unusable(f"{name} is {describe(value)}; a number is needed")
    return result


def integer(value: Json, name: str) -> int:
    """Give a whole number that must be there."""
    result = required_number(value, name)
    if not result.is_integer():
        raise Unusable(f"{name} is {describe(value)}; a whole number is needed")
    return int(result)


def instant(value: Json, name: str) -> datetime:
    """Give an aware UTC instant from ISO 8601 text with a zone; seconds may be missing."""
    if not isinstance(value, str):
        raise Unusable(f"{name} is {describe(value)}; an instant is needed")
    try:
        result = parse_instant(value)
    except (ValueError, OverflowError):
        raise Unusable(
            f"{name} is {describe(value)}; an ISO 8601 instant with a zone is needed, "
            "such as 2026-05-01T10:30Z"
        ) from None
    if not FIRST_YEAR <= result.year <= LAST_YEAR:
        raise Unusable(f"{name} is {describe(value)}; years {FIRST_YEAR} to {LAST_YEAR} are read")
    return result


def optional_instant(value: Json, name: str) -> datetime | None:
    """Give an instant, or nothing where the source left it empty."""
    if value is None or (isinstance(value, str) and not value.strip()):
        return None
    return instant(value, name)


def epoch_seconds(issued_at: datetime | None) -> int | None:
    """Give the version of a figure from its issue time: whole seconds since 1970."""
    return int(issued_at.timestamp()) if issued_at is not None else None
