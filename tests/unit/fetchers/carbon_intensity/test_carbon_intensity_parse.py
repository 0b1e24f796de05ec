"""Replies of the Carbon Intensity API, in all their envelopes, become the right rows."""

from __future__ import annotations

import json
from collections.abc import Callable
from datetime import UTC, datetime

import pytest

from fetchers.carbon_intensity.parse import (
    ENDPOINTS,
    parse_generation,
    parse_intensity,
    parse_regional,
)
from fetchers.parsing import ParseContext, coalesce
from schema.errors import NotYetPublished, SourcePayloadInvalid, SourceRejected, SourceUnavailable
from schema.readings import Parsed, Rejected
from schema.rows import (
    CarbonIntensityNationalRow,
    CarbonIntensityRegionalRow,
    GenerationMixNationalRow,
    GenerationMixRegionalRow,
)

ParseFile = Callable[..., Parsed]
NO_CONTEXT = ParseContext()


def at(hour: int, minute: int = 0) -> datetime:
    return datetime(2031, 2, 3, hour, minute, tzinfo=UTC)


def national(parsed: Parsed) -> list[tuple[datetime, float | None, float | None, str | None]]:
    return [
        (
            row.valid_from,
            row.forecast_gco2_per_kwh,
            row.actual_gco2_per_kwh,
            row.intensity_index,
        )
        for row in parsed.rows
        if isinstance(row, CarbonIntensityNationalRow)
    ]


def test_a_past_reply_gives_forecast_and_outturn_and_rejects_what_cannot_be(
    parse_file: ParseFile,
) -> None:
    parsed = parse_file("carbon_intensity", "intensity-pt24h", "intensity_pt24h.json")
    assert national(parsed) == [
        (at(1, 30), 101, 97, "moderate"),
        # The forecast is missing altogether in some months; 0 is a real intensity.
        (at(2), None, 0, "very low"),
        (at(3, 30), 84, None, "low"),
    ]
    assert [item.where for item in parsed.rejected] == ["data[2]", "data[3]"]
    assert parsed.rejected[0].reason == "intensity.forecast is 'high'; a number is needed"
    assert "1001" in parsed.rejected[1].reason
    assert "less than or equal to 1000" in parsed.rejected[1].reason


def test_a_forecast_reply_leaves_out_the_half_hour_that_is_over(parse_file: ParseFile) -> None:
    parsed = parse_file("carbon_intensity", "intensity-fw48h", "intensity_fw48h.json", at(4))
    assert [row[0] for row in national(parsed)] == [at(4), at(4, 30)]
    assert parsed.skipped == {"half hours already over in a forecast": 1}


def test_forecast_and_past_of_one_poll_are_put_together_without_losing_an_outturn() -> None:
    def row(forecast: float | None, actual: float | None) -> CarbonIntensityNationalRow:
        return CarbonIntensityNationalRow(
            source="carbon_intensity",
            valid_from=at(3),
            valid_to=at(3, 30),
            forecast_gco2_per_kwh=forecast,
            actual_gco2_per_kwh=actual,
        )

    assert coalesce([row(90, 88), row(91, None)]) == [row(91, 88)]
    assert coalesce([row(90, None), row(91, 88)]) == [row(91, 88)]


def test_the_national_mix_comes_as_a_bare_object(parse_file: ParseFile) -> None:
    parsed = parse_file("carbon_intensity", "generation", "generation.json")
    shares = {
        row.fuel: row.generation_pct
        for row in parsed.rows
        if isinstance(row, GenerationMixNationalRow)
    }
    assert shares == {
        "biomass": 4.5,
        "coal": 0,
        "imports": 10,
        "gas": 20.5,
        "nuclear": 15,
        "other": 0,
        "hydro": 2,
        "solar": 0,
        "wind": 48,
    }


def test_a_fuel_nobody_knows_and_a_negative_share_are_rejected(parse_file: ParseFile) -> None:
    parsed = parse_file("carbon_intensity", "generation-pt24h", "generation_pt24h.json")
    assert len(parsed.rows) == 9 + 1
    assert [item.where for item in parsed.rejected] == [
        "data[1].generationmix[1]",
        "data[1].generationmix[2]",
    ]
    assert "'tidal'" in parsed.rejected[0].reason
    assert "-0.5" in parsed.rejected[1].reason


def test_a_period_keyed_reply_gives_the_areas_and_only_begun_mixes(parse_file: ParseFile) -> None:
    parsed = parse_file("carbon_intensity", "regional-fw48h", "regional_fw48h_periods.json", at(4))
    intensities = [
        (row.valid_from, row.region_id, row.forecast_gco2_per_kwh)
        for row in parsed.rows
        if isinstance(row, CarbonIntensityRegionalRow)
    ]
    # Three periods of North Scotland (1), North Wales (6, written with "and") and London (13).
    assert intensities == [
        (at(3, 30), 1, 0),
        (at(3, 30), 6, 120),
        (at(3, 30), 13, 150),
        (at(4), 1, 1),
        (at(4), 6, 121),
        (at(4), 13, 151),
        (at(4, 30), 1, 2),
        (at(4, 30), 6, 122),
        (at(4, 30), 13, 152),
    ]
    mixes = [row for row in parsed.rows if isinstance(row, GenerationMixRegionalRow)]
    assert {row.valid_from for row in mixes} == {at(3, 30), at(4)}
    assert len(mixes) == 2 * 3 * 9
    # Scotland and GB in three periods; three areas in the one period that is still to come.
    assert parsed.skipped == {"aggregate areas": 6, "forecast mixes": 3}
    assert not any(isinstance(row, GenerationMixNationalRow) for row in parsed.rows)


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        pytest.param("regional_postcode_list.json", [(at(4), 10, 66)], id="list of one region"),
        pytest.param(
            "regional_range_postcode_object.json",
            [(at(2, 30), 10, 64), (at(3), 10, 65)],
            id="bare region object without dnoregion",
        ),
        pytest.param("regional_scotland.json", [], id="a country is an aggregate"),
    ],
)
def test_region_keyed_replies_are_read_by_shape_and_short_name(
    parse_file: ParseFile, name: str, expected: list[tuple[datetime, int, float]]
) -> None:
    parsed = parse_file("carbon_intensity", "regional-postcode", name, at(4))
    assert [
        (row.valid_from, row.region_id, row.forecast_gco2_per_kwh)
        for row in parsed.rows
        if isinstance(row, CarbonIntensityRegionalRow)
    ] == expected
    assert parsed.rejected == ()
    if not expected:
        assert parsed.skipped == {"aggregate areas": 1}


def test_a_bare_region_without_data_around_it_keeps_its_region() -> None:
    body = b"""{"regionid": 13, "shortname": "London", "data": [{"from": "2031-02-03T04:00Z",
        "to": "2031-02-03T04:30Z", "intensity": {"forecast": 7, "index": "very low"}}]}"""
    (row,) = parse_regional(body, NO_CONTEXT).rows
    assert isinstance(row, CarbonIntensityRegionalRow)
    assert (row.region_id, row.forecast_gco2_per_kwh) == (13, 7)


@pytest.mark.parametrize(
    ("start", "end", "reason"),
    [
        ("2031-02-03T04:10Z", "2031-02-03T04:40Z", "a half hour"),
        ("2031-02-03T04:00Z", "2031-02-03T05:00Z", "a half hour"),
        ("2031-02-03T04:30Z", "2031-02-03T04:00Z", "a half hour"),
        ("2031-02-03T04:00", "2031-02-03T04:30", "with a zone"),
        ("0001-01-01T00:00+14:00", "2031-02-03T04:30Z", "with a zone"),
        ("9999-12-31T23:30Z", "9999-12-31T23:59Z", "years 2000 to 2100"),
        (5, None, "an instant is needed"),
    ],
)
def test_a_period_with_odd_bounds_is_rejected(start: object, end: object, reason: str) -> None:
    period = {"from": start, "to": end, "intensity": {"forecast": 1, "index": "low"}}
    good = {"from": "2031-02-03T05:00Z", "to": "2031-02-03T05:30Z", "intensity": {"forecast": 2}}
    parsed = parse_intensity(json.dumps({"data": [period, good]}).encode(), NO_CONTEXT)
    assert [row[1] for row in national(parsed)] == [2]
    assert parsed.rejected[0].where == "data[0]"
    assert reason in parsed.rejected[0].reason


def test_a_region_that_names_no_area_is_rejected_with_what_is_known() -> None:
    region = {
        "regionid": 19,
        "shortname": "Atlantis",
        "data": [{"from": "2031-02-03T05:00Z", "to": "2031-02-03T05:30Z", "intensity": {}}],
    }
    parsed = parse_regional(json.dumps({"data": [region]}).encode(), NO_CONTEXT)
    assert parsed.rejected == (
        Rejected(
            "data[0].data[0]",
            "regionid 19, shortname 'Atlantis'; areas 1 to 14 (and the aggregates 15 to 18) "
            "are known",
        ),
    )


def test_a_nan_spoils_its_own_row_only() -> None:
    body = b"""{"data": [
        {"from": "2031-02-03T04:00Z", "to": "2031-02-03T04:30Z", "intensity": {"forecast": NaN}},
        {"from": "2031-02-03T04:30Z", "to": "2031-02-03T05:00Z", "intensity": {"forecast": 8}}]}"""
    parsed = parse_intensity(body, NO_CONTEXT)
    assert [row[1] for row in national(parsed)] == [8]
    assert parsed.rejected[0].reason == "intensity.forecast is nan; a finite number is needed"


def test_the_same_half_hour_twice_counts_once_and_a_contradiction_is_rejected() -> None:
    def period(value: int) -> dict[str, object]:
        return {
            "from": "2031-02-03T04:00Z",
            "to": "2031-02-03T04:30Z",
            "intensity": {"forecast": value, "index": "low"},
        }

    body = json.dumps({"data": [period(5), period(5), period(6)]}).encode()
    parsed = parse_intensity(body, NO_CONTEXT)
    assert [row[1] for row in national(parsed)] == [5]
    assert parsed.skipped == {"repeated rows": 1}
    assert parsed.rejected == (
        Rejected("data[2]", "contradicts data[0], which has the same key; one row a key"),
    )


def test_error_bodies_raise_what_the_source_said(parse_file: ParseFile) -> None:
    with pytest.raises(SourceRejected, match="Please enter a valid start datetime") as caught:
        parse_file("carbon_intensity", "intensity-range", "error_400.json")
    assert caught.value.details["status"] == 400
    with pytest.raises(SourceRejected, match="Forbidden"):
        parse_file("carbon_intensity", "regional", "error_403_gateway.json")
    fault = b'{"error":{"code":"500 Internal Server Error","message":"oops"}}'
    with pytest.raises(SourceUnavailable, match="oops"):
        parse_intensity(fault, NO_CONTEXT)


@pytest.mark.parametrize(
    ("body", "error", "message"),
    [
        (b"", SourcePayloadInvalid, "empty"),
        (b"<html><title>502</title></html>", SourcePayloadInvalid, "a page, not JSON.*502"),
        (b'{"data": [{"from": "2031', SourcePayloadInvalid, "not JSON"),
        (b"[" * 100_000 + b"]" * 100_000, SourcePayloadInvalid, "not JSON"),
        (b'{"data": 5}', SourcePayloadInvalid, "data is 5"),
        (b"17", SourcePayloadInvalid, "data is 17"),
        (b'{"data": []}', NotYetPublished, "nothing is published"),
        (b'{"data": [[[]]]}', SourcePayloadInvalid, "no period|no region"),
    ],
    ids=["empty", "page", "truncated", "deep", "number", "bare number", "nothing", "other"],
)
@pytest.mark.parametrize("parse", [parse_intensity, parse_generation, parse_regional])
def test_a_reply_that_is_something_else_raises(
    parse: Callable[[bytes, ParseContext], Parsed],
    body: bytes,
    error: type[Exception],
    message: str,
) -> None:
    with pytest.raises(error, match=message):
        parse(body, NO_CONTEXT)


def test_a_mix_given_to_the_intensity_parser_is_told_apart(parse_file: ParseFile) -> None:
    with pytest.raises(SourcePayloadInvalid, match="is it a reply of /intensity"):
        parse_file("carbon_intensity", "intensity", "generation.json")


def test_every_endpoint_a_builder_names_has_a_parser() -> None:
    spans = [
        f"regional-{span}{place}"
        for span in ("fw24h", "fw48h", "pt24h", "range")
        for place in ("", "-id", "-postcode")
    ]
    assert set(spans) <= set(ENDPOINTS)
    assert len(ENDPOINTS) == 10 + 6 + 12
