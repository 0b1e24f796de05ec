"""What a scenario implies for the rows that a live run stores, from the scenario alone.

Nothing here reads a reply or uses a parser: figures come from the scenario's arrays, counts are
worked out by hand from what the sources publish by a moment.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from datetime import UTC, datetime, timedelta
from typing import Any

from scenarios.publication import Published
from scenarios.scenario import Scenario
from scenarios.synth import reference as ref
from schema.periods import HALF_HOUR, LONDON

Row = Mapping[str, Any]
Tables = Mapping[str, Iterable[Row]]
DAY = timedelta(days=1)
#: Our names of Elexon's fuels that are one array of the scenario.
ELEXON_FUELS = {"nuclear": ref.NUCLEAR, "biomass": ref.BIOMASS, "hydro": ref.HYDRO}


def instant(value: object) -> datetime:
    found = value if isinstance(value, datetime) else datetime.fromisoformat(str(value))
    return found.astimezone(UTC)


# -- counts --------------------------------------------------------------------------------------


def counts(scenario: Scenario, now: datetime) -> dict[str, dict[str, int]]:
    """Rows by table and source of one iteration on an empty database.

    Args:
        scenario: With no faults.
        now: From 12 to 14 minutes past an hour, on a day without a clock change, long enough after
            the start that all forecasts reach their whole length.
    """
    assert 12 <= now.minute < 15
    today = now.astimezone(LONDON).date()
    midnight = datetime.combine(today, datetime.min.time(), LONDON).astimezone(UTC)
    # Half hours of today that are over: at 16:12 those from 00:00 to 15:30, which are 32.
    over = (now - midnight) // HALF_HOUR
    windows = [window for window in scenario.windows_at(now) if window.ends_at > now]
    offers = sum(window.price_pence_per_mwh is not None for window in windows)
    zones = len({window.zone_code for window in windows})
    return {
        # Next 48 h: 96 half hours that end in them. Past 24 h: 48 that ended in them.
        "carbon_intensity_national": {"carbon_intensity": 96 + 48},
        "carbon_intensity_regional": {"carbon_intensity": 96 * 14},
        # The mix of the half hour now, in 9 fuels; forecast mixes are not stored.
        "generation_mix_regional": {"carbon_intensity": 14 * 9},
        # Of the last half hour in 9 fuels; of today's, five minutes after each, in 20.
        "generation_mix_national": {"carbon_intensity": 9, "elexon": over * 20},
        # The index of 7 days, five minutes after each half hour: the first starts after now - 7 d,
        # so that the one it began in is left out. System prices of seven whole days and of today,
        # 20 minutes after each: the last half hour is not out yet.
        "wholesale_prices": {"elexon": (7 * 48 - 1) + (7 * 48 + over - 1)},
        # Outturn of yesterday and today, 15 minutes after each: the last is not out yet.
        "demand_actual_national": {"elexon": 48 + over - 1},
        "compute_windows": {"beckn": len(windows)},
        "offers": {"beckn": offers},
        "grid_zones": {"beckn": zones},
        "grid_snapshots": {"beckn": zones},
        # discover and on_discover.
        "beckn_transactions": {"beckn": 2},
    }


# -- values --------------------------------------------------------------------------------------


def falsehoods(scenario: Scenario, tables: Tables) -> list[str]:
    """Name every published figure that the scenario does not have, with what it has."""
    found = []
    for table, check in _CHECKS.items():
        for row in tables.get(table, ()):
            if row.get("quality", "published") != "published":
                continue
            found += [f"{table} {fault}" for fault in check(scenario, row)]
    return found


def checked(tables: Tables) -> dict[str, int]:
    """Count the rows that ``falsehoods`` has an opinion on."""
    return {table: len(list(tables.get(table, ()))) for table in _CHECKS}


def _differ(row: Row, where: object, **wanted: float | None) -> Iterator[str]:
    for name, value in wanted.items():
        said = row[name]
        same = said is None if value is None else said is not None and abs(said - value) < 1e-6
        if not same:
            yield f"{where}: {name} is {said}, the scenario has {value}"


def _index(scenario: Scenario, row: Row) -> int:
    return scenario.axis.index(instant(row["valid_from"]))


def _national(scenario: Scenario, row: Row) -> Iterator[str]:
    index, out = _index(scenario, row), Published(scenario, instant(row["retrieved_at"]))
    yield from _differ(row, row["valid_from"], forecast_gco2_per_kwh=out.national_forecast(index))
    if row["actual_gco2_per_kwh"] is not None:
        actual = int(scenario.national_actual[index])
        yield from _differ(row, row["valid_from"], actual_gco2_per_kwh=actual)


def _regional(scenario: Scenario, row: Row) -> Iterator[str]:
    out = Published(scenario, instant(row["retrieved_at"]))
    said = out.regional_forecast(_index(scenario, row))
    value = None if said is None else float(said[row["region_id"] - 1])
    where = (row["valid_from"], row["region_id"])
    yield from _differ(row, where, forecast_gco2_per_kwh=value)


def _mix_national(scenario: Scenario, row: Row) -> Iterator[str]:
    index, made = _index(scenario, row), scenario.generation
    where = (row["source"], row["valid_from"], row["fuel"])
    if row["source"] == "carbon_intensity":
        share = int(made.national_mix[ref.FUELS.index(row["fuel"]), index])
        yield from _differ(row, where, generation_pct=share / 10)
    elif row["fuel"] in ELEXON_FUELS:
        megawatts = int(made.national_mw[ELEXON_FUELS[row["fuel"]], index])
        yield from _differ(row, where, generation_mw=megawatts)
    elif row["fuel"] == "wind":
        # Metered transmission alone: what is embedded shows as less demand.
        metered = int(made.national_mw[ref.WIND, index] - scenario.demand.embedded_wind[index])
        yield from _differ(row, where, generation_mw=metered)


def _mix_regional(scenario: Scenario, row: Row) -> Iterator[str]:
    place = (row["region_id"] - 1, ref.FUELS.index(row["fuel"]), _index(scenario, row))
    share = int(scenario.generation.regional_mix[place])
    yield from _differ(row, (row["valid_from"], *place), generation_pct=share / 10)


def _price(scenario: Scenario, row: Row) -> Iterator[str]:
    index, prices = _index(scenario, row), scenario.prices
    where = (row["market"], row["valid_from"])
    if row["market"] == "APXMIDP":
        volume = int(prices.mid_volume[index]) / 1000
        mid = int(prices.mid[index]) / 100
        yield from _differ(row, where, price_gbp_per_mwh=mid, volume_mwh=volume)
        return
    hours = scenario.file.publication.system_price_revision_h
    age = instant(row["retrieved_at"]) - instant(row["valid_to"])
    revised = age >= timedelta(hours=hours)
    pence = (prices.system_revised if revised else prices.system_first)[index]
    yield from _differ(row, where, price_gbp_per_mwh=int(pence) / 100)


def _outturn(scenario: Scenario, row: Row) -> Iterator[str]:
    if row["source"] == "elexon":
        index, demand = _index(scenario, row), scenario.demand
        yield from _differ(
            row,
            row["valid_from"],
            national_demand_mw=int(demand.national[index]),
            transmission_demand_mw=int(demand.transmission[index]),
        )


def _forecast(scenario: Scenario, row: Row) -> Iterator[str]:
    index, demand = _index(scenario, row), scenario.demand
    error = int(demand.forecast_error[index])
    where = (row["product"], row["valid_from"])
    if row["product"] == "day-ahead":
        ahead = instant(row["valid_from"]) - instant(row["issued_at"])
        hours = max(0, int(ahead.total_seconds() // 3600))
        value = int(demand.national[index]) + error * min(hours, 48) // 36
        yield from _differ(row, where, demand_mw=value)
    elif row["product"] == "2-14-day-ahead":
        yield from _differ(row, where, demand_mw=int(demand.national[index]) + 2 * error)


def _window(scenario: Scenario, row: Row) -> Iterator[str]:
    window = _window_of(scenario, row["item_id"])
    if (instant(row["starts_at"]), instant(row["ends_at"])) != (window.starts_at, window.ends_at):
        yield f"{row['item_id']}: {row['starts_at']} to {row['ends_at']}"
    yield from _differ(
        row,
        row["item_id"],
        capacity_kw=window.capacity_w / 1000,
        intensity_gco2_per_kwh=window.intensity,
        renewable_pct=window.renewable_pct,
    )


def _offer(scenario: Scenario, row: Row) -> Iterator[str]:
    pence = _window_of(scenario, row["item_id"]).price_pence_per_mwh
    yield from _differ(
        row, row["offer_id"], price_per_kwh=None if pence is None else pence / 100_000
    )


def _window_of(scenario: Scenario, item_id: str) -> Any:
    return next(window for window in scenario.windows if window.item_id == item_id)


_CHECKS: dict[str, Callable[[Scenario, Row], Iterator[str]]] = {
    "carbon_intensity_national": _national,
    "carbon_intensity_regional": _regional,
    "generation_mix_national": _mix_national,
    "generation_mix_regional": _mix_regional,
    "wholesale_prices": _price,
    "demand_actual_national": _outturn,
    "demand_forecast_national": _forecast,
    "compute_windows": _window,
    "offers": _offer,
}
