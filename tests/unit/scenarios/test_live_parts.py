"""The small parts of a live run: slots, accounts of sources, logs, folders, choice, screen."""

from __future__ import annotations

import io
import json
import logging
import os
import stat
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from rich.console import Console

from fetchers.report import Asked, PollReport
from scenarios.live import logs
from scenarios.live.cadence import Cadence
from scenarios.live.choice import chosen_sources
from scenarios.live.logs import logging_to
from scenarios.live.run import live_run_id, only_one, spool_folder, state_folder
from scenarios.live.status import LiveScreen, line, table
from scenarios.live.track import Situation, Track, percentile
from schema.errors import ConfigurationError, InputError
from schema.ids import row_id
from schema.rows.system import Outcome
from schema.settings import Settings
from storage.embedded.endpoint import SupabaseEndpoint
from storage.system_clock import SystemClock

NOON = datetime(2031, 2, 3, 12, tzinfo=UTC)


# -- slots ---------------------------------------------------------------------------------------


def test_the_slot_after_a_poll_is_the_next_one_that_has_not_begun() -> None:
    cadence = Cadence(interval_s=60.0)
    assert cadence.slot_after(0, 5.0) == 1
    assert cadence.slot_after(0, 59.9) == 1
    assert cadence.slot_after(0, 60.0) == 2
    assert cadence.slot_after(0, 150.0) == 3
    assert cadence.slot_after(7, 1.0) == 8


def test_jitter_is_its_own_for_each_source_and_slot_and_comes_from_the_seed() -> None:
    one, two = Cadence(seed=1), Cadence(seed=2)
    drawn = {one.due_s(name, slot) - 60 * slot for name in ("a", "b") for slot in range(20)}
    assert len(drawn) == 40
    assert all(0 <= late < 6 for late in drawn)
    assert one.due_s("a", 3) == Cadence(seed=1).due_s("a", 3) != two.due_s("a", 3)


# -- accounts ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        ([], None),
        ([3.0], 3.0),
        ([float(n) for n in range(1, 101)], 99.0),
        ([0.0] * 99 + [9.0], 0.0),
    ],
    ids=["none", "one", "a hundred", "one outlier in a hundred"],
)
def test_the_99th_percentile_is_a_value_that_occurred(
    values: list[float], expected: float | None
) -> None:
    assert percentile(values, 0.99) == expected


def report(*asked: Asked, rows: int = 0, at: datetime = NOON) -> PollReport:
    return PollReport("neso", at, requests=len(asked), rows=rows, asked=asked)


def test_a_poll_that_asked_for_nothing_leaves_success_and_problem_as_they_were() -> None:
    track = Track("neso")
    track.ended(report(Asked("feed", Outcome.OK, 1), rows=4))
    track.ended(
        report(Asked("feed", Outcome.TIMEOUT, 3, "gave no answer"), at=NOON.replace(hour=13))
    )
    track.ended(report(at=NOON.replace(hour=14)))
    assert track.last_success == "2031-02-03T12:00:00Z"
    assert track.problem == "gave no answer"
    assert (track.polls, track.requests, track.rows) == (3, 2, 4)


def test_a_feed_that_is_not_published_yet_is_no_problem() -> None:
    track = Track("neso")
    track.ended(report(Asked("feed", Outcome.NOT_YET_PUBLISHED, 1, "nothing yet")))
    assert track.problem is None
    assert track.last_success is None


def test_what_the_fetcher_knows_from_before_is_taken_over() -> None:
    track = Track("neso")
    track.take_status(
        {
            "last_success": "2031-02-03T11:59:01.25Z",
            "breaker": "open",
            "next_due": "2031-02-03T12:00:00Z",
            "due": ["a", "b"],
        }
    )
    assert track.figures() == {
        "requests": 0,
        "rows": 0,
        "fallbacks": 0,
        "rejected": 0,
        "last_success": "2031-02-03T11:59:01Z",
        "lag_s": None,
        "breaker": "open",
        "next_due": "2031-02-03T12:00:00Z",
        "waiting": ["a", "b"],
        "problem": None,
    }


# -- logs ----------------------------------------------------------------------------------------

SECRETS = (
    "sb-top-secret-4711",
    'with "quotes" and \\ in it',
    "postgres://postgres:hunter2@db.example/postgres",
)
LOOKALIKES = (
    "sb_secret_0123456789abcdef",
    "eyJhbGciOiJIUzI1NiJ9.eyJyb2xlIjoic2VydmljZSJ9.c2lnbmF0dXJl",
    "https://user:pass-word@api.example/x",
)


def test_no_secret_reaches_the_log_file_or_the_screen(tmp_path: Path) -> None:
    screen = io.StringIO()
    with logging_to(tmp_path / "logs", Console(file=screen, width=400), secrets=SECRETS) as path:
        log = logging.getLogger("some.module")
        for text in (*SECRETS, *LOOKALIKES):
            log.warning("found %s", text, extra={"key": text})
            try:
                int(text)
            except ValueError:
                log.exception("failed")
    written = path.read_text() + screen.getvalue()
    for text in ("4711", "quotes", "hunter2", "0123456789abcdef", "c2lnbmF0dXJl", "pass-word"):
        assert text not in written
    assert written.count("***") >= 20


def test_the_log_file_has_one_json_object_a_line_with_extra_fields(tmp_path: Path) -> None:
    with logging_to(tmp_path / "logs", Console(file=io.StringIO())) as path:
        logging.getLogger("a.b").info("two\nlines", extra={"source": "neso", "rows": 3})
        try:
            {}["why"]
        except KeyError:
            logging.getLogger("a.b").exception("broke")
    first, second = (json.loads(text) for text in path.read_text().splitlines())
    assert (first["event"], first["level"], first["logger"]) == ("two\nlines", "info", "a.b")
    assert (first["source"], first["rows"]) == ("neso", 3)
    assert datetime.fromisoformat(first["timestamp"]).tzinfo is not None
    assert second["exception"][0]["exc_type"] == "KeyError"


def test_log_files_are_private_and_turn_over(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(logs, "FILE_BYTES", 2000)
    monkeypatch.setattr(logs, "FILES_KEPT", 2)
    before = os.umask(0)
    try:
        with logging_to(tmp_path / "logs", Console(file=io.StringIO())):
            for number in range(100):
                logging.getLogger("x").info("message %d", number)
    finally:
        os.umask(before)
    found = sorted((tmp_path / "logs").iterdir())
    assert [path.name for path in found] == ["gridpact.log", "gridpact.log.1", "gridpact.log.2"]
    assert {stat.S_IMODE(path.stat().st_mode) for path in found} == {0o600}
    assert stat.S_IMODE((tmp_path / "logs").stat().st_mode) == 0o700
    assert max(path.stat().st_size for path in found) <= 2000


def test_logging_is_as_before_afterwards_and_quiet_shows_warnings_alone(tmp_path: Path) -> None:
    root, screen = logging.getLogger(), io.StringIO()
    before = (root.level, list(root.handlers), logging.getLogger("httpx").level)
    with logging_to(tmp_path, Console(file=screen), quiet=True) as path:
        assert logging.getLogger("httpx").level == logging.WARNING
        root.info("calm")
        root.warning("loud")
    assert (root.level, list(root.handlers), logging.getLogger("httpx").level) == before
    assert "loud" in screen.getvalue()
    assert "calm" not in screen.getvalue()
    assert "calm" in path.read_text()


# -- which run, which folders --------------------------------------------------------------------


def endpoint(url: str = "http://127.0.0.1:1", mode: str = "embedded") -> SupabaseEndpoint:
    return SupabaseEndpoint(url, None, "secret", None, mode, Path("state.json"))  # type: ignore[arg-type]


def test_the_live_run_has_one_id_for_ever_and_a_moved_clock_another() -> None:
    assert live_run_id(Settings.model_construct()) == row_id("scenario_runs", "live")
    moved = live_run_id(Settings.model_construct(clock_offset_s=3600.0))
    assert moved != row_id("scenario_runs", "live")
    assert moved == live_run_id(Settings.model_construct(clock_offset_s=3600.2))
    faster = live_run_id(Settings.model_construct(clock_offset_s=3600.0, clock_speed=10.0))
    assert faster not in {moved, live_run_id(Settings.model_construct())}


HERE = "http://127.0.0.1:9"


def test_a_faster_clock_is_refused_while_any_source_is_elsewhere() -> None:
    here = dict.fromkeys(("carbon_intensity_url", "neso_url", "elexon_url", "beckn_url"), HERE)
    assert Settings(clock_speed=10.0, **here).clock_speed == 10.0
    for name in here:
        others = {other: url for other, url in here.items() if other != name}
        with pytest.raises(ValueError, match="breaks the limits of real sources"):
            Settings(clock_speed=10.0, **others)
    with pytest.raises(ValueError, match="octopus is asked at https://api"):
        Settings(clock_speed=10.0, **here, source_urls={"octopus": "https://api.example"})


def test_a_clock_is_the_machines_times_its_speed_plus_its_offset() -> None:
    # Half a year is 15,768,000 s; ten times the seconds of the machine, 9 of them taken away.
    began = datetime.now(UTC)
    fast = SystemClock(-9 * (began - datetime(1970, 1, 1, tzinfo=UTC)).total_seconds(), 10.0)
    seen = fast.now() - began
    assert timedelta(0) <= seen <= 10 * (datetime.now(UTC) - began) + timedelta(milliseconds=1)
    moved = SystemClock(15_768_000.0).now() - datetime.now(UTC)
    assert abs(moved - timedelta(days=182.5)) < timedelta(seconds=1)


def test_state_is_kept_apart_by_database_address_and_clock(tmp_path: Path) -> None:
    plain = Settings.model_construct()
    folders = {
        state_folder(tmp_path, endpoint(), plain),
        state_folder(tmp_path, endpoint("https://x.example", "hosted"), plain),
        state_folder(tmp_path, endpoint("https://y.example", "hosted"), plain),
        state_folder(tmp_path, endpoint(), Settings.model_construct(neso_url="http://127.0.0.1:9")),
        state_folder(tmp_path, endpoint(), Settings.model_construct(clock_offset_s=86_400.0)),
        state_folder(tmp_path, endpoint(), Settings.model_construct(clock_speed=10.0)),
    }
    assert len(folders) == 6
    assert all(folder.parent == tmp_path / "live" for folder in folders)
    assert state_folder(tmp_path, endpoint(), plain) in folders
    assert spool_folder(tmp_path, endpoint()) == tmp_path / "spool" / "embedded-live"


def test_a_second_live_pipeline_of_a_home_is_refused_and_told_the_first_ones_process(
    tmp_path: Path,
) -> None:
    held = f"process {os.getpid()}"
    with only_one(tmp_path), pytest.raises(ConfigurationError, match=held), only_one(tmp_path):
        pass
    with only_one(tmp_path):
        pass


# -- choice --------------------------------------------------------------------------------------


def test_all_four_sources_are_asked_unless_some_are_named() -> None:
    assert chosen_sources(None)[:4] == ("carbon_intensity", "neso", "elexon", "beckn")
    assert chosen_sources("beckn") == ("beckn",)
    assert chosen_sources("elexon, carbon-intensity") == ("carbon_intensity", "elexon")


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("nesso", "did you mean 'neso'"),
        (" , ", "is empty"),
        ("neso,zzz", "there is no source 'zzz'"),
    ],
)
def test_a_source_that_does_not_exist_is_refused(text: str, said: str) -> None:
    with pytest.raises(InputError, match=said):
        chosen_sources(text)


# -- the screen ----------------------------------------------------------------------------------


def situation() -> Situation:
    good = Track("elexon", rows=1234, next_due="2031-02-03T12:06:00Z")
    good.last_success = "2031-02-03T11:58:30Z"
    good.lags_s.append(0.012)
    bad = Track("neso", breaker="open", problem="neso cannot be reached: refused", fallbacks=7)
    return Situation(NOON, (good, bad), tick=9, sites=False, unsent=12)


def test_the_table_shows_what_an_operator_asks() -> None:
    out = io.StringIO()
    Console(file=out, width=120).print(table(situation()))
    shown = out.getvalue()
    for words in ("1 min 30 s ago", "12 ms", "in 6 min 00 s", "1,234", "open", "never", "refused"):
        assert words in shown
    assert "nothing is placed: no sites; 12 rows on their way to Supabase" in shown
    assert max(len(text) for text in shown.splitlines()) <= 120


def test_a_pipe_gets_a_line_a_tick_and_no_table() -> None:
    out = io.StringIO()
    screen = LiveScreen(Console(file=out, width=400)).follow(situation)
    with screen:
        screen.ticked(situation())
    assert out.getvalue() == line(situation()) + "\n"
    assert "elexon 1234 rows, neso 0 rows (neso cannot be reached: refused)" in line(situation())


def test_a_quiet_screen_says_nothing() -> None:
    out = io.StringIO()
    with LiveScreen(Console(file=out), quiet=True).follow(situation) as screen:
        screen.ticked(situation())
    assert out.getvalue() == ""


def test_times_far_away_are_told_in_hours() -> None:
    track = Track("neso", next_due="2031-02-03T14:07:00Z", last_success="2031-02-02T12:00:00Z")
    out = io.StringIO()
    Console(file=out, width=120).print(
        table(Situation(NOON - timedelta(0), (track,), tick=1, sites=True, registered=4, awarded=3))
    )
    assert "24 h 00 min ago" in out.getvalue()
    assert "in 2 h 07 min" in out.getvalue()
    assert "3 of 4 workloads placed" in out.getvalue()
    assert "storage does not answer" in out.getvalue()
