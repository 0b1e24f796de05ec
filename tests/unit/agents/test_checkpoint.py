"""What an orchestrator saved is what it goes on from."""

from __future__ import annotations

import pickle
import zlib
from dataclasses import fields
from datetime import UTC, datetime, timedelta
from typing import Any

import numpy as np
import pytest

from agents.core import checkpoint
from agents.core.accounting import Account
from agents.core.book import WorkloadBook
from agents.core.booking import Bookings
from agents.core.checkpoint import Begun, Saved, pack, pack_begun, unpack, unpack_begun
from agents.core.digest import RunDigest
from agents.core.ledger import Contract, Segment, State
from agents.core.run_state import Accounts, Booked, Posted, RunState
from agents.core.view import GridView, Site, WindowOffer
from schema.errors import StorageError
from schema.orders import WindowUpdate
from schema.workloads import Workload

START = datetime(2026, 1, 1, tzinfo=UTC)
OFFER = WindowOffer(
    "bpp", "item", START, START + timedelta(hours=2), 3, 50.0, 20.0, 0.05, "GBP", "available"
)


def book(*names: str) -> WorkloadBook:
    def workload(name: str) -> Workload:
        return Workload(
            workload_name=name,
            power_kw=5,
            duration_min=60,
            earliest_start=START,
            deadline=START + timedelta(hours=4),
            allowed_regions=(1, 13),
        )

    return WorkloadBook("north", [(0, workload(name)) for name in names])


def saved() -> Saved[str]:
    """A run with a workload that waits, one that was awarded, and one cut in two."""
    state = RunState((Site("north", "hall", 1, 7, np.array([3.0, 4.0])),))
    arrived = book("a", "b", "c")
    state.ledger.register(arrived.registration(arrived.arrived(0)), dearest_gbp_per_kwh=0.1)
    one, two = Segment(0, 12, 2), Segment(0, 15, 1, OFFER.window_id)
    for contract, segments in zip(state.ledger, [(), (one,), (one, two)], strict=True):
        contract.segments = segments
        contract.state = State.AWARDED if segments else State.WAITING
        contract.refusal_reason = None if segments else "full"
        contract.told = 1 + len(segments)
        state.accounts[contract.key] = Accounts(
            Account(5.0, 700.0, None),
            "0001",
            tuple(Booked(item, Account(2.5, None, 0.3), 0.01) for item in segments),
            650.0,
            (None,) * len(segments),
        )
    state.offers[OFFER.window_id] = OFFER
    state.closed_windows.add("gone")
    state.bookings = Bookings({("w", "north"): (1, 2)}, {("w", "north"): 3})
    state.posted = Posted(5, np.array([[1, 2]]), np.array([[3, 4]]))
    state.value = np.array([[0.5, np.nan]])
    state.value_origin, state.last, state.conversations = 5, 6, 2
    digest = RunDigest()
    digest.add("award", "north", "b")
    return Saved(4, ("tick", "3", "2026-01-01"), "a report", state, digest)


def test_all_of_a_run_comes_out_as_it_went_in() -> None:
    before, after = saved(), unpack(pack(saved()))
    assert (after.number, after.call, after.report) == (before.number, before.call, before.report)
    assert (after.digest.hexdigest(), after.digest.lines) == (before.digest.hexdigest(), 1)
    for name in [item.name for item in fields(Contract)]:
        for one, other in zip(after.state.ledger, before.state.ledger, strict=True):
            assert np.array_equal(getattr(one, name), getattr(other, name)), name
    assert after.state.accounts == before.state.accounts
    assert after.state.ledger.by_key(before.state.ledger.contracts[2].key).name == "c"
    for name in ("bookings", "offers", "closed_windows", "value_origin", "last", "conversations"):
        assert getattr(after.state, name) == getattr(before.state, name), name
    assert np.array_equal(after.state.value, before.state.value, equal_nan=True)
    assert after.state.posted is not None
    assert np.array_equal(after.state.posted.mu_q, [[1, 2]])
    assert np.array_equal(after.state.sites[0].capacity_kw, [3.0, 4.0])


def test_a_run_without_workloads_comes_out_too() -> None:
    after = unpack(pack(Saved(1, (), None, RunState(()), RunDigest())))
    assert (len(after.state.ledger), after.state.accounts) == (0, {})


def test_what_a_tick_rests_on_comes_out_as_it_went_in() -> None:
    view = GridView(
        5,
        np.array([[100.0]]),
        np.array([[1]], np.uint8),
        np.array([50.0]),
        np.array([2], np.uint8),
        (OFFER,),
        17,
    )
    arrived = book("a", "b")
    update = WindowUpdate("bpp", "item", START, "north", "0001", "o", "m", START, lost=True)
    begun = Begun(("tick",), view, (arrived.registration(arrived.arrived(0)),), (update,))
    after = unpack_begun(pack_begun(begun))
    assert (after.call, after.updates, after.view.windows) == (("tick",), (update,), (OFFER,))
    assert (after.view.version, after.view.price.tolist()) == (17, [50.0])
    assert after.registrations[0].names == ("a", "b")


class Intruder:
    """What a file may hold that is not ours."""

    def __reduce__(self) -> tuple[Any, ...]:
        return (__import__, ("this",))


@pytest.mark.parametrize(
    ("blob", "reason"),
    [
        (b"no checkpoint", "cannot be read"),
        (zlib.compress(b"\x80"), "cannot be read"),
        (zlib.compress(pickle.dumps(7)), "cannot be read"),
        (zlib.compress(pickle.dumps((1, Intruder()))), "__import__ is no part of a checkpoint"),
        (zlib.compress(pickle.dumps((99, None, {}, {}))), "has form 99, this program reads 1"),
    ],
)
def test_what_is_no_checkpoint_of_ours_is_refused_with_advice(blob: bytes, reason: str) -> None:
    with pytest.raises(StorageError, match=reason) as caught:
        unpack(blob)
    assert "move the spool's folder away" in str(caught.value)


def test_a_field_that_is_added_to_a_contract_is_saved_too() -> None:
    # The columns are made from the fields; those written by hand must exist.
    names = {item.name for kind in (Contract, Accounts) for item in fields(kind)}
    assert names > checkpoint._SPECIAL
