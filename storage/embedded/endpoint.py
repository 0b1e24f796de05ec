"""Where a Supabase is and how to get in: the one value the rest of gridpact needs."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Literal, Self

from schema.errors import ConfigurationError
from storage.embedded.files import read_json, write_private_json

Mode = Literal["embedded", "hosted"]


@dataclass(frozen=True, slots=True)
class SupabaseEndpoint:
    """A Supabase, hosted or on this machine.

    Attributes:
        url: Base address of the API, without a slash at its end.
        publishable_key: For everyone; None when a hosted project's was not given.
        secret_key: The service role: passes row security. For the storage actor alone.
        database_url: PostgreSQL as its superuser (hosted: ``SUPABASE_DB_URL``, or None).
        mode: Whether we run it ourselves.
        state_file: Holds all of this, mode 0600. Hand actors this path, never the keys:
            actor arguments and the environment reach logs and every Ray worker.
    """

    url: str
    publishable_key: str | None
    secret_key: str
    database_url: str | None
    mode: Mode
    state_file: Path

    def __repr__(self) -> str:
        """Give the parts that are no secret."""
        return f"SupabaseEndpoint(url={self.url!r}, mode={self.mode!r}, keys=***)"

    def save(self) -> None:
        """Write ``state_file``."""
        write_private_json(
            self.state_file,
            {
                "url": self.url,
                "publishable_key": self.publishable_key,
                "secret_key": self.secret_key,
                "database_url": self.database_url,
                "mode": self.mode,
            },
        )

    @classmethod
    def load(cls, state_file: Path) -> Self:
        """Read what ``save`` wrote, in whichever process.

        Raises:
            ConfigurationError: The file is missing or damaged.
        """
        content = read_json(state_file)
        if content is None:
            msg = f"no Supabase is described in {state_file}; start it with `gridpact supabase up`"
            raise ConfigurationError(msg, path=str(state_file))
        url, secret, mode = content.get("url"), content.get("secret_key"), content.get("mode")
        if not isinstance(url, str) or not isinstance(secret, str):
            msg = f"{state_file} is damaged (url or secret_key is missing); delete it, start again"
            raise ConfigurationError(msg, path=str(state_file))
        return cls(
            url=url,
            publishable_key=_text_or_none(content.get("publishable_key")),
            secret_key=secret,
            database_url=_text_or_none(content.get("database_url")),
            mode="hosted" if mode == "hosted" else "embedded",
            state_file=state_file,
        )


def _text_or_none(value: object) -> str | None:
    return value if isinstance(value, str) else None
