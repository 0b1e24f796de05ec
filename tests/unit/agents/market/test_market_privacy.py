"""What leaves a shard: tables, counts and places, never a delay cost nor the rows that hold it."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from outcome_checks import Watched, with_some_accepted

from agents.core.market.contractors import make_books
from agents.core.market.fleet import Fleet, Rows
from agents.core.market.instances import Instance, make_instance
from agents.core.market.kernels_search import Plan
from agents.core.market.negotiate import Options, negotiate
from agents.core.market.shard import ShardBook
from agents.core.market.units import NANO, Q

AS_LARGE = -1


def leaves(value: Any, path: str) -> Iterator[tuple[str, Any]]:
    """Walk dataclasses, tuples, lists and dictionaries down to numbers, texts and arrays."""
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        for field in dataclasses.fields(value):
            yield from leaves(getattr(value, field.name), f"{path}.{field.name}")
    elif isinstance(value, dict):
        for key, part in value.items():
            yield from leaves(key, f"{path} key")
            yield from leaves(part, f"{path}[{key}]")
    elif isinstance(value, (tuple, list)):
        for at, part in enumerate(value):
            yield from leaves(part, f"{path}[{at}]")
    else:
        yield path, value


def private_numbers(made: Instance) -> set[float]:
    """Delay costs in every unit they are kept in, of each workload and times its size."""
    found: set[float] = set()
    for fleet in made.fleets:
        omega = fleet.omega_q.astype(np.float64)
        for each in (
            omega,
            omega / Q,
            2.0 * omega / Q,
            omega * fleet.duration,
            omega * fleet.power_w,
            omega / Q * fleet.power_w / 2000.0 * NANO,
        ):
            found |= set(each[omega > 0].tolist())
    return found


def telling(made: Instance) -> Instance:
    """Give every workload a delay cost that no other figure is likely to be."""
    fleets = []
    for number, fleet in enumerate(made.fleets):
        omega = 7_654_321 + 1_000_003 * number + 97 * np.arange(len(fleet))
        fleets.append(replace(fleet, omega_q=omega.astype(np.int64)))
    return replace(made, fleets=tuple(fleets))


def all_answers(made: Instance, options: Options, shards: int) -> list[Any]:
    first = Watched(make_books(made.fleets, shards))
    outcome = negotiate(made.market, first, options)
    later, in_force = with_some_accepted(made, outcome, seed=1)
    second = Watched(make_books(later.fleets, shards))
    negotiate(made.market, second, options, in_force=in_force)
    return [*first.answers, *second.answers, outcome]


@pytest.mark.parametrize(("shards", "muster_up_to"), [(8, 20_000), (2, AS_LARGE)])
def test_no_delay_cost_is_in_anything_that_leaves_a_shard(shards: int, muster_up_to: int) -> None:
    made = telling(make_instance(60, seed=1, periods=24, organisations=2, window_share=0.2))
    secret = np.array(sorted(private_numbers(made)))
    answers = all_answers(made, Options(starts=2, muster_up_to=muster_up_to), shards)
    kinds = set()
    for answer in answers:
        kinds.add(type(answer).__name__)
        for path, leaf in leaves(answer, type(answer).__name__):
            assert isinstance(leaf, (np.ndarray, np.generic, int, float, str, type(None))), path
            if isinstance(leaf, (np.ndarray, np.generic, int, float)):
                numbers = np.asarray(leaf).astype(np.float64).ravel()
                hits = np.isin(numbers, secret)
                assert not hits.any(), f"{path} holds {numbers[hits]}"
    # Everything a shard says in a negotiation has been looked at.
    assert {
        "Description",
        "Response",
        "Standing",
        "Token",
        "Places",
        "Proposals",
        "Regrets",
        "Supplied",
        "Outcome",
    } <= kinds


def test_the_walk_finds_a_delay_cost_where_there_is_one() -> None:
    made = telling(make_instance(5, seed=1, periods=24))
    (fleet,) = made.fleets
    found = [
        path
        for path, leaf in leaves({"hidden": [(fleet,)]}, "answer")
        if isinstance(leaf, np.ndarray)
        and leaf.dtype == np.int64
        and np.isin(leaf.astype(np.float64), sorted(private_numbers(made))).any()
    ]
    assert found == ["answer[hidden][0][0].omega_q"]


def test_no_reply_type_has_a_field_for_private_rows() -> None:
    from agents.core.market import outcome, plans, reasons, replies

    private = {"Rows", "Fleet", "Plan", "ShardBook", "Level"}
    assert {kind.__name__ for kind in (Rows, Fleet, Plan, ShardBook)} < private
    looked_at = 0
    for module in (outcome, plans, reasons, replies):
        for kind in vars(module).values():
            if dataclasses.is_dataclass(kind) and kind.__module__ == module.__name__:
                looked_at += 1
                for field in dataclasses.fields(kind):
                    assert not private & set(str(field.type).replace("[", " ").split()), field
                    assert "omega" not in field.name
                    assert "delay" not in field.name
    assert looked_at >= 12


def test_a_delay_cost_shows_only_in_choices_and_sums() -> None:
    # Nearly the same choices with another delay cost: only sums of money, and how often somebody
    # moved on the way, differ.
    made = telling(make_instance(40, seed=2, periods=24, utilisation=0.3))
    other = replace(
        made,
        fleets=tuple(replace(fleet, omega_q=fleet.omega_q + 1) for fleet in made.fleets),
    )
    one, two = (Watched(make_books(each.fleets)) for each in (made, other))
    first = negotiate(made.market, one, Options(starts=1))
    second = negotiate(other.market, two, Options(starts=1))
    assert first.places[0].period.tolist() == second.places[0].period.tolist()
    differing = set()
    for a, b in zip(one.answers, two.answers, strict=True):
        for (path, x), (_, y) in zip(leaves(a, type(a).__name__), leaves(b, ""), strict=True):
            if not np.array_equal(x, y):
                differing.add(path)
    sums = {"Response.bound_nano", "Standing.cost_nano", "Regrets.cost_nano"}
    assert sums <= differing <= sums | {"Regrets.regret_nano", "Token.moved"}
