"""Rows of Elexon's generation data: five-minute, half-hourly, and the snapshot.

Metered transmission only: no solar, no embedded wind. Interconnectors and pumped storage go
negative.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import date, datetime, timedelta

from scenarios.publication import Published
from scenarios.synth import reference as ref
from scenarios.wire.elexon_demand import of_days
from scenarios.wire.elexon_rows import Row, second, settlement
from schema.periods import HALF_HOUR

_FIVE = timedelta(minutes=5)
_OPEN_CYCLE_ABOVE_MW = 22_000


def fuels_at(out: Published, index: int) -> dict[str, int]:
    """Give MW by Elexon's fuel types for a half hour."""
    made, demand = out.scenario.generation.national_mw, out.scenario.demand
    gas = int(made[ref.GAS, index])
    open_cycle = max(0, gas - _OPEN_CYCLE_ABOVE_MW) // 4
    return {
        "BIOMASS": int(made[ref.BIOMASS, index]),
        "CCGT": gas - open_cycle,
        "COAL": int(made[ref.COAL, index]),
        **{name: int(demand.flows[i, index]) for i, (name, _, _) in enumerate(ref.INTERCONNECTORS)},
        "NPSHYD": int(made[ref.HYDRO, index]),
        "NUCLEAR": int(made[ref.NUCLEAR, index]),
        "OCGT": open_cycle,
        "OIL": 0,
        "OTHER": int(made[ref.OTHER, index]),
        "PS": int(demand.storage_out[index] - demand.pumping[index]),
        "WIND": int(made[ref.WIND, index] - demand.embedded_wind[index]),
    }


def fuelhh_rows(out: Published, days: Sequence[date]) -> list[Row]:
    """Give half-hourly generation by fuel of settlement days, oldest first."""
    axis = out.scenario.axis
    rows: list[Row] = []
    for index in of_days(axis, days):
        if not out.fuel_out(index):
            continue
        at = axis.at(index)
        rows.extend(
            {
                "publishTime": second(at + HALF_HOUR),
                "startTime": second(at),
                **settlement(at),
                "fuelType": fuel,
                "generation": megawatts,
            }
            for fuel, megawatts in fuels_at(out, index).items()
        )
    return rows


def fuelinst_rows(out: Published, start: datetime, end: datetime) -> list[Row]:
    """Give five-minute generation by fuel published in ``[start, end]``, oldest first.

    ``startTime`` is five minutes before ``publishTime``. Figures run straight from one half hour to
    the next.
    """
    axis = out.scenario.axis
    seconds = int(_FIVE.total_seconds())
    moment = datetime.fromtimestamp(-(-int(start.timestamp()) // seconds) * seconds, start.tzinfo)
    rows: list[Row] = []
    while moment <= min(end, out.now):
        at = moment - _FIVE
        index = axis.index(at)
        if axis.holds(index) and axis.holds(index + 1):
            step = (at - axis.at(index)) // _FIVE
            here, after = fuels_at(out, index), fuels_at(out, index + 1)
            rows.extend(
                {
                    "publishTime": second(moment),
                    "startTime": second(at),
                    **settlement(at),
                    "fuelType": fuel,
                    "generation": megawatts + (after[fuel] - megawatts) * step // 6,
                }
                for fuel, megawatts in here.items()
            )
        moment += _FIVE
    return rows


def snapshot_rows(out: Published) -> list[Row]:
    """Give generation by fuel now, over the last half hour, and over the last day."""
    axis = out.scenario.axis
    index = axis.index(out.now)
    now, last = fuels_at(out, index), fuels_at(out, index - 1)
    day = [fuels_at(out, i) for i in axis.clamp(index - 48, index)]
    over_day = {fuel: sum(figures[fuel] for figures in day) // len(day) for fuel in now}
    return [
        {
            "fuelType": fuel,
            "currentUsage": now[fuel],
            "currentPercentage": _part(now, fuel),
            "halfHourUsage": last[fuel],
            "halfHourPercentage": _part(last, fuel),
            "twentyFourHourUsage": over_day[fuel],
            "twentyFourHourPercentage": _part(over_day, fuel),
        }
        for fuel in now
    ]


def _part(figures: dict[str, int], fuel: str) -> float:
    total = sum(max(0, megawatts) for megawatts in figures.values())
    return round(100 * figures[fuel] / total, 1)
