"""Taking secrets out of what is kept of a source: addresses, JSON, text. Pure.

Names decide in addresses and JSON; in text, what a secret looks like, and the exact secrets of our
own settings. What is taken out leaves ``***`` in its place, so that the form of a reply stays.
"""

from __future__ import annotations

import re
from collections.abc import Collection
from urllib.parse import parse_qsl, quote, urlsplit, urlunsplit

from fetchers.wire import Json

HIDDEN = "***"

#: Last words of a name, in snake case, whose value nobody else may have.
_LAST_WORDS = frozenset(
    {
        "apikey",
        "authorization",
        "cookie",
        "credential",
        "credentials",
        "jwt",
        "passwd",
        "password",
        "pwd",
        "secret",
        "signature",
        "token",
    }
)
_PAIRS = frozenset({"api_key", "access_key", "private_key", "secret_key", "session_id"})
#: In an address short names are secrets too; in a document they are mostly something else.
_SHORT_IN_QUERY = frozenset({"key", "sig", "auth", "session", "code"})
#: Keys of Supabase, web tokens, bearer headers, Beckn signatures, passwords in addresses.
_LOOKS_SECRET = re.compile(
    r"sb_(?:secret|publishable)_[A-Za-z0-9_-]+"
    r"|eyJ[\w-]{8,}\.[\w-]{8,}\.[\w-]*"
    r"|(?<=Bearer )[^\s\"',;]+"
    r"|(?<=signature=\")[^\"]+"
    r"|(?<=://)[^/\s:@\"']+:[^/\s@\"']+(?=@)"
)
_QUERY_PART = re.compile(r"(?<=[?&])([\w.%-]{1,64})=([^&\s\"'<>#]+)")
_WORDS = re.compile(r"[A-Z]+(?![a-z])|[A-Z]?[a-z]+|\d+")


def is_secret_name(name: str, *, in_query: bool = False) -> bool:
    """Say whether a field of this name holds something nobody else may have.

    Spelling does not matter: ``accessToken``, ``X-Api-Key`` and ``beckn:access_token`` are found.
    """
    words = [word.lower() for word in _WORDS.findall(name)]
    if not words:
        return False
    last, pair = words[-1], "_".join(words[-2:])
    return last in _LAST_WORDS or pair in _PAIRS or (in_query and pair in _SHORT_IN_QUERY)


def clean_address(url: str) -> str:
    """Give an address without user, password and secret parameters."""
    parts = urlsplit(url)
    host = parts.netloc.rpartition("@")[2]
    pairs = parse_qsl(parts.query, keep_blank_values=True)
    query = "&".join(
        f"{quote(name)}={HIDDEN if is_secret_name(name, in_query=True) else quote(value)}"
        for name, value in pairs
    )
    return urlunsplit((parts.scheme, host, parts.path, query, ""))


def clean_text(text: str, secrets: Collection[str] = ()) -> str:
    """Give a text without our own secrets, and without what looks like anybody's.

    Args:
        text: Any text.
        secrets: Exact texts; the longest are taken out first, should one hold another.
    """
    for secret in sorted(filter(None, secrets), key=len, reverse=True):
        text = text.replace(secret, HIDDEN)
    text = _LOOKS_SECRET.sub(HIDDEN, text)
    return _QUERY_PART.sub(
        lambda m: f"{m[1]}={HIDDEN}" if is_secret_name(m[1], in_query=True) else m[0], text
    )


def clean_json(document: Json, secrets: Collection[str] = ()) -> Json:
    """Give a document without secrets; its form, order and all other values are as they were."""
    match document:
        case str():
            return clean_text(document, secrets)
        case list():
            return [clean_json(item, secrets) for item in document]
        case dict():
            return {
                name: HIDDEN
                if is_secret_name(name) and isinstance(value, str | int | float)
                else clean_json(value, secrets)
                for name, value in document.items()
            }
        case _:
            return document
