"""One plain request to a Supabase: does it answer, does it take our key, what time has it."""

from __future__ import annotations

import time
from dataclasses import dataclass
from datetime import datetime
from email.utils import parsedate_to_datetime
from http import HTTPStatus

import httpx

from schema.errors import ConfigurationError, StorageUnavailable

PROBE_TIMEOUT_S = 10.0
_LONGEST_TEXT = 200


@dataclass(frozen=True, slots=True)
class ProbeAnswer:
    """What the API's front page said.

    Attributes:
        status: HTTP status.
        server_time: Its ``Date``; None where it gives none.
        seconds: How long it took.
        said: The beginning of a refusal.
    """

    status: int
    server_time: datetime | None
    seconds: float
    said: str = ""

    @property
    def key_refused(self) -> bool:
        """Say whether the key is wrong, or of a kind that may not look around."""
        return self.status in {HTTPStatus.UNAUTHORIZED, HTTPStatus.FORBIDDEN}


async def probe_supabase(
    url: str, key: str, transport: httpx.AsyncBaseTransport | None = None
) -> ProbeAnswer:
    """Ask the API's front page with a key.

    Raises:
        StorageUnavailable: It cannot be reached, or fails.
        ConfigurationError: The address is none.
    """
    host = httpx.URL(url).host if "://" in url else ""
    started = time.monotonic()
    try:
        async with httpx.AsyncClient(
            transport=transport,
            timeout=PROBE_TIMEOUT_S,
            # A proxy of the environment is for the world, never for this machine.
            trust_env=host not in {"127.0.0.1", "localhost", "::1"},
        ) as client:
            answer = await client.get(f"{url.rstrip('/')}/rest/v1/", headers={"apikey": key})
    except (httpx.InvalidURL, httpx.UnsupportedProtocol) as exc:
        msg = f"SUPABASE_URL {url!r} is no address ({exc}); it looks like https://….supabase.co"
        raise ConfigurationError(msg, setting="SUPABASE_URL") from exc
    except httpx.HTTPError as exc:
        msg = f"{url} cannot be reached ({type(exc).__name__}: {exc})"
        raise StorageUnavailable(msg) from exc
    if answer.is_server_error:
        msg = f"{url} answered {answer.status_code}: {answer.text[:_LONGEST_TEXT]}"
        raise StorageUnavailable(msg)
    return ProbeAnswer(
        answer.status_code,
        server_time(answer.headers.get("date")),
        time.monotonic() - started,
        "" if answer.is_success else answer.text[:_LONGEST_TEXT],
    )


def server_time(header: str | None) -> datetime | None:
    """Read a ``Date`` header; None where there is none or it cannot be read."""
    if header is None:
        return None
    try:
        moment = parsedate_to_datetime(header)
    except ValueError:
        return None
    return moment if moment.tzinfo is not None else None
