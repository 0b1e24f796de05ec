"""A server with tables of our own."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from embedded_fixtures import EmbeddedServer, serve
from embedded_kit import make_probe_tables


@pytest.fixture(scope="session")
def probe_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[EmbeddedServer]:
    """Give a server whose tables and functions are those of ``PROBE_SQL``."""
    yield from serve(tmp_path_factory.mktemp("probe-home"), make_probe_tables)
