"""Which user runs the database: ourselves, or as root a system user of its own."""

from __future__ import annotations

import os
import pwd
import shutil
import stat
import subprocess
from dataclasses import dataclass
from pathlib import Path

from schema.errors import ConfigurationError

ACCOUNT_NAME = "gridpact"


@dataclass(frozen=True, slots=True)
class ServiceAccount:
    """The system user that runs PostgreSQL and the API for root."""

    name: str
    uid: int
    gid: int


def service_account() -> ServiceAccount | None:
    """Give the user to run the database as; None means ourselves. Root makes it once.

    Raises:
        ConfigurationError: We are root and the user cannot be made.
    """
    if os.geteuid() != 0:
        return None
    try:
        entry = pwd.getpwnam(ACCOUNT_NAME)
    except KeyError:
        _make_account()
        entry = pwd.getpwnam(ACCOUNT_NAME)
    return ServiceAccount(entry.pw_name, entry.pw_uid, entry.pw_gid)


def _make_account() -> None:
    advice = (
        "PostgreSQL refuses to run as root; run gridpact as an ordinary user, or make a system "
        f"user named {ACCOUNT_NAME} by hand"
    )
    # Absolute places too: a PATH without sbin is common for root in containers.
    program = shutil.which("useradd") or shutil.which("useradd", path="/usr/sbin:/sbin")
    if program is None:
        msg = f"no `useradd` on this machine: {advice}"
        raise ConfigurationError(msg)
    nologin = next((p for p in ("/usr/sbin/nologin", "/sbin/nologin") if Path(p).exists()), None)
    done = subprocess.run(
        [
            program,
            *("--system", "--user-group", "--no-create-home"),
            *("--shell", nologin or "/bin/false"),
            ACCOUNT_NAME,
        ],
        capture_output=True,
        text=True,
        check=False,
    )
    # 9: somebody else made it meanwhile.
    if done.returncode not in {0, 9}:
        msg = f"`useradd {ACCOUNT_NAME}` failed ({done.stderr.strip()}): {advice}"
        raise ConfigurationError(msg)


def can_reach(path: Path, account: ServiceAccount | None) -> bool:
    """Say whether that user may enter every folder above ``path`` and read and run it."""
    if account is None:
        return True
    path = path.resolve()
    if not all(_allows(folder, account, 0o1) for folder in path.parents):
        return False
    return _allows(path, account, 0o5)


def _allows(path: Path, account: ServiceAccount, bits: int) -> bool:
    found = path.stat()
    mode = stat.S_IMODE(found.st_mode)
    if found.st_uid == account.uid:
        mode >>= 6
    elif found.st_gid == account.gid:
        mode >>= 3
    return mode & bits == bits
