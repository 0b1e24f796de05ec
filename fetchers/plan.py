"""What is due: each feed has a cadence, and is asked once in each of its slots.

A slot is a stretch of the run's clock that starts at a multiple of the cadence (plus an offset):
half-hourly figures have 48 slots a day, however often the shell polls. A feed that failed stays
due, with a growing pause between tries.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta

MIB = 1024 * 1024
EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
FIRST_PAUSE = timedelta(seconds=50)
LONGEST_PAUSE = timedelta(minutes=15)
NOT_YET_PAUSE = timedelta(minutes=5)
_MOST_DOUBLINGS = 10


@dataclass(frozen=True, slots=True)
class Feed:
    """One thing to ask a source for.

    Attributes:
        name: Unique in its source; also the name of the endpoint unless one is given.
        every: Cadence.
        offset: How long after a multiple of the cadence the slot starts.
        endpoint: Endpoint, where the name is another.
        bucket: Rate limit that its requests draw from.
        max_bytes: Largest decoded reply.
        deadline_s: Longest time for one request, body included.
    """

    name: str
    every: timedelta
    offset: timedelta = timedelta(0)
    endpoint: str = ""
    bucket: str | None = None
    max_bytes: int = 5 * MIB
    deadline_s: float = 10.0

    def slot(self, now: datetime) -> datetime:
        """Give the start of the slot that holds a moment."""
        since = now - EPOCH - self.offset
        return EPOCH + self.offset + (since // self.every) * self.every


@dataclass(frozen=True, slots=True)
class FeedState:
    """How far a feed has come.

    ``seen`` is the change marker of the last reading (``last_modified``).
    """

    done_slot: datetime | None = None
    last_ok: datetime | None = None
    failures: int = 0
    not_before: datetime | None = None
    seen: str | None = None


def is_due(feed: Feed, state: FeedState, now: datetime) -> bool:
    """Say whether a feed is to be asked now."""
    if state.not_before is not None and now < state.not_before:
        return False
    return state.done_slot is None or feed.slot(now) > state.done_slot


def due_feeds(
    feeds: Sequence[Feed],
    states: Mapping[str, FeedState],
    now: datetime,
    *,
    eager: Collection[str] = (),
) -> list[Feed]:
    """Give the feeds to ask now: sound ones before failing ones, then longest waiting first.

    Under a tight rate limit not all of them get their turn in one poll. A failing feed goes last
    because its failures open the breaker, which must not keep the others out.

    Args:
        feeds: All of the source.
        states: How far they have come.
        now: The poll's moment.
        eager: Feeds whose figures are being made up: they are asked without a pause.
    """
    due = [
        feed
        for feed in feeds
        if feed.name in eager or is_due(feed, states.get(feed.name, FeedState()), now)
    ]
    place = {feed.name: number for number, feed in enumerate(feeds)}

    def turn(feed: Feed) -> tuple[bool, datetime, int]:
        state = states.get(feed.name, FeedState())
        return (state.failures > 0, state.last_ok or EPOCH, place[feed.name])

    return sorted(due, key=turn)


def next_due(feeds: Sequence[Feed], states: Mapping[str, FeedState], now: datetime) -> datetime:
    """Give the moment at which the next feed will be due; now if one is."""
    moments = []
    for feed in feeds:
        state = states.get(feed.name, FeedState())
        moment = now if state.done_slot is None else state.done_slot + feed.every
        moments.append(max(moment, state.not_before or now, now))
    return min(moments, default=now)


def after_success(feed: Feed, state: FeedState, planned: datetime, now: datetime) -> FeedState:
    """Give the state after a feed was read whole; ``planned`` is the poll's own moment."""
    return replace(state, done_slot=feed.slot(planned), last_ok=now, failures=0, not_before=None)


def after_failure(state: FeedState, now: datetime) -> FeedState:
    """Give the state after a feed could not be read: the pause doubles with each failure."""
    # A long outage has hundreds of failures: the power is bounded before it is too large a time.
    pause = min(FIRST_PAUSE * 2 ** min(state.failures, _MOST_DOUBLINGS), LONGEST_PAUSE)
    return replace(state, failures=state.failures + 1, not_before=now + pause)


def after_nothing_yet(state: FeedState, now: datetime) -> FeedState:
    """Give the state after a source had not published yet: no failure, asked again in a while."""
    return replace(state, not_before=now + NOT_YET_PAUSE)
