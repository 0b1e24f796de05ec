"""One ``api_logs`` row for every attempt to reach a source, whatever became of it."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime

from fetchers.reply import Reply, clean_url
from fetchers.request import Request
from schema.errors import (
    GridpactError,
    NotYetPublished,
    SourcePayloadInvalid,
    SourceRejected,
    SourceThrottled,
)
from schema.periods import format_instant
from schema.readings import Parsed, Rejected
from schema.rows.beckn import JsonObject
from schema.rows.system import ApiLogRow, Outcome

SHOWN_REJECTIONS = 20
LONGEST_ERROR = 1000


def outcome_of(error: GridpactError) -> Outcome:
    """Give the word for a failure."""
    match error:
        case SourceThrottled():
            return Outcome.THROTTLED
        case SourceRejected():
            return Outcome.REJECTED
        case SourcePayloadInvalid():
            return Outcome.INVALID_PAYLOAD
        case NotYetPublished():
            return Outcome.NOT_YET_PUBLISHED
        case _ if error.details.get("timeout"):
            return Outcome.TIMEOUT
        case _:
            return Outcome.UNAVAILABLE


class AttemptLog:
    """The attempts of one poll or order, numbered within one incarnation.

    In a replay the incarnation is named after the poll's moment and numbers start at 0, so a
    poll that is made again writes the same rows. Live, it is minted once a start, and numbers
    run on.
    """

    def __init__(self, source: str, incarnation: str, first: int = 0) -> None:
        self._source = source
        self._incarnation = incarnation
        self._next = first
        self.rows: list[ApiLogRow] = []

    @property
    def next_sequence(self) -> int:
        """The number of the next row."""
        return self._next

    def add(
        self,
        request: Request,
        *,
        outcome: Outcome,
        attempt: int,
        requested_at: datetime,
        duration_s: float | None = None,
        reply: Reply | None = None,
        parsed: Parsed | None = None,
        error: GridpactError | None = None,
    ) -> None:
        """Note one attempt."""
        details = error.details if error is not None else {}
        status = reply.status if reply is not None else details.get("status")
        size = len(reply.body) if reply is not None else details.get("size")
        rejected = parsed.rejected if parsed is not None else ()
        self.rows.append(
            ApiLogRow(
                incarnation=self._incarnation,
                sequence=self._next,
                source=self._source,
                endpoint=request.endpoint,
                method=request.method,
                url=clean_url(request),
                http_status=status if isinstance(status, int) and 100 <= status <= 599 else None,  # noqa: PLR2004
                outcome=outcome,
                attempt=attempt,
                requested_at=requested_at,
                duration_ms=None if duration_s is None else round(max(0.0, duration_s) * 1000, 3),
                response_bytes=size if isinstance(size, int) else None,
                rows_parsed=len(parsed.rows) if parsed is not None else 0,
                rows_rejected=len(rejected),
                rejected=shown(rejected) or None,
                error=printable(error.message)[:LONGEST_ERROR] if error is not None else None,
            )
        )
        self._next += 1

    def mark_fallback(self) -> None:
        """Say of the last failed attempt that synthetic readings stand in for its answer."""
        for index in range(len(self.rows) - 1, -1, -1):
            if self.rows[index].outcome is not Outcome.OK:
                self.rows[index] = self.rows[index].model_copy(update={"fallback": True})
                return


def shown(rejected: Sequence[Rejected]) -> list[JsonObject]:
    """Give the first rejections for the log."""
    return [
        {"where": printable(one.where)[:200], "reason": printable(one.reason)[:500]}
        for one in rejected[:SHOWN_REJECTIONS]
    ]


def printable(text: str) -> str:
    """Give text that PostgreSQL takes, whatever a source put into it."""
    return text.replace("\x00", "").encode("utf-8", "replace").decode()


def poll_incarnation(source: str, moment: datetime) -> str:
    """Name the attempts of a replayed poll: the same poll has the same name."""
    return f"{source}@{format_instant(moment)}"
