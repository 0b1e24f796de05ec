"""How we take part in a Beckn network: who we are, where we are called back, with which keys."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

from fetchers.beckn.endpoints import BecknParty
from schema.settings import Settings


@dataclass(frozen=True, slots=True)
class BecknOptions:
    """Goes to the fetcher's actor as it is: names and paths, no secret.

    Attributes:
        party: Our test identity; a key file's own name goes before it.
        callback_port: Port of our callback address on 127.0.0.1; 0 is any free one, None none.
        callback_url: What providers call it, where it is reached through something else.
        keys: File of signing keys; see ``keys.load_keys``.
    """

    party: BecknParty = field(default_factory=BecknParty)
    callback_port: int | None = None
    callback_url: str | None = None
    keys: Path | None = None

    @classmethod
    def of(cls, settings: Settings) -> BecknOptions:
        """Take them from the settings; an actor may have another working folder."""
        keys = settings.beckn_keys
        return cls(
            callback_port=settings.beckn_callback_port,
            callback_url=settings.beckn_callback_url,
            keys=keys.expanduser().resolve() if keys is not None else None,
        )
