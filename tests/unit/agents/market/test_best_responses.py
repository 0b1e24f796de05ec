"""Best responses equal what plain Python finds by trying every place."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from market_samples import (
    OMEGA,
    Work,
    fleet_of,
    market_of_prices,
    markets,
    money_nano,
    names_in_group,
    places_of,
    tables_for,
    work_for,
)

from agents.core.market.contractors import make_books
from agents.core.market.discovery import opening_prices
from agents.core.market.problem import Market
from agents.core.market.shard import ShardBook
from agents.core.market.tables import class_edges
from agents.core.market.units import UNUSABLE, Ints


def opened(market: Market, works: Sequence[Work], *, shards: int = 1) -> list[ShardBook]:
    fleet = fleet_of("acme", works, market.site_count)
    books = make_books([fleet], shards)
    edges = class_edges(fleet.power_w, market)
    lowest = int(fleet.power_w.min()) if len(works) else 0
    for book in books:
        book.open(market, edges, (), lowest)
    return books


def check_answers(
    book: ShardBook, market: Market, works: Sequence[Work], mu_q: Ints, supply_q: Ints
) -> Ints:
    """Compare one shard's answers with all places; gives the loads they should add up to."""
    level = book._level(0, 0)
    loads = np.zeros(market.grid_q.shape, np.int64)
    for row, origin in enumerate(book._origin.tolist()):
        work = works[int(book.fleet.names[origin][1:])]
        places = places_of(market, work, mu_q, supply_q)
        if not places:
            assert level.site[row] == -1
            assert level.value[row] >= UNUSABLE
            continue
        best = min(total for total, _, _, _ in places)
        assert level.value[row] == best
        ties = [place for place in places if place[0] == best]
        site = int(level.site[row])
        if work.apart:
            low, high = book._rows.period_ptr[row : row + 2]
            periods = tuple(level.periods[low:high].tolist())
            # Of equally cheap periods the earliest; of equal sites any, the same everywhere.
            assert (best, int(level.start[row]), site, periods) in ties
        else:
            # The earliest start, then the first site.
            first, where = min((first, where) for _, first, where, _ in ties)
            assert (int(level.start[row]), site) == (first, where)
            periods = tuple(range(first, first + work.duration))
        if math.floor(money_nano(best, work.power_w)) <= round(work.refusal_gbp * 1e9):
            loads[site, list(periods)] += work.power_w
    return loads


def bound_of(market: Market, works: Sequence[Work], mu_q: Ints, supply_q: Ints) -> float:
    """Sum of the lesser of best cost and refusal value, 1e-9 GBP, without the priced capacity."""
    total = 0.0
    for work in works:
        costs = [
            money_nano(price, work.power_w)
            for price, _, _, _ in places_of(market, work, mu_q, supply_q)
        ]
        total += min([*costs, work.refusal_gbp * 1e9])
    return total


def test_rows_after_interruptible_ones_of_another_group_look_at_all_their_starts() -> None:
    # Group 0 ends with one contiguous row of its kind, which needs its own starts alone, and an
    # interruptible one; group 1 begins with a row of the same kind and other starts. Prices fall,
    # so each is cheapest at its end.
    price = np.linspace(0.30, 0.11, 20).reshape(1, -1)
    market = market_of_prices(price, 10.0)
    (first, second), (third,) = names_in_group("acme", 0, 2), names_in_group("acme", 1, 1)
    works = [
        Work(1000, 2, 3, 6, (0,), name=first),
        Work(1000, 3, 3, 6, (0,), apart=True, name=second),
        Work(1000, 2, 8, 20, (0,), name=third),
    ]
    fleet = fleet_of("acme", works, 1)
    book = ShardBook(fleet)
    book.open(market, np.zeros(0, np.int64))
    start = opening_prices(market)
    proposals = book.proposals(start.mu_q, start.supply_q)
    found = dict(
        zip(
            proposals.key.tolist(),
            zip(proposals.site.tolist(), proposals.start.tolist(), strict=True),
            strict=True,
        )
    )
    # Half hours 4 and 5, the three of the second's window, the last two of the horizon.
    assert [found[int(key)] for key in fleet.key] == [(0, 4), (0, 3), (0, 18)]


@pytest.mark.parametrize("count", [12, 24, 120])
@pytest.mark.parametrize("shards", [1, 3, 8])
def test_every_workload_of_every_group_gets_its_best_place(count: int, shards: int) -> None:
    # Few kinds in eight groups: runs of equal rows, and rows alone of their kind, begin and end
    # at the borders of groups.
    for seed in range(20):
        random = np.random.default_rng(seed)
        market = market_of_prices(np.round(random.uniform(-0.05, 0.4, (3, 24)), 2), 50.0)
        works = [one_of_few_kinds(random) for _ in range(count)]
        mu, supply = tables_for(market, seed)
        for book in opened(market, works, shards=shards):
            answer = book.respond(mu, supply)
            expected = check_answers(book, market, works, mu, supply)
            assert answer.loads.tolist() == expected.tolist()


def one_of_few_kinds(random: np.random.Generator) -> Work:
    apart = bool(random.random() < 0.4)
    duration = 3 if apart else int(random.integers(1, 3))
    earliest = int(random.integers(0, 25 - duration))
    return Work(
        power_w=500,
        duration=duration,
        earliest=earliest,
        deadline=int(random.integers(earliest + duration, 25)),
        sites=((0, 1, 2), (1,))[int(random.integers(2))],
        apart=apart,
        omega_q=int(random.choice([0, OMEGA])),
    )


@st.composite
def questions(draw: st.DrawFn) -> tuple[Market, list[Work], int]:
    market = draw(markets())
    return market, draw(st.lists(work_for(market), max_size=12)), draw(st.integers(0, 10_000))


@given(questions())
@settings(max_examples=150, deadline=None)
def test_answers_equal_the_best_of_all_places(asked: tuple[Market, list[Work], int]) -> None:
    market, works, seed = asked
    (book,) = opened(market, works)
    # The second answer starts from the first, which must not show.
    for tables in (seed, seed + 1):
        mu, supply = tables_for(market, tables)
        answer = book.respond(mu, supply)
        expected = check_answers(book, market, works, mu, supply)
        assert answer.loads.tolist() == expected.tolist()
        bound = bound_of(market, works, mu, supply)
        # Each of up to 12 costs is rounded down to 1e-9 GBP.
        assert bound - len(works) - 1e-6 * abs(bound) <= answer.bound_nano <= bound + 1e-6
        impossible = sum(not places_of(market, work, mu, supply) for work in works)
        assert answer.impossible == impossible


@given(questions(), st.integers(2, 8))
@settings(max_examples=60, deadline=None)
def test_shards_and_samples_add_up_to_the_whole(
    asked: tuple[Market, list[Work], int], shards: int
) -> None:
    market, works, seed = asked
    mu, supply = tables_for(market, seed)
    (whole,) = opened(market, works)
    parts = opened(market, works, shards=shards)
    for sample in (0, 1 << 31):
        one = whole.respond(mu, supply, sample=sample, salt=seed)
        many = [book.respond(mu, supply, sample=sample, salt=seed) for book in parts]
        assert sum(part.bound_nano for part in many) == one.bound_nano
        assert sum(part.refusing for part in many) == one.refusing
        assert sum(part.energy_w for part in many) == one.energy_w
        assert np.array_equal(sum((part.loads for part in many), one.loads * 0), one.loads)


#: Half an hour of 1 kW at 0.20 GBP/kWh: a tenth of a GBP.
@pytest.mark.parametrize(("refusal_gbp", "refuses"), [(0.1001, False), (0.0999, True), (0.0, True)])
def test_whoever_would_rather_refuse_adds_no_load(refusal_gbp: float, refuses: bool) -> None:
    market = market_of_prices(np.full((1, 2), 0.2), 5.0)
    (book,) = opened(market, [Work(1000, 1, 0, 2, (0,), refusal_gbp=refusal_gbp)])
    start = opening_prices(market)
    answer = book.respond(start.mu_q, start.supply_q)
    assert answer.loads.sum() == (0 if refuses else 1000)
    assert answer.refusing == refuses
    assert answer.bound_nano == pytest.approx(min(refusal_gbp, 0.1) * 1e9, abs=2)


@pytest.mark.parametrize("apart", [False, True])
@pytest.mark.parametrize("first", [0, 150, 1500])
def test_a_dear_delay_late_in_the_horizon_is_counted(first: int, apart: bool) -> None:
    # 500 GBP per kWh and half hour over ten half hours and a window of twelve is within what can
    # be counted, wherever in the horizon the window lies: the earliest start is the answer.
    omega = 500 * (1 << 32)
    market = market_of_prices(np.full((1, 2000), 0.2), 5.0)
    work = Work(1000, 10, first, first + 12, (0,), apart=apart, omega_q=omega, refusal_gbp=1e6)
    (book,) = opened(market, [work])
    start = opening_prices(market)
    proposals = book.proposals(start.mu_q, start.supply_q)
    assert (proposals.site.tolist(), proposals.start.tolist()) == ([0], [first])
    # Delay 0 + 1 + … + 9 = 45 half hours of half a kWh at 500 GBP, and 5 kWh at 0.2 GBP.
    answer = book.respond(start.mu_q, start.supply_q)
    assert answer.bound_nano == pytest.approx((45 * 0.5 * 500 + 5 * 0.2) * 1e9, rel=1e-9)


def test_a_cell_below_the_least_power_is_closed_to_all() -> None:
    # 1 kW work never fits the cheap cell of 900 W, and there is no cheaper one than the second.
    market = market_of_prices(np.array([[0.1, 0.3]]), np.array([[0.9, 2.0]]))
    (book,) = opened(market, [Work(1000, 1, 0, 2, (0,))])
    start = opening_prices(market)
    answer = book.respond(start.mu_q, start.supply_q)
    assert answer.loads.tolist() == [[0, 1000]]
    assert answer.bound_nano == pytest.approx(0.15e9, abs=2)


def test_ties_go_to_the_earliest_start_and_then_the_first_site() -> None:
    market = market_of_prices(np.array([[0.3, 0.1, 0.1], [0.3, 0.1, 0.1]]), 5.0)
    (book,) = opened(market, [Work(1000, 1, 0, 3, (0, 1))])
    start = opening_prices(market)
    proposals = book.proposals(start.mu_q, start.supply_q)
    assert (proposals.site.tolist(), proposals.start.tolist()) == ([0], [1])


def test_a_workload_without_a_site_is_impossible() -> None:
    market = market_of_prices(np.full((2, 4), 0.1), 5.0)
    works = [Work(1000, 2, 0, 4, (), refusal_gbp=3.0), Work(1000, 2, 0, 4, (), apart=True)]
    (book,) = opened(market, works)
    start = opening_prices(market)
    answer = book.respond(start.mu_q, start.supply_q)
    assert (answer.impossible, answer.loads.sum()) == (2, 0)
    # Refusal values of 3 and 100 GBP.
    assert answer.bound_nano == 103_000_000_000
