"""Rows, records and stores that several storage tests share."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

import orjson

from schema.errors import GridpactError
from schema.messages import Performative
from schema.readings import Quality
from schema.rows import (
    AgentNegotiationRow,
    AgentRow,
    ApiLogRow,
    CarbonIntensityNationalRow,
    CarbonIntensityRegionalRow,
    ComputeAssetRow,
    ComputeWindowRow,
    ComputeWorkloadRow,
    GridZoneRow,
    OfferRow,
    Record,
    ScenarioRunRow,
    WholesalePriceRow,
)
from schema.rows.system import AgentKind, Outcome, RunKind
from storage.memory import MemoryStore
from storage.verdicts import Verdict, store_error

RUN = "11111111-1111-4111-8111-111111111111"
OTHER_RUN = "22222222-2222-4222-8222-222222222222"
START = datetime(2026, 5, 1, 10, 0, tzinfo=UTC)
HALF_HOUR = timedelta(minutes=30)


def run_row(**columns: Any) -> ScenarioRunRow:
    return ScenarioRunRow(**{"kind": RunKind.REPLAY, "clock_at": START, **columns})


def run_record(run: str = RUN, version: int = 0, **columns: Any) -> Record:
    return run_row(**columns).to_record(run, version=version)


def agent(name: str, run: str = RUN, version: int = 0, **columns: Any) -> Record:
    row = AgentRow(**{"agent_name": name, "kind": AgentKind.COMPUTE, **columns})
    return row.to_record(run, version=version)


def asset(agent_name: str, name: str = "hall", run: str = RUN) -> Record:
    return ComputeAssetRow(
        agent_name=agent_name, asset_name=name, region_id=13, capacity_kw=100.0
    ).to_record(run)


def workload(agent_name: str, name: str, run: str = RUN, version: int = 0, **more: Any) -> Record:
    return ComputeWorkloadRow(
        **{
            "agent_name": agent_name,
            "workload_name": name,
            "power_kw": 5.0,
            "duration_min": 60,
            "earliest_start": START,
            "deadline": START + timedelta(hours=8),
            "allowed_regions": [13],
            **more,
        }
    ).to_record(run, version=version)


def message(sequence: int, run: str = RUN, **more: Any) -> Record:
    return AgentNegotiationRow(
        **{
            "conversation_id": "c1",
            "sequence": sequence,
            "round": sequence,
            "performative": Performative.CFP,
            "sender": "orchestrator",
            "receiver": "all",
            "content": {"n": sequence},
            "sent_at": START,
            **more,
        }
    ).to_record(run)


def log(sequence: int, run: str = RUN, **more: Any) -> Record:
    return ApiLogRow(
        **{
            "incarnation": "life-1",
            "sequence": sequence,
            "source": "neso",
            "endpoint": "e",
            "outcome": Outcome.OK,
            "requested_at": START,
            **more,
        }
    ).to_record(run)


def regional(
    region: int,
    at: datetime,
    forecast: float,
    *,
    run: str = RUN,
    quality: Quality = Quality.PUBLISHED,
    version: int = 0,
) -> Record:
    return CarbonIntensityRegionalRow(
        source="carbon_intensity",
        valid_from=at,
        valid_to=at + HALF_HOUR,
        quality=quality,
        region_id=region,
        forecast_gco2_per_kwh=forecast,
    ).to_record(run, retrieved_at=START, version=version)


def national(
    at: datetime,
    forecast: float | None = None,
    actual: float | None = None,
    *,
    quality: Quality = Quality.PUBLISHED,
    version: int = 0,
) -> Record:
    return CarbonIntensityNationalRow(
        source="carbon_intensity",
        valid_from=at,
        valid_to=at + HALF_HOUR,
        quality=quality,
        forecast_gco2_per_kwh=forecast,
        actual_gco2_per_kwh=actual,
    ).to_record(RUN, retrieved_at=START, version=version)


def price(
    at: datetime,
    gbp_per_mwh: float,
    *,
    market: str = "APXMIDP",
    volume: float | None = 100.0,
    quality: Quality = Quality.PUBLISHED,
    version: int = 0,
) -> Record:
    return WholesalePriceRow(
        source="elexon",
        market=market,
        valid_from=at,
        valid_to=at + HALF_HOUR,
        quality=quality,
        price_gbp_per_mwh=gbp_per_mwh,
        volume_mwh=volume,
    ).to_record(RUN, retrieved_at=START, version=version)


def zone(code: str, region_id: int | None) -> Record:
    return GridZoneRow(zone_code=code, region_id=region_id).to_record(RUN)


def window(item: str, at: datetime, version: int = 0, **more: Any) -> Record:
    return ComputeWindowRow(
        **{
            "bpp_id": "bpp",
            "item_id": item,
            "starts_at": at,
            "ends_at": at + timedelta(hours=2),
            "zone_code": "zone-1",
            "capacity_kw": 250.0,
            **more,
        }
    ).to_record(RUN, version=version)


def offer(item: str, at: datetime, offer_id: str, per_kwh: float, currency: str = "GBP") -> Record:
    return OfferRow(
        bpp_id="bpp",
        offer_id=offer_id,
        item_id=item,
        window_starts_at=at,
        price_per_kwh=per_kwh,
        currency=currency,
    ).to_record(RUN)


Before = Callable[[Mapping[str, Sequence[bytes]]], None]


class ScriptedStore(MemoryStore):
    """A memory store that notes each request and may fail before or after taking it."""

    def __init__(self, before: Before | None = None, after: Before | None = None) -> None:
        super().__init__()
        self.before = before
        self.after = after
        self.requests: list[dict[str, list[str]]] = []
        self.in_flight = 0
        self.most_in_flight = 0

    async def ingest(self, batch: Mapping[str, Sequence[bytes]]) -> Mapping[str, int]:
        self.requests.append(
            {table: [orjson.loads(body)["id"] for body in rows] for table, rows in batch.items()}
        )
        self.in_flight += 1
        self.most_in_flight = max(self.most_in_flight, self.in_flight)
        try:
            await self.pause()
            if self.before is not None:
                self.before(batch)
            counts = await super().ingest(batch)
            if self.after is not None:
                self.after(batch)
            return counts
        finally:
            self.in_flight -= 1

    async def pause(self) -> None:
        """Take no time; tests of concurrency wait here."""

    def ids(self, table: str) -> set[str]:
        return set(self.tables[table])


def refusal(verdict: Verdict, code: str, **more: Any) -> GridpactError:
    return store_error(verdict, "said the test", code=code, **more)


class FirstCalls:
    """Fail the first calls, one error each, then let all pass."""

    def __init__(self, *errors: GridpactError) -> None:
        self.errors = list(errors)

    def __call__(self, batch: Mapping[str, Sequence[bytes]]) -> None:
        if self.errors:
            raise self.errors.pop(0)


class BadRows:
    """Refuse any batch that holds one of these ids, as a check constraint does."""

    def __init__(self, ids: set[str], code: str = "23514") -> None:
        self.ids = ids
        self.code = code

    def __call__(self, batch: Mapping[str, Sequence[bytes]]) -> None:
        for rows in batch.values():
            for body in rows:
                if orjson.loads(body)["id"] in self.ids:
                    raise refusal(Verdict.POISON, self.code, http_status=400)
