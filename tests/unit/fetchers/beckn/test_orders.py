"""An order's steps, as a pure state machine."""

from __future__ import annotations

import json
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID

import pytest

from fetchers.beckn.callbacks import read_order
from fetchers.beckn.orders import Answer, OrderIds, OrderState, Step, apply_answer, start
from fetchers.beckn.wire import read_envelope
from fetchers.parsing import RowSink
from schema.orders import OrderOutcome, WindowOrder, WindowTerms

START = datetime(2031, 2, 3, 22, tzinfo=UTC)
END = START + timedelta(hours=2)
RUN = "00000000-0000-0000-0000-00000000000a"

TERMS = WindowTerms(
    bpp_id="grid.example",
    bpp_uri=None,
    seller="prov-1",
    item_id="night",
    starts_at=START,
    ends_at=END,
    zone_code="UK-EAST-1",
    capacity_kw=100.0,
    offer_id="o-1",
    price_per_kwh=0.05,
    currency="GBP",
)
ORDER = WindowOrder(
    bpp_id="grid.example",
    item_id="night",
    starts_at=START,
    ends_at=END,
    organisation="acme",
    load_kw=(40.0, 60.0),
    price_per_kwh=0.05,
    capacity_kw=100.0,
    decided_at=START - timedelta(hours=6),
)
IDS = OrderIds(RUN, ORDER)


def answer(action: str, status: str = "CONFIRMED", **terms: Any) -> Answer:
    capacity = {k: v for k, v in terms.items() if k.endswith("Capacity")}
    attributes: dict[str, Any] = {"capacityParameters": {**capacity, "capacityUnit": "kW"}}
    if "spotPrice" in terms:
        attributes["pricingParameters"] = {
            "spotPrice": terms["spotPrice"],
            "currency": terms.get("currency", "GBP"),
        }
    if "timeWindow" in terms:
        attributes["timeWindow"] = terms["timeWindow"]
    body = {
        "context": {"action": action},
        "message": {
            "order": {
                "id": IDS.order_id,
                "orderStatus": status,
                "orderItems": [{"orderedItem": "night", "orderItemAttributes": attributes}],
            }
        },
    }
    envelope = read_envelope(json.dumps(body).encode())
    sink = RowSink()
    view = read_order(envelope, sink)
    assert sink.rejected == []
    return Answer(envelope, view)


def nack() -> Answer:
    error = {"code": "POL_1", "message": "sold out"}
    return Answer(read_envelope(json.dumps({"status": "NACK", "error": error}).encode()))


def run(*answers: Answer) -> OrderState:
    state = start(TERMS)
    for one in answers:
        state = apply_answer(IDS, state, one)
    return state


SELECTED = answer("on_select", "QUOTE_REQUESTED", availableCapacity=100)
INITIALISED = answer("on_init", "INITIALIZED", reservedCapacity=60, availableCapacity=40)
CONFIRMED = answer("on_confirm", reservedCapacity=60, availableCapacity=40)


def test_three_good_answers_book_the_window() -> None:
    state = run(SELECTED, INITIALISED, CONFIRMED)
    assert state.step is Step.DONE
    assert state.result is not None
    assert (state.result.outcome, state.result.reason) == (OrderOutcome.BOOKED, "")
    # What is left beside our own order is no change of the window's capacity.
    assert state.terms.capacity_kw == 100


@pytest.mark.parametrize(
    ("before", "step"),
    [((), "select"), ((SELECTED,), "init"), ((SELECTED, INITIALISED), "confirm")],
    ids=["select", "init", "confirm"],
)
def test_a_nack_at_any_step_refuses_the_order(before: tuple[Answer, ...], step: str) -> None:
    state = run(*before, nack())
    assert state.step is Step.DONE
    assert state.result is not None
    assert state.result.outcome is OrderOutcome.REFUSED
    assert state.result.reason == f"{step} was refused: POL_1 sold out"


@pytest.mark.parametrize("before", [(), (SELECTED,)], ids=["select", "init"])
def test_no_answer_before_confirm_refuses_at_once(before: tuple[Answer, ...]) -> None:
    state = run(*before, Answer(failure="no complete answer within 10 s"))
    assert state.step is Step.DONE
    assert state.result is not None
    assert state.result.outcome is OrderOutcome.REFUSED


def test_no_answer_to_confirm_is_asked_after() -> None:
    state = run(SELECTED, INITIALISED, Answer(failure="reset"))
    assert (state.step, state.result) == (Step.STATUS, None)
    booked = apply_answer(IDS, state, answer("on_status", "confirmed"))
    assert booked.result is not None
    assert booked.result.outcome is OrderOutcome.BOOKED


@pytest.mark.parametrize(
    "status",
    [answer("on_status", "PENDING"), nack(), Answer(failure="reset")],
    ids=["pending", "nack", "silence"],
)
def test_a_confirm_that_stays_unclear_is_cancelled_and_refused(status: Answer) -> None:
    state = run(SELECTED, INITIALISED, Answer(failure="reset"), status)
    assert state.step is Step.CANCEL
    assert state.result is not None
    assert state.result.outcome is OrderOutcome.REFUSED
    assert apply_answer(IDS, state, Answer(failure="reset")).step is Step.DONE


def test_a_confirm_that_is_only_pending_is_asked_after() -> None:
    assert run(SELECTED, INITIALISED, answer("on_confirm", "PENDING")).step is Step.STATUS


@pytest.mark.parametrize(
    ("changed", "reason"),
    [
        ({"availableCapacity": 59}, "59 kW are offered, ordered are 60 kW"),
        (
            {"availableCapacity": 100, "spotPrice": 0.06},
            "the price is now 0.06 GBP/kWh, ordered at 0.05",
        ),
        ({"spotPrice": 0.05, "currency": "EUR"}, "the price is now in EUR"),
        (
            {"timeWindow": {"start": "2031-02-03T22:30:00Z", "end": "2031-02-04T00:00:00Z"}},
            "the window now starts at 2031-02-03T22:30Z",
        ),
        (
            {"timeWindow": {"start": "2031-02-03T22:00:00Z", "end": "2031-02-03T23:30:00Z"}},
            "the window now ends at 2031-02-03T23:30Z",
        ),
    ],
    ids=["capacity", "price", "currency", "start", "end"],
)
def test_other_terms_in_the_quote_end_the_order_as_changed(
    changed: dict[str, Any], reason: str
) -> None:
    state = run(answer("on_select", "QUOTE_REQUESTED", **changed))
    assert state.step is Step.DONE
    assert state.result is not None
    assert state.result.outcome is OrderOutcome.CHANGED
    assert reason in state.result.reason


def test_the_new_terms_come_with_the_change() -> None:
    state = run(answer("on_select", "QUOTE_REQUESTED", availableCapacity=59, spotPrice=0.05))
    assert state.result is not None
    assert state.result.terms == replace(TERMS, capacity_kw=59)


def test_less_capacity_that_still_covers_the_order_is_no_change() -> None:
    state = run(answer("on_select", "QUOTE_REQUESTED", availableCapacity=60))
    assert (state.step, state.terms.capacity_kw) == (Step.INIT, 60)


def test_a_confirm_on_other_terms_is_cancelled() -> None:
    state = run(SELECTED, INITIALISED, answer("on_confirm", reservedCapacity=30))
    assert state.step is Step.CANCEL
    assert state.result is not None
    assert state.result.outcome is OrderOutcome.CHANGED
    assert "30 kW are reserved" in state.result.reason


def test_an_order_status_that_ends_it_refuses() -> None:
    state = run(SELECTED, answer("on_init", "REJECTED"))
    assert state.result is not None
    assert state.result.reason == "init was answered with order status REJECTED"


def test_ids_are_uuids_that_follow_from_what_is_ordered() -> None:
    again = OrderIds(RUN, replace(ORDER))
    assert again.transaction_id == IDS.transaction_id
    assert again.message_id("select") == IDS.message_id("select")
    every = {
        IDS.transaction_id,
        IDS.order_id,
        IDS.message_id("select"),
        IDS.message_id("init"),
        OrderIds(RUN, replace(ORDER, attempt=2)).transaction_id,
        OrderIds(RUN, replace(ORDER, organisation="other")).transaction_id,
        OrderIds(RUN, replace(ORDER, conversation_id="c-2")).transaction_id,
        OrderIds("00000000-0000-0000-0000-00000000000b", ORDER).transaction_id,
    }
    assert len(every) == 8
    for one in every:
        assert str(UUID(one)) == one


@pytest.mark.parametrize("load", [(), (1.0,) * 5, (0.0, 0.0), (5.0, -1.0)])
def test_an_order_that_fits_no_window_is_refused_at_once(load: tuple[float, ...]) -> None:
    # The window holds four half hours.
    with pytest.raises(ValueError, match="order of acme for night"):
        replace(ORDER, load_kw=load)
