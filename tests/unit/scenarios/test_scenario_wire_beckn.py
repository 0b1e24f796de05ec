"""Beckn in a replay: catalogues, the order's life, refusals, and messages sent by itself."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import orjson
import pytest

from scenarios.scenario import Scenario
from scenarios.wire.beckn import BecknWire

Json = dict[str, Any]
_ITEM = "item-ce-rush-020"


def _post(wire: BecknWire, action: str, message: Json, now: datetime) -> Json:
    context = {
        "version": "2.0.0",
        "action": action,
        "transaction_id": "5b1f5f4e-0000-4000-8000-000000000001",
        "message_id": "5b1f5f4e-0000-4000-8000-000000000002",
        "timestamp": "2026-06-16T05:00:00Z",
        "bap_id": "bap",
        "bap_uri": "https://bap",
        "ttl": "PT30S",
    }
    body = orjson.dumps({"context": context, "message": message})
    reply = wire.answer(f"/api/{action}", body, now, {})
    assert reply.status == 200
    answer: Json = orjson.loads(reply.body)
    return answer


def _order(item: str = _ITEM, load_mw: float = 0.03) -> Json:
    return {
        "order": {
            "@type": "beckn:Order",
            "beckn:id": "order-1",
            "beckn:orderStatus": "QUOTE_REQUESTED",
            "beckn:orderItems": [{"beckn:lineId": "1", "beckn:orderedItem": item}],
            "beckn:fulfillment": {
                "beckn:deliveryAttributes": {
                    "beckn:computeLoad": load_mw,
                    "beckn:computeLoadUnit": "MW",
                }
            },
        }
    }


def _catalogs(wire: BecknWire, now: datetime, expression: str = "") -> list[Json]:
    message = {"filters": {"type": "jsonpath", "expression": expression}}
    answer = _post(wire, "discover", message, now)
    assert answer["context"]["action"] == "on_discover"
    catalogs: list[Json] = answer["message"]["catalogs"]
    return catalogs


@pytest.fixture
def wire(rush: Scenario) -> BecknWire:
    return BecknWire(rush)


def test_a_catalogue_gives_times_of_day_dated_by_its_validity(windy: Scenario) -> None:
    first, second = _catalogs(BecknWire(windy), windy.start)
    assert first["beckn:validity"]["schema:startDate"] == "2026-02-03T00:00:00Z"
    item = next(i for i in first["beckn:items"] if i["beckn:id"] == "item-ce-highland-night-001")
    attributes = item["beckn:itemAttributes"]
    assert attributes["@type"] == "beckn:ComputeEnergyWindow"
    # 22:00 to 04:00: the end is on the next day, and the catalogue does not say so.
    assert attributes["beckn:timeWindow"] == {
        "start": "22:00:00Z",
        "end": "04:00:00Z",
        "duration": "PT6H",
    }
    assert attributes["beckn:capacityParameters"]["availableCapacity"] == 0.06
    assert attributes["beckn:gridParameters"]["gridZone"] == "UK-NORTH-SCOTLAND-1"
    assert second["beckn:validity"]["schema:startDate"] == "2026-02-04T00:00:00Z"


def test_a_catalogues_price_is_text_and_an_orders_price_a_number(
    wire: BecknWire, rush: Scenario
) -> None:
    offers = [offer for c in _catalogs(wire, rush.start) for offer in c["beckn:offers"]]
    assert isinstance(offers[0]["beckn:price"]["value"], str)
    assert {offer["beckn:price"]["currency"] for offer in offers} == {"GBP", "EUR"}
    line = _post(wire, "select", _order(), rush.start)["message"]["order"]["beckn:orderItems"][0]
    assert isinstance(line["beckn:acceptedOffer"]["beckn:price"]["price"], float)


def test_windows_without_offer_and_outside_britain_are_in_the_catalogue(
    wire: BecknWire, rush: Scenario
) -> None:
    catalogs = _catalogs(wire, rush.start + timedelta(hours=12))
    items = {i["beckn:id"] for c in catalogs for i in c["beckn:items"]}
    offered = {name for c in catalogs for o in c["beckn:offers"] for name in o["beckn:items"]}
    assert items - offered == {"item-ce-rush-030"}
    zones = {
        i["beckn:itemAttributes"]["beckn:gridParameters"]["gridZone"]
        for c in _catalogs(wire, rush.start)
        for i in c["beckn:items"]
    }
    assert "OFFSHORE-NS-7" in zones


def test_a_filter_on_renewables_is_applied(wire: BecknWire, rush: Scenario) -> None:
    expression = "$[?(@.beckn:itemAttributes.beckn:gridParameters.renewableMix >= 90)]"
    shares = [
        i["beckn:itemAttributes"]["beckn:gridParameters"]["renewableMix"]
        for c in _catalogs(wire, rush.start, expression)
        for i in c["beckn:items"]
    ]
    assert shares
    assert min(shares) >= 90


def test_windows_that_are_over_leave_the_catalogue(wire: BecknWire, rush: Scenario) -> None:
    late = rush.start + timedelta(hours=20)
    over = {w.item_id for w in rush.windows if w.ends_at <= late}
    shown = {i["beckn:id"] for c in _catalogs(wire, late) for i in c["beckn:items"]}
    assert over
    assert not over & shown


def test_an_order_goes_from_quote_to_confirmation(wire: BecknWire, rush: Scenario) -> None:
    quote = _post(wire, "select", _order(), rush.start)
    assert quote["context"]["action"] == "on_select"
    assert quote["context"]["bpp_id"] == "gridflex-agent.example.com"
    order = quote["message"]["order"]
    assert order["beckn:id"] == "order-1"
    attributes = order["beckn:orderItems"][0]["beckn:orderItemAttributes"]
    assert attributes["beckn:timeWindow"]["start"] == "2026-06-16T12:00:00Z"
    assert attributes["beckn:slotId"] == "slot-ce-rush-020-20260616-001"
    assert order["beckn:fulfillment"]["beckn:status"] == "QUOTED"
    init = _post(wire, "init", _order(), rush.start)["message"]["order"]
    assert init["beckn:orderStatus"] == "INITIALIZED"
    assert init["beckn:payment"]["beckn:settlement"]
    capacity = init["beckn:orderItems"][0]["beckn:orderItemAttributes"]["beckn:capacityParameters"]
    assert capacity["reservedCapacity"] == 0.03
    confirmed = _post(wire, "confirm", _order(), rush.start)["message"]["order"]
    assert confirmed["beckn:orderStatus"] == "CONFIRMED"
    assert confirmed["beckn:fulfillment"]["beckn:status"] == "CONFIRMED"


def test_a_repeated_confirm_gets_the_same_answer_from_a_new_transport(
    wire: BecknWire, rush: Scenario
) -> None:
    first = _post(wire, "confirm", _order(), rush.start)
    again = _post(BecknWire(rush), "confirm", _order(), rush.start + timedelta(minutes=1))
    assert first == again


@pytest.mark.parametrize(
    ("item", "load", "hours", "code"),
    [
        ("item-none", 0.01, 0, "NET_ENTITY_NOT_FOUND"),
        (_ITEM, 0.07, 0, "POL_CAPACITY_UNAVAILABLE"),
        (_ITEM, 0.01, 23, "POL_WINDOW_CLOSED"),
        ("item-ce-rush-030", 0.01, 12, "POL_NOT_OFFERED"),
    ],
)
def test_what_cannot_be_had_is_refused_by_an_error_in_place_of_the_message(
    wire: BecknWire, rush: Scenario, item: str, load: float, hours: int, code: str
) -> None:
    now = rush.start + timedelta(hours=hours)
    answer = _post(wire, "confirm", _order(item, load), now)
    assert "message" not in answer
    assert answer["context"]["action"] == "on_confirm"
    assert answer["error"]["code"] == code


def test_nacks_come_in_all_four_shapes(wire: BecknWire, rush: Scenario) -> None:
    now = rush.start
    old = _post(wire, "confirm", _order("item-ce-rush-004"), now)
    assert old["message"]["ack"]["status"] == "NACK"
    candidate = _post(wire, "confirm", _order("item-ce-rush-011"), now)
    assert candidate["ack_status"] == "NACK"
    onix = _post(wire, "init", _order("item-ce-rush-018"), now)
    assert onix["message"]["status"] == "NACK"
    assert onix["message"]["error"]["code"]
    newest = _post(wire, "confirm", _order("item-ce-rush-025"), now)
    assert newest["status"] == "NACK"
    assert newest["error"]["errorCode"]
    # The step before is still answered.
    assert "order" in _post(wire, "select", _order("item-ce-rush-004"), now)["message"]


def test_an_unsolicited_update_says_what_changed(wire: BecknWire, rush: Scenario) -> None:
    at = rush.start + timedelta(hours=4, minutes=15)
    (callback,) = wire.callbacks(at - timedelta(minutes=30), at)
    assert callback.at == at
    assert wire.callbacks(at, rush.end) == []
    body = orjson.loads(callback.body)
    assert body["context"]["action"] == "on_update"
    assert body["context"]["timestamp"] == "2026-06-16T09:15:00Z"
    (line,) = body["message"]["order"]["beckn:orderItems"]
    assert line["beckn:orderedItem"] == _ITEM
    attributes = line["beckn:orderItemAttributes"]
    assert attributes["beckn:capacityParameters"]["availableCapacity"] == 0.02
    change = attributes["beckn:gridParameters"]["carbonIntensityChange"]
    assert (change["previousValue"], change["currentValue"]) == (12, 95)
    assert change["changeType"] == "increase"
    alert = body["message"]["order"]["beckn:fulfillment"]["beckn:deliveryAttributes"]
    assert alert["beckn:gridEventAlert"]["severity"] == "high"
    assert callback.body == BecknWire(rush).callbacks(at - timedelta(hours=1), at)[0].body


def test_after_the_change_catalogue_and_quotes_show_the_new_figures(
    wire: BecknWire, rush: Scenario
) -> None:
    after = rush.start + timedelta(hours=5)
    quote = _post(wire, "select", _order(load_mw=0.01), after)["message"]["order"]
    attributes = quote["beckn:orderItems"][0]["beckn:orderItemAttributes"]
    assert attributes["beckn:capacityParameters"]["availableCapacity"] == 0.02
    too_much = _post(wire, "confirm", _order(load_mw=0.03), after)
    assert too_much["error"]["code"] == "POL_CAPACITY_UNAVAILABLE"


def test_callbacks_can_be_polled(wire: BecknWire, rush: Scenario) -> None:
    now = rush.start + timedelta(hours=5)
    reply = wire.answer("/api/callbacks", b"", now, {"since": ["2026-06-16T05:00:00Z"]})
    assert [m["context"]["action"] for m in orjson.loads(reply.body)] == ["on_update"]
    reply = wire.answer("/api/callbacks", b"", now, {"since": ["2026-06-16T09:30:00Z"]})
    assert orjson.loads(reply.body) == []


@pytest.mark.parametrize("body", [b"", b"[]", b'{"context":1,"message":{}}', b'{"context":{}}'])
def test_a_body_that_is_no_message_is_a_schema_error(wire: BecknWire, body: bytes) -> None:
    reply = wire.answer("/api/select", body, datetime(2026, 6, 16, 6, tzinfo=UTC), {})
    assert reply.status == 400
    assert orjson.loads(reply.body)["message"]["ack"]["status"] == "NACK"
