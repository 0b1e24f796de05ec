"""Requests to the Carbon Intensity API have the paths that it documents."""

from __future__ import annotations

from datetime import UTC, date, datetime, timedelta, timezone

import pytest

from fetchers.carbon_intensity import endpoints as ci
from fetchers.carbon_intensity.parse import ENDPOINTS
from fetchers.request import Request

NOW = datetime(2031, 5, 1, 10, 30, 59, tzinfo=UTC)
CAMBRIDGE = ci.Place(postcode="CB2")
LONDON = ci.Place(region_id=13)


@pytest.mark.parametrize(
    ("request_", "endpoint", "path"),
    [
        (ci.build_intensity(), "intensity", "/intensity"),
        (ci.build_intensity_date(), "intensity-date", "/intensity/date"),
        (
            ci.build_intensity_date(date(2031, 10, 26), 50),
            "intensity-date",
            "/intensity/date/2031-10-26/50",
        ),
        (ci.build_intensity_at(NOW), "intensity-at", "/intensity/2031-05-01T10:30Z"),
        (
            ci.build_intensity_span(NOW, ci.Span.NEXT_48H),
            "intensity-fw48h",
            "/intensity/2031-05-01T10:30Z/fw48h",
        ),
        (
            ci.build_intensity_range(NOW, NOW + timedelta(days=14)),
            "intensity-range",
            "/intensity/2031-05-01T10:30Z/2031-05-15T10:30Z",
        ),
        (
            ci.build_generation_past(NOW),
            "generation-pt24h",
            "/generation/2031-05-01T10:30Z/pt24h",
        ),
        (
            ci.build_generation_range(NOW, NOW + timedelta(hours=1)),
            "generation-range",
            "/generation/2031-05-01T10:30Z/2031-05-01T11:30Z",
        ),
        (ci.build_regional(), "regional", "/regional"),
        (ci.build_regional(ci.Country.WALES), "regional-wales", "/regional/wales"),
        (ci.build_regional(LONDON), "regional-id", "/regional/regionid/13"),
        (ci.build_regional(CAMBRIDGE), "regional-postcode", "/regional/postcode/CB2"),
        (
            ci.build_regional_span(NOW, ci.Span.NEXT_24H, CAMBRIDGE),
            "regional-fw24h-postcode",
            "/regional/intensity/2031-05-01T10:30Z/fw24h/postcode/CB2",
        ),
        (
            ci.build_regional_range(NOW, NOW + timedelta(hours=1), LONDON),
            "regional-range-id",
            "/regional/intensity/2031-05-01T10:30Z/2031-05-01T11:30Z/regionid/13",
        ),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_a_request_has_its_path_and_a_parser(request_: Request, endpoint: str, path: str) -> None:
    assert request_.source == "carbon_intensity"
    assert request_.full_url == f"https://api.carbonintensity.org.uk{path}"
    assert request_.endpoint == endpoint
    assert endpoint in ENDPOINTS
    assert ("Accept", "application/json") in request_.headers


def test_instants_are_written_in_utc_to_the_minute() -> None:
    summer = timezone(timedelta(hours=1))
    assert ci.format_minute(datetime(2031, 5, 1, 11, 30, tzinfo=summer)) == "2031-05-01T10:30Z"


def test_another_host_may_be_asked() -> None:
    request = ci.build_generation("http://127.0.0.1:9/base/")
    assert request.url == "http://127.0.0.1:9/base/generation"


def test_what_the_api_does_not_take_is_refused() -> None:
    with pytest.raises(ValueError, match="at most 14 days"):
        ci.build_intensity_range(NOW, NOW + timedelta(days=14, seconds=1))
    with pytest.raises(ValueError, match="ends after it starts"):
        ci.build_regional_range(NOW, NOW)
    with pytest.raises(ValueError, match="1 to 50"):
        ci.build_intensity_date(date(2031, 10, 26), 51)
    with pytest.raises(ValueError, match="outward code"):
        ci.Place(postcode="../stats")
    with pytest.raises(ValueError, match="exactly one"):
        ci.Place()
