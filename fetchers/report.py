"""What one poll of a source did, for the driver and for whoever watches."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime

from schema.orders import WindowUpdate
from schema.rows.system import Outcome


@dataclass(frozen=True, slots=True)
class Asked:
    """One feed of a poll and how it ended; ``attempts`` counts requests that were sent."""

    feed: str
    outcome: Outcome
    attempts: int
    error: str | None = None


@dataclass(frozen=True, slots=True)
class PollReport:
    """One poll.

    Attributes:
        source: Which source.
        at: The poll's planned moment; also the version of the rows it stamped.
        requests: Requests sent, retries included.
        rows: Rows handed to storage because their content is new, ``api_logs`` left out.
        rows_by_table: The same by table.
        unchanged: Rows read whose content was known.
        rejected: Rows of replies that could not be used.
        fallbacks: Synthetic rows among ``rows``.
        conflicts: Rows that storage refused because it holds others of the same key and version.
        asked: The feeds of this poll.
        updates: Changes to booked windows that arrived by themselves.
        breaker: State of the circuit breaker afterwards.
        next_due: When the next feed is due.
    """

    source: str
    at: datetime
    requests: int = 0
    rows: int = 0
    rows_by_table: Mapping[str, int] = field(default_factory=dict)
    unchanged: int = 0
    rejected: int = 0
    fallbacks: int = 0
    conflicts: int = 0
    asked: tuple[Asked, ...] = ()
    updates: tuple[WindowUpdate, ...] = ()
    breaker: str = "closed"
    next_due: datetime | None = None
