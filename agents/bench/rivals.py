"""Schedulers in use today, as small reference functions, each held to the same capacity.

None of them knows a limit that many workloads share, so here they meet it as first come, first
served: in order of earliest start each workload takes the best place, by its scheduler's rule,
that still has room. Where none has, its deadline is missed. They may choose among
grid-supplied half hours only, as Beckn windows are unknown to them.

Sources:
    CATS: start of the window with the least mean intensity (GreenScheduler/cats, README).
    Lets-wait-awhile: the same for work in one piece, the greenest half hours for work that can be
    interrupted (Wiesner et al., Middleware 2021).
    GAIA, carbon-time: the start that saves most carbon per time until completion, with the mean
    duration of the queue in place of the job's own (Hanafy et al., ASPLOS 2024).
"""

from __future__ import annotations

import time
from dataclasses import dataclass
from enum import StrEnum

import numpy as np

from agents.bench.carbon import at_once_kg
from agents.bench.case import Case, Work, all_work
from agents.bench.kernels_rivals import take_carbon_time, take_cheapest
from agents.core.market.units import NANO, NANO_PER_QW, Ints, q_to_price
from schema.units import GRAMS_PER_KG

NOT_PLACED = -1
#: GAIA's two queues part at two hours.
_SHORT = 4
_WATTS_TO_KWH = 2000.0


class Rival(StrEnum):
    """Who can be compared with the market."""

    HIGHS = "highs"
    """The exact solver, as referee of the bound."""
    CATS = "cats"
    CATS_ANYWHERE = "cats-anywhere"
    """CATS' rule over all allowed regions: send it to the greenest."""
    GAIA = "gaia"
    LWA = "lwa"
    FCFS = "fcfs"
    """First-come contract net: each workload takes the cheapest bid of all sites at once."""
    AT_ONCE = "at-once"
    """As soon as there is room at home."""


@dataclass(frozen=True, slots=True)
class Standing:
    """A schedule in figures.

    A missed deadline emits what running at once would, and costs the refusal value.
    """

    rival: str
    workloads: int
    trace: str
    seed: int
    carbon_saved: float
    missed: int
    cost_gbp: float
    seconds: float


@dataclass(frozen=True, slots=True, eq=False)
class Taken:
    """Where everybody stands: site or ``NOT_PLACED``, and half hours at ``ptr``."""

    site: Ints
    ptr: Ints
    periods: Ints


def schedule(rival: Rival, case: Case, work: Work) -> Taken:
    """Give the schedule that a rival ends with."""
    count, (sites, horizon) = len(work.power_w), case.market.grid_q.shape
    order = np.lexsort((np.arange(count), work.earliest))
    ptr = np.concatenate(([0], np.cumsum(work.duration))).astype(np.int64)
    taken = Taken(np.full(count, NOT_PLACED, np.int64), ptr, np.zeros(int(ptr[-1]), np.int64))
    free = np.array(case.market.capacity_w)
    if rival is Rival.GAIA:
        running = np.concatenate((np.zeros((sites, 1)), np.cumsum(case.intensity, axis=1)), axis=1)
        take_carbon_time(
            order,
            work.power_w,
            work.duration,
            work.earliest,
            work.deadline,
            work.home,
            running,
            _queue_means(work.duration),
            free,
            taken.site,
            ptr,
            taken.periods,
        )
        return taken
    at_home = np.zeros_like(work.allowed)
    at_home[np.arange(count), work.home] = True
    nobody, still = np.zeros(count, np.uint8), np.zeros(count)
    intensity = np.ascontiguousarray(case.intensity, dtype=np.float64)
    where, apart, value, slope = {
        Rival.CATS: (at_home, nobody, intensity, still),
        Rival.CATS_ANYWHERE: (work.allowed, nobody, intensity, still),
        Rival.LWA: (at_home, work.interruptible, intensity, still),
        Rival.FCFS: (
            work.allowed,
            work.interruptible,
            q_to_price(case.market.grid_q),
            q_to_price(work.omega_q),
        ),
        Rival.AT_ONCE: (at_home, nobody, np.zeros((sites, horizon)), np.ones(count)),
    }[rival]
    take_cheapest(
        order,
        work.power_w,
        work.duration,
        work.earliest,
        work.deadline,
        apart,
        where,
        value,
        slope,
        free,
        taken.site,
        ptr,
        taken.periods,
    )
    return taken


def stand(rival: Rival, case: Case) -> Standing:
    """Let a rival schedule a case, and put that into figures."""
    work = all_work(case)
    begun = time.perf_counter()
    taken = schedule(rival, case, work)
    seconds = time.perf_counter() - begun
    at_once = at_once_kg(case, work)
    missed = taken.site < 0
    owner = np.repeat(np.arange(len(taken.site)), work.duration)
    placed = ~missed[owner]
    owner, period = owner[placed], taken.periods[placed]
    site = taken.site[owner]
    grams = case.intensity[site, period] * work.power_w[owner] / _WATTS_TO_KWH
    kg = float(grams.sum()) / GRAMS_PER_KG + float(at_once[missed].sum())
    waited = period - work.release[owner]
    price = case.market.grid_q[site, period] + work.omega_q[owner] * waited
    nano = float((price * NANO_PER_QW * work.power_w[owner]).sum())
    nano += float(work.refusal_nano[missed].sum())
    return Standing(
        rival=str(rival),
        workloads=case.workloads,
        trace=case.trace,
        seed=case.seed,
        carbon_saved=1.0 - kg / float(at_once.sum()),
        missed=int(missed.sum()),
        cost_gbp=nano / NANO,
        seconds=seconds,
    )


def _queue_means(duration: Ints) -> Ints:
    """Give each workload the mean duration of its queue, short or long, in half hours."""
    out = np.ones(len(duration), np.int64)
    for queue in (duration <= _SHORT, duration > _SHORT):
        if queue.any():
            out[queue] = max(round(float(duration[queue].mean())), 1)
    return out
