"""One local Ray cluster for all tests of actors.

Ray reads its environment when it is imported, so it is set here, when this folder is collected,
which is before any test module of it is imported.
"""

from __future__ import annotations

import gc
import sys
import tempfile
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from agents.ray_env import prepare

if TYPE_CHECKING:
    from agents.supervisor import Cluster

# A failing import would end the whole collection: the fixture tells instead.
TEMP = (
    None if "ray" in sys.modules else prepare(Path(tempfile.mkdtemp(prefix="gridpact-ray-home-")))
)


@pytest.fixture(scope="session")
def cluster() -> Iterator[Cluster]:
    """Give a started cluster; actors are launched by the tests."""
    if TEMP is None:
        pytest.fail("ray was imported before tests/actors was collected; name this folder first")
    from agents.supervisor import Cluster

    made = Cluster(address=None, temp_parent=TEMP, namespace="gridpact-tests")
    made.start()
    yield made
    with warnings.catch_warnings():
        # Ray lets go of its child processes without waiting for their end.
        warnings.simplefilter("ignore", ResourceWarning)
        made.stop()
        gc.collect()
