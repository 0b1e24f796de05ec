"""The wire forms of Carbon Intensity, Elexon and NESO, checked against their documentation."""

from __future__ import annotations

import csv
import io
from datetime import UTC, datetime, timedelta
from typing import Any

import orjson
import pytest

from scenarios.scenario import Scenario
from scenarios.wire.carbon_intensity import CarbonIntensityWire, index_word
from scenarios.wire.elexon import ElexonWire
from scenarios.wire.neso import NesoWire
from scenarios.wire.neso_files import FILES
from scenarios.wire.reply import Reply

_NOW = datetime(2026, 2, 3, 18, tzinfo=UTC)
_OFF = datetime(2026, 2, 3, 18, 11, tzinfo=UTC)


def _json(reply: Reply, status: int = 200) -> Any:
    assert reply.status == status, reply.body[:300]
    return orjson.loads(reply.body)


# -- Carbon Intensity ---------------------------------------------------------------------------


@pytest.fixture
def carbon(windy: Scenario) -> CarbonIntensityWire:
    return CarbonIntensityWire(windy)


@pytest.mark.parametrize(
    ("span", "now", "first", "last", "count"),
    [
        # Recorded: 96 rows for fw48h, 97 when asked on a boundary; 48 and 49 for pt24h.
        ("fw48h", _OFF, "2026-02-03T18:00Z", "2026-02-05T18:00Z", 96),
        ("fw48h", _NOW, "2026-02-03T17:30Z", "2026-02-05T18:00Z", 97),
        ("fw24h", _OFF, "2026-02-03T18:00Z", "2026-02-04T18:00Z", 48),
        ("pt24h", _OFF, "2026-02-02T18:00Z", "2026-02-03T18:00Z", 48),
        ("pt24h", _NOW, "2026-02-02T17:30Z", "2026-02-03T18:00Z", 49),
    ],
)
def test_spans_have_the_recorded_rows(
    carbon: CarbonIntensityWire, span: str, now: datetime, first: str, last: str, count: int
) -> None:
    rows = _json(carbon.answer(f"/intensity/{now:%Y-%m-%dT%H:%MZ}/{span}", now))["data"]
    assert len(rows) == count
    assert rows[0]["from"] == first
    assert rows[-1]["to"] == last
    periods = _json(carbon.answer(f"/regional/intensity/{now:%Y-%m-%dT%H:%MZ}/{span}", now))
    assert [p["from"] for p in periods["data"]] == [row["from"] for row in rows]


def test_a_range_to_2359_lacks_the_last_half_hour(carbon: CarbonIntensityWire) -> None:
    path = "/intensity/2026-02-02T00:00Z/2026-02-02T23:59Z"
    rows = _json(carbon.answer(path, _NOW))["data"]
    assert rows[0]["from"] == "2026-02-01T23:30Z"
    assert rows[-1]["to"] == "2026-02-02T23:30Z"


def test_a_national_row_has_the_sources_keys_and_a_null_actual_ahead(
    carbon: CarbonIntensityWire,
) -> None:
    row = _json(carbon.answer("/intensity/2026-02-03T18:11Z/fw24h", _OFF))["data"][0]
    assert list(row) == ["from", "to", "intensity"]
    assert list(row["intensity"]) == ["forecast", "actual", "index"]
    assert type(row["intensity"]["forecast"]) is int
    assert row["intensity"]["actual"] is None


def test_the_newest_past_row_lacks_its_actual_on_the_boundary(
    carbon: CarbonIntensityWire,
) -> None:
    rows = _json(carbon.answer("/intensity/2026-02-03T18:00Z/pt24h", _NOW))["data"]
    assert rows[-1]["intensity"]["actual"] is None
    assert all(type(row["intensity"]["actual"]) is int for row in rows[:-1])
    # Eleven minutes later it is there.
    rows = _json(carbon.answer("/intensity/2026-02-03T18:11Z/pt24h", _OFF))["data"]
    assert type(rows[-1]["intensity"]["actual"]) is int


def test_intensity_and_generation_answer_with_the_half_hour_last_completed(
    carbon: CarbonIntensityWire,
) -> None:
    (row,) = _json(carbon.answer("/intensity", _OFF))["data"]
    assert (row["from"], row["to"]) == ("2026-02-03T17:30Z", "2026-02-03T18:00Z")
    mix = _json(carbon.answer("/generation", _OFF))["data"]
    assert isinstance(mix, dict)
    assert mix["from"] == "2026-02-03T17:30Z"
    fuels = [part["fuel"] for part in mix["generationmix"]]
    assert sorted(fuels) == sorted(
        ["biomass", "coal", "imports", "gas", "nuclear", "other", "hydro", "solar", "wind"]
    )
    assert sum(part["perc"] for part in mix["generationmix"]) == pytest.approx(100, abs=0.4)


def test_the_four_regional_envelopes_differ_as_recorded(carbon: CarbonIntensityWire) -> None:
    at = "2026-02-03T18:11Z"
    periods = _json(carbon.answer(f"/regional/intensity/{at}/fw24h", _OFF))["data"]
    assert [r["regionid"] for r in periods[0]["regions"]] == list(range(1, 19))
    assert list(periods[0]["regions"][0]["intensity"]) == ["forecast", "index"]
    listed = _json(carbon.answer("/regional/regionid/13", _OFF))["data"]
    assert len(listed) == 1
    assert listed[0]["shortname"] == "London"
    bare = _json(carbon.answer(f"/regional/intensity/{at}/fw24h/regionid/13", _OFF))["data"]
    assert bare["dnoregion"] == "UKPN London"
    assert len(bare["data"]) == 48
    postcode = _json(carbon.answer(f"/regional/intensity/{at}/fw24h/postcode/RG10", _OFF))
    assert "dnoregion" not in postcode["data"]
    assert postcode["data"]["postcode"] == "RG10"
    assert _json(carbon.answer("/regional/scotland", _OFF))["data"][0]["regionid"] == 16


def test_aggregates_lie_between_their_members(carbon: CarbonIntensityWire) -> None:
    (period,) = _json(carbon.answer("/regional", _OFF))["data"]
    value = {r["regionid"]: r["intensity"]["forecast"] for r in period["regions"]}
    assert min(value[1], value[2]) <= value[16] <= max(value[1], value[2])
    assert min(value[6], value[7]) <= value[17] <= max(value[6], value[7])


def test_a_local_summer_day_starts_at_2300_the_day_before(rush: Scenario) -> None:
    wire = CarbonIntensityWire(rush)
    rows = _json(wire.answer("/intensity/date/2026-06-16", rush.start))["data"]
    assert rows[0]["from"] == "2026-06-15T23:00Z"
    assert len(rows) == 48


def test_the_autumn_day_has_fifty_periods(autumn: Scenario) -> None:
    wire = CarbonIntensityWire(autumn)
    rows = _json(wire.answer("/intensity/date/2026-10-25", autumn.start))["data"]
    assert len(rows) == 50
    (last,) = _json(wire.answer("/intensity/date/2026-10-25/50", autumn.start))["data"]
    assert last["to"] == "2026-10-26T00:00Z"


@pytest.mark.parametrize(
    ("path", "part"),
    [
        ("/nothing", "valid path"),
        ("/intensity/2026-02-03", "valid path"),
        ("/intensity/2026-13-03T00:00Z", "valid datetime"),
        ("/intensity/date/2026-02-31", "valid date"),
        ("/intensity/2026-01-01T00:00Z/2026-02-01T00:00Z", "14 days"),
        ("/regional/regionid/19", "region ID"),
        ("/regional/postcode/ZZ99", "postcode"),
    ],
)
def test_a_wrong_request_gets_the_sources_error(
    carbon: CarbonIntensityWire, path: str, part: str
) -> None:
    error = _json(carbon.answer(path, _NOW), 400)["error"]
    assert error["code"] == "400 Bad Request"
    assert part in error["message"]


def test_labels_use_the_edges_of_their_year() -> None:
    # 2026: 25/90/170/230; 2025: 30/100/180/250; years unknown take the nearest known.
    words = [index_word(value, 2026) for value in (24, 25, 89, 90, 169, 170, 229, 230)]
    assert words == ["very low", "low", "low", "moderate", "moderate", "high", "high", "very high"]
    assert index_word(25, 2025) == "very low"
    assert index_word(25, 2030) == "low"


# -- Elexon -------------------------------------------------------------------------------------


@pytest.fixture
def elexon(windy: Scenario) -> ElexonWire:
    return ElexonWire(windy)


def _q(**params: str | list[str]) -> dict[str, list[str]]:
    return {
        name.rstrip("_"): [value] if isinstance(value, str) else value
        for name, value in params.items()
    }


_SPAN = {"from": ["2026-02-03T16:00:00Z"], "to": ["2026-02-03T18:00:00Z"]}


def test_the_market_index_is_inclusive_and_n2ex_reports_nothing(elexon: ElexonWire) -> None:
    body = _json(elexon.answer("/balancing/pricing/market-index", _SPAN, _OFF))
    assert body["metadata"] == {"datasets": ["MID"]}
    rows = body["data"]
    assert "dataset" not in rows[0]
    apx = [row for row in rows if row["dataProvider"] == "APXMIDP"]
    # 16:00 to 17:30 are over; the half hour 18:00, though asked for, is still running.
    assert [row["startTime"][11:16] for row in apx] == ["16:00", "16:30", "17:00", "17:30"]
    assert apx[0]["settlementPeriod"] == 33
    n2ex = [row for row in rows if row["dataProvider"] == "N2EXMIDP"]
    assert {(row["price"], row["volume"]) for row in n2ex} == {(0.0, 0.0)}


def test_a_stream_is_a_bare_array_newest_first(elexon: ElexonWire) -> None:
    rows = _json(elexon.answer("/datasets/MID/stream", _SPAN, _OFF))
    assert isinstance(rows, list)
    assert rows[0]["dataset"] == "MID"
    starts = [row["startTime"] for row in rows]
    assert starts == sorted(starts, reverse=True)
    plain = _json(elexon.answer("/datasets/MID", _SPAN, _OFF))
    assert list(plain) == ["data"]


def test_a_settlement_period_in_the_query_makes_from_a_date(elexon: ElexonWire) -> None:
    query = {**_SPAN, "settlementPeriodFrom": ["1"], "settlementPeriodTo": ["2"]}
    rows = _json(elexon.answer("/datasets/MID", query, _OFF))["data"]
    assert {row["settlementPeriod"] for row in rows} == {1, 2}


def test_system_prices_carry_the_revision_in_their_creation_time(
    elexon: ElexonWire, windy: Scenario
) -> None:
    path = "/balancing/settlement/system-prices/2026-02-03/30"
    later = _NOW + timedelta(days=1)
    (first,) = _json(elexon.answer(path, {}, _NOW))["data"]
    (revised,) = _json(elexon.answer(path, {}, later))["data"]
    assert first["createdDateTime"] == "2026-02-03T15:20:00Z"
    assert revised["createdDateTime"] == "2026-02-04T15:00:00Z"
    assert first["systemSellPrice"] == first["systemBuyPrice"]
    assert first["replacementPrice"] is None
    assert len([name for name in first if name.startswith("total")]) == 8


def test_a_day_ahead_of_now_is_an_empty_array(elexon: ElexonWire) -> None:
    body = _json(elexon.answer("/balancing/settlement/system-prices/2026-02-09", {}, _NOW))
    assert body["data"] == []


def test_the_autumn_day_has_fifty_settlement_periods(autumn: Scenario) -> None:
    wire = ElexonWire(autumn)
    after = datetime(2026, 10, 26, 2, tzinfo=UTC)
    rows = _json(wire.answer("/balancing/settlement/system-prices/2026-10-25", {}, after))["data"]
    assert [row["settlementPeriod"] for row in rows] == list(range(1, 51))
    # 24 October 23:00Z is midnight in London; 1:00 comes twice, periods 3-4 and 5-6.
    assert rows[0]["startTime"] == "2026-10-24T23:00:00Z"
    assert rows[4]["startTime"] == "2026-10-25T01:00:00Z"
    assert rows[49]["startTime"] == "2026-10-25T23:30:00Z"
    query = _q(settlementDateFrom="2026-10-25", settlementDateTo="2026-10-25")
    fuels = _json(wire.answer("/datasets/FUELHH/stream", query, after))
    assert {row["settlementPeriod"] for row in fuels} == set(range(1, 51))
    outturn = _json(wire.answer("/demand/outturn", query, after))["data"]
    assert len(outturn) == 50


def test_five_minute_fuel_rows_start_five_minutes_before_they_are_published(
    elexon: ElexonWire,
) -> None:
    query = _q(publishDateTimeFrom="2026-02-03T17:50:00Z", publishDateTimeTo="2026-02-03T18:00:00Z")
    rows = _json(elexon.answer("/datasets/FUELINST/stream", query, _NOW))
    assert {row["publishTime"][11:16] for row in rows} == {"17:50", "17:55", "18:00"}
    by_time = {row["publishTime"]: row["startTime"] for row in rows}
    assert by_time["2026-02-03T18:00:00Z"] == "2026-02-03T17:55:00Z"
    fuels = {row["fuelType"] for row in rows}
    assert {"CCGT", "PS", "WIND", "INTFR", "NPSHYD"} <= fuels
    assert "SOLAR" not in fuels


def test_interconnectors_and_pumping_go_negative(elexon: ElexonWire) -> None:
    query = _q(settlementDateFrom="2026-02-04", settlementDateTo="2026-02-04")
    night = datetime(2026, 2, 4, 5, tzinfo=UTC)
    rows = _json(elexon.answer("/datasets/FUELHH/stream", query, night))
    assert min(row["generation"] for row in rows if row["fuelType"] == "INTFR") < 0
    assert min(row["generation"] for row in rows if row["fuelType"] == "PS") < 0


def test_the_zonal_forecast_adds_up_to_the_national_one(elexon: ElexonWire) -> None:
    path = "/forecast/demand/day-ahead/latest"
    national = _json(elexon.answer(path, {}, _NOW))["data"]
    zonal = _json(elexon.answer(path, _q(boundary="zonal"), _NOW))["data"]
    assert zonal[0]["nationalDemand"] is None
    first = national[0]
    total = sum(
        row["transmissionSystemDemand"] for row in zonal if row["startTime"] == first["startTime"]
    )
    # 17 zones, each rounded down by less than 1 MW.
    assert 0 <= first["transmissionSystemDemand"] - total < 17


@pytest.mark.parametrize(
    ("path", "query", "field"),
    [
        ("/datasets/MID", {}, "from"),
        ("/datasets/MID", {**_SPAN, "from": ["2026-01-01T00:00Z"]}, ""),
        ("/datasets/MID", {**_SPAN, "to": ["soon"]}, "to"),
        ("/balancing/settlement/system-prices/2026-02-30", {}, "settlementDate"),
        ("/balancing/settlement/system-prices/2026-02-03/51", {}, "settlementPeriod"),
        ("/datasets/FUELHH", {}, ""),
        (
            "/demand/outturn",
            _q(settlementDateFrom="2026-01-01", settlementDateTo="2026-02-01"),
            "",
        ),
    ],
)
def test_a_wrong_query_gets_problem_json(
    elexon: ElexonWire, path: str, query: dict[str, list[str]], field: str
) -> None:
    reply = elexon.answer(path, query, _NOW)
    body = _json(reply, 400)
    assert body["title"] == "One or more validation errors occurred."
    assert list(body["errors"]) == [field]
    assert isinstance(body["errors"][field], list)
    assert "traceId" in body


# -- NESO ---------------------------------------------------------------------------------------


@pytest.fixture
def neso(windy: Scenario) -> NesoWire:
    return NesoWire(windy)


_BY_NAME = {file.name: file.resource_id for file in FILES}
_EAC = _BY_NAME["EAC Results Summary"]
_UPDATE = _BY_NAME["Demand Data Update"]


def _search(neso: NesoWire, resource: str, **params: str) -> Any:
    query = _q(resource_id=resource, **params)
    body = _json(neso.answer("/api/3/action/datastore_search", query, _OFF))
    assert body["success"] is True
    return body["result"]


def test_search_gives_fields_total_and_a_page(neso: NesoWire) -> None:
    result = _search(neso, _EAC, limit="5", offset="2", sort="deliveryStart desc")
    assert [field["id"] for field in result["fields"]][:3] == ["_id", "auctionID", "auctionProduct"]
    assert len(result["records"]) == 5
    assert result["total"] > 100
    starts = [record["deliveryStart"] for record in result["records"]]
    assert starts == sorted(starts, reverse=True)
    assert isinstance(result["records"][0]["clearingPrice"], float)


def test_sql_gives_numbers_as_text_and_no_total(neso: NesoWire) -> None:
    sql = (
        f'SELECT "auctionProduct", "clearingPrice" FROM "{_EAC}" '
        "WHERE \"deliveryStart\" >= '2026-02-03T00:00:00' AND \"auctionProduct\" = 'DRH' LIMIT 3"
    )
    result = _json(neso.answer("/x/datastore_search_sql", _q(sql=sql), _OFF))["result"]
    assert "total" not in result
    assert [list(r) for r in result["records"]] == [["auctionProduct", "clearingPrice"]] * 3
    assert all(isinstance(record["clearingPrice"], str) for record in result["records"])
    everything = _q(sql=f'SELECT * FROM "{_UPDATE}" LIMIT 1')
    result = _json(neso.answer("/x/datastore_search_sql", everything, _OFF))["result"]
    assert result["fields"][-1] == {"type": "tsvector", "id": "_full_text"}
    assert isinstance(result["records"][0]["ND"], str)


def test_the_demand_update_has_placeholders_and_incomplete_rows(neso: NesoWire) -> None:
    records = _search(neso, _UPDATE, limit="5000")["records"]
    done = [r for r in records if r["FORECAST_ACTUAL_INDICATOR"] == "A"]
    ahead = [r for r in records if r["FORECAST_ACTUAL_INDICATOR"] == "F"]
    assert {(r["ND"], r["TSD"]) for r in ahead} == {(0, 0)}
    assert [(r["ND"], r["TSD"]) for r in done[-2:]] == [(0, 500), (0, 500)]
    assert done[-3]["ND"] > 20_000
    # Released at 17:10, ten past the hour: the half hours to 17:00 are in it.
    assert (done[-1]["SETTLEMENT_DATE"], done[-1]["SETTLEMENT_PERIOD"]) == ("2026-02-03", 36)


def test_the_fortnight_forecast_labels_the_end_of_each_half_hour(neso: NesoWire) -> None:
    records = _search(neso, _BY_NAME["2-14 Days Ahead Half Hourly Forecast"], limit="5000")[
        "records"
    ]
    assert records[0]["CTIME"] == 30
    assert records[0]["GDATETIME"] == "2026-02-05T00:30:00"
    assert records[47]["CTIME"] == 2400
    assert records[47]["GDATETIME"] == "2026-02-06T00:00:00"
    assert len(records) == 13 * 48


def test_the_fortnight_forecast_repeats_the_clock_hour_that_comes_twice(
    autumn: Scenario,
) -> None:
    wire = NesoWire(autumn)
    asked = datetime(2026, 10, 23, 16, tzinfo=UTC)
    query = _q(resource_id=_BY_NAME["2-14 Days Ahead Half Hourly Forecast"], limit="5000")
    records = _json(wire.answer("/x/datastore_search", query, asked))["result"]["records"]
    day = [r for r in records if r["DATE"] == "2026-10-25T00:00:00"]
    assert len(day) == 50
    assert [r["CTIME"] for r in day[:7]] == [30, 100, 130, 100, 130, 200, 230]


def test_files_change_only_at_their_release(neso: NesoWire) -> None:
    def modified(now: datetime) -> str:
        reply = neso.answer("/x/resource_show", _q(id=_UPDATE), now)
        text: str = _json(reply)["result"]["last_modified"]
        return text

    assert modified(_NOW) == "2026-02-03T17:10:00.000000"
    assert modified(_NOW + timedelta(minutes=9)) == modified(_NOW)
    assert modified(_OFF) == "2026-02-03T18:10:00.000000"


def test_a_download_has_the_files_own_line_ends_and_byte_order_mark(neso: NesoWire) -> None:
    package = _json(neso.answer("/x/package_show", _q(id="demand-flexibility"), _OFF))["result"]
    report = next(r for r in package["resources"] if r["name"] == "DFS Utilisation Report")
    reply = neso.answer(report["url"], {}, _OFF)
    assert reply.body.startswith(b"\xef\xbb\xbfEvent ID,")
    assert b"\r\n" in reply.body
    quoted = _BY_NAME["Day Ahead National Demand Forecast"]
    text = neso.answer(f"/dataset/x/resource/{quoted}/download/f.csv", {}, _OFF).body.decode()
    assert text.startswith('"DAYSAHEAD","TARGETDATE"')
    rows = list(csv.DictReader(io.StringIO(text)))
    assert {row["TARGETDATE"] for row in rows} == {"20260204"}


def test_errors_are_ckans(neso: NesoWire) -> None:
    missing = _json(neso.answer("/x/package_show", _q(id="none"), _NOW), 404)
    assert missing["success"] is False
    assert missing["error"] == {"message": "Not found", "__type": "Not Found Error"}
    unknown = _json(neso.answer("/x/no_such_action", {}, _NOW), 400)
    assert isinstance(unknown, str)
    column = _q(resource_id=_EAC, sort="nothing desc")
    wrong = _json(neso.answer("/x/datastore_search", column, _NOW), 409)
    assert wrong["error"]["__type"] == "Validation Error"
