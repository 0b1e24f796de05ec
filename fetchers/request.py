"""One request to a source, as a value: builders make it, a shell or a test transport sends it."""

from __future__ import annotations

from dataclasses import dataclass, field
from urllib.parse import urlencode

JSON_HEADERS = (("Accept", "application/json"),)
"""What every JSON source is asked for; the user agent is the shell's own."""


@dataclass(frozen=True, slots=True)
class Request:
    """What to ask a source.

    ``endpoint`` is the stable name used in ``api_logs``, by ``parse SOURCE ENDPOINT`` and by the
    replay transport. ``params`` are (name, value) pairs in order, because a name may repeat.
    """

    source: str
    endpoint: str
    url: str
    method: str = "GET"
    params: tuple[tuple[str, str], ...] = ()
    headers: tuple[tuple[str, str], ...] = field(default=JSON_HEADERS)
    body: bytes | None = None

    @property
    def full_url(self) -> str:
        """The address with its query, as it would stand in a log."""
        return f"{self.url}?{urlencode(self.params)}" if self.params else self.url
