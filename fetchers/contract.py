"""What every source must keep, as one function for its tests, ours and other packages'.

    from fetchers.contract import Sample, check_source

    def test_octopus_keeps_the_contract() -> None:
        check_source(SOURCE, [Sample("unit-rates", PAYLOAD.read_bytes(), at=RETRIEVED)])

It needs no network, no database and no clock: recorded replies are served to the real fetcher on a
virtual clock. The first promise that is broken raises ``AssertionError`` and says which one, with
what value, and what was expected.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

import httpx
import orjson

from fetchers.definition import SourceDefinition, check_definition
from fetchers.fetcher import Fetcher, FetcherSettings
from fetchers.http import ENDPOINT
from fetchers.parsing import ParseContext
from fetchers.plan import FeedState
from fetchers.request import Request
from fetchers.sources import BasePlan, FeedTurn
from schema.clock import VirtualClock
from schema.errors import GridpactError, InputError, SourceError
from schema.periods import HALF_HOUR
from schema.readings import Parsed, Quality
from schema.rows import ApiLogRow, Record, Row
from storage.ports import Checkpoint, PutAck

RUN = "00000000-0000-4000-8000-0000000c0de0"
MINUTE = timedelta(minutes=1)
DAY = timedelta(days=1)
#: Replies that no source should ever send, and every parser must survive.
HOSTILE = (
    b"",
    b"<html><title>Just a moment</title></html>",
    b"{",
    b"[]",
    b"null",
    b'"no"',
    b"[" * 10_000 + b"]" * 10_000,
    b'{"results": [{"valid_from": NaN}]}',
    b"\xff\xfe\x00",
    b"a,b\r\n1",
)


@dataclass(frozen=True, slots=True)
class Sample:
    """A recorded reply of one endpoint, and when it was retrieved (UTC)."""

    endpoint: str
    body: bytes
    at: datetime


def check_source(definition: SourceDefinition, samples: Sequence[Sample]) -> None:
    """Check that a source keeps the contract.

    1. Its definition is sound, its feeds have names of their own, and its requests stay at its
       address and name endpoints that have a parser.
    2. Parsers read the samples into rows of their tables, the same rows every time, and survive
       replies that are none.
    3. The fetcher hands on exactly what the parsers read.
    4. No feed is asked more than once in each of its slots.
    5. Every attempt is logged, in an outage too, and the source is read again when it is back.
    6. What the plan remembers is plain JSON and can be taken back.

    Args:
        definition: The source.
        samples: At least one recorded reply of every endpoint that a feed asks first, with rows.

    Raises:
        AssertionError: A promise is broken.
    """
    check_definition(definition)
    _require(bool(samples), "give at least one recorded reply", len(samples), "1 or more")
    parsed = [_check_parser(definition, sample) for sample in samples]
    _require(any(part.rows for part in parsed), "the samples hold no row at all", 0, "1 or more")
    if definition.plan is None:
        return
    served = _Served(samples)
    start = max(sample.at for sample in samples)
    _check_plan(definition, served, start)
    asyncio.run(_check_polls(definition, served, start))


# -- parsers -------------------------------------------------------------------------------------


def _check_parser(definition: SourceDefinition, sample: Sample) -> Parsed:
    name = f"{definition.name} {sample.endpoint}"
    parser = definition.endpoints.get(sample.endpoint)
    _require(parser is not None, f"{name}: no such endpoint", None, ", ".join(definition.endpoints))
    assert parser is not None
    context = ParseContext(now=sample.at)
    parsed = parser.parse(sample.body, context)
    again = parser.parse(sample.body, context)
    _require(parsed == again, f"{name}: the same reply read twice gives other rows", again, parsed)
    keys = Counter((row.TABLE, row.key()) for row in parsed.rows)
    twice = [key for key, count in keys.items() if count > 1]
    _require(not twice, f"{name}: rows share a key", twice[:1], "one row a key")
    for row in parsed.rows:
        _check_row(definition.name, name, parser.tables, row)
    for one in parsed.rejected:
        _require(
            bool(one.where and one.reason), f"{name}: a rejection", one, "a place and a reason"
        )
    cuts = [sample.body[: len(sample.body) * part // 8] for part in range(8)]
    for body in (*HOSTILE, *cuts):
        try:
            parser.parse(body, context)
        except (SourceError, InputError) as exc:
            _require(bool(exc.message), f"{name}: an error without words", exc, "a message")
        except Exception as exc:
            msg = f"{name}: {body[:60]!r} raised {exc!r}; a SourceError was expected"
            raise AssertionError(msg) from exc
    return parsed


def _check_row(source: str, name: str, tables: Sequence[str], row: Row) -> None:
    _require(row.TABLE in tables, f"{name}: a row of {row.TABLE}", row.TABLE, ", ".join(tables))
    # A source may tell its series apart: elexon/indo.
    own = str(getattr(row, "source", source)).split("/", maxsplit=1)[0]
    _require(own == source, f"{name}: the source of a row", own, source)
    quality = getattr(row, "quality", Quality.PUBLISHED)
    explained = getattr(row, "reason", None) or getattr(row, "method", None)
    _require(
        quality is not Quality.SYNTHETIC and (quality is Quality.PUBLISHED or bool(explained)),
        f"{name}: a parsed row of quality {quality}",
        explained,
        "published, or estimated with a reason",
    )
    row.to_record(RUN, retrieved_at=None, version=1)


# -- plan ----------------------------------------------------------------------------------------


class _Served:
    """Answers requests from samples, by endpoint; may be down."""

    def __init__(self, samples: Sequence[Sample]) -> None:
        self.bodies: Mapping[str, bytes] = {one.endpoint: one.body for one in samples}
        self.down = False

    def __call__(self, request: httpx.Request) -> httpx.Response:
        if self.down:
            return httpx.Response(503, text="down")
        body = self.bodies.get(request.extensions.get(ENDPOINT, ""))
        return httpx.Response(404 if body is None else 200, content=body or b"")


def _check_plan(definition: SourceDefinition, served: _Served, start: datetime) -> None:
    plan = _plan(definition)
    _require(str(plan.source) == definition.name, "the plan's source", plan.source, definition.name)
    names = [feed.name for feed in plan.feeds]
    _require(bool(names), f"{definition.name}: the plan has no feed", names, "1 or more")
    _require(len(set(names)) == len(names), f"{definition.name}: feeds", names, "different names")
    origin = httpx.URL(definition.base_url)
    for feed in plan.feeds:
        turn = FeedTurn(feed, FeedState(), start)
        requests = list(plan.requests(turn))
        _require(
            requests == list(_plan(definition).requests(turn)),
            f"{definition.name} {feed.name}: two plans ask differently at the same moment",
            requests,
            "the same requests",
        )
        for request in requests:
            _check_request(definition, plan, request, origin)
            _require(
                request.endpoint in served.bodies,
                f"{definition.name} {feed.name}: no sample of {request.endpoint}",
                request.endpoint,
                "a recorded reply of it",
            )


def _check_request(
    definition: SourceDefinition, plan: BasePlan, request: Request, origin: httpx.URL
) -> None:
    name = f"{definition.name} {request.endpoint}"
    url = httpx.URL(request.url)
    same = (url.scheme, url.host, url.port) == (origin.scheme, origin.host, origin.port)
    _require(same, f"{name}: asks another address", request.url, definition.base_url)
    _require(request.source == definition.name, f"{name}: source", request.source, definition.name)
    known = request.endpoint in definition.endpoints and request.endpoint in plan.parsers
    _require(known, f"{name}: no parser", request.endpoint, ", ".join(plan.parsers))
    _require(not url.userinfo, f"{name}: credentials in the address", "user info", "a header")


def _plan(definition: SourceDefinition) -> BasePlan:
    assert definition.plan is not None
    return definition.plan(definition.base_url)


# -- polls ---------------------------------------------------------------------------------------


class _Kept:
    """Storage that keeps what it is given."""

    def __init__(self) -> None:
        self.records: list[Record] = []

    async def put(self, records: Sequence[Record], checkpoint: Checkpoint | None = None) -> PutAck:
        del checkpoint
        self.records.extend(records)
        return PutAck(len(records), 0)

    def logs(self) -> list[dict[str, object]]:
        return [record.columns() for record in self.records if record.table == ApiLogRow.TABLE]

    def contents(self) -> set[tuple[str, bytes]]:
        tables = (record for record in self.records if record.table != ApiLogRow.TABLE)
        return {(record.table, record.sha256) for record in tables}


def _fetcher(
    definition: SourceDefinition, served: _Served, kept: _Kept, start: datetime
) -> Fetcher:
    return Fetcher(
        _plan(definition),
        run_id=RUN,
        clock=VirtualClock(start),
        transport=httpx.MockTransport(served),
        storage=kept,
        seed=1,
        settings=FetcherSettings(interval_s=3600, stale_after=definition.stale_after),
    )


async def _check_polls(definition: SourceDefinition, served: _Served, start: datetime) -> None:
    name = definition.name
    kept = _Kept()
    fetcher = _fetcher(definition, served, kept, start)
    report = await fetcher.poll(start)
    faults = [one for one in report.asked if one.error]
    _require(not faults, f"{name}: the first poll did not read everything", faults, "no fault")
    read = _read_rows(definition, served, start)
    handed = kept.contents()
    _require(read <= handed, f"{name}: read, and not handed on", len(read - handed), "0 rows")

    await _check_cadence(definition, served, start)
    await _check_outage(definition, served, start)

    remembered = fetcher.plan.export()
    copied = orjson.loads(orjson.dumps(remembered))
    other = _plan(definition)
    other.restore(copied)
    _require(other.export() == remembered, f"{name}: restored", other.export(), remembered)


def _read_rows(
    definition: SourceDefinition, served: _Served, start: datetime
) -> set[tuple[str, bytes]]:
    """Give the content of every row that the parsers alone read from what the feeds ask first."""
    plan = _plan(definition)
    found = set()
    for feed in plan.feeds:
        for request in plan.requests(FeedTurn(feed, FeedState(), start)):
            body = served(
                httpx.Request("GET", request.url, extensions={ENDPOINT: request.endpoint})
            )
            context = ParseContext(now=start)
            parsed = definition.endpoints[request.endpoint].parse(body.content, context)
            for row in parsed.rows:
                record = row.to_record(RUN, retrieved_at=start, version=1)
                found.add((record.table, record.sha256))
    return found


async def _check_cadence(definition: SourceDefinition, served: _Served, start: datetime) -> None:
    """Poll every minute of a day: no feed is read more often than it has slots."""
    asked: Counter[str] = Counter()
    fetcher = _fetcher(definition, served, _Kept(), start)
    for minute in range(DAY // MINUTE):
        report = await fetcher.poll(start + minute * MINUTE)
        asked.update(one.feed for one in report.asked)
    for feed in fetcher.plan.feeds:
        most = DAY // feed.every + 1
        _require(
            asked[feed.name] <= most,
            f"{definition.name} {feed.name}: asked too often in a day",
            asked[feed.name],
            f"at most {most}",
        )


async def _check_outage(definition: SourceDefinition, served: _Served, start: datetime) -> None:
    """Take the source away for some hours: all is logged, nothing raises, and it comes back."""
    name = definition.name
    kept = _Kept()
    fetcher = _fetcher(definition, served, kept, start)
    served.down = True
    sent = 0
    polls = int((definition.stale_after + 2 * HALF_HOUR) / HALF_HOUR)
    try:
        for tick in range(polls):
            try:
                report = await fetcher.poll(start + tick * HALF_HOUR)
            except GridpactError as exc:
                msg = f"{name}: a poll raised {exc!r} in an outage; it reports and logs it"
                raise AssertionError(msg) from exc
            sent += report.requests
    finally:
        served.down = False
    logged = [log for log in kept.logs() if log["outcome"] != "breaker_open"]
    _require(len(logged) == sent, f"{name}: attempts logged", len(logged), sent)
    made_up = [row.columns() for row in kept.records if b'"synthetic"' in row.body]
    silent = [row for row in made_up if not row.get("reason") or row.get("seed") is None]
    _require(not silent, f"{name}: synthetic rows without reason or seed", silent[:1], "both")
    # Every feed is due again a day later, whatever its cadence up to a day.
    report = await fetcher.poll(start + polls * HALF_HOUR + DAY)
    faults = [one for one in report.asked if one.error]
    _require(
        bool(report.asked) and not faults, f"{name}: back, and not read", faults, "every feed read"
    )


def _require(holds: bool, what: str, found: object, expected: object) -> None:  # noqa: FBT001
    if not holds:
        msg = f"{what}: found {found!r}, expected {expected!r}"
        raise AssertionError(msg[:2000])


__all__ = ["Sample", "check_source"]
