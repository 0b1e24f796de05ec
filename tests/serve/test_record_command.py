"""``record`` as a user meets it, against served sources."""

from __future__ import annotations

import json
import os
import signal
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import typer
from typer.testing import CliRunner
from upstream_fixtures import ServeUpstream, scenario_once

from scenarios.live.run import only_one
from scenarios.loader import check
from scenarios.ops import cli_record
from schema.errors import InputError, ScenarioError
from schema.settings import Settings
from storage.home import prepare_home
from storage.system_clock import SystemClock

pytestmark = pytest.mark.timeout(180)
Tape = Callable[..., tuple[int, dict[str, Any]]]


@pytest.fixture
def settings(serve_upstream: ServeUpstream, tmp_path: Path) -> Settings:
    offset_s = (scenario_once("windy-night").start - SystemClock().now()).total_seconds()
    server = serve_upstream(clock=SystemClock(offset_s))
    return Settings(
        _env_file=None,  # type: ignore[call-arg]
        SUPABASE_URL="https://x.supabase.co",
        SUPABASE_KEY="sb_secret_canary",
        home=tmp_path / "home",
        clock_offset_s=offset_s,
        **{f"{source.value}_url": url for source, url in server.urls.items()},
    )


@pytest.fixture
def tape(monkeypatch: pytest.MonkeyPatch, settings: Settings) -> Tape:
    monkeypatch.setattr(cli_record, "load_settings", lambda: settings)
    app = typer.Typer()
    app.command()(cli_record.record)

    def invoke(*words: object) -> tuple[int, dict[str, Any]]:
        result = CliRunner().invoke(app, [str(word) for word in words])
        if result.exception is not None and not isinstance(result.exception, SystemExit):
            raise result.exception
        return result.exit_code, json.loads(result.stdout)

    return invoke


def test_once_gives_a_scenario_that_validates_and_says_what_it_holds(
    tape: Tape, tmp_path: Path
) -> None:
    out = tmp_path / "My Tape"
    words = ("--out", out, "--once", "--sources", "carbon_intensity,elexon,beckn", "--json")
    code, answer = tape(*words)
    assert (code, answer["scenario"], answer["faults"]) == (0, "my-tape", [])
    assert set(answer["replies"]) == {"carbon_intensity", "elexon", "beckn"}
    assert set(answer["tables"]) == {"national", "regional", "prices"}
    found, faults = check(out)
    assert faults == []
    assert found is not None
    assert found.ticks == 48
    everything = b"".join(path.read_bytes() for path in out.rglob("*") if path.is_file())
    assert b"canary" not in everything


def test_neso_is_left_to_the_live_pipeline(tape: Tape, settings: Settings, tmp_path: Path) -> None:
    assert settings.home is not None
    with only_one(prepare_home(settings.home)):
        words = ("--out", tmp_path / "a", "--once", "--sources", "neso,elexon")
        with pytest.raises(InputError, match="two data requests a minute"):
            tape(*words)
        assert not (tmp_path / "a").exists()
        _, answer = tape("--out", tmp_path / "b", "--once", "--json")
        assert "neso" not in answer["replies"]


def test_ctrl_c_too_early_keeps_the_replies(tape: Tape, tmp_path: Path) -> None:
    out = tmp_path / "short"
    before = signal.getsignal(signal.SIGINT)

    def press() -> None:
        deadline = time.monotonic() + 60
        while time.monotonic() < deadline and not list(out.glob("replies/beckn/*.json")):
            time.sleep(0.05)
        os.kill(os.getpid(), signal.SIGINT)

    thread = threading.Thread(target=press)
    thread.start()
    with pytest.raises(ScenarioError, match="not half an hour was recorded"):
        tape("--out", out, "--hours", 1, "--sources", "beckn")
    thread.join()
    assert signal.getsignal(signal.SIGINT) == before
    assert list(out.glob("replies/beckn/*.json"))


@pytest.mark.parametrize(
    ("words", "said"),
    [
        ((), "one of the two"),
        (("--once", "--hours", 2), "one of the two"),
        (("--once", "--sources", "elexn"), "names 'elexn'; known are"),
        (("--once", "--sources", ","), "names ','"),
    ],
)
def test_what_cannot_be_recorded_is_refused_and_nothing_is_made(
    tape: Tape, tmp_path: Path, words: tuple[object, ...], said: str
) -> None:
    with pytest.raises(InputError, match=said):
        tape("--out", tmp_path / "x", *words)
    assert not (tmp_path / "x").exists()


def test_a_folder_that_is_there_is_left_alone(tape: Tape, tmp_path: Path) -> None:
    (tmp_path / "there").mkdir()
    with pytest.raises(InputError, match="choose another --out"):
        tape("--out", tmp_path / "there", "--once")
    assert list((tmp_path / "there").iterdir()) == []
