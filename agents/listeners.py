"""Which addresses the processes of this program listen on; loopback is all that is allowed.

Read from ``/proc``; on systems without it the check says that it could not look.
"""

from __future__ import annotations

import socket
import struct
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from schema.errors import ConfigurationError

_LISTEN = "0A"
_IPV4_HEX = 8


@dataclass(frozen=True, slots=True)
class Listener:
    """One listening TCP socket of a process."""

    pid: int
    command: str
    address: str
    port: int

    @property
    def loopback(self) -> bool:
        """Say whether only this machine can reach it."""
        return self.address.startswith("127.") or self.address in {"::1", "::ffff:127.0.0.1"}


def process_tree(root: int) -> set[int]:
    """Give a process and all its descendants that live now."""
    parents: dict[int, int] = {}
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            try:
                text = (entry / "stat").read_text()
            except OSError:
                continue  # it ended while we looked
            parents[int(entry.name)] = int(text.rpartition(")")[2].split()[1])
    tree = {root}
    grown = True
    while grown:
        found = {pid for pid, parent in parents.items() if parent in tree} - tree
        tree |= found
        grown = bool(found)
    return tree


def family(root: int, mark: str) -> set[int]:
    """Give the descendants of a process whose command line holds a mark, and theirs."""
    if not Path("/proc/self").exists():
        return set()
    marked = {pid for pid in process_tree(root) - {root} if mark in command_line(pid)}
    return set().union(*(process_tree(pid) for pid in marked))


def writers(folder: str) -> set[int]:
    """Give the processes whose standard output is a file below a folder.

    Ray's workers have nothing else left to be known by once their raylet is dead: it was their
    parent, and the title they give themselves covers their command line.
    """
    found = set()
    for entry in Path("/proc").glob("[0-9]*"):
        try:
            output = str((entry / "fd" / "1").readlink())
        except OSError:
            continue  # it ended while we looked, or is another user's
        if output.startswith(folder.rstrip("/") + "/"):
            found.add(int(entry.name))
    return found


def is_alive(pid: int) -> bool:
    """Say whether a process runs; one that ended and waits to be reaped does not."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] not in "ZX"
    except OSError:
        return False


def command_line(pid: int) -> str:
    """Give the command line of a process, NUL between its parts; empty for one that has ended."""
    try:
        return Path(f"/proc/{pid}/cmdline").read_bytes().decode(errors="replace")
    except OSError:
        return ""


def listeners(pids: Iterable[int]) -> list[Listener]:
    """Give the listening TCP sockets of some processes."""
    sockets = _listening_inodes()
    found: list[Listener] = []
    for pid in sorted(pids):
        try:
            command = Path(f"/proc/{pid}/comm").read_text().strip()
            handles = list(Path(f"/proc/{pid}/fd").iterdir())
        except OSError:
            continue
        for handle in handles:
            try:
                target = str(handle.readlink())
            except OSError:
                continue
            if target.startswith("socket:[") and (place := sockets.get(target[8:-1])):
                found.append(Listener(pid, command, *place))
    return found


def require_loopback(root: int) -> int:
    """Count the listeners of a process tree; refuse any that others could reach.

    Raises:
        ConfigurationError: Some process listens beyond loopback; names it.
    """
    if not Path("/proc/net/tcp").exists():
        return 0
    found = listeners(process_tree(root))
    beyond = [item for item in found if not item.loopback]
    if beyond:
        first = beyond[0]
        raise ConfigurationError(
            f"{first.command} (process {first.pid}) listens on {first.address}:{first.port}; "
            f"only loopback is allowed ({len(beyond)} such listeners). "
            "Check that RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER=0 was set before ray was imported"
        )
    return len(found)


def require_answer(address: str, *, within_s: float = 5.0) -> None:
    """See that somebody listens at ``host:port``; Ray alone would try for minutes.

    Raises:
        ConfigurationError: Nobody does, or there is no way to the host.
    """
    host, _, port = address.rpartition(":")
    try:
        socket.create_connection((host.strip("[]"), int(port)), timeout=within_s).close()
    except OSError as exc:
        raise ConfigurationError(
            f"no Ray cluster answers at {address}: {exc}. Start one there with ray start --head, "
            "or leave --address out to have one of this program's own",
            field="address",
            value=address,
        ) from exc


def _listening_inodes() -> dict[str, tuple[str, int]]:
    inodes: dict[str, tuple[str, int]] = {}
    for name in ("tcp", "tcp6"):
        path = Path("/proc/net") / name
        if not path.exists():
            continue
        for line in path.read_text().splitlines()[1:]:
            fields = line.split()
            if fields[3] == _LISTEN:
                address, port = fields[1].split(":")
                inodes[fields[9]] = (_address(address), int(port, 16))
    return inodes


def _address(text: str) -> str:
    if len(text) == _IPV4_HEX:
        return socket.inet_ntop(socket.AF_INET, struct.pack("<I", int(text, 16)))
    words = struct.pack("<4I", *(int(text[i : i + 8], 16) for i in range(0, 32, 8)))
    return socket.inet_ntop(socket.AF_INET6, words)
