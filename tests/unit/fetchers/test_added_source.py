"""A source of another package: found, parsed, polled, and held to the contract."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Mapping, Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import httpx
import orjson
import pytest

from fetchers import registry
from fetchers.capture import open_capture
from fetchers.contract import Sample, check_source
from fetchers.definition import SourceDefinition
from fetchers.factory import make_fetcher
from fetchers.parsing import EndpointParser, ParseContext
from fetchers.plan import Feed
from fetchers.request import Request
from fetchers.sources import BasePlan, FeedTurn
from schema.clock import VirtualClock
from schema.readings import Parsed
from schema.rows import Record, WholesalePriceRow
from storage.grid_facts import Fact
from storage.grid_prices import price_series
from storage.ports import PutAck

ROOT = Path(__file__).resolve().parents[3]
PACKAGE = ROOT / "tests" / "example_source"
PAYLOAD = PACKAGE / "payloads" / "unit_rates.json"
PAYLOADS = ROOT / "tests" / "payloads"
RETRIEVED = datetime(2031, 2, 3, 17, 5, tzinfo=UTC)
RUN = "00000000-0000-0000-0000-00000000000a"


@pytest.fixture
def install(tmp_path: Path) -> Path:
    """What an installer leaves behind for the package: its metadata, beside other packages."""
    metadata = tmp_path / "gridpact_octopus-0.1.0.dist-info"
    metadata.mkdir()
    (metadata / "METADATA").write_text(
        "Metadata-Version: 2.1\nName: gridpact-octopus\nVersion: 0\n"
    )
    (metadata / "entry_points.txt").write_text(
        "[gridpact.sources]\noctopus = gridpact_octopus:SOURCE\n"
    )
    return tmp_path


@pytest.fixture
def octopus(install: Path, monkeypatch: pytest.MonkeyPatch) -> SourceDefinition:
    """The source as it is found once its package is installed."""
    monkeypatch.syspath_prepend(str(install))
    monkeypatch.syspath_prepend(str(PACKAGE))
    return registry.definition("octopus")


def sample(endpoint: str, file: Path, at: datetime | None = None) -> Sample:
    capture = open_capture(file.read_bytes(), file.name)
    moment = at or capture.captured_at
    assert moment is not None
    return Sample(endpoint, capture.body, moment)


@pytest.fixture
def rates() -> Sample:
    return sample("unit-rates", PAYLOAD)


class Store:
    def __init__(self) -> None:
        self.records: list[Record] = []

    async def put(self, records: Sequence[Record], checkpoint: object = None) -> PutAck:
        self.records.extend(records)
        return PutAck(len(records), 0)

    def of(self, table: str) -> list[dict[str, Any]]:
        return [record.columns() for record in self.records if record.table == table]


# -- the example ---------------------------------------------------------------------------------


def test_the_example_keeps_the_contract(octopus: SourceDefinition, rates: Sample) -> None:
    check_source(octopus, [rates])


def test_rates_in_pence_become_prices_of_a_megawatt_hour(
    octopus: SourceDefinition, rates: Sample
) -> None:
    parsed = octopus.endpoints["unit-rates"].parse(rates.body, ParseContext())
    assert [
        (row.valid_from, row.price_gbp_per_mwh)
        for row in parsed.rows
        if isinstance(row, WholesalePriceRow)
    ] == [
        (datetime(2031, 2, 4, 17, tzinfo=UTC), 184.0),
        (datetime(2031, 2, 4, 3, 30, tzinfo=UTC), -21.0),
        (datetime(2031, 2, 4, 3, tzinfo=UTC), 0.0),
    ]
    assert [one.where for one in parsed.rejected] == ["results[3]", "results[4]"]


def test_parse_reads_its_replies_from_the_command_line(install: Path) -> None:
    answer = subprocess.run(
        [sys.executable, "run_cluster.py", "parse", "octopus", "unit-rates", PAYLOAD, "--json"],
        cwd=ROOT,
        env={**os.environ, "PYTHONPATH": f"{install}:{PACKAGE}"},
        capture_output=True,
        check=True,
    )
    document = orjson.loads(answer.stdout)
    assert (document["source"], len(document["rows"]), len(document["rejected"])) == (
        "octopus",
        3,
        2,
    )
    assert {row["table"] for row in document["rows"]} == {"wholesale_prices"}


async def test_it_is_polled_like_ours_once_an_hour(
    octopus: SourceDefinition, rates: Sample, tmp_path: Path
) -> None:
    asked: list[str] = []

    def answer(request: httpx.Request) -> httpx.Response:
        asked.append(str(request.url))
        return httpx.Response(200, content=rates.body)

    store = Store()
    fetcher = make_fetcher(
        "octopus",
        base_url=octopus.base_url,
        run_id=RUN,
        clock=VirtualClock(RETRIEVED),
        storage=store,
        seed=1,
        transport=httpx.MockTransport(answer),
        state_folder=tmp_path,
    )
    for minute in range(120):
        await fetcher.poll(RETRIEVED + timedelta(minutes=minute))
    # At 17:05, 18:00 and 19:00; today and tomorrow in London.
    wanted = (
        "https://api.octopus.energy/v1/products/AGILE-24-10-01/electricity-tariffs/"
        "E-1R-AGILE-24-10-01-C/standard-unit-rates/?period_from=2031-02-03T00%3A00%3A00Z"
        "&period_to=2031-02-05T00%3A00%3A00Z&page_size=150"
    )
    assert asked == [wanted] * 3
    assert [row["market"] for row in store.of("wholesale_prices")] == ["octopus-agile-c"] * 3
    assert {log["source"] for log in store.of("api_logs")} == {"octopus"}
    assert (tmp_path / "octopus.json").exists()


def test_the_market_does_not_take_a_tariff_for_an_index(
    octopus: SourceDefinition, rates: Sample
) -> None:
    parsed = octopus.endpoints["unit-rates"].parse(rates.body, ParseContext())
    facts = [
        Fact(
            row.TABLE,
            1,
            int(row.valid_from.timestamp()),
            (row.market, row.quality.value, row.price_gbp_per_mwh, row.volume_mwh),
        )
        for row in parsed.rows
        if isinstance(row, WholesalePriceRow)
    ]
    assert len(facts) == 3
    assert price_series(facts) == ({}, {})


# -- the contract bites --------------------------------------------------------------------------


class ToyPlan(BasePlan):
    source = "toy"
    feeds = (Feed("prices", timedelta(minutes=30)),)

    def __init__(self, base_url: str) -> None:
        super().__init__(base_url)
        self.parsers = {"prices": TOY_PARSER}

    def requests(self, turn: FeedTurn) -> Sequence[Request]:
        return [Request("toy", "prices", f"{self.base_url}/prices")]


def toy_rows(body: bytes, source: str = "toy") -> Parsed:
    from schema.errors import SourcePayloadInvalid

    try:
        price = float(orjson.loads(body)["price"])
    except (orjson.JSONDecodeError, KeyError, TypeError, ValueError) as exc:
        raise SourcePayloadInvalid("no price", source="toy") from exc
    row = WholesalePriceRow(
        source=source,
        valid_from=RETRIEVED.replace(minute=0),
        valid_to=RETRIEVED.replace(minute=30),
        market="toy",
        price_gbp_per_mwh=price,
    )
    return Parsed((row,))


def parse_toy(body: bytes, context: ParseContext) -> Parsed:
    return toy_rows(body)


TOY_PARSER = EndpointParser(("wholesale_prices",), "prices", parse_toy)
TOY = SourceDefinition("toy", "https://toy.example", {"prices": TOY_PARSER}, ToyPlan)
TOY_SAMPLE = Sample("prices", b'{"price": 5}', RETRIEVED)


def test_a_small_source_keeps_the_contract() -> None:
    check_source(TOY, [TOY_SAMPLE])


class Elsewhere(ToyPlan):
    def requests(self, turn: FeedTurn) -> Sequence[Request]:
        return [Request("toy", "prices", "https://other.example/prices")]


class Moody(ToyPlan):
    count = 0

    def requests(self, turn: FeedTurn) -> Sequence[Request]:
        Moody.count += 1
        return [Request("toy", "prices", f"{self.base_url}/prices?{Moody.count}")]


class Twins(ToyPlan):
    feeds = (ToyPlan.feeds[0], ToyPlan.feeds[0])


class Forgetful(ToyPlan):
    memory: dict[str, Any]

    def __init__(self, base_url: str) -> None:
        super().__init__(base_url)
        self.memory = {}

    def requests(self, turn: FeedTurn) -> Sequence[Request]:
        self.memory = {"asked": True}
        return super().requests(turn)

    def export(self) -> dict[str, Any]:
        return self.memory

    def rollback(self, checkpoint: Any) -> None:
        """Nothing to undo."""

    def restore(self, extra: Mapping[str, Any]) -> None:
        """Forgets to."""


class Lossy(ToyPlan):
    def read(self, *arguments: Any, **named: Any) -> Any:
        from fetchers.sources import Reading

        return Reading()


def crashes(body: bytes, context: ParseContext) -> Parsed:
    if b"price" not in body:
        raise KeyError("price")
    return toy_rows(body)


def stranger(body: bytes, context: ParseContext) -> Parsed:
    return toy_rows(body, "neso")


COUNT = iter(range(10**6))


def unsteady(body: bytes, context: ParseContext) -> Parsed:
    (row,) = toy_rows(body).rows
    return Parsed((row.model_copy(update={"price_gbp_per_mwh": float(next(COUNT))}),))


def parsed_by(parse: Any, table: str = "wholesale_prices") -> dict[str, EndpointParser]:
    return {"prices": EndpointParser((table,), "prices", parse)}


@pytest.mark.parametrize(
    ("broken", "told"),
    [
        (replace(TOY, plan=Elsewhere), "asks another address"),
        (replace(TOY, plan=Moody), "two plans ask differently"),
        (replace(TOY, plan=Twins), "different names"),
        (replace(TOY, plan=Forgetful), "restored"),
        (replace(TOY, plan=Lossy), "read, and not handed on: found 1"),
        (replace(TOY, name="tou"), "the source of a row: found 'toy', expected 'tou'"),
        (replace(TOY, endpoints=parsed_by(crashes)), "raised KeyError"),
        (replace(TOY, endpoints=parsed_by(stranger)), "found 'neso', expected 'toy'"),
        (replace(TOY, endpoints=parsed_by(unsteady)), "read twice gives other rows"),
        (replace(TOY, endpoints=parsed_by(parse_toy, "offers")), "a row of wholesale_prices"),
    ],
    ids=[
        "host",
        "moody",
        "twins",
        "forgets",
        "lossy",
        "name",
        "crash",
        "source",
        "unsteady",
        "table",
    ],
)
def test_a_broken_promise_is_named(broken: SourceDefinition, told: str) -> None:
    with pytest.raises(AssertionError) as caught:
        check_source(broken, [TOY_SAMPLE])
    assert told in str(caught.value)


def test_a_feed_without_a_recorded_reply_is_named() -> None:
    with pytest.raises(AssertionError, match="no such endpoint"):
        check_source(TOY, [replace(TOY_SAMPLE, endpoint="price")])
    with pytest.raises(AssertionError, match="at least one recorded reply"):
        check_source(TOY, [])


# -- ours keep it too ----------------------------------------------------------------------------

OURS = {
    "carbon_intensity": {
        "intensity-fw48h": "intensity_fw48h.json",
        "intensity-pt24h": "intensity_pt24h.json",
        "generation": "generation.json",
        "regional-fw48h": "regional_fw48h_periods.json",
    },
    "elexon": {
        "market-index": "market_index.json",
        "system-prices": "system_prices.json",
        "demand-outturn": "demand_outturn.json",
        "fuelhh": "fuelhh_stream.json",
        "demand-forecast": "demand_forecast.json",
        "demand-forecast-zonal": "demand_forecast_zonal.json",
    },
    "neso": {
        "resource-show": "resource_show.json",
        "demand-forecast-1d": "demand_forecast_1d_historic.csv",
        "demand-forecast-2d": "demand_forecast_7d.json",
        "demand-forecast-7d": "demand_forecast_7d.json",
        "demand-forecast-14d": "demand_forecast_14d.json",
        "demand-update": "demand_update.csv",
        "embedded-forecast": "embedded_forecast.json",
        "dfs-utilisation": "dfs_utilisation.csv",
        "dfs-summary": "dfs_summary.json",
        "eac-results": "eac_results.json",
    },
}


@pytest.mark.parametrize("source", OURS)
def test_our_own_sources_keep_the_contract(source: str) -> None:
    samples = [
        sample(endpoint, PAYLOADS / source / name, RETRIEVED)
        for endpoint, name in OURS[source].items()
    ]
    check_source(registry.definition(source), samples)
