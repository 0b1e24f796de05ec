"""Our own Beckn replies."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

PAYLOADS = Path(__file__).resolve().parents[3] / "payloads" / "beckn"


@pytest.fixture
def payload() -> Callable[[str], bytes]:
    """Read one of them by name."""
    return lambda name: (PAYLOADS / f"{name}.json").read_bytes()
