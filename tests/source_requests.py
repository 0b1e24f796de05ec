"""Every request the live plan makes of the four sources, for tests that answer them."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime, timedelta

from fetchers.beckn import endpoints as beckn
from fetchers.carbon_intensity import endpoints as carbon
from fetchers.elexon import endpoints as elexon
from fetchers.neso import endpoints as neso
from fetchers.request import Request

STAMP_ID = "5b1f5f4e-0000-4000-8000-000000000001"
BECKN_BASE = "https://provider/api"


def live_plan(now: datetime) -> Iterator[Request]:
    """Give the requests of a live moment, each to its source's own address."""
    day = now.date()
    yield carbon.build_intensity_span(now, carbon.Span.NEXT_48H)
    yield carbon.build_intensity_span(now, carbon.Span.PAST_24H)
    yield carbon.build_generation()
    yield carbon.build_regional_span(now, carbon.Span.NEXT_48H)
    yield elexon.build_market_index(now - timedelta(hours=6), now)
    yield elexon.build_system_prices(day - timedelta(days=1))
    yield elexon.build_demand_outturn(day - timedelta(days=1), day)
    yield elexon.build_fuelhh(day - timedelta(days=1), day)
    yield elexon.build_fuelinst(now - timedelta(minutes=10), now)
    yield elexon.build_demand_forecast()
    yield elexon.build_demand_forecast(zonal=True)
    yield neso.build_package_show("demand-flexibility")
    for file in (
        neso.DEMAND_UPDATE,
        neso.EMBEDDED_FORECAST,
        neso.DEMAND_FORECAST_1D,
        neso.DEMAND_FORECAST_2D,
        neso.DEMAND_FORECAST_7D,
        neso.DEMAND_FORECAST_14D,
        neso.EAC_RESULTS,
    ):
        yield neso.build_resource_show(file.resource_id)
        yield neso.build_datastore_search(file)
    stamp = beckn.Stamp(STAMP_ID, now)
    yield beckn.build_discover(BECKN_BASE, beckn.BecknParty(), stamp, transaction_id=STAMP_ID)
