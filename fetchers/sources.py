"""What a source adds to the shell that all sources share.

A ``SourcePlan`` says what to ask, how to read an answer, and what to ask next because of it.
It is pure: no clock, no client. ``BasePlan`` holds what most of them have in common.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from fetchers.bucket import Rate
from fetchers.parsing import EndpointParser, ParseContext
from fetchers.plan import Feed, FeedState
from fetchers.reply import Reply
from fetchers.request import Request
from schema.errors import GridpactError
from schema.orders import WindowUpdate
from schema.readings import Parsed
from schema.rows import Row


@dataclass(frozen=True, slots=True)
class FeedTurn:
    """One feed of one poll; ``planned`` is the poll's own moment."""

    feed: Feed
    state: FeedState
    planned: datetime


@dataclass(frozen=True, slots=True)
class Reading:
    """What one answer gave.

    Attributes:
        parsed: Its rows.
        then: Requests that follow from it, asked before anything else of the feed.
        seen: Change marker to remember once the feed is done.
        updates: Changes to booked windows.
        refused: The source said no in a well-formed answer (a NACK on HTTP 200).
    """

    parsed: Parsed = field(default_factory=Parsed)
    then: tuple[Request, ...] = ()
    seen: str | None = None
    updates: tuple[WindowUpdate, ...] = ()
    refused: str | None = None


class BasePlan:
    """A source whose feeds are one request each, read by the source's own parsers.

    ``source`` is its name: one of ``schema.readings.Source``, or that of an outside package.
    """

    source: str
    feeds: tuple[Feed, ...] = ()
    rates: Mapping[str, Rate] = {}
    parsers: Mapping[str, EndpointParser] = {}

    def __init__(self, base_url: str) -> None:
        self.base_url = base_url

    def requests(self, turn: FeedTurn) -> Sequence[Request]:
        """Give the requests of a feed that is due."""
        raise NotImplementedError

    def bucket(self, feed: Feed, request: Request) -> str | None:
        """Give the rate limit that a request draws from."""
        del request
        return feed.bucket

    def read(
        self, turn: FeedTurn, request: Request, reply: Reply, context: ParseContext
    ) -> Reading:
        """Read an answer; raises what the parser raises."""
        del turn
        return Reading(self.parsers[request.endpoint].parse(reply.body, context))

    def prepare(self, request: Request, now: datetime) -> Request:
        """Give a request as it goes out at this moment: signed, where the source wants that."""
        del now
        return request

    def recover(
        self, turn: FeedTurn, request: Request, error: GridpactError
    ) -> Sequence[Request] | None:
        """Give other requests to make after a refusal; None where there is no other way."""
        del turn, request, error
        return None

    def derive(self, rows: Sequence[Row]) -> Sequence[Row]:
        """Give estimates that follow from new published rows."""
        del rows
        return ()

    def fallback(
        self, *, planned: datetime, covered: Mapping[str, datetime], seed: int, reason: str
    ) -> Sequence[Row]:
        """Give synthetic rows for what the market needs and nobody published; see quality.py."""
        del planned, covered, seed, reason
        return ()

    def needed(self) -> Sequence[str]:
        """Name the feeds whose failure leaves the market without figures."""
        return ()

    def series(self, row: Row) -> str | None:
        """Name the series whose coverage a published row extends; None for what has none."""
        del row
        return None

    def take_callbacks(self, take: Callable[[Reading, datetime], None], planned: datetime) -> None:
        """Take in what the source sent by itself since the last poll."""
        del take, planned

    def checkpoint(self) -> Any:
        """Give what ``rollback`` needs to undo what comes after."""
        return self.export()

    def rollback(self, checkpoint: Any) -> None:
        """Forget what was noted since a checkpoint: storage did not take its rows."""
        self.restore(checkpoint)

    def export(self) -> dict[str, Any]:
        """Give what the source must remember across a restart, as plain JSON values."""
        return {}

    def restore(self, extra: Mapping[str, Any]) -> None:
        """Take back what ``export`` gave."""
        del extra
