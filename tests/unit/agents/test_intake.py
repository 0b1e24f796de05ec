"""Workloads that arrive as rows: taken up, refused with a reason, called off, and not forgotten."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from agents.core.book import Registration
from agents.core.intake import Holdings, read_workload
from agents.core.records import StatusUpdate
from agents.intake import Intake
from schema.errors import StorageError, StorageUnavailable
from schema.periods import half_hour_number
from schema.rows import Record
from schema.rows.compute import WorkloadStatus
from schema.workloads import Workload
from storage.ports import Checkpoint, Filter, JsonObject, Operator, Order

RUN = "11111111-1111-4111-8111-111111111111"
START = datetime(2026, 5, 1, 10, 0, tzinfo=UTC)


def row(name: str, **columns: Any) -> dict[str, Any]:
    """A row as its owner inserted it and the database gives it."""
    return {
        "agent_name": "north",
        "workload_name": name,
        "status": "submitted",
        "version": 0,
        "power_kw": 5.0,
        "duration_min": 60,
        "earliest_start": "2026-05-01T10:00:00+00:00",
        "deadline": "2026-05-01T18:00:00+00:00",
        "allowed_regions": [1, 13],
        "home_region_id": None,
        "interruptible": False,
        "priority": 5,
        "refusal_value_gbp": None,
        "delay_cost_gbp_per_kwh_h": 0.25,
        **columns,
    }


class Database:
    """Tables that are read as storage reads them, and checkpoints beside them."""

    def __init__(self, *rows: dict[str, Any]) -> None:
        self.tables: dict[str, list[dict[str, Any]]] = {
            "compute_workloads": list(rows),
            "workload_schedules": [],
        }
        self.away = False
        self.records: list[Record] = []
        self.saved: dict[str, Checkpoint] = {}
        self.asked: list[tuple[str, Sequence[Filter]]] = []

    def put_sync(self, records: Sequence[Record], checkpoint: Checkpoint | None = None) -> None:
        self.records += records
        if checkpoint is not None:
            before = self.saved.get(checkpoint.name)
            assert before is None or before.number < checkpoint.number
            self.saved[checkpoint.name] = checkpoint

    def checkpoint(self, name: str) -> Checkpoint | None:
        return self.saved.get(name)

    def select(
        self, table: str, columns: Sequence[str], filters: Sequence[Filter], order: Sequence[Order]
    ) -> list[JsonObject]:
        if self.away:
            raise StorageUnavailable("the database cannot be reached")
        self.asked.append((table, filters))
        del order
        found = [item for item in self.tables[table] if all(_holds(item, test) for test in filters)]
        return [{name: item.get(name) for name in columns} for item in found]

    def columns(self) -> list[dict[str, Any]]:
        """Give the rows that were stored."""
        return [record.columns() for record in self.records]


def _holds(item: dict[str, Any], test: Filter) -> bool:
    value = item.get(test.column)
    if test.operator is Operator.IN:
        assert not isinstance(test.value, str | float | bool)
        return value in test.value
    if test.operator is Operator.GTE:
        return datetime.fromisoformat(str(value)) >= datetime.fromisoformat(str(test.value))
    return bool(value == test.value)


def update(
    registration: Registration, name: str, status: WorkloadStatus, told: int = 1
) -> StatusUpdate:
    return StatusUpdate(
        key=int(registration.key[registration.names.index(name)]),
        status=status,
        reason=None,
        refusal_value_gbp=2.5,
        baseline_first=half_hour_number(START),
        baseline_region_id=1,
        baseline_gco2=100.0,
        baseline_rescored_gco2=None,
        baseline_cost_gbp=0.5,
        version=told,
    )


def intake(database: Database) -> Intake:
    return Intake("north", RUN, database)


# -- reading -------------------------------------------------------------------------------------


def test_a_row_is_read_whole() -> None:
    found = read_workload(row("a", home_region_id=13, refusal_value_gbp=3.0))
    assert isinstance(found, Workload)
    assert (found.earliest_start, found.deadline) == (START, START + timedelta(hours=8))
    assert (found.home, found.refusal_value_gbp, found.delay_cost_gbp_per_kwh_h) == (13, 3.0, 0.25)


@pytest.mark.parametrize(
    ("columns", "reason"),
    [
        (
            {"duration_min": 600},
            (
                "duration_min 600 needs 20 whole half hours, but between earliest_start and "
                "deadline lie 16"
            ),
        ),
        ({"allowed_regions": [3, 3]}, "allowed_regions [3, 3] names a region twice"),
        ({"home_region_id": 2}, "home_region_id 2 is not among allowed_regions [1, 13]"),
        (
            {"refusal_value_gbp": -1.0, "priority": 11},
            (
                "priority is 11: Input should be less than or equal to 9; refusal_value_gbp is "
                "-1.0: Input should be greater than or equal to 0"
            ),
        ),
    ],
    ids=["no-room", "twice", "home-elsewhere", "two-faults"],
)
def test_what_cannot_be_a_workload_is_refused_with_all_its_reasons(
    columns: dict[str, Any], reason: str
) -> None:
    assert read_workload(row("a", **columns)) == reason


def test_a_bad_row_is_answered_in_itself_and_the_good_ones_are_told() -> None:
    database = Database(row("bad", allowed_regions=[3, 3], version=2), row("good"))
    assert intake(database).register().names == ("good",)
    (answer,) = database.columns()
    assert (answer["workload_name"], answer["status"]) == ("bad", "refused")
    assert answer["status_reason"] == "allowed_regions [3, 3] names a region twice"
    assert answer["version"] == 3
    # The rest stands as its owner wrote it; the private cost is left to the database.
    assert (answer["power_kw"], answer["allowed_regions"]) == (5.0, [3, 3])
    assert answer["delay_cost_gbp_per_kwh_h"] is None


def test_another_organisations_rows_are_left_alone() -> None:
    database = Database(row("a", agent_name="south"))
    assert intake(database).register().names == ()


# -- holding -------------------------------------------------------------------------------------


def test_all_that_is_held_is_told_again_until_it_is_over() -> None:
    database = Database(row("a"), row("b"))
    agent = intake(database)
    first = agent.register()
    assert first.names == ("a", "b")
    agent.tell([update(first, "a", WorkloadStatus.AWARDED)])
    assert agent.register().names == ("a", "b")
    agent.tell([update(first, "a", WorkloadStatus.COMPLETED, told=2)])
    # The database does not say so yet: it must not be taken up again.
    assert agent.register().names == ("b",)
    assert [columns["version"] for columns in database.columns()] == [1, 2]


def test_no_row_and_no_registration_holds_the_delay_cost() -> None:
    database = Database(row("a"))
    agent = intake(database)
    first = agent.register()
    agent.tell([update(first, "a", WorkloadStatus.AWARDED)])
    assert not hasattr(first, "omega_q")
    assert [columns["delay_cost_gbp_per_kwh_h"] for columns in database.columns()] == [None]
    assert b"0.25" in database.saved["north"].blob, "its own agent must not forget it"


def test_while_the_database_is_away_what_is_held_is_told() -> None:
    database = Database(row("a"))
    agent = intake(database)
    agent.register()
    database.away = True
    database.tables["compute_workloads"].append(row("b"))
    assert agent.register().names == ("a",)
    database.away = False
    assert agent.register().names == ("a", "b")


def test_an_agent_that_was_started_anew_holds_the_same() -> None:
    database = Database(row("a"), row("b"), row("c", status="cancelled", version=1))
    first = intake(database)
    told = first.register()
    first.tell([update(told, "a", WorkloadStatus.REFUSED)])
    database.away = True
    again = intake(database)
    assert again.register().names == ("b",)
    # What was stored before it died is not written another time.
    assert again.tell([update(told, "a", WorkloadStatus.REFUSED)]) == 0


def test_nothing_is_written_while_nothing_changes() -> None:
    database = Database(row("a"))
    agent = intake(database)
    agent.register()
    saved = database.saved["north"]
    agent.register()
    assert database.saved["north"] is saved


def test_where_nothing_was_saved_the_database_is_the_memory() -> None:
    database = Database(
        row("a", status="awarded", version=4),
        row("b", status="registered", version=1),
        row("c", status="running", version=5),
        row("d"),
    )
    database.tables["workload_schedules"] = [
        {"agent_name": "north", "workload_name": "a", "revision": revision} for revision in (1, 2)
    ]
    agent = intake(database)
    told = agent.register()
    assert told.names == ("a", "b", "d")
    assert told.revision is not None
    assert told.revision.tolist() == [2, 0, 0]
    agent.tell([update(told, "a", WorkloadStatus.AWARDED)])
    assert database.columns()[0]["version"] == 5
    # From then on its own memory counts.
    database.tables["compute_workloads"].append(row("e", status="registered"))
    assert agent.register().names == ("a", "b", "d")


# -- calling off ---------------------------------------------------------------------------------


def test_a_cancellation_is_told_until_its_end_is_known() -> None:
    database = Database(row("a"), row("b"))
    agent = intake(database)
    agent.register()
    cancelled = {"status": "cancelled", "version": 3, "updated_at": "2026-05-01T11:00:00+00:00"}
    database.tables["compute_workloads"][0].update(cancelled)
    told = agent.register()
    assert told.cancelled.tolist() == [told.key[0]]
    assert agent.register().cancelled.tolist() == told.cancelled.tolist()
    agent.tell([update(told, "a", WorkloadStatus.CANCELLED, told=2)])
    # Version 3 was the owner's; the second word of the manager comes after it.
    assert database.columns()[-1]["version"] == 5
    assert agent.register().names == ("b",)


def test_only_cancellations_since_the_last_one_are_asked_for() -> None:
    old = {"status": "cancelled", "updated_at": "2026-05-01T11:00:00+00:00"}
    database = Database(row("a"), row("old", **old))
    agent = intake(database)
    agent.register()
    agent.register()
    since = [test for _, tests in database.asked for test in tests if test.column == "updated_at"]
    # Five minutes earlier: a cancellation may be committed after one that is dated later.
    assert since == [Filter("updated_at", Operator.GTE, "2026-05-01T10:55:00Z")]


def test_what_another_release_saved_is_refused_with_advice() -> None:
    with pytest.raises(StorageError, match="form 99, this program reads 1; let the release"):
        Holdings.from_bytes(b'{"form": 99}')
