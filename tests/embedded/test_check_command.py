"""``check`` against served sources and a real Supabase: what it finds, says and leaves behind."""

from __future__ import annotations

import json
import stat
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import typer
from embedded_fixtures import PACKAGES, EmbeddedServer
from embedded_kit import run_sql
from typer.testing import CliRunner
from upstream_fixtures import ServeUpstream, scenario_once

from run_cluster import run as run_cluster
from scenarios.ops import checkup, cli_check
from scenarios.serve.server import UpstreamServer
from schema.settings import Settings
from storage.system_clock import SystemClock
from storage.throwaway import SCENARIO

pytestmark = [pytest.mark.embedded, pytest.mark.timeout(120)]

SOURCES = ["source carbon_intensity", "source neso", "source elexon", "source beckn"]
STORE = ["supabase", "supabase key", "migrations", "write right", "iteration"]
NAMES = ["disk", "spool", "sites", "ray", "embedded supabase", *SOURCES, *STORE, "clock"]
Check = Callable[..., tuple[int, dict[str, Any]]]


@pytest.fixture
def sources(serve_upstream: ServeUpstream) -> tuple[UpstreamServer, float]:
    """Serve windy-night as if it began now; gives the server and the clock's offset."""
    start = scenario_once("windy-night").start
    offset_s = (start - SystemClock().now()).total_seconds()
    return serve_upstream(clock=SystemClock(offset_s)), offset_s


@pytest.fixture
def check(
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
    sources: tuple[UpstreamServer, float],
    supabase_server: EmbeddedServer,
) -> Check:
    server, offset_s = sources
    monkeypatch.chdir(tmp_path)

    def invoke(*, as_json: bool = True, **changes: Any) -> tuple[int, dict[str, Any]]:
        endpoint = supabase_server.endpoint
        values = {
            "SUPABASE_URL": endpoint.url,
            "SUPABASE_KEY": endpoint.secret_key,
            "home": tmp_path / "home",
            "clock_offset_s": offset_s,
            **{f"{source.value}_url": url for source, url in server.urls.items()},
            **changes,
        }
        settings = Settings(_env_file=None, **values)  # type: ignore[call-arg]
        monkeypatch.setattr(cli_check, "load_settings", lambda: settings)
        result = CliRunner().invoke(cli_check_app(), ["--json"] if as_json else [])
        if result.exception is not None and not isinstance(result.exception, SystemExit):
            raise result.exception
        said = json.loads(result.stdout) if as_json else {"text": result.stdout}
        return result.exit_code, said

    return invoke


def cli_check_app() -> typer.Typer:
    app = typer.Typer()
    app.command()(cli_check.check)
    return app


def by_name(answer: dict[str, Any]) -> dict[str, dict[str, Any]]:
    return {item["name"]: item for item in answer["checks"]}


def statuses(answer: dict[str, Any]) -> dict[str, str]:
    return {item["name"]: item["status"] for item in answer["checks"]}


def rows_of_checks(server: EmbeddedServer) -> int:
    url = server.endpoint.database_url
    assert url is not None
    (found,) = run_sql(url, f"select count(*) from scenario_runs where scenario = '{SCENARIO}'")
    return int(found[0])


def test_all_is_well_with_everything_up_and_no_row_is_left(
    check: Check, supabase_server: EmbeddedServer, tmp_path: Path
) -> None:
    code, answer = check()
    assert code == 0, answer
    assert answer["ok"] is True
    assert [item["name"] for item in answer["checks"]] == NAMES
    assert list(answer["checks"][0]) == ["name", "status", "detail", "seconds", "hint"]
    assert set(statuses(answer).values()) == {"ok"}
    found = by_name(answer)
    assert "rows of intensity-fw48h" in found["source carbon_intensity"]["detail"]
    assert "stored, counted and deleted again" in found["iteration"]["detail"]
    assert found["source elexon"]["seconds"] > 0
    assert rows_of_checks(supabase_server) == 0
    url = supabase_server.endpoint.database_url
    assert url is not None
    assert run_sql(url, "select count(*) from api_logs where incarnation like 'check-%'")[0][0] == 0
    # Neither a spool nor a folder of its own is left in the home.
    assert [path.name for path in (tmp_path / "home").iterdir()] == ["supabase"]


def test_people_get_a_line_each_and_what_to_do(
    check: Check, sources: tuple[UpstreamServer, float]
) -> None:
    sources[0].set_faults("elexon:refuse")
    code, said = check(as_json=False)
    lines = said["text"].splitlines()
    assert code == 1
    assert [line[5:24].strip() for line in lines if line[:4] in {"ok  ", "fail"}] == [
        name[:19] for name in NAMES
    ]
    (number,) = [n for n, line in enumerate(lines) if line.startswith("fail")]
    assert lines[number + 1].startswith("     → see that this machine reaches 127.0.0.1")
    assert lines[-1] == f"{len(NAMES) - 1} right, 0 to look at, 1 failed"


def test_one_source_that_is_down_fails_alone(
    check: Check, sources: tuple[UpstreamServer, float], supabase_server: EmbeddedServer
) -> None:
    sources[0].set_faults("elexon:refuse")
    code, answer = check()
    assert (code, answer["ok"]) == (1, False)
    failed = [name for name, status in statuses(answer).items() if status == "fail"]
    assert failed == ["source elexon"]
    item = by_name(answer)["source elexon"]
    assert "elexon cannot be reached" in item["detail"]
    assert "127.0.0.1" in item["hint"]
    # The others' rows went the whole way all the same.
    assert statuses(answer)["iteration"] == "ok"
    assert rows_of_checks(supabase_server) == 0


@pytest.mark.parametrize(
    ("fault", "status", "said"),
    [
        ("neso:error", "fail", "answered 5"),
        ("neso:throttle=60", "fail", "answered 429"),
        ("neso:html", "fail", "neso"),
    ],
)
def test_a_source_that_answers_badly_says_how(
    check: Check, sources: tuple[UpstreamServer, float], fault: str, status: str, said: str
) -> None:
    sources[0].set_faults(fault)
    code, answer = check()
    item = by_name(answer)["source neso"]
    assert (code, item["status"]) == (1, status)
    assert said in item["detail"]
    assert item["hint"]


def test_without_any_source_only_the_way_to_the_database_is_proved(
    check: Check, sources: tuple[UpstreamServer, float], supabase_server: EmbeddedServer
) -> None:
    sources[0].set_faults(",".join(f"{name[7:]}:refuse" for name in SOURCES))
    code, answer = check()
    item = by_name(answer)["iteration"]
    # Four request logs, and no figure that a fetcher made up.
    assert (code, item["status"]) == (1, "warn")
    assert item["detail"].startswith("4 rows of 1 tables stored")
    assert "no source had rows" in item["detail"]
    assert rows_of_checks(supabase_server) == 0


def test_the_public_beckn_sandbox_may_be_gone(check: Check) -> None:
    default = Settings.model_fields["beckn_url"].default
    # No network in tests: as good as a sandbox that is gone.
    code, answer = check(beckn_url=default)
    item = by_name(answer)["source beckn"]
    assert (code, item["status"]) == (0, "warn")
    assert "GRIDPACT_BECKN_URL" in item["hint"]


@pytest.mark.parametrize("kind", ["wrong", "publishable"])
def test_a_wrong_key_is_named_and_what_rests_on_it_is_not_tried(
    check: Check, supabase_server: EmbeddedServer, kind: str
) -> None:
    endpoint = supabase_server.endpoint
    key = endpoint.publishable_key if kind == "publishable" else "sb_secret_canary"
    code, answer = check(SUPABASE_KEY=key)
    assert (code, answer["ok"]) == (1, False)
    found = by_name(answer)
    assert {name: found[name]["status"] for name in STORE} == {
        "supabase": "ok",
        "supabase key": "fail",
        "migrations": "fail",
        "write right": "fail",
        "iteration": "fail",
    }
    assert "refused" in found["supabase key"]["detail"]
    assert "secret key" in found["supabase key"]["hint"]
    assert "not tried, because 'supabase key' failed" in found["iteration"]["detail"]
    assert "canary" not in json.dumps(answer)


def test_a_database_without_our_migrations_is_told_apart(
    check: Check, probe_server: EmbeddedServer
) -> None:
    endpoint = probe_server.endpoint
    code, answer = check(SUPABASE_URL=endpoint.url, SUPABASE_KEY=endpoint.secret_key)
    found = by_name(answer)
    assert code == 1
    assert (found["supabase key"]["status"], found["migrations"]["status"]) == ("ok", "fail")
    assert "none of our migrations" in found["migrations"]["detail"]
    assert "db migrate" in found["migrations"]["hint"]


def test_a_supabase_that_is_away_fails_and_the_sources_are_still_judged(check: Check) -> None:
    code, answer = check(SUPABASE_URL="http://127.0.0.1:9", SUPABASE_KEY="sb_secret_x")
    found = statuses(answer)
    assert code == 1
    assert {name for name, status in found.items() if status == "fail"} == set(STORE)
    assert found["source carbon_intensity"] == "ok"


def test_the_embedded_one_that_is_up_is_used_and_stays_up(
    check: Check, supabase_server: EmbeddedServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = checkup.Checkup

    def with_packages(**options: Any) -> checkup.Checkup:
        return made(**options, packages=PACKAGES)

    monkeypatch.setattr(cli_check, "Checkup", with_packages)
    code, answer = check(SUPABASE_URL=None, SUPABASE_KEY=None, home=supabase_server.layout.home)
    found = by_name(answer)
    assert code == 0, answer
    assert found["supabase"]["detail"].startswith("embedded, ")
    assert "Node" in found["embedded supabase"]["detail"]
    assert rows_of_checks(supabase_server) == 0


def test_what_a_killed_check_left_behind_is_removed_by_the_next(
    check: Check, supabase_server: EmbeddedServer
) -> None:
    url = supabase_server.endpoint.database_url
    assert url is not None
    for hours in (2, 0):
        run_sql(
            url,
            "insert into scenario_runs (id, run_id, kind, scenario, clock_at) select i, i, "
            f"'replay', '{SCENARIO}', now() - interval '{hours} hours' from gen_random_uuid() i",
        )
    assert check()[0] == 0
    # The other one may belong to a check that is under way.
    assert rows_of_checks(supabase_server) == 1
    run_sql(url, f"delete from scenario_runs where scenario = '{SCENARIO}'")


def test_a_token_that_others_can_read_fails(check: Check, tmp_path: Path) -> None:
    token = tmp_path / "home" / "ray" / "token"
    token.parent.mkdir(parents=True)
    token.write_text("secret")
    token.chmod(0o644)
    code, answer = check()
    item = by_name(answer)["ray"]
    assert (code, item["status"]) == (1, "fail")
    assert f"chmod 600 {token}" in item["hint"]
    token.chmod(stat.S_IRUSR | stat.S_IWUSR)
    assert statuses(check()[1])["ray"] == "ok"


def test_settings_that_cannot_be_read_are_exit_2(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SUPABASE_URL", "https://x.supabase.co")
    assert run_cluster(["check"]) == 2
