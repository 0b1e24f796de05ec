"""Where gridpact keeps its state on this machine.

One folder holds everything (embedded Supabase, spool, Ray token, recordings): ``GRIDPACT_HOME``,
else ``.gridpact/`` of the checkout this code runs from, else the platform's data folder. Nobody
else may enter it (mode 0700).

PostgreSQL refuses to run as root. When root runs gridpact, a system user of its own runs the
database instead, and must reach the data and the programs; those then lie under
``/var/lib/gridpact``.
"""

from __future__ import annotations

import os
import stat
import sys
from collections.abc import Mapping
from hashlib import sha256
from pathlib import Path

from schema.errors import ConfigurationError

ROOT_STATE = Path("/var/lib/gridpact")

_PRIVATE = 0o700

_CHECKOUT_MARKS = ("pyproject.toml", "run_cluster.py")


def checkout_folder() -> Path | None:
    """Give the checkout this code runs from; None when it was installed from a wheel."""
    folder = Path(__file__).resolve().parents[1]
    return folder if all((folder / mark).is_file() for mark in _CHECKOUT_MARKS) else None


def resolve_home(environment: Mapping[str, str] = os.environ, checkout: Path | None = None) -> Path:
    """Say which folder holds the state; nothing is made.

    Args:
        environment: Read for ``GRIDPACT_HOME``, ``XDG_DATA_HOME`` and ``HOME``.
        checkout: Taken for the checkout instead of the one this code runs from.
    """
    if named := environment.get("GRIDPACT_HOME"):
        return Path(named).expanduser().absolute()
    if folder := checkout or checkout_folder():
        return folder / ".gridpact"
    user = Path(environment.get("HOME") or Path.home())
    if sys.platform == "darwin":
        return user / "Library" / "Application Support" / "gridpact"
    return Path(environment.get("XDG_DATA_HOME") or user / ".local" / "share") / "gridpact"


def prepare_home(home: Path) -> Path:
    """Make the folder if needed and see that nobody else may enter it.

    Raises:
        ConfigurationError: It cannot be made, is no folder, or belongs to another user.
    """
    try:
        home.mkdir(mode=_PRIVATE, parents=True, exist_ok=True)
        found = home.stat()
        if found.st_uid != os.geteuid():
            msg = (
                f"the state folder {home} belongs to user {found.st_uid}, not to {os.geteuid()}; "
                "set GRIDPACT_HOME to a folder of your own"
            )
            raise ConfigurationError(msg, path=str(home))
        if stat.S_IMODE(found.st_mode) != _PRIVATE:
            home.chmod(_PRIVATE)
    except OSError as exc:
        msg = (
            f"the state folder {home} cannot be used: {exc.strerror}; "
            "set GRIDPACT_HOME to a folder that you may write to"
        )
        raise ConfigurationError(msg, path=str(home)) from exc
    return home


def database_folder(home: Path) -> Path:
    """Say where the database of this home lies: inside it, for root under ``/var/lib/gridpact``."""
    if os.geteuid() != 0:
        return home / "supabase"
    return ROOT_STATE / sha256(str(home.absolute()).encode()).hexdigest()[:16]


def spool_folder(home: Path, supabase_url: str | None, use: str = "") -> Path:
    """Say where a spool of a database lies: rows meant for one must never reach another.

    Args:
        home: The state folder.
        supabase_url: Of the hosted project; None for the embedded Supabase of this home.
        use: Whose spool; the replays' when empty. Different uses may go on at the same time.
    """
    address = None if supabase_url is None else supabase_url.rstrip("/")
    key = "embedded" if address is None else sha256(address.encode()).hexdigest()[:12]
    return home / "spool" / (f"{key}-{use}" if use else key)


def packages_folder(home: Path) -> Path:
    """Say where the programs of the embedded Supabase lie; root's homes share one copy."""
    return (ROOT_STATE if os.geteuid() == 0 else home) / "packages"
