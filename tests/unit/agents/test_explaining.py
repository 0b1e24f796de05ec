"""Why a workload got its slot: prices, other places, full cells and regret, worked by hand."""

from __future__ import annotations

from typing import Any

import pytest

from agents import explained
from agents.core.auditing.findings import Findings
from agents.core.auditing.reading import Tables, read_tables
from agents.core.explaining.choices import choices
from agents.core.explaining.scene import board_of, drawn_by_others, walls_of
from agents.core.explaining.story import Explanation, deciding, explain, undecided

Row = dict[str, Any]

# Two sites, four half hours from midnight; prices are eighths of a GBP/kWh and so exact.
#
#                      00:00   00:30   01:00   01:30
#   hall  grid         1/8     1/8     1/4     1/4      20 kW, region 13
#         congestion   1/4     1/8     0       0
#   barn  grid         1/2     1/4     1/4     1/2      15 kW, region 1
#
# The workload draws 10 kW for two half hours: a price of 1 GBP/kWh over one half hour is 5 GBP.
# Other work draws 15 kW at the hall from 00:00 to 01:00, so there only 5 kW are left.
Q = 2**32
WINDOW = "bpp|item|2026-01-01T01:30Z"


def q(*prices: float) -> list[int]:
    return [int(price * Q) for price in prices]


def settled(*, window_w: int | None = None) -> Row:
    windows = (
        [] if window_w is None else [{"window": WINDOW, "value_q": Q // 16, "gross_w": window_w}]
    )
    return {
        "id": "settled",
        "conversation_id": "0003",
        "performative": "cfp",
        "content": {
            "workloads": 2,
            "refused": 0,
            "largest_w": 15_000,
            "origin": "2026-01-01T00:00:00Z",
            "sites": [
                {"site": "north/hall", "region_id": 13},
                {"site": "north/barn", "region_id": 1},
            ],
            "areas": [1, 13],
            "windows": windows,
            "carbon_value_gbp_per_kg": 0.264,
            "grid_q": [q(0.125, 0.125, 0.25, 0.25), q(0.5, 0.25, 0.25, 0.5)],
            # Region 13 gets a window's energy at 1/8 GBP/kWh in the last half hour.
            "supply_q": [q(0.5, 0.25, 0.25, 0.5), q(0.125, 0.125, 0.25, 0.125)],
            "mu_q": [q(0.25, 0.125, 0, 0), q(0, 0, 0, 0)],
            "capacity_w": [[20_000] * 4, [15_000] * 4],
            "free_w": [[20_000] * 4, [15_000] * 4],
        },
    }


def at(clock: str) -> str:
    return f"2026-01-01T{clock}:00Z"


def plan(name: str, asset: str, start: str, end: str, kw: float, **columns: Any) -> Row:
    return {
        "agent_name": "north",
        "workload_name": name,
        "revision": 1,
        "conversation_id": "0003",
        "starts_at": at(start),
        "ends_at": at(end),
        "asset_agent_name": "north",
        "asset_name": asset,
        "window_bpp_id": None,
        "window_item_id": None,
        "window_starts_at": None,
        "power_kw": kw,
        **columns,
    }


OTHER = plan("other", "hall", "00:00", "01:00", 15.0)
ON_WINDOW = {
    "window_bpp_id": "bpp",
    "window_item_id": "item",
    "window_starts_at": at("01:30"),
}


def workload(**columns: Any) -> Row:
    return {
        "agent_name": "north",
        "workload_name": "mine",
        "power_kw": 10.0,
        "duration_min": 60,
        "earliest_start": at("00:00"),
        "deadline": at("02:00"),
        "allowed_regions": [1, 13],
        "interruptible": False,
        "refusal_value_gbp": 9.0,
        **columns,
    }


def word(performative: str, **content: Any) -> Row:
    return {
        "id": "word",
        "conversation_id": "0003",
        "performative": performative,
        "workload_agent": "north",
        "workload_name": "mine",
        "sent_at": "2026-01-01T00:00:00Z",
        "content": content,
    }


def award(*segments: tuple[str, str, str, str | None], price: float, paid: float) -> Row:
    regions = {"north/hall": 13, "north/barn": 1}
    return word(
        "accept-proposal",
        why="its first choice",
        revision=1,
        power_w=10_000,
        posted_price_q=int(price * Q),
        paid_gbp=paid,
        segments=[
            {
                "site": site,
                "region_id": regions[site],
                "starts_at": at(start),
                "ends_at": at(end),
                "window": window,
            }
            for site, start, end, window in segments
        ],
    )


LATE_AT_HALL = award(("north/hall", "01:00", "02:00", None), price=0.5, paid=2.5)
EARLY_AT_BARN = award(("north/barn", "00:00", "01:00", None), price=0.75, paid=3.75)


def tables_of(*, window_w: int | None = None) -> Tables:
    tables = read_tables("0003", [settled(window_w=window_w)], Findings())
    assert tables is not None
    return tables


def why(
    said: Row,
    *others: Row,
    window_w: int | None = None,
    **columns: Any,
) -> Explanation:
    tables = tables_of(window_w=window_w)
    drawn = drawn_by_others(
        tables, [OTHER, *others], {}, conversation="0003", but=("north", "mine")
    )
    walls = walls_of(
        [
            {
                "bpp_id": "bpp",
                "item_id": "item",
                "zone_code": "z",
                "starts_at": at("01:30"),
                "ends_at": at("02:00"),
            }
        ],
        [{"zone_code": "z", "region_id": 13}],
    )
    return explain(workload(**columns), said, tables, drawn, walls)


# -- the slot ----------------------------------------------------------------------------------


def test_the_price_of_a_slot_is_told_by_its_parts() -> None:
    # 5 GBP times 1/4 + 1/4 from the grid; no congestion in the last two half hours.
    told = why(LATE_AT_HALL)
    assert told.price is not None
    assert (told.price.grid_gbp, told.price.congestion_gbp) == (2.5, 0.0)
    assert (told.price.posted_gbp, told.price.capped_gbp, told.price.paid_gbp) == (2.5, 0.0, 2.5)
    assert (told.outcome, told.reason, told.conversation) == ("placed", "its first choice", "0003")
    assert told.decided_at == at("00:00")


def test_a_slot_on_a_full_site_pays_congestion_and_says_what_one_more_kw_saves() -> None:
    # Grid 5 * (1/8 + 1/8) = 1.25, congestion 5 * (1/4 + 1/8) = 1.875. One kW over half an hour at
    # 1/4 GBP/kWh is 0.125 GBP.
    early = award(("north/hall", "00:00", "01:00", None), price=0.625, paid=3.125)
    told = why(early)
    assert told.price is not None
    assert (told.price.grid_gbp, told.price.congestion_gbp) == (1.25, 1.875)
    first = told.half_hours[0]
    assert (first.cell.congestion_gbp_per_kwh, first.cell.one_more_kw_saves_gbp) == (0.25, 0.125)
    # Its own 10 kW are part of the load.
    assert (first.cell.load_kw, first.cell.capacity_kw) == (25.0, 20.0)
    # Its own cells stand in nobody's way.
    assert told.binding_cells == 0


def test_a_window_is_told_by_its_own_price_and_its_scarcity() -> None:
    # 01:00 from the grid: 5/4. 01:30 from the window: its own value is 1/16, posted is 1/8, so its
    # energy costs 5/16 and its scarcity as much again.
    slot = award(
        ("north/hall", "01:00", "01:30", None),
        ("north/hall", "01:30", "02:00", WINDOW),
        price=0.375,
        paid=1.875,
    )
    told = why(slot, window_w=12_000)
    assert told.price is not None
    assert (told.price.grid_gbp, told.price.window_gbp) == (1.25, 0.3125)
    assert (told.price.window_scarcity_gbp, told.price.posted_gbp) == (0.3125, 1.875)
    taken = told.half_hours[1]
    assert (taken.window, taken.window_gbp_per_kwh) == (WINDOW, 0.0625)
    assert (taken.window_scarcity_gbp_per_kwh, taken.price_gbp_per_kwh) == (0.0625, 0.125)
    assert told.regret is not None
    assert told.regret.posted_gbp == 0.0
    lines = explained.half_hours(told.half_hours)
    assert [line["supply"] for line in lines] == ["grid", "window item"]
    assert [line["window GBP/kWh"] for line in lines] == [None, 0.0625]


def test_nobody_is_told_to_pay_more_than_its_refusal_value() -> None:
    capped = award(("north/hall", "01:00", "02:00", None), price=0.5, paid=2.0)
    told = why(capped, refusal_value_gbp=2.0)
    assert told.price is not None
    assert (told.price.posted_gbp, told.price.capped_gbp, told.price.paid_gbp) == (2.5, 0.5, 2.0)


# -- other places --------------------------------------------------------------------------------


def test_other_places_are_priced_and_those_that_share_a_cell_are_told_once() -> None:
    # hall 00:30: 5 * (1/8 + 1/4) + 5/8 congestion = 2.5, its first half hour has 5 kW left.
    # barn 00:30: 5 * (1/4 + 1/4) = 2.5. Every other start shares a half hour with one of these.
    told = why(LATE_AT_HALL)
    assert told.places == 6
    assert [
        (item.site, item.starts_at[11:16], item.posted_gbp, item.has_room, item.free_kw)
        for item in told.alternatives
    ] == [
        ("north/hall", "00:30", 2.5, False, 5.0),
        ("north/barn", "00:30", 2.5, True, 15.0),
    ]
    # Alone on the grid it would run at the hall from 00:00: 1.25, and 1.875 of congestion.
    assert told.nearest is not None
    assert (told.nearest.starts_at, told.nearest.grid_gbp) == (at("00:00"), 1.25)
    assert (told.nearest.congestion_gbp, told.nearest.dearer_gbp) == (1.875, 0.625)


def test_cells_that_made_a_cheaper_place_dearer_are_named_the_dearest_first() -> None:
    # By the grid alone the hall from 00:00 (1.25) and from 00:30 (1.875) beat the slot (2.5).
    told = why(LATE_AT_HALL)
    assert told.binding_cells == 2
    assert [
        (cell.starts_at, cell.congestion_gbp_per_kwh, cell.load_kw, cell.one_more_kw_saves_gbp)
        for cell in told.binding
    ] == [(at("00:00"), 0.25, 15.0, 0.125), (at("00:30"), 0.125, 15.0, 0.0625)]


def test_regret_is_counted_at_posted_prices_and_over_what_had_room() -> None:
    # The slot costs 5 * 3/4 = 3.75, the cheapest place 2.5.
    told = why(EARLY_AT_BARN)
    assert told.regret is not None
    assert (told.regret.posted_gbp, told.regret.with_room_gbp) == (1.25, 1.25)
    # With the late hall full, and the barn from 01:00, only its own slot is left.
    told = why(
        EARLY_AT_BARN,
        plan("third", "hall", "01:00", "02:00", 15.0),
        plan("fourth", "barn", "01:00", "01:30", 10.0),
    )
    assert told.regret is not None
    assert (told.regret.posted_gbp, told.regret.with_room_gbp) == (1.25, 0.0)


@pytest.mark.parametrize(
    ("window_w", "drawn_kw", "posted", "with_room"),
    [
        # Large enough and free: the hall from 01:00 costs 5 * (1/4 + 1/8) = 1.875.
        (20_000, 0.0, 1.875, 1.875),
        # 9 kW of 18 are drawn, 9 are left: by what had room, the grid at 2.5. The hall has 11.
        (18_000, 9.0, 1.875, 1.25),
        # Smaller than the workload: it was never on offer.
        (8_000, 0.0, 1.25, 1.25),
    ],
    ids=["free", "used-up", "too-small"],
)
def test_a_window_counts_for_regret_where_it_is_large_enough_and_had_room(
    window_w: int, drawn_kw: float, posted: float, with_room: float
) -> None:
    # The slot costs 3.75: a regret of 1.875 is against 1.875 GBP, one of 1.25 against 2.5 GBP.
    user = plan("user", "hall", "01:30", "02:00", drawn_kw, **ON_WINDOW)
    others = [user] if drawn_kw else []
    told = why(EARLY_AT_BARN, *others, window_w=window_w)
    assert told.regret is not None
    assert told.regret.posted_gbp == posted
    assert told.regret.with_room_gbp == with_room


def test_work_that_may_be_interrupted_is_offered_the_best_half_hours_of_each_site() -> None:
    tables = tables_of()
    drawn = drawn_by_others(tables, [OTHER], {}, conversation="0003", but=("north", "mine"))
    board = board_of(workload(interruptible=True), tables, drawn, {})
    # Posted at the hall: 3/8, 1/4, 1/4, 1/4; the first two cells are full. So 00:30 and 01:00 by
    # price, 00:00 and 00:30 by the grid, 01:00 and 01:30 by room; the barn's are 00:30 and 01:00.
    assert [(item.site, item.columns) for item in choices(board)] == [
        (0, (1, 2)),
        (0, (2, 3)),
        (1, (1, 2)),
        (0, (0, 1)),
    ]


# -- refusals and words --------------------------------------------------------------------------


def test_a_refusal_tells_its_reason_and_the_cells_that_were_full() -> None:
    # Being refused costs 2.0 GBP: the hall from 00:00 (1.25) and from 00:30 (1.875) are cheaper
    # by the grid, but not with congestion.
    told = why(word("reject-proposal", reason="no place has room"), refusal_value_gbp=2.0)
    assert (told.outcome, told.reason) == ("refused", "no place has room")
    assert (told.price, told.regret, told.half_hours) == (None, None, ())
    assert [cell.starts_at for cell in told.binding] == [at("00:00"), at("00:30")]
    assert {item.dearer_gbp for item in told.alternatives} == {None}
    assert told.alternatives[0].posted_gbp == 2.5


def test_the_last_word_on_a_place_decides() -> None:
    wish, placed = word("propose"), word("accept-proposal")
    assert deciding([wish]) is None
    assert deciding([wish, placed, word("inform")]) is placed
    lost = word("failure", reason="the site has less power")
    told = undecided(workload(), deciding([wish, placed, lost]))
    assert (told.outcome, told.reason) == ("lost its place", "the site has less power")
    assert undecided(workload(), None).outcome == "undecided"


def test_only_what_stood_when_the_conversation_was_over_counts_as_load() -> None:
    rows = [
        OTHER,
        # Moved within the conversation: its first revision stands no more.
        plan("moved", "barn", "00:00", "00:30", 3.0),
        plan("moved", "barn", "00:30", "01:00", 3.0, revision=2),
        # Moved away later.
        plan("later", "barn", "01:00", "01:30", 4.0),
        plan("later", "barn", "01:30", "02:00", 4.0, revision=2, conversation_id="0004"),
        plan("gone", "hall", "01:30", "02:00", 5.0),
        plan("mine", "hall", "01:00", "02:00", 10.0),
    ]
    drawn = drawn_by_others(
        tables_of(), rows, {("north", "gone"): 1}, conversation="0003", but=("north", "mine")
    )
    assert drawn.load_w.tolist() == [[15_000, 15_000, 0, 0], [0, 3_000, 4_000, 0]]


def test_a_person_reads_what_a_slot_costs_and_why_it_is_not_another() -> None:
    facts = explained.facts(why(LATE_AT_HALL))
    assert facts["price"] == "2.5000 GBP posted = 2.5000 the grid; pays 2.5000 GBP"
    assert facts["without congestion"] == (
        "01 Jan 00:00 to 01:00 at north/hall would be cheapest from the grid, 1.2500 GBP; "
        "congestion adds 1.8750, and it has no room after the conversation"
    )
    assert facts["regret"].startswith("0.0000 GBP at the posted prices, 0.0000 against places")
    assert explained.PRIVATE in facts["regret"]
