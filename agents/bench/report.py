"""What `bench negotiate` answers: one JSON document, or tables for a terminal. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from typing import Any

from agents.bench.measure import SETTLEMENT, Measured, growth_exponent, worst
from agents.bench.referee import Verdict
from agents.bench.rivals import Standing
from agents.bench.run import Found

Line = dict[str, Any]


def results(measured: Sequence[Measured]) -> list[Measured]:
    """Give the worst of all traces and seeds, a row each size and number of shards."""
    kinds = sorted({(one.workloads, one.shards) for one in measured})
    return [
        worst([one for one in measured if (one.workloads, one.shards) == kind]) for kind in kinds
    ]


def document(found: Found, machine: dict[str, object], **asked: object) -> Line:
    """Give the JSON document."""
    rows = results(found.measured)
    last = [row for row in rows if row.shards == rows[-1].shards] if rows else []
    return {
        "machine": machine | {"load_average": found.load_average},
        "asked": asked,
        "compile_s": found.compile_s,
        "results": [asdict(row) for row in rows],
        "cases": [asdict(one) for one in found.measured],
        "growth_exponent": growth_exponent(last, lambda one: one.negotiate_s),
        "growth_exponent_settlement": growth_exponent(last, lambda one: one.phases[SETTLEMENT]),
        "rivals": [asdict(rival) | _against(rival, found.measured) for rival in found.rivals],
        "referee": [
            asdict(verdict) | _judged(verdict, found.measured) for verdict in found.verdicts
        ],
    }


def result_lines(rows: Sequence[Measured]) -> list[Line]:
    """One line a size and number of shards."""
    return [
        {
            "workloads": row.workloads,
            "shards": row.shards,
            "seconds": row.negotiate_s,
            "gap": f"{row.gap:.3%}",
            "missed": row.refused,
            "within 1 %": f"{row.within_1pct:.1%}",
            "CO2 saved": f"{row.carbon_saved:.1%}",
            "possible": None if row.carbon_possible is None else f"{row.carbon_possible:.1%}",
            "rounds": row.rounds,
            "messages": row.messages,
            "calls": row.calls,
            "a cell": row.per_cell,
            "window/p": None if row.window_ratio is None else round(row.window_ratio, 1),
            "peak MiB": None if row.peak_mib is None else round(row.peak_mib),
        }
        for row in rows
    ]


def phase_lines(rows: Sequence[Measured]) -> list[Line]:
    """One line a size and number of shards: seconds by phase."""
    names = list(dict.fromkeys(name for row in rows for name in row.phases))
    return [
        {
            "workloads": row.workloads,
            "shards": row.shards,
            **{name: row.phases.get(name) for name in names},
            "load": row.load_s,
        }
        for row in rows
    ]


def rival_lines(rivals: Sequence[Standing], measured: Sequence[Measured]) -> list[Line]:
    """One line a scheduler and case, the market beside it."""
    lines = []
    for rival in rivals:
        against = _against(rival, measured)
        lines.append(
            {
                "scheduler": rival.rival,
                "workloads": rival.workloads,
                "trace": rival.trace,
                "seed": rival.seed,
                "CO2 saved": f"{rival.carbon_saved:.1%}",
                "market": f"{against['market_carbon_saved']:.1%}",
                "missed": rival.missed,
                "market missed": against["market_missed"],
                "cost GBP": rival.cost_gbp,
                "market GBP": against["market_cost_gbp"],
                "beaten": against["beaten"],
            }
        )
    return lines


def referee_lines(verdicts: Sequence[Verdict], measured: Sequence[Measured]) -> list[Line]:
    """One line a case that the exact solver judged."""
    lines = []
    for verdict in verdicts:
        judged = _judged(verdict, measured)
        lines.append(
            {
                "workloads": verdict.workloads,
                "trace": verdict.trace,
                "seed": verdict.seed,
                "LP GBP": verdict.lp_gbp,
                "bound / LP": f"{judged['bound_of_lp']:.5f}",
                "unproven": f"{verdict.lp_slack:.5%}",
                "cost / LP": f"{judged['cost_of_lp']:.5f}",
                "integer GBP": verdict.integer_gbp,
                "HiGHS s": verdict.seconds,
                "times faster": judged["times_faster"],
            }
        )
    return lines


def _same(one: Standing | Verdict, measured: Sequence[Measured]) -> Measured:
    key = (one.workloads, one.trace, one.seed)
    return next(row for row in measured if (row.workloads, row.trace, row.seed) == key)


def _against(rival: Standing, measured: Sequence[Measured]) -> Line:
    """Compare a scheduler with the market on the same work: beaten on carbon and on misses."""
    market = _same(rival, measured)
    no_worse = market.carbon_saved >= rival.carbon_saved and market.refused <= rival.missed
    better = market.carbon_saved > rival.carbon_saved or market.refused < rival.missed
    return {
        "market_carbon_saved": market.carbon_saved,
        "market_missed": market.refused,
        "market_cost_gbp": market.cost_gbp,
        "beaten": no_worse and better,
    }


def _judged(verdict: Verdict, measured: Sequence[Measured]) -> Line:
    market = _same(verdict, measured)
    return {
        "bound_of_lp": market.bound_gbp / verdict.lp_gbp,
        "cost_of_lp": market.cost_gbp / verdict.lp_gbp,
        "times_faster": verdict.seconds / market.negotiate_s,
    }
