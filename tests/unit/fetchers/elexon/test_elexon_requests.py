"""Requests to Elexon Insights use the routes and parameters of its OpenAPI file."""

from __future__ import annotations

from datetime import UTC, date, datetime, timedelta

import pytest

from fetchers.elexon import endpoints as elexon
from fetchers.elexon.parse import ENDPOINTS
from fetchers.request import Request

NOW = datetime(2031, 2, 3, 4, 0, tzinfo=UTC)
BEFORE = NOW - timedelta(hours=6)
DAY = date(2031, 2, 3)
FROM_TO = "from=2031-02-02T22%3A00%3A00Z&to=2031-02-03T04%3A00%3A00Z"
PUBLISHED = (
    "publishDateTimeFrom=2031-02-02T22%3A00%3A00Z&publishDateTimeTo=2031-02-03T04%3A00%3A00Z"
)
BASE = "https://data.elexon.co.uk/bmrs/api/v1"


@pytest.mark.parametrize(
    ("request_", "endpoint", "rest"),
    [
        (
            elexon.build_market_index(BEFORE, NOW),
            "market-index",
            f"/balancing/pricing/market-index?{FROM_TO}&dataProviders=APXMIDP&dataProviders=N2EXMIDP",
        ),
        (
            elexon.build_market_index_stream(BEFORE, NOW, ["APXMIDP"]),
            "mid-stream",
            f"/datasets/MID/stream?{FROM_TO}&dataProviders=APXMIDP",
        ),
        (
            elexon.build_system_prices(DAY),
            "system-prices",
            "/balancing/settlement/system-prices/2031-02-03",
        ),
        (
            elexon.build_system_prices(DAY, 48),
            "system-prices",
            "/balancing/settlement/system-prices/2031-02-03/48",
        ),
        (
            elexon.build_demand_outturn(DAY, DAY),
            "demand-outturn",
            "/demand/outturn?settlementDateFrom=2031-02-03&settlementDateTo=2031-02-03",
        ),
        (elexon.build_indo(), "indo", "/datasets/INDO"),
        (
            elexon.build_itsdo(BEFORE, NOW),
            "itsdo",
            f"/datasets/ITSDO?{PUBLISHED}",
        ),
        (
            elexon.build_fuelinst(BEFORE, NOW),
            "fuelinst",
            f"/datasets/FUELINST/stream?{PUBLISHED}",
        ),
        (
            elexon.build_fuelhh(DAY, DAY),
            "fuelhh",
            "/datasets/FUELHH/stream?settlementDateFrom=2031-02-03&settlementDateTo=2031-02-03",
        ),
        (elexon.build_generation_current(), "generation-current", "/generation/outturn/current"),
        (
            elexon.build_demand_forecast(),
            "demand-forecast",
            "/forecast/demand/day-ahead/latest",
        ),
        (
            elexon.build_demand_forecast(zonal=True),
            "demand-forecast-zonal",
            "/forecast/demand/day-ahead/latest?boundary=zonal",
        ),
        (
            elexon.build_ndf(BEFORE, NOW),
            "ndf",
            f"/datasets/NDF?{PUBLISHED}",
        ),
        (
            elexon.build_tsdf(BEFORE, NOW),
            "tsdf",
            f"/datasets/TSDF?{PUBLISHED}",
        ),
    ],
    ids=lambda value: value if isinstance(value, str) and "/" not in value else "",
)
def test_a_request_has_its_route_and_a_parser(request_: Request, endpoint: str, rest: str) -> None:
    assert request_.full_url == BASE + rest
    assert request_.endpoint == endpoint
    assert endpoint in ENDPOINTS


def test_ranges_longer_than_the_source_answers_are_refused() -> None:
    week = timedelta(days=7)
    with pytest.raises(ValueError, match="at most 7 day"):
        elexon.build_market_index(NOW - week - timedelta(seconds=1), NOW)
    with pytest.raises(ValueError, match="at most 1 day"):
        elexon.build_fuelinst(NOW - timedelta(days=2), NOW)
    with pytest.raises(ValueError, match="at most 7 settlement days"):
        elexon.build_demand_outturn(DAY - week, DAY)
    with pytest.raises(ValueError, match="does not end before it starts"):
        elexon.build_ndf(NOW, BEFORE)
    with pytest.raises(ValueError, match="1 to 50"):
        elexon.build_system_prices(DAY, 51)
