"""Sources of other packages stand beside ours and cannot take their place."""

from __future__ import annotations

from importlib.metadata import EntryPoint

import pytest

from fetchers import registry
from fetchers.parsing import EndpointParser, ParseContext, RowSink, coalesce
from schema.errors import ConfigurationError, InputError
from schema.periods import parse_instant
from schema.readings import Parsed
from schema.rows import WholesalePriceRow


def _nothing(body: bytes, context: ParseContext) -> Parsed:
    return Parsed()


OUTSIDE = {"prices": EndpointParser(("wholesale_prices",), "half-hourly tariff", _nothing)}
BROKEN = ["prices"]


@pytest.fixture
def _outside(monkeypatch: pytest.MonkeyPatch) -> None:
    def points(*, group: str) -> list[EntryPoint]:
        assert group == "gridpact.sources"
        return [
            EntryPoint("tariff", f"{__name__}:OUTSIDE", group),
            EntryPoint("broken", f"{__name__}:BROKEN", group),
            EntryPoint("absent", "no_such_package_at_all:X", group),
            EntryPoint("neso", f"{__name__}:OUTSIDE", group),
        ]

    monkeypatch.setattr(registry, "entry_points", points)


def test_ours_are_all_there() -> None:
    assert registry.sources() == ("carbon_intensity", "neso", "elexon", "beckn")
    for source in registry.sources():
        for name, parser in registry.endpoints(source).items():
            assert name == name.lower().replace("_", "-")
            assert parser.description


@pytest.mark.usefixtures("_outside")
def test_an_outside_source_is_found_by_its_name() -> None:
    assert registry.sources() == (
        "carbon_intensity",
        "neso",
        "elexon",
        "beckn",
        "absent",
        "broken",
        "tariff",
    )
    assert registry.find("tariff", "prices").tables == ("wholesale_prices",)


@pytest.mark.usefixtures("_outside")
def test_an_outside_source_cannot_take_the_place_of_ours() -> None:
    assert "demand-update" in registry.endpoints("neso")


@pytest.mark.usefixtures("_outside")
@pytest.mark.parametrize(
    ("name", "message"),
    [("broken", "must be a mapping.*got list"), ("absent", "cannot be loaded: No module")],
)
def test_a_package_that_provides_something_else_is_named(name: str, message: str) -> None:
    with pytest.raises(ConfigurationError, match=message):
        registry.endpoints(name)


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
