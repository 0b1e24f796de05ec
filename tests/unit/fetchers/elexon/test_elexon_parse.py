"""Replies of Elexon Insights, in their three envelopes, become the right rows."""

from __future__ import annotations

import json
from collections.abc import Callable
from datetime import UTC, datetime

import pytest

from fetchers.elexon.fuels import FUEL_NAMES
from fetchers.elexon.parse import ENDPOINTS
from fetchers.parsing import ParseContext
from schema.errors import InputError, NotYetPublished, SourcePayloadInvalid, SourceRejected
from schema.readings import Parsed, Quality
from schema.rows import (
    DemandActualNationalRow,
    DemandForecastNationalRow,
    DemandRegionalRow,
    GenerationMixNationalRow,
    WholesalePriceRow,
)

ParseFile = Callable[..., Parsed]


def utc(month: int, day: int, hour: int, minute: int = 0) -> datetime:
    return datetime(2031, month, day, hour, minute, tzinfo=UTC)


def prices(parsed: Parsed) -> list[tuple[str, datetime, float, float | None]]:
    return [
        (row.market, row.valid_from, row.price_gbp_per_mwh, row.volume_mwh)
        for row in parsed.rows
        if isinstance(row, WholesalePriceRow)
    ]


def test_the_index_stream_keeps_negative_prices_and_drops_no_index(parse_file: ParseFile) -> None:
    parsed = parse_file("elexon", "mid-stream", "mid_stream.json")
    assert prices(parsed) == [
        ("APXMIDP", utc(7, 1, 0), 41.25, 1200.5),
        # A price of zero with volume is real.
        ("APXMIDP", utc(6, 30, 23, 30), 0, 900),
        # Summer: period 1 of 1 July starts at 23:00Z on 30 June.
        ("APXMIDP", utc(6, 30, 23), -3.5, 1500.25),
    ]
    assert parsed.skipped == {"provider rows without an index (price and volume 0)": 1}
    (mismatch,) = parsed.rejected
    assert mismatch.where == "[4]"
    assert mismatch.reason == (
        "startTime is '2031-07-01T00:00:00Z'; period 1 of 2031-07-01 starts at 2031-06-30T23:00:00Z"
    )


def test_the_derived_route_has_metadata_around_the_same_rows(parse_file: ParseFile) -> None:
    parsed = parse_file("elexon", "market-index", "market_index.json")
    assert [price for _, _, price, _ in prices(parsed)] == [55.5, 1740.6]


def test_of_two_revisions_of_a_system_price_the_newer_stands(parse_file: ParseFile) -> None:
    parsed = parse_file("elexon", "system-prices", "system_prices.json")
    assert prices(parsed) == [
        ("system", utc(2, 3, 0), 110, -1400),
        ("system", utc(2, 3, 0, 30), -42, 250.5),
    ]
    row = parsed.rows[0]
    assert isinstance(row, WholesalePriceRow)
    assert row.issued_at == utc(2, 4, 9)
    assert row.version == int(utc(2, 4, 9).timestamp())
    assert parsed.skipped == {"older revisions": 1}
    assert "systemSellPrice is 40.0 and systemBuyPrice is 41.0" in parsed.rejected[0].reason


def test_a_revision_that_comes_first_in_the_reply_stands_too() -> None:
    def row(created: str, price: float) -> dict[str, object]:
        return {
            "settlementDate": "2031-02-03",
            "settlementPeriod": 1,
            "startTime": "2031-02-03T00:00:00Z",
            "createdDateTime": created,
            "systemSellPrice": price,
            "systemBuyPrice": price,
        }

    body = json.dumps([row("2031-02-04T09:00:00Z", 110), row("2031-02-03T00:50:00Z", 9.5)])
    parsed = ENDPOINTS["system-prices"].parse(body.encode(), ParseContext())
    assert [price for _, _, price, _ in prices(parsed)] == [110]


def test_outturn_that_is_not_there_yet_is_missing(parse_file: ParseFile) -> None:
    parsed = parse_file("elexon", "demand-outturn", "demand_outturn.json")
    assert [
        (row.source, row.valid_from, row.national_demand_mw, row.transmission_demand_mw)
        for row in parsed.rows
        if isinstance(row, DemandActualNationalRow)
    ] == [
        ("elexon", utc(2, 3, 0), 25000, 26500),
        ("elexon", utc(2, 3, 0, 30), None, 26000),
    ]
    # Neither figure, and zeros.
    assert parsed.skipped == {"rows without a figure": 2}


def test_series_that_know_half_a_row_do_not_share_its_key(parse_file: ParseFile) -> None:
    (indo,) = parse_file("elexon", "indo", "indo.json").rows
    (itsdo,) = parse_file("elexon", "itsdo", "itsdo.json").rows
    assert isinstance(indo, DemandActualNationalRow)
    assert isinstance(itsdo, DemandActualNationalRow)
    assert (indo.national_demand_mw, indo.transmission_demand_mw) == (25000, None)
    assert (itsdo.national_demand_mw, itsdo.transmission_demand_mw) == (None, 26500)
    assert indo.key() != itsdo.key()


def test_half_hourly_fuels_have_our_words_and_signs(parse_file: ParseFile) -> None:
    parsed = parse_file("elexon", "fuelhh", "fuelhh_stream.json")
    assert [
        (row.fuel, row.generation_mw, row.generation_pct)
        for row in parsed.rows
        if isinstance(row, GenerationMixNationalRow)
    ] == [
        ("gas_combined_cycle", 7000, None),
        ("pumped_storage", -360, None),
        ("interconnector_ifa", -1200, None),
        ("intnew", 44, None),
    ]
    assert parsed.skipped == {"rows without a figure": 1}
    assert "'wind power'" in parsed.rejected[0].reason


def test_five_minutes_lie_inside_their_period(parse_file: ParseFile) -> None:
    parsed = parse_file("elexon", "fuelinst", "fuelinst_stream.json")
    (row,) = parsed.rows
    assert isinstance(row, GenerationMixNationalRow)
    assert (row.valid_from, row.valid_to) == (utc(6, 30, 23, 25), utc(6, 30, 23, 30))
    assert row.source == "elexon/fuelinst"
    # 23:30Z is period 2, not 1; 23:32Z is no five-minute step.
    assert [item.where for item in parsed.rejected] == ["[1]", "[2]"]
    assert "period 1 of 2031-07-01 starts at 2031-06-30T23:00:00Z" in parsed.rejected[0].reason
    assert "five-minute steps" in parsed.rejected[1].reason


def test_a_snapshot_without_time_is_estimated_from_its_retrieval(parse_file: ParseFile) -> None:
    now = datetime(2031, 2, 3, 4, 2, 31, tzinfo=UTC)
    parsed = parse_file("elexon", "generation-current", "generation_current.json", now)
    rows = [row for row in parsed.rows if isinstance(row, GenerationMixNationalRow)]
    assert [(row.fuel, row.generation_mw, row.generation_pct) for row in rows] == [
        ("wind", 8000, 32.1),
        ("interconnector_ifa", -900, None),
    ]
    # 04:02:31 lies in the five minutes from 04:00; the last completed ones are 03:55 to 04:00.
    assert (rows[0].valid_from, rows[0].valid_to) == (utc(2, 3, 3, 55), utc(2, 3, 4))
    assert rows[0].quality is Quality.ESTIMATED
    assert rows[0].reason is not None


def test_a_snapshot_of_unknown_time_is_refused(parse_file: ParseFile) -> None:
    with pytest.raises(InputError, match="--retrieved-at"):
        parse_file("elexon", "generation-current", "generation_current.json")


def forecasts(parsed: Parsed) -> list[tuple[str, datetime, float]]:
    return [
        (row.product, row.valid_from, row.demand_mw)
        for row in parsed.rows
        if isinstance(row, DemandForecastNationalRow)
    ]


def test_the_day_ahead_forecast_gives_two_national_series(parse_file: ParseFile) -> None:
    parsed = parse_file("elexon", "demand-forecast", "demand_forecast.json")
    assert forecasts(parsed) == [
        ("day-ahead", utc(2, 4, 0), 24500),
        ("day-ahead-transmission", utc(2, 4, 0), 26000),
        ("day-ahead-transmission", utc(2, 4, 0, 30), 25900),
    ]
    row = parsed.rows[0]
    assert isinstance(row, DemandForecastNationalRow)
    assert row.issued_at == utc(2, 3, 8, 45)
    assert row.version == int(utc(2, 3, 8, 45).timestamp())


def test_zones_are_areas_and_never_distribution_areas(parse_file: ParseFile) -> None:
    parsed = parse_file("elexon", "demand-forecast-zonal", "demand_forecast_zonal.json")
    assert [
        (row.area, row.region_id, row.demand_mw)
        for row in parsed.rows
        if isinstance(row, DemandRegionalRow)
    ] == [("zone-B1", None, 900), ("zone-B2", None, 1100)]
    assert "demand_mw is -20.0" in parsed.rejected[0].reason


def test_datasets_of_the_forecast_keep_the_newest_issue_and_their_zones_apart(
    parse_file: ParseFile,
) -> None:
    ndf = parse_file("elexon", "ndf", "ndf.json")
    assert forecasts(ndf) == [("day-ahead", utc(2, 3, 0), 24000)]
    assert ndf.skipped == {"older revisions": 1, "zones of the national series": 1}
    tsdf = parse_file("elexon", "tsdf", "tsdf.json")
    assert forecasts(tsdf) == [("day-ahead-transmission", utc(2, 3, 0), 25500)]
    assert [row.area for row in tsdf.rows if isinstance(row, DemandRegionalRow)] == ["zone-B1"]


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"startTime": None}, None),
        ({"settlementDate": None, "settlementPeriod": None}, None),
        ({"startTime": None, "settlementPeriod": None}, "one of them is needed"),
        ({"startTime": "2031-02-03T00:10:00Z"}, "a half hour is needed"),
        ({"startTime": 7}, "an instant is needed"),
        ({"settlementDate": "03/02/2031"}, "settlementDate"),
        ({"settlementDate": 20310203}, "settlementDate is 20310203"),
        ({"settlementDate": "9999-12-31"}, "years 2000 to 2100"),
        ({"settlementPeriod": 49}, "periods 1 to 48"),
        ({"settlementPeriod": 1.5}, "a whole number"),
        ({"settlementPeriod": True}, "a number is needed"),
    ],
)
def test_time_is_taken_from_what_is_there_and_checked(
    changes: dict[str, object], reason: str | None
) -> None:
    row = {
        "startTime": "2031-02-03T00:00:00Z",
        "settlementDate": "2031-02-03",
        "settlementPeriod": 1,
        "dataProvider": "APXMIDP",
        "price": 5,
        "volume": 1,
    } | changes
    parsed = ENDPOINTS["market-index"].parse(json.dumps([row]).encode(), ParseContext())
    if reason is None:
        assert [start for _, start, _, _ in prices(parsed)] == [utc(2, 3, 0)]
    else:
        assert parsed.rows == ()
        assert reason in parsed.rejected[0].reason


def test_every_period_of_the_clock_change_days_is_accepted() -> None:
    # 30 March 2031 from 00:00Z: 46 half hours; 26 October from 23:00Z the day before: 50.
    rows = []
    for day, first, count in (
        ("2031-03-30", utc(3, 30, 0), 46),
        ("2031-10-26", utc(10, 25, 23), 50),
    ):
        for number in range(count):
            start = datetime.fromtimestamp(first.timestamp() + 1800 * number, UTC)
            rows.append(
                {
                    "startTime": start.strftime("%Y-%m-%dT%H:%M:%SZ"),
                    "settlementDate": day,
                    "settlementPeriod": number + 1,
                    "dataProvider": "APXMIDP",
                    "price": number,
                    "volume": 1,
                }
            )
    parsed = ENDPOINTS["mid-stream"].parse(json.dumps(rows).encode(), ParseContext())
    assert parsed.rejected == ()
    assert len(parsed.rows) == 96


def test_a_problem_says_which_parameter_even_without_a_name(parse_file: ParseFile) -> None:
    message = "One or more validation errors occurred. The date range must not exceed 7 days"
    with pytest.raises(SourceRejected, match=message) as caught:
        parse_file("elexon", "market-index", "problem_400.json")
    assert caught.value.details["status"] == 400


@pytest.mark.parametrize(
    ("body", "error", "message"),
    [
        (b"[]", NotYetPublished, "holds no row"),
        (b'{"data": []}', NotYetPublished, "holds no row"),
        (b'{"data": {}}', SourcePayloadInvalid, "data is an object"),
        (b'[{"fuelType": "CCGT"}]', SourcePayloadInvalid, "no row has dataProvider"),
        (b"<!doctype html><p>busy", SourcePayloadInvalid, "a page"),
        (b'[{"dataProvider": "APXM', SourcePayloadInvalid, "not JSON"),
        (b'{"statusCode": 404, "message": "Resource not found"}', SourceRejected, "not found"),
    ],
)
def test_a_reply_that_is_something_else_raises(
    body: bytes, error: type[Exception], message: str
) -> None:
    with pytest.raises(error, match=message):
        ENDPOINTS["market-index"].parse(body, ParseContext())


def test_pumped_storage_is_no_solar_and_no_two_codes_share_a_word() -> None:
    assert FUEL_NAMES["PS"] == "pumped_storage"
    assert "solar" not in FUEL_NAMES.values()
    # The source's own list: ten fuels and ten interconnectors.
    assert len(FUEL_NAMES) == 20
    assert len(set(FUEL_NAMES.values())) == 20
