"""The parts of the embedded Supabase that need no process of it."""

from __future__ import annotations

import os
import pickle
import re
from pathlib import Path

import pytest

from schema.errors import ConfigurationError
from storage.embedded import node as node_module
from storage.embedded import processes
from storage.embedded.account import ServiceAccount, can_reach
from storage.embedded.endpoint import SupabaseEndpoint
from storage.embedded.files import read_json, write_private_json
from storage.embedded.install import lock_hash
from storage.embedded.layout import (
    Holder,
    InstanceHeld,
    InstanceLock,
    Layout,
    make_folder,
    read_holder,
)
from storage.embedded.node import find_node
from storage.embedded.restarts import Backoff
from storage.embedded.state import InstanceState
from storage.embedded.status import mask_key, mask_password


def fake_node(folder: Path, version: str, *, npm: bool = True) -> Path:
    """Make a program that answers ``--version``, laid out as Node is installed."""
    (folder / "bin").mkdir(parents=True)
    program = folder / "bin" / "node"
    program.write_text(f"#!/bin/sh\necho {version}\n")
    program.chmod(0o755)
    if npm:
        cli = folder / "lib" / "node_modules" / "npm" / "bin" / "npm-cli.js"
        cli.parent.mkdir(parents=True)
        cli.write_text("")
    return folder


class TestNode:
    """Which Node is taken."""

    def test_the_one_on_path_when_it_is_new_enough(self, tmp_path: Path) -> None:
        own = fake_node(tmp_path / "own", "v20.19.0")
        wheel = fake_node(tmp_path / "wheel", "v24.19.0")
        found = find_node({"PATH": str(own / "bin")}, wheel)
        assert found.binary == own / "bin" / "node"
        assert found.version == (20, 19, 0)
        assert found.npm_cli == own / "lib/node_modules/npm/bin/npm-cli.js"

    def test_the_wheels_when_the_one_on_path_is_too_old(self, tmp_path: Path) -> None:
        own = fake_node(tmp_path / "own", "v20.18.9")
        wheel = fake_node(tmp_path / "wheel", "v24.19.0")
        assert find_node({"PATH": str(own / "bin")}, wheel).binary == wheel / "bin" / "node"

    def test_the_wheels_when_the_one_on_path_has_no_npm(self, tmp_path: Path) -> None:
        own = fake_node(tmp_path / "own", "v22.0.0", npm=False)
        wheel = fake_node(tmp_path / "wheel", "v24.19.0")
        assert find_node({"PATH": str(own / "bin")}, wheel).binary == wheel / "bin" / "node"

    def test_one_without_npm_is_better_than_none(self, tmp_path: Path) -> None:
        own = fake_node(tmp_path / "own", "v22.0.0", npm=False)
        found = find_node({"PATH": str(own / "bin")}, tmp_path / "no-wheel")
        assert found.npm_cli is None

    def test_none_at_all_says_what_to_do(self, tmp_path: Path) -> None:
        with pytest.raises(
            ConfigurationError, match=r"none found on PATH.*pip install 'gridpact\[node\]'"
        ):
            find_node({"PATH": str(tmp_path)}, tmp_path / "no-wheel")

    def test_one_that_does_not_fit_is_named(self, tmp_path: Path) -> None:
        own = fake_node(tmp_path / "own", "v18.20.4")
        with pytest.raises(ConfigurationError, match=r"own/bin/node is 18\.20\.4"):
            find_node({"PATH": str(own / "bin")}, tmp_path / "no-wheel")

    def test_without_the_wheel_only_path_counts(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(node_module.importlib.util, "find_spec", lambda _name: None)
        with pytest.raises(ConfigurationError):
            find_node({"PATH": str(tmp_path)})


class TestState:
    """Ports, passwords and keys."""

    def test_keys_have_supabases_shapes(self) -> None:
        state = InstanceState.make()
        assert re.fullmatch(r"sb_publishable_[\w-]{22}_[\w-]{8}", state.publishable_key)
        assert re.fullmatch(r"sb_secret_[\w-]{22}_[\w-]{8}", state.secret_key)
        assert state.postgres_port != state.api_port

    def test_it_survives_a_round_trip_and_is_for_us_alone(self, tmp_path: Path) -> None:
        state = InstanceState.make()
        state.save(tmp_path / "state.json")
        assert InstanceState.load(tmp_path / "state.json") == state
        assert (tmp_path / "state.json").stat().st_mode & 0o777 == 0o600
        assert list(tmp_path.iterdir()) == [tmp_path / "state.json"]

    @pytest.mark.parametrize("text", ["", "[]", '{"instance": "a"}', "{"])
    def test_a_damaged_file_is_named(self, tmp_path: Path, text: str) -> None:
        (tmp_path / "state.json").write_text(text)
        with pytest.raises(ConfigurationError, match=r"state\.json is damaged"):
            InstanceState.load(tmp_path / "state.json")

    def test_the_api_does_not_log_in_as_the_superuser(self) -> None:
        state = InstanceState.make()
        assert state.database_url("x") == (
            f"postgresql://postgres:{state.postgres_password}@127.0.0.1:{state.postgres_port}/x"
        )
        assert state.api_database_url() == (
            f"postgresql://authenticator:{state.api_password}@127.0.0.1:{state.postgres_port}"
            "/postgres"
        )

    def test_an_endpoint_without_optional_parts_survives_its_file(self, tmp_path: Path) -> None:
        path = tmp_path / "e.json"
        endpoint = SupabaseEndpoint("https://x.example", None, "k", None, "hosted", path)
        endpoint.save()
        assert SupabaseEndpoint.load(path) == endpoint

    def test_a_missing_endpoint_says_how_to_start_one(self, tmp_path: Path) -> None:
        with pytest.raises(ConfigurationError, match="gridpact supabase up"):
            SupabaseEndpoint.load(tmp_path / "none.json")


class TestLock:
    """One supervisor a home."""

    def test_it_says_who_holds_it_while_it_is_held(self, tmp_path: Path) -> None:
        layout = Layout.of(tmp_path)
        make_folder(layout)
        assert read_holder(layout) is None
        lock, holder = InstanceLock(layout), Holder(os.getpid(), True, "a command", "noon")
        lock.take(holder)
        assert read_holder(layout) == holder
        with pytest.raises(InstanceHeld, match=rf"pid {os.getpid()} \(a command, since noon\)"):
            InstanceLock(layout).take(holder)
        lock.release()
        assert read_holder(layout) is None

    def test_its_error_survives_a_trip_between_processes(self) -> None:
        again = pickle.loads(pickle.dumps(InstanceHeld("held", pid=5)))
        assert (type(again), str(again), again.details) == (InstanceHeld, "held", {"pid": 5})
        assert again.retryable


def test_backoff_doubles_to_a_limit_and_resets_after_a_steady_time() -> None:
    backoff = Backoff()
    waits = [backoff.next_delay_s(uptime_s=1.0) for _ in range(8)]
    assert waits == [0.2, 0.4, 0.8, 1.6, 3.2, 6.4, 10.0, 10.0]
    assert backoff.next_delay_s(uptime_s=29.9) == 10.0
    assert backoff.next_delay_s(uptime_s=30.0) == 0.2
    assert backoff.next_delay_s(uptime_s=0.0) == 0.4


@pytest.mark.parametrize(
    ("key", "shown"),
    [
        ("sb_secret_abc_def", "sb_secret_***"),
        ("sb_publishable_abc_def", "sb_publishable_***"),
        ("eyJhbGciOi.x.y", "***"),
        (None, None),
    ],
)
def test_keys_are_masked_to_their_kind(key: str | None, shown: str | None) -> None:
    assert mask_key(key) == shown


@pytest.mark.parametrize(
    ("url", "shown"),
    [
        ("postgresql://postgres:s-e_c@127.0.0.1:5/x", "postgresql://postgres:***@127.0.0.1:5/x"),
        (
            "postgresql://postgres.ref:a:b@db.example/x",
            "postgresql://postgres.ref:***@db.example/x",
        ),
        ("postgresql://127.0.0.1/x", "postgresql://127.0.0.1/x"),
        (None, None),
    ],
)
def test_passwords_of_urls_are_masked(url: str | None, shown: str | None) -> None:
    assert mask_password(url) == shown


def test_another_user_needs_every_folder_on_the_way(tmp_path: Path) -> None:
    stranger = ServiceAccount("nobody", 60_001, 60_001)
    program = tmp_path / "open" / "program"
    program.parent.mkdir()
    program.write_text("")
    program.chmod(0o755)
    # pytest's folders are for their maker alone.
    assert not can_reach(program, stranger)
    assert can_reach(program, None)
    assert can_reach(Path("/usr/bin/env"), stranger)


def test_a_long_log_is_cut_and_its_text_kept_once(tmp_path: Path) -> None:
    log = tmp_path / "api.log"
    with log.open("ab") as writer:
        writer.write(b"x" * 10_000_001)
        writer.flush()
        processes.rotate(log)
        assert log.stat().st_size == 0
        writer.write(b"after")
        writer.flush()
    assert log.read_bytes() == b"after"
    assert (tmp_path / "api.log.1").stat().st_size == 10_000_001


def test_a_program_is_given_no_secret_of_ours(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SUPABASE_KEY", "canary")
    assert "canary" not in processes.plain_environment(A="1").values()


def test_a_file_is_replaced_whole_or_not_at_all(tmp_path: Path) -> None:
    path = tmp_path / "a.json"
    write_private_json(path, {"a": 1})
    with pytest.raises(TypeError):
        write_private_json(path, {"a": object()})
    assert read_json(path) == {"a": 1}
    assert list(tmp_path.iterdir()) == [path]


def test_the_programs_folder_is_named_by_the_lock() -> None:
    assert re.fullmatch(r"[0-9a-f]{16}", lock_hash())
