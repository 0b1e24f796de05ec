"""Ray's environment and the loopback check, without Ray."""

from __future__ import annotations

import os
import socket
import stat
import subprocess
import sys
from pathlib import Path

import pytest

from agents.listeners import (
    Listener,
    listeners,
    process_tree,
    require_answer,
    require_loopback,
)
from agents.ray_env import on_this_machine
from schema.errors import ConfigurationError, InputError

PREPARE = """
import os, sys
from pathlib import Path
from agents.ray_env import prepare
print(prepare(Path(sys.argv[1])))
print(os.environ["RAY_AUTH_MODE"], os.environ["RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER"])
print(os.environ["RAY_AUTH_TOKEN_PATH"])
print(os.environ["RAY_task_events_report_interval_ms"])
"""


def prepared(home: Path, **environment: str) -> subprocess.CompletedProcess[str]:
    clean = {key: value for key, value in os.environ.items() if not key.startswith("RAY_")}
    return subprocess.run(
        [sys.executable, "-c", PREPARE, str(home)],
        env={**clean, **environment},
        capture_output=True,
        text=True,
        check=False,
    )


def test_the_token_and_the_folder_of_ray_are_closed_to_others(tmp_path: Path) -> None:
    first, second = prepared(tmp_path), prepared(tmp_path)
    assert first.returncode == 0, first.stderr
    parent, modes, token, _ = first.stdout.splitlines()
    assert modes == "token 0"
    assert stat.S_IMODE(Path(parent).stat().st_mode) == 0o700
    assert stat.S_IMODE(Path(token).stat().st_mode) == 0o600
    assert len(Path(token).read_text()) == 64
    assert first.stdout == second.stdout
    Path(parent).rmdir()


def test_ray_keeps_no_log_of_calls_unless_somebody_wants_it(tmp_path: Path) -> None:
    assert prepared(tmp_path).stdout.splitlines()[3] == "0"
    wanted = prepared(tmp_path, RAY_task_events_report_interval_ms="1000")
    assert wanted.stdout.splitlines()[3] == "1000"


def test_any_other_authentication_mode_is_refused(tmp_path: Path) -> None:
    refused = prepared(tmp_path, RAY_AUTH_MODE="disabled")
    assert refused.returncode != 0
    assert "only 'token' is safe" in refused.stderr


def test_a_token_that_others_can_read_is_refused(tmp_path: Path) -> None:
    token = tmp_path / "ray" / "token"
    token.parent.mkdir(parents=True)
    token.write_text("x")
    token.chmod(0o644)
    refused = prepared(tmp_path)
    assert "chmod 600" in refused.stderr


@pytest.mark.parametrize(
    ("address", "loopback"),
    [
        ("127.0.0.1", True),
        ("::1", True),
        ("::ffff:127.0.0.1", True),
        ("0.0.0.0", False),
        ("::", False),
        ("192.168.1.5", False),
    ],
)
def test_only_loopback_addresses_pass(address: str, loopback: bool) -> None:
    assert Listener(1, "x", address, 80).loopback is loopback


@pytest.mark.skipif(not Path("/proc/net/tcp").exists(), reason="needs procfs")
def test_a_listener_on_every_interface_is_found_and_named() -> None:
    with socket.socket() as local, socket.socket() as wide:
        local.bind(("127.0.0.1", 0))
        local.listen()
        mine = {item.port for item in listeners([os.getpid()])}
        assert local.getsockname()[1] in mine
        assert require_loopback(os.getpid()) >= 1
        wide.bind(("0.0.0.0", 0))
        wide.listen()
        with pytest.raises(ConfigurationError, match=str(wide.getsockname()[1])):
            require_loopback(os.getpid())


@pytest.mark.skipif(not Path("/proc").exists(), reason="needs procfs")
def test_children_belong_to_the_tree() -> None:
    with subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE) as child:
        assert child.pid in process_tree(os.getpid())


@pytest.mark.parametrize(
    ("address", "loopback"),
    [
        (None, True),
        ("127.0.0.1:6379", True),
        ("localhost:6379", True),
        ("[::1]:6379", True),
        ("10.0.0.7:6379", False),
        ("head.example:6379", False),
        ("1.127.0.1:6379", False),
    ],
)
def test_only_a_loopback_address_keeps_everything_on_this_machine(
    address: str | None, loopback: bool
) -> None:
    assert on_this_machine(address) is loopback


@pytest.mark.parametrize("address", ["auto", "local", "ray://head:10001", "head:", ":6379", "head"])
def test_an_address_that_names_no_cluster_is_refused(address: str) -> None:
    with pytest.raises(InputError, match="host:port"):
        on_this_machine(address)


def test_an_address_where_nobody_listens_is_refused_at_once() -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        address = f"127.0.0.1:{taken.getsockname()[1]}"
        # Bound, and not listening.
        with pytest.raises(ConfigurationError, match=f"no Ray cluster answers at {address}"):
            require_answer(address)
        taken.listen()
        require_answer(address)
