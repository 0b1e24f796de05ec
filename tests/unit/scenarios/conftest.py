"""Bundled scenarios, loaded once, and a way to break a copy of one."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from scenarios.loader import LIBRARY, load
from scenarios.scenario import Scenario

MakeScenario = Callable[..., Path]


@pytest.fixture(scope="session")
def windy() -> Scenario:
    return load("windy-night")


@pytest.fixture(scope="session")
def rush() -> Scenario:
    return load("beckn-window-rush")


@pytest.fixture(scope="session")
def autumn() -> Scenario:
    return load("clock-change-autumn")


@pytest.fixture
def edited(tmp_path: Path) -> MakeScenario:
    """Copy a bundled scenario and replace text in one of its files."""

    def make(
        *changes: tuple[str, str], name: str = "windy-night", file: str = "scenario.toml"
    ) -> Path:
        folder = tmp_path / name
        if not folder.exists():
            shutil.copytree(LIBRARY / name, folder)
        path = folder / file
        text = path.read_text(encoding="utf-8")
        for old, new in changes:
            assert old in text, f"{old!r} is not in {file}"
            text = text.replace(old, new)
        path.write_text(text, encoding="utf-8")
        return folder

    return make
