"""Attach or start, the detached process, and the command line over both."""

from __future__ import annotations

import json
import os
import signal
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
from embedded_fixtures import PACKAGES
from embedded_kit import make_probe_tables, processes_of, remove_data, run_sql, service, wait_until
from pydantic import SecretStr
from typer.testing import CliRunner

from schema.errors import ConfigurationError, StorageUnavailable
from schema.settings import Settings
from storage import cli_supabase
from storage.embedded.attach import attach_or_start, find_running, reload_schema
from storage.embedded.daemon import start_detached, stop_detached
from storage.embedded.endpoint import SupabaseEndpoint
from storage.embedded.layout import Layout, read_holder
from storage.embedded.processes import is_running
from storage.embedded.status import Status, read_status
from storage.embedded.supervisor import EmbeddedSupabase
from storage.home import packages_folder

pytestmark = [pytest.mark.embedded, pytest.mark.timeout(90)]


@dataclass(frozen=True)
class Outcome:
    applied: tuple[str, ...]


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    folder = tmp_path_factory.mktemp("attach-home")
    yield folder
    stop_detached(folder, PACKAGES)
    remove_data(folder)


@pytest.fixture
def settings(home: Path) -> Settings:
    return Settings(home=home)


@pytest.fixture
def detached(home: Path) -> Iterator[SupabaseEndpoint]:
    yield start_detached(home, None, PACKAGES)
    stop_detached(home, PACKAGES)


def test_without_one_that_is_up_it_starts_one_and_stops_it(settings: Settings, home: Path) -> None:
    with attach_or_start(settings, packages=PACKAGES) as endpoint:
        assert endpoint.mode == "embedded"
        assert service(endpoint).call("GET", "/healthz").status_code == 200
        assert processes_of(home)
    assert not processes_of(home)


def test_it_uses_the_one_that_is_up_and_leaves_it_up(
    settings: Settings, home: Path, detached: SupabaseEndpoint
) -> None:
    layout = Layout.of(home, PACKAGES)
    before = read_holder(layout)
    with attach_or_start(settings, packages=PACKAGES) as endpoint:
        assert endpoint == detached
    assert before is not None
    assert before.detached
    assert read_holder(layout) == before
    assert find_running(layout) == detached


def test_a_crash_inside_the_block_still_stops_what_was_started(
    settings: Settings, home: Path
) -> None:
    def crash() -> None:
        with attach_or_start(settings, packages=PACKAGES):
            assert processes_of(home)
            message = "planned"
            raise RuntimeError(message)

    with pytest.raises(RuntimeError, match="planned"):
        crash()
    assert not processes_of(home)


def test_files_of_a_dead_supervisor_are_no_running_one(settings: Settings, home: Path) -> None:
    layout = Layout.of(home, PACKAGES)
    with attach_or_start(settings, packages=PACKAGES):
        assert find_running(layout) is not None
    assert layout.endpoint.exists()
    assert find_running(layout) is None


def test_attaching_with_a_newer_schema_makes_the_api_see_it(
    settings: Settings, detached: SupabaseEndpoint
) -> None:
    calls: list[str] = []

    def migrate(url: str) -> Outcome:
        calls.append(url)
        make_probe_tables(url)
        return Outcome(applied=("0001",) if len(calls) == 1 else ())

    def readings() -> int:
        return service(detached).call("GET", "/rest/v1/readings").status_code

    # The API was started before the table was made, and has looked at the schema.
    assert readings() == 404
    for _ in range(2):
        with attach_or_start(settings, migrate=migrate, packages=PACKAGES) as endpoint:
            assert endpoint == detached
            assert readings() == 200
    assert calls == [detached.database_url] * 2


def test_reload_gives_the_same_address_by_another_process(
    home: Path, detached: SupabaseEndpoint
) -> None:
    before = service(detached).call("GET", "/healthz").json()
    reload_schema(Layout.of(home, PACKAGES))
    after = service(detached).call("GET", "/healthz").json()
    assert before["instance"] == after["instance"]
    assert before["pid"] != after["pid"]


def test_a_second_up_gives_the_first(home: Path, detached: SupabaseEndpoint) -> None:
    before = read_holder(Layout.of(home, PACKAGES))
    assert start_detached(home, None, PACKAGES) == detached
    assert read_holder(Layout.of(home, PACKAGES)) == before


def test_stop_says_whether_something_ran(home: Path) -> None:
    start_detached(home, None, PACKAGES)
    started = time.monotonic()
    assert stop_detached(home, PACKAGES)
    assert time.monotonic() - started < 10
    # The holder answers that it has gone before the kernel has buried the last of its children.
    wait_until(lambda: not processes_of(home))
    assert not stop_detached(home, PACKAGES)


def test_stop_ends_the_database_of_a_killed_supervisor(home: Path) -> None:
    start_detached(home, None, PACKAGES)
    holder = read_holder(Layout.of(home, PACKAGES))
    assert holder is not None
    os.kill(holder.pid, signal.SIGKILL)
    wait_until(lambda: not is_running(holder.pid))
    assert processes_of(home)
    assert stop_detached(home, PACKAGES)
    wait_until(lambda: not processes_of(home))


def test_stop_leaves_the_one_of_another_command_alone(home: Path) -> None:
    with EmbeddedSupabase(home, packages=PACKAGES) as supabase:
        with pytest.raises(StorageUnavailable, match=rf"pid {os.getpid()} .*end that command"):
            stop_detached(home, PACKAGES)
        assert supabase.health().serving


def test_a_start_that_fails_shows_why(home: Path) -> None:
    with pytest.raises(StorageUnavailable, match="no_such_function is no migration function"):
        start_detached(home, "storage.home:no_such_function", PACKAGES)
    assert not processes_of(home)


class TestHosted:
    """A hosted project: nothing is started, its keys go to actors by a file."""

    @pytest.fixture
    def hosted(self, tmp_path: Path) -> Settings:
        return Settings(
            home=tmp_path,
            supabase_url="https://project.example/",
            supabase_key=SecretStr("sb_secret_x"),
            supabase_db_url=SecretStr("postgresql://u:p@db.example/postgres"),
        )

    def test_nothing_is_started_and_the_file_goes_with_the_block(self, hosted: Settings) -> None:
        def migrate(_url: str) -> None:
            pytest.fail("a hosted database is migrated on purpose only")

        with attach_or_start(hosted, migrate=migrate, packages=PACKAGES) as endpoint:
            assert endpoint.mode == "hosted"
            assert endpoint.url == "https://project.example"
            assert endpoint.publishable_key is None
            assert endpoint.state_file.stat().st_mode & 0o777 == 0o600
            assert SupabaseEndpoint.load(endpoint.state_file) == endpoint
            assert "sb_secret_x" not in repr(endpoint)
        assert not endpoint.state_file.exists()

    def test_what_a_killed_run_left_is_swept_up(self, hosted: Settings, tmp_path: Path) -> None:
        folder = tmp_path / "supabase"
        folder.mkdir()
        # No process has this number: it is past the kernel's greatest.
        left = folder / "hosted-4194305.json"
        left.write_text("{}")
        with attach_or_start(hosted, packages=PACKAGES):
            assert not left.exists()


class TestHostedStatus:
    """A project that answers, seen from outside: our own API stands in for it."""

    def status(self, url: str, key: str) -> Status:
        return read_status(Settings(supabase_url=url, supabase_key=SecretStr(key)))

    def test_one_that_answers_is_up(self, detached: SupabaseEndpoint) -> None:
        found = self.status(detached.url, detached.secret_key)
        assert (found.state, found.mode, found.problem) == ("up", "hosted", None)
        refused = self.status(detached.url, "sb_secret_wrong")
        assert refused.problem == "the key is refused (401); check SUPABASE_KEY"
        assert "sb_secret_wrong" not in repr(refused)

    def test_one_that_does_not_answer_is_down(self) -> None:
        found = self.status("http://127.0.0.1:9", "k")
        assert found.state == "down"
        assert found.problem == (
            "http://127.0.0.1:9 does not answer (ConnectError); check SUPABASE_URL"
        )


class TestCommandLine:
    """What a person types."""

    @pytest.fixture(autouse=True)
    def _setting(self, monkeypatch: pytest.MonkeyPatch, home: Path) -> None:
        monkeypatch.setenv("GRIDPACT_HOME", str(home))
        monkeypatch.setattr(cli_supabase, "MIGRATE", None)
        # The real one reads them once a process.
        monkeypatch.setattr(cli_supabase, "load_settings", Settings)
        # Commands look for programs in their home; an ordinary user's would install them anew.
        own = packages_folder(home)
        if own != PACKAGES and not own.exists():
            own.symlink_to(PACKAGES)

    def run(self, *words: str) -> str:
        result = CliRunner().invoke(cli_supabase.app, list(words), catch_exceptions=False)
        assert result.exit_code == 0, result.output
        return result.stdout

    def test_up_status_stop(self, home: Path) -> None:
        assert json.loads(self.run("up", "--json"))["state"] == "up"
        masked = json.loads(self.run("status", "--json"))
        shown = json.loads(self.run("status", "--show-keys", "--json"))
        assert masked["secret_key"] == "sb_secret_***"
        assert masked["publishable_key"] == "sb_publishable_***"
        assert "://postgres:***@127.0.0.1:" in masked["database_url"]
        endpoint = SupabaseEndpoint.load(Layout.of(home, PACKAGES).endpoint)
        assert shown["mode"] == "embedded"
        assert shown["url"] == endpoint.url
        assert shown["secret_key"] == endpoint.secret_key
        assert shown["publishable_key"] == endpoint.publishable_key
        assert run_sql(shown["database_url"], "select 1") == [(1,)]
        for name in ("supervisor_pid", "postgres_pid", "api_pid"):
            assert is_running(shown[name])
        text = self.run("status")
        assert endpoint.secret_key not in text
        assert endpoint.url in text
        assert self.run("stop") == "stopped\n"
        assert json.loads(self.run("status", "--json"))["state"] == "down"
        assert self.run("stop") == "it was not running\n"

    def test_status_before_the_first_start(
        self, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
    ) -> None:
        monkeypatch.setenv("GRIDPACT_HOME", str(tmp_path / "none"))
        assert json.loads(self.run("status", "--json"))["state"] == "down"
        assert not (tmp_path / "none").exists()

    def test_status_of_a_damaged_state_file_says_which(
        self, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
    ) -> None:
        folder = tmp_path / "supabase"
        folder.mkdir()
        (folder / "state.json").write_text('{"instance": ')
        monkeypatch.setenv("GRIDPACT_HOME", str(tmp_path))
        with pytest.raises(ConfigurationError, match=r"state\.json is damaged"):
            CliRunner().invoke(cli_supabase.app, ["status"], catch_exceptions=False)
