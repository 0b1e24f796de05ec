"""Migration files: names, order, and the script they make together."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from schema.errors import ConfigurationError
from storage.migrations import load_migrations, print_all


def write(folder: Path, *names: str) -> Path:
    for name in names:
        (folder / name).write_text(f"select '{name}';\n")
    return folder


def test_files_are_read_in_order_of_their_numbers(tmp_path: Path) -> None:
    folder = write(tmp_path, "0002_b.sql", "0010_c.sql", "0001_a.sql", "README.md")
    assert [m.file_name for m in load_migrations(folder)] == [
        "0001_a.sql",
        "0002_b.sql",
        "0010_c.sql",
    ]


@pytest.mark.parametrize(
    "name", ["1_a.sql", "00001_a.sql", "0001-a.sql", "0001_A.sql", "0001_.sql", "0001_a b.sql"]
)
def test_a_misnamed_file_is_refused_by_name(tmp_path: Path, name: str) -> None:
    with pytest.raises(ConfigurationError, match=re.escape(repr(name))):
        load_migrations(write(tmp_path, name))


def test_a_number_is_used_once(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match="two migration files have number 0001: a and b"):
        load_migrations(write(tmp_path, "0001_a.sql", "0001_b.sql"))


def test_the_checksum_is_of_the_text(tmp_path: Path) -> None:
    (tmp_path / "0001_a.sql").write_text("")
    # SHA-256 of nothing.
    assert load_migrations(tmp_path)[0].sha256 == (
        "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"
    )


def test_our_numbers_have_no_gap() -> None:
    numbers = [int(migration.version) for migration in load_migrations()]
    assert numbers == list(range(1, len(numbers) + 1))


def test_the_newest_file_says_its_own_number() -> None:
    # schema_version() is replaced by every migration; a forgotten one would lie.
    newest = load_migrations()[-1]
    said = re.findall(
        r"function public\.schema_version\(\).*?\$\$ select (\d+) \$\$", newest.text, re.DOTALL
    )
    assert said == [str(int(newest.version))]


@pytest.mark.parametrize("migration", load_migrations(), ids=lambda m: m.file_name)
def test_a_file_runs_in_one_transaction(migration: object) -> None:
    text = migration.text.lower()  # type: ignore[attr-defined]
    outside = [line for line in text.splitlines() if not line.lstrip().startswith("--")]
    for word in ("commit;", "rollback;", "create index concurrently", "vacuum"):
        assert not any(word in line for line in outside), word


def test_the_printed_script_holds_every_file_whole() -> None:
    script = print_all()
    assert script.startswith("-- The whole schema of gridpact")
    assert script.count("\nbegin;\n") == 1
    assert script.endswith("commit;\n")
    at = 0
    for migration in load_migrations():
        at = script.index(migration.text.rstrip(), at)
        assert f"values ('{migration.version}', '{migration.sha256}')" in script
