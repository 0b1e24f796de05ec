"""Elexon's three envelopes brought to one, and its way to say when.

Datasets come as ``{"data": [...]}``, streams and a few others as a bare array, derived routes as
``{"metadata": ..., "data": [...]}``. Row order means nothing. ``startTime`` is the truth; it is
checked against settlement date and period, because a client that counts periods from midnight UTC
is an hour out all summer.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from datetime import date, datetime, timedelta
from functools import lru_cache

from fetchers.parsing import RowSink
from fetchers.wire import (
    Json,
    Unusable,
    describe,
    epoch_seconds,
    instant,
    integer,
    invalid,
    load_reply,
    obj,
    optional_instant,
    text,
)
from schema.errors import NotYetPublished
from schema.periods import HALF_HOUR, SettlementPeriod, floor_half_hour, format_instant
from schema.readings import Parsed, Source

_NAME = Source.ELEXON.value
FIVE_MINUTES = timedelta(minutes=5)

Fields = Mapping[str, Json]

SKIP_EMPTY = "rows without a figure"

GB = frozenset({"", "N"})
"""Boundary codes of the national series; other codes are zones."""


def collect(body: bytes, needed: str, add: Callable[[RowSink, str, Fields], None]) -> Parsed:
    """Hand each row of a reply to ``add``; a row it cannot use is rejected with its reason.

    Args:
        body: The reply.
        needed: A field without which no row is of this kind.
        add: Adds one row to the sink, or raises ``Unusable``.

    Raises:
        NotYetPublished: The list is empty: the source's way to say that there is nothing yet.
        SourcePayloadInvalid: The reply is no list of such rows.
    """
    payload = load_reply(body, _NAME)
    bare = isinstance(payload, list)
    rows = payload if bare else payload.get("data") if isinstance(payload, dict) else None
    if not isinstance(rows, list):
        msg = f"data is {describe(rows)}; a list of rows is expected, bare or under data"
        raise invalid(_NAME, msg, body)
    if not rows:
        msg = f"{_NAME}: the reply holds no row; nothing is published for what was asked"
        raise NotYetPublished(msg, source=_NAME)
    if not any(isinstance(row, dict) and needed in row for row in rows):
        raise invalid(_NAME, f"no row has {needed}; it is the reply of another endpoint", body)
    sink = RowSink()
    for index, row in enumerate(rows):
        where = f"[{index}]" if bare else f"data[{index}]"
        try:
            add(sink, where, obj(row, "row"))
        except Unusable as exc:
            sink.reject(where, str(exc))
    return sink.done()


def read_half_hour(row: Fields) -> tuple[datetime, datetime]:
    """Give ``[start, end)`` of the settlement period a row belongs to.

    ``startTime`` must be the period's start. Without it, date and period give the instant.
    """
    period = _settlement_period(row)
    if row.get("startTime") is None:
        if period is None:
            raise Unusable("startTime is null, and so is settlementPeriod; one of them is needed")
        return period.start, period.end
    start = instant(row["startTime"], "startTime")
    if start != floor_half_hour(start):
        raise Unusable(f"startTime is {describe(row['startTime'])}; a half hour is needed")
    if period is not None and period.start != start:
        raise Unusable(_mismatch(row, period))
    return start, start + HALF_HOUR


def read_five_minutes(row: Fields) -> tuple[datetime, datetime]:
    """Give ``[start, end)`` of the five minutes of a row, which lie inside its period."""
    start = instant(row.get("startTime"), "startTime")
    if start.minute % 5 or start.second or start.microsecond:
        raise Unusable(f"startTime is {describe(row['startTime'])}; five-minute steps are needed")
    period = _settlement_period(row)
    if period is not None and not period.start <= start < period.end:
        raise Unusable(_mismatch(row, period))
    return start, start + FIVE_MINUTES


def published_at(row: Fields) -> datetime | None:
    """Give the issue time of a row, where it has one."""
    return optional_instant(row.get("publishTime"), "publishTime")


def version_of(row: Fields) -> int | None:
    """Give the version of a row from its issue time."""
    return epoch_seconds(published_at(row))


def _settlement_period(row: Fields) -> SettlementPeriod | None:
    written, number = row.get("settlementDate"), row.get("settlementPeriod")
    if written is None or number is None:
        return None
    index = integer(number, "settlementPeriod")
    # Read as an instant first: it also keeps out years that cannot be added to.
    day = instant(f"{text(written, 'settlementDate')}T00:00Z", "settlementDate").date()
    try:
        return _period(day, index)
    except ValueError as exc:
        raise Unusable(str(exc)) from None


@lru_cache(maxsize=4096)
def _period(day: date, number: int) -> SettlementPeriod:
    return SettlementPeriod(day, number)


def _mismatch(row: Fields, period: SettlementPeriod) -> str:
    return (
        f"startTime is {describe(row.get('startTime'))}; period {period.number} of "
        f"{period.settlement_date} starts at {format_instant(period.start)}"
    )
