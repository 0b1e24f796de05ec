"""The Supabase advisor's lints, run offline by Supabase's own command line.

That program is installed from npm on first use, into a folder named by its lock: it is 135 MB
and nothing but this needs it.
"""

from __future__ import annotations

import fcntl
import os
import platform
import shutil
import subprocess
import sys
import tempfile
from hashlib import sha256
from pathlib import Path
from typing import NamedTuple
from urllib.parse import quote, urlencode

import orjson
from psycopg.conninfo import conninfo_to_dict

from schema.errors import ConfigurationError, StorageError, StorageUnavailable
from storage.embedded.node import find_node
from storage.embedded.processes import Progress, silent

_HERE = Path(__file__).resolve().parent
_MANIFESTS = (_HERE / "package.json", _HERE / "package-lock.json")
_INSTALL_TIMEOUT_S = 600
_RUN_TIMEOUT_S = 120
_SECRET_PREFIXES = ("SUPABASE_", "GRIDPACT_", "RAY_", "PG")
_PLATFORM = ("linux", "x86_64")
"""The one the lock holds; elsewhere a ``supabase`` on ``PATH`` serves."""
_PACKAGE = Path("node_modules", "@supabase", "cli-linux-x64", "bin", "supabase")


class Finding(NamedTuple):
    """One thing a lint objects to.

    Attributes:
        level: ERROR, WARN or INFO.
        lint: Name of the lint.
        detail: What it found, with the name of the object.
        remedy: What to do, or where it is written.
    """

    level: str
    lint: str
    detail: str
    remedy: str

    @property
    def fails(self) -> bool:
        """Say whether it must be mended."""
        return self.level != "INFO"


def install_advisor(packages: Path, progress: Progress = silent) -> Path:
    """Give the program, installed if need be.

    Args:
        packages: Holds one folder a lock; made if needed.
        progress: Told before the slow step.

    Raises:
        ConfigurationError: No Node, or no such program on this platform.
        StorageUnavailable: npm failed, as it does without a network.
    """
    digest = sha256(b"\0".join(path.read_bytes() for path in _MANIFESTS)).hexdigest()[:16]
    folder = packages / f"advisor-{digest}"
    program = folder / _PACKAGE
    if program.is_file():
        return program
    machine = platform.machine().lower().replace("amd64", "x86_64")
    if (sys.platform, machine) != _PLATFORM:
        found = shutil.which("supabase")
        if found is not None:
            return Path(found)
        msg = (
            f"we have no Supabase command line for {sys.platform} on {machine}; install version "
            "3.1.0 or newer so that `supabase` is on PATH"
        )
        raise ConfigurationError(msg)
    packages.mkdir(parents=True, exist_ok=True)
    with (packages / ".advisor.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        # Somebody else may have finished it while we waited.
        if not program.is_file():
            progress("installing the Supabase command line from npm (135 MB, once) …")
            _install(folder)
    return program


def advise(program: Path, database_url: str) -> list[Finding]:
    """Run all lints, security and performance, against a database.

    Raises:
        StorageError: The program failed or answered something else than findings.
    """
    url, password = _without_password(database_url)
    with tempfile.TemporaryDirectory(prefix="gridpact-advisor-") as home:
        environment = {
            "PATH": os.environ.get("PATH", os.defpath),
            "HOME": home,
            "SUPABASE_TELEMETRY_DISABLED": "1",
            "DO_NOT_TRACK": "1",
            # Not in the URL: everybody on the machine can read a command line.
            "PGPASSWORD": password,
        }
        try:
            done = subprocess.run(  # noqa: S603 - our own program and arguments
                [
                    *(program, "db", "advisors", f"--remote={url}", "--type", "all"),
                    *("--level", "info", "--fail-on", "none", "--output-format", "json"),
                ],
                cwd=home,
                env=environment,
                capture_output=True,
                text=True,
                timeout=_RUN_TIMEOUT_S,
                check=False,
            )
        except subprocess.TimeoutExpired as exc:
            msg = f"the Supabase advisor did not finish in {_RUN_TIMEOUT_S} s"
            raise StorageError(msg) from exc
    try:
        results = orjson.loads(done.stdout)["results"]
        return [
            Finding(row["level"], row["name"], row["detail"], row["remediation"]) for row in results
        ]
    except (orjson.JSONDecodeError, KeyError, TypeError) as exc:
        said = (done.stderr or done.stdout).strip()[-500:]
        msg = f"the Supabase advisor failed (exit {done.returncode}): {said}"
        raise StorageError(msg) from exc


def _install(folder: Path) -> None:
    node = find_node()
    if node.npm_cli is None:
        msg = (
            f"{node.binary} came without npm, which installs the Supabase command line; "
            "run `pip install 'gridpact[node]'` or install npm"
        )
        raise ConfigurationError(msg)
    environment = {k: v for k, v in os.environ.items() if not k.startswith(_SECRET_PREFIXES)}
    environment["PATH"] = f"{node.binary.parent}{os.pathsep}{environment.get('PATH', os.defpath)}"
    temporary = Path(tempfile.mkdtemp(prefix=".advisor-", dir=folder.parent))
    try:
        for manifest in _MANIFESTS:
            shutil.copyfile(manifest, temporary / manifest.name)
        done = subprocess.run(  # noqa: S603 - our own program and arguments
            [
                *(node.binary, node.npm_cli, "ci", "--ignore-scripts"),
                *("--no-audit", "--no-fund", "--loglevel=error"),
            ],
            cwd=temporary,
            env=environment,
            capture_output=True,
            text=True,
            timeout=_INSTALL_TIMEOUT_S,
            check=False,
        )
        # An optional package that cannot be fetched is no error to npm.
        if done.returncode != 0 or not (temporary / _PACKAGE).is_file():
            last = "\n".join((done.stderr or done.stdout).strip().splitlines()[-8:])
            msg = (
                f"npm could not install the Supabase command line (exit {done.returncode}); check "
                f"the network and try again. npm said:\n{last}"
            )
            raise StorageUnavailable(msg)
        temporary.rename(folder)
    except subprocess.TimeoutExpired as exc:
        msg = f"npm did not finish in {_INSTALL_TIMEOUT_S} s; check the network and try again"
        raise StorageUnavailable(msg) from exc
    finally:
        shutil.rmtree(temporary, ignore_errors=True)


def _without_password(database_url: str) -> tuple[str, str]:
    """Split a database URL into one without password, and the password."""
    parts = {name: str(value) for name, value in conninfo_to_dict(database_url).items()}
    password = parts.pop("password", "")
    user, host = quote(parts.pop("user", "postgres"), safe=""), parts.pop("host", "127.0.0.1")
    address = f"[{host}]" if ":" in host else host
    port, name = parts.pop("port", "5432"), quote(parts.pop("dbname", "postgres"), safe="")
    options = f"?{urlencode(parts)}" if parts else ""
    return f"postgresql://{user}@{address}:{port}/{name}{options}", password
