"""What a replay tells when it is done, for programs and for people."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

from rich.console import Console
from rich.table import Table


@dataclass(frozen=True, slots=True)
class SourceFigures:
    """What one source was asked and gave."""

    requests: int = 0
    rows: int = 0
    fallbacks: int = 0


@dataclass(frozen=True, slots=True)
class WorkloadFigures:
    """Where the workloads of a run ended. A missed one was refused until its time ran out."""

    registered: int = 0
    awarded: int = 0
    refused: int = 0
    missed_deadlines: int = 0


@dataclass(frozen=True, slots=True)
class LargestConversation:
    """The conversation with most workloads."""

    workloads: int
    cost_gbp: float
    bound_gbp: float
    gap: float


@dataclass(frozen=True, slots=True)
class NegotiationFigures:
    """All conversations of a run; gaps are never averaged over work covered twice."""

    conversations: int
    rounds: int
    messages: int
    largest: LargestConversation | None
    worst_gap: float | None


@dataclass(frozen=True, slots=True)
class CarbonFigures:
    """Carbon against running at once at home, in kg.

    ``rescored`` figures, of the schedule and of the baseline, use what was published later; they
    are to be held against each other, not against the forecasts.
    """

    baseline_kg: float
    scheduled_kg: float
    avoided_kg: float
    avoided_pct: float
    rescored_kg: float
    rescored_baseline_kg: float


@dataclass(frozen=True, slots=True)
class ShardFigures:
    """One process that held a part of an organisation's workloads."""

    agent: str
    pid: int
    workloads: int


@dataclass(frozen=True, slots=True)
class ReplayOutcome:
    """The whole answer of ``replay``."""

    run_id: str
    scenario: str
    seed: int
    digest: str
    ticks: int
    wall_s: float
    sources: Mapping[str, SourceFigures]
    workloads: WorkloadFigures
    negotiation: NegotiationFigures
    carbon: CarbonFigures
    rows: Mapping[str, int]
    supabase: Mapping[str, str]
    shards: tuple[ShardFigures, ...] = ()

    def to_json(self) -> dict[str, Any]:
        """Give the one JSON document."""
        return asdict(self)


def print_summary(outcome: ReplayOutcome, console: Console) -> None:
    """Say in a screenful what happened and where to look next."""
    work, talk, carbon = outcome.workloads, outcome.negotiation, outcome.carbon
    table = Table(show_header=False, box=None, padding=(0, 2, 0, 0))
    table.add_column(style="bold")
    table.add_column()
    table.add_row(
        "Replayed",
        f"{outcome.scenario}, seed {outcome.seed}: {outcome.ticks} ticks in {outcome.wall_s:.1f} s",
    )
    sources = ", ".join(
        f"{name} {figures.requests} requests"
        + (f" ({figures.fallbacks} fallbacks)" if figures.fallbacks else "")
        for name, figures in outcome.sources.items()
    )
    table.add_row("Sources", sources)
    table.add_row(
        "Workloads",
        f"{work.registered} registered, {work.awarded} awarded, {work.refused} refused, "
        f"{work.missed_deadlines} deadlines missed",
    )
    if talk.largest is not None:
        table.add_row(
            "Negotiation",
            f"{talk.conversations} conversations, {talk.rounds} rounds, {talk.messages} messages",
        )
        table.add_row(
            "Certificate",
            f"largest conversation: {talk.largest.workloads} workloads, cost "
            f"{talk.largest.cost_gbp:,.2f} GBP, proven bound {talk.largest.bound_gbp:,.2f} GBP, "
            f"gap {talk.largest.gap:.2%}",
        )
    table.add_row(
        "Carbon",
        f"{carbon.scheduled_kg:,.0f} kg instead of {carbon.baseline_kg:,.0f} kg: "
        f"{carbon.avoided_kg:,.0f} kg avoided ({carbon.avoided_pct:.1f} %); "
        f"re-scored on what was published later, {carbon.rescored_kg:,.0f} kg instead of "
        f"{carbon.rescored_baseline_kg:,.0f} kg",
    )
    written = sum(outcome.rows.values())
    filled = sum(1 for count in outcome.rows.values() if count)
    table.add_row(
        "Supabase",
        f"{written:,} rows in {filled} tables ({outcome.supabase['mode']}, "
        f"{outcome.supabase['url']})",
    )
    table.add_row("Digest", outcome.digest)
    console.print(table)
    console.print()
    console.print("[bold]Where to look next[/]")
    for command, what in _next_steps(outcome.run_id):
        console.print(
            f"  .venv/bin/python run_cluster.py {command}", highlight=False, soft_wrap=True
        )
        console.print(f"      {what}", style="dim", highlight=False, soft_wrap=True)


def _next_steps(run_id: str) -> tuple[tuple[str, str], ...]:
    query = (
        "select short_name, starts_at, intensity_gco2_per_kwh from regional_compute_opportunities "
        "where run_id = latest_run() and objective = 'carbon' and duration_hours = 4 "
        "order by intensity_gco2_per_kwh limit 5"
    )
    return (
        ("inspect negotiations", "every conversation of the last run with its bound and gap"),
        ("inspect schedule", "when and where each workload runs"),
        ("inspect audit", "rebuilds the schedule from the message log alone and checks it"),
        (f'db query "{query}"', "the cleanest 4 hours ahead at the end of the run, by region"),
        ("supabase studio", f"tables in the browser; filter by run_id = {run_id}"),
    )
