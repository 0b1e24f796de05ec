"""``bench ingest`` against a real Supabase: every passage arrives, and nothing is left."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from embedded_fixtures import EmbeddedServer
from embedded_kit import run_sql

from schema.settings import Settings
from storage.bench import cli_ingest
from storage.bench.copy_path import CopyPath, as_values
from storage.bench.ingest import SCENARIO
from storage.bench.rows import SOURCE, TABLE, made_records

pytestmark = [pytest.mark.embedded, pytest.mark.timeout(120)]

RUN = "5b1d8f8e-53a5-4d0f-9a43-3f4a2c8d9e01"


def url_of(server: EmbeddedServer) -> str:
    assert server.endpoint.database_url is not None
    return server.endpoint.database_url


@pytest.fixture
def settings(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, supabase_server: EmbeddedServer
) -> Settings:
    """Settings that name a hosted project, which the command must not touch."""
    found = Settings(
        _env_file=None,  # type: ignore[call-arg]
        SUPABASE_URL="https://project.invalid",
        SUPABASE_KEY="sb_secret_of_somebody",
        home=tmp_path,
    )

    @contextmanager
    def attach(settings: Settings, **_: Any) -> Iterator[Any]:
        assert settings.supabase_url is None
        yield supabase_server.endpoint

    monkeypatch.setattr(cli_ingest, "load_settings", lambda: found)
    monkeypatch.setattr(cli_ingest, "attach_or_start", attach)
    return found


def test_both_paths_are_told_and_no_row_is_left(
    settings: Settings,
    supabase_server: EmbeddedServer,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    cli_ingest.ingest(rows=300, repeat=2, as_json=True)
    told = json.loads(capsys.readouterr().out)
    assert (told["table"], told["rows"], told["repeat"]) == (TABLE, 300, 2)
    assert [path["path"] for path in told["paths"]] == ["insert", "update"]
    for path in told["paths"]:
        assert len(path["ratios"]) == len(path["sending_ratios"]) == 2
        assert path["ours_rows_per_s"] > 0
        assert path["sending_rows_per_s"] > 0
        assert path["copy_rows_per_s"] > 0
        # The embedded Supabase of the tests lies in another home, so its processes are not told.
        assert path["ours_us_per_row"].keys() == {"caller", "accepting", "sending"}
    url = url_of(supabase_server)
    left = f"select count(*) from scenario_runs where scenario = '{SCENARIO}'"
    assert run_sql(url, left) == [(0,)]
    assert run_sql(url, f"select count(*) from {TABLE} where source = '{SOURCE}'") == [(0,)]
    assert list(tmp_path.iterdir()) == [], "its spool is gone too"


@pytest.mark.long
def test_people_get_a_table(settings: Settings, capsys: pytest.CaptureFixture[str]) -> None:
    cli_ingest.ingest(rows=20, repeat=1, as_json=False)
    told = capsys.readouterr().out
    assert "made-up rows of generation_mix_regional" in told
    assert "COPY" in told
    assert "accepting" in told


def test_the_yardstick_inserts_then_updates_the_same_rows(supabase_server: EmbeddedServer) -> None:
    url = url_of(supabase_server)
    run_sql(
        url,
        "insert into scenario_runs (id, run_id, kind, scenario) "
        f"values ('{RUN}', '{RUN}', 'replay', '{SCENARIO}') returning 1",
    )
    try:
        with CopyPath(url, batch_rows=7) as copy:
            for version in (1, 2):
                records = made_records(20, RUN, seed=1, version=version)
                copy.store(*as_values(records))
                stored = run_sql(
                    url,
                    f"select id::text, generation_pct, version from {TABLE} "
                    f"where run_id = '{RUN}' order by 1",
                )
                assert stored == sorted(
                    (record.id, record.columns()["generation_pct"], version) for record in records
                )
    finally:
        run_sql(url, f"delete from scenario_runs where run_id = '{RUN}' returning 1")
