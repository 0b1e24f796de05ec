"""What docs/operations.md promises of the embedded Supabase: new keys, and a copy that restores."""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from embedded_fixtures import PACKAGES
from embedded_kit import make_probe_tables, public, remove_data, run_sql, service
from typer.testing import CliRunner

from schema.errors import InputError
from schema.settings import Settings
from storage import cli_supabase
from storage.embedded.layout import InstanceHeld, Layout
from storage.embedded.state import InstanceState
from storage.embedded.supervisor import EmbeddedSupabase

pytestmark = [pytest.mark.embedded, pytest.mark.timeout(120)]


@pytest.fixture
def home(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    folder = tmp_path_factory.mktemp("operated-home")
    yield folder
    remove_data(folder)


@pytest.fixture
def supervisor(home: Path) -> Iterator[EmbeddedSupabase]:
    made = EmbeddedSupabase(home, make_probe_tables, packages=PACKAGES)
    yield made
    made.stop()


@pytest.fixture
def rotate(home: Path) -> Callable[[], str]:
    def run() -> str:
        settings = Settings(home=home)
        result = CliRunner().invoke(cli_supabase.app, ["rotate-keys"], obj=settings)
        if result.exception is not None and not isinstance(result.exception, SystemExit):
            raise result.exception
        return result.stdout

    return run


def test_after_a_rotation_the_old_keys_are_refused_and_the_data_are_there(
    home: Path, supervisor: EmbeddedSupabase, rotate: Callable[[], str]
) -> None:
    old = supervisor.start()
    assert service(old).call("POST", "/rest/v1/readings", json={"id": 1, "amount": 5}).is_success
    # One that runs keeps its keys.
    with pytest.raises(InstanceHeld):
        rotate()
    supervisor.stop()
    before = InstanceState.load(Layout.of(home, PACKAGES).state)
    assert "new keys" in rotate()
    again = EmbeddedSupabase(home, make_probe_tables, packages=PACKAGES)
    new = again.start()
    try:
        assert service(new).call("GET", "/rest/v1/readings?select=id").json() == [{"id": 1}]
        assert public(new).call("GET", "/rest/v1/readings?select=id").status_code == 200
        for key in (old.secret_key, old.publishable_key):
            assert key is not None
            refused = service(new).__class__(new.url, key).call("GET", "/rest/v1/readings")
            assert refused.status_code == 401
        after = InstanceState.load(Layout.of(home, PACKAGES).state)
        assert before is not None
        assert after is not None
        # The database and its passwords are the same; tokens signed before end.
        assert after.postgres_password == before.postgres_password
        assert after.jwt_secret != before.jwt_secret
    finally:
        again.stop()


def test_a_copy_of_the_stopped_folders_restores(
    home: Path, supervisor: EmbeddedSupabase, tmp_path: Path
) -> None:
    endpoint = supervisor.start()
    assert service(endpoint).call("POST", "/rest/v1/readings", json={"id": 2}).is_success
    supervisor.stop()
    layout = Layout.of(home, PACKAGES)
    # As an ordinary user the data lie within the state folder; as root they lie outside.
    folders = (
        [layout.folder]
        if layout.data.is_relative_to(layout.folder)
        else [
            layout.folder,
            layout.data.parent,
        ]
    )
    for number, folder in enumerate(folders):
        archive = tmp_path / f"{number}.tar"
        subprocess.run(["tar", "-cpf", archive, "-C", folder.parent, folder.name], check=True)
        shutil.rmtree(folder)
        subprocess.run(["tar", "-xpf", archive, "-C", folder.parent], check=True)
    again = EmbeddedSupabase(home, make_probe_tables, packages=PACKAGES)
    restored = again.start()
    try:
        # The same keys, and the same rows.
        assert restored.secret_key == endpoint.secret_key
        assert restored.database_url is not None
        assert run_sql(restored.database_url, "select id from readings where id = 2") == [(2,)]
    finally:
        again.stop()


def test_keys_of_a_hosted_project_are_made_on_its_page() -> None:
    settings = Settings(SUPABASE_URL="https://x.supabase.co", SUPABASE_KEY="sb_secret_x")
    result = CliRunner().invoke(cli_supabase.app, ["rotate-keys"], obj=settings)
    assert isinstance(result.exception, InputError)
    assert "API Keys" in str(result.exception)


def test_without_one_there_is_nothing_to_rotate(tmp_path: Path) -> None:
    result = CliRunner().invoke(
        cli_supabase.app, ["rotate-keys"], obj=Settings(home=tmp_path / "home")
    )
    assert (result.exit_code, "none yet" in result.stdout) == (0, True)
