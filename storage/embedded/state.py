"""What one embedded Supabase keeps for life: its ports, passwords and keys.

They are made once and survive restarts, so that a URL and a key that a person has copied stay
good. The shapes of the keys are Supabase's own.
"""

from __future__ import annotations

import secrets
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Self

from schema.errors import ConfigurationError
from storage.embedded.endpoint import SupabaseEndpoint
from storage.embedded.files import read_json, write_private_json
from storage.embedded.processes import free_port

API_ROLE = "authenticator"
"""The API's login; hosted Supabase has a role of this name. No superuser."""


@dataclass(frozen=True, slots=True)
class InstanceState:
    """One embedded Supabase; ``instance`` also lies in its data folder and in ``/healthz``."""

    instance: str
    postgres_port: int
    api_port: int
    postgres_password: str = field(repr=False)
    api_password: str = field(repr=False)
    jwt_secret: str = field(repr=False)
    publishable_key: str = field(repr=False)
    secret_key: str = field(repr=False)

    @classmethod
    def make(cls) -> Self:
        """Make a new one: fresh passwords and keys, two free ports."""
        return cls(
            instance=secrets.token_hex(16),
            postgres_port=free_port(),
            api_port=free_port(),
            postgres_password=secrets.token_urlsafe(24),
            api_password=secrets.token_urlsafe(24),
            jwt_secret=secrets.token_urlsafe(48),
            publishable_key=f"sb_publishable_{_key()}",
            secret_key=f"sb_secret_{_key()}",
        )

    @classmethod
    def load(cls, path: Path) -> Self | None:
        """Read it; None when there is none.

        Raises:
            ConfigurationError: The file is damaged.
        """
        content = read_json(path)
        if content is None:
            return None
        texts: dict[str, str] = {}
        ports: dict[str, int] = {}
        for name in cls.__dataclass_fields__:
            value = content.get(name)
            if name.endswith("_port") and isinstance(value, int):
                ports[name] = value
            elif isinstance(value, str) and value:
                texts[name] = value
            else:
                msg = f"{path} is damaged: {name} is missing; restore it, or delete it to start new"
                raise ConfigurationError(msg, path=str(path), field=name)
        return cls(**ports, **texts)  # type: ignore[arg-type]  # every field was checked above

    def save(self, path: Path) -> None:
        """Write it, mode 0600."""
        write_private_json(path, asdict(self))

    def with_ports(self, *, postgres: int | None = None, api: int | None = None) -> Self:
        """Give the same with other ports."""
        return replace(
            self,
            postgres_port=postgres or self.postgres_port,
            api_port=api or self.api_port,
        )

    def with_new_keys(self) -> Self:
        """Give the same with other keys and another token secret: whoever had the old is out."""
        fresh = type(self).make()
        return replace(
            self,
            jwt_secret=fresh.jwt_secret,
            publishable_key=fresh.publishable_key,
            secret_key=fresh.secret_key,
        )

    def database_url(self, database: str = "postgres") -> str:
        """Give the superuser's URL."""
        return self._url("postgres", self.postgres_password, database)

    def api_database_url(self) -> str:
        """Give the URL the API logs in with."""
        return self._url(API_ROLE, self.api_password, "postgres")

    def endpoint(self, state_file: Path) -> SupabaseEndpoint:
        """Give what callers need of it."""
        return SupabaseEndpoint(
            url=f"http://127.0.0.1:{self.api_port}",
            publishable_key=self.publishable_key,
            secret_key=self.secret_key,
            database_url=self.database_url(),
            mode="embedded",
            state_file=state_file,
        )

    def _url(self, role: str, password: str, database: str) -> str:
        # token_urlsafe needs no quoting in a URL.
        return f"postgresql://{role}:{password}@127.0.0.1:{self.postgres_port}/{database}"


def _key() -> str:
    # 22 and 8 characters of url-safe base64.
    return f"{secrets.token_urlsafe(17)[:22]}_{secrets.token_urlsafe(6)}"
