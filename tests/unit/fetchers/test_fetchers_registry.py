"""Sources of other packages stand beside ours and cannot take their place."""

from __future__ import annotations

from collections.abc import Sequence
from importlib.metadata import EntryPoint

import pytest

from fetchers import registry
from fetchers.definition import SourceDefinition, check_definition
from fetchers.factory import make_fetcher
from fetchers.fetcher import Fetcher
from fetchers.parsing import EndpointParser, ParseContext, RowSink, coalesce
from fetchers.sources import BasePlan
from schema.clock import VirtualClock
from schema.errors import ConfigurationError, InputError
from schema.periods import parse_instant
from schema.readings import Parsed
from schema.rows import Record, WholesalePriceRow
from schema.settings import Settings
from storage.ports import PutAck


def _nothing(body: bytes, context: ParseContext) -> Parsed:
    return Parsed()


class Plan(BasePlan):
    source = "whole"


OUTSIDE = {"prices": EndpointParser(("wholesale_prices",), "half-hourly tariff", _nothing)}
WHOLE = SourceDefinition("whole", "https://whole.example/v1", OUTSIDE, Plan)
OTHER_NAME = SourceDefinition("other", "https://whole.example/v1", OUTSIDE, Plan)
PLAIN_HTTP = SourceDefinition("plain", "http://whole.example/v1", OUTSIDE, Plan)
NO_TABLE = SourceDefinition(
    "no_table", "https://x.example", {"a": EndpointParser(("cats",), "cats", _nothing)}
)
NO_PARSER = SourceDefinition("no_parser", "https://x.example", {"a": _nothing})  # type: ignore[dict-item]
NO_PLAN = SourceDefinition("no_plan", "https://x.example", OUTSIDE, "plan")  # type: ignore[arg-type]
BROKEN = ["prices"]


@pytest.fixture
def _outside(monkeypatch: pytest.MonkeyPatch) -> None:
    def points(*, group: str) -> list[EntryPoint]:
        assert group == "gridpact.sources"
        names = {
            "tariff": "OUTSIDE",
            "broken": "BROKEN",
            "neso": "OUTSIDE",
            "whole": "WHOLE",
            "misnamed": "OTHER_NAME",
            "plain": "PLAIN_HTTP",
            "no_table": "NO_TABLE",
            "no_parser": "NO_PARSER",
            "no_plan": "NO_PLAN",
            "Capital": "OUTSIDE",
        }
        points = [EntryPoint(name, f"{__name__}:{what}", group) for name, what in names.items()]
        return [*points, EntryPoint("absent", "no_such_package_at_all:X", group)]

    monkeypatch.setattr(registry, "entry_points", points)


def test_ours_are_all_there() -> None:
    assert registry.sources() == ("carbon_intensity", "neso", "elexon", "beckn")
    for source in registry.sources():
        for name, parser in registry.endpoints(source).items():
            assert name == name.lower().replace("_", "-")
            assert parser.description


@pytest.mark.usefixtures("_outside")
def test_an_outside_source_is_found_by_its_name() -> None:
    assert registry.sources()[:4] == ("carbon_intensity", "neso", "elexon", "beckn")
    assert {"tariff", "whole", "broken", "absent"} <= set(registry.sources()[4:])
    assert registry.find("tariff", "prices").tables == ("wholesale_prices",)
    assert registry.find("whole", "prices").tables == ("wholesale_prices",)


@pytest.mark.usefixtures("_outside")
def test_an_outside_source_cannot_take_the_place_of_ours() -> None:
    assert "demand-update" in registry.endpoints("neso")
    assert registry.sources().count("neso") == 1


@pytest.mark.usefixtures("_outside")
@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("broken", "must be a SourceDefinition, or a mapping.*got list"),
        ("absent", "cannot be loaded: No module"),
        ("misnamed", "calls itself 'other'"),
        ("plain", "https is needed"),
        ("no_table", "feeds cats; tables are"),
        ("no_parser", "endpoint 'a' is a function, not an EndpointParser"),
        ("no_plan", "plan is 'plan'"),
        ("Capital", "small letters"),
    ],
)
def test_a_package_that_provides_something_else_is_named(name: str, message: str) -> None:
    with pytest.raises(ConfigurationError, match=message):
        registry.endpoints(name)


@pytest.mark.parametrize("name", ["carbon_intensity", "neso", "elexon", "beckn"])
def test_our_sources_are_defined_like_those_of_others(name: str) -> None:
    definition = registry.definition(name)
    assert check_definition(definition) is definition
    assert definition.name == name
    assert definition.endpoints == registry.endpoints(name)
    assert registry.base_url(name, Settings(_env_file=None)) == definition.base_url


@pytest.mark.usefixtures("_outside")
def test_an_address_comes_from_the_settings_or_else_from_the_source_itself(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    settings = Settings(_env_file=None)
    assert registry.base_url("whole", settings) == "https://whole.example/v1"
    monkeypatch.setenv("GRIDPACT_SOURCE_URLS", '{"whole": "http://127.0.0.1:9000"}')
    assert registry.base_url("whole", Settings(_env_file=None)) == "http://127.0.0.1:9000"
    with pytest.raises(InputError, match="no source 'hole'; did you mean 'whole'"):
        registry.base_url("hole", settings)


@pytest.mark.usefixtures("_outside")
def test_a_whole_source_is_polled_and_one_with_parsers_alone_is_not() -> None:
    def make(name: str) -> Fetcher:
        return make_fetcher(
            name,
            base_url="https://whole.example/v1",
            run_id="r",
            clock=VirtualClock(parse_instant("2031-02-03T04:00Z")),
            storage=MemoryOnly(),
            seed=1,
        )

    assert make("whole").source == "whole"
    with pytest.raises(ConfigurationError, match="has parsers only"):
        make("tariff")


class MemoryOnly:
    async def put(self, records: Sequence[Record]) -> PutAck:
        return PutAck(len(records), 0)


def test_an_unknown_name_is_answered_with_the_nearest() -> None:
    with pytest.raises(InputError, match=r"no source 'elexxon'; did you mean 'elexon'\?"):
        registry.endpoints("elexxon")


def _price(price: float, version: int | None) -> WholesalePriceRow:
    return WholesalePriceRow(
        source="elexon",
        valid_from=parse_instant("2031-02-03T04:00Z"),
        valid_to=parse_instant("2031-02-03T04:30Z"),
        market="system",
        price_gbp_per_mwh=price,
        version=version,
    )


@pytest.mark.parametrize(
    ("first", "second", "expected"),
    [
        pytest.param((1, 10), (2, 20), (2, 20), id="newer last"),
        pytest.param((2, 20), (1, 10), (2, 20), id="newer first"),
        pytest.param((1, None), (2, None), (2, None), id="no version: the later"),
        pytest.param((1, 10), (2, None), (1, 10), id="a version above none"),
    ],
)
def test_replies_of_one_poll_are_put_together_by_version(
    first: tuple[float, int | None],
    second: tuple[float, int | None],
    expected: tuple[float, int | None],
) -> None:
    assert coalesce([_price(*first), _price(*second)]) == [_price(*expected)]


def test_a_row_outside_its_bounds_is_rejected_with_value_and_bound() -> None:
    sink = RowSink()
    columns = dict(_price(1, None)) | {"price_gbp_per_mwh": 1e9, "colour": "red"}
    sink.add("data[0]", WholesalePriceRow, **columns)
    (rejected,) = sink.done().rejected
    assert rejected.where == "data[0]"
    assert "price_gbp_per_mwh is 1000000000.0" in rejected.reason
    assert "less than or equal to 100000" in rejected.reason
    assert "colour is 'red'" in rejected.reason
