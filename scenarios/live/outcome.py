"""What one iteration of the live pipeline tells when it is done, for programs and for people."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from rich.console import Console
from rich.table import Table

from scenarios.live.pipeline import LivePipeline


@dataclass(frozen=True, slots=True)
class LiveOutcome:
    """The whole answer of ``start --once``.

    ``rows`` are those of the live run in Supabase, earlier iterations included. ``workloads`` and
    ``negotiation`` are None where there are no sites.
    """

    run_id: str
    wall_s: float
    sources: Mapping[str, Mapping[str, Any]]
    workloads: Mapping[str, int] | None
    negotiation: Mapping[str, Any] | None
    rows: Mapping[str, int]
    supabase: Mapping[str, str]

    def to_json(self) -> dict[str, Any]:
        """Give the one JSON document."""
        document: dict[str, Any] = {"run_id": self.run_id, "wall_s": self.wall_s}
        document["sources"] = {name: dict(figures) for name, figures in self.sources.items()}
        if self.workloads is not None:
            document["workloads"] = dict(self.workloads)
        if self.negotiation is not None:
            document["negotiation"] = dict(self.negotiation)
        document["rows"] = dict(self.rows)
        document["supabase"] = dict(self.supabase)
        return document


def sources_of(pipeline: LivePipeline) -> dict[str, Mapping[str, Any]]:
    """Give the figures of every source."""
    return {name: track.figures() for name, track in pipeline.tracks.items()}


def workloads_of(pipeline: LivePipeline) -> dict[str, int] | None:
    """Give where the workloads stand; None where nothing is placed."""
    report = pipeline.report
    if report is None:
        return None
    return {
        "registered": report.registered,
        "awarded": report.awarded,
        "refused": report.registered - report.awarded,
        "missed_deadlines": report.missed,
    }


def negotiation_of(pipeline: LivePipeline) -> dict[str, Any] | None:
    """Give the figures of all conversations; None where nothing is placed."""
    if pipeline.report is None:
        return None
    talks = pipeline.conversations
    largest = max(talks, key=lambda talk: talk.workloads, default=None)
    return {
        "conversations": len(talks),
        "rounds": sum(talk.rounds for talk in talks),
        "messages": pipeline.messages,
        "largest": None
        if largest is None
        else {
            "workloads": largest.workloads,
            "cost_gbp": largest.cost_gbp,
            "bound_gbp": largest.bound_gbp,
            "gap": largest.gap,
        },
        "worst_gap": max((talk.gap for talk in talks), default=None),
    }


def print_summary(outcome: LiveOutcome, console: Console) -> None:
    """Say in a screenful what was fetched, stored and decided."""
    table = Table(show_header=False, box=None, padding=(0, 2, 0, 0))
    table.add_column(style="bold", no_wrap=True)
    table.add_column()
    for name, figures in outcome.sources.items():
        table.add_row(name, _source(figures))
    if outcome.workloads is not None and outcome.negotiation is not None:
        work, talk = outcome.workloads, outcome.negotiation
        table.add_row(
            "workloads",
            f"{work['registered']} registered, {work['awarded']} awarded, "
            f"{talk['conversations']} conversations, {talk['messages']} messages",
        )
    written = sum(outcome.rows.values())
    filled = [table_ for table_, count in outcome.rows.items() if count]
    table.add_row(
        "Supabase",
        f"{written:,} rows of the live run in {len(filled)} tables "
        f"({outcome.supabase['mode']}, {outcome.supabase['url']})",
    )
    table.add_row("run", f"{outcome.run_id}, one iteration in {outcome.wall_s:.1f} s")
    console.print(table, highlight=False)


def _source(figures: Mapping[str, Any]) -> str:
    said = f"{figures['requests']} requests, {figures['rows']:,} new rows"
    for what in ("rejected", "fallbacks"):
        if figures[what]:
            said += f", {figures[what]:,} {what}"
    if figures["waiting"]:
        said += f"; waits for its rate limit: {', '.join(figures['waiting'])}"
    if figures["problem"]:
        said += f"; {figures['problem']}"
    return said
