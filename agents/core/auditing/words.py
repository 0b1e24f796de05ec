"""Rules about the log itself: it is whole, nothing is said twice, and bounds are bounds."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from itertools import pairwise

from agents.core.auditing.findings import (
    BOTH,
    MONEY_TOLERANCE,
    PLAN,
    WORK,
    Findings,
    Row,
    about_equal,
)
from agents.core.auditing.reading import (
    Award,
    Cells,
    Tables,
    Workload,
    planned_cells,
    workload_of,
)
from schema.messages import MANAGER, Performative
from schema.periods import format_instant, half_hour_start

_FINAL = frozenset({Performative.ACCEPT_PROPOSAL, Performative.REJECT_PROPOSAL})
_HELD = frozenset({"awarded", "running", "completed"})


def check_sequence(name: str, rows: Sequence[Row], found: Findings) -> None:
    """Messages of a conversation are counted from 0 without a gap; ``rows`` are in that order."""
    if rows[0]["sequence"] != 0:
        found.add(11, f"conversation {name} begins with message {rows[0]['sequence']}", rows[:1])
    for one, other in pairwise(rows):
        step = other["sequence"] - one["sequence"]
        if step == 0:
            detail = f"conversation {name} has two messages {one['sequence']}"
            found.add(11, detail, [one, other])
        elif step > 1:
            detail = (
                f"conversation {name}: after message {one['sequence']} comes {other['sequence']}; "
                f"{step - 1} are missing"
            )
            found.add(11, detail, [one, other])


def check_doubles(rows: Sequence[Row], found: Findings) -> None:
    """One final word a workload, by the manager; no message twice under another ordinal."""
    final: dict[Workload, list[Row]] = {}
    said: dict[tuple[object, ...], list[Row]] = {}
    for row in rows:
        if row["performative"] in _FINAL:
            final.setdefault(workload_of(row), []).append(row)
            if row["sender"] != MANAGER or row["receiver"] != row["workload_agent"]:
                detail = (
                    f"{'/'.join(workload_of(row))}: {row['sender']} says {row['performative']} to "
                    f"{row['receiver']}; only the {MANAGER} may, to the workload's agent"
                )
                found.add(11, detail, [row])
        words = (
            row["round"],
            row["performative"],
            row["sender"],
            row["receiver"],
            row["workload_name"],
            repr(row["content"]),
        )
        said.setdefault(words, []).append(row)
    doubled: set[str] = set()
    for (agent, workload), last in final.items():
        if len(last) > 1:
            doubled |= {str(row["id"]) for row in last}
            detail = f"{agent}/{workload} has {len(last)} final words in one conversation"
            found.add(11, detail, last)
    for alike in said.values():
        if len(alike) > 1 and not {str(row["id"]) for row in alike} <= doubled:
            found.add(11, "the same message stands in the log twice", alike)


def check_rounds(name: str, rows: Sequence[Row], found: Findings) -> None:
    """There is one call a round, and rounds are counted without a gap."""
    calls = [row for row in rows if row["performative"] == Performative.CFP]
    for one, other in pairwise(calls):
        if other["round"] != one["round"] + 1:
            detail = f"conversation {name}: after round {one['round']} comes {other['round']}"
            found.add(11, detail, [one, other])


def check_bounds(name: str, rows: Sequence[Row], found: Findings) -> None:
    """No bound is above a cost, and none below an earlier one."""
    best: Row | None = None
    for row in rows:
        bound, cost = row["bound_gbp"], row["cost_gbp"]
        if bound is None:
            continue
        if cost is not None and bound > cost + MONEY_TOLERANCE:
            detail = f"conversation {name}: bound {bound:.9f} GBP is above cost {cost:.9f} GBP"
            found.add(4, detail, [row])
        if best is not None and bound < best["bound_gbp"] - MONEY_TOLERANCE:
            detail = (
                f"conversation {name}: bound fell from {best['bound_gbp']:.9f} to {bound:.9f} GBP"
            )
            found.add(4, detail, [best, row])
        if best is None or bound > best["bound_gbp"]:
            best = row


def check_gap(
    name: str, tables: Tables, energy_kwh: float, refused_kwh: float, found: Findings
) -> None:
    """The gap is (cost - bound) / max(bound, 0.1 x energy x mean value).

    Of refused work the log does not say whether it took part, so the energy is known within
    ``energy_kwh`` and ``energy_kwh + refused_kwh``.
    """
    row = tables.row
    bound, cost, gap = row["bound_gbp"], row["cost_gbp"], row["gap"]
    if bound is None or cost is None or gap is None:
        found.add(4, f"conversation {name}: its settled call lacks bound, cost or gap", [row])
        return
    refused = refused_kwh if tables.refused else 0.0
    bases = [
        max(bound, 0.1 * energy * tables.mean_value_gbp_per_kwh)
        for energy in (energy_kwh, energy_kwh + refused)
    ]
    high, low = (0.0 if base <= 0.0 else (cost - bound) / base for base in bases)
    if not low - MONEY_TOLERANCE <= gap <= high + MONEY_TOLERANCE:
        detail = (
            f"conversation {name}: the gap is given as {gap:.6f}; bound {bound:.6f} and cost "
            f"{cost:.6f} GBP give {high:.6f}"
        )
        found.add(4, detail, [row])


def check_answers(
    name: str,
    rows: Sequence[Row],
    answered: Mapping[Workload, object],
    found: Findings,
) -> None:
    """Every workload that asked has had a final word."""
    for row in rows:
        if row["performative"] != Performative.PROPOSE or row["workload_name"] is None:
            continue
        if workload_of(row) not in answered:
            detail = (
                f"conversation {name}: {'/'.join(workload_of(row))} asked, but no message awards "
                "or refuses it"
            )
            found.add(11, detail, [row])


def check_tally(name: str, tables: Tables, placed: int, found: Findings) -> None:
    """As many contracts that may still move stand as the settled call counts."""
    counted = tables.workloads - tables.refused
    if placed != counted:
        detail = (
            f"conversation {name}: its settled call counts {counted} workloads with a place, the "
            f"messages give {placed}"
        )
        found.add(11, detail, [tables.row])


def check_schedule(
    awards: Sequence[Award],
    standing: Mapping[Workload, Award],
    schedules: Sequence[Row],
    work: Mapping[Workload, Row],
    found: Findings,
) -> None:
    """The stored schedule is what the messages give, revision by revision."""
    plans: dict[tuple[Workload, int], list[Row]] = {}
    for row in schedules:
        key = (row["agent_name"], row["workload_name"])
        plans.setdefault((key, row["revision"]), []).append(row)
    for award in awards:
        _check_plan(award, plans.pop((award.key, award.revision), []), found)
    for (key, revision), rows in plans.items():
        detail = f"{'/'.join(key)}: revision {revision} is scheduled, but no message awards it"
        found.add(11, detail, rows, PLAN)
    for key, row in work.items():
        if row["status"] in _HELD and key not in standing:
            detail = f"{'/'.join(key)} is {row['status']}, but no message awards it"
            found.add(11, detail, [row], WORK)
        if row["status"] not in _HELD and row["status"] != "cancelled" and key in standing:
            detail = f"{'/'.join(key)} was awarded, but it is {row['status']}"
            found.add(11, detail, [row], WORK)


def _check_plan(award: Award, rows: Sequence[Row], found: Findings) -> None:
    """Hold one award against the rows of its revision."""

    def differs(detail: str) -> None:
        text = f"{award.who}, revision {award.revision}: {detail}"
        found.add(11, text, [award.row, *rows], BOTH)

    try:
        stored = planned_cells(rows)
    except ValueError as exc:
        differs(f"its schedule cannot be read: {exc}")
        return
    if stored != award.cells:
        differs(f"the log gives {_shown(award.cells)}; the schedule {_shown(stored)}")
        return
    for row in rows:
        site = f"{row['asset_agent_name']}/{row['asset_name']}"
        if row["region_id"] != award.regions[site]:
            differs(f"the log gives region {award.regions[site]}, the schedule {row['region_id']}")
        if not about_equal(row["power_kw"], award.power_w / 1000.0):
            differs(f"the log gives {award.power_w / 1000:g} kW, the schedule {row['power_kw']:g}")
        if row["conversation_id"] != award.row["conversation_id"]:
            differs(
                f"it was awarded in conversation {award.row['conversation_id']}, the schedule "
                f"names {row['conversation_id']}"
            )
    for detail in _wrong_amounts(award, rows):
        differs(detail)


def _wrong_amounts(award: Award, rows: Sequence[Row]) -> Iterator[str]:
    """Say which sums of the schedule are not those of its award."""
    for column, total in (
        ("energy_cost_gbp", award.row["energy_cost_gbp"]),
        ("congestion_gbp", award.row["congestion_gbp"]),
        ("gco2_forecast", award.row["carbon_gco2"]),
    ):
        if total is None and any(row[column] is None for row in rows):
            # Unknown in part: the award says nothing of it then.
            continue
        planned = sum(row[column] or 0.0 for row in rows)
        if not about_equal(planned, total or 0.0):
            yield f"{column} is {planned:.9f} in the schedule, {total or 0.0:.9f} in the log"


def _shown(cells: Cells) -> str:
    if not cells:
        return "nothing"
    first = min(cells)
    site, window = cells[first]
    supply = f" on window {window}" if window else ""
    at = format_instant(half_hour_start(first))
    return f"{len(cells)} half hours from {at} at {site}{supply}"
