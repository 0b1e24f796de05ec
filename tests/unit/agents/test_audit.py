"""The audit finds what was tampered with, and names the rows."""

from __future__ import annotations

from collections.abc import Callable
from copy import deepcopy
from typing import Any

import pytest

from agents.core.audit import AuditReport, audit

Rows = dict[str, list[dict[str, Any]]]

# One site of 10 kW in region 13, four half hours from midnight. The grid's value is 0.1 GBP/kWh
# throughout; half hour 1 is full, so it carries a congestion price of 0.02 GBP/kWh.
GRID_Q = round(0.1 * 2**32)
MU_Q = round(0.02 * 2**32)


def segment(start: str, end: str) -> dict[str, Any]:
    return {
        "site": "north/hall",
        "region_id": 13,
        "starts_at": f"2026-01-01T{start}:00Z",
        "ends_at": f"2026-01-01T{end}:00Z",
        "window": None,
    }


def message(number: int, performative: str, **columns: Any) -> dict[str, Any]:
    return {
        "id": f"message-{number}",
        "conversation_id": "0000",
        "sequence": number,
        "round": 1,
        "performative": performative,
        "sender": "orchestrator",
        "receiver": "north",
        "workload_name": None,
        "workload_agent": None,
        "content": {},
        "bound_gbp": None,
        "cost_gbp": None,
        "gap": None,
        "sent_at": "2026-01-01T00:00:00+00:00",
        **columns,
    }


def award(
    number: int, name: str, power_w: int, start: str, end: str, paid: float
) -> dict[str, Any]:
    # Carbon is valued at 0.264 GBP/kg: 500 g are 0.132 GBP of what is paid.
    return message(
        number,
        "accept-proposal",
        workload_name=name,
        workload_agent="north",
        content={"segments": [segment(start, end)], "power_w": power_w, "paid_gbp": paid},
        carbon_gco2=500.0,
        energy_cost_gbp=0.05,
        congestion_gbp=paid - 0.05 - 0.132,
    )


def workload(name: str, power_kw: float, minutes: int, refusal: float) -> dict[str, Any]:
    return {
        "id": f"workload-{name}",
        "agent_name": "north",
        "workload_name": name,
        "power_kw": power_kw,
        "duration_min": minutes,
        "earliest_start": "2026-01-01T00:00:00+00:00",
        "deadline": "2026-01-01T02:00:00+00:00",
        "allowed_regions": [13],
        "interruptible": False,
        "refusal_value_gbp": refusal,
        "status": "awarded",
    }


def scheduled(name: str, start: str, end: str, revision: int = 1) -> dict[str, Any]:
    return {
        "id": f"schedule-{name}-{revision}",
        "agent_name": "north",
        "workload_name": name,
        "revision": revision,
        "starts_at": f"2026-01-01T{start}:00+00:00",
        "ends_at": f"2026-01-01T{end}:00+00:00",
        "asset_agent_name": "north",
        "asset_name": "hall",
        "window_bpp_id": None,
        "window_item_id": None,
        "window_starts_at": None,
    }


def good_run() -> Rows:
    settled = message(
        3,
        "cfp",
        receiver="all",
        content={
            "origin": "2026-01-01T00:00:00Z",
            "sites": [{"site": "north/hall", "region_id": 13}],
            "areas": [13],
            "windows": [],
            "largest_w": 6000,
            "carbon_value_gbp_per_kg": 0.264,
            "mu_q": [[0, MU_Q, 0, 0]],
            "supply_q": [[GRID_Q] * 4],
            "grid_q": [[GRID_Q] * 4],
            "capacity_w": [[10_000] * 4],
        },
        bound_gbp=1.05,
        cost_gbp=1.10,
    )
    return {
        "negotiations": [
            message(0, "cfp", receiver="all", bound_gbp=1.0),
            message(1, "propose", sender="north", receiver="orchestrator"),
            settled,
            # 6 kW for an hour: 0.5 x 6 x (0.1 + 0.1 + 0.02) = 0.66 GBP.
            award(4, "a", 6000, "00:00", "01:00", 0.66),
            # 4 kW in half hour 1: 0.5 x 4 x 0.12 = 0.24 GBP. The cell holds exactly 10 kW.
            award(5, "b", 4000, "00:30", "01:00", 0.24),
        ],
        "workloads": [workload("a", 6, 60, 5.0), workload("b", 4, 30, 0.5)],
        "schedules": [scheduled("a", "00:00", "01:00"), scheduled("b", "00:30", "01:00")],
        "windows": [],
    }


def run_audit(rows: Rows) -> AuditReport:
    return audit(rows["negotiations"], rows["workloads"], rows["schedules"], rows["windows"])


def test_a_good_run_has_no_violation() -> None:
    report = run_audit(good_run())
    assert report.violations == ()
    assert (report.conversations, report.awarded, report.cells) == (1, 2, 4)


def moved_slot(rows: Rows) -> None:
    rows["schedules"][0].update(
        starts_at="2026-01-01T01:00:00+00:00", ends_at="2026-01-01T02:00:00+00:00"
    )


def missing_award(rows: Rows) -> None:
    del rows["negotiations"][4]


def overfull_cell(rows: Rows) -> None:
    rows["negotiations"][2]["content"]["capacity_w"] = [[10_000, 9_999, 10_000, 10_000]]


def paid_above_refusal(rows: Rows) -> None:
    rows["workloads"][1]["refusal_value_gbp"] = 0.2


def bound_above_cost(rows: Rows) -> None:
    rows["negotiations"][2]["bound_gbp"] = 1.2


def doubled_message(rows: Rows) -> None:
    rows["negotiations"].append(
        {**deepcopy(rows["negotiations"][4]), "id": "message-9", "sequence": 9}
    )


def doubled_table_message(rows: Rows) -> None:
    rows["negotiations"].append(
        {**deepcopy(rows["negotiations"][1]), "id": "message-8", "sequence": 8}
    )


def outside_window(rows: Rows) -> None:
    rows["workloads"][0]["deadline"] = "2026-01-01T00:30:00+00:00"


def foreign_region(rows: Rows) -> None:
    rows["workloads"][0]["allowed_regions"] = [1, 2]


def too_short(rows: Rows) -> None:
    rows["workloads"][0]["duration_min"] = 90


def negative_price(rows: Rows) -> None:
    rows["negotiations"][2]["content"]["mu_q"] = [[-1, MU_Q, 0, 0]]


def price_on_an_empty_cell(rows: Rows) -> None:
    content = rows["negotiations"][2]["content"]
    content["mu_q"] = [[0, MU_Q, 0, MU_Q]]
    content["capacity_w"] = [[10_000, 10_000, 10_000, 90_000]]


def false_payment(rows: Rows) -> None:
    rows["negotiations"][4]["content"]["paid_gbp"] = 0.10


def dearer_energy(rows: Rows) -> None:
    rows["negotiations"][4]["energy_cost_gbp"] = 9.0


def silent_refusal(rows: Rows) -> None:
    rows["negotiations"].append(
        message(6, "reject-proposal", workload_name="c", workload_agent="north", content={})
    )


@pytest.mark.parametrize(
    ("corrupt", "rule", "named"),
    [
        pytest.param(moved_slot, 11, {"message-4", "schedule-a-1"}, id="moved-slot"),
        pytest.param(missing_award, 11, {"schedule-b-1"}, id="missing-award"),
        pytest.param(overfull_cell, 1, {"message-4", "message-5"}, id="overfull-cell"),
        pytest.param(paid_above_refusal, 6, {"message-5"}, id="paid-above-refusal"),
        pytest.param(bound_above_cost, 4, {"message-3"}, id="bound-above-cost"),
        pytest.param(doubled_message, 11, {"message-5", "message-9"}, id="doubled-award"),
        pytest.param(doubled_table_message, 11, {"message-1", "message-8"}, id="doubled-answer"),
        pytest.param(outside_window, 3, {"message-4"}, id="outside-its-window"),
        pytest.param(foreign_region, 3, {"message-4"}, id="region-not-allowed"),
        pytest.param(too_short, 3, {"message-4"}, id="too-few-half-hours"),
        pytest.param(negative_price, 5, {"message-3"}, id="negative-congestion-price"),
        pytest.param(price_on_an_empty_cell, 5, {"message-3"}, id="price-where-nothing-runs"),
        pytest.param(false_payment, 6, {"message-5"}, id="payment-not-at-posted-prices"),
        pytest.param(dearer_energy, 6, {"message-5"}, id="energy-cost-above-refusal"),
        pytest.param(silent_refusal, 6, {"message-6"}, id="refusal-without-a-reason"),
    ],
)
def test_a_corruption_is_found_and_its_rows_are_named(
    corrupt: Callable[[Rows], None], rule: int, named: set[str]
) -> None:
    rows = good_run()
    corrupt(rows)
    violations = run_audit(rows).violations
    hits = [item for item in violations if item.rule == rule]
    assert hits, violations
    assert named <= {row for item in hits for row in item.rows}


def test_started_work_that_moves_is_found() -> None:
    rows = good_run()
    later = deepcopy(rows["negotiations"][2:4])
    for row in later:
        row["conversation_id"] = "0001"
        row["id"] += "-later"
        row["sent_at"] = "2026-01-01T00:30:00+00:00"
    later[1]["content"]["segments"] = [segment("01:00", "02:00")]
    rows["negotiations"] += later
    rows["schedules"].append(scheduled("a", "01:00", "02:00", revision=2))
    violations = run_audit(rows).violations
    assert [item.rule for item in violations if item.rule == 9] == [9]
