"""Demand outturn and embedded generation of NESO's files into rows.

A half hour whose national demand is zero or less is not metered yet, whatever its indicator
says; its transmission demand and flows are placeholders too. Embedded generation is real then and
is kept. Flows are positive for import.
"""

from __future__ import annotations

from functools import partial

from fetchers.neso.times import read_half_hour_end, read_period, read_utc
from fetchers.neso.wire import Cells, Table, collect, read_table
from fetchers.parsing import ParseContext, RowSink
from fetchers.wire import Unusable, describe, number, optional_text
from schema.errors import NotYetPublished
from schema.periods import HALF_HOUR, SettlementPeriod, floor_half_hour
from schema.readings import Parsed, Source
from schema.rows import (
    DemandActualNationalRow,
    DemandForecastNationalRow,
    DemandRegionalRow,
    GenerationMixNationalRow,
)

_NAME = Source.NESO.value
ENGLAND_AND_WALES = "england-and-wales"
EMBEDDED_WIND = "embedded-wind"
EMBEDDED_SOLAR = "embedded-solar"
SKIP_PLACEHOLDER = "placeholder rows (F)"
SKIP_UNMETERED = "half hours without figures"

_FLOW_SUFFIX = "_flow"
MIX_FUELS = {
    "gas": "gas",
    "coal": "coal",
    "nuclear": "nuclear",
    "wind": "wind",
    "wind_emb": "embedded_wind",
    "hydro": "hydro",
    "imports": "imports",
    "biomass": "biomass",
    "other": "other",
    "solar": "solar",
    "storage": "storage",
}
"""Columns of the historic mix and our words; the rest of its columns are sums of these."""


def require_rows(table: Table) -> Table:
    """Refuse a file that is well formed and empty: it is being replaced.

    Raises:
        NotYetPublished: The file holds no row.
    """
    if not table.rows:
        msg = f"{_NAME}: the file holds no row; nothing is published for what was asked"
        raise NotYetPublished(msg, source=_NAME)
    return table


def parse_demand(body: bytes, context: ParseContext) -> Parsed:
    """Read half-hourly outturn: the demand update, or one year of history.

    The file's issue time is left out of the rows: a month of unchanged half hours would look
    changed at each release.
    """
    del context
    table = read_table(body, ("settlement_date", "settlement_period", "nd"))
    return collect(require_rows(table), _add_outturn).done()


def _add_outturn(sink: RowSink, where: str, cells: Cells) -> None:
    # Files of past years have no indicator: all their rows are outturn.
    indicator = optional_text(cells.get("forecast_actual_indicator"), "FORECAST_ACTUAL_INDICATOR")
    if indicator is not None and indicator.upper() not in ("A", "F"):
        raise Unusable(f"FORECAST_ACTUAL_INDICATOR is {describe(indicator)}; A or F is allowed")
    if indicator is not None and indicator.upper() == "F":
        sink.skip(SKIP_PLACEHOLDER)
        return
    period = read_period(cells.get("settlement_date"), cells.get("settlement_period"))
    columns = _embedded(cells)
    demand = _positive(cells, "nd")
    if demand is not None:
        columns |= _metered(cells) | {"national_demand_mw": demand}
    if all(value is None for value in columns.values()):
        sink.skip(SKIP_UNMETERED)
        return
    sink.add(
        where,
        DemandActualNationalRow,
        source=_NAME,
        valid_from=period.start,
        valid_to=period.end,
        **columns,
    )
    england_wales = columns.get("england_wales_demand_mw")
    if england_wales is not None:
        sink.add(
            where,
            DemandRegionalRow,
            source=_NAME,
            valid_from=period.start,
            valid_to=period.end,
            area=ENGLAND_AND_WALES,
            demand_mw=england_wales,
        )


def _embedded(cells: Cells) -> dict[str, object]:
    return {
        f"embedded_{fuel}{column}_mw": number(cells.get(name), name.upper())
        for fuel in ("wind", "solar")
        for column, name in (
            ("", f"embedded_{fuel}_generation"),
            ("_capacity", f"embedded_{fuel}_capacity"),
        )
    }


def _metered(cells: Cells) -> dict[str, object]:
    flows = {
        name.removesuffix(_FLOW_SUFFIX): flow
        for name, value in cells.items()
        if name.endswith(_FLOW_SUFFIX) and (flow := number(value, name.upper())) is not None
    }
    return {
        "transmission_demand_mw": _positive(cells, "tsd"),
        "england_wales_demand_mw": _positive(cells, "england_wales_demand"),
        "non_bm_stor_mw": number(cells.get("non_bm_stor"), "NON_BM_STOR"),
        "pump_storage_pumping_mw": number(
            cells.get("pump_storage_pumping"), "PUMP_STORAGE_PUMPING"
        ),
        "scottish_transfer_mw": number(cells.get("scottish_transfer"), "SCOTTISH_TRANSFER"),
        "interconnector_flows_mw": flows or None,
    }


def _positive(cells: Cells, name: str) -> float | None:
    value = number(cells.get(name), name.upper())
    return value if value is not None and value > 0 else None


def parse_embedded(body: bytes, context: ParseContext) -> Parsed:
    """Read the forecast of embedded wind and solar, two rows a half hour.

    They go into the forecast table as series of their own: a forecast has no place among
    outturns. Embedded generation stands outside national demand and lowers it by as much.
    """
    table = read_table(body, ("embedded_wind_forecast", "embedded_solar_forecast"))
    return collect(require_rows(table), partial(_add_embedded, context=context)).done()


def _add_embedded(sink: RowSink, where: str, cells: Cells, context: ParseContext) -> None:
    period = _embedded_period(cells)
    figures = {
        EMBEDDED_WIND: number(cells.get("embedded_wind_forecast"), "EMBEDDED_WIND_FORECAST"),
        EMBEDDED_SOLAR: number(cells.get("embedded_solar_forecast"), "EMBEDDED_SOLAR_FORECAST"),
    }
    if all(value is None for value in figures.values()):
        sink.skip(SKIP_UNMETERED)
    for product, value in figures.items():
        if value is not None:
            sink.add(
                where,
                DemandForecastNationalRow,
                source=_NAME,
                valid_from=period.start,
                valid_to=period.end,
                issued_at=context.issued_at,
                product=product,
                demand_mw=value,
            )


def _embedded_period(cells: Cells) -> SettlementPeriod:
    if cells.get("settlement_period") is not None:
        return read_period(cells.get("settlement_date"), cells.get("settlement_period"))
    # Date and time in GMT label the END of the half hour; "9:30" and "24:00" were seen.
    day = optional_text(cells.get("date_gmt"), "DATE_GMT")
    clock = optional_text(cells.get("time_gmt"), "TIME_GMT")
    if day is None or clock is None:
        raise Unusable("SETTLEMENT_PERIOD is missing, and so is DATE_GMT with TIME_GMT; one needed")
    label = f"{day[:10]}T{clock[:5].zfill(5)}"
    return SettlementPeriod.at(read_half_hour_end(label, "DATE_GMT TIME_GMT"))


def parse_generation_mix(body: bytes, context: ParseContext) -> Parsed:
    """Read the historic national mix, MW and percent by fuel; zone-less times are UTC starts.

    Source of the zone: the portal's own description of the column.
    """
    del context
    table = read_table(body, ("datetime", "gas", "gas_perc"))
    return collect(require_rows(table), _add_mix).done()


def _add_mix(sink: RowSink, where: str, cells: Cells) -> None:
    start = read_utc(cells.get("datetime"), "DATETIME")
    if start != floor_half_hour(start):
        raise Unusable(
            f"DATETIME is {describe(cells.get('datetime'))}; the start of a half hour is needed"
        )
    for column, fuel in MIX_FUELS.items():
        megawatts = number(cells.get(column), column.upper())
        share = number(cells.get(f"{column}_perc"), f"{column.upper()}_perc")
        if megawatts is None and share is None:
            continue
        sink.add(
            f"{where}.{column.upper()}",
            GenerationMixNationalRow,
            source=_NAME,
            valid_from=start,
            valid_to=start + HALF_HOUR,
            fuel=fuel,
            generation_mw=megawatts,
            # Export and pumping are negative; a share of that means nothing.
            generation_pct=share if share is not None and share >= 0 else None,
        )
