"""A run on the wall clock: any moment, work called off, work too late, figures that are missing."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from typing import Any

import numpy as np
import pytest

from agents.compute import ComputeAgent
from agents.core.audit import audit
from agents.core.conversation import ManagerOptions
from agents.core.digest import RunDigest
from agents.core.ledger import Contract, State
from agents.core.manager import Manager, TickResult
from agents.core.run_state import RunState
from agents.core.view import GridView, Site
from agents.local import LocalOrganisations
from agents.organisation import Organisation, Source
from schema.errors import ConfigurationError
from schema.messages import Performative
from schema.orders import OrderResult, WindowOrder
from schema.periods import format_instant, half_hour_number, half_hour_start, parse_instant
from schema.rows import Record
from storage.grid_prices import QualityCode
from storage.ports import Checkpoint, Filter, JsonObject, Operator, Order

RUN = "11111111-1111-4111-8111-111111111111"
#: Ten o'clock; ticks come at any minute.
TEN = datetime(2026, 5, 1, 10, 0, tzinfo=UTC)
SOURCE = Source("test_live_manager:organisation", {})


def site(kw: float = 5.0, region_id: int = 1) -> Site:
    return Site("north", "hall", region_id, 0, np.array([kw]), lasting=True)


def organisation() -> Organisation:
    return Organisation((site(),), intake=True)


class Database:
    """The rows of workloads as their owner and their agent leave them."""

    def __init__(self) -> None:
        self.workloads: dict[str, dict[str, Any]] = {}
        self.assets: list[dict[str, Any]] = []
        self._saved: dict[str, Checkpoint] = {}

    def submit(self, name: str, *, start_h: float = 0, hours: float = 8, **columns: Any) -> None:
        """Insert a workload of 5 kW for an hour, as its owner does; times count from ten."""
        self.workloads[name] = {
            "agent_name": "north",
            "workload_name": name,
            "status": "submitted",
            "version": 0,
            "power_kw": 5.0,
            "duration_min": 60,
            "earliest_start": format_instant(TEN + timedelta(hours=start_h)),
            "deadline": format_instant(TEN + timedelta(hours=hours)),
            "allowed_regions": [1],
            "interruptible": False,
            "priority": 5,
            "delay_cost_gbp_per_kwh_h": 0.01,
            **columns,
        }

    def cancel(self, name: str) -> None:
        row = self.workloads[name]
        row.update(status="cancelled", version=row["version"] + 1)

    def put_sync(self, records: Sequence[Record], checkpoint: Checkpoint | None = None) -> None:
        for record in records:
            columns = record.columns()
            if record.table == "compute_assets":
                self.assets.append(columns)
                continue
            before = self.workloads[columns["workload_name"]]
            assert columns["delay_cost_gbp_per_kwh_h"] is None
            if columns["version"] > before["version"]:
                # Cancelled is for good.
                status = "cancelled" if before["status"] == "cancelled" else columns["status"]
                self.workloads[columns["workload_name"]] = {**columns, "status": status}
        if checkpoint is not None:
            self._saved[checkpoint.name] = checkpoint

    def checkpoint(self, name: str) -> Checkpoint | None:
        return self._saved.get(name)

    def select(
        self, table: str, columns: Sequence[str], filters: Sequence[Filter], order: Sequence[Order]
    ) -> list[JsonObject]:
        del order
        if table != "compute_workloads":
            return []
        status = next(test for test in filters if test.column == "status")
        wanted = status.value if status.operator is Operator.IN else [status.value]
        assert not isinstance(wanted, str | float | bool)
        return [
            {name: row.get(name) for name in columns}
            for row in self.workloads.values()
            if row["status"] in wanted
        ]


@dataclass
class Live:
    """A live run whose grid is the same at all times, unless a tick says otherwise."""

    options: ManagerOptions = field(default_factory=lambda: ManagerOptions(seed=1))

    def __post_init__(self) -> None:
        self.database = Database()
        agent = ComputeAgent("north", SOURCE, range(8), run_id=RUN, storage=self.database)
        self.organisations = LocalOrganisations({"north": [agent]})
        self.manager = Manager(self.organisations.announce(), self.options)
        self.digest = RunDigest()
        self.messages: list[dict[str, Any]] = []
        self.schedules: list[dict[str, Any]] = []

    def tick(self, clock: str, *, reach: int = 96, rows: int = 96) -> TickResult:
        """Live through a tick at a time of day; ``reach`` half hours of figures are published."""
        now = parse_instant(f"2026-05-01T{clock}Z")
        result = self.manager.tick(
            now,
            grid(self.manager.opened(now), reach, rows),
            self.organisations.register(0),
            [],
            digest=self.digest,
            hall=self.organisations,
            desk=self,
        )
        self.organisations.tell(result.tellings)
        self.messages += [row.to_record(RUN).columns() for row in result.messages]
        self.schedules += [row.to_record(RUN).columns() for row in result.schedules]
        return result

    def book(self, orders: Sequence[WindowOrder]) -> list[OrderResult]:
        raise AssertionError(orders)

    def contract(self, name: str) -> Contract:
        return next(item for item in self.manager.state.ledger if item.name == name)

    def starts(self, name: str) -> str:
        """Time of day at which it runs."""
        first = self.contract(name).segments[0].first
        return f"{half_hour_start(first):%H:%M}"

    def said(self, performative: Performative) -> list[dict[str, Any]]:
        return [row for row in self.messages if row["performative"] == performative]

    def violations(self) -> list[str]:
        rows = list(self.database.workloads.values())
        report = audit(self.messages, rows, self.schedules, [], self.database.assets[-1:])
        return [str(item) for item in report.violations]


def grid(origin: int, reach: int, rows: int) -> GridView:
    """Cheap and clean at once, and a little worse in every later half hour."""
    intensity = np.full((14, rows), np.nan)
    intensity[:, :reach] = 100.0 + np.arange(reach)
    quality = np.zeros((14, rows), np.uint8)
    quality[:, :reach] = QualityCode.PUBLISHED
    return GridView(
        origin=origin,
        intensity=intensity,
        intensity_quality=quality,
        price=np.full(rows, 50.0),
        price_quality=np.full(rows, QualityCode.ESTIMATED, np.uint8),
        windows=(),
        version=1,
    )


@pytest.fixture
def live() -> Live:
    return Live()


# -- at any moment -------------------------------------------------------------------------------


def test_the_half_hour_that_has_begun_is_not_offered(live: Live) -> None:
    live.database.submit("a")
    live.tick("10:07:31")
    assert live.starts("a") == "10:30"
    assert live.database.workloads["a"]["status"] == "awarded"
    # What it would have done by itself is to run at once, too.
    assert live.database.workloads["a"]["baseline_starts_at"] == "2026-05-01T10:30:00Z"
    assert live.violations() == []


def test_at_the_very_start_of_a_half_hour_it_is_still_open(live: Live) -> None:
    live.database.submit("a")
    live.tick("10:30:00")
    assert live.starts("a") == "10:30"


def test_ticks_within_one_half_hour_register_whoever_has_come(live: Live) -> None:
    live.database.submit("a")
    first = live.tick("10:01:00")
    quiet = live.tick("10:02:00")
    live.database.submit("b")
    second = live.tick("10:03:00")
    assert (first.conversation is None, quiet.conversation, second.conversation is None) == (
        False,
        None,
        False,
    )
    # One site of 5 kW: one after the other, an hour each.
    assert sorted([live.starts("a"), live.starts("b")]) == ["10:30", "11:30"]
    assert live.violations() == []


def test_work_starts_with_its_half_hour_and_is_complete_after_its_last(live: Live) -> None:
    live.database.submit("a")
    live.tick("10:01:00")
    states = []
    for clock in ("10:29:59", "10:30:00", "10:30:01", "11:29:00", "11:30:00", "11:31:00"):
        live.tick(clock)
        states.append((clock, live.database.workloads["a"]["status"]))
    assert states == [
        ("10:29:59", "awarded"),
        ("10:30:00", "awarded"),
        ("10:30:01", "running"),
        ("11:29:00", "running"),
        ("11:30:00", "completed"),
        ("11:31:00", "completed"),
    ]
    assert live.organisations.register(0)[0].names == ()


def test_a_clock_that_is_set_back_opens_no_half_hour_again(live: Live) -> None:
    live.tick("10:31:00")
    live.database.submit("a")
    live.tick("10:02:00")
    assert live.starts("a") == "11:00"


def test_what_comes_too_late_is_refused_in_words_and_in_its_row(live: Live) -> None:
    live.database.submit("late", hours=1.4)
    live.tick("10:15:00")
    row = live.database.workloads["late"]
    # Floor of 11:24 is 11:00: from 10:30 on that leaves one half hour, it needs two.
    reason = (
        "its deadline 2026-05-01T11:00:00Z cannot be met: it needs 2 half hours, and none before "
        "2026-05-01T10:30:00Z is open"
    )
    assert (row["status"], row["status_reason"]) == ("refused", reason)
    (word,) = live.said(Performative.REJECT_PROPOSAL)
    assert (word["content"]["reason"], word["sender"]) == (reason, "orchestrator")
    assert live.violations() == []


def test_refused_work_asks_again_while_its_deadline_can_be_met(live: Live) -> None:
    live.database.submit("first", hours=1.5)
    live.tick("10:05:00")
    live.database.submit("second", hours=2.0)
    live.tick("10:06:00")
    # Between 10:30 and 12:00 there is room for one hour of 5 kW and a half, not for two.
    assert live.contract("second").state is State.WAITING
    assert live.database.workloads["second"]["status"] == "registered"
    assert live.database.workloads["second"]["status_reason"] is not None
    live.database.cancel("first")
    live.tick("10:07:00")
    assert live.starts("second") == "10:30"
    assert live.violations() == []


# -- called off ----------------------------------------------------------------------------------


def test_what_is_called_off_before_it_starts_makes_room_at_once(live: Live) -> None:
    live.database.submit("a", hours=1.5)
    live.tick("10:05:00")
    live.database.cancel("a")
    live.database.submit("b", hours=1.5)
    live.tick("10:06:00")
    assert live.starts("b") == "10:30"
    assert live.contract("a").segments == ()
    (word,) = live.said(Performative.CANCEL)
    assert (word["sender"], word["receiver"]) == ("north", "orchestrator")
    assert word["workload_name"] == "a"
    assert word["content"]["reason"] == "cancelled by its owner"
    assert word["content"]["segments"] == []
    assert word["content"]["had"][0]["starts_at"] == "2026-05-01T10:30:00Z"
    row = live.database.workloads["a"]
    assert (row["status"], row["status_reason"]) == ("cancelled", "cancelled by its owner")
    assert live.violations() == []
    assert live.organisations.register(0)[0].names == ("b",)


def test_started_work_that_is_called_off_stops_with_its_half_hour(live: Live) -> None:
    live.database.submit("a", duration_min=180)
    live.tick("10:05:00")
    assert live.starts("a") == "10:30"
    live.tick("11:10:00")
    assert live.contract("a").state is State.STARTED
    live.database.cancel("a")
    live.database.submit("b", hours=3)
    live.tick("11:15:00")
    # It ran from 10:30; the half hour from 11:00 has begun and is its last.
    (segment,) = live.contract("a").segments
    assert (half_hour_start(segment.first), half_hour_start(segment.end)) == (
        TEN + timedelta(minutes=30),
        TEN + timedelta(minutes=90),
    )
    assert live.starts("b") == "11:30"
    row = live.database.workloads["a"]
    assert row["status_reason"] == "cancelled by its owner; it stops at 2026-05-01T11:30:00Z"
    last = [item for item in live.schedules if item["workload_name"] == "a"][-1]
    assert (last["revision"], last["ends_at"]) == (2, "2026-05-01T11:30:00Z")
    # 5 kW for two of the six half hours.
    assert last["energy_kwh"] == 5.0
    assert live.violations() == []


def test_what_is_over_cannot_be_called_off(live: Live) -> None:
    live.database.submit("a")
    live.tick("10:05:00")
    live.tick("11:35:00")
    assert live.contract("a").state is State.COMPLETED
    registration = live.organisations.register(0)[0]
    late = replace(registration, cancelled=np.array([live.contract("a").key], np.uint64))
    result = live.manager.tick(
        TEN + timedelta(hours=2),
        grid(half_hour_number(TEN) + 4, 96, 96),
        [late],
        [],
        digest=live.digest,
        hall=live.organisations,
        desk=live,
    )
    assert result.messages == ()
    assert live.contract("a").state is State.COMPLETED


def test_a_contract_that_was_kept_too_long_is_found(live: Live) -> None:
    live.database.submit("a", duration_min=180)
    live.tick("10:05:00")
    live.tick("11:10:00")
    live.database.cancel("a")
    live.tick("11:15:00")
    (word,) = live.said(Performative.CANCEL)
    word["content"]["segments"][0]["ends_at"] = "2026-05-01T12:00:00Z"
    assert any("was called off and keeps 3 half hours; 2 had begun" in v for v in live.violations())


# -- figures -------------------------------------------------------------------------------------


def test_work_beyond_what_is_known_waits_and_says_for_what(live: Live) -> None:
    live.database.submit("a", hours=8)
    result = live.tick("10:05:00", reach=0)
    assert result.conversation is None
    row = live.database.workloads["a"]
    assert row["status"] == "registered"
    # It must start at 17:00; two hours earlier it is placed on what there is.
    assert row["status_reason"].endswith("placed on what there is from 2026-05-01T15:00:00Z")
    # Told once, not at every tick.
    assert live.tick("10:06:00", reach=0).tellings == {}
    placed = live.tick("10:35:00")
    assert placed.conversation is not None
    assert placed.conversation.why == "figures came in"
    assert live.starts("a") == "11:00"
    assert live.violations() == []


def test_work_that_cannot_wait_runs_in_time_on_made_up_figures_and_says_so(live: Live) -> None:
    # It must start at 14:00 at the latest; the last call is at 12:00.
    live.database.submit("a", hours=5)
    for clock in ("10:05:00", "11:05:00"):
        assert live.tick(clock, reach=0).conversation is None
    result = live.tick("11:35:00", reach=0)
    assert result.conversation is not None
    assert result.conversation.why == "a deadline comes near, without a forecast"
    (award,) = live.said(Performative.ACCEPT_PROPOSAL)
    assert award["on_synthetic_data"] is True
    assert award["content"]["why"].endswith(
        "on figures that were made up for want of published ones"
    )
    # Nothing was published, so nothing is claimed.
    assert award["carbon_gco2"] is None
    assert live.contract("a").segments[-1].end <= half_hour_number(TEN) + 10
    assert live.violations() == []


def test_an_old_forecast_is_used_and_named(live: Live) -> None:
    live.database.submit("a")
    result = live.tick("10:05:00", reach=79)
    assert result.conversation is not None
    # 95 less 79 half hours.
    assert result.conversation.why == "workloads arrived, on a forecast about 8 hours old"
    (award,) = live.said(Performative.ACCEPT_PROPOSAL)
    assert award["content"]["why"].endswith(", on a forecast about 8 hours old")
    assert award["on_synthetic_data"] is False


def test_a_place_that_stands_is_not_moved_on_missing_figures(live: Live) -> None:
    live.database.submit("a", start_h=4)
    live.tick("10:05:00")
    assert live.starts("a") == "14:00"
    live.database.submit("b", hours=2)
    live.tick("10:40:00", reach=4)
    assert live.starts("a") == "14:00"
    assert live.contract("a").revision == 1


# -- what changes between two starts -------------------------------------------------------------


def again(live: Live, sites: Sequence[Site], **options: Any) -> None:
    """Start the manager anew from its state, with other sites."""
    live.manager = Manager(sites, live.options, live.manager.state, **options)


def test_a_site_with_less_power_gives_places_back_and_the_work_asks_again(live: Live) -> None:
    live.database.submit("a")
    live.tick("10:05:00")
    again(live, [site(2.0)])
    live.tick("10:06:00")
    (word,) = live.said(Performative.FAILURE)
    assert (
        word["content"]["reason"] == "site north/hall has less power than when it was placed there"
    )
    assert live.contract("a").state is State.WAITING
    again(live, [site(6.0)])
    live.tick("16:06:00")
    assert live.starts("a") == "16:30"
    assert live.contract("a").revision == 2


def test_a_site_that_is_gone_keeps_its_place_without_power() -> None:
    state = RunState((site(),))
    other = Site("north", "annex", 2, 0, np.array([9.0]), lasting=True)
    assert state.take_sites([other]) == {0}
    assert [(item.name, item.capacity_kw.tolist()) for item in state.sites] == [
        ("north/hall", [0.0]),
        ("north/annex", [9.0]),
    ]


def test_a_site_that_has_moved_needs_another_name() -> None:
    with pytest.raises(
        ConfigurationError, match=r"north/hall was in region 1 and is now in region 2"
    ):
        RunState((site(),)).take_sites([site(region_id=2)])


def test_the_work_of_an_organisation_that_is_away_stays_where_it_is(live: Live) -> None:
    live.database.submit("a", start_h=4)
    live.tick("10:05:00")
    again(live, [site()], absent={"north"})
    quiet = live.manager.tick(
        TEN + timedelta(hours=9),
        grid(half_hour_number(TEN) + 18, 96, 96),
        [],
        [],
        digest=live.digest,
        hall=live.organisations,
        desk=live,
    )
    assert quiet.conversation is None
    assert live.contract("a").state is State.COMPLETED
    # Back again it still tells of the work, and hears how it ended.
    again(live, [site()])
    live.tick("19:05:00")
    assert live.database.workloads["a"]["status"] == "completed"


def test_what_has_been_over_for_long_is_forgotten() -> None:
    live = Live(ManagerOptions(seed=1, keep_over=4))
    live.database.submit("a")
    live.tick("10:05:00")
    live.tick("13:30:00")
    assert live.contract("a").state is State.COMPLETED
    live.tick("13:31:00")
    assert len(live.manager.state.ledger) == 0
    assert live.manager.state.accounts == {}
