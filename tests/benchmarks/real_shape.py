"""CSVs for ``plan`` from real prices, real carbon intensity and a real batch trace.

    python tests/benchmarks/real_shape.py DATA OUT --workloads 10000 [--first-day 2023-03-09]
    python run_cluster.py plan --grid OUT/grid.csv --workloads OUT/workloads.csv --shards 2 --json

DATA holds ``grid/neso_2023_national_intensity.csv``, ``grid/3yp_sspsbpniv.csv`` and
``traces/gaia_azure-100k.csv``. Real: national intensity of 2023, imbalance prices of 2018 at the
same dates, lengths and cores of the jobs. Assumed, because no file has it: regional intensity (the
importer's factors), that the imbalance price is the price in every region, 12 W a core and 60 W a
machine, where and when a job may run, and the capacity, which is laid round a schedule without a
miss at energy / capacity 0.70.
"""

from __future__ import annotations

import argparse
import csv
from collections.abc import Iterable, Sequence
from datetime import UTC, date, datetime, timedelta
from pathlib import Path

import numpy as np

from agents.core.market.instances import Given, Instance, make_instance
from agents.core.market.units import NANO, Floats, Ints, Q
from agents.plan_batch import WORKLOAD_COLUMNS
from agents.plan_grid import GRID_COLUMNS
from scenarios.import_series import (
    GapPolicy,
    Job,
    Series,
    fill,
    read_national,
    read_prices,
    read_trace,
)
from scenarios.importer import REGIONAL_FACTORS
from schema.periods import HALF_HOUR, format_instant
from schema.regions import REGION_COUNT

PERIODS = 192
PRICE_YEARS_BACK = 5
"""The price file ends in 2019, the intensity file is of 2023."""
WATTS_A_CORE = 12
WATTS_A_MACHINE = 60
LONGEST_HALF_HOURS = 144


def main() -> None:
    """Write ``grid.csv`` and ``workloads.csv``."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("data", type=Path)
    parser.add_argument("out", type=Path)
    parser.add_argument("--workloads", type=int, default=10_000)
    parser.add_argument("--first-day", type=date.fromisoformat, default=date(2023, 3, 9))
    parser.add_argument("--seed", type=int, default=1)
    asked = parser.parse_args()
    first = datetime.combine(asked.first_day, datetime.min.time(), tzinfo=UTC)
    made = real_instance(asked.data, first, asked.workloads, asked.seed)
    asked.out.mkdir(parents=True, exist_ok=True)
    write(asked.out / "grid.csv", GRID_COLUMNS, grid_rows(made, first))
    write(asked.out / "workloads.csv", WORKLOAD_COLUMNS, workload_rows(made, first))


def real_instance(data: Path, first: datetime, count: int, seed: int) -> Instance:
    """Give ``count`` jobs of the trace on the grid of the four days from ``first`` on."""
    last = first + PERIODS * HALF_HOUR
    forecast, _ = read_national(data / "grid" / "neso_2023_national_intensity.csv")
    years_back = first.replace(year=first.year - PRICE_YEARS_BACK)
    prices = read_prices(data / "grid" / "3yp_sspsbpniv.csv", (first - years_back).days)
    national = row_of(forecast, first, last, "intensity")
    price = row_of(prices, first, last, "prices")
    jobs = read_trace(data / "traces" / "gaia_azure-100k.csv")
    power, duration = work_of(jobs, count, seed)
    given = Given(
        intensity=np.rint(np.array(REGIONAL_FACTORS)[:, None] * national[None]),
        price_gbp_per_mwh=np.repeat(price[None], REGION_COUNT, axis=0),
        power_w=power,
        duration=duration,
    )
    return make_instance(count, seed=seed, periods=PERIODS, utilisation=0.70, given=given)


def row_of(series: Series, first: datetime, last: datetime, name: str) -> Floats:
    """Give the half hours from ``first`` to ``last``; a gap takes the day before."""
    values = fill(series, first, last, GapPolicy.PREVIOUS_DAY, name).values
    return np.array([values[first + step * HALF_HOUR] for step in range(PERIODS)])


def work_of(jobs: list[Job], count: int, seed: int) -> tuple[Ints, Ints]:
    """Give powers (W) and durations of ``count`` jobs; beyond the file's number some come twice."""
    draw = np.random.Generator(np.random.Philox(key=seed))
    order = np.concatenate([draw.permutation(len(jobs)) for _ in range(-(-count // len(jobs)))])
    taken = [jobs[index] for index in order[:count].tolist()]
    power = np.array([WATTS_A_MACHINE + round(WATTS_A_CORE * job.cpus) for job in taken])
    halves = np.ceil(np.array([job.length_h for job in taken]) * 2.0)
    return power, np.clip(halves, 1, LONGEST_HALF_HOURS).astype(np.int64)


def grid_rows(made: Instance, first: datetime) -> Iterable[list[str]]:
    """Give every region and half hour."""
    for region in range(REGION_COUNT):
        for step in range(PERIODS):
            yield [
                str(region + 1),
                format_instant(first + step * HALF_HOUR),
                f"{made.intensity[region, step]:.0f}",
                f"{made.price_gbp_per_mwh[region, step]:.2f}",
                f"{made.market.capacity_w[region, step] / 1000:.3f}",
            ]


def workload_rows(made: Instance, first: datetime) -> Iterable[list[str]]:
    """Give every workload."""
    (fleet,) = made.fleets
    regions = [";".join(str(r + 1) for r in np.flatnonzero(mask)) for mask in fleet.masks]
    half = timedelta(minutes=30)
    for row, name in enumerate(fleet.names.tolist()):
        yield [
            name,
            f"{fleet.power_w[row] / 1000:.3f}",
            str(30 * fleet.duration[row]),
            format_instant(first + int(fleet.earliest[row]) * half),
            format_instant(first + int(fleet.deadline[row]) * half),
            regions[fleet.mask[row]],
            "true" if fleet.interruptible[row] else "false",
            str(fleet.home[row] + 1),
            f"{2 * fleet.omega_q[row] / Q:.6f}",
            f"{fleet.refusal_nano[row] / NANO:.6f}",
        ]


def write(path: Path, columns: Sequence[str], rows: Iterable[Sequence[str]]) -> None:
    """Write one CSV file."""
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(columns)
        writer.writerows(rows)


if __name__ == "__main__":
    main()
