"""Beckn requests."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any

import orjson
import pytest

from fetchers.beckn.endpoints import (
    BecknParty,
    OrderDraft,
    Stamp,
    build_cancel,
    build_confirm,
    build_discover,
    build_init,
    build_rating,
    build_select,
    build_status,
    build_support,
    build_update,
)
from fetchers.beckn.parse import ENDPOINTS
from fetchers.request import Request
from schema.orders import WindowTerms

START = datetime(2031, 2, 3, 22, tzinfo=UTC)
PARTY = BecknParty(bap_id="us.example", bap_uri="https://us.example", bpp_uri="https://bpp.example")
STAMP = Stamp("m-1", datetime(2031, 2, 3, 8, 0, 2, tzinfo=UTC))
DRAFT = OrderDraft(
    order_id="order-1",
    transaction_id="t-1",
    terms=WindowTerms(
        bpp_id="grid.example",
        bpp_uri="https://grid.example",
        seller="prov-1",
        item_id="night",
        starts_at=START,
        ends_at=START + timedelta(hours=2),
        zone_code="UK-EAST-1",
        capacity_kw=2500.0,
        offer_id="o-1",
        price_per_kwh=0.041,
        currency="GBP",
        slot_id="slot-n",
    ),
    buyer="acme",
    load_kw=(900.0, 600.0),
)
BASE = "https://net.example/api/"


def body(request: Request) -> dict[str, Any]:
    document: dict[str, Any] = orjson.loads(request.body or b"")
    return document


def test_a_discover_names_us_and_no_provider() -> None:
    request = build_discover(BASE, PARTY, STAMP, transaction_id="t-9", least_renewable_pct=30)
    assert (request.method, request.url, request.endpoint) == (
        "POST",
        "https://net.example/api/discover",
        "on-discover",
    )
    context = body(request)["context"]
    assert context["action"] == "discover"
    assert context["timestamp"] == "2031-02-03T08:00:02Z"
    assert (context["transaction_id"], context["message_id"]) == ("t-9", "m-1")
    assert (context["bap_id"], context["bap_uri"]) == ("us.example", "https://us.example")
    assert "bpp_id" not in context
    filters = body(request)["message"]["filters"]
    assert filters["type"] == "jsonpath"
    assert "renewableMix >= 30" in filters["expression"]


@pytest.mark.parametrize(
    ("build", "action", "status"),
    [
        (build_select, "select", "QUOTE_REQUESTED"),
        (build_init, "init", "INITIALIZED"),
        (build_confirm, "confirm", "PENDING"),
    ],
    ids=["select", "init", "confirm"],
)
def test_each_step_names_the_same_order(
    build: Callable[..., Request], action: str, status: str
) -> None:
    request = build(BASE, PARTY, STAMP, DRAFT)
    document = body(request)
    assert request.url == f"https://net.example/api/{action}"
    assert (document["context"]["action"], document["context"]["bpp_id"]) == (
        action,
        "grid.example",
    )
    order = document["message"]["order"]
    assert (order["beckn:id"], order["beckn:orderStatus"]) == ("order-1", status)
    assert (order["beckn:seller"], order["beckn:buyer"]) == ("prov-1", "acme")
    (line,) = order["beckn:orderItems"]
    assert line["beckn:orderedItem"] == "night"
    assert line["beckn:acceptedOffer"]["beckn:price"] == {"currency": "GBP", "price": 0.041}
    assert line["beckn:orderItemAttributes"]["beckn:slotId"] == "slot-n"


def test_init_gives_the_load_as_its_peak_in_megawatts() -> None:
    order = body(build_init(BASE, PARTY, STAMP, DRAFT))["message"]["order"]
    delivery = order["beckn:fulfillment"]["beckn:deliveryAttributes"]
    # 900 kW at most; (900 + 600) kW x 0.5 h = 750 kWh
    assert (delivery["beckn:computeLoad"], delivery["beckn:computeLoadUnit"]) == (0.9, "MW")
    assert delivery["beckn:workloadMetadata"]["energyKWh"] == 750
    assert delivery["beckn:timeWindow"] == {
        "start": "2031-02-03T22:00:00Z",
        "end": "2031-02-04T00:00:00Z",
    }


def test_an_update_shifts_or_goes_on() -> None:
    shift = build_update(BASE, PARTY, STAMP, DRAFT, shifted_kw=300, responds_to="ev-1")
    order = body(shift)["message"]["order"]
    action = order["beckn:fulfillment"]["beckn:deliveryAttributes"]["beckn:flexibilityAction"]
    assert action["actionType"] == "workload_shift"
    assert action["loadReductionCommitment"] == {"loadReduction": 0.3, "reductionUnit": "MW"}
    assert order["beckn:orderAttributes"]["beckn:responseToEvent"] == "ev-1"
    stay = body(build_update(BASE, PARTY, STAMP, DRAFT, shifted_kw=0))["message"]["order"]
    action = stay["beckn:fulfillment"]["beckn:deliveryAttributes"]["beckn:flexibilityAction"]
    assert action["actionType"] == "continue_with_acknowledgement"


def test_status_holds_the_orders_id_alone() -> None:
    message = body(build_status(BASE, PARTY, STAMP, DRAFT))["message"]
    assert message == {"order": {"beckn:id": "order-1"}}


def test_cancel_rating_and_support() -> None:
    cancel = body(build_cancel(BASE, PARTY, STAMP, DRAFT, reason="terms changed"))
    attributes = cancel["message"]["order"]["beckn:orderAttributes"]
    assert attributes["beckn:cancellationReason"] == "terms changed"
    rating = body(build_rating(BASE, PARTY, STAMP, DRAFT, value=4))
    assert (rating["message"]["id"], rating["message"]["value"]) == ("order-1", 4)
    support = body(build_support(BASE, PARTY, STAMP, DRAFT))
    assert support["message"] == {"ref_id": "order-1", "ref_type": "order"}


def test_every_request_names_a_parser_of_its_answer() -> None:
    requests = [
        build_discover(BASE, PARTY, STAMP, transaction_id="t"),
        build_select(BASE, PARTY, STAMP, DRAFT),
        build_init(BASE, PARTY, STAMP, DRAFT),
        build_confirm(BASE, PARTY, STAMP, DRAFT),
        build_update(BASE, PARTY, STAMP, DRAFT, shifted_kw=0),
        build_status(BASE, PARTY, STAMP, DRAFT),
        build_cancel(BASE, PARTY, STAMP, DRAFT, reason=""),
        build_rating(BASE, PARTY, STAMP, DRAFT, value=5),
        build_support(BASE, PARTY, STAMP, DRAFT),
    ]
    assert {request.endpoint for request in requests} == set(ENDPOINTS)


def test_a_provider_without_an_address_is_reached_through_the_networks() -> None:
    draft = OrderDraft(
        "o", "t", DRAFT.terms.__class__(**{**_fields(DRAFT.terms), "bpp_uri": None}), "a", (1.0,)
    )
    context = body(build_select(BASE, PARTY, STAMP, draft))["context"]
    assert context["bpp_uri"] == "https://bpp.example"


def _fields(terms: WindowTerms) -> dict[str, Any]:
    return {name: getattr(terms, name) for name in terms.__dataclass_fields__}
