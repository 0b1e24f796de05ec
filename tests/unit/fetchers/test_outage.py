"""When a source is out: rules on states and outcomes."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest

from fetchers.outage import bridged_feeds, feeds_out
from fetchers.plan import FeedState, after_failure
from schema.rows.system import Outcome

NOON = datetime(2031, 2, 3, 12, tzinfo=UTC)
LIMIT = timedelta(hours=2)
FRESH = FeedState(last_ok=NOON - timedelta(minutes=119))
STALE = FeedState(last_ok=NOON - timedelta(minutes=121))
STALE_FAILING = FeedState(last_ok=NOON - timedelta(minutes=121), failures=3)


@pytest.mark.parametrize(
    ("state", "outcome", "out"),
    [
        (STALE, Outcome.UNAVAILABLE, True),
        (STALE, Outcome.INVALID_PAYLOAD, True),
        (STALE, Outcome.BREAKER_OPEN, True),
        (STALE, Outcome.NOT_YET_PUBLISHED, True),
        (STALE, None, False),
        (STALE_FAILING, None, True),
        (FRESH, Outcome.UNAVAILABLE, False),
        (None, Outcome.UNAVAILABLE, True),
        (None, Outcome.NOT_YET_PUBLISHED, False),
        (None, None, False),
    ],
)
def test_a_feed_is_out_when_it_is_silent_too_long_and_fails(
    state: FeedState | None, outcome: Outcome | None, out: bool
) -> None:
    states = {"a": state} if state is not None else {}
    outcomes = {"a": outcome} if outcome is not None else {}
    assert feeds_out(["a"], states, outcomes, NOON, LIMIT) == (["a"] if out else [])


def test_only_what_fails_already_is_asked_at_every_poll() -> None:
    states = {"stale": STALE, "failing": STALE_FAILING, "fresh": FRESH}
    assert bridged_feeds([*states, "new"], states, NOON, LIMIT) == ["failing"]


def test_the_pause_after_failures_is_bounded_however_many_there_were() -> None:
    # An outage of a weekend, asked once a minute, is 2,880 failures.
    state = after_failure(FeedState(failures=2880), NOON)
    assert state.not_before == NOON + timedelta(minutes=15)
