"""Parts of the market by themselves: tables, packing, places, checks, and what is not accepted."""

from __future__ import annotations

import itertools
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from market_samples import Work, fleet_of, market_of_prices, window

from agents.core.market.certificate import (
    check_capacity,
    check_places,
    check_prices,
    loads_of,
    nearly_full,
)
from agents.core.market.instances import Trace, make_instance
from agents.core.market.kernels_pack import pack_cells
from agents.core.market.plans import Places, join_places
from agents.core.market.problem import Market, usable_cells
from agents.core.market.reasons import ReasonKind, Refusal
from agents.core.market.tables import ClassTables, class_edges, window_capacity_price_q
from agents.core.market.units import NANO, NEVER, Q, nano_down, nano_up, priced_capacity_nano
from agents.core.market.windows import unusable_windows
from schema.errors import InputError

# -- power classes and tables ----------------------------------------------------------------------


def test_powers_between_the_same_capacities_are_one_class() -> None:
    market = market_of_prices(
        np.array([[0.1, 0.1, 0.1]]), np.array([[1.0, 2.0, 9.0]]), windows=(window(1, 0, 1, 0, 4.0),)
    )
    # Limits 1, 2, 4 and 9 kW; 1,000 W still fits a cell of 1 kW.
    powers = np.array([300, 1000, 1001, 1500, 2000, 3000, 4000, 4500, 9000, 9001])
    assert class_edges(powers, market).tolist() == [1001, 3000, 4500, 9001]
    assert class_edges(powers, market, 1).tolist() == []
    assert class_edges(powers[:0], market).tolist() == []
    few = class_edges(powers, market, 3)
    assert len(few) == 2
    assert set(few.tolist()) <= {1001, 3000, 4500, 9001}


def test_a_class_sees_what_its_lowest_power_can_use() -> None:
    market = market_of_prices(
        np.array([[0.3, 0.3, 0.3]]),
        np.array([[1.0, 2.0, 9.0]]),
        windows=(window(1, 0, 3, 0.1, 1.5, "small"), window(1, 2, 3, 0.2, 5.0, "large")),
    )
    mu = np.array([[0, Q // 100, 0]])
    # Supply at the cheapest window everywhere: 0.1 GBP.
    tables = ClassTables(market, np.array([2000, 6000]), 1000)
    priced = tables.prices(mu, np.full((1, 3), Q // 10))
    found = np.where(priced == NEVER, np.nan, np.round(priced / Q, 6))
    # From 2 kW on the first cell and the small window are out of reach, from 6 kW the large one.
    expected = [[0.1, 0.11, 0.1], [np.nan, 0.31, 0.2], [np.nan, np.nan, 0.3]]
    assert np.array_equal(found[:, 0], np.array(expected), equal_nan=True)
    # A supply price of 0.15 GBP is what the small window costs; the large one keeps its own.
    dearer = ClassTables(market, np.array([2000]), 1000).prices(mu, np.full((1, 3), 3 * Q // 20))
    assert (dearer[:, 0, 2] / Q).round(6).tolist() == [0.15, 0.2]
    assert (window_capacity_price_q(market, np.full((1, 3), 3 * Q // 20)) / Q).round(
        6
    ).tolist() == [0.05, 0.05, 0.05, 0.0]


def test_usable_cells_and_windows_are_those_that_hold_the_power() -> None:
    windows = (window(1, 0, 1, 0, 1.0), window(1, 0, 1, 0, 2.0))
    market = market_of_prices(np.full((1, 2), 0.1), np.array([[1.0, 2.0]]), windows=windows)
    assert usable_cells(market, 1001).tolist() == [[False, True]]
    assert unusable_windows(market, np.array([1500, 3000])) == [0]
    assert unusable_windows(market, np.zeros(0, np.int64)) == []


def test_slots_are_listed_by_region_half_hour_and_price() -> None:
    windows = (
        window(2, 0, 2, 0.3, 1.0),
        window(1, 1, 3, 0.2, 2.0),
        window(1, 1, 2, 0.1, 3.0),
    )
    market = market_of_prices(np.full((2, 3), 0.5), 5.0, windows=windows)
    assert market.slot_window.tolist() == [2, 1, 1, 0, 0]
    assert market.slot_area.tolist() == [0, 0, 0, 1, 1]
    assert market.slot_period.tolist() == [1, 1, 2, 0, 1]
    assert market.slot_ptr.tolist() == [0, 0, 2, 3, 4, 5, 5]
    assert market.slot_w.tolist() == [3000, 2000, 2000, 1000, 1000]


def test_money_is_rounded_against_us() -> None:
    price, power = np.array([3, -3, Q]), np.array([1, 1, 2000])
    # A third unit of price at one watt is far below 1e-9 GBP; 1 GBP/kWh x 1 kWh is 1 GBP.
    assert nano_up(price, power).tolist()[:2] == [1, 0]
    assert nano_down(price, power).tolist()[:2] == [0, -1]
    assert nano_down(price, power)[2] <= NANO <= nano_up(price, power)[2]
    assert nano_up(price, power)[2] - nano_down(price, power)[2] <= 2
    # 5 kW at 0.2 GBP/kWh over half an hour, exact beyond 63 bits too.
    assert priced_capacity_nano(np.array([[Q // 5]]), np.array([[5000]])) == 500_000_000
    large = priced_capacity_nano(np.array([1 << 39]), np.array([1 << 50]))
    assert large == (1 << 89) * NANO // (2000 * Q)


# -- packing ---------------------------------------------------------------------------------------


@st.composite
def cells(draw: st.DrawFn) -> tuple[list[int], list[int], list[int], int]:
    """Powers falling, capacities and values of windows, the grid's value."""
    powers = sorted(draw(st.lists(st.integers(1, 6), max_size=6)), reverse=True)
    count = draw(st.integers(0, 3))
    capacities = draw(st.lists(st.integers(0, 9), min_size=count, max_size=count))
    values = sorted(draw(st.lists(st.integers(-3, 12), min_size=count, max_size=count)))
    return powers, capacities, values, 10


def saving(slots: tuple[int, ...], powers: list[int], values: list[int], grid: int) -> int:
    return sum(
        power * (grid - values[slot])
        for slot, power in zip(slots, powers, strict=True)
        if slot >= 0
    )


@given(cells(), st.data())
@settings(deadline=None)
def test_a_packing_fits_and_never_saves_less_than_before(
    cell: tuple[list[int], list[int], list[int], int], data: st.DataObject
) -> None:
    powers, capacities, values, grid = cell
    ways = [
        way
        for way in itertools.product(range(-1, len(values)), repeat=len(powers))
        if all(
            sum(power for power, slot in zip(powers, way, strict=True) if slot == v) <= room
            for v, room in enumerate(capacities)
        )
    ]
    before = data.draw(st.sampled_from(ways))
    out = np.empty(len(powers), np.int64)
    changed = pack_cells(
        np.zeros(len(powers), np.int64),
        np.array(powers, np.int64),
        np.array(before, np.int64),
        np.array([grid]),
        np.array([0, len(values)]),
        np.array(values, np.int64),
        np.array(capacities, np.int64),
        out,
    )
    after = tuple(out.tolist())
    assert after in ways
    assert saving(after, powers, values, grid) >= saving(before, powers, values, grid)
    assert changed == sum(x != y for x, y in zip(after, before, strict=True))
    if len(powers) == 1 and values:
        assert saving(after, powers, values, grid) == max(
            saving(way, powers, values, grid) for way in ways
        )


def test_a_swap_gives_a_place_in_the_window_to_the_load_that_fills_it() -> None:
    # Largest first leaves 5 + 2 of 8 kW; giving the 2's place to the 3 fills the window.
    out = np.empty(3, np.int64)
    pack_cells(
        np.zeros(3, np.int64),
        np.array([5, 4, 3]),
        np.full(3, -1),
        np.array([10]),
        np.array([0, 1]),
        np.array([1]),
        np.array([8]),
        out,
    )
    assert out.tolist() == [0, -1, 0]


# -- places and checks -----------------------------------------------------------------------------


def places_of(*rows: tuple[int, int, int, list[int], list[int]]) -> Places:
    """(key, watts, site, half hours, windows)"""
    count = [len(row[3]) for row in rows]
    return Places(
        organisation="acme",
        key=np.array([row[0] for row in rows], np.uint64),
        power_w=np.array([row[1] for row in rows], np.int64),
        duration=np.array(count, np.int64),
        site=np.array([row[2] for row in rows], np.int64),
        ptr=np.cumsum([0, *count]),
        period=np.array([half for row in rows for half in row[3]], np.int64),
        window=np.array([index for row in rows for index in row[4]], np.int64),
    )


def test_segments_end_where_time_or_supply_breaks() -> None:
    places = places_of((1, 100, 0, [2, 3, 4, 6, 7], [-1, -1, 0, 0, -1]))
    assert places.segments(0) == [(2, 4, -1), (4, 5, 0), (6, 7, 0), (7, 8, -1)]


def test_places_of_shards_are_joined_by_key() -> None:
    one = places_of((5, 100, 0, [1, 2], [-1, 0]), (9, 300, -1, [], []))
    two = places_of((3, 200, 1, [7], [-1]), (7, 400, 1, [8, 9], [1, -1]))
    joined = join_places([one, two])
    assert joined.key.tolist() == [3, 5, 7, 9]
    assert joined.site.tolist() == [1, 0, 1, -1]
    assert [joined.half_hours(at).tolist() for at in range(4)] == [[7], [1, 2], [8, 9], []]
    assert [joined.supplies(at).tolist() for at in range(4)] == [[-1], [-1, 0], [1, -1], []]


def two_sites() -> Market:
    return market_of_prices(
        np.full((2, 6), 0.2), 1.0, windows=(window(1, 0, 3, 0.1, 0.5), window(2, 0, 6, 0.1, 0.5))
    )


@pytest.mark.parametrize(
    ("halves", "windows", "site", "apart", "rules"),
    [
        ([1, 2], [-1, 0], 0, 0, []),
        ([1, 3], [-1, -1], 0, 1, []),
        ([1, 3], [-1, -1], 0, 0, ["contiguous"]),
        ([2, 1], [-1, -1], 0, 1, ["duration", "window"]),
        ([1, 1], [-1, -1], 0, 1, ["duration"]),
        ([1], [-1], 0, 0, ["duration"]),
        ([0, 1], [-1, -1], 0, 0, ["window"]),
        ([4, 5], [-1, -1], 0, 0, ["window"]),
        ([1, 2], [-1, -1], 1, 0, ["site"]),
        ([2, 3], [0, 0], 0, 0, ["supply"]),
        ([2, 3], [-1, 1], 0, 0, ["supply"]),
    ],
)
def test_each_broken_rule_of_a_slot_is_named(
    halves: list[int], windows: list[int], site: int, apart: int, rules: list[str]
) -> None:
    places = replace(places_of((1, 100, site, halves, windows)), duration=np.array([2]))
    found = check_places(
        two_sites(),
        places,
        {0: "w"},
        earliest=np.array([1]),
        deadline=np.array([5]),
        allowed={0: frozenset({0})},
        interruptible=np.array([apart]),
    )
    if rules == ["duration", "window"]:
        # Half hours out of order may look like a broken window too.
        assert found[0].rule == "duration"
        return
    assert [one.rule for one in found] == rules
    assert all("w" in one.where or "site-1" in one.where for one in found)


def test_loads_beyond_cells_and_windows_are_named() -> None:
    places = places_of((1, 600, 0, [0, 1], [0, -1]), (2, 600, 0, [1], [-1]), (3, 500, 1, [5], [1]))
    loads, drawn = loads_of(two_sites(), [places])
    assert loads[0].tolist() == [600, 1200, 0, 0, 0, 0]
    assert drawn[:, [0, 5]].tolist() == [[600, 0], [0, 500]]
    found = check_capacity(two_sites(), [places])
    assert [one.rule for one in found] == ["capacity", "window capacity"]
    assert "site-0 half hour 1: 1200 W of 1000 W" in found[0].where


def test_prices_below_zero_and_without_scarcity_are_named() -> None:
    market = two_sites()
    loads = np.zeros((2, 6), np.int64)
    loads[0, 0], loads[0, 1] = 899, 900
    mu = np.zeros((2, 6), np.int64)
    mu[0, :3], mu[1, 0] = 1, -1
    # 900 W of 1 kW is nine tenths; 101 W of room is no room for 102 W.
    assert [one.rule for one in check_prices(market, mu, loads, 100)] == [
        "price below 0",
        "price without scarcity",
        "price without scarcity",
    ]
    assert nearly_full(market, loads, 100)[0, :3].tolist() == [False, True, False]
    assert nearly_full(market, loads, 102)[0, :3].tolist() == [True, True, False]


def test_reasons_read_as_sentences() -> None:
    def text(kind: ReasonKind, site: int = 0, period: int = 3) -> str:
        return Refusal("acme", 1, kind, site, period, 1500, 400).text(("site-0",))

    assert text(ReasonKind.NO_SITE, -1, -1) == "no site lies in an allowed region"
    assert text(ReasonKind.TOO_POWERFUL) == (
        "power 1.500 kW is above any capacity it may use, at most 0.400 kW (site-0, period 3)"
    )
    assert text(ReasonKind.NO_ROOM) == (
        "no place has room: power 1.500 kW, but site-0 has 0.400 kW free at period 3"
    )
    assert "above its refusal value" in text(ReasonKind.PRICED_OUT, -1, -1)


# -- what is not accepted --------------------------------------------------------------------------

FINE = Work(1000, 2, 1, 4, (0,))


@pytest.mark.parametrize(
    ("work", "said"),
    [
        (replace(FINE, power_w=0), "power_w of workload w00001 of acme: at least 1 W"),
        (replace(FINE, duration=0), "duration of workload w00001"),
        (replace(FINE, earliest=-1, release=0), "earliest of workload w00001"),
        (replace(FINE, deadline=2), "deadline of workload w00001"),
        (replace(FINE, deadline=2048), "deadline of workload w00001 of acme: at most 2047"),
        (replace(FINE, omega_q=-1), "omega_q of workload w00001"),
        (replace(FINE, name="w00000"), "are the same"),
    ],
)
def test_a_workload_that_makes_no_sense_is_named(work: Work, said: str) -> None:
    with pytest.raises(InputError, match=said):
        fleet_of("acme", [FINE, work], 1)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"sites": ("a", "a")}, "as many different site names"),
        ({"sites": ("a",)}, "as many different site names"),
        ({"capacity_w": np.zeros((2, 5), np.int64)}, "differ in shape"),
        ({"region_id": np.zeros(3, np.int64)}, "differ in shape"),
        ({"capacity_w": np.full((2, 6), -1)}, "negative"),
        ({"grid_q": np.full((2, 6), -(1 << 40))}, "128 GBP/kWh"),
        ({"region_id": np.ones(2, np.int64), "grid_q": np.arange(12).reshape(2, 6)}, "one value"),
    ],
)
def test_a_market_that_makes_no_sense_is_named(change: dict[str, object], said: str) -> None:
    with pytest.raises(InputError, match=said):
        replace(two_sites(), **change)  # type: ignore[arg-type]


def test_a_horizon_has_at_most_2047_half_hours() -> None:
    assert market_of_prices(np.full((1, 2047), 0.1), 1.0).periods == 2047
    with pytest.raises(InputError, match="2048 half hours"):
        market_of_prices(np.full((1, 2048), 0.1), 1.0)


# -- instances -------------------------------------------------------------------------------------


@pytest.mark.parametrize("trace", Trace)
@pytest.mark.parametrize("utilisation", [0.5, 0.7])
def test_the_planted_schedule_is_feasible_and_as_tight_as_asked(
    trace: Trace, utilisation: float
) -> None:
    made = make_instance(
        500, seed=1, trace=trace, utilisation=utilisation, organisations=3, window_share=0.1
    )
    loads = np.zeros(made.market.capacity_w.shape, np.int64)
    energy = 0
    for fleet, sites, starts in zip(
        made.fleets, made.planted_site, made.planted_start, strict=True
    ):
        for i in range(len(fleet)):
            end = starts[i] + fleet.duration[i]
            assert fleet.masks[fleet.mask[i], sites[i]]
            assert fleet.earliest[i] <= starts[i]
            assert end <= fleet.deadline[i]
            loads[sites[i], starts[i] : end] += fleet.power_w[i]
            energy += int(fleet.power_w[i] * fleet.duration[i])
    assert (loads <= made.market.capacity_w).all()
    assert energy / made.market.capacity_w.sum() == pytest.approx(utilisation, rel=0.01)
    offered = sum(
        int(watts) * (one.last - one.first)
        for one, watts in zip(made.market.windows, made.market.window_w.tolist(), strict=True)
    )
    assert offered / energy == pytest.approx(0.1, rel=0.2)


def test_the_same_seed_gives_the_same_instance() -> None:
    one, two, other = (make_instance(20, seed=seed, periods=24) for seed in (1, 1, 2))
    assert np.array_equal(one.market.grid_q, two.market.grid_q)
    assert one.fleets[0].key.tolist() == two.fleets[0].key.tolist()
    assert not np.array_equal(one.market.grid_q, other.market.grid_q)
