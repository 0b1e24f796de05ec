"""The work of one measurement: made up from a seed, or read from CSV files."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from agents.core.market.certificate import loads_of
from agents.core.market.contractors import InProcessContractors, make_books
from agents.core.market.fleet import Fleet
from agents.core.market.instances import Trace, make_instance
from agents.core.market.negotiate import Options, negotiate
from agents.core.market.problem import Market
from agents.core.market.units import Floats, Ints
from agents.plan import build_job
from agents.plan_batch import read_batch
from agents.plan_grid import read_grid
from agents.plan_objective import Objective, value_weights

#: Part of all energy that the windows of a measurement hold together.
WINDOW_SHARE = 0.10
FROM_FILES = "csv"


@dataclass(frozen=True, slots=True, eq=False)
class Case:
    """A market, the work that wants a place in it, and where the work came from.

    Attributes:
        intensity: [S, T] gCO2/kWh of grid energy.
        trace: Shape of made-up work, or ``FROM_FILES``.
        seed: Of made-up work; 0 for files.
    """

    market: Market
    fleets: tuple[Fleet, ...]
    intensity: Floats
    trace: str
    seed: int

    @property
    def workloads(self) -> int:
        """Number of workloads."""
        return sum(len(fleet) for fleet in self.fleets)

    def window_ratio(self) -> float | None:
        """Give the median of window capacity / median power; None without windows."""
        if not self.market.windows:
            return None
        powers = np.concatenate([fleet.power_w for fleet in self.fleets])
        return float(np.median(self.market.window_w) / np.median(powers))


def made_case(
    count: int,
    *,
    seed: int,
    trace: Trace,
    objective: Objective,
    carbon_value_gbp_per_kg: float,
    windows: int = 0,
    overload: float = 1.0,
) -> Case:
    """Draw a case that a schedule without a miss exists for, if ``overload`` is 1.

    Args:
        count: Workloads.
        seed: Same seed, same case.
        trace: Shape of durations and powers.
        objective: What counts; for carbon alone delay costs count nothing either.
        carbon_value_gbp_per_kg: What carbon weighs beside price.
        windows: Beckn windows, which hold ``WINDOW_SHARE`` of all energy together.
        overload: Factor of all capacity.
    """
    price_weight, carbon_value = value_weights(objective, carbon_value_gbp_per_kg)
    made = make_instance(
        count,
        seed=seed,
        trace=trace,
        carbon_value_gbp_per_kg=carbon_value,
        price_weight=price_weight,
        window_share=WINDOW_SHARE if windows else 0.0,
        window_count=windows,
    )
    market = made.market
    if overload != 1.0:
        market = replace(market, capacity_w=np.floor(market.capacity_w * overload).astype(np.int64))
    fleets = made.fleets
    if objective is Objective.CARBON:
        fleets = tuple(replace(one, omega_q=np.zeros_like(one.omega_q)) for one in fleets)
    return Case(market, fleets, made.intensity, str(trace), seed)


def read_case(
    grid: Path, work: Path, *, objective: Objective, carbon_value_gbp_per_kg: float
) -> Case:
    """Read a case from the files that ``plan`` reads.

    Raises:
        InputError: A file, or values in it.
    """
    figures = read_grid(grid)
    job = build_job(
        figures,
        read_batch(work, figures),
        objective,
        carbon_value_gbp_per_kg=carbon_value_gbp_per_kg,
    )
    return Case(job.market, (job.fleet,), figures.intensity_gco2_per_kwh, FROM_FILES, 0)


def on_top(case: Case, count: int) -> Case:
    """Settle all but ``count`` workloads; leave those, and the power the others do not use.

    The newcomers are every n-th workload by key, so that they are like the others.
    """
    (fleet,) = case.fleets
    order = np.argsort(fleet.key)
    late = order[np.linspace(0, len(order) - 1, count).astype(np.int64)]
    early = np.setdiff1d(np.arange(len(order)), late)
    settled = negotiate(
        case.market, InProcessContractors(make_books([fleet.take(early)])), Options()
    )
    loads, _ = loads_of(case.market, list(settled.places))
    market = replace(case.market, capacity_w=case.market.capacity_w - loads)
    return replace(case, market=market, fleets=(fleet.take(late),))


@dataclass(frozen=True, slots=True, eq=False)
class Work:
    """The workloads of all fleets as one set of columns, in order of organisation and key."""

    power_w: Ints
    duration: Ints
    earliest: Ints
    deadline: Ints
    home: Ints
    refusal_nano: Ints
    omega_q: Ints
    release: Ints
    interruptible: np.typing.NDArray[np.uint8]
    allowed: np.typing.NDArray[np.bool_]
    """[n, S]"""


def all_work(case: Case) -> Work:
    """Put the fleets together as an outcome lists their places."""
    parts = sorted(case.fleets, key=lambda fleet: fleet.organisation)
    orders = [np.argsort(fleet.key) for fleet in parts]

    def column(name: str) -> Ints:
        return np.concatenate(
            [getattr(fleet, name)[order] for fleet, order in zip(parts, orders, strict=True)]
        )

    return Work(
        power_w=column("power_w"),
        duration=column("duration"),
        earliest=column("earliest"),
        deadline=column("deadline"),
        home=column("home"),
        refusal_nano=column("refusal_nano"),
        omega_q=column("omega_q"),
        release=column("release"),
        interruptible=column("interruptible").astype(np.uint8),
        allowed=np.concatenate(
            [fleet.masks[fleet.mask[order]] for fleet, order in zip(parts, orders, strict=True)]
        ),
    )
