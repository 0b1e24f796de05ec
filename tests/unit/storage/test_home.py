"""Where the state folder lies, and who may enter it."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from schema.errors import ConfigurationError
from storage import home as subject
from storage.home import database_folder, packages_folder, prepare_home, resolve_home


@pytest.fixture
def no_checkout(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(subject, "checkout_folder", lambda: None)


def test_the_setting_comes_first(tmp_path: Path) -> None:
    assert resolve_home({"GRIDPACT_HOME": "/srv/gp", "HOME": "/h"}, tmp_path) == Path("/srv/gp")


def test_a_checkout_keeps_its_own_state(tmp_path: Path) -> None:
    assert resolve_home({"HOME": "/h"}, tmp_path) == tmp_path / ".gridpact"


@pytest.mark.usefixtures("no_checkout")
@pytest.mark.parametrize(
    ("platform", "environment", "expected"),
    [
        ("linux", {"HOME": "/h"}, "/h/.local/share/gridpact"),
        ("linux", {"HOME": "/h", "XDG_DATA_HOME": "/d"}, "/d/gridpact"),
        ("darwin", {"HOME": "/h"}, "/h/Library/Application Support/gridpact"),
    ],
    ids=["linux", "linux with XDG", "macos"],
)
def test_otherwise_the_platforms_data_folder(
    monkeypatch: pytest.MonkeyPatch, platform: str, environment: dict[str, str], expected: str
) -> None:
    monkeypatch.setattr(subject.sys, "platform", platform)
    assert resolve_home(environment) == Path(expected)


def test_this_code_runs_from_a_checkout() -> None:
    assert subject.checkout_folder() == Path(__file__).resolve().parents[3]


def test_nobody_else_may_enter(tmp_path: Path) -> None:
    made = prepare_home(tmp_path / "a" / "b")
    assert made.stat().st_mode & 0o777 == 0o700
    made.chmod(0o755)
    assert prepare_home(made).stat().st_mode & 0o777 == 0o700


def test_a_file_in_its_place_is_refused_with_advice(tmp_path: Path) -> None:
    (tmp_path / "home").write_text("")
    with pytest.raises(ConfigurationError, match="set GRIDPACT_HOME"):
        prepare_home(tmp_path / "home")


def test_a_folder_of_another_user_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    mine = os.geteuid()
    monkeypatch.setattr(subject.os, "geteuid", lambda: mine + 1)
    with pytest.raises(ConfigurationError, match=f"belongs to user {mine}, not to {mine + 1}"):
        prepare_home(tmp_path)


def test_roots_database_lies_where_its_user_can_reach_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(subject.os, "geteuid", lambda: 0)
    one, two = database_folder(Path("/root/one")), database_folder(Path("/root/two"))
    assert one != two
    assert one.parent == two.parent == Path("/var/lib/gridpact")
    assert packages_folder(Path("/root/one")) == Path("/var/lib/gridpact/packages")


def test_an_ordinary_users_database_lies_in_its_home(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(subject.os, "geteuid", lambda: 1000)
    assert database_folder(Path("/h/gp")) == Path("/h/gp/supabase")
    assert packages_folder(Path("/h/gp")) == Path("/h/gp/packages")
