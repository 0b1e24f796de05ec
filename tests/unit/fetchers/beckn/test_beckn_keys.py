"""The key file: private, whole, and never shown."""

from __future__ import annotations

from pathlib import Path

import pytest
from callback_kit import BPP_PRIVATE, BPP_PUBLIC, OWN_PRIVATE

from fetchers.beckn.keys import KeyRing, load_keys
from schema.errors import ConfigurationError

OWN = f'[own]\nsubscriber_id = "bap.example"\nkey_id = "k1"\nprivate_key = "{OWN_PRIVATE}"\n'
PEER = f'[[peers]]\nsubscriber_id = "grid.example"\nkey_id = "k7"\npublic_key = "{BPP_PUBLIC}"\n'


def write(folder: Path, text: str, mode: int = 0o600) -> Path:
    path = folder / "keys.toml"
    path.write_text(text)
    path.chmod(mode)
    return path


def test_keys_come_from_a_private_file_and_do_not_show(tmp_path: Path) -> None:
    keys = load_keys(write(tmp_path, OWN + PEER))
    assert keys.own is not None
    assert (keys.own.subscriber_id, keys.own.private_key) == ("bap.example", OWN_PRIVATE)
    assert keys.peers == {("grid.example", "k7"): BPP_PUBLIC}
    assert keys.verifies
    assert OWN_PRIVATE not in repr(keys)


def test_an_empty_file_signs_nothing_and_verifies_nothing(tmp_path: Path) -> None:
    assert load_keys(write(tmp_path, "")) == KeyRing()
    assert not load_keys(write(tmp_path, OWN)).verifies


@pytest.mark.parametrize("mode", [0o640, 0o604, 0o644])
def test_a_file_that_others_may_read_is_refused(tmp_path: Path, mode: int) -> None:
    with pytest.raises(ConfigurationError, match="chmod 600"):
        load_keys(write(tmp_path, OWN, mode))


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("[own", "is no TOML"),
        (OWN.replace("key_id", "keyid"), r"own\.key_id: Field required"),
        (OWN.replace(OWN_PRIVATE, "c2hvcnQ="), r"own\.private_key: 5 bytes; base64 of 32 or 64"),
        (OWN.replace(OWN_PRIVATE, "not base64"), r"own\.private_key: no base64"),
        (PEER.replace(BPP_PUBLIC, "c2hvcnQ="), r"peers\.0\.public_key: 5 bytes; base64 of 32"),
        (PEER.replace("grid.example", "a|b"), r"peers\.0\.subscriber_id"),
        (OWN + 'password = "secret-canary"\n', r"own\.password: Extra inputs"),
    ],
    ids=["toml", "missing", "short", "no-base64", "peer", "bar", "extra"],
)
def test_what_is_wrong_is_named_and_no_key_is_shown(tmp_path: Path, text: str, told: str) -> None:
    with pytest.raises(ConfigurationError, match=told) as caught:
        load_keys(write(tmp_path, text))
    shown = f"{caught.value} {caught.value.details}"
    assert not any(key in shown for key in (OWN_PRIVATE, BPP_PRIVATE, "secret-canary"))


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match=r"no\.toml cannot be read"):
        load_keys(tmp_path / "no.toml")
