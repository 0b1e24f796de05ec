"""Our own signing key and the pinned keys of the providers we listen to, from one private file.

    [own]
    subscriber_id = "bap.example.org"
    key_id = "k1"
    private_key = "…"            # base64 of the 32-byte seed

    [[peers]]
    subscriber_id = "bpp.example.org"
    key_id = "k7"
    public_key = "…"             # base64 of the raw 32 bytes

Keys are pinned, never looked up: whoever is not in the file is not believed. The file holds a
secret, so nobody but its owner may read it; settings and actors only know its path.
"""

from __future__ import annotations

import base64
import binascii
import stat
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, ValidationError

from fetchers.beckn.signing import SEED_BYTES
from schema.errors import ConfigurationError

PUBLIC_BYTES = 32
#: A private key of 64 bytes is the seed, then the public key.
PRIVATE_BYTES = frozenset({SEED_BYTES, SEED_BYTES + PUBLIC_BYTES})
_OTHERS = stat.S_IRWXG | stat.S_IRWXO


@dataclass(frozen=True, slots=True)
class OwnKey:
    """What we sign with; the private key never shows in a log."""

    subscriber_id: str
    key_id: str
    private_key: str = field(repr=False)


@dataclass(frozen=True, slots=True)
class KeyRing:
    """All keys we know. Without peers nothing that arrives can be verified, or needs to be."""

    own: OwnKey | None = None
    peers: Mapping[tuple[str, str], str] = field(default_factory=dict)

    @property
    def verifies(self) -> bool:
        """Say whether messages must be signed to be taken."""
        return bool(self.peers)


def _base64_of(sizes: frozenset[int]) -> AfterValidator:
    def check(text: str) -> str:
        try:
            size = len(base64.b64decode(text, validate=True))
        except (binascii.Error, ValueError):
            size = -1
        if size not in sizes:
            wanted = " or ".join(map(str, sorted(sizes)))
            found = "no base64" if size < 0 else f"{size} bytes"
            msg = f"{found}; base64 of {wanted} bytes is needed"
            raise ValueError(msg)
        return text

    return AfterValidator(check)


#: A subscriber's name stands between bars in the signature's header.
_Named = Annotated[str, Field(min_length=1, max_length=256, pattern=r'^[^|"\s]+$')]


class _Strict(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, hide_input_in_errors=True)

    subscriber_id: _Named
    key_id: _Named


class _Own(_Strict):
    private_key: Annotated[str, _base64_of(PRIVATE_BYTES)]


class _Peer(_Strict):
    public_key: Annotated[str, _base64_of(frozenset({PUBLIC_BYTES}))]


class _File(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, hide_input_in_errors=True)

    own: _Own | None = None
    peers: tuple[_Peer, ...] = ()


def load_keys(path: Path) -> KeyRing:
    """Read a key file.

    Raises:
        ConfigurationError: It cannot be read, others may read it, or something in it is wrong.
            No key is shown.
    """
    try:
        mode = stat.S_IMODE(path.stat().st_mode)
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as exc:
        msg = f"the Beckn key file {path} cannot be read: {exc}; see GRIDPACT_BECKN_KEYS"
        raise ConfigurationError(msg, path=str(path)) from None
    if mode & _OTHERS:
        msg = f"others may read the Beckn key file {path} (mode {mode:04o}); run chmod 600 {path}"
        raise ConfigurationError(msg, path=str(path))
    try:
        found = _File.model_validate(tomllib.loads(text))
    except tomllib.TOMLDecodeError as exc:
        # The decoder's message quotes no value, only the place.
        msg = f"the Beckn key file {path} is no TOML: {exc}"
        raise ConfigurationError(msg, path=str(path)) from None
    except ValidationError as exc:
        faults = "; ".join(
            f"{'.'.join(map(str, one['loc']))}: {one['msg'].removeprefix('Value error, ')}"
            for one in exc.errors(include_input=False, include_url=False, include_context=False)
        )
        msg = f"the Beckn key file {path}: {faults}"
        raise ConfigurationError(msg, path=str(path)) from None
    own = None
    if found.own is not None:
        own = OwnKey(found.own.subscriber_id, found.own.key_id, found.own.private_key)
    return KeyRing(own, {(one.subscriber_id, one.key_id): one.public_key for one in found.peers})
