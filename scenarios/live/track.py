"""What is known of each source in a live run, for the screen, the rows and the answer."""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from fetchers.report import PollReport
from schema.periods import format_instant, parse_instant
from schema.rows.system import Outcome

REMEMBERED_LAGS = 5000
_ANSWERED = frozenset({Outcome.OK, Outcome.NOT_MODIFIED, Outcome.NOT_YET_PUBLISHED})


@dataclass(slots=True)
class Track:
    """One source since the start of this process.

    Attributes:
        name: Of the source.
        polls: Polls that ended, with or without an answer.
        failed: Polls whose rows could not be handed over; the next one repeats them.
        skipped: Slots that a long poll of the same source used up.
        busy: A poll is under way.
        slot: Of the poll that ended last.
        last_success: When a feed was last read whole, also before this process started.
        next_due: When its next feed is due; now for one that waits for a rate limit.
        waiting: Feeds that are due and were not asked yet.
        problem: Why the last poll was not whole.
    """

    name: str
    polls: int = 0
    failed: int = 0
    skipped: int = 0
    busy: bool = False
    slot: int = -1
    requests: int = 0
    rows: int = 0
    rejected: int = 0
    fallbacks: int = 0
    conflicts: int = 0
    last_success: str | None = None
    breaker: str = "closed"
    next_due: str | None = None
    waiting: tuple[str, ...] = ()
    problem: str | None = None
    lags_s: deque[float] = field(default_factory=lambda: deque(maxlen=REMEMBERED_LAGS))

    @property
    def lag_s(self) -> float | None:
        """How late polls start: the 99th percentile of this process, in seconds."""
        return percentile(self.lags_s, 0.99)

    def began(self, lag_s: float) -> None:
        """Note that a poll starts, so much later than planned."""
        self.busy = True
        self.lags_s.append(max(0.0, lag_s))

    def ended(self, report: PollReport) -> None:
        """Note what a poll did."""
        self.polls += 1
        self.requests += report.requests
        self.rows += report.rows
        self.rejected += report.rejected
        self.fallbacks += report.fallbacks
        self.conflicts += report.conflicts
        self.breaker = report.breaker
        if report.next_due is not None:
            self.next_due = _whole(report.next_due)
        if any(asked.outcome is Outcome.OK for asked in report.asked):
            self.last_success = _whole(report.at)
        failing = [asked for asked in report.asked if asked.outcome not in _ANSWERED]
        if failing:
            self.problem = failing[0].error or failing[0].outcome.value
        elif report.asked:
            self.problem = None

    def broke(self, error: BaseException) -> None:
        """Note that a poll gave no report."""
        self.polls += 1
        self.failed += 1
        self.problem = str(error) or type(error).__name__

    def take_status(self, status: Mapping[str, Any]) -> None:
        """Take over what the fetcher itself knows, from before this process too."""
        if status.get("last_success"):
            self.last_success = _whole(parse_instant(str(status["last_success"])))
        self.breaker = str(status.get("breaker", self.breaker))
        if status.get("next_due"):
            self.next_due = _whole(parse_instant(str(status["next_due"])))
        self.waiting = tuple(status.get("due", ()))

    def figures(self) -> dict[str, Any]:
        """Give what ``start --once --json`` answers for the source."""
        return {
            "requests": self.requests,
            "rows": self.rows,
            "fallbacks": self.fallbacks,
            "rejected": self.rejected,
            "last_success": self.last_success,
            "lag_s": None if self.lag_s is None else round(self.lag_s, 3),
            "breaker": self.breaker,
            "next_due": self.next_due,
            "waiting": list(self.waiting),
            "problem": self.problem,
        }

    def told(self) -> dict[str, Any]:
        """Give what its row in ``agents`` says."""
        return {
            "source": self.name,
            **self.figures(),
            "polls": self.polls,
            "failed_polls": self.failed,
            "skipped_slots": self.skipped,
            "conflicts": self.conflicts,
        }


def _whole(moment: datetime) -> str:
    return format_instant(moment.replace(microsecond=0))


def percentile(values: Iterable[float], share: float) -> float | None:
    """Give the smallest value that this share of the values does not exceed."""
    ordered = sorted(values)
    if not ordered:
        return None
    return ordered[max(0, math.ceil(share * len(ordered)) - 1)]


@dataclass(frozen=True, slots=True)
class Situation:
    """What the screen shows.

    ``sites`` is False where nothing is placed; ``unsent`` None where storage does not answer.
    """

    now: datetime
    tracks: tuple[Track, ...]
    tick: int
    sites: bool
    registered: int = 0
    awarded: int = 0
    waiting: int = 0
    unsent: int | None = None
    trouble: tuple[str, ...] = ()
