"""Guards and fixtures that every test may use."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from storage.settings_loader import load_settings

ROOT = Path(__file__).resolve().parent.parent
SHARED_DATA = ROOT.parent / "shared" / "data"

pytest_plugins = ["canary_fixtures", "chaos_fixtures", "embedded_fixtures", "upstream_fixtures"]


@pytest.fixture(autouse=True)
def _clean_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    """No test sees the settings of the developer or of another test, nor the terminal's width."""
    load_settings.cache_clear()
    monkeypatch.delenv("COLUMNS", raising=False)
    for name in list(os.environ):
        if name.startswith("SUPABASE_") or (
            name.startswith("GRIDPACT_") and not name.startswith("GRIDPACT_TEST_")
        ):
            monkeypatch.delenv(name)


@pytest.fixture(scope="session")
def shared_data() -> Path:
    """Real sample replies and traces beside the checkout; skips where they are absent."""
    if not SHARED_DATA.is_dir():
        pytest.skip(f"real sample data are absent ({SHARED_DATA.name})")
    return SHARED_DATA
