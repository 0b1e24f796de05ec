"""What each source is asked, and what follows from its answers."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from datetime import UTC, date, datetime, timedelta
from itertools import pairwise
from pathlib import Path
from typing import Any

import httpx
import orjson
import pytest

from fetchers.elexon.regional_demand import SHARE_PCT, estimate_regional_demand
from fetchers.elexon.revisions import days_to_ask_again
from fetchers.factory import make_fetcher
from fetchers.plan import FeedState
from schema.clock import VirtualClock
from schema.periods import parse_instant
from schema.readings import Quality
from schema.rows import (
    DemandActualNationalRow,
    DemandForecastNationalRow,
    DemandRegionalRow,
    Record,
)
from storage.ports import PutAck

NOON = datetime(2031, 2, 3, 12, tzinfo=UTC)
HALF = timedelta(minutes=30)
RUN = "00000000-0000-0000-0000-00000000000a"
DEAD = httpx.Response(503, text="down")


class Store:
    def __init__(self) -> None:
        self.records: list[Record] = []

    async def put(self, records: Sequence[Record]) -> PutAck:
        self.records.extend(records)
        return PutAck(len(records), 0)

    def of(self, table: str) -> list[dict[str, Any]]:
        return [record.columns() for record in self.records if record.table == table]


class Upstream:
    """Answers by path and notes what was asked, and when on the virtual clock."""

    def __init__(self, answer: Callable[[httpx.Request], httpx.Response]) -> None:
        self.clock = VirtualClock(NOON)
        self.asked: list[tuple[datetime, str]] = []
        self._answer = answer

    def __call__(self, request: httpx.Request) -> httpx.Response:
        self.asked.append((self.clock.now(), request.url.raw_path.decode()))
        return self._answer(request)

    def fetcher(
        self, source: str, store: Store, state: Path | None = None, interval_s: float = 1800
    ) -> Any:
        return make_fetcher(
            source,
            base_url="https://api.example/v1",
            run_id=RUN,
            clock=self.clock,
            storage=store,
            seed=3,
            transport=httpx.MockTransport(self),
            interval_s=interval_s,
            state_folder=state,
        )


def least_gap(moments: list[datetime]) -> timedelta:
    return min(later - earlier for earlier, later in pairwise(moments))


def catalogue(changed: str, name: str = "x") -> httpx.Response:
    result = {"id": "r", "name": name, "last_modified": changed}
    return httpx.Response(200, json={"success": True, "result": result})


NO_ROWS = httpx.Response(
    200, json={"success": True, "result": {"fields": [], "records": [], "total": 0}}
)


async def test_neso_files_are_read_only_when_they_changed() -> None:
    changed = {"at": "2031-02-03T09:00:00"}

    def answer(request: httpx.Request) -> httpx.Response:
        if request.url.path.endswith("resource_show"):
            return catalogue(changed["at"])
        return NO_ROWS

    upstream, store = Upstream(answer), Store()
    neso = upstream.fetcher("neso", store)
    await neso.poll(NOON)
    assert sum("datastore_search" in path for _, path in upstream.asked) == 9
    upstream.asked.clear()
    report = await neso.poll(NOON + HALF)
    assert (report.requests, upstream.asked) == (0, [])
    report = await neso.poll(NOON + 2 * HALF)
    assert report.requests == 9
    assert not any("datastore" in path for _, path in upstream.asked)
    changed["at"] = "2031-02-03T13:30:00"
    upstream.asked.clear()
    await neso.poll(NOON + 4 * HALF)
    assert sum("datastore_search" in path for _, path in upstream.asked) == 9


async def test_nesos_limits_hold_within_a_poll_and_across_a_restart(tmp_path: Path) -> None:
    def answer(request: httpx.Request) -> httpx.Response:
        return catalogue("2031-02-03T09:00:00") if "resource" in request.url.path else NO_ROWS

    upstream = Upstream(answer)
    await upstream.fetcher("neso", Store(), tmp_path).poll(NOON)
    # A crash loop: the plan is lost, the rate limits are not.
    for _ in range(3):
        state = tmp_path / "neso.json"
        kept = orjson.loads(state.read_bytes())
        state.write_bytes(orjson.dumps({**kept, "feeds": {}, "last": None}))
        await upstream.fetcher("neso", Store(), tmp_path).poll(upstream.clock.now())
    data = [at for at, path in upstream.asked if "datastore" in path]
    others = [at for at, path in upstream.asked if "datastore" not in path]
    assert len(data) == 36
    assert least_gap(data) >= timedelta(seconds=30)
    assert least_gap(others) >= timedelta(seconds=1)


async def test_a_resource_that_rolled_over_is_found_by_its_name() -> None:
    def answer(request: httpx.Request) -> httpx.Response:
        wanted = request.url.params.get("id", "")
        if request.url.path.endswith("package_show"):
            resources = [
                {"id": "archive", "name": "DFS Utilisation Report (Archive 2030)"},
                {"id": "fresh", "name": "DFS Utilisation Report"},
                {"id": "fresh-2", "name": "DFS Utilisation Report Summary"},
            ]
            return httpx.Response(200, json={"success": True, "result": {"resources": resources}})
        if request.url.path.endswith("resource_show"):
            flexibility = wanted in {
                "3ebf77d7-05df-466e-a023-dc45a90efeea",
                "705e573c-ddac-4675-b410-82916b35c4fe",
            }
            if flexibility:
                error = {"message": "Not found", "__type": "Not Found Error"}
                return httpx.Response(404, json={"success": False, "error": error})
            return catalogue("2031-02-03T09:00:00")
        return NO_ROWS

    upstream, store = Upstream(answer), Store()
    neso = upstream.fetcher("neso", store)
    report = await neso.poll(NOON)
    assert {asked.outcome.value for asked in report.asked} == {"ok"}
    read = [path for _, path in upstream.asked if "datastore_search" in path]
    assert any("resource_id=fresh&" in path for path in read)
    assert any("resource_id=fresh-2&" in path for path in read)
    # Next time the new id is known.
    upstream.asked.clear()
    await neso.poll(NOON + 2 * HALF)
    assert not any("package_show" in path for _, path in upstream.asked)


async def test_a_changed_file_that_waits_for_its_turn_is_not_asked_about_again() -> None:
    def answer(request: httpx.Request) -> httpx.Response:
        return catalogue("2031-02-03T09:00:00") if "resource" in request.url.path else NO_ROWS

    upstream = Upstream(answer)
    neso = upstream.fetcher("neso", Store(), interval_s=60)
    for minute in range(10):
        await neso.poll(NOON + timedelta(minutes=minute))
    files = [path for _, path in upstream.asked if "datastore_search" in path]
    checks = [path for _, path in upstream.asked if "resource_show" in path]
    assert (len(files), len(checks)) == (9, 9)


def intensity(asked: httpx.Request, now: datetime) -> httpx.Response:
    """Give one half hour of whatever was asked for."""

    def minute(at: datetime) -> str:
        return at.strftime("%Y-%m-%dT%H:%MZ")

    path = asked.url.path.removeprefix("/v1")
    period: dict[str, Any] = {"from": minute(now), "to": minute(now + HALF)}
    figures = {"forecast": 100, "actual": None, "index": "low"}
    mix = [{"fuel": "wind", "perc": 100}]
    if path.startswith("/generation"):
        return httpx.Response(200, json={"data": {**period, "generationmix": mix}})
    if path.startswith("/regional"):
        regions = [
            {
                "regionid": number,
                "shortname": "x",
                "intensity": {"forecast": 50, "index": "low"},
                "generationmix": mix,
            }
            for number in range(1, 15)
        ]
        return httpx.Response(200, json={"data": [{**period, "regions": regions}]})
    return httpx.Response(200, json={"data": [{**period, "intensity": figures}]})


async def test_an_outage_of_carbon_intensity_is_bridged_and_said_so() -> None:
    alive = {"from": NOON + 5 * HALF, "to": NOON + 6 * HALF}

    def answer(request: httpx.Request) -> httpx.Response:
        now = upstream.clock.now()
        if alive["from"] <= now < alive["to"]:
            floor = now.replace(minute=now.minute // 30 * 30, second=0, microsecond=0)
            return intensity(request, floor)
        return httpx.Response(503, text="down")

    upstream, store = Upstream(answer), Store()
    source = upstream.fetcher("carbon_intensity", store)
    # Never an answer: everything is made up at once.
    first = await source.poll(NOON)
    assert (first.rows, first.fallbacks) == (96 * 15, 96 * 15)
    rows = store.of("carbon_intensity_national")
    assert {(row["quality"], row["seed"]) for row in rows} == {("synthetic", 3)}
    assert "carbon_intensity is out" in rows[0]["reason"]
    assert [log["fallback"] for log in store.of("api_logs")].count(True) == 1
    # A half hour later only the new end of the horizon is made up.
    assert (await source.poll(NOON + HALF)).fallbacks == 15
    # Back at 14:30: published rows, nothing synthetic.
    for tick in (2, 3, 4):
        await source.poll(NOON + tick * HALF)
    back = await source.poll(NOON + 5 * HALF)
    assert (back.fallbacks, back.rows > 0) == (0, True)
    published = [
        row for row in store.of("carbon_intensity_regional") if row["quality"] == "published"
    ]
    assert len(published) == 14
    synthetic_ids = {row["id"] for row in rows}
    assert not synthetic_ids & {row["id"] for row in published}
    # Out again: silent for less than two hours, so the last forecast stands; then bridged.
    counts = [(await source.poll(NOON + tick * HALF)).fallbacks for tick in range(6, 11)]
    assert counts[:4] == [0, 0, 0, 0]
    assert counts[4] > 0


async def test_an_outage_of_elexon_makes_up_past_prices_only() -> None:
    upstream, store = Upstream(lambda _: DEAD), Store()
    report = await upstream.fetcher("elexon", store).poll(NOON)
    assert report.fallbacks == 7 * 48
    prices = store.of("wholesale_prices")
    assert {row["market"] for row in prices} == {"APXMIDP"}
    assert max(parse_instant(row["valid_to"]) for row in prices) == NOON


async def test_neso_and_beckn_are_never_made_up() -> None:
    for source in ("neso", "beckn"):
        report = await Upstream(lambda _: DEAD).fetcher(source, Store()).poll(NOON)
        assert (report.rows, report.fallbacks) == (0, 0)


async def test_the_first_poll_of_prices_reaches_a_week_back_and_later_ones_some_hours() -> None:
    upstream = Upstream(lambda _: httpx.Response(200, json={"data": [MID]}))
    elexon = upstream.fetcher("elexon", Store())
    await elexon.poll(NOON)
    await elexon.poll(NOON + HALF)
    asked = [path for _, path in upstream.asked if "market-index" in path]
    assert "from=2031-01-27T12%3A00%3A00Z&to=2031-02-03T12%3A00%3A00Z" in asked[0]
    # 6 hours before the last answer
    assert "from=2031-02-03T06%3A00%3A00Z&to=2031-02-03T12%3A30%3A00Z" in asked[1]


async def test_after_a_gap_the_past_is_asked_for_too() -> None:
    """The program was off from noon to 15:10, and then until the same time eleven days later."""
    upstream = Upstream(lambda request: intensity(request, upstream.clock.now()))
    source = upstream.fetcher("carbon_intensity", Store())
    await source.poll(NOON)
    paths = {path.removeprefix("/v1") for _, path in upstream.asked}
    assert paths == {
        "/intensity/2031-02-03T12:00Z/fw48h",
        "/intensity/2031-02-03T12:00Z/pt24h",
        "/generation",
        "/regional/intensity/2031-02-03T12:00Z/fw48h",
    }
    upstream.asked.clear()
    await source.poll(NOON + timedelta(hours=3))
    paths = {path.removeprefix("/v1") for _, path in upstream.asked}
    assert paths == {
        "/intensity/2031-02-03T15:00Z/fw48h",
        "/intensity/2031-02-03T15:00Z/pt24h",
        "/generation/2031-02-03T15:00Z/pt24h",
        "/regional/intensity/2031-02-03T15:00Z/fw48h",
        "/regional/intensity/2031-02-03T15:00Z/pt24h",
    }
    upstream.asked.clear()
    await source.poll(NOON + timedelta(days=11, hours=3))
    paths = {path.removeprefix("/v1") for _, path in upstream.asked}
    assert "/intensity/2031-02-03T15:00Z/2031-02-14T15:00Z" in paths
    assert "/generation/2031-02-03T15:00Z/2031-02-14T15:00Z" in paths
    upstream.asked.clear()
    await source.poll(NOON + timedelta(days=60))
    # Not more than the API gives in one reply: 14 days less half an hour before 4 April, noon.
    assert any(
        "/intensity/2031-03-21T12:30Z/2031-04-04T12:00Z" in path for _, path in upstream.asked
    )


async def test_after_a_gap_outturn_and_fuels_are_asked_from_the_last_answer_on() -> None:
    upstream = Upstream(lambda _: httpx.Response(200, json={"data": [MID]}))
    elexon = upstream.fetcher("elexon", Store())
    elexon._state.feeds = {
        name: FeedState(last_ok=NOON - timedelta(days=days))
        for name, days in (("demand-outturn", 3), ("fuelhh", 40))
    }
    await elexon.poll(NOON)
    asked = [path for _, path in upstream.asked]
    assert any("/demand/outturn?settlementDateFrom=2031-01-31&" in path for path in asked)
    # 7 settlement days are the longest range: 28 January to 3 February.
    assert any("/FUELHH/stream?settlementDateFrom=2031-01-28&" in path for path in asked)


async def test_past_days_are_asked_again_for_the_prices_of_later_settlement_runs() -> None:
    upstream, store = Upstream(settled), Store()
    elexon = upstream.fetcher("elexon", store)
    elexon.plan.restore({"since": "2030-12-01"})
    await elexon.poll(NOON)
    days = {path.rsplit("/", 1)[-1] for _, path in upstream.asked if "system-prices" in path}
    # Today and yesterday, 2 to 9 days back, and 28 and 61 days back: 6 January, 4 December.
    assert days == {f"2031-02-{day:02}" for day in (1, 2, 3)} | {
        f"2031-01-{day:02}" for day in (25, 26, 27, 28, 29, 30, 31)
    } | {"2031-01-06", "2030-12-04"}
    # A day without prices does not keep the later ones out.
    assert {row["valid_from"][:10] for row in store.of("wholesale_prices")} >= {"2030-12-04"}


def settled(request: httpx.Request) -> httpx.Response:
    """Give the first half hour of a settlement day; the 26th of January has none."""
    if "system-prices" not in request.url.path:
        return httpx.Response(200, json={"data": [MID]})
    day = request.url.path.rsplit("/", 1)[-1]
    row = {
        "settlementDate": day,
        "settlementPeriod": 1,
        "startTime": f"{day}T00:00:00Z",
        "createdDateTime": "2031-02-03T08:00:00Z",
        "systemSellPrice": 50,
        "systemBuyPrice": 50,
    }
    return httpx.Response(200, json={"data": [] if day == "2031-01-26" else [row]})


def test_days_of_settlement_runs_are_asked_once_and_made_up_for() -> None:
    today, since = date(2031, 2, 28), date(2030, 1, 1)
    daily = [date(2031, 2, day) for day in (26, 25, 24, 23, 22, 21, 20, 19)]
    # 28, 61, 125 and 226 days back; 426 days back lies before.
    runs = [date(2031, 1, 31), date(2030, 12, 29), date(2030, 10, 26), date(2030, 7, 17)]
    assert days_to_ask_again(today, since=since, last=date(2031, 2, 27)) == (*daily, *runs)
    assert days_to_ask_again(today, since=since, last=None) == (*daily, *runs)
    # Two turns missed: the days that were 28 days back then are asked now.
    late = days_to_ask_again(today, since=since, last=date(2031, 2, 25))
    assert {date(2031, 1, 31), date(2031, 1, 30), date(2031, 1, 29)} <= set(late)
    assert date(2031, 1, 28) not in late
    assert days_to_ask_again(today, since=date(2031, 2, 25), last=None) == tuple(daily[:2])


def test_every_day_is_asked_again_after_each_later_run() -> None:
    asked: Counter[date] = Counter()
    start, last = date(2030, 1, 1), None
    for count in range(500):
        today = start + timedelta(days=count)
        if count % 5 != 3:  # off every fifth day
            asked.update(days_to_ask_again(today, since=start, last=last))
            last = today
    # Day 10 saw at least six of its eight daily turns, and all five later ones.
    assert asked[start + timedelta(days=10)] >= 11


MID = {
    "startTime": "2031-02-03T11:00:00Z",
    "dataProvider": "APXMIDP",
    "settlementDate": "2031-02-03",
    "settlementPeriod": 23,
    "price": 50,
    "volume": 100,
}


def test_shares_of_regional_demand_add_up_to_the_whole() -> None:
    assert sorted(SHARE_PCT) == list(range(1, 15))
    assert sum(SHARE_PCT.values()) == pytest.approx(100.0)


def test_regional_demand_is_a_share_of_the_national_figure_and_says_so() -> None:
    outturn = DemandActualNationalRow(
        source="elexon", valid_from=NOON, valid_to=NOON + HALF, national_demand_mw=30_000
    )
    rows = estimate_regional_demand([outturn])
    assert len(rows) == 14
    london = next(row for row in rows if isinstance(row, DemandRegionalRow) and row.region_id == 13)
    # 30,000 MW x 9.0 %
    assert (london.demand_mw, london.quality, london.area) == (
        2700.0,
        Quality.ESTIMATED,
        "region-13",
    )
    assert "outturn x 9.0 %" in (london.method or "")


async def test_a_range_that_is_refused_is_asked_day_by_day() -> None:
    """No document says how long a range may be; one that is too long is answered with 400."""

    def answer(request: httpx.Request) -> httpx.Response:
        params = request.url.params
        if "market-index" in request.url.path:
            start, end = parse_instant(params["from"]), parse_instant(params["to"])
            too_long = end - start > timedelta(days=1)
        else:
            too_long = params.get("settlementDateFrom") != params.get("settlementDateTo")
        problem = {"title": "One or more validation errors occurred.", "status": 400}
        if too_long:
            return httpx.Response(400, json=problem)
        row = MID | {"initialDemandOutturn": 30_000, "fuelType": "WIND", "generation": 1}
        return httpx.Response(200, json={"data": [row]})

    upstream, store = Upstream(answer), Store()
    elexon = upstream.fetcher("elexon", store)
    report = await elexon.poll(NOON)
    read = {asked.feed: asked.outcome.value for asked in report.asked}
    assert read["market-index"] == "ok"
    asked = [path for _, path in upstream.asked if "market-index" in path]
    # Seven days at once, then each of them; both ends are included in the reply.
    assert len(asked) == 1 + 7
    assert "from=2031-01-27T12%3A00%3A00Z&to=2031-01-28T12%3A00%3A00Z" in asked[1]
    assert "from=2031-02-02T12%3A00%3A00Z&to=2031-02-03T12%3A00%3A00Z" in asked[7]
    outturn = [path for _, path in upstream.asked if "/demand/outturn" in path]
    assert [path.partition("?")[2] for path in outturn] == [
        "settlementDateFrom=2031-02-02&settlementDateTo=2031-02-03",
        "settlementDateFrom=2031-02-02&settlementDateTo=2031-02-02",
        "settlementDateFrom=2031-02-03&settlementDateTo=2031-02-03",
    ]


async def test_a_day_that_is_refused_is_refused() -> None:
    upstream, store = Upstream(lambda _: httpx.Response(400, json={"title": "no"})), Store()
    report = await upstream.fetcher("elexon", store).poll(NOON)
    assert {asked.outcome.value for asked in report.asked} == {"rejected"}
    # The whole and the first day; no further.
    assert sum("market-index" in path for _, path in upstream.asked) == 2


def test_an_outturn_goes_before_a_forecast_of_the_same_half_hour() -> None:
    span = {"valid_from": NOON, "valid_to": NOON + HALF}
    forecast = DemandForecastNationalRow(
        source="elexon", product="day-ahead", demand_mw=20_000, version=5, **span
    )
    outturn = DemandActualNationalRow(source="elexon", national_demand_mw=30_000, **span)
    other = DemandForecastNationalRow(
        source="neso", product="embedded-wind", demand_mw=4_000, **span
    )
    for order in ([forecast, outturn, other], [outturn, forecast, other]):
        rows = [
            row for row in estimate_regional_demand(order) if isinstance(row, DemandRegionalRow)
        ]
        assert len(rows) == 14
        assert all("outturn" in (row.method or "") for row in rows)
