"""The audit finds what was tampered with, and names the rows."""

from __future__ import annotations

from collections.abc import Callable
from copy import deepcopy
from typing import Any

import pytest

from agents.core.audit import AuditReport, audit

Rows = dict[str, list[dict[str, Any]]]

# One site of 10 kW in region 13, four half hours from midnight. The grid's value is 0.1 GBP/kWh
# throughout; half hour 1 is full, so it carries a congestion price of 0.02 GBP/kWh. A window
# offers 2 kW in half hour 2 at 0.05 GBP/kWh; the region's supply price is the grid's value.
GRID_Q = round(0.1 * 2**32)
MU_Q = round(0.02 * 2**32)


WINDOW = "bpp|item|2026-01-01T01:00Z"


def segment(start: str, end: str, window: str | None = None) -> dict[str, Any]:
    return {
        "site": "north/hall",
        "region_id": 13,
        "starts_at": f"2026-01-01T{start}:00Z",
        "ends_at": f"2026-01-01T{end}:00Z",
        "window": window,
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
    number: int,
    name: str,
    power_w: int,
    where: dict[str, Any],
    price_q: int,
    paid: float,
) -> dict[str, Any]:
    # Carbon is valued at 0.264 GBP/kg: 100 g are 0.0264 GBP of what is paid.
    return message(
        number,
        "accept-proposal",
        workload_name=name,
        workload_agent="north",
        content={
            "segments": [where],
            "power_w": power_w,
            "revision": 1,
            "posted_price_q": price_q,
            "paid_gbp": paid,
        },
        carbon_gco2=100.0,
        energy_cost_gbp=0.05,
        congestion_gbp=paid - 0.05 - 0.0264,
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


def scheduled(award: dict[str, Any], revision: int = 1) -> dict[str, Any]:
    [where] = award["content"]["segments"]
    windowed = where["window"] is not None
    return {
        "id": f"schedule-{award['workload_name']}-{revision}",
        "agent_name": "north",
        "workload_name": award["workload_name"],
        "revision": revision,
        "conversation_id": award["conversation_id"],
        "starts_at": where["starts_at"].replace("Z", "+00:00"),
        "ends_at": where["ends_at"].replace("Z", "+00:00"),
        "region_id": 13,
        "asset_agent_name": "north",
        "asset_name": "hall",
        "window_bpp_id": "bpp" if windowed else None,
        "window_item_id": "item" if windowed else None,
        "window_starts_at": "2026-01-01T01:00:00+00:00" if windowed else None,
        "power_kw": award["content"]["power_w"] / 1000,
        "energy_cost_gbp": award["energy_cost_gbp"],
        "congestion_gbp": award["congestion_gbp"],
        "gco2_forecast": award["carbon_gco2"],
    }


def good_run() -> Rows:
    settled = message(
        4,
        "cfp",
        round=2,
        receiver="all",
        content={
            "origin": "2026-01-01T00:00:00Z",
            "sites": [{"site": "north/hall", "region_id": 13}],
            "areas": [13],
            "windows": [{"window": WINDOW, "value_q": GRID_Q // 2, "gross_w": 2000}],
            "largest_w": 6000,
            "workloads": 3,
            "refused": 0,
            "carbon_value_gbp_per_kg": 0.264,
            "mu_q": [[0, MU_Q, 0, 0]],
            "supply_q": [[GRID_Q] * 4],
            "grid_q": [[GRID_Q] * 4],
            "capacity_w": [[10_000] * 4],
        },
        bound_gbp=1.0,
        cost_gbp=1.1,
        # (1.1 - 1.0) / max(1.0, 0.1 x 9 kWh x 0.1 GBP/kWh)
        gap=0.1,
    )
    awards = [
        # 6 kW for an hour: 0.5 x 6 x (0.1 + 0.1 + 0.02) = 0.66 GBP.
        award(5, "a", 6000, segment("00:00", "01:00"), 2 * GRID_Q + MU_Q, 0.66),
        # 4 kW in half hour 1: 0.5 x 4 x 0.12 = 0.24 GBP. The cell holds exactly 10 kW.
        award(6, "b", 4000, segment("00:30", "01:00"), GRID_Q + MU_Q, 0.24),
        # 2 kW in half hour 2 from the window, at the supply price: 0.5 x 2 x 0.1 = 0.1 GBP.
        award(7, "c", 2000, segment("01:00", "01:30", WINDOW), GRID_Q, 0.10),
    ]
    wish = {"site": "north/hall", "region_id": 13, "starts_at": "2026-01-01T00:00:00Z"}
    return {
        "negotiations": [
            message(0, "cfp", receiver="all", bound_gbp=0.9),
            message(1, "propose", sender="north", receiver="orchestrator"),
            message(
                2, "propose", sender="north", receiver="orchestrator", content=wish,
                workload_name="a", workload_agent="north",
            ),
            message(3, "inform", sender="bpp", receiver="orchestrator", content={"what": "yes"}),
            settled,
            *awards,
        ],
        "workloads": [
            workload("a", 6, 60, 5.0), workload("b", 4, 30, 0.5), workload("c", 2, 30, 0.5),
        ],
        "schedules": [scheduled(item) for item in awards],
        "windows": [
            {
                "id": "window-1",
                "bpp_id": "bpp",
                "item_id": "item",
                "starts_at": "2026-01-01T01:00:00+00:00",
                "capacity_kw": 2.0,
                "state": "booked",
            }
        ],
        "assets": [
            {
                "id": "asset-1",
                "agent_name": "north",
                "asset_name": "hall",
                "region_id": 13,
                "capacity_kw": 10.0,
                "capacity_by_period": {"from": "2026-01-01T00:00:00Z", "kw": [10.0] * 4},
            }
        ],
    }  # fmt: skip


def run_audit(rows: Rows) -> AuditReport:
    names = ("negotiations", "workloads", "schedules", "windows", "assets")
    return audit(*(rows[name] for name in names))


def test_a_good_run_has_no_violation() -> None:
    report = run_audit(good_run())
    assert report.violations == ()
    assert (report.conversations, report.awarded, report.cells) == (1, 3, 4)


# Positions in the log of the good run.
SETTLED, A, B, C = 4, 5, 6, 7


def moved_slot(rows: Rows) -> None:
    rows["schedules"][2].update(
        starts_at="2026-01-01T01:30:00+00:00", ends_at="2026-01-01T02:00:00+00:00"
    )


def moved_by_minutes(rows: Rows) -> None:
    rows["schedules"][0]["starts_at"] = "2026-01-01T00:10:00+00:00"


def moved_in_the_message(rows: Rows) -> None:
    rows["negotiations"][C]["content"]["segments"] = [segment("01:30", "02:00", WINDOW)]


def moved_in_both(rows: Rows) -> None:
    # Half hour 0 has no congestion price: the price stated is then wrong.
    content = rows["negotiations"][B]["content"]
    content["segments"] = [segment("00:00", "00:30")]
    rows["schedules"][1] = scheduled(rows["negotiations"][B])


def moved_to_another_region(rows: Rows) -> None:
    rows["schedules"][0]["region_id"] = 12


def said_in_another_region(rows: Rows) -> None:
    rows["negotiations"][A]["content"]["segments"][0]["region_id"] = 12


def moved_to_an_unknown_site(rows: Rows) -> None:
    rows["negotiations"][A]["content"]["segments"][0]["site"] = "north/cellar"


def moved_to_the_grid(rows: Rows) -> None:
    rows["schedules"][2].update(window_bpp_id=None, window_item_id=None, window_starts_at=None)


def unreadable_slot(rows: Rows) -> None:
    del rows["negotiations"][A]["content"]["segments"]


def missing_award(rows: Rows) -> None:
    del rows["negotiations"][B]


def missing_award_and_slot(rows: Rows) -> None:
    del rows["negotiations"][A]
    del rows["schedules"][0]


def missing_without_a_trace(rows: Rows) -> None:
    # The last message of the log, its slot, and what the workload's own row said of it.
    del rows["negotiations"][C]
    del rows["schedules"][2]
    rows["workloads"][2]["status"] = "registered"


def missing_last_answer(rows: Rows) -> None:
    missing_award_and_slot(rows)
    rows["workloads"][0]["status"] = "registered"
    rows["negotiations"][SETTLED]["content"]["workloads"] = 2
    for number, row in enumerate(rows["negotiations"]):
        row["sequence"] = number


def status_taken_back(rows: Rows) -> None:
    rows["workloads"][0]["status"] = "refused"


def overfull_cell(rows: Rows) -> None:
    rows["negotiations"][SETTLED]["content"]["capacity_w"] = [[10_000, 9_999, 10_000, 10_000]]


def smaller_site(rows: Rows) -> None:
    rows["assets"][0]["capacity_by_period"]["kw"] = [10.0, 9.0, 10.0, 10.0]


def smaller_constant_site(rows: Rows) -> None:
    rows["assets"][0].update(capacity_by_period=None, capacity_kw=9.0)


def two_in_one_cell(rows: Rows) -> None:
    # c joins a and b in half hour 1: 6 + 4 + 2 kW.
    content = rows["negotiations"][C]["content"]
    content["segments"] = [segment("00:30", "01:00")]
    rows["schedules"][2] = scheduled(rows["negotiations"][C])


def overfull_window(rows: Rows) -> None:
    rows["negotiations"][SETTLED]["content"]["windows"][0]["gross_w"] = 1999


def smaller_window(rows: Rows) -> None:
    rows["windows"][0]["capacity_kw"] = 1.9


def test_a_window_that_its_provider_cut_may_carry_started_work() -> None:
    rows = good_run()
    rows["windows"][0].update(capacity_kw=1.0, state="changed")
    assert run_audit(rows).violations == ()


def carbon_unknown(rows: Rows) -> None:
    """Nobody published the carbon of a's slot: none is valued, none is in its row."""
    award = rows["negotiations"][A]
    award.update(carbon_gco2=None, congestion_gbp=award["congestion_gbp"] + 0.0264)
    rows["schedules"][0].update(gco2_forecast=None, congestion_gbp=award["congestion_gbp"])


def test_carbon_that_nobody_knows_is_no_violation() -> None:
    rows = good_run()
    carbon_unknown(rows)
    assert run_audit(rows).violations == ()


def carbon_only_in_the_schedule(rows: Rows) -> None:
    carbon_unknown(rows)
    rows["schedules"][0]["gco2_forecast"] = 100.0


def more_power_than_asked(rows: Rows) -> None:
    rows["workloads"][0]["power_kw"] = 5


def more_power_than_awarded(rows: Rows) -> None:
    rows["schedules"][0]["power_kw"] = 7


def paid_above_refusal(rows: Rows) -> None:
    rows["workloads"][1]["refusal_value_gbp"] = 0.2


def bound_above_cost(rows: Rows) -> None:
    rows["negotiations"][SETTLED]["bound_gbp"] = 1.2


def earlier_bound_above_cost(rows: Rows) -> None:
    rows["negotiations"][0]["bound_gbp"] = 1.2


def cost_below_bound(rows: Rows) -> None:
    rows["negotiations"][SETTLED]["cost_gbp"] = 0.9


def smaller_gap(rows: Rows) -> None:
    rows["negotiations"][SETTLED]["gap"] = 0.01


def no_bound(rows: Rows) -> None:
    rows["negotiations"][SETTLED]["bound_gbp"] = None


def doubled_message(rows: Rows) -> None:
    rows["negotiations"].append(
        {**deepcopy(rows["negotiations"][B]), "id": "message-9", "sequence": 8}
    )


def doubled_table_message(rows: Rows) -> None:
    rows["negotiations"].append(
        {**deepcopy(rows["negotiations"][1]), "id": "message-8", "sequence": 8}
    )


def doubled_round(rows: Rows) -> None:
    rows["negotiations"].append(
        {**deepcopy(rows["negotiations"][SETTLED]), "id": "message-8", "sequence": 8, "round": 7}
    )


def doubled_place_in_the_order(rows: Rows) -> None:
    rows["negotiations"][3]["sequence"] = 2


def doubled_in_another_conversation(rows: Rows) -> None:
    settled, accepted = (deepcopy(rows["negotiations"][at]) for at in (SETTLED, A))
    for number, row in enumerate((settled, accepted)):
        row.update(conversation_id="0001", id=f"later-{number}", sequence=number)
    rows["negotiations"] += [settled, accepted]


def forged_sender(rows: Rows) -> None:
    rows["negotiations"][A]["sender"] = "south"


def outside_window(rows: Rows) -> None:
    rows["workloads"][0]["deadline"] = "2026-01-01T00:30:00+00:00"


def foreign_region(rows: Rows) -> None:
    rows["workloads"][0]["allowed_regions"] = [1, 2]


def too_short(rows: Rows) -> None:
    rows["workloads"][0]["duration_min"] = 90


def negative_price(rows: Rows) -> None:
    rows["negotiations"][SETTLED]["content"]["mu_q"] = [[-1, MU_Q, 0, 0]]


def price_on_an_empty_cell(rows: Rows) -> None:
    content = rows["negotiations"][SETTLED]["content"]
    content["mu_q"] = [[0, MU_Q, 0, MU_Q]]
    content["capacity_w"] = [[10_000, 10_000, 10_000, 90_000]]


def false_payment(rows: Rows) -> None:
    rows["negotiations"][B]["content"]["paid_gbp"] = 0.10


def false_price(rows: Rows) -> None:
    rows["negotiations"][B]["content"]["posted_price_q"] -= 1


def dearer_energy(rows: Rows) -> None:
    rows["negotiations"][B]["energy_cost_gbp"] = 9.0


def dearer_plan(rows: Rows) -> None:
    rows["schedules"][1]["congestion_gbp"] = 9.0


def silent_refusal(rows: Rows) -> None:
    rows["negotiations"].append(
        message(8, "reject-proposal", workload_name="d", workload_agent="north", content={})
    )


def unreadable_tables(rows: Rows) -> None:
    rows["negotiations"][SETTLED]["content"]["grid_q"] = [[GRID_Q] * 3]


@pytest.mark.parametrize(
    ("corrupt", "rule", "named"),
    [
        pytest.param(moved_slot, 11, {"message-7", "schedule-c-1"}, id="moved-slot"),
        pytest.param(moved_by_minutes, 11, {"message-5", "schedule-a-1"}, id="moved-by-minutes"),
        pytest.param(moved_in_the_message, 11, {"message-7", "schedule-c-1"}, id="moved-in-log"),
        pytest.param(moved_in_both, 6, {"message-6"}, id="moved-in-log-and-schedule"),
        pytest.param(moved_to_another_region, 11, {"schedule-a-1"}, id="another-region"),
        pytest.param(said_in_another_region, 3, {"message-5"}, id="region-is-not-the-sites"),
        pytest.param(moved_to_an_unknown_site, 3, {"message-5"}, id="unknown-site"),
        pytest.param(moved_to_the_grid, 11, {"message-7", "schedule-c-1"}, id="another-supply"),
        pytest.param(unreadable_slot, 11, {"message-5"}, id="unreadable-award"),
        pytest.param(missing_award, 11, {"schedule-b-1"}, id="missing-award"),
        pytest.param(missing_award_and_slot, 11, {"message-2"}, id="missing-award-and-slot"),
        pytest.param(missing_without_a_trace, 11, {"message-4"}, id="missing-without-a-trace"),
        pytest.param(missing_last_answer, 11, {"message-2"}, id="asked-but-never-answered"),
        pytest.param(status_taken_back, 11, {"workload-a"}, id="awarded-but-refused-by-status"),
        pytest.param(overfull_cell, 1, {"message-5", "message-6"}, id="overfull-cell"),
        pytest.param(smaller_site, 1, {"asset-1", "message-5", "message-6"}, id="smaller-site"),
        pytest.param(smaller_constant_site, 1, {"asset-1", "message-6"}, id="smaller-constant"),
        pytest.param(two_in_one_cell, 1, {"message-5", "message-6", "message-7"}, id="joined"),
        pytest.param(overfull_window, 1, {"message-4", "message-7"}, id="overfull-window"),
        pytest.param(smaller_window, 1, {"message-7"}, id="smaller-window"),
        pytest.param(more_power_than_asked, 3, {"message-5"}, id="more-power-than-asked"),
        pytest.param(more_power_than_awarded, 11, {"schedule-a-1"}, id="more-power-in-schedule"),
        pytest.param(paid_above_refusal, 6, {"message-6"}, id="paid-above-refusal"),
        pytest.param(bound_above_cost, 4, {"message-4"}, id="bound-above-cost"),
        pytest.param(earlier_bound_above_cost, 4, {"message-0", "message-4"}, id="bound-in-round"),
        pytest.param(cost_below_bound, 4, {"message-4"}, id="cost-below-bound"),
        pytest.param(smaller_gap, 4, {"message-4"}, id="gap-does-not-follow"),
        pytest.param(no_bound, 4, {"message-4"}, id="no-bound"),
        pytest.param(doubled_message, 11, {"message-6", "message-9"}, id="doubled-award"),
        pytest.param(doubled_table_message, 11, {"message-1", "message-8"}, id="doubled-answer"),
        pytest.param(doubled_round, 11, {"message-4", "message-8"}, id="doubled-round"),
        pytest.param(doubled_place_in_the_order, 11, {"message-2", "message-3"}, id="order"),
        pytest.param(
            doubled_in_another_conversation, 11, {"message-5", "later-1"}, id="doubled-elsewhere"
        ),
        pytest.param(forged_sender, 11, {"message-5"}, id="awarded-by-another"),
        pytest.param(outside_window, 3, {"message-5"}, id="outside-its-window"),
        pytest.param(foreign_region, 3, {"message-5"}, id="region-not-allowed"),
        pytest.param(too_short, 3, {"message-5"}, id="too-few-half-hours"),
        pytest.param(negative_price, 5, {"message-4"}, id="negative-congestion-price"),
        pytest.param(price_on_an_empty_cell, 5, {"message-4"}, id="price-where-nothing-runs"),
        pytest.param(false_payment, 6, {"message-6"}, id="payment-not-at-posted-prices"),
        pytest.param(false_price, 6, {"message-6"}, id="price-not-in-the-tables"),
        pytest.param(dearer_energy, 6, {"message-6"}, id="energy-cost-above-refusal"),
        pytest.param(dearer_plan, 11, {"message-6", "schedule-b-1"}, id="dearer-in-the-schedule"),
        pytest.param(carbon_only_in_the_schedule, 11, {"message-5", "schedule-a-1"}, id="carbon"),
        pytest.param(silent_refusal, 6, {"message-8"}, id="refusal-without-a-reason"),
        pytest.param(unreadable_tables, 11, {"message-4"}, id="unreadable-tables"),
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


def later_conversation(rows: Rows, at: str, where: dict[str, Any], price_q: int) -> None:
    """Award workload a once more, with everything that belongs to it."""
    settled, accepted = (deepcopy(rows["negotiations"][row]) for row in (SETTLED, A))
    for number, row in enumerate((settled, accepted)):
        row.update(conversation_id="0001", id=f"later-{number}", sequence=number, sent_at=at)
    accepted["content"].update(revision=2, segments=[where], posted_price_q=price_q)
    paid = price_q * 6000 / (2000 * 2**32)
    accepted["content"]["paid_gbp"] = paid
    accepted["congestion_gbp"] = paid - 0.05 - 0.0264
    rows["negotiations"] += [settled, accepted]
    rows["schedules"].append(scheduled(accepted, revision=2))


def test_work_that_has_not_started_may_move() -> None:
    rows = good_run()
    later_conversation(rows, "2026-01-01T00:00:00+00:00", segment("01:00", "02:00"), 2 * GRID_Q)
    # Half hour 1 is no longer full: its price goes.
    rows["negotiations"][-2]["content"]["mu_q"] = [[0, 0, 0, 0]]
    assert run_audit(rows).violations == ()


def switched(rows: Rows, where: dict[str, Any], at: str) -> None:
    """Withdraw the window of workload c while it runs, with everything that belongs to it."""
    for row in (rows["negotiations"][C], rows["schedules"][2]):
        # c runs for two half hours on the window, at twice the money.
        row["carbon_gco2" if "carbon_gco2" in row else "gco2_forecast"] *= 2
        row["energy_cost_gbp"] *= 2
        row["congestion_gbp"] *= 2
    contract = rows["negotiations"][C]["content"]
    contract["segments"] = [segment("01:00", "02:00", WINDOW)]
    contract["posted_price_q"] *= 2
    contract["paid_gbp"] *= 2
    rows["schedules"][2]["ends_at"] = "2026-01-01T02:00:00+00:00"
    rows["workloads"][2]["duration_min"] = 60
    rows["workloads"][2]["refusal_value_gbp"] = 1.0
    settled = deepcopy(rows["negotiations"][SETTLED])
    settled.update(conversation_id="0001", id="later-0", sequence=0, sent_at=at, cost_gbp=1.0)
    settled["content"].update(
        windows=[], workloads=0, refused=0, origin=at.replace("+00:00", "Z"), mu_q=[[0, 0]],
        supply_q=[[GRID_Q] * 2], grid_q=[[GRID_Q] * 2], capacity_w=[[10_000] * 2],
    )  # fmt: skip
    settled["gap"] = 0.0
    told = deepcopy(rows["negotiations"][C])
    told.update(
        conversation_id="0001", id="later-1", sequence=1, sent_at=at, performative="inform",
        sender="north", receiver="orchestrator",
    )  # fmt: skip
    told["content"] = {
        "what": "its window was withdrawn; the rest draws from the grid where it runs",
        "segments": [segment("01:00", "01:30", WINDOW), where],
        "power_w": 2000,
        "revision": 2,
    }
    rows["negotiations"] += [settled, told]
    rest = deepcopy(rows["schedules"][2])
    for row, piece in ((rest, told["content"]["segments"][0]), (deepcopy(rest), where)):
        windowed = piece["window"] is not None
        row.update(
            id=f"later-{piece['starts_at']}", revision=2, conversation_id="0001",
            starts_at=piece["starts_at"], ends_at=piece["ends_at"],
            window_bpp_id="bpp" if windowed else None, window_item_id="item" if windowed else None,
            window_starts_at="2026-01-01T01:00:00+00:00" if windowed else None,
            energy_cost_gbp=told["energy_cost_gbp"] / 2, congestion_gbp=told["congestion_gbp"] / 2,
            gco2_forecast=told["carbon_gco2"] / 2,
        )  # fmt: skip
        rows["schedules"].append(row)
    rows["windows"][0]["state"] = "changed"


def test_started_work_may_go_over_to_the_grid_where_it_runs() -> None:
    rows = good_run()
    switched(rows, segment("01:30", "02:00"), "2026-01-01T01:30:00+00:00")
    assert run_audit(rows).violations == ()


def test_started_work_that_changes_what_it_drew_before_is_found() -> None:
    rows = good_run()
    # Said at 01:00, when c had not started.
    switched(rows, segment("01:30", "02:00"), "2026-01-01T01:00:00+00:00")
    assert [item.rows for item in run_audit(rows).violations if item.rule == 9] == [
        ("message-7", "later-1")
    ]


def test_a_change_of_supply_that_moves_the_work_is_found() -> None:
    rows = good_run()
    switched(rows, segment("02:00", "02:30"), "2026-01-01T01:30:00+00:00")
    assert ("message-7", "later-1") in [
        item.rows for item in run_audit(rows).violations if item.rule == 9
    ]


def test_started_work_that_moves_is_found() -> None:
    rows = good_run()
    later_conversation(rows, "2026-01-01T00:30:00+00:00", segment("01:00", "02:00"), 2 * GRID_Q)
    violations = run_audit(rows).violations
    [hit] = [item for item in violations if item.rule == 9]
    assert hit.rows == ("message-5", "later-1")


def test_conversations_are_taken_in_the_order_they_were_held() -> None:
    # By name "10000" comes before "9999"; by time it does not.
    rows = good_run()
    for row in rows["negotiations"]:
        row["conversation_id"] = "9999"
    for row in rows["schedules"]:
        row["conversation_id"] = "9999"
    later_conversation(rows, "2026-01-01T00:00:00+00:00", segment("01:00", "02:00"), 2 * GRID_Q)
    for row in (*rows["negotiations"][-2:], rows["schedules"][-1]):
        row["conversation_id"] = "10000"
    for row in rows["negotiations"][:-2]:
        row["sent_at"] = "2025-12-31T23:59:00+00:00"
    rows["negotiations"][-2]["content"]["mu_q"] = [[0, 0, 0, 0]]
    assert run_audit(rows).violations == ()
