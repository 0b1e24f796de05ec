"""Regional demand, estimated: no source publishes half-hourly demand by distribution area.

Method: national demand of the half hour (Elexon's initial outturn, or its day-ahead forecast
until there is one) times the area's share of Great Britain. The rows say ``estimated``, and their
``method`` names the figure and the share.

The shares are approximate and the same in every half hour. What Scotland takes together (areas 1
and 2) follows from published figures: NESO's demand update gives the demand of England and Wales
beside the national one, and in the 19 metered half hours of a recorded update (September and
October 2026) the rest was 8.3 % of the whole. How England and Wales, and Scotland, divide among
their areas is set by hand from the known order of size of the fourteen licence areas (the largest
distribute about four times the electricity of the smallest in a year), not quoted from an edition
of any table. So the shares tell large areas from small ones, and are wrong by some percent where an
area's profile differs from the country's, as in the evening peak or at night where electric heating
is common. Nothing in the market depends on them.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from schema.readings import Quality
from schema.rows import (
    DemandActualNationalRow,
    DemandForecastNationalRow,
    DemandRegionalRow,
    Row,
)

#: Percent of Great Britain's demand by distribution area; they add up to 100.
SHARE_PCT: Mapping[int, float] = {
    1: 2.5,  # North Scotland
    2: 5.8,  # South Scotland
    3: 8.1,  # North West England
    4: 5.3,  # North East England
    5: 7.7,  # Yorkshire
    6: 5.5,  # North Wales & Merseyside
    7: 4.0,  # South Wales
    8: 8.6,  # West Midlands
    9: 9.2,  # East Midlands
    10: 11.5,  # East England
    11: 5.2,  # South West England
    12: 11.0,  # South England
    13: 9.0,  # London
    14: 6.6,  # South East England
}
#: Products of ``demand_forecast_national`` that are half-hourly national demand.
FORECAST_PRODUCTS = frozenset({"day-ahead"})
OUTTURN_SOURCES = frozenset({"elexon"})


def estimate_regional_demand(rows: Sequence[Row]) -> list[Row]:
    """Give fourteen estimates for each national figure; outturn before forecast.

    An outturn's rows have the same keys as the forecast's before them and a later version, so
    they take their place.
    """
    estimates: dict[tuple[str, object], Row] = {}
    for row in rows:
        match row:
            case DemandForecastNationalRow() if row.product in FORECAST_PRODUCTS:
                national, basis = row.demand_mw, "day-ahead forecast"
            case DemandActualNationalRow() if row.source in OUTTURN_SOURCES:
                if row.national_demand_mw is None:
                    continue
                national, basis = row.national_demand_mw, "initial outturn"
            case _:
                continue
        if row.quality is not Quality.PUBLISHED:
            continue
        for region_id, share in SHARE_PCT.items():
            area = f"region-{region_id}"
            key = (area, row.valid_from)
            if basis == "day-ahead forecast" and key in estimates:
                continue
            estimates[key] = DemandRegionalRow(
                source=row.source,
                valid_from=row.valid_from,
                valid_to=row.valid_to,
                quality=Quality.ESTIMATED,
                issued_at=row.issued_at,
                area=area,
                region_id=region_id,
                demand_mw=round(national * share / 100.0, 1),
                method=f"national {basis} x {share} % (approximate share of the area)",
                version=row.version,
            )
    return list(estimates.values())
