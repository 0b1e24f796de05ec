"""Past days: which requests, how many days each, and what of the answers belongs to them."""

from __future__ import annotations

import json
from collections.abc import Callable
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Any

import httpx
import pytest

from fetchers.capture import open_capture
from fetchers.history import Days, HistoryFeed, stretches
from fetchers.history_reader import HISTORIES, HistoryReader, history_of
from fetchers.neso.history import AUCTIONS, DEMAND, MIX, RECENT_DEMAND
from fetchers.retry import RetryPolicy
from schema.clock import VirtualClock
from schema.errors import InputError, SourceUnavailable
from schema.rows import Row

PAYLOADS = Path(__file__).resolve().parents[2] / "payloads"
NOW = datetime(2031, 3, 10, 12, tzinfo=UTC)
Answer = Callable[[httpx.Request], httpx.Response]


def feed(longest: int, *, within_year: bool = False) -> HistoryFeed:
    return HistoryFeed("f", longest, lambda *_: None, within_year=within_year)  # type: ignore[arg-type, return-value]


def reader(source: str, answer: Answer, clock: VirtualClock | None = None) -> HistoryReader:
    return HistoryReader(
        history_of(source, "https://api.example"),
        clock=clock or VirtualClock(NOW),
        transport=httpx.MockTransport(answer),
        incarnation="test",
        retry=RetryPolicy(attempts=1),
    )


def feed_named(source: str, name: str) -> HistoryFeed:
    return next(found for found in HISTORIES[source].feeds if found.name == name)  # type: ignore[index]


def starts(rows: tuple[Row, ...]) -> list[Any]:
    return sorted({getattr(row, "valid_from", None) or row.starts_at for row in rows})  # type: ignore[attr-defined]


# -- stretches -------------------------------------------------------------------------------


def test_days_are_put_together_up_to_the_feeds_limit_and_not_over_holes() -> None:
    days = [date(2031, 1, n) for n in (1, 2, 3, 4, 7, 8)]
    assert stretches(feed(3), days) == [
        Days(date(2031, 1, 1), date(2031, 1, 3)),
        Days(date(2031, 1, 4), date(2031, 1, 4)),
        Days(date(2031, 1, 7), date(2031, 1, 8)),
    ]
    assert stretches(feed(3), []) == []


def test_a_file_a_year_is_asked_by_the_year() -> None:
    days = Days(date(2030, 12, 30), date(2031, 1, 2)).each()
    assert stretches(feed(366, within_year=True), days) == [
        Days(date(2030, 12, 30), date(2030, 12, 31)),
        Days(date(2031, 1, 1), date(2031, 1, 2)),
    ]


def test_a_settlement_day_is_a_day_of_the_london_clock() -> None:
    summer = Days(date(2031, 7, 1), date(2031, 7, 1))
    assert (summer.start, summer.end) == (
        datetime(2031, 6, 30, 23, tzinfo=UTC),
        datetime(2031, 7, 1, 23, tzinfo=UTC),
    )
    # 26 October 2031 has 25 hours.
    autumn = Days(date(2031, 10, 26), date(2031, 10, 26))
    assert autumn.end - autumn.start == timedelta(hours=25)


@pytest.mark.parametrize("source", HISTORIES)
def test_the_longest_stretch_is_within_the_sources_limit_on_every_day_of_a_year(
    source: str,
) -> None:
    # The builders refuse a range that is too long; a day of 25 hours makes one longer.
    plan = history_of(source, "https://api.example")
    for found in plan.feeds:
        for n in range(365):
            first = date(2031, 1, 1) + timedelta(days=n)
            last = first + timedelta(days=found.longest - 1)
            assert len(plan.requests(found, Days(first, last))) == 1


def test_a_source_without_a_past_is_named_with_those_that_have_one() -> None:
    with pytest.raises(InputError, match=r"'beckn' tells nothing.*carbon_intensity, neso, elexon"):
        history_of("beckn", "https://api.example")


# -- answers ---------------------------------------------------------------------------------


def national(first: datetime, count: int) -> dict[str, Any]:
    def at(n: int) -> str:
        return (first + timedelta(minutes=30 * n)).strftime("%Y-%m-%dT%H:%MZ")

    return {
        "data": [
            {
                "from": at(n),
                "to": at(n + 1),
                "intensity": {"forecast": 100 + n, "actual": 90 + n, "index": "low"},
            }
            for n in range(count)
        ]
    }


async def test_the_half_hour_before_a_range_is_left_to_the_stretch_it_belongs_to() -> None:
    # Asked exactly on a boundary the source answers one half hour more, at the front.
    day = datetime(2031, 2, 3, tzinfo=UTC)
    asked: list[str] = []

    def answer(request: httpx.Request) -> httpx.Response:
        asked.append(request.url.path)
        return httpx.Response(200, json=national(day - timedelta(minutes=30), 49))

    read = reader("carbon_intensity", answer)
    past = await read.read(
        feed_named("carbon_intensity", "intensity"), Days(date(2031, 2, 3), date(2031, 2, 3))
    )
    assert asked == ["/intensity/2031-02-03T00:00Z/2031-02-04T00:00Z"]
    assert (len(past.rows), starts(past.rows)[0], past.requests) == (48, day, 1)
    (logged,) = read.take_log()
    assert (logged.endpoint, logged.rows_parsed) == ("intensity-range", 49)
    assert read.take_log() == []


async def test_a_stretch_of_which_the_source_has_nothing_gives_no_row() -> None:
    read = reader("elexon", lambda _: httpx.Response(200, json={"data": []}))
    past = await read.read(
        feed_named("elexon", "market-index"), Days(date(2031, 2, 3), date(2031, 2, 8))
    )
    assert (past.rows, past.requests) == ((), 1)


async def test_regional_demand_is_estimated_from_past_outturn_too() -> None:
    body = open_capture(
        (PAYLOADS / "elexon" / "demand_outturn.json").read_bytes(), "demand_outturn.json"
    ).body
    read = reader("elexon", lambda _: httpx.Response(200, content=body))
    past = await read.read(
        feed_named("elexon", "demand-outturn"), Days(date(2031, 2, 3), date(2031, 2, 3))
    )
    tables = {row.TABLE for row in past.rows}
    assert tables == {"demand_actual_national", "demand_regional"}


async def test_a_source_that_fails_says_so_and_nothing_is_half_read() -> None:
    read = reader("elexon", lambda _: httpx.Response(503))
    with pytest.raises(SourceUnavailable, match="answered 503"):
        await read.read(feed_named("elexon", "fuelhh"), Days(date(2031, 2, 3), date(2031, 2, 8)))
    assert [row.outcome.value for row in read.take_log()] == ["unavailable"]


# -- NESO ------------------------------------------------------------------------------------


def test_each_day_of_demand_comes_from_one_file() -> None:
    plan = history_of("neso", "https://api.example")
    today = date(2031, 3, 10)
    # The running file begins with the first of last month.
    for day, file in (
        (date(2031, 1, 31), DEMAND),
        (date(2031, 2, 1), RECENT_DEMAND),
        (today, RECENT_DEMAND),
    ):
        holding = [one for one in (DEMAND, RECENT_DEMAND) if plan.holds(one, day, today)]
        assert holding == [file]
    assert not any(plan.holds(one, date(2031, 3, 11), today) for one in plan.feeds)
    # The auctions' file holds the financial year, which began on 1 April 2030.
    assert plan.holds(AUCTIONS, date(2030, 4, 1), today)
    assert not plan.holds(AUCTIONS, date(2030, 3, 31), today)


async def test_a_year_of_demand_is_found_by_the_name_of_its_file_and_asked_politely() -> None:
    sent: list[tuple[datetime, str, dict[str, str]]] = []
    clock = VirtualClock(NOW)
    package = {
        "success": True,
        "result": {
            "resources": [
                {"id": "old", "name": "Historic Demand Data 2029"},
                {"id": "right", "name": "Historic Demand Data 2030"},
            ]
        },
    }
    records = [
        {"SETTLEMENT_DATE": "2030-05-01", "SETTLEMENT_PERIOD": n, "ND": 20_000 + n, "TSD": 22_000}
        for n in range(1, 49)
    ]
    data = {"success": True, "result": {"records": records, "fields": []}}

    def answer(request: httpx.Request) -> httpx.Response:
        params = dict(request.url.params)
        sent.append((clock.now(), request.url.path, params))
        return httpx.Response(200, json=package if "package_show" in request.url.path else data)

    read = reader("neso", answer, clock)
    for _ in range(2):
        past = await read.read(DEMAND, Days(date(2030, 5, 1), date(2030, 5, 1)))
        assert len([row for row in past.rows if row.TABLE == "demand_actual_national"]) == 48
    paths = [path.rpartition("/")[2] for _, path, _ in sent]
    assert paths == ["package_show", "datastore_search"] * 2
    assert {params["resource_id"] for _, path, params in sent if "datastore" in path} == {"right"}
    asked = [at for at, path, _ in sent if "datastore" in path]
    # Two data requests a minute are allowed; one in 31 seconds is made.
    assert asked[1] - asked[0] == timedelta(seconds=31)


async def test_a_year_without_a_file_is_named() -> None:
    read = reader(
        "neso", lambda _: httpx.Response(200, json={"success": True, "result": {"resources": []}})
    )
    with pytest.raises(Exception, match="Historic Demand Data 1999"):
        await read.read(DEMAND, Days(date(1999, 5, 1), date(1999, 5, 1)))


async def test_the_mix_is_asked_by_utc_times_and_named_columns() -> None:
    asked: list[str] = []
    rows = (PAYLOADS / "neso" / "historic_generation_mix.csv").read_text().splitlines()
    names, values = rows[0].split(","), rows[1].split(",")
    record = {**dict(zip(names, values, strict=True)), "DATETIME": "2031-02-03T01:00:00"}

    def answer(request: httpx.Request) -> httpx.Response:
        asked.append(request.url.params["sql"])
        return httpx.Response(
            200, json=json.loads(json.dumps({"success": True, "result": {"records": [record]}}))
        )

    read = reader("neso", answer)
    past = await read.read(MIX, Days(date(2031, 2, 3), date(2031, 2, 3)))
    assert starts(past.rows) == [datetime(2031, 2, 3, 1, tzinfo=UTC)]
    (sql,) = asked
    assert "\"DATETIME\" >= '2031-02-03T00:00:00' AND \"DATETIME\" < '2031-02-04T00:00:00'" in sql
    assert '"GAS", ' in sql
    assert '"GAS_perc"' in sql
