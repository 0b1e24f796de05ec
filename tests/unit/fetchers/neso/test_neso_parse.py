"""NESO's demand, forecast and flexibility files become the right rows."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime

import pytest

from fetchers.neso.endpoints import DATA_FILES
from fetchers.neso.flexibility import EAC_DIRECTIONS
from fetchers.neso.parse import ENDPOINTS
from fetchers.parsing import ParseContext
from schema.errors import NotYetPublished, SourcePayloadInvalid
from schema.readings import Parsed, Quality
from schema.rows import (
    DemandActualNationalRow,
    DemandForecastNationalRow,
    DemandRegionalRow,
    FlexibilityPriceRow,
    GenerationMixNationalRow,
)
from schema.rows.prices import FlexDirection

ParseFile = Callable[..., Parsed]


def utc(month: int, day: int, hour: int, minute: int = 0) -> datetime:
    return datetime(2031, month, day, hour, minute, tzinfo=UTC)


def test_a_demand_update_gives_outturn_and_keeps_placeholders_out(parse_file: ParseFile) -> None:
    parsed = parse_file("neso", "demand-update", "demand_update.csv")
    first, unmetered = (row for row in parsed.rows if isinstance(row, DemandActualNationalRow))
    assert first.valid_from == utc(7, 1, 23)  # period 1 of a summer day
    assert first.valid_to == utc(7, 1, 23, 30)
    assert first.national_demand_mw == 20111
    assert first.transmission_demand_mw == 22333
    assert first.embedded_wind_mw == 900
    assert first.pump_storage_pumping_mw == 12
    assert first.scottish_transfer_mw == -150
    # A link that was appended later is there without a change of ours; export is negative.
    assert first.interconnector_flows_mw == {"ifa": 1001, "moyle": -250, "newlink": 75}
    # ND 0 with TSD 500: not metered yet, but the embedded estimate is real.
    assert unmetered.valid_from == utc(7, 1, 23, 30)
    assert unmetered.national_demand_mw is None
    assert unmetered.transmission_demand_mw is None
    assert unmetered.interconnector_flows_mw is None
    assert (unmetered.embedded_wind_mw, unmetered.embedded_solar_mw) == (890, 10)
    (regional,) = (row for row in parsed.rows if isinstance(row, DemandRegionalRow))
    assert (regional.area, regional.region_id, regional.demand_mw) == (
        "england-and-wales",
        None,
        18444,
    )
    assert parsed.skipped == {"placeholder rows (F)": 1}
    assert [(item.where, item.reason) for item in parsed.rejected] == [
        ("row 4", "settlement period 49 of 2031-07-02: that day has periods 1 to 48"),
        ("row 5", "ND is 'lots'; a number is needed"),
        ("row 6", "the row has 4 fields; the header has 16"),
    ]


def test_numbers_as_text_are_the_same_numbers(parse_file: ParseFile) -> None:
    parsed = parse_file("neso", "demand-update", "demand_update_sql.json")
    row = parsed.rows[0]
    assert isinstance(row, DemandActualNationalRow)
    assert (row.national_demand_mw, row.england_wales_demand_mw) == (20111, 18444)
    assert row.embedded_solar_mw is None
    assert row.interconnector_flows_mw == {"ifa": -9.7}


def test_historic_demand_reads_old_dates_and_has_no_indicator(parse_file: ParseFile) -> None:
    parsed = parse_file("neso", "historic-demand", "historic_demand.csv")
    rows = [row for row in parsed.rows if isinstance(row, DemandActualNationalRow)]
    assert [row.valid_from for row in rows] == [utc(1, 1, 0), utc(1, 2, 23, 30)]
    assert [item.where for item in parsed.rejected] == ["row 3"]


def test_a_year_with_fifty_periods_a_day_is_read_whole() -> None:
    # 26 October 2031 has 50 periods, 30 March 46: from 23:00Z and 00:00Z, half an hour each.
    lines = ["SETTLEMENT_DATE,SETTLEMENT_PERIOD,ND"]
    lines += [f"2031-03-30,{n},{20000 + n}" for n in range(1, 47)]
    lines += [f"2031-10-26,{n},{20000 + n}" for n in range(1, 51)]
    parsed = ENDPOINTS["historic-demand"].parse("\n".join(lines).encode(), ParseContext())
    starts = [row.valid_from for row in parsed.rows if isinstance(row, DemandActualNationalRow)]
    assert len(set(starts)) == 46 + 50
    assert starts[0] == utc(3, 30, 0)
    assert starts[45] == utc(3, 30, 22, 30)
    assert starts[46] == utc(10, 25, 23)
    assert starts[-1] == utc(10, 26, 23, 30)


def test_cardinal_points_stay_points(parse_file: ParseFile) -> None:
    parsed = parse_file("neso", "demand-forecast-7d", "demand_forecast_7d.json")
    points = [
        (row.product, row.point, row.valid_from, row.valid_to, row.demand_mw)
        for row in parsed.rows
        if isinstance(row, DemandForecastNationalRow)
    ]
    assert points == [
        # Label 30 ends the half hour 00:00 to 00:30 local, 23:00Z to 23:30Z in summer.
        ("7-day-ahead-points", "1F", utc(7, 1, 23), utc(7, 1, 23, 30), 19999),
        # Labels 1700 to 1830 cover 16:30 to 18:30 local.
        ("7-day-ahead-points", "4", utc(7, 2, 15, 30), utc(7, 2, 17, 30), 24100),
        ("7-day-ahead-points", "4C", utc(7, 3, 22, 30), utc(7, 3, 23), 20500),
    ]
    assert [item.where for item in parsed.rejected] == ["result.records[3]"]
    assert "CP_ST_TIME is 1215" in parsed.rejected[0].reason


def test_of_several_issues_of_a_point_the_newest_stands(parse_file: ParseFile) -> None:
    parsed = parse_file("neso", "demand-forecast-1d-historic", "demand_forecast_1d_historic.csv")
    rows = [row for row in parsed.rows if isinstance(row, DemandForecastNationalRow)]
    assert [(row.point, row.demand_mw) for row in rows] == [("3C", 30500), ("1F", 21500)]
    # The zone of the stamp is unclear: it orders revisions and is not told as an instant.
    assert rows[0].issued_at is None
    assert rows[0].version == int(utc(2, 3, 9, 15).timestamp())
    assert parsed.skipped == {"older revisions": 1}


def test_the_half_hourly_forecast_is_labelled_at_its_end_and_checked(
    parse_file: ParseFile,
) -> None:
    parsed = parse_file("neso", "demand-forecast-14d", "demand_forecast_14d.json")
    assert [
        (row.valid_from, row.demand_mw)
        for row in parsed.rows
        if isinstance(row, DemandForecastNationalRow)
    ] == [(utc(7, 1, 23), 19800), (utc(7, 2, 0), 19999), (utc(7, 2, 22, 30), 20400)]
    wrong_hour, off_grid = parsed.rejected
    assert wrong_hour.where == "result.records[3]"
    assert "CTIME 230; the row says 2031-07-02 and 130" in wrong_hour.reason
    assert "a label at :00 or :30" in off_grid.reason


def test_on_a_clock_change_day_utc_is_trusted() -> None:
    # 2031-10-26: the half hours from 00:00Z and 01:00Z both have label 130 on the local clock.
    body = b"DATE,CTIME,GDATETIME,NATIONALDEMAND\n" + b"\n".join(
        [
            b"2031-10-26,130,2031-10-26T00:30:00,19001",
            b"2031-10-26,230,2031-10-26T01:30:00,19002",
        ]
    )
    parsed = ENDPOINTS["demand-forecast-14d"].parse(body, ParseContext())
    assert parsed.rejected == ()
    assert len(parsed.rows) == 2


def test_the_embedded_forecast_becomes_two_series(parse_file: ParseFile) -> None:
    parsed = parse_file("neso", "embedded-forecast", "embedded_forecast.json")
    assert [
        (row.product, row.valid_from, row.demand_mw)
        for row in parsed.rows
        if isinstance(row, DemandForecastNationalRow)
    ] == [
        # Period 39 of a summer day: 23:00Z + 38 half hours = 18:00Z, labelled 18:30 GMT.
        ("embedded-wind", utc(7, 2, 18), 1234),
        ("embedded-solar", utc(7, 2, 18), 2345),
        # Without a period the GMT label 9:30 ends the half hour from 09:00Z.
        ("embedded-wind", utc(7, 2, 9), 1100),
    ]


def test_the_historic_mix_has_megawatts_and_shares(parse_file: ParseFile) -> None:
    parsed = parse_file("neso", "historic-generation-mix", "historic_generation_mix.csv")
    rows = {
        row.fuel: (row.generation_mw, row.generation_pct)
        for row in parsed.rows
        if isinstance(row, GenerationMixNationalRow)
    }
    assert len(rows) == 11
    assert rows["embedded_wind"] == (1000, 4.8)
    assert rows["imports"] == (-400, None)  # export has no share
    assert parsed.rows[0].valid_from == utc(2, 3, 1)  # type: ignore[attr-defined]


def test_the_highest_accepted_bid_stands_for_the_clearing_price(parse_file: ParseFile) -> None:
    parsed = parse_file("neso", "dfs-utilisation", "dfs_utilisation.csv")
    down, test = (row for row in parsed.rows if isinstance(row, FlexibilityPriceRow))
    assert (down.service, down.direction, down.price, down.unit, down.volume_mw) == (
        "DFS",
        FlexDirection.DOWN,
        180,
        "GBP/MWh",
        1.5 + 2.5,
    )
    assert (down.starts_at, down.ends_at) == (utc(7, 10, 16, 30), utc(7, 10, 17))
    assert (down.quality, down.reason) == (Quality.ESTIMATED, "highest of 2 accepted bids")
    # 00:15 local on the 11th is 23:15Z on the 10th.
    assert (test.service, test.direction, test.price, test.starts_at) == (
        "DFS-TEST",
        FlexDirection.UP,
        -20,
        utc(7, 10, 23, 15),
    )
    assert parsed.skipped == {"bids not accepted": 1}
    assert [item.where for item in parsed.rejected] == ["row 5", "row 6"]
    assert "'Sideways'" in parsed.rejected[0].reason
    assert "both must name the same instant" in parsed.rejected[1].reason


def test_a_part_of_the_bids_is_refused_as_a_whole() -> None:
    body = b"""{"success": true, "result": {"total": 2, "records": [{"Delivery Date": "10/07/2031",
        "Status": "Accepted", "Utilisation Price GBP per MWh": 1}]}}"""
    with pytest.raises(SourcePayloadInvalid, match="holds 1 of 2 bids"):
        ENDPOINTS["dfs-utilisation"].parse(body, ParseContext())


def test_the_mean_accepted_price_is_cost_over_energy(parse_file: ParseFile) -> None:
    parsed = parse_file("neso", "dfs-summary", "dfs_summary.json")
    (row,) = (row for row in parsed.rows if isinstance(row, FlexibilityPriceRow))
    # 315 GBP for 4 MW over half an hour: 315 / 2 MWh = 157.5 GBP/MWh.
    assert (row.service, row.price, row.unit, row.quality) == (
        "DFS-MEAN",
        157.5,
        "GBP/MWh",
        Quality.ESTIMATED,
    )
    assert parsed.skipped == {"events without accepted bids": 1}


def test_auctions_keep_their_unit_and_negative_prices(parse_file: ParseFile) -> None:
    parsed = parse_file("neso", "eac-results", "eac_results.json")
    rows = [row for row in parsed.rows if isinstance(row, FlexibilityPriceRow)]
    assert [(row.service, row.direction.value, row.price, row.volume_mw) for row in rows] == [
        ("EAC-DCL", "down", 3.21, 1069),
        ("EAC-DRH", "up", -9.7477, 350),
        ("EAC-PQR", "down", 4, 120),
    ]
    assert {row.unit for row in rows} == {"GBP/MW/h"}
    assert (rows[0].starts_at, rows[0].ends_at) == (utc(7, 1, 22), utc(7, 2, 2))
    assert parsed.skipped == {"products without a clearing price": 1}
    assert "'XYZ'" in parsed.rejected[0].reason
    assert "is not after deliveryStart" in parsed.rejected[1].reason


def test_every_auction_product_has_a_direction() -> None:
    # The twelve products; L and P ask for less demand, H and N for more.
    less = {"DCL", "DML", "DRL", "PBR", "PQR", "PSR"}
    more = {"DCH", "DMH", "DRH", "NBR", "NQR", "NSR"}
    assert {name for name, way in EAC_DIRECTIONS.items() if way is FlexDirection.DOWN} == less
    assert {name for name, way in EAC_DIRECTIONS.items() if way is FlexDirection.UP} == more


def test_an_empty_forecast_is_not_yet_published_and_no_events_is_no_fault() -> None:
    empty = b'{"success": true, "result": {"fields": [], "records": [], "total": 0}}'
    with pytest.raises(NotYetPublished, match="holds no row"):
        ENDPOINTS["demand-forecast-1d"].parse(empty, ParseContext())
    assert ENDPOINTS["dfs-utilisation"].parse(empty, ParseContext()) == Parsed()


def test_a_forecast_has_its_files_issue_time_and_outturn_has_none() -> None:
    # Outturn that did not change must not look changed because its file was released again.
    context = ParseContext(issued_at=utc(7, 2, 8))
    forecast = b"GDATETIME,NATIONALDEMAND\n2031-07-02T00:30:00,20000\n"
    outturn = b"SETTLEMENT_DATE,SETTLEMENT_PERIOD,ND\n2031-07-02,1,20000\n"
    (row,) = ENDPOINTS["demand-forecast-14d"].parse(forecast, context).rows
    assert isinstance(row, DemandForecastNationalRow)
    assert (row.issued_at, row.version) == (utc(7, 2, 8), None)
    (measured,) = ENDPOINTS["demand-update"].parse(outturn, context).rows
    assert isinstance(measured, DemandActualNationalRow)
    assert (measured.issued_at, measured.version) == (None, None)


def test_every_data_file_has_a_parser_and_its_own_id() -> None:
    assert set(DATA_FILES) < set(ENDPOINTS)
    assert set(ENDPOINTS) - set(DATA_FILES) == {"package-show", "resource-show"}
    assert len({file.resource_id for file in DATA_FILES.values()}) == len(DATA_FILES)
