"""What an audit finds: broken rules, each with the rows concerned."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

Row = Mapping[str, Any]

LOG = "agent_negotiations"
PLAN = "workload_schedules"
WORK = "compute_workloads"
SITES = "compute_assets"
BOTH = f"{LOG}, {PLAN}"

RULES = {
    1: "load never passes capacity",
    3: "every awarded slot lies in its window and an allowed region, whole and unbroken",
    4: "the bound never passes the cost, and never falls; the gap follows from them",
    5: "congestion prices are never negative, and positive only where a cell is nearly full",
    6: "nobody pays more than its refusal value, and every refusal has its reason",
    9: "started work never moves, and an accepted contract is never dropped",
    11: "the log is whole and rebuilds the schedule",
}
"""By the numbers of docs/explanation/market.md."""


@dataclass(frozen=True, slots=True)
class Violation:
    """One broken rule; ``rows`` are ids of the rows concerned, ``table`` where they stand."""

    rule: int
    title: str
    detail: str
    table: str
    rows: tuple[str, ...]


@dataclass
class Findings:
    """Collects violations."""

    violations: list[Violation] = field(default_factory=list)

    def add(self, rule: int, detail: str, rows: Iterable[Row], table: str = LOG) -> None:
        """Note a broken rule; a row is named once."""
        ids = tuple(dict.fromkeys(str(row["id"]) for row in rows))
        self.violations.append(Violation(rule, RULES[rule], detail, table, ids))


MONEY_TOLERANCE = 1e-6
"""Of sums in GBP, grams or kWh: they are float64 in the log, added up in another order here."""


def about_equal(one: float, other: float) -> bool:
    """Say whether two sums are the same up to rounding."""
    return abs(one - other) <= MONEY_TOLERANCE * max(1.0, abs(one), abs(other))
