"""The page of bundled scenarios lists each with the sizes it has."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from scenarios.loader import bundled, load
from scenarios.model import GeneratedWorkloads

PAGE = Path(__file__).resolve().parents[3] / "docs" / "reference" / "scenarios.md"
_ROW = re.compile(r"^\| `([a-z0-9-]+)` \| (\d+) \| (\d+) \| (\d+) \| (\d+) \|", re.MULTILINE)
LISTED = {name: figures for name, *figures in _ROW.findall(PAGE.read_text(encoding="utf-8"))}


@pytest.mark.parametrize("name", bundled())
def test_the_page_lists_a_bundled_scenario_with_its_sizes(name: str) -> None:
    scenario = load(name)
    work = scenario.file.workloads
    assert isinstance(work, GeneratedWorkloads)
    sizes = [scenario.file.duration_h, scenario.ticks, work.count, len(scenario.windows)]
    assert [int(text) for text in LISTED[name]] == sizes
