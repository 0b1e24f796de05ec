"""One answer of a source, as a value: a shell or a test makes it, a plan reads it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from fetchers.request import Request

LONGEST_URL = 2000


@dataclass(frozen=True, slots=True)
class Reply:
    """An answer with status 2xx and its decoded body; header names are in small letters."""

    status: int
    headers: Mapping[str, str]
    body: bytes
    url: str


def clean_url(request: Request) -> str:
    """Give the address for a log: cut to length, without user and password."""
    text = request.full_url
    scheme, separator, rest = text.partition("://")
    host, slash, path = rest.partition("/")
    if "@" in host:
        text = f"{scheme}{separator}{host.rpartition('@')[2]}{slash}{path}"
    return text[:LONGEST_URL]
