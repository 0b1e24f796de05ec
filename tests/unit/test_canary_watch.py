"""The watch for secrets sees each kind of leak, and nothing where a secret has to be."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from canary_watch import Watch, ray_folder

from agents.ray_env import _temp_parent

STATE = {
    "postgres_password": "canary-password",
    "api_password": "canary-api-password",
    "jwt_secret": "canary-jwt-secret",
    "secret_key": "sb_secret_canary",
    "publishable_key": "sb_publishable_bird",
}


@pytest.fixture
def watch(tmp_path: Path) -> Watch:
    folder = tmp_path / "home" / "supabase"
    folder.mkdir(parents=True)
    (folder / "state.json").touch(0o600)
    (folder / "state.json").write_text(json.dumps(STATE))
    watch = Watch(tmp_path)
    watch.look_at_files()
    assert len(watch.secrets) == 4
    assert watch.hits == {}
    return watch


def test_a_secret_in_a_log_is_seen_also_when_it_is_written_in_two_parts(watch: Watch) -> None:
    log = watch.root / "run.log"
    log.write_text("all is well, sb_publishable_bird sings, key sb_secret_")
    watch.look_at_files()
    assert watch.hits == {}
    with log.open("a") as file:
        file.write("canary\n")
    watch.look_at_files()
    assert list(watch.hits.values()) == ["secret_key of an embedded Supabase"]
    assert "FOUND secret_key" in "\n".join(watch.told())


def test_a_credentials_file_that_others_may_read_is_a_leak(watch: Watch) -> None:
    path = watch.root / "home" / "supabase" / "state.json"
    path.chmod(0o644)
    path.write_text(json.dumps(STATE) + "\n")
    watch.look_at_files()
    assert list(watch.hits) == [f"{path} (mode 644)"]


def test_a_secret_that_is_learnt_late_is_found_in_what_was_there_before(watch: Watch) -> None:
    (watch.root / "early.log").write_text("token 0123456789abcdef\n")
    watch.look_at_files()
    assert watch.hits == {}
    token = watch.root / "home" / "ray" / "token"
    token.parent.mkdir()
    token.touch(0o600)
    token.write_text("0123456789abcdef\n")
    watch.look_at_files()
    assert [Path(place.split(" ")[0]).name for place in watch.hits] == ["early.log"]


def test_the_logs_of_ray_are_looked_at_where_they_are(watch: Watch) -> None:
    home = watch.root / "home"
    (home / "ray").mkdir()
    folder = ray_folder(home)
    # The place that commands of this home use.
    assert folder == _temp_parent(home)
    (home / "ray" / "token").touch(0o600)
    (home / "ray" / "token").write_text("0123456789abcdef\n")
    (folder / "worker.err").write_text("Traceback: canary-password\n")
    try:
        watch.look_at_files()
    finally:
        shutil.rmtree(folder)
    assert list(watch.hits) == [f"{folder / 'worker.err'} (mode 644)"]


def test_a_secret_on_a_command_line_is_seen(watch: Watch) -> None:
    program = "print('up', flush=True); input()"
    command = [sys.executable, "-c", program, "postgresql://postgres:canary-password@127.0.0.1"]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
        # The kernel shows an empty command line for a moment after a process has begun.
        assert process.stdout is not None
        process.stdout.readline()
        watch.look_at_processes()
        assert list(watch.hits.values()) == ["postgres_password of an embedded Supabase"]
        process.communicate(b"\n")
