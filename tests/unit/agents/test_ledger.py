"""Contracts: what has started never moves, what waits may, what is late is missed."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import numpy as np
import pytest

from agents.core.book import NOT_STATED, WorkloadBook, default_refusal_nano
from agents.core.ledger import Ledger, Segment, State, add_segments, segments_of
from schema.periods import half_hour_number
from schema.workloads import Workload

START = datetime(2026, 1, 1, tzinfo=UTC)
ORIGIN = half_hour_number(START)


def workload(name: str, **changes: object) -> Workload:
    return Workload.model_validate(
        {
            "workload_name": name,
            "power_kw": 5,
            "duration_min": 60,
            "earliest_start": START,
            "deadline": START + timedelta(hours=4),
            "allowed_regions": [1, 13],
            **changes,
        }
    )


def ledger_with(*workloads: Workload) -> Ledger:
    book = WorkloadBook("north", [(0, item) for item in workloads])
    ledger = Ledger()
    ledger.register(book.registration(book.arrived(0)), dearest_gbp_per_kwh=0.1)
    return ledger


def test_registering_again_changes_nothing() -> None:
    book = WorkloadBook("north", [(0, workload("a"))])
    ledger = Ledger()
    first = ledger.register(book.registration(book.arrived(0)), dearest_gbp_per_kwh=0.1)
    again = ledger.register(book.registration(book.arrived(0)), dearest_gbp_per_kwh=0.9)
    assert (len(first), len(again), len(ledger)) == (1, 0, 1)


def test_the_value_of_not_being_refused_follows_energy_price_and_priority() -> None:
    # 5 kW for two half hours are 5 kWh; max(3 x 0.1, 0.5) = 0.5 GBP/kWh; priority 5 scales by 1.
    ledger = ledger_with(workload("a"))
    assert ledger.contracts[0].refusal_nano == 2_500_000_000
    # 3 x 0.4 = 1.2 GBP/kWh, priority 9 scales by 1.8: 5 x 1.2 x 1.8 = 10.8 GBP.
    high = default_refusal_nano(np.array([5000]), np.array([2]), np.array([9]), 0.4)
    assert high[0] == 10_800_000_000


def test_a_stated_refusal_value_is_kept() -> None:
    ledger = ledger_with(workload("a", refusal_value_gbp=1.25))
    assert ledger.contracts[0].refusal_nano == 1_250_000_000


def test_awarded_work_starts_completes_and_leaves_the_conversation() -> None:
    ledger = ledger_with(workload("a"))
    contract = ledger.contracts[0]
    contract.state = State.AWARDED
    contract.segments = (Segment(0, ORIGIN + 2, 2),)
    assert ledger.advance(ORIGIN + 2) == []
    assert ledger.participants(ORIGIN + 2, 96) == [contract]
    assert ledger.advance(ORIGIN + 3) == [contract]
    assert contract.state is State.STARTED
    assert ledger.participants(ORIGIN + 3, 96) == []
    assert ledger.advance(ORIGIN + 4) == [contract]
    assert contract.state is State.COMPLETED


def test_waiting_work_is_missed_once_its_deadline_cannot_be_met() -> None:
    # Two half hours before 04:00: the last start is 03:00, half hour 6.
    ledger = ledger_with(workload("a"))
    assert ledger.advance(ORIGIN + 6) == []
    assert [contract.state for contract in ledger.advance(ORIGIN + 7)] == [State.MISSED]


def test_work_that_needs_more_than_the_horizon_does_not_take_part() -> None:
    ledger = ledger_with(workload("a", duration_min=180))
    assert ledger.participants(ORIGIN, 5) == []
    assert len(ledger.participants(ORIGIN, 6)) == 1


def test_committed_power_counts_only_what_lies_in_the_horizon() -> None:
    table = np.zeros((2, 4), np.int64)
    # Half hours -1 to 2 of site 1: the first lies before the table.
    add_segments(table, 700, [Segment(1, ORIGIN - 1, 3)], ORIGIN)
    assert table.tolist() == [[0, 0, 0, 0], [700, 700, 0, 0]]


def test_half_hours_join_only_where_they_follow_each_other_on_one_supply() -> None:
    joined = segments_of(3, [10, 11, 12, 14], [None, None, "w", "w"])
    assert joined == (Segment(3, 10, 2), Segment(3, 12, 1, "w"), Segment(3, 14, 1, "w"))


def test_what_is_told_about_a_workload_holds_no_delay_cost() -> None:
    book = WorkloadBook("north", [(0, workload("a", delay_cost_gbp_per_kwh_h=0.75))])
    told = book.registration(book.arrived(0))
    fields = {name: getattr(told, name) for name in told.__slots__}
    assert not any("delay" in name or "omega" in name for name in fields)
    assert fields["refusal_nano"].tolist() == [NOT_STATED]


def test_participants_from_another_book_are_refused() -> None:
    book = WorkloadBook("north", [(0, workload("a"))])
    with pytest.raises(KeyError, match="north"):
        book.positions(np.array([1], np.uint64))
