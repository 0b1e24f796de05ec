"""What is due, and in which order."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest

from fetchers.plan import (
    Feed,
    FeedState,
    after_failure,
    after_nothing_yet,
    after_success,
    due_feeds,
    is_due,
    next_due,
)

HALF_HOUR = timedelta(minutes=30)
NOON = datetime(2031, 2, 3, 12, tzinfo=UTC)


def at(hour: int, minute: int, second: int = 0) -> datetime:
    return NOON.replace(hour=hour, minute=minute, second=second)


FEED = Feed("figures", HALF_HOUR)
LATE = Feed("late", HALF_HOUR, offset=timedelta(minutes=12))


@pytest.mark.parametrize(
    ("feed", "moment", "slot"),
    [
        (FEED, at(12, 0), at(12, 0)),
        (FEED, at(12, 29, 59), at(12, 0)),
        (FEED, at(12, 30), at(12, 30)),
        (LATE, at(12, 11), at(11, 42)),
        (LATE, at(12, 12), at(12, 12)),
    ],
)
def test_a_slot_starts_at_a_multiple_of_the_cadence_plus_the_offset(
    feed: Feed, moment: datetime, slot: datetime
) -> None:
    assert feed.slot(moment) == slot


def test_a_half_hourly_feed_is_asked_48_times_a_day_however_often_we_look() -> None:
    state, asked = FeedState(), 0
    for minute in range(24 * 60):
        now = at(0, 0) + timedelta(minutes=minute)
        if is_due(FEED, state, now):
            asked += 1
            state = after_success(FEED, state, now, now)
    assert asked == 48


def test_failures_wait_longer_and_longer_and_a_success_forgets_them() -> None:
    state = FeedState()
    waits = []
    for _ in range(7):
        state = after_failure(state, NOON)
        assert state.not_before is not None
        waits.append((state.not_before - NOON).total_seconds())
    # 50 s doubling, at most 15 minutes
    assert waits == [50, 100, 200, 400, 800, 900, 900]
    assert not is_due(FEED, state, NOON + timedelta(minutes=14))
    assert is_due(FEED, state, NOON + timedelta(minutes=15))
    assert after_success(FEED, state, NOON, NOON) == FeedState(done_slot=NOON, last_ok=NOON)


def test_nothing_published_yet_is_no_failure() -> None:
    state = after_nothing_yet(FeedState(), NOON)
    assert state.failures == 0
    assert not is_due(FEED, state, NOON + timedelta(minutes=4))
    assert is_due(FEED, state, NOON + timedelta(minutes=5))


def test_a_feed_done_in_its_slot_is_due_in_the_next() -> None:
    state = after_success(FEED, FeedState(), at(12, 10), at(12, 10, 3))
    assert state.done_slot == at(12, 0)
    assert not is_due(FEED, state, at(12, 29))
    assert is_due(FEED, state, at(12, 30))


def test_the_longest_unanswered_goes_first_and_a_failing_feed_last() -> None:
    feeds = [Feed(name, HALF_HOUR) for name in ("a", "b", "c", "d")]
    states = {
        "a": FeedState(last_ok=at(11, 30), done_slot=at(11, 30)),
        "b": FeedState(last_ok=at(11, 0), done_slot=at(11, 0)),
        "c": FeedState(failures=1),
    }
    assert [feed.name for feed in due_feeds(feeds, states, NOON)] == ["d", "b", "a", "c"]


def test_next_due_is_the_start_of_the_next_slot_or_the_end_of_a_pause() -> None:
    done = FeedState(done_slot=NOON)
    assert next_due([FEED], {"figures": done}, at(12, 5)) == at(12, 30)
    assert next_due([FEED], {}, at(12, 5)) == at(12, 5)
    paused = replace(done, not_before=at(12, 45))
    assert next_due([FEED], {"figures": paused}, at(12, 5)) == at(12, 45)
