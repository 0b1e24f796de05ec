"""One answer of a source, as a value: a shell or a test makes it, a plan reads it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from fetchers.request import Request

LONGEST_URL = 2000
LONGEST_VALIDATOR = 256
NOT_MODIFIED = 304


@dataclass(frozen=True, slots=True)
class Validators:
    """What a source calls the state of an answer, to be asked whether it still stands."""

    etag: str | None = None
    last_modified: str | None = None

    def headers(self) -> dict[str, str]:
        """Give the conditional headers."""
        pairs = (("If-None-Match", self.etag), ("If-Modified-Since", self.last_modified))
        return {name: value for name, value in pairs if value is not None}


@dataclass(frozen=True, slots=True)
class Reply:
    """An answer with status 2xx and its decoded body; header names are in small letters.

    Status 304 comes only where validators were sent along, and without a body.
    """

    status: int
    headers: Mapping[str, str]
    body: bytes
    url: str

    @property
    def unchanged(self) -> bool:
        """Say whether the answer held already still stands."""
        return self.status == NOT_MODIFIED

    @property
    def validators(self) -> Validators | None:
        """Give what this answer can be asked for by next time; None where the source gives none."""
        etag, modified = self.headers.get("etag"), self.headers.get("last-modified")
        if etag is None and modified is None:
            return None
        # They are sent back as they came: only what fits into a header line.
        for value in (etag or "", modified or ""):
            if len(value) > LONGEST_VALIDATOR or not (value.isascii() and value.isprintable()):
                return None
        return Validators(etag, modified)


def clean_url(request: Request) -> str:
    """Give the address for a log: cut to length, without user and password."""
    text = request.full_url
    scheme, separator, rest = text.partition("://")
    host, slash, path = rest.partition("/")
    if "@" in host:
        text = f"{scheme}{separator}{host.rpartition('@')[2]}{slash}{path}"
    return text[:LONGEST_URL]
