"""When a source counts as out, so that its figures are made up; pure.

A feed is silent when its last whole answer is older than the limit. A silent feed is out when it
fails too: its requests get no answer or none that can be read, or the source, which did publish
before, has had nothing new for all that time. A feed that was never answered is out at its first
failure, for the market has nothing to go on. A source that is merely new (it never published
anything, and says so) is not out.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from datetime import datetime, timedelta

from fetchers.plan import FeedState
from fetchers.quality import is_stale
from schema.rows.system import Outcome

_READ = frozenset({Outcome.OK, Outcome.NOT_YET_PUBLISHED})


def bridged_feeds(
    needed: Collection[str], states: Mapping[str, FeedState], now: datetime, limit: timedelta
) -> list[str]:
    """Name the feeds whose figures are being made up: they are asked at every poll.

    Args:
        needed: Feeds that the market cannot do without.
        states: How far each has come before this poll.
        now: The poll's moment.
        limit: Silence after which figures are made up.
    """
    return [
        name
        for name in needed
        if _failures(states, name) and is_stale(_last_ok(states, name), now, limit)
    ]


def feeds_out(
    needed: Collection[str],
    states: Mapping[str, FeedState],
    outcomes: Mapping[str, Outcome],
    now: datetime,
    limit: timedelta,
) -> list[str]:
    """Name the feeds that are out after a poll.

    Args:
        needed: Feeds that the market cannot do without.
        states: How far each has come, this poll included.
        outcomes: How the feeds asked in this poll ended.
        now: The poll's moment.
        limit: Silence after which figures are made up.
    """
    found = []
    for name in needed:
        last_ok, outcome = _last_ok(states, name), outcomes.get(name)
        failed = outcome is not None and outcome not in _READ
        dried_up = outcome is Outcome.NOT_YET_PUBLISHED and last_ok is not None
        if is_stale(last_ok, now, limit) and (failed or dried_up or _failures(states, name)):
            found.append(name)
    return found


def _last_ok(states: Mapping[str, FeedState], name: str) -> datetime | None:
    return states[name].last_ok if name in states else None


def _failures(states: Mapping[str, FeedState], name: str) -> int:
    return states[name].failures if name in states else 0
