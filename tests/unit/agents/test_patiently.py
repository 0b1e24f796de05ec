"""Asking an actor that is being restarted: again and again, but not for ever."""

from __future__ import annotations

from collections.abc import Callable
from types import SimpleNamespace

import pytest

from agents import remote
from agents.remote import RESTART_PATIENCE_S, RESTART_PAUSE_S, patiently
from schema.errors import AgentUnavailable, ProtocolViolation


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> SimpleNamespace:
    """A clock that stands still but for pauses, and for what a question takes."""
    made = SimpleNamespace(now=100.0)
    made.monotonic = lambda: made.now
    made.sleep = lambda seconds: setattr(made, "now", made.now + seconds)
    monkeypatch.setattr(remote, "time", made)
    return made


def failing(
    clock: SimpleNamespace, times: float, takes_s: float = 0.0, *, given_up: bool = False
) -> Callable[[], str]:
    """A question that fails so often before it is answered."""
    left = [times]

    def ask() -> str:
        clock.now += takes_s
        if left[0] <= 0:
            return "yes"
        left[0] -= 1
        raise AgentUnavailable("an actor died", given_up=given_up)

    return ask


def test_it_asks_again_until_it_is_answered(clock: SimpleNamespace) -> None:
    assert patiently(failing(clock, 3)) == "yes"
    assert clock.now == 100.0 + 3 * RESTART_PAUSE_S


def test_patience_counts_from_the_first_failure_however_long_the_first_try_took(
    clock: SimpleNamespace,
) -> None:
    # Two tries of 50 s each that fail, and one that is answered.
    assert patiently(failing(clock, 2, takes_s=50.0), patience_s=60.0) == "yes"
    # A fourth failure would come 150 s and some pauses after the first.
    with pytest.raises(AgentUnavailable, match="an actor died"):
        patiently(failing(clock, 4, takes_s=50.0), patience_s=60.0)


def test_patience_with_one_that_was_given_up_is_never_long(clock: SimpleNamespace) -> None:
    began = clock.now
    with pytest.raises(AgentUnavailable):
        patiently(failing(clock, float("inf"), given_up=True), patience_s=10_000.0)
    assert RESTART_PATIENCE_S <= clock.now - began <= RESTART_PATIENCE_S + 2 * RESTART_PAUSE_S


def test_what_no_patience_mends_comes_out_at_once(clock: SimpleNamespace) -> None:
    def ask() -> str:
        raise ProtocolViolation("in another conversation")

    with pytest.raises(ProtocolViolation):
        patiently(ask)
    assert clock.now == 100.0
