"""Ray clusters that somebody else started: a process a node, on loopback, with a token."""

from __future__ import annotations

import os
import secrets
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from pathlib import Path

from process_kit import PASSED_ON, command_line

from agents.listeners import Listener, is_alive, listeners, process_tree

START_WITHIN_S = 60.0
END_WITHIN_S = 20.0

#: Ray's command refuses a second node where everything listens on loopback only, for it would be
#: of use on one machine alone. That is what these nodes are for, and the rest of Ray is content.
COMMAND = """
import types
import ray._private.ray_constants as constants
import ray.scripts.scripts as scripts
told = types.SimpleNamespace(**vars(constants))
told.ENABLE_RAY_CLUSTER = True
scripts.ray_constants = told
scripts.main()
"""


class RayNode:
    """A node started by ``ray start``, with a temporary folder of its own."""

    def __init__(self, arguments: Sequence[str], environment: Mapping[str, str]) -> None:
        # Ray's socket paths end at 107 bytes.
        self.folder = Path(tempfile.mkdtemp(prefix="gp-node-"))
        self.output = self.folder / "output"
        with self.output.open("wb") as output:
            self._process = subprocess.Popen(
                [
                    *(sys.executable, "-c", COMMAND, "start", "--block"),
                    *("--temp-dir", str(self.folder / "t"), "--num-cpus", "2"),
                    *("--object-store-memory", "200000000", "--include-log-monitor", "false"),
                    *("--dashboard-agent-listen-port", str(free_port())),
                    *arguments,
                ],
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                env=environment,
                start_new_session=True,
            )
        self._until_up()

    def _until_up(self) -> None:
        deadline = time.monotonic() + START_WITHIN_S
        while "Ray runtime started" not in (said := self.output.read_text(errors="replace")):
            assert self._process.poll() is None, said
            assert time.monotonic() < deadline, said
            time.sleep(0.1)

    @property
    def pids(self) -> set[int]:
        """Its processes: raylet, workers, helpers."""
        return process_tree(self._process.pid)

    @property
    def titles(self) -> set[str]:
        """Actors that run on it, by class; one that is at work bears its method's name too."""
        titles = {command_line(pid) for pid in self.pids}
        return {title.removeprefix("ray::") for title in titles if title.startswith("ray::")}

    @property
    def actors(self) -> set[str]:
        """Classes of the actors that run on it."""
        return {title.partition(".")[0] for title in self.titles}

    @property
    def listeners(self) -> list[Listener]:
        return listeners(self.pids)

    def kill(self) -> None:
        """Lose the node as in a power cut: all its processes at once."""
        gone = self.pids
        for pid in gone:
            _signal(pid, signal.SIGKILL)
        self._process.wait(END_WITHIN_S)

    def end(self) -> None:
        """End it in the ordinary way."""
        left = self.pids
        _signal(self._process.pid, signal.SIGTERM)
        try:
            self._process.wait(END_WITHIN_S)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait(END_WITHIN_S)
        deadline = time.monotonic() + END_WITHIN_S
        while any(map(is_alive, left)) and time.monotonic() < deadline:
            time.sleep(0.1)
        for pid in filter(is_alive, left):
            _signal(pid, signal.SIGKILL)
        shutil.rmtree(self.folder, ignore_errors=True)


class RayCluster:
    """A head, and the nodes that joined it.

    Args:
        home: State folder of gridpact; the cluster has the token that lies in it.
    """

    def __init__(self, home: Path) -> None:
        token = home / "ray" / "token"
        if not token.exists():
            token.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            token.write_text(secrets.token_hex(32))
            token.chmod(0o600)
        self.environment = {
            **{name: os.environ[name] for name in PASSED_ON if name in os.environ},
            "RAY_AUTH_MODE": "token",
            "RAY_AUTH_TOKEN_PATH": str(token),
            "RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER": "0",
            "RAY_USAGE_STATS_ENABLED": "0",
            "OMP_NUM_THREADS": "1",
        }
        port = free_port()
        self.address = f"127.0.0.1:{port}"
        self.head = RayNode(
            ["--head", "--port", str(port), "--include-dashboard", "false"], self.environment
        )
        self.nodes: list[RayNode] = []

    def join(self) -> RayNode:
        """Start one more node."""
        node = RayNode(["--address", self.address], self.environment)
        self.nodes.append(node)
        return node

    def end(self) -> None:
        for node in (*self.nodes, self.head):
            node.end()


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def _signal(pid: int, wish: signal.Signals) -> None:
    try:
        os.kill(pid, wish)
    except ProcessLookupError:
        return
