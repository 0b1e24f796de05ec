"""``sites.toml``: read whole, refused with every fault, and turned into sites without an end."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest

from agents.compute import ComputeAgent
from agents.core.view import capacity_kw
from scenarios.live.sites import find_sites, load_sites, organisation, organisation_sources
from schema.errors import ConfigurationError
from schema.rows import Record
from storage.ports import Checkpoint, Filter, JsonObject, Order

RUN = "11111111-1111-4111-8111-111111111111"
GOOD = """
[[organisations]]
name = "north"
sites = [{ name = "leeds", region_id = 4, capacity_kw = 250, pue = 1.2 }]

[[organisations]]
name = "guest"
sites = []
"""


class Kept:
    """Storage that keeps what it is given."""

    def __init__(self) -> None:
        self.records: list[Record] = []

    def put_sync(self, records: Sequence[Record], checkpoint: Checkpoint | None = None) -> None:
        assert checkpoint is None
        self.records += records

    def checkpoint(self, name: str) -> Checkpoint | None:
        raise NotImplementedError(name)

    def select(
        self, table: str, columns: Sequence[str], filters: Sequence[Filter], order: Sequence[Order]
    ) -> list[JsonObject]:
        raise NotImplementedError(table, columns, filters, order)


def written(folder: Path, text: str) -> Path:
    path = folder / "sites.toml"
    path.write_text(text)
    return path


def test_an_organisation_takes_workloads_in_and_has_its_power_for_ever(tmp_path: Path) -> None:
    north = organisation(path=str(written(tmp_path, GOOD)), name="north")
    assert north.intake
    assert (north.sites[0].name, north.sites[0].region_id) == ("north/leeds", 4)
    # Half hour 1,000,000 is in 2027, half hour 0 is in 1970.
    for origin in (0, 1_000_000):
        assert np.array_equal(capacity_kw(north.sites, origin, 3), [[250.0, 250.0, 250.0]])


def test_the_row_of_a_site_names_its_power_once(tmp_path: Path) -> None:
    source = organisation_sources(written(tmp_path, GOOD))["north"]
    storage = Kept()
    agent = ComputeAgent("north", source, range(8), run_id=RUN, storage=storage)
    assert [site.name for site in agent.announce()] == ["north/leeds"]
    columns = storage.records[0].columns()
    assert (columns["capacity_kw"], columns["capacity_by_period"]) == (250.0, None)
    # Described anew, it must replace what stands in the database.
    assert columns["version"] > 1_700_000_000


def test_every_organisation_has_a_source(tmp_path: Path) -> None:
    sources = organisation_sources(written(tmp_path, GOOD))
    assert sorted(sources) == ["guest", "north"]
    assert sources["guest"].load().sites == ()


def test_every_fault_is_told_at_once(tmp_path: Path) -> None:
    text = """
    [[organisations]]
    name = "north"
    sites = [{ name = "leeds", region_id = 15, pue = 1.2 }, { name = "LEEDS", region_id = 4 }]
    """
    with pytest.raises(ConfigurationError, match="4 faults") as caught:
        load_sites(written(tmp_path, text))
    told = str(caught.value)
    assert "organisations[0].sites[0].region_id is 15: " in told
    assert "organisations[0].sites[0].capacity_kw: Field required" in told
    assert "organisations[0].sites[1].name is 'LEEDS'" in told


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        (GOOD.replace("guest", "north"), "'north' is there twice"),
        (GOOD.replace("guest", "storage"), "is 'storage': is the name of another actor"),
        (GOOD.replace("guest", "a-shard-2"), "is 'a-shard-2': is the name of another actor"),
        ('[[organisations]]\nname = "a"\nsites = []', "no organisation has a site"),
        ("organisations = []", "at least 1 item"),
        ("organisations = [", "is no valid TOML"),
        (GOOD.replace("pue", "pui"), "pui is 1.2: Extra inputs are not permitted"),
        (GOOD.replace("= 250", "= nan"), "capacity_kw is nan"),
    ],
)
def test_what_is_wrong_is_said(tmp_path: Path, text: str, reason: str) -> None:
    with pytest.raises(ConfigurationError) as caught:
        load_sites(written(tmp_path, text))
    assert reason in str(caught.value)


def test_an_organisation_that_is_not_in_the_file_is_named_with_those_that_are(
    tmp_path: Path,
) -> None:
    with pytest.raises(ConfigurationError, match=r"no organisation 'south'; it names north, guest"):
        organisation(path=str(written(tmp_path, GOOD)), name="south")


def test_the_setting_comes_before_the_folder(tmp_path: Path) -> None:
    here, there = tmp_path / "here", tmp_path / "there"
    here.mkdir()
    there.mkdir()
    assert find_sites(None, here) is None
    path, other = written(here, GOOD), written(there, GOOD)
    assert find_sites(None, here) == path
    assert find_sites(other, here) == other
    with pytest.raises(ConfigurationError, match=r"GRIDPACT_SITES names .*nowhere.toml"):
        find_sites(tmp_path / "nowhere.toml", here)
