"""A provider in memory with one window, storage that keeps its promises, and an order."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import httpx
import orjson

from fetchers.beckn.fetcher import BecknFetcher
from fetchers.factory import make_fetcher
from schema.clock import VirtualClock
from schema.errors import StorageUnavailable
from schema.orders import WindowOrder
from schema.rows import Record
from storage.ports import PutAck

NOON = datetime(2031, 2, 3, 12, tzinfo=UTC)
HALF = timedelta(minutes=30)
START = NOON + timedelta(hours=4)
END = START + timedelta(hours=2)
RUN = "00000000-0000-0000-0000-00000000000a"
Spoil = Callable[[str, dict[str, Any]], httpx.Response | None]


class Store:
    def __init__(self) -> None:
        self.records: list[Record] = []
        self.failures = 0

    async def put(self, records: Sequence[Record]) -> PutAck:
        if self.failures:
            self.failures -= 1
            raise StorageUnavailable("away")
        for record in records:
            held = [one for one in self.records if one[:3] == record[:3]]
            # What storage promises: one content for an id and version.
            assert all(one.sha256 == record.sha256 for one in held), record.columns()
            if not held:
                self.records.append(record)
        return PutAck(len(records), 0)

    def of(self, table: str) -> list[dict[str, Any]]:
        return [record.columns() for record in self.records if record.table == table]

    def window(self) -> dict[str, Any]:
        """The window's newest row."""
        return max(self.of("compute_windows"), key=lambda row: row["version"])

    def messages(self) -> list[tuple[str, str]]:
        return [(row["direction"], row["action"]) for row in self.of("beckn_transactions")]


@dataclass(frozen=True)
class Sent:
    at: datetime
    body: bytes


class Provider:
    """A BPP with one window; ``spoil`` may answer in its place."""

    def __init__(self) -> None:
        self.clock = VirtualClock(NOON)
        self.capacity_kw = 100.0
        self.price = 0.05
        self.spoil: Spoil = lambda _action, _body: None
        self.asked: list[tuple[str, bytes]] = []
        self.pushed: list[Sent] = []

    def __call__(self, request: httpx.Request) -> httpx.Response:
        action = request.url.path.rsplit("/", 1)[-1]
        self.asked.append((action, request.content))
        body = orjson.loads(request.content)
        spoiled = self.spoil(action, body)
        if spoiled is not None:
            return spoiled
        if action == "discover":
            return self.reply(body, action, {"catalogs": [self.catalog()]})
        order = body["message"]["order"]
        status = {"confirm": "CONFIRMED", "status": "CONFIRMED", "cancel": "CANCELLED"}
        reply = {**order, "beckn:orderStatus": status.get(action, "QUOTED")}
        if "beckn:orderItems" in order:
            (line,) = order["beckn:orderItems"]
            reply["beckn:orderItems"] = [{**line, "beckn:orderItemAttributes": self.attributes()}]
        return self.reply(body, action, {"order": reply})

    def reply(self, body: dict[str, Any], action: str, message: object) -> httpx.Response:
        context = {**body["context"], "action": f"on_{action}", "bpp_id": "grid.example"}
        return httpx.Response(200, json={"context": context, "message": message})

    def attributes(self) -> dict[str, Any]:
        return {
            "gridParameters": {"gridZone": "UK-EAST-1", "renewableMix": 90, "carbonIntensity": 20},
            "timeWindow": {"start": START.isoformat(), "end": END.isoformat()},
            "pricingParameters": {"spotPrice": self.price, "currency": "GBP", "unit": "per_kWh"},
            "capacityParameters": {"availableCapacity": self.capacity_kw, "capacityUnit": "kW"},
        }

    def catalog(self) -> dict[str, Any]:
        item = {
            "id": "night",
            "descriptor": {"name": "Night"},
            "provider": "prov-1",
            "itemAttributes": self.attributes(),
        }
        offer = {"id": "o-1", "items": ["night"], "price": {"value": self.price, "currency": "GBP"}}
        return {"id": "c", "items": [item], "offers": [offer]}

    def update(self, message_id: str, at: datetime, **order: Any) -> Sent:
        line = {"orderedItem": "night", "orderItemAttributes": self.attributes()}
        whole = {"id": "?", "orderStatus": "IN_PROGRESS", "orderItems": [line], **order}
        context = {
            "action": "on_update",
            "message_id": message_id,
            "transaction_id": "t-theirs",
            "timestamp": at.isoformat(),
            "bpp_id": "grid.example",
        }
        return Sent(at, orjson.dumps({"context": context, "message": {"order": whole}}))


class Line(httpx.MockTransport):
    """The provider as a transport that also delivers what it sends by itself."""

    def __init__(self, provider: Provider) -> None:
        super().__init__(provider)
        self._provider = provider

    def callbacks(self, since: datetime, until: datetime) -> list[Sent]:
        return [sent for sent in self._provider.pushed if since < sent.at <= until]


def fetcher(
    provider: Provider, store: Store, state: Path | None = None, *, push: bool = True
) -> BecknFetcher:
    made = make_fetcher(
        "beckn",
        base_url="https://net.example/api",
        run_id=RUN,
        clock=provider.clock,
        storage=store,
        seed=3,
        transport=Line(provider) if push else httpx.MockTransport(provider),
        interval_s=1800,
        state_folder=state,
    )
    assert isinstance(made, BecknFetcher)
    return made


ORDER = WindowOrder(
    bpp_id="grid.example",
    item_id="night",
    starts_at=START,
    ends_at=END,
    organisation="acme",
    load_kw=(40.0, 60.0),
    price_per_kwh=0.05,
    capacity_kw=100.0,
    decided_at=NOON,
)


def nack(step: str) -> Spoil:
    error = {"code": "POL_1", "message": "sold out"}
    body = {"status": "NACK", "error": error}
    return lambda action, _: httpx.Response(200, json=body) if action == step else None
