"""``backfill`` against served sources and a real Supabase."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
import typer
from embedded_fixtures import EmbeddedServer
from embedded_kit import run_sql
from typer.testing import CliRunner
from upstream_fixtures import ServeUpstream, scenario_once

from scenarios.live.run import live_run_id, only_one
from scenarios.ops import cli_backfill
from scenarios.serve.server import UpstreamServer
from schema.errors import InputError
from schema.settings import Settings
from storage.home import prepare_home
from storage.system_clock import SystemClock

pytestmark = [pytest.mark.embedded, pytest.mark.timeout(180)]

START = scenario_once("windy-night").start
YESTERDAY = (START - timedelta(days=1)).date().isoformat()
Fill = Callable[..., tuple[int, dict[str, Any]]]


@pytest.fixture
def sources(serve_upstream: ServeUpstream) -> tuple[UpstreamServer, float]:
    """Serve windy-night as if it began now; gives the server and the clock's offset."""
    offset_s = float(int((START - SystemClock().now()).total_seconds()))
    return serve_upstream(clock=SystemClock(offset_s)), offset_s


@pytest.fixture
def settings(
    sources: tuple[UpstreamServer, float], supabase_server: EmbeddedServer, tmp_path: Path
) -> Settings:
    server, offset_s = sources
    endpoint = supabase_server.endpoint
    return Settings(
        _env_file=None,  # type: ignore[call-arg]
        SUPABASE_URL=endpoint.url,
        SUPABASE_KEY=endpoint.secret_key,
        home=tmp_path / "home",
        clock_offset_s=offset_s,
        **{f"{source.value}_url": url for source, url in server.urls.items()},
    )


@pytest.fixture
def fill(
    monkeypatch: pytest.MonkeyPatch, settings: Settings, supabase_server: EmbeddedServer
) -> Iterator[Fill]:
    monkeypatch.setattr(cli_backfill, "load_settings", lambda: settings)
    app = typer.Typer()
    app.command()(cli_backfill.backfill)

    def invoke(source: str, first: str, last: str, *options: str) -> tuple[int, dict[str, Any]]:
        words = ["--source", source, "--from", first, "--to", last, "--json", *options]
        result = CliRunner().invoke(app, words)
        if result.exception is not None and not isinstance(result.exception, SystemExit):
            raise result.exception
        return result.exit_code, json.loads(result.stdout)

    yield invoke
    url = supabase_server.endpoint.database_url
    assert url is not None
    run_sql(url, f"delete from scenario_runs where run_id = '{live_run_id(settings)}'")


def snapshot(server: EmbeddedServer, run_id: str) -> dict[str, list[tuple]]:
    """Ids and versions of a run's readings."""
    url = server.endpoint.database_url
    assert url is not None
    tables = ("carbon_intensity_national", "carbon_intensity_regional", "wholesale_prices")
    return {
        table: run_sql(
            url, f"select id, version from {table} where run_id = '{run_id}' order by id"
        )
        for table in tables
    }


def test_two_sources_fill_a_day_and_a_second_run_changes_nothing(
    fill: Fill, settings: Settings, supabase_server: EmbeddedServer
) -> None:
    run_id = live_run_id(settings)
    code, first = fill("carbon_intensity", YESTERDAY, YESTERDAY)
    assert (code, first["run_id"], first["failed"]) == (0, run_id, [])
    assert first["rows"]["new"] == first["rows"]["read"] > 0
    code, prices = fill("elexon", YESTERDAY, YESTERDAY)
    assert (code, prices["failed"]) == (0, [])
    before = snapshot(supabase_server, run_id)
    # 48 half hours, 14 regions; the index of one provider (the other has none) and system prices.
    assert {table: len(rows) for table, rows in before.items()} == {
        "carbon_intensity_national": 48,
        "carbon_intensity_regional": 48 * 14,
        "wholesale_prices": 48 * 2,
    }
    for source in ("carbon_intensity", "elexon"):
        code, again = fill(source, YESTERDAY, YESTERDAY, "--again")
        assert code == 0
        # Read back from PostgreSQL every figure is the one that was sent.
        assert again["rows"]["known"] == again["rows"]["read"] > 0
        assert (again["rows"]["new"], again["rows"]["changed"]) == (0, 0)
    assert snapshot(supabase_server, run_id) == before


def test_a_source_that_fails_on_the_way_is_exit_1_and_goes_on_the_next_time(
    fill: Fill, sources: tuple[UpstreamServer, float]
) -> None:
    server, _ = sources
    server.set_faults("carbon_intensity:html:/regional")
    code, answer = fill("carbon_intensity", YESTERDAY, YESTERDAY)
    assert (code, answer["stretches"]) == (1, 2), answer
    assert [fault["feed"] for fault in answer["failed"]] == ["regional"]
    server.set_faults("")
    code, answer = fill("carbon_intensity", YESTERDAY, YESTERDAY)
    assert (code, answer["failed"]) == (0, [])


def test_neso_is_not_asked_while_the_live_pipeline_asks_it(fill: Fill, settings: Settings) -> None:
    assert settings.home is not None
    with (
        only_one(prepare_home(settings.home)),
        pytest.raises(InputError, match="two data requests a minute"),
    ):
        fill("neso", YESTERDAY, YESTERDAY)


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("beckn", YESTERDAY, YESTERDAY), "tells nothing of past days"),
        (("elexon", "yesterday", YESTERDAY), "write a day such as"),
        (("elexon", YESTERDAY, "2001-01-01"), "ends before it begins"),
    ],
)
def test_what_cannot_be_filled_is_refused_before_anything_starts(
    fill: Fill, settings: Settings, words: tuple[str, str, str], said: str
) -> None:
    with pytest.raises(InputError, match=said):
        fill(*words)
    assert settings.home is not None
    assert not settings.home.exists()
