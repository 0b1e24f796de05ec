"""With ``GRIDPACT_TEST_CANARY`` set, the whole session is watched for secrets that show.

``INFO`` takes programs as they are. With ``DEBUG`` every Python process that a test starts writes
whatever any logger says at DEBUG into a file, before anything is struck out of it. Not with xdist.

    GRIDPACT_TEST_CANARY=DEBUG .venv/bin/python -m pytest tests/serve tests/contract tests/embedded
"""

from __future__ import annotations

import base64
import json
import os
import secrets
from pathlib import Path

import pytest
from canary_watch import Watch

from storage.embedded.state import InstanceState
from storage.embedded.supervisor import EmbeddedSupabase

LEVEL = os.environ.get("GRIDPACT_TEST_CANARY", "")
#: Read by ``process_kit``.
GIVEN = "GRIDPACT_TEST_GIVEN"
_WATCH = pytest.StashKey[Watch]()
_EVERYTHING = """
import logging, os

def _to_file():
    handler = logging.FileHandler(os.path.join({folder!r}, f"{{os.getpid()}}.log"))
    handler.setFormatter(logging.Formatter("%(name)s %(levelname)s %(message)s"))
    root = logging.getLogger()
    root.addHandler(handler)
    root.setLevel(logging.DEBUG)
    # Whoever sets the root's level later is not heard; levels of other loggers are what we test.
    type(root).setLevel = lambda self, level: None

_to_file()
"""


def pytest_sessionstart(session: pytest.Session) -> None:
    if not LEVEL or hasattr(session.config, "workerinput"):
        return
    if LEVEL not in {"INFO", "DEBUG"}:
        raise pytest.UsageError(f"GRIDPACT_TEST_CANARY is {LEVEL!r}; INFO and DEBUG are allowed")
    root = session.config._tmp_path_factory.getbasetemp()  # type: ignore[attr-defined]
    watch = session.config.stash[_WATCH] = Watch(root)
    _sign_with_a_canary(root, watch)
    if LEVEL == "DEBUG":
        _log_everything(root)
    _look_before_a_database_ends(watch)
    watch.start()


def pytest_sessionfinish(session: pytest.Session) -> None:
    watch = session.config.stash.get(_WATCH, None)
    if watch is not None:
        watch.stop()
        if watch.hits or not watch.secrets:
            session.exitstatus = pytest.ExitCode.TESTS_FAILED


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    watch = terminalreporter.config.stash.get(_WATCH, None)
    if watch is not None:
        terminalreporter.section(f"secrets, at {LEVEL}")
        for line in watch.told():
            terminalreporter.write_line(line)


def _sign_with_a_canary(root: Path, watch: Watch) -> None:
    """Give every command that tests launch a signing key for Beckn."""
    key = base64.b64encode(secrets.token_bytes(32)).decode()
    path = root / "canary" / "beckn.toml"
    path.parent.mkdir(mode=0o700)
    path.touch(0o600)
    path.write_text(
        f'[own]\nsubscriber_id = "bap.example.org"\nkey_id = "k1"\nprivate_key = "{key}"\n'
    )
    watch.know(key, "Beckn signing key")
    _pass_on("GRIDPACT_BECKN_KEYS", str(path))


def _log_everything(root: Path) -> None:
    folder = root / "canary"
    (folder / "debug").mkdir()
    (folder / "sitecustomize.py").write_text(_EVERYTHING.format(folder=str(folder / "debug")))
    _pass_on("PYTHONPATH", str(folder))
    os.environ["PYTHONPATH"] = str(folder)


def _pass_on(name: str, value: str) -> None:
    """Give a variable to every process that ``process_kit`` starts."""
    given = json.loads(os.environ.get(GIVEN, "{}"))
    os.environ[GIVEN] = json.dumps({**given, name: value})


def _look_before_a_database_ends(watch: Watch) -> None:
    stop = EmbeddedSupabase.stop

    def look_and_stop(self: EmbeddedSupabase) -> None:
        state = InstanceState.load(self._layout.state)
        if self.health().postgres_pid is not None and state is not None:
            watch.look_at_files()
            watch.look_at_tables(state.database_url())
            watch.look_at_data()
        stop(self)

    EmbeddedSupabase.stop = look_and_stop  # type: ignore[method-assign]
