"""Checks a run from the database alone: the log must explain the schedule, and break no rule.

Nothing of the program that negotiated is used, only rows: the messages of ``agent_negotiations``
rebuild every contract, and the result is held against capacity, windows, refusal values, bounds
and the stored schedule. A violation names the rows, so that a person can look at them.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from agents.core.auditing import contracts, words
from agents.core.auditing.findings import RULES, Findings, Row, Violation
from agents.core.auditing.reading import (
    Award,
    Site,
    Workload,
    conversations,
    instant,
    read_award,
    read_sites,
    read_switch,
    read_tables,
    read_windows,
    workload_of,
)
from schema.messages import Performative
from schema.periods import ceil_half_hour, half_hour_number

#: Words about a workload that give its place back.
RELEASES = frozenset({Performative.CANCEL, Performative.FAILURE})
#: Words that are said outside of a market, in a conversation without prices.
NOTICES = RELEASES | {Performative.REJECT_PROPOSAL}

__all__ = ["RULES", "AuditReport", "Violation", "audit"]


@dataclass(frozen=True, slots=True)
class AuditReport:
    """What was looked at and what was found; ``cells`` are the site half hours checked."""

    conversations: int
    messages: int
    workloads: int
    awarded: int
    cells: int
    violations: tuple[Violation, ...]


@dataclass
class _Books:
    """The contracts of a run as its messages build them up."""

    work: Mapping[Workload, Row]
    sites: Mapping[str, Site]
    awards: list[Award] = field(default_factory=list)
    standing: dict[Workload, Award] = field(default_factory=dict)
    refused: dict[Workload, Row] = field(default_factory=dict)
    revisions: dict[Workload, int] = field(default_factory=dict)
    """Of the last contract, also of one that was given back."""
    cells: int = 0

    def stand(self, award: Award) -> None:
        """Enter a contract as the one that stands."""
        self.awards.append(award)
        self.standing[award.key] = award
        self.revisions[award.key] = award.revision


def audit(
    negotiations: Sequence[Row],
    workloads: Sequence[Row],
    schedules: Sequence[Row],
    windows: Sequence[Row],
    assets: Sequence[Row],
) -> AuditReport:
    """Rebuild a run from its messages and check it.

    Args:
        negotiations: All rows of ``agent_negotiations`` of one run.
        workloads: All rows of ``compute_workloads``.
        schedules: All rows of ``workload_schedules``, every revision.
        windows: All rows of ``compute_windows``.
        assets: All rows of ``compute_assets``.
    """
    found = Findings()
    work = {(row["agent_name"], row["workload_name"]): row for row in workloads}
    books = _Books(work, read_sites(assets))
    talks = conversations(negotiations)
    for name, rows in talks:
        _check_conversation(name, rows, books, found)
    standing = list(books.standing.values())
    contracts.check_sites(standing, books.sites, found)
    contracts.check_windows(standing, read_windows(windows), found)
    words.check_schedule(books.awards, books.standing, schedules, work, found)
    return AuditReport(
        conversations=len(talks),
        messages=len(negotiations),
        workloads=len(workloads),
        awarded=len(books.standing),
        cells=books.cells,
        violations=tuple(found.violations),
    )


def _check_conversation(name: str, rows: Sequence[Row], books: _Books, found: Findings) -> None:
    words.check_sequence(name, rows, found)
    words.check_doubles(rows, found)
    words.check_rounds(name, rows, found)
    words.check_bounds(name, rows, found)
    # What has begun when a conversation is held is not offered, and does not move any more.
    now = half_hour_number(ceil_half_hour(instant(rows[0]["sent_at"])))
    fresh = _take_words(rows, now, books, found)
    if all(row["round"] == 0 and row["performative"] in NOTICES for row in rows):
        return
    words.check_answers(name, rows, {**books.standing, **books.refused}, found)
    tables = read_tables(name, rows, found)
    if tables is None:
        return
    standing = list(books.standing.values())
    contracts.check_cells(name, tables, standing, found)
    contracts.check_prices(name, tables, standing, found)
    for award in fresh:
        contracts.check_money(award, tables, books.work.get(award.key), found)
    movable = [award for award in standing if award.first >= now]
    words.check_tally(name, tables, len(movable), found)
    words.check_gap(
        name,
        tables,
        contracts.energy_kwh(movable),
        contracts.open_energy_kwh(books.work, books.standing),
        found,
    )
    books.cells += int(tables.capacity_w.size)


def _take_words(rows: Sequence[Row], now: int, books: _Books, found: Findings) -> list[Award]:
    """Enter the final words of a conversation; gives its awards."""
    fresh = []
    for row in rows:
        if row["performative"] == Performative.ACCEPT_PROPOSAL:
            award = read_award(row, found)
            if award is not None:
                _enter(award, now, books, found)
                fresh.append(award)
        elif row["performative"] == Performative.INFORM and row["workload_name"] is not None:
            _take_switch(row, now, books, found)
        elif row["performative"] in RELEASES and row["workload_name"] is not None:
            _release(row, now, books, found)
        elif row["performative"] == Performative.REJECT_PROPOSAL:
            key = workload_of(row)
            books.refused[key] = row
            if not row["content"].get("reason"):
                found.add(6, f"{'/'.join(key)} was refused without a reason", [row])
            if key in books.standing:
                detail = f"{'/'.join(key)} held a contract and was refused"
                found.add(9, detail, [books.standing[key].row, row])
    return fresh


def _release(row: Row, now: int, books: _Books, found: Findings) -> None:
    """Let a contract go, but for what of it lies in half hours that have begun."""
    key = workload_of(row)
    before = books.standing.pop(key, None)
    books.refused[key] = row
    if not row["content"]["segments"]:
        return
    if before is None:
        found.add(11, f"{'/'.join(key)} keeps a part of a contract that it never had", [row])
        return
    after = read_switch(row, before, found)
    if after is None:
        return
    contracts.check_stop(before, after, now, found)
    if after.revision == before.revision:
        books.standing[key] = before
    else:
        books.stand(after)


def _take_switch(row: Row, now: int, books: _Books, found: Findings) -> None:
    before = books.standing.get(workload_of(row))
    if before is None:
        detail = f"{'/'.join(workload_of(row))} changes supply, but holds no contract"
        found.add(11, detail, [row])
        return
    after = read_switch(row, before, found)
    if after is None:
        return
    if after.revision != before.revision + 1:
        detail = f"{after.who}: revision {after.revision} follows revision {before.revision}"
        found.add(11, detail, [before.row, row])
    contracts.check_switch(before, after, now, found)
    books.stand(after)


def _enter(award: Award, now: int, books: _Books, found: Findings) -> None:
    before = books.standing.get(award.key)
    due = 1 + books.revisions.get(award.key, 0)
    if award.revision != due:
        detail = f"{award.who}: revision {award.revision} is awarded where {due} is due"
        found.add(11, detail, [award.row] if before is None else [before.row, award.row])
    if before is not None and before.first < now and before.moved(award):
        detail = f"{award.who} had started and was moved"
        found.add(9, detail, [before.row, award.row])
    contracts.check_slot(award, books.work.get(award.key), books.sites, found)
    books.stand(award)
