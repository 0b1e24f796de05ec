"""The fetcher's shell: plan, ask, compare, hand on. No socket, no waiting."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import ClassVar

import httpx
import orjson
import pytest

from fetchers.bucket import Rate
from fetchers.fetcher import Fetcher, FetcherSettings
from fetchers.parsing import ParseContext
from fetchers.plan import Feed
from fetchers.reply import Reply
from fetchers.request import Request
from fetchers.sources import BasePlan, FeedTurn, Reading
from fetchers.state import MOST_VALIDATORS
from schema.clock import Clock, VirtualClock
from schema.errors import NotYetPublished, RecordConflict, SourcePayloadInvalid, StorageUnavailable
from schema.readings import Parsed, Rejected, Source
from schema.rows import Record, WholesalePriceRow
from storage.ports import PutAck

HALF_HOUR = timedelta(minutes=30)
NOON = datetime(2031, 2, 3, 12, tzinfo=UTC)
RUN = "00000000-0000-0000-0000-00000000000a"
Handler = Callable[[httpx.Request], httpx.Response]


class ToyPlan(BasePlan):
    """Two half-hourly feeds of prices; the reply is ``[[minute, price], …]``."""

    source = Source.ELEXON
    feeds = (Feed("a", HALF_HOUR), Feed("b", HALF_HOUR))

    def requests(self, turn: FeedTurn) -> Sequence[Request]:
        return [Request("elexon", turn.feed.name, f"{self.base_url}/{turn.feed.name}")]

    def read(
        self, turn: FeedTurn, request: Request, reply: Reply, context: ParseContext
    ) -> Reading:
        try:
            figures = orjson.loads(reply.body)
        except orjson.JSONDecodeError as exc:
            raise SourcePayloadInvalid("no JSON", source="elexon") from exc
        if not figures:
            raise NotYetPublished("nothing yet", source="elexon")
        rows = [
            WholesalePriceRow(
                source="elexon",
                valid_from=NOON + timedelta(minutes=minute),
                valid_to=NOON + timedelta(minutes=minute + 30),
                market=turn.feed.name,
                price_gbp_per_mwh=price,
            )
            for minute, price in figures
            if price is not None
        ]
        bad = [Rejected(f"[{i}]", "null") for i, (_, price) in enumerate(figures) if price is None]
        return Reading(Parsed(tuple(rows), tuple(bad)))


class Store:
    """Takes records, or fails as told."""

    def __init__(self) -> None:
        self.records: list[Record] = []
        self.puts = 0
        self.errors: list[Exception] = []

    async def put(self, records: Sequence[Record]) -> PutAck:
        self.puts += 1
        if self.errors:
            raise self.errors.pop(0)
        self.records.extend(records)
        return PutAck(len(records), 0)

    def of(self, table: str) -> list[dict[str, object]]:
        return [record.columns() for record in self.records if record.table == table]


def answers(**bodies: object) -> Handler:
    return lambda request: httpx.Response(200, json=bodies[request.url.path.strip("/")])


def fetcher(
    handler: Handler,
    store: Store,
    *,
    clock: Clock | None = None,
    incarnation: str | None = None,
    interval_s: float = 1800.0,
    state_path: Path | None = None,
) -> Fetcher:
    return Fetcher(
        ToyPlan("https://api.example"),
        run_id=RUN,
        clock=clock or VirtualClock(NOON),
        transport=httpx.MockTransport(handler),
        storage=store,
        seed=3,
        incarnation=incarnation,
        settings=FetcherSettings(interval_s=interval_s, state_path=state_path),
    )


GOOD = answers(a=[[0, 10.0], [30, 11.0]], b=[[0, 20.0]])


async def test_a_poll_stamps_news_and_logs_every_attempt() -> None:
    store = Store()
    report = await fetcher(GOOD, store).poll(NOON)
    assert (report.requests, report.rows, report.unchanged, report.rejected) == (2, 3, 0, 0)
    assert report.rows_by_table == {"wholesale_prices": 3}
    prices = store.of("wholesale_prices")
    assert {(row["market"], row["price_gbp_per_mwh"]) for row in prices} == {
        ("a", 10.0),
        ("a", 11.0),
        ("b", 20.0),
    }
    # 2031-02-03T12:00Z in seconds since 1970
    assert {row["version"] for row in prices} == {1927886400}
    assert {row["retrieved_at"] for row in prices} == {"2031-02-03T12:00:00Z"}
    logs = store.of("api_logs")
    assert [(log["endpoint"], log["outcome"], log["rows_parsed"]) for log in logs] == [
        ("a", "ok", 2),
        ("b", "ok", 1),
    ]
    assert {(log["incarnation"], log["http_status"]) for log in logs} == {
        ("elexon@2031-02-03T12:00:00Z", 200)
    }
    assert [log["sequence"] for log in logs] == [0, 1]


async def test_what_storage_has_is_not_sent_again() -> None:
    store = Store()
    polled = fetcher(GOOD, store)
    await polled.poll(NOON)
    report = await polled.poll(NOON + HALF_HOUR)
    assert (report.requests, report.rows, report.unchanged) == (2, 0, 3)
    assert len(store.of("wholesale_prices")) == 3
    assert len(store.of("api_logs")) == 4


async def test_half_hourly_figures_are_not_asked_for_each_minute() -> None:
    polled = fetcher(GOOD, Store(), interval_s=60)
    reports = [await polled.poll(NOON + timedelta(minutes=minute)) for minute in range(60)]
    assert [report.requests for report in reports if report.requests] == [2, 2]
    assert reports[5].next_due == NOON + HALF_HOUR


async def test_the_same_moment_asked_again_gives_the_same_report_and_asks_nobody() -> None:
    store = Store()
    polled = fetcher(GOOD, store)
    first = await polled.poll(NOON)
    puts = store.puts
    assert await polled.poll(NOON) == first
    assert store.puts == puts


async def test_a_poll_that_storage_refused_is_repeated_with_the_same_rows() -> None:
    store, undisturbed = Store(), Store()
    store.errors = [StorageUnavailable("away")]
    polled = fetcher(GOOD, store)
    with pytest.raises(StorageUnavailable):
        await polled.poll(NOON)
    report = await polled.poll(NOON)
    assert report == await fetcher(GOOD, undisturbed).poll(NOON)
    assert store.records == undisturbed.records


async def test_two_replays_write_the_same_bytes() -> None:
    calls = {"count": 0}

    def flaky(request: httpx.Request) -> httpx.Response:
        calls["count"] += 1
        if calls["count"] % 3 == 0:
            return httpx.Response(500, text="oops")
        return GOOD(request)

    stores = []
    for _ in range(2):
        calls["count"] = 0
        store = Store()
        polled = fetcher(flaky, store)
        for tick in range(6):
            await polled.poll(NOON + tick * HALF_HOUR)
        stores.append(store.records)
    assert stores[0] == stores[1]
    assert len({record.id for record in stores[0]}) == len(
        {(record.table, record.id) for record in stores[0]}
    )


async def test_a_restart_goes_on_where_the_state_file_stands(tmp_path: Path) -> None:
    path = tmp_path / "elexon.json"
    first = await fetcher(GOOD, Store(), state_path=path).poll(NOON)
    assert path.stat().st_mode & 0o077 == 0
    store = Store()
    reborn = fetcher(GOOD, store, state_path=path)
    assert await reborn.poll(NOON) == first
    assert store.records == []
    report = await reborn.poll(NOON + timedelta(minutes=10))
    assert report.requests == 0


async def test_a_broken_state_file_is_no_reason_to_stop(tmp_path: Path) -> None:
    path = tmp_path / "elexon.json"
    path.write_text('{"feeds": {"a": ')
    report = await fetcher(GOOD, Store(), state_path=path).poll(NOON)
    assert report.requests == 2


def failing_until(moment: datetime, clock: VirtualClock, status: int = 503) -> Handler:
    def handler(request: httpx.Request) -> httpx.Response:
        if clock.now() < moment:
            headers = {"Retry-After": "20"} if status == 429 else {}
            return httpx.Response(status, json={"error": "busy"}, headers=headers)
        return GOOD(request)

    return handler


async def test_retry_after_is_waited_for_on_the_runs_clock() -> None:
    clock, store = VirtualClock(NOON), Store()
    handler = failing_until(NOON + timedelta(seconds=15), clock, status=429)
    report = await fetcher(handler, store, clock=clock).poll(NOON)
    logs = store.of("api_logs")
    assert [(log["endpoint"], log["outcome"], log["attempt"]) for log in logs] == [
        ("a", "throttled", 1),
        ("a", "ok", 2),
        ("b", "ok", 1),
    ]
    assert logs[1]["requested_at"] == "2031-02-03T12:00:20Z"
    assert report.requests == 3
    # The reply arrived 20 s after the poll began; the rows' version is still the poll's.
    assert {row["retrieved_at"] for row in store.of("wholesale_prices")} == {"2031-02-03T12:00:20Z"}
    assert {row["version"] for row in store.of("wholesale_prices")} == {1927886400}


async def test_a_dead_source_is_asked_three_times_and_then_left_alone() -> None:
    store = Store()
    polled = fetcher(lambda _: httpx.Response(500, text="down"), store, interval_s=60)
    report = await polled.poll(NOON)
    assert [(asked.feed, asked.outcome.value) for asked in report.asked] == [
        ("a", "unavailable"),
        ("b", "breaker_open"),
    ]
    assert (report.requests, report.breaker) == (3, "open")
    outcomes = [log["outcome"] for log in store.of("api_logs")]
    assert outcomes == ["unavailable"] * 3 + ["breaker_open"]
    # The breaker opened a few seconds after noon, for 60 s: at 12:02 one try goes through.
    report = await polled.poll(NOON + timedelta(minutes=2))
    assert report.requests == 1
    assert [asked.outcome.value for asked in report.asked] == ["unavailable", "breaker_open"]


async def test_a_source_that_is_back_is_read_at_the_next_poll() -> None:
    clock, store = VirtualClock(NOON), Store()
    handler = failing_until(NOON + timedelta(minutes=1), clock)
    polled = fetcher(handler, store, clock=clock, interval_s=60)
    assert (await polled.poll(NOON)).rows == 0
    report = await polled.poll(NOON + timedelta(minutes=2))
    assert (report.rows, report.breaker) == (3, "closed")


async def test_one_broken_feed_does_not_keep_the_others_out() -> None:
    def handler(request: httpx.Request) -> httpx.Response:
        if request.url.path == "/a":
            return httpx.Response(500, text="down")
        return GOOD(request)

    store = Store()
    polled = fetcher(handler, store)
    for tick in range(4):
        await polled.poll(NOON + tick * HALF_HOUR)
    assert {row["market"] for row in store.of("wholesale_prices")} == {"b"}
    # From the second poll on the failing feed goes last, so "b" is never shut out.
    outcomes = [log["outcome"] for log in store.of("api_logs") if log["endpoint"] == "b"]
    assert outcomes == ["breaker_open", "ok", "ok", "ok"]


async def test_a_bad_row_is_counted_and_a_page_is_invalid() -> None:
    store = Store()
    handler = answers(a=[[0, 1.0], [30, None]], b=[[0, 2.0]])
    report = await fetcher(handler, store).poll(NOON)
    assert (report.rows, report.rejected) == (2, 1)
    assert store.of("api_logs")[0]["rejected"] == [{"where": "[1]", "reason": "null"}]
    store = Store()
    report = await fetcher(lambda _: httpx.Response(200, text="<html>"), store).poll(NOON)
    # An answer nobody can read is not asked for again at once, and the source is not down.
    assert [log["outcome"] for log in store.of("api_logs")] == ["invalid_payload"] * 2
    assert report.breaker == "closed"


async def test_nothing_published_yet_is_neither_retried_nor_a_failure() -> None:
    store = Store()
    polled = fetcher(answers(a=[], b=[[0, 2.0]]), store, interval_s=60)
    report = await polled.poll(NOON)
    assert [asked.outcome.value for asked in report.asked] == ["not_yet_published", "ok"]
    assert report.requests == 2
    assert (await polled.poll(NOON + timedelta(minutes=1))).requests == 0
    assert (await polled.poll(NOON + timedelta(minutes=5))).requests == 1


async def test_live_attempts_are_numbered_through_and_survive_a_storage_outage() -> None:
    store = Store()
    polled = fetcher(GOOD, store, incarnation="i1")
    store.errors = [StorageUnavailable("away")]
    with pytest.raises(StorageUnavailable):
        await polled.poll(NOON)
    await polled.poll(NOON + timedelta(minutes=1))
    logs = store.of("api_logs")
    assert [(log["incarnation"], log["sequence"]) for log in logs] == [
        ("i1", number) for number in range(4)
    ]
    assert len({log["id"] for log in logs}) == 4


async def test_a_row_that_contradicts_an_earlier_one_does_not_keep_the_rest_out() -> None:
    probe = Store()
    await fetcher(GOOD, probe).poll(NOON)
    culprit = probe.records[1]
    store = Store()
    store.errors = [RecordConflict("again", id=culprit.id, table=culprit.table)]
    report = await fetcher(GOOD, store).poll(NOON)
    assert report.conflicts == 1
    assert store.records == [record for record in probe.records if record.id != culprit.id]


async def test_a_poll_out_of_time_leaves_the_rest_to_the_next() -> None:
    clock, store = VirtualClock(NOON), Store()

    async def slow(request: httpx.Request) -> httpx.Response:
        await clock.sleep(9)
        return GOOD(request)

    polled = Fetcher(
        ToyPlan("https://api.example"),
        run_id=RUN,
        clock=clock,
        transport=httpx.MockTransport(slow),
        storage=store,
        seed=3,
        settings=FetcherSettings(interval_s=10),
    )
    first = await polled.poll(NOON)
    assert [asked.feed for asked in first.asked] == ["a"]
    second = await polled.poll(NOON + timedelta(seconds=10))
    assert [asked.feed for asked in second.asked] == ["b"]


async def test_status_tells_what_a_person_asks_about() -> None:
    polled = fetcher(GOOD, Store())
    assert polled.status()["last_success"] is None
    await polled.poll(NOON)
    status = polled.status()
    assert (status["last_success"], status["breaker"], status["next_due"]) == (
        "2031-02-03T12:00:00Z",
        "closed",
        "2031-02-03T12:30:00Z",
    )


async def test_whoever_listens_hears_every_answer_as_it_came() -> None:
    heard: list[tuple[str, bytes]] = []
    polled = Fetcher(
        ToyPlan("https://api.example"),
        run_id=RUN,
        clock=VirtualClock(NOON),
        transport=httpx.MockTransport(
            lambda request: httpx.Response(
                200, content=b"[[0, 1.50]]" if "a" in request.url.path else b"<html>"
            )
        ),
        storage=Store(),
        seed=3,
        on_reply=lambda request, reply: heard.append((request.endpoint, reply.body)),
    )
    await polled.poll(NOON)
    # An answer that cannot be read is heard all the same, each time it comes.
    assert heard[0] == ("a", b"[[0, 1.50]]")
    assert set(heard[1:]) == {("b", b"<html>")}


class Tagged:
    """Answers with a validator, and 304 to whoever names it."""

    def __init__(self) -> None:
        self.tag = '"1"'
        self.status: list[int] = []
        self.broken: set[str] = set()

    def __call__(self, request: httpx.Request) -> httpx.Response:
        if request.url.path in self.broken:
            return httpx.Response(500, text="down")
        same = request.headers.get("if-none-match") == self.tag
        self.status.append(304 if same else 200)
        if same:
            return httpx.Response(304, headers={"ETag": self.tag})
        answer = GOOD(request)
        answer.headers["ETag"] = self.tag
        return answer


async def test_what_did_not_change_is_not_sent_again_by_the_source(tmp_path: Path) -> None:
    upstream, store = Tagged(), Store()
    state = tmp_path / "elexon.json"
    polled = fetcher(upstream, store, state_path=state)
    await polled.poll(NOON)
    report = await polled.poll(NOON + HALF_HOUR)
    assert (report.rows, report.unchanged, upstream.status) == (0, 0, [200, 200, 304, 304])
    logs = store.of("api_logs")[2:]
    assert [(log["outcome"], log["http_status"], log["response_bytes"]) for log in logs] == [
        ("not_modified", 304, 0)
    ] * 2
    # Nothing new is an answer: the feeds are done, also for a process that starts again.
    assert polled.status()["last_success"] == "2031-02-03T12:30:00Z"
    reborn = fetcher(upstream, store, state_path=state)
    await reborn.poll(NOON + 2 * HALF_HOUR)
    upstream.tag = '"2"'
    await reborn.poll(NOON + 3 * HALF_HOUR)
    assert upstream.status[4:] == [304, 304, 200, 200]


async def test_an_answer_that_storage_did_not_take_is_fetched_whole_again() -> None:
    upstream, store = Tagged(), Store()
    store.errors = [StorageUnavailable("away")]
    polled = fetcher(upstream, store)
    with pytest.raises(StorageUnavailable):
        await polled.poll(NOON)
    await polled.poll(NOON + timedelta(minutes=1))
    assert upstream.status == [200] * 4
    assert len(store.of("wholesale_prices")) == 3


async def test_a_feed_that_failed_half_way_has_its_first_answer_sent_again() -> None:
    class TwoSteps(ToyPlan):
        feeds = (Feed("a", HALF_HOUR),)

        def requests(self, turn: FeedTurn) -> Sequence[Request]:
            return [Request("elexon", name, f"{self.base_url}/{name}") for name in ("a", "b")]

    upstream, store = Tagged(), Store()
    upstream.broken = {"/b"}
    polled = Fetcher(
        TwoSteps("https://api.example"),
        run_id=RUN,
        clock=VirtualClock(NOON),
        transport=httpx.MockTransport(upstream),
        storage=store,
        seed=3,
        settings=FetcherSettings(interval_s=1800),
    )
    await polled.poll(NOON)
    upstream.broken = set()
    await polled.poll(NOON + HALF_HOUR)
    assert upstream.status == [200, 200, 200]
    await polled.poll(NOON + 2 * HALF_HOUR)
    assert upstream.status[3:] == [304, 304]


async def test_validators_of_addresses_that_come_once_do_not_pile_up() -> None:
    class Dated(ToyPlan):
        feeds = (Feed("a", HALF_HOUR),)

        def requests(self, turn: FeedTurn) -> Sequence[Request]:
            at = (("at", turn.planned.isoformat()),)
            return [Request("elexon", "a", f"{self.base_url}/a", params=at)]

    polled = Fetcher(
        Dated("https://api.example"),
        run_id=RUN,
        clock=VirtualClock(NOON),
        transport=httpx.MockTransport(Tagged()),
        storage=Store(),
        seed=3,
    )
    for tick in range(100):
        await polled.poll(NOON + tick * HALF_HOUR)
    kept = polled._state.validators
    assert len(kept) == MOST_VALIDATORS
    # The newest: the first of them is tick 36 of 0 to 99, 18 hours later.
    assert next(iter(kept)).endswith("at=2031-02-04T06%3A00%3A00%2B00%3A00")


async def test_a_parser_that_breaks_spoils_its_own_reply_only() -> None:
    class Broken(ToyPlan):
        def read(
            self, turn: FeedTurn, request: Request, reply: Reply, context: ParseContext
        ) -> Reading:
            if turn.feed.name == "a":
                raise KeyError("valid_from")
            return super().read(turn, request, reply, context)

    store = Store()
    polled = Fetcher(
        Broken("https://api.example"),
        run_id=RUN,
        clock=VirtualClock(NOON),
        transport=httpx.MockTransport(GOOD),
        storage=store,
        seed=3,
    )
    report = await polled.poll(NOON)
    assert [(asked.feed, asked.outcome.value) for asked in report.asked] == [
        ("a", "invalid_payload"),
        ("b", "ok"),
    ]
    (log,) = [log for log in store.of("api_logs") if log["endpoint"] == "a"]
    assert (log["outcome"], log["http_status"]) == ("invalid_payload", 200)
    assert "the parser failed on this reply (KeyError: 'valid_from')" in log["error"]


async def test_an_outage_of_three_days_is_survived() -> None:
    clock, store = VirtualClock(NOON), Store()
    end = NOON + timedelta(days=3)
    polled = fetcher(failing_until(end, clock), store, clock=clock, interval_s=900)
    for tick in range(3 * 24 * 4):
        await polled.poll(NOON + tick * timedelta(minutes=15))
    assert (await polled.poll(end)).rows == 3


class Limited(ToyPlan):
    rates: ClassVar[dict[str, Rate]] = {"all": Rate(30.0)}

    def bucket(self, feed: Feed, request: Request) -> str | None:
        return "all"


async def test_a_slow_request_does_not_bring_the_next_one_closer() -> None:
    clock, sent = VirtualClock(NOON), list[datetime]()

    def slow(request: httpx.Request) -> httpx.Response:
        # Eight seconds on their way there: whoever counts arrivals sees this one late.
        sent.append(clock.now())
        clock.advance(timedelta(seconds=8))
        return GOOD(request)

    polled = Fetcher(
        Limited("https://api.example"),
        run_id=RUN,
        clock=clock,
        transport=httpx.MockTransport(slow),
        storage=Store(),
        seed=3,
        settings=FetcherSettings(interval_s=1800),
    )
    await polled.poll(NOON)
    assert sent == [NOON, NOON + timedelta(seconds=38)]


async def test_nothing_is_asked_while_the_state_cannot_be_kept(tmp_path: Path) -> None:
    asked: list[str] = []

    def handler(request: httpx.Request) -> httpx.Response:
        asked.append(request.url.path)
        return GOOD(request)

    (tmp_path / "taken").write_text("a file where the folder should be")
    polled = Fetcher(
        Limited("https://api.example"),
        run_id=RUN,
        clock=VirtualClock(NOON),
        transport=httpx.MockTransport(handler),
        storage=Store(),
        seed=3,
        settings=FetcherSettings(state_path=tmp_path / "taken" / "elexon.json"),
    )
    with pytest.raises(StorageUnavailable, match="cannot be written"):
        await polled.poll(NOON)
    assert asked == []


async def test_a_process_that_dies_while_it_waits_leaves_the_source_alone_all_the_same(
    tmp_path: Path,
) -> None:
    class Died(BaseException):
        pass

    class Mortal(VirtualClock):
        async def sleep(self, seconds: float) -> None:
            await super().sleep(seconds / 4)
            raise Died

    asked: list[datetime] = []

    def busy(request: httpx.Request) -> httpx.Response:
        asked.append(clock.now())
        return httpx.Response(429, headers={"Retry-After": "20"})

    state = tmp_path / "elexon.json"
    clock: VirtualClock = Mortal(NOON)
    with pytest.raises(Died):
        await fetcher(busy, Store(), clock=clock, state_path=state).poll(NOON)
    # It died 5 s after it was told to wait 20.
    clock = VirtualClock(NOON + timedelta(seconds=5))
    reborn = fetcher(failing_until(NOON, clock), Store(), clock=clock, state_path=state)
    report = await reborn.poll(NOON + timedelta(seconds=5))
    assert report.requests == 2
    assert clock.now() == NOON + timedelta(seconds=20)


async def test_a_failure_that_could_not_be_tried_again_in_time_is_one() -> None:
    class Limited(ToyPlan):
        rates: ClassVar[dict[str, Rate]] = {"all": Rate(31.0)}

        def bucket(self, feed: Feed, request: Request) -> str | None:
            return "all"

    store = Store()
    polled = Fetcher(
        Limited("https://api.example"),
        run_id=RUN,
        clock=VirtualClock(NOON),
        transport=httpx.MockTransport(lambda _: httpx.Response(503)),
        storage=store,
        seed=3,
        settings=FetcherSettings(interval_s=30),
    )
    report = await polled.poll(NOON)
    # The limit allows the next request after 31 s; the poll may take 24 s.
    assert [(one.feed, one.outcome.value, one.attempts) for one in report.asked] == [
        ("a", "unavailable", 1)
    ]
    assert polled._state.feeds["a"].failures == 1
