"""Reads our own replies in wire form and runs the registered parser of an endpoint on them."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime
from pathlib import Path

import pytest

from fetchers import registry
from fetchers.capture import open_capture
from fetchers.parsing import ParseContext
from schema.readings import Parsed

PAYLOADS = Path(__file__).resolve().parents[2] / "payloads"


@pytest.fixture
def payload() -> Callable[[str], bytes]:
    """Give the reply in a file below tests/payloads, without its capture envelope."""

    def read(name: str) -> bytes:
        return open_capture((PAYLOADS / name).read_bytes(), name).body

    return read


@pytest.fixture
def parse_file(payload: Callable[[str], bytes]) -> Callable[..., Parsed]:
    """Run the parser of SOURCE ENDPOINT on a file of that source's folder."""

    def run(source: str, endpoint: str, name: str, now: datetime | None = None) -> Parsed:
        body = payload(f"{source}/{name}")
        return registry.find(source, endpoint).parse(body, ParseContext(now=now))

    return run
