"""Ray's environment, set before ``import ray`` reads it.

Facts behind each line: with the authentication mode unset a cluster may accept anyone; Ray
listens on every interface whatever host it is given, unless the (oddly named) single-machine
switch is off; its own temporary folders are open to all, so their parent is not.
"""

from __future__ import annotations

import hashlib
import os
import secrets
import stat
import sys
import tempfile
from pathlib import Path

from schema.errors import ConfigurationError, InputError

NAMESPACE = "gridpact"
_OWN_PARENT_MODE = 0o700
_TOKEN_MODE = 0o600


def prepare(home: Path, *, single_machine: bool = True) -> Path:
    """Set what Ray reads at import and give the folder for its temporary files.

    Args:
        home: The state folder; the token lies in it.
        single_machine: Bind every listener to loopback; off only to join other machines.

    Raises:
        ConfigurationError: Ray is imported already, or another authentication mode is set.
    """
    if "ray" in sys.modules:
        raise ConfigurationError(
            "ray was imported before its environment was set; call prepare() first"
        )
    mode = os.environ.get("RAY_AUTH_MODE", "token")
    if mode != "token":
        raise ConfigurationError(
            f"RAY_AUTH_MODE is {mode!r}: only 'token' is safe, because whoever reaches a Ray "
            "cluster without a token can run code on it; unset the variable"
        )
    os.environ["RAY_AUTH_MODE"] = "token"
    if "RAY_AUTH_TOKEN" not in os.environ:
        os.environ["RAY_AUTH_TOKEN_PATH"] = str(_token_file(home))
    if single_machine:
        os.environ["RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER"] = "0"
    os.environ["RAY_USAGE_STATS_ENABLED"] = "0"
    # Ray notes every call for its dashboard, 3 kB each, up to 100,000 of them: in a live run its
    # head would grow by some 300 MB.
    os.environ.setdefault("RAY_task_events_report_interval_ms", "0")
    # One thread a kernel call unless the market asks for more: actors times threads must not
    # outgrow the cores.
    os.environ.setdefault("OMP_NUM_THREADS", "1")
    os.environ.setdefault("RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO", "0")
    return _temp_parent(home)


def on_this_machine(address: str | None) -> bool:
    """Say whether a cluster is reached by loopback alone: our own, or one of a loopback address.

    Ray takes a loopback address for that of the network card unless its single-machine switch is
    off, and does not find a cluster that listens on loopback only.

    Args:
        address: ``host:port`` of a running cluster; None for one that is to be started here.

    Raises:
        InputError: It is neither; ``auto`` and ``ray://`` would not say which cluster is meant.
    """
    if address is None:
        return True
    host, _, port = address.rpartition(":")
    if not host or "/" in host or not port.isdecimal():
        raise InputError(
            f"--address {address!r}: host:port of the head's GCS is wanted, such as "
            "127.0.0.1:6379; ray start --head prints it",
            field="address",
            value=address,
        )
    return host in {"localhost", "[::1]"} or host.startswith("127.")


def _token_file(home: Path) -> Path:
    path = home / "ray" / "token"
    path.parent.mkdir(mode=_OWN_PARENT_MODE, parents=True, exist_ok=True)
    if not path.exists():
        handle = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, _TOKEN_MODE)
        with os.fdopen(handle, "w") as file:
            file.write(secrets.token_hex(32))
    if stat.S_IMODE(path.stat().st_mode) & 0o077:
        raise ConfigurationError(
            f"the Ray token {path} can be read by others; run: chmod 600 {path}", path=str(path)
        )
    return path


def _temp_parent(home: Path) -> Path:
    # Socket paths end at 107 bytes, so not below a home of any depth.
    short = hashlib.sha256(str(home).encode()).hexdigest()[:8]
    parent = Path(tempfile.gettempdir()) / f"gridpact-{os.getuid()}-{short}"
    parent.mkdir(mode=_OWN_PARENT_MODE, exist_ok=True)
    info = parent.stat()
    if info.st_uid != os.getuid():
        raise ConfigurationError(
            f"{parent} belongs to another user; remove it, or choose another GRIDPACT_HOME",
            path=str(parent),
        )
    if stat.S_IMODE(info.st_mode) & 0o077:
        parent.chmod(_OWN_PARENT_MODE)
    return parent
