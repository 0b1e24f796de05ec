"""Beckn replies as rows."""

from __future__ import annotations

import json
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import TypeVar

import pytest

from fetchers.beckn.parse import ENDPOINTS, parse_callback, parse_on_discover, parse_on_order
from fetchers.parsing import ParseContext
from schema.errors import SourcePayloadInvalid
from schema.readings import Parsed
from schema.rows import (
    BecknTransactionRow,
    ComputeWindowRow,
    FlexibilityPriceRow,
    GridSnapshotRow,
    GridZoneRow,
    OfferRow,
    Row,
)

NOW = datetime(2031, 2, 3, 8, 0, 5, tzinfo=UTC)
CONTEXT = ParseContext(now=NOW)
Payload = Callable[[str], bytes]
R = TypeVar("R", bound=Row)


def at(text: str) -> datetime:
    return datetime.fromisoformat(text)


def rows(parsed: Parsed, model: type[R]) -> list[R]:
    return [row for row in parsed.rows if isinstance(row, model)]


def windows(parsed: Parsed) -> dict[str, ComputeWindowRow]:
    return {row.item_id: row for row in rows(parsed, ComputeWindowRow)}


@pytest.fixture
def traps(payload: Payload) -> Parsed:
    return parse_on_discover(payload("on_discover_traps"), CONTEXT)


def test_a_window_whose_end_is_before_its_start_ends_the_next_day(traps: Parsed) -> None:
    night = windows(traps)["night"]
    assert night.starts_at == at("2031-02-03T22:00:00Z")
    assert night.ends_at == at("2031-02-04T06:00:00Z")
    assert (night.bpp_id, night.slot_id, night.zone_code) == (
        "grid.example",
        "slot-n",
        "UK-SOUTH-SCOTLAND-2",
    )
    # 2.5 MW = 2500 kW
    assert night.capacity_kw == 2500
    assert (night.state, night.state_reason) == ("offered", None)


def test_midnight_to_the_last_second_is_a_whole_day(traps: Parsed) -> None:
    day = windows(traps)["day"]
    assert (day.starts_at, day.ends_at) == (at("2031-02-03T00:00Z"), at("2031-02-04T00:00Z"))
    # "800" kW, as text
    assert day.capacity_kw == 800


def test_full_instants_need_no_anchor(traps: Parsed) -> None:
    dated = windows(traps)["dated"]
    assert (dated.starts_at, dated.ends_at) == (at("2031-02-04T01:00Z"), at("2031-02-04T03:00Z"))


@pytest.mark.parametrize(
    ("item", "reason"),
    [
        ("dated", "zone UK-WALES-X is mapped to no distribution area"),
        ("abroad", "zone FR-IDF-1 is mapped to no distribution area"),
        ("priceless", "no offer names this window"),
        ("euro", "offered in EUR only"),
    ],
)
def test_a_window_the_market_cannot_use_is_recorded_with_the_reason(
    traps: Parsed, item: str, reason: str
) -> None:
    window = windows(traps)[item]
    assert window.state == "unusable"
    assert reason in (window.state_reason or "")


def test_zones_are_mapped_by_code_by_spelling_and_by_address(traps: Parsed) -> None:
    zones = {row.zone_code: row.region_id for row in rows(traps, GridZoneRow)}
    # 2 South Scotland spelled in the code, 13 London by address, 10 East England by known code.
    assert zones == {
        "UK-SOUTH-SCOTLAND-2": 2,
        "UK-TEST-9": 13,
        "UK-WALES-X": None,
        "FR-IDF-1": None,
        "UK-EAST-1": 10,
    }


def test_offers_and_windows_are_many_to_many(traps: Parsed) -> None:
    found = {
        (row.offer_id, row.item_id): (row.price_per_kwh, row.currency)
        for row in rows(traps, OfferRow)
    }
    assert found == {
        ("o-night", "night"): (0.041, "GBP"),  # price as text
        ("o-both", "night"): (0.05, "GBP"),  # price as number, currency in small letters
        ("o-both", "day"): (0.05, "GBP"),
        ("o-mwh", "dated"): (0.08, "GBP"),  # 80 GBP/MWh
        ("o-abroad", "abroad"): (0.07, "GBP"),
        ("o-euro", "euro"): (0.09, "EUR"),
    }


def test_what_cannot_be_used_is_rejected_with_its_place(traps: Parsed) -> None:
    reasons = {rejected.where: rejected.reason for rejected in traps.rejected}
    item, offer = "message.catalogs[0].beckn:items", "message.catalogs[0].beckn:offers"
    assert "'25:61:00Z' is neither an instant nor a time of day" in reasons[f"{item}[6]"]
    assert "no-window has no itemAttributes" in reasons[f"{item}[7]"]
    assert "horsepower" in reasons[f"{item}[8]"]
    assert "names item elsewhere, which is not in this reply" in reasons[f"{offer}[1]"]
    assert "o-nothing needs price.value" in reasons[f"{offer}[5]"]
    assert len(reasons) == 5


def test_one_snapshot_a_zone_from_the_window_nearest_to_the_reply(traps: Parsed) -> None:
    snapshots = {row.zone_code: row for row in rows(traps, GridSnapshotRow)}
    assert len(snapshots) == 5
    # 08:00:02 is the reply's own time, not ours.
    assert {row.observed_at for row in snapshots.values()} == {at("2031-02-03T08:00:02Z")}
    assert snapshots["UK-SOUTH-SCOTLAND-2"].intensity_gco2_per_kwh == 12
    assert snapshots["UK-SOUTH-SCOTLAND-2"].renewable_pct == 97


def test_the_message_itself_is_recorded(traps: Parsed, payload: Payload) -> None:
    (row,) = rows(traps, BecknTransactionRow)
    assert (row.transaction_id, row.message_id, row.action, row.direction) == (
        "t-1",
        "m-on_discover",
        "on_discover",
        "received",
    )
    assert row.body == json.loads(payload("on_discover_traps"))


def test_the_sandbox_spelling_is_read_too(payload: Payload) -> None:
    parsed = parse_on_discover(payload("on_discover_sandbox"), CONTEXT)
    assert parsed.rejected == ()
    (window,) = rows(parsed, ComputeWindowRow)
    # No id of the provider's side: the provider stands in. 23:30 + PT1H crosses midnight.
    assert (window.bpp_id, window.capacity_kw, window.state) == ("prov-9", 1000, "offered")
    assert (window.starts_at, window.ends_at) == (at("2031-02-03T23:30Z"), at("2031-02-04T00:30Z"))
    (zone,) = rows(parsed, GridZoneRow)
    assert zone.region_id == 5
    (row,) = rows(parsed, BecknTransactionRow)
    assert (row.transaction_id, row.message_id) == ("T1", "M1")


def test_on_select_is_a_dated_quote(payload: Payload) -> None:
    parsed = parse_on_order("select")(payload("on_select"), CONTEXT)
    (window,) = rows(parsed, ComputeWindowRow)
    assert (window.state, window.slot_id, window.capacity_kw) == ("selected", "slot-n", 2500)
    assert window.starts_at == at("2031-02-03T22:00Z")
    (offer,) = rows(parsed, OfferRow)
    assert (offer.offer_id, offer.price_per_kwh) == ("o-night", 0.041)


def test_on_confirm_books_and_shows_what_is_left(payload: Payload) -> None:
    parsed = parse_on_order("confirm")(payload("on_confirm"), CONTEXT)
    (window,) = rows(parsed, ComputeWindowRow)
    # 0.9 MW are reserved for us; 1.6 MW are still on offer.
    assert (window.state, window.capacity_kw) == ("booked", 1600)
    (snapshot,) = rows(parsed, GridSnapshotRow)
    assert snapshot.frequency_hz == 50.02


def test_on_update_takes_the_new_spot_price_not_the_old_offer(payload: Payload) -> None:
    parsed = parse_on_order("update")(payload("on_update"), CONTEXT)
    (offer,) = rows(parsed, OfferRow)
    assert offer.price_per_kwh == 0.066
    (window,) = rows(parsed, ComputeWindowRow)
    assert (window.state, window.capacity_kw) == ("changed", 400)
    assert window.state_reason == "carbon_intensity_spike: high: a boiler was lit"
    (snapshot,) = rows(parsed, GridSnapshotRow)
    assert snapshot.intensity_gco2_per_kwh == 90
    assert set(snapshot.changes or {}) == {"carbonIntensityChange", "spotPriceChange"}


def test_an_update_may_answer_a_status_call(payload: Payload) -> None:
    parsed = parse_on_order("status")(payload("on_update"), CONTEXT)
    assert windows(parsed)["night"].state == "changed"


def test_on_status_gives_the_incentive_and_no_undated_window(payload: Payload) -> None:
    parsed = parse_on_order("status")(payload("on_status"), CONTEXT)
    (price,) = rows(parsed, FlexibilityPriceRow)
    assert (price.price, price.unit, price.service) == (
        45.5,
        "GBP per order",
        "beckn incentive order-1",
    )
    assert rows(parsed, ComputeWindowRow) == []
    (row,) = rows(parsed, BecknTransactionRow)
    assert (row.order_id, row.status) == ("order-1", "COMPLETED")


def test_a_flat_message_is_only_recorded(payload: Payload) -> None:
    parsed = ENDPOINTS["on-rating"].parse(payload("on_rating"), CONTEXT)
    assert [row.TABLE for row in parsed.rows] == ["beckn_transactions"]


@pytest.mark.parametrize(
    "body",
    [
        {"message": {"ack": {"status": "NACK"}, "error": {"code": "X", "message": "no"}}},
        {
            "transaction_id": "t-1",
            "timestamp": "2031-02-03T08:00:02Z",
            "ack_status": "NACK",
            "error": {"code": "X", "message": "no"},
        },
        {"message": {"status": "NACK", "messageId": "m", "error": {"code": "X", "message": "no"}}},
        {"status": "nack", "signature": "s", "error": {"errorCode": "X", "errorMessage": "no"}},
    ],
    ids=["nested-ack", "ack_status", "onix", "v2"],
)
def test_a_refusal_in_each_shape_is_one_transaction_and_nothing_else(
    body: dict[str, object],
) -> None:
    parsed = parse_on_order("select")(json.dumps(body).encode(), CONTEXT)
    (row,) = parsed.rows
    assert isinstance(row, BecknTransactionRow)
    assert row.ack_status == "NACK"
    assert row.error == body.get("error", body.get("message", {}).get("error"))  # type: ignore[attr-defined]


def test_an_acknowledgement_is_recorded_as_such() -> None:
    parsed = parse_callback(b'{"message":{"ack":{"status":"ACK"}}}', CONTEXT)
    (row,) = rows(parsed, BecknTransactionRow)
    assert (row.ack_status, row.error, row.occurred_at) == ("ACK", None, NOW)


@pytest.mark.parametrize(
    ("body", "reason"),
    [
        (b"<html><title>502</title></html>", "page"),
        (b'{"context":{"action":"on_discover"', "not JSON"),
        (b"[" * 100 + b"]" * 100, "deeper"),
        (b'"hello"', "object"),
        (b"{}", "neither message nor error"),
        (b'{"context":{"action":"on_select"},"message":{"order":{"id":"x"}}}', "on_select"),
        (b'{"context":{"action":"discover"},"message":{}}', "'discover' request, not a reply"),
    ],
    ids=["page", "cut", "deep", "text", "empty", "other-action", "request"],
)
def test_a_body_that_is_no_on_discover_is_refused_whole(body: bytes, reason: str) -> None:
    with pytest.raises(SourcePayloadInvalid, match=reason):
        parse_on_discover(body, CONTEXT)


def test_text_that_postgres_refuses_is_replaced() -> None:
    text = '{"context":{"action":"on_rating","message_id":"m","transaction_id":"t",'
    text += '"timestamp":"2031-02-03T08:00:02Z"},"message":{"a":"x\\u0000y","b":"\\ud800"}}'
    (row,) = ENDPOINTS["on-rating"].parse(text.encode(), CONTEXT).rows
    assert isinstance(row, BecknTransactionRow)
    assert row.body["message"] == {"a": "x\ufffdy", "b": "?"}


def test_a_body_too_large_for_a_row_leaves_its_head_and_hash() -> None:
    message = {"filler": ["x" * 1000] * 300}
    context = {"action": "on_rating", "message_id": "m", "transaction_id": "t"}
    text = json.dumps({"context": context, "message": message}).encode()
    (row,) = ENDPOINTS["on-rating"].parse(text, CONTEXT).rows
    assert isinstance(row, BecknTransactionRow)
    assert row.body["context"] == context
    assert len(row.body["sha256"]) == 64
    assert len(row.to_record("00000000-0000-0000-0000-000000000000").body) < 256 * 1024


def test_the_guides_catalogue(shared_data: Path) -> None:
    body = (shared_data / "payloads/beckn/on_discover-response-1.json").read_bytes()
    parsed = parse_on_discover(body, ParseContext())
    assert parsed.rejected == ()
    found = windows(parsed)
    east = found["item-ce-cambridge-morning-001"]
    north = found["item-ce-manchester-afternoon-001"]
    # Validity 2025-11-17; 10:00-14:00, 5.0 MW, 80 %, 120 g and 14:00-18:00, 4.5 MW, 75 %, 140 g.
    assert (east.starts_at, east.ends_at) == (at("2025-11-17T10:00Z"), at("2025-11-17T14:00Z"))
    assert (east.capacity_kw, east.renewable_pct, east.intensity_gco2_per_kwh) == (5000, 80, 120)
    assert (north.starts_at, north.ends_at) == (at("2025-11-17T14:00Z"), at("2025-11-17T18:00Z"))
    assert (north.capacity_kw, north.renewable_pct, north.intensity_gco2_per_kwh) == (4500, 75, 140)
    assert {row.zone_code: row.region_id for row in rows(parsed, GridZoneRow)} == {
        "UK-EAST-1": 10,
        "UK-NORTH-1": 3,
    }
    assert {row.item_id: row.price_per_kwh for row in rows(parsed, OfferRow)} == {
        east.item_id: 0.102,
        north.item_id: 0.092,
    }


def test_the_guides_quote(shared_data: Path) -> None:
    body = (shared_data / "payloads/beckn/on_select-response.json").read_bytes()
    parsed = parse_on_order("select")(body, ParseContext())
    (window,) = rows(parsed, ComputeWindowRow)
    assert window.slot_id == "slot-cambridge-morning-20251117-001"
    assert (window.starts_at, window.capacity_kw) == (at("2025-11-17T10:00Z"), 5000)
    (row,) = rows(parsed, BecknTransactionRow)
    assert (row.order_id, row.status) == ("order-ce-cambridge-morning-001", "QUOTE_REQUESTED")


@pytest.mark.parametrize("name", ["discover-request", "select-request"])
def test_the_guides_requests_are_told_apart_from_replies(shared_data: Path, name: str) -> None:
    body = (shared_data / f"payloads/beckn/{name}.json").read_bytes()
    with pytest.raises(SourcePayloadInvalid, match="request, not a reply"):
        ENDPOINTS[f"on-{name.split('-', maxsplit=1)[0]}"].parse(body, CONTEXT)


@pytest.mark.parametrize(
    "times",
    [
        {"start": "9999-12-31T23:00:00Z", "end": "9999-12-31T23:59:59Z"},
        {"start": "0001-01-01T00:00:00+14:00", "end": "0001-01-01T02:00:00+14:00"},
        {"start": "2031-02-03T10:00:00Z", "duration": "P99999999999D"},
        {"start": "2031-02-03T10:00:00Z", "duration": "P999999999D"},
        {"start": "2031-02-03T10:00:00Z", "end": "2031-02-03T10:00:00Z"},
        {"start": "2031-02-03T10:00:00Z", "end": "2031-03-03T10:00:00Z"},
        {"start": "10:00:00", "end": "12:00:00"},
        {"end": "12:00:00Z"},
        {"start": "10:00:00Z"},
    ],
    ids=[
        "end-of-time",
        "start-of-time",
        "overflow",
        "far",
        "empty",
        "month",
        "naive",
        "no",
        "half",
    ],
)
def test_impossible_times_reject_the_window_and_nothing_else(times: dict[str, str]) -> None:
    grid = {"gridZone": "UK-EAST-1"}
    capacity = {"availableCapacity": 1}
    items = [
        {
            "id": name,
            "itemAttributes": {
                "gridParameters": grid,
                "timeWindow": window,
                "capacityParameters": capacity,
            },
        }
        for name, window in (("bad", times), ("good", {"start": "10:00Z", "end": "12:00Z"}))
    ]
    catalog = {"validity": {"startDate": "2031-02-03"}, "items": items}
    context = {"action": "on_discover", "bpp_id": "b", "timestamp": "0001-01-01T00:00:00+14:00"}
    body = json.dumps({"context": context, "message": {"catalogs": [catalog]}}).encode()
    parsed = parse_on_discover(body, CONTEXT)
    assert set(windows(parsed)) == {"good"}
    assert [one.where for one in parsed.rejected] == ["message.catalogs[0].items[0]"]


def test_only_a_status_says_what_was_paid(payload: Payload) -> None:
    body = payload("on_status")
    assert len(rows(parse_callback(body, CONTEXT), FlexibilityPriceRow)) == 1
    update = body.replace(b'"on_status"', b'"on_update"')
    assert rows(parse_callback(update, CONTEXT), FlexibilityPriceRow) == []
