"""The Beckn fetcher against a provider in memory: discovery, orders, updates."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import Any

import httpx
import pytest
from provider_kit import END, HALF, NOON, ORDER, START, Provider, Sent, Store, fetcher, nack

from schema.errors import StorageUnavailable
from schema.orders import OrderOutcome
from storage.grid_windows import WindowFact


async def test_an_order_runs_to_its_booking_and_leaves_every_message() -> None:
    provider, store = Provider(), Store()
    beckn = fetcher(provider, store)
    await beckn.poll(NOON)
    result = await beckn.order(ORDER)
    assert (result.outcome, result.reason) == (OrderOutcome.BOOKED, "")
    assert [action for action, _ in provider.asked] == ["discover", "select", "init", "confirm"]
    assert store.messages() == [
        ("sent", "discover"),
        ("received", "on_discover"),
        ("sent", "select"),
        ("received", "on_select"),
        ("sent", "init"),
        ("received", "on_init"),
        ("sent", "confirm"),
        ("received", "on_confirm"),
    ]
    orders = store.of("beckn_transactions")[2:]
    assert {row["agent_name"] for row in orders} == {"acme"}
    assert {row["order_id"] for row in orders} == {result.order_id}
    assert len({row["transaction_id"] for row in orders}) == 1
    states = sorted(store.of("compute_windows"), key=lambda row: row["version"])
    assert [row["state"] for row in states] == ["offered", "selected", "booked"]
    assert len({row["id"] for row in states}) == 1
    assert store.window()["state_reason"] == "booked for acme"
    assert store.window()["name"] == "Night"
    logs = [log["endpoint"] for log in store.of("api_logs")]
    assert logs == ["on-discover", "on-select", "on-init", "on-confirm"]
    assert len({log["id"] for log in store.of("api_logs")}) == 4


@pytest.mark.parametrize("step", ["select", "init", "confirm"])
async def test_a_nack_refuses_and_the_next_catalogue_does_not_wash_it_away(step: str) -> None:
    provider, store = Provider(), Store()
    beckn = fetcher(provider, store)
    await beckn.poll(NOON)
    provider.spoil = nack(step)
    result = await beckn.order(ORDER)
    assert result.outcome is OrderOutcome.REFUSED
    assert result.reason == f"{step} was refused: POL_1 sold out"
    assert store.window()["state"] == "refused"
    rejected = [log for log in store.of("api_logs") if log["outcome"] == "rejected"]
    assert [log["endpoint"] for log in rejected] == [f"on-{step}"]
    await beckn.poll(NOON + HALF)
    assert store.window()["state"] == "refused"
    # Other terms are another offer.
    provider.price = 0.04
    await beckn.poll(NOON + 2 * HALF)
    assert store.window()["state"] == "offered"


async def test_a_booked_window_stays_booked_in_later_catalogues() -> None:
    provider, store = Provider(), Store()
    beckn = fetcher(provider, store)
    await beckn.poll(NOON)
    await beckn.order(ORDER)
    provider.capacity_kw = 40.0
    await beckn.poll(NOON + HALF)
    window = store.window()
    assert (window["state"], window["capacity_kw"]) == ("booked", 40)


async def test_changed_terms_come_back_with_the_result_and_stand_in_the_rows() -> None:
    provider, store = Provider(), Store()
    beckn = fetcher(provider, store)
    await beckn.poll(NOON)
    provider.price, provider.capacity_kw = 0.07, 80.0
    result = await beckn.order(ORDER)
    assert result.outcome is OrderOutcome.CHANGED
    assert result.terms is not None
    assert (result.terms.price_per_kwh, result.terms.capacity_kw) == (0.07, 80.0)
    assert [action for action, _ in provider.asked] == ["discover", "select"]
    window = store.window()
    assert (window["state"], window["capacity_kw"]) == ("changed", 80)
    offer = max(store.of("offers"), key=lambda row: row["version"])
    assert offer["price_per_kwh"] == 0.07


async def test_the_same_order_again_gives_the_first_result_and_asks_nobody() -> None:
    provider, store = Provider(), Store()
    beckn = fetcher(provider, store)
    await beckn.poll(NOON)
    result = await beckn.order(ORDER)
    asked, records = len(provider.asked), len(store.records)
    assert await beckn.order(replace(ORDER)) == result
    assert (len(provider.asked), len(store.records)) == (asked, records)
    await beckn.order(replace(ORDER, attempt=2))
    assert len(provider.asked) == asked + 3


async def test_a_process_that_starts_again_repeats_the_same_messages() -> None:
    provider, store = Provider(), Store()
    first = fetcher(provider, store)
    await first.poll(NOON)
    result = await first.order(ORDER)
    before = [body for action, body in provider.asked if action != "discover"]
    records = list(store.records)
    provider.asked.clear()
    # No state file, no poll: it discovers for itself.
    assert await fetcher(provider, store).order(ORDER) == result
    assert [body for action, body in provider.asked if action != "discover"] == before
    new = [record for record in store.records if record not in records]
    assert {record.table for record in new} <= {"api_logs"}


async def test_storage_away_repeats_the_order_whole() -> None:
    provider, store = Provider(), Store()
    beckn = fetcher(provider, store)
    await beckn.poll(NOON)
    store.failures = 1
    with pytest.raises(StorageUnavailable):
        await beckn.order(ORDER)
    result = await beckn.order(ORDER)
    assert result.outcome is OrderOutcome.BOOKED
    undisturbed = Store()
    other = fetcher(Provider(), undisturbed)
    await other.poll(NOON)
    await other.order(ORDER)
    assert store.records == undisturbed.records


async def test_booked_orders_survive_a_restart_through_the_state_file(tmp_path: Path) -> None:
    provider, store = Provider(), Store()
    first = fetcher(provider, store, tmp_path)
    await first.poll(NOON)
    result = await first.order(ORDER)
    reborn = fetcher(provider, store, tmp_path)
    asked = len(provider.asked)
    assert await reborn.order(ORDER) == result
    assert len(provider.asked) == asked
    provider.pushed = [provider.update("u-1", NOON + HALF)]
    report = await reborn.poll(NOON + HALF)
    assert [update.organisation for update in report.updates] == ["acme"]


async def test_what_storage_knows_of_windows_can_be_taken_over() -> None:
    provider, store = Provider(), Store()
    beckn = fetcher(provider, store)
    beckn.restore_windows(
        [
            WindowFact(
                bpp_id="grid.example",
                item_id="night",
                starts_at=START,
                ends_at=END,
                zone_code="UK-EAST-1",
                region_id=10,
                capacity_kw=100.0,
                intensity_gco2_per_kwh=20.0,
                renewable_pct=90.0,
                slot_id=None,
                state="booked",
                offer_id="o-1",
                price_per_kwh=0.05,
                currency="GBP",
            )
        ]
    )
    await beckn.poll(NOON)
    assert store.window()["state"] == "booked"


async def test_silence_at_confirm_is_asked_after_and_may_be_a_booking() -> None:
    provider, store = Provider(), Store()
    beckn = fetcher(provider, store)
    await beckn.poll(NOON)

    def spoil(action: str, _body: dict[str, Any]) -> httpx.Response | None:
        return httpx.Response(404, text="gone") if action == "confirm" else None

    provider.spoil = spoil
    result = await beckn.order(ORDER)
    assert result.outcome is OrderOutcome.BOOKED
    assert [action for action, _ in provider.asked][-2:] == ["confirm", "status"]


async def test_an_acknowledgement_without_an_answer_is_a_refusal_before_confirm() -> None:
    provider, store = Provider(), Store()
    beckn = fetcher(provider, store)
    await beckn.poll(NOON)
    ack = {"message": {"ack": {"status": "ACK"}}}
    provider.spoil = lambda _action, _body: httpx.Response(200, json=ack)
    result = await beckn.order(ORDER)
    assert result.outcome is OrderOutcome.REFUSED
    assert "acknowledged without an on_select" in result.reason
    assert store.of("beckn_transactions")[-1]["ack_status"] == "ACK"


async def test_a_dead_network_refuses_the_order_and_logs_the_attempts() -> None:
    provider, store = Provider(), Store()
    beckn = fetcher(provider, store)
    await beckn.poll(NOON)
    provider.spoil = lambda _action, _body: httpx.Response(503, text="down")
    result = await beckn.order(ORDER)
    assert result.outcome is OrderOutcome.REFUSED
    outcomes = [log["outcome"] for log in store.of("api_logs")]
    assert outcomes == ["ok", "unavailable", "unavailable", "unavailable"]


async def test_a_window_that_is_not_on_offer_is_refused() -> None:
    provider, store = Provider(), Store()
    beckn = fetcher(provider, store)
    await beckn.poll(NOON)
    result = await beckn.order(replace(ORDER, item_id="other"))
    assert (result.outcome, result.terms) == (OrderOutcome.REFUSED, None)
    assert "not on offer" in result.reason


async def test_a_refusal_of_one_organisation_does_not_take_the_window_from_another() -> None:
    provider, store = Provider(), Store()
    beckn = fetcher(provider, store)
    await beckn.poll(NOON)
    await beckn.order(ORDER)
    provider.spoil = nack("confirm")
    result = await beckn.order(replace(ORDER, organisation="other"))
    assert result.outcome is OrderOutcome.REFUSED
    window = store.window()
    assert window["state"] == "booked"
    assert window["state_reason"] == (
        "booked for acme; refused to other: confirm was refused: POL_1 sold out"
    )


async def test_an_unsolicited_update_reaches_every_organisation_that_booked_the_window() -> None:
    provider, store = Provider(), Store()
    beckn = fetcher(provider, store)
    await beckn.poll(NOON)
    await beckn.order(ORDER)
    await beckn.order(replace(ORDER, organisation="other"))
    provider.capacity_kw, provider.price = 30.0, 0.09
    provider.pushed = [provider.update("u-1", NOON + timedelta(minutes=10))]
    report = await beckn.poll(NOON + HALF)
    assert [(one.organisation, one.capacity_kw, one.price_per_kwh) for one in report.updates] == [
        ("acme", 30.0, 0.09),
        ("other", 30.0, 0.09),
    ]
    assert not any(one.lost for one in report.updates)
    window = store.window()
    assert (window["state"], window["capacity_kw"]) == ("changed", 30)
    # The next catalogues show the new terms too; the window stays changed, nothing is told twice.
    again = await beckn.poll(NOON + 2 * HALF)
    assert again.updates == ()
    assert store.window()["state"] == "changed"
    received = [row for row in store.of("beckn_transactions") if row["action"] == "on_update"]
    assert [row["message_id"] for row in received] == ["u-1"]


async def test_an_update_is_surfaced_again_when_storage_was_away() -> None:
    provider, store = Provider(), Store()
    beckn = fetcher(provider, store)
    await beckn.poll(NOON)
    await beckn.order(ORDER)
    provider.pushed = [provider.update("u-1", NOON + timedelta(minutes=10))]
    store.failures = 1
    with pytest.raises(StorageUnavailable):
        await beckn.poll(NOON + HALF)
    report = await beckn.poll(NOON + HALF)
    assert [update.message_id for update in report.updates] == ["u-1"]


async def test_an_update_that_ends_the_order_says_that_it_is_lost() -> None:
    provider, store = Provider(), Store()
    beckn = fetcher(provider, store)
    await beckn.poll(NOON)
    result = await beckn.order(ORDER)
    provider.pushed = [
        provider.update(
            "u-1", NOON + timedelta(minutes=10), id=result.order_id, orderStatus="CANCELLED"
        )
    ]
    report = await beckn.poll(NOON + HALF)
    assert [(one.order_id, one.lost) for one in report.updates] == [(result.order_id, True)]
    # Whoever drives it may have died before telling: its next life finds the update here.
    assert beckn.status()["updates"] == list(report.updates)
    await beckn.poll(NOON + 2 * HALF)
    assert beckn.status()["updates"] == []
    assert store.window()["state"] == "refused"


async def test_an_update_of_a_window_nobody_booked_only_changes_its_row() -> None:
    provider, store = Provider(), Store()
    beckn = fetcher(provider, store)
    await beckn.poll(NOON)
    provider.capacity_kw = 30.0
    provider.pushed = [provider.update("u-1", NOON + timedelta(minutes=10))]
    report = await beckn.poll(NOON + HALF)
    assert report.updates == ()
    assert store.window()["state"] == "changed"


async def test_a_callback_that_cannot_be_read_is_rejected_and_sinks_nothing() -> None:
    provider, store = Provider(), Store()
    beckn = fetcher(provider, store)
    provider.pushed = [Sent(NOON, b"<html>"), provider.update("u-1", NOON)]
    report = await beckn.poll(NOON)
    assert report.rejected == 1
    assert ("received", "on_update") in store.messages()


async def test_without_a_push_line_the_status_of_booked_orders_is_asked() -> None:
    provider, store = Provider(), Store()
    beckn = fetcher(provider, store, push=False)
    await beckn.poll(NOON)
    await beckn.order(ORDER)

    def spoil(action: str, _body: dict[str, Any]) -> httpx.Response | None:
        if action != "status":
            return None
        return httpx.Response(200, content=provider.update("u-1", NOON + HALF).body)

    provider.spoil = spoil
    report = await beckn.poll(NOON + HALF)
    assert [update.message_id for update in report.updates] == ["u-1"]


async def test_with_a_push_line_an_order_is_asked_after_once_its_window_is_over() -> None:
    provider, store = Provider(), Store()
    beckn = fetcher(provider, store)
    await beckn.poll(NOON)
    await beckn.order(ORDER)
    for tick in range(1, 15):
        await beckn.poll(NOON + tick * HALF)
    assert [action for action, _ in provider.asked].count("status") == 1


async def test_a_booked_order_can_be_given_up() -> None:
    provider, store = Provider(), Store()
    beckn = fetcher(provider, store)
    await beckn.poll(NOON)
    await beckn.order(ORDER)
    assert await beckn.cancel(ORDER, "the work moved") is True
    assert provider.asked[-1][0] == "cancel"
    assert await beckn.cancel(ORDER, "again") is False
    assert await beckn.cancel(replace(ORDER, organisation="other"), "never") is False


async def test_a_provider_that_repeats_an_id_with_other_content_is_recorded_all_the_same() -> None:
    provider, store = Provider(), Store()
    provider.spoil = lambda action, body: (
        provider.reply(
            {"context": {**body["context"], "message_id": "always", "transaction_id": "same"}},
            action,
            {"catalogs": [provider.catalog()]},
        )
        if action == "discover"
        else None
    )
    beckn = fetcher(provider, store)
    for tick in range(3):
        await beckn.poll(NOON + tick * HALF)
    received = [row for row in store.of("beckn_transactions") if row["direction"] == "received"]
    assert len(received) == 3
