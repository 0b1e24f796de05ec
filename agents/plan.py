"""A batch of workloads negotiated offline: from columns to a market, from its outcome to figures.

One organisation, ``plan``, with one site in each region of the grid. The market is the one every
replay uses; where its shards live is the caller's business.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from agents.core.book import default_refusal_nano
from agents.core.market.contractors import Contractors
from agents.core.market.digest import digest_of
from agents.core.market.discovery import Round
from agents.core.market.fleet import Fleet
from agents.core.market.negotiate import Options, negotiate
from agents.core.market.order import workload_keys
from agents.core.market.outcome import Outcome
from agents.core.market.problem import CARBON_VALUE_GBP_PER_KG, Market, build_market
from agents.core.market.units import NANO, Floats, Ints, q_to_price
from agents.plan_batch import NOT_STATED, Batch
from agents.plan_grid import PlanGrid
from agents.plan_objective import Objective, value_weights
from schema.errors import InputError
from schema.units import GRAMS_PER_KG, HOURS_PER_PERIOD

ORGANISATION = "plan"
_ORDINARY_PRIORITY = 5
#: Refusals add up in 63 bits; half of that is left for costs.
_MOST_REFUSALS_NANO = 2**62


@dataclass(frozen=True, slots=True, eq=False)
class Job:
    """A batch ready to be negotiated."""

    grid: PlanGrid
    batch: Batch
    market: Market
    fleet: Fleet


@dataclass(frozen=True, slots=True, eq=False)
class Schedule:
    """Who runs where and when, in the batch's order.

    Attributes:
        awarded: [n]
        ptr: [n + 1] first segment of each workload in the next three; refused ones have none.
        region: Region number of a segment.
        first, end: Half-hour numbers, end excluded.
    """

    awarded: NDArray[np.bool_]
    ptr: Ints
    region: Ints
    first: Ints
    end: Ints


@dataclass(frozen=True, slots=True)
class PlanReport:
    """A plan in figures; names and order are those of ``plan --json``."""

    workloads: int
    awarded: int
    refused: int
    cost_gbp: float
    bound_gbp: float
    gap: float
    rounds: int
    messages: int
    baseline_kg: float
    scheduled_kg: float
    negotiate_s: float
    wall_s: float
    digest: str


def build_job(
    grid: PlanGrid,
    batch: Batch,
    objective: Objective = Objective.BALANCED,
    *,
    carbon_value_gbp_per_kg: float = CARBON_VALUE_GBP_PER_KG,
) -> Job:
    """Make the market and the organisation of a plan.

    Raises:
        InputError: Refusal values add up to more than can be counted.
    """
    price_weight, carbon_value = value_weights(objective, carbon_value_gbp_per_kg)
    market = build_market(
        [f"region-{region}" for region in grid.regions.tolist()],
        grid.regions.tolist(),
        price_gbp_per_mwh=grid.price_gbp_per_mwh,
        intensity_gco2_per_kwh=grid.intensity_gco2_per_kwh,
        capacity_kw=grid.capacity_kw,
        carbon_value_gbp_per_kg=carbon_value,
        price_weight=price_weight,
    )
    dearest = float(q_to_price(market.grid_q).max())
    count = len(batch)
    usual = default_refusal_nano(
        batch.power_w, batch.duration, np.full(count, _ORDINARY_PRIORITY), dearest
    )
    refusal = np.where(batch.refusal_nano == NOT_STATED, usual, batch.refusal_nano)
    if float(refusal.astype(np.float64).sum()) > _MOST_REFUSALS_NANO:
        raise InputError(
            f"the refusal values of all workloads add up to more than "
            f"{_MOST_REFUSALS_NANO // NANO} GBP, which cannot be counted; give lower ones",
            field="refusal_value_gbp",
        )
    fleet = Fleet(
        organisation=ORGANISATION,
        names=batch.names,
        key=workload_keys(ORGANISATION, batch.names.tolist()),
        power_w=batch.power_w,
        duration=batch.duration,
        earliest=batch.earliest,
        deadline=batch.deadline,
        release=batch.release,
        masks=batch.masks,
        mask=batch.mask,
        home=batch.home,
        interruptible=batch.interruptible,
        omega_q=batch.omega_q,
        refusal_nano=refusal,
        accepted=np.zeros(count, np.bool_),
    )
    return Job(grid, batch, market, fleet)


def hold(
    job: Job,
    contractors: Contractors,
    *,
    seed: int,
    on_round: Callable[[Round], None] | None = None,
    on_phase: Callable[[str], None] | None = None,
) -> Outcome:
    """Negotiate a job with its shards, wherever they are."""
    return negotiate(
        job.market, contractors, Options(seed=seed), on_round=on_round, on_phase=on_phase
    )


def schedule_of(job: Job, outcome: Outcome) -> Schedule:
    """Give the schedule in the batch's order, each workload's segments in order of time."""
    (places,) = outcome.places
    rank = np.empty(len(places), np.int64)
    rank[np.argsort(job.fleet.key)] = np.arange(len(places))
    owner = np.repeat(np.arange(len(places)), np.diff(places.ptr))
    begins = np.ones(len(owner), np.bool_)
    begins[1:] = (np.diff(owner) != 0) | (np.diff(places.period) != 1)
    at = np.flatnonzero(begins)
    last = np.append(at, len(owner))[1:] - 1
    segments = np.bincount(owner[at], minlength=len(places))
    place_ptr = np.concatenate(([0], np.cumsum(segments)))
    count = segments[rank]
    ptr = np.concatenate(([0], np.cumsum(count))).astype(np.int64)
    chosen = np.repeat(place_ptr[rank] - ptr[:-1], count) + np.arange(int(ptr[-1]))
    return Schedule(
        awarded=places.site[rank] >= 0,
        ptr=ptr,
        region=job.grid.regions[places.site[owner[at]]][chosen],
        first=places.period[at][chosen] + job.grid.origin,
        end=places.period[last][chosen] + 1 + job.grid.origin,
    )


def carbon_kg(job: Job, schedule: Schedule) -> tuple[float, float]:
    """Give the carbon of the baseline and of the schedule, in kg.

    The baseline runs at once, at home, without a break. A refused workload counts with its
    baseline on both sides.
    """
    batch, grid = job.batch, job.grid
    total = _running(grid.intensity_gco2_per_kwh)
    each_kwh = batch.power_kw * HOURS_PER_PERIOD
    stop = batch.earliest + batch.duration
    baseline = each_kwh * (total[batch.home, stop] - total[batch.home, batch.earliest])
    owner = np.repeat(np.arange(len(batch)), np.diff(schedule.ptr))
    row = grid.row_of()[schedule.region]
    grams = each_kwh[owner] * (
        total[row, schedule.end - grid.origin] - total[row, schedule.first - grid.origin]
    )
    placed = np.bincount(owner, weights=grams, minlength=len(batch))
    scheduled = np.where(schedule.awarded, placed, baseline)
    return float(baseline.sum()) / GRAMS_PER_KG, float(scheduled.sum()) / GRAMS_PER_KG


def message_count(outcome: Outcome) -> int:
    """Count the contract net's messages, as a message log would hold them.

    A call and an answer of each organisation in every round, the call with the settled tables, each
    workload's first proposal, and one award or refusal for each. Calls between processes that
    exist only because of shards are no messages.
    """
    rounds = sum(1 + len(current.loads_by_organisation) for current in outcome.rounds)
    proposed = sum(int((first.site >= 0).sum()) for first in outcome.proposals)
    return rounds + 1 + proposed + outcome.workloads


def report_of(
    job: Job, outcome: Outcome, schedule: Schedule, *, negotiate_s: float, wall_s: float
) -> PlanReport:
    """Put a plan into figures."""
    baseline_kg, scheduled_kg = carbon_kg(job, schedule)
    return PlanReport(
        workloads=outcome.workloads,
        awarded=outcome.workloads - outcome.refused,
        refused=outcome.refused,
        cost_gbp=outcome.cost_gbp,
        bound_gbp=outcome.bound_gbp,
        gap=outcome.gap,
        rounds=len(outcome.rounds),
        messages=message_count(outcome),
        baseline_kg=baseline_kg,
        scheduled_kg=scheduled_kg,
        negotiate_s=negotiate_s,
        wall_s=wall_s,
        digest=digest_of(outcome),
    )


def _running(table: Floats) -> Floats:
    """[S, T + 1] sums of a table's columns before each."""
    return np.concatenate(
        (np.zeros((len(table), 1)), np.cumsum(table, axis=1, dtype=np.float64)), axis=1
    )
