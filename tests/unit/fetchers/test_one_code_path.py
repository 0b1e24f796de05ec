"""A recorded reply gives the same rows through ``parse`` and through the fetcher."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import httpx
import orjson
import pytest
from typer.testing import CliRunner

from fetchers import registry
from fetchers.capture import open_capture
from fetchers.factory import make_fetcher
from fetchers.fetcher import Fetcher
from fetchers.http import ENDPOINT
from fetchers.neso.endpoints import RESOURCE_SHOW
from fetchers.plan import Feed
from fetchers.request import Request
from fetchers.sources import BasePlan, FeedTurn
from run_cluster import app
from schema.clock import VirtualClock
from schema.periods import parse_instant
from schema.rows import Record
from storage.ports import PutAck

PAYLOADS = Path(__file__).resolve().parents[2] / "payloads"
RUN = "00000000-0000-0000-0000-00000000000a"
NOW = datetime(2031, 2, 3, 12, tzinfo=UTC)
BASE = "https://api.example/v1"
#: Columns that only the fetcher adds: whose row it is, and when.
STAMPED = {"id", "run_id", "version", "retrieved_at", "zone_id", "window_id"}

ASKED = {
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
        "demand-forecast-1d": "demand_forecast_1d_historic.csv",
        "demand-forecast-7d": "demand_forecast_7d.json",
        "demand-forecast-14d": "demand_forecast_14d.json",
        "demand-update": "demand_update.csv",
        "embedded-forecast": "embedded_forecast.json",
        "dfs-utilisation": "dfs_utilisation.csv",
        "dfs-summary": "dfs_summary.json",
        "eac-results": "eac_results.json",
    },
    "beckn": {"on-discover": "on_discover_traps.json"},
}
"""Replies to what our own plans ask."""
OTHERS = {
    "carbon_intensity": {
        "generation-pt24h": "generation_pt24h.json",
        "regional-postcode": "regional_postcode_list.json",
        "regional-range-postcode": "regional_range_postcode_object.json",
    },
    "elexon": {
        "mid-stream": "mid_stream.json",
        "indo": "indo.json",
        "itsdo": "itsdo.json",
        "ndf": "ndf.json",
        "tsdf": "tsdf.json",
        "fuelinst": "fuelinst_stream.json",
        "generation-current": "generation_current.json",
    },
    "neso": {
        "historic-demand": "historic_demand.csv",
        "historic-generation-mix": "historic_generation_mix.csv",
    },
}
"""Replies that a plan of one's own may ask for."""


def cases(table: Mapping[str, Mapping[str, str]]) -> list[Any]:
    return [
        pytest.param(source, endpoint, PAYLOADS / source / name, id=f"{source}-{endpoint}")
        for source, endpoints in table.items()
        for endpoint, name in endpoints.items()
    ]


def moment(file: Path) -> datetime:
    """When the reply was captured; now for files without an envelope."""
    return open_capture(file.read_bytes(), file.name).captured_at or NOW


def body_of(file: Path) -> bytes:
    return open_capture(file.read_bytes(), file.name).body


def from_the_command_line(source: str, endpoint: str, file: Path) -> tuple[list[str], int]:
    at = moment(file).isoformat()
    arguments = ["parse", source, endpoint, str(file), "--json", "--retrieved-at", at]
    answer = CliRunner().invoke(app, arguments)
    assert answer.exit_code == 0, answer.output
    document = orjson.loads(answer.stdout)
    rows = [canonical(row.pop("table"), row) for row in document["rows"]]
    return sorted(rows), len(document["rejected"])


class Store:
    def __init__(self) -> None:
        self.records: list[Record] = []

    async def put(self, records: Sequence[Record], checkpoint: object = None) -> PutAck:
        self.records.extend(records)
        return PutAck(len(records), 0)

    def rows(self, tables: Sequence[str]) -> list[str]:
        """Rows of the endpoint's tables; what is derived or made up is the fetcher's own."""
        found = [(one.table, one.columns()) for one in self.records if one.table in tables]
        return sorted(
            canonical(table, columns)
            for table, columns in found
            if columns.get("quality") != "synthetic"
            and not str(columns.get("method", "")).startswith("national ")
        )


def canonical(table: str, columns: Mapping[str, Any]) -> str:
    kept = {name: value for name, value in columns.items() if name not in STAMPED}
    kept = {
        name: parse_instant(value).isoformat()
        if name.endswith(("_at", "_from", "_to")) and value
        else value
        for name, value in kept.items()
    }
    return table + orjson.dumps(kept, option=orjson.OPT_SORT_KEYS).decode()


def serving(endpoint: str, body: bytes) -> httpx.MockTransport:
    """Answer one endpoint with the reply, the catalogue as NESO does, and others with 404."""

    def answer(request: httpx.Request) -> httpx.Response:
        asked = request.extensions[ENDPOINT]
        if asked == RESOURCE_SHOW:
            result = {"id": "r", "name": "x"}
            return httpx.Response(200, json={"success": True, "result": result})
        return httpx.Response(200 if asked == endpoint else 404, content=body)

    return httpx.MockTransport(answer)


@pytest.mark.parametrize(("source", "endpoint", "file"), cases(ASKED))
async def test_what_our_plans_ask_is_read_as_parse_reads_it(
    source: str, endpoint: str, file: Path
) -> None:
    expected, rejected = from_the_command_line(source, endpoint, file)
    store = Store()
    fetcher = make_fetcher(
        source,
        base_url=BASE,
        run_id=RUN,
        clock=VirtualClock(moment(file)),
        storage=store,
        seed=1,
        transport=serving(endpoint, body_of(file)),
        interval_s=3600,
    )
    report = await fetcher.poll(moment(file))
    tables = registry.find(source, endpoint).tables
    found = store.rows(tables)
    if source == "beckn":
        # Here the fetcher records its own message too, under whose transaction the answer goes.
        found = [row for row in found if not row.startswith("beckn_transactions")]
        expected = [row for row in expected if not row.startswith("beckn_transactions")]
    assert found == expected
    assert expected
    logged = [one.columns() for one in store.records if one.table == "api_logs"]
    # System prices are asked for several days at once.
    logs = [one for one in logged if one["endpoint"] == endpoint and one["outcome"] == "ok"]
    assert {log["rows_rejected"] for log in logs} == {rejected}
    assert report.rejected >= rejected


class OneFeed(BasePlan):
    """A plan of one's own over a source's parsers, as another package could write it."""

    def __init__(self, source: str, endpoint: str) -> None:
        super().__init__(BASE)
        self.source = source
        self.feeds = (Feed(endpoint, timedelta(hours=1)),)
        self.parsers = registry.endpoints(source)

    def requests(self, turn: FeedTurn) -> Sequence[Request]:
        return [Request(self.source, turn.feed.name, f"{BASE}/{turn.feed.name}")]


@pytest.mark.parametrize(("source", "endpoint", "file"), cases(OTHERS))
async def test_what_another_plan_asks_is_read_as_parse_reads_it(
    source: str, endpoint: str, file: Path
) -> None:
    expected, _ = from_the_command_line(source, endpoint, file)
    store = Store()
    fetcher = Fetcher(
        OneFeed(source, endpoint),
        run_id=RUN,
        clock=VirtualClock(moment(file)),
        transport=serving(endpoint, body_of(file)),
        storage=store,
        seed=1,
    )
    await fetcher.poll(moment(file))
    assert store.rows(registry.find(source, endpoint).tables) == expected
    assert expected


def test_no_reply_of_ours_is_left_out() -> None:
    """Every recorded reply with rows goes both ways, or is an error, or an order's answer."""
    named = {
        PAYLOADS / source / name
        for table in (ASKED, OTHERS)
        for source, endpoints in table.items()
        for name in endpoints.values()
    }
    left = {
        path.name
        for path in PAYLOADS.glob("*/*.*")
        if path not in named and not path.name.endswith((".meta.json", ".md"))
    }
    assert left == {
        # No rows: refusals, pages, the catalogue, and an aggregate.
        "error_400.json",
        "error_403_gateway.json",
        "problem_400.json",
        "unknown_action.json",
        "validation_error.json",
        "blocked.html",
        "package_show.json",
        "resource_show.json",
        "regional_scotland.json",
        # The same file in SQL's spelling, and the sandbox's shape: one parser each, tested there.
        "demand_update_sql.json",
        "on_discover_sandbox.json",
        # Answers to orders: what they say of windows is put together with what the book knows.
        "on_select.json",
        "on_confirm.json",
        "on_update.json",
        "on_status.json",
        "on_rating.json",
    }
