"""Holding a negotiation several times and putting it into figures."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, fields
from statistics import median

import numpy as np

from agents.bench.carbon import at_once_kg, least_kg, placed_kg
from agents.bench.case import Case, all_work
from agents.core.market.contractors import Contractors
from agents.core.market.digest import digest_of
from agents.core.market.negotiate import Options, negotiate
from agents.core.market.outcome import Outcome
from agents.core.market.units import NANO_PER_QW, Floats
from agents.plan import message_count

Talk = Callable[[Contractors], Outcome]
Holder = Callable[[Talk], Outcome]
"""Calls a talk with the contractors of a case, wherever they are."""

SETTLEMENT = "settlement"


@dataclass(frozen=True, slots=True)
class Timed:
    """How long one negotiation took, in seconds."""

    seconds: float
    phases: dict[str, float]


@dataclass(frozen=True, slots=True)
class Measured:
    """One case in figures; names and order are those of the JSON document.

    Attributes:
        windows: How many there are; ``window_ratio`` their median capacity / median power.
        per_cell: Workloads in a cell if all are placed: the fewer, the lumpier.
        messages: Of the contract net; ``calls`` are those to shards, all at once or in turn.
        negotiate_s: Median of the runs, as each of ``phases``.
        gap: Between cost and bound; ``gap_placed`` without what refusals cost.
        above_refusal: Workloads that pay more than being refused would cost them.
        within_1pct: Part of the placed that is within 1 % of its best response.
        carbon_saved: Against running at once at home; ``carbon_possible`` is the most that
            capacity allows a schedule without a miss, None where the market found none.
        load_s: Handing the workloads to their shards, before the negotiation.
        peak_mib: Of manager and shards together.
    """

    workloads: int
    shards: int
    trace: str
    seed: int
    windows: int
    window_ratio: float | None
    per_cell: float
    rounds: int
    messages: int
    calls: int
    negotiate_s: float
    phases: dict[str, float]
    gap: float
    gap_placed: float
    bound_gbp: float
    cost_gbp: float
    refused: int
    above_refusal: int
    within_1pct: float
    carbon_saved: float
    carbon_possible: float | None
    load_s: float
    peak_mib: float | None
    digest: str


def timed(case: Case, hold: Holder, options: Options) -> tuple[Outcome, Timed]:
    """Negotiate once."""
    marks: list[tuple[str, float]] = []

    def talk(contractors: Contractors) -> Outcome:
        marks.clear()
        return negotiate(
            case.market,
            contractors,
            options,
            on_phase=lambda phase: marks.append((phase, time.perf_counter())),
        )

    begun = time.perf_counter()
    outcome = hold(talk)
    ended = time.perf_counter()
    stops = [at for _, at in marks[1:]] + [ended]
    phases = {name: stop - at for (name, at), stop in zip(marks, stops, strict=True)}
    return outcome, Timed(ended - begun, phases)


def figures(
    case: Case,
    outcome: Outcome,
    runs: Sequence[Timed],
    *,
    shards: int,
    load_s: float,
    peak_mib: float | None,
) -> Measured:
    """Put the runs of one case into figures; their outcomes are equal, times are medians."""
    at_once = at_once_kg(case, all_work(case))
    placed = sum(part.placed for part in outcome.regrets)
    near = sum(part.within_percent for part in outcome.regrets)
    return Measured(
        workloads=outcome.workloads,
        shards=shards,
        trace=case.trace,
        seed=case.seed,
        windows=len(case.market.windows),
        window_ratio=case.window_ratio(),
        per_cell=outcome.per_cell,
        rounds=len(outcome.rounds),
        messages=message_count(outcome),
        calls=outcome.questions + outcome.token_rounds,
        negotiate_s=median(run.seconds for run in runs),
        phases={name: median(run.phases[name] for run in runs) for name in runs[-1].phases},
        gap=outcome.gap,
        gap_placed=outcome.gap_placed,
        bound_gbp=outcome.bound_gbp,
        cost_gbp=outcome.cost_gbp,
        refused=outcome.refused,
        above_refusal=above_refusal(case, outcome),
        within_1pct=near / placed if placed else 1.0,
        carbon_saved=1.0 - placed_kg(case, outcome.places, at_once) / float(at_once.sum()),
        carbon_possible=None if outcome.refused else possible_saving(case, at_once),
        load_s=load_s,
        peak_mib=peak_mib,
        digest=digest_of(outcome),
    )


def possible_saving(case: Case, at_once: Floats) -> float:
    """Give the most that a schedule without a miss can save, as a part of running at once."""
    return 1.0 - least_kg(case) / float(at_once.sum())


def above_refusal(case: Case, outcome: Outcome) -> int:
    """Count workloads whose posted price is above their refusal value."""
    market, count = outcome.market, 0
    refusal = all_work(case).refusal_nano
    at = 0
    for part in outcome.places:
        halves = np.diff(part.ptr)
        site = np.repeat(part.site, halves)
        price = market.grid_q[site, part.period]
        drawn = part.window >= 0
        offered = outcome.supply_q[market.area[site[drawn]], part.period[drawn]]
        price[drawn] = np.maximum(market.window_q[part.window[drawn]], offered)
        price += outcome.mu_q[site, part.period]
        owner = np.repeat(np.arange(len(part)), halves)
        total = np.bincount(owner, weights=price, minlength=len(part))
        paid = total * part.power_w * NANO_PER_QW
        count += int((paid > refusal[at : at + len(part)] + 1.0).sum())
        at += len(part)
    return count


def worst(measured: Sequence[Measured]) -> Measured:
    """Give the figures of the case with the widest gap, with the worst of the others in them.

    Worst are the longest time of each kind, the most memory, the most refused and the least
    carbon saved.
    """
    widest = max(measured, key=lambda one: one.gap)
    peaks = [one.peak_mib for one in measured if one.peak_mib is not None]
    values = {field.name: getattr(widest, field.name) for field in fields(Measured)}
    values |= {
        "negotiate_s": max(one.negotiate_s for one in measured),
        "phases": {name: max(one.phases[name] for one in measured) for name in widest.phases},
        "refused": max(one.refused for one in measured),
        "above_refusal": max(one.above_refusal for one in measured),
        "within_1pct": min(one.within_1pct for one in measured),
        "carbon_saved": min(one.carbon_saved for one in measured),
        "load_s": max(one.load_s for one in measured),
        "peak_mib": max(peaks) if peaks else None,
    }
    return Measured(**values)


def growth_exponent(rows: Sequence[Measured], seconds: Callable[[Measured], float]) -> float | None:
    """Give b of seconds ~ workloads^b between the two largest sizes; None for one size."""
    by_size = sorted({row.workloads: row for row in rows}.items())
    if len(by_size) < 2:  # noqa: PLR2004
        return None
    (few, small), (many, large) = by_size[-2:]
    return math.log(seconds(large) / seconds(small)) / math.log(many / few)
