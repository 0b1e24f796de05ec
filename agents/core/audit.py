"""Checks a run from the database alone: the log must explain the schedule, and break no rule.

Nothing of the program that negotiated is used, only rows: the messages of ``agent_negotiations``
rebuild every contract, and the result is held against capacity, windows, refusal values, bounds
and the stored schedule. A violation names the rows, so that a person can look at them.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

import numpy as np

from agents.core.market.units import Ints
from agents.core.view import site_name, window_id
from schema.messages import Performative
from schema.periods import half_hour_number, parse_instant

Row = Mapping[str, Any]
Workload = tuple[str, str]

#: Money in the log is written in GBP with float64 figures; totals of a run stay below this.
MONEY_TOLERANCE_GBP = 1e-6


@dataclass(frozen=True, slots=True)
class Violation:
    """One broken rule.

    ``rule`` is the number of the invariant in docs/explanation/market.md; ``rows`` are ids of the
    rows concerned, ``table`` where they stand.
    """

    rule: int
    title: str
    detail: str
    table: str
    rows: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class AuditReport:
    """What was looked at and what was found."""

    conversations: int
    messages: int
    workloads: int
    awarded: int
    cells: int
    violations: tuple[Violation, ...]


@dataclass(slots=True)
class _Award:
    """One workload's contract as the log tells it."""

    row: Row
    cells: dict[int, tuple[str, str | None]]
    """Half-hour number -> (site, window)."""
    power_w: int
    conversation: str

    def moved(self, later: _Award) -> bool:
        """Say whether site or time changed; a supply may change, as windows are withdrawn."""
        here = {half_hour: site for half_hour, (site, _) in self.cells.items()}
        return here != {half_hour: site for half_hour, (site, _) in later.cells.items()}


@dataclass
class _Findings:
    violations: list[Violation] = field(default_factory=list)
    cells: int = 0

    def add(self, rule: int, detail: str, rows: Iterable[Row], table: str) -> None:
        ids = tuple(str(row["id"]) for row in rows)
        self.violations.append(Violation(rule, RULES[rule], detail, table, ids))


RULES = {
    1: "load never passes capacity",
    3: "every awarded slot lies in its window and an allowed region, whole and unbroken",
    4: "the bound never passes the cost, and never falls",
    5: "congestion prices are never negative, and positive only where a cell is nearly full",
    6: "nobody pays more than its refusal value, and every refusal has its reason",
    9: "started work never moves, and an accepted contract is never dropped",
    11: "the log rebuilds the schedule",
}

_LOG = "agent_negotiations"


def audit(
    negotiations: Sequence[Row],
    workloads: Sequence[Row],
    schedules: Sequence[Row],
    windows: Sequence[Row],
) -> AuditReport:
    """Rebuild a run from its messages and check it.

    Args:
        negotiations: All rows of ``agent_negotiations`` of one run.
        workloads: All rows of ``compute_workloads``.
        schedules: All rows of ``workload_schedules``, every revision.
        windows: All rows of ``compute_windows``.
    """
    found = _Findings()
    work = {(row["agent_name"], row["workload_name"]): row for row in workloads}
    limits = {_window_id(row): int(row["capacity_kw"] * 1000 + 1e-6) for row in windows}
    standing: dict[Workload, _Award] = {}
    conversations = _by_conversation(negotiations)
    for name, rows in conversations:
        tables = _settled_tables(name, rows, found)
        _check_doubles(rows, found)
        _check_bounds(name, rows, found)
        _take_awards(name, rows, work, standing, found)
        if tables is not None:
            _check_cells(name, tables, standing, limits, found)
            _check_prices(name, tables, standing, found)
            _check_money(rows, tables, work, found)
    _check_schedule(standing, schedules, work, found)
    return AuditReport(
        conversations=len(conversations),
        messages=len(negotiations),
        workloads=len(workloads),
        awarded=len(standing),
        cells=found.cells,
        violations=tuple(found.violations),
    )


# -- reading the log --------------------------------------------------------------------------


@dataclass(frozen=True, slots=True, eq=False)
class _Tables:
    """The integer tables of the last call of a conversation."""

    row: Row
    origin: int
    sites: dict[str, int]
    regions: list[int]
    grid_q: Ints
    supply_q: Ints
    mu_q: Ints
    window_q: dict[str, int]
    area_of_site: list[int]
    capacity_w: Ints
    largest_w: int
    carbon_value_gbp_per_kg: float


def _by_conversation(negotiations: Sequence[Row]) -> list[tuple[str, list[Row]]]:
    groups: dict[str, list[Row]] = {}
    for row in sorted(negotiations, key=lambda row: (row["conversation_id"], row["sequence"])):
        groups.setdefault(row["conversation_id"], []).append(row)
    return list(groups.items())


def _settled_tables(name: str, rows: Sequence[Row], found: _Findings) -> _Tables | None:
    calls = [row for row in rows if row["performative"] == Performative.CFP]
    settled = [row for row in calls if "mu_q" in row["content"]]
    if not settled:
        found.add(11, f"conversation {name} has no settled call for proposals", rows[:1], _LOG)
        return None
    row = settled[-1]
    content = row["content"]
    sites = {site["site"]: index for index, site in enumerate(content["sites"])}
    regions = [site["region_id"] for site in content["sites"]]
    areas = {region: index for index, region in enumerate(content["areas"])}
    return _Tables(
        row=row,
        origin=half_hour_number(parse_instant(content["origin"])),
        sites=sites,
        regions=regions,
        grid_q=np.array(content["grid_q"], dtype=np.int64),
        supply_q=np.array(content["supply_q"], dtype=np.int64),
        mu_q=np.array(content["mu_q"], dtype=np.int64),
        window_q={window["window"]: window["value_q"] for window in content["windows"]},
        area_of_site=[areas[region] for region in regions],
        capacity_w=np.array(content["capacity_w"], dtype=np.int64),
        largest_w=int(content["largest_w"]),
        carbon_value_gbp_per_kg=float(content["carbon_value_gbp_per_kg"]),
    )


def _cells(segments: Sequence[Row]) -> dict[int, tuple[str, str | None]]:
    cells: dict[int, tuple[str, str | None]] = {}
    for segment in segments:
        first = half_hour_number(parse_instant(segment["starts_at"]))
        end = half_hour_number(parse_instant(segment["ends_at"]))
        for half_hour in range(first, end):
            cells[half_hour] = (segment["site"], segment["window"])
    return cells


# -- rules ------------------------------------------------------------------------------------


def _check_doubles(rows: Sequence[Row], found: _Findings) -> None:
    """One final word a workload and conversation; no message twice under another ordinal."""
    final: dict[Workload, list[Row]] = {}
    said: dict[tuple[object, ...], list[Row]] = {}
    for row in rows:
        if row["performative"] in {Performative.ACCEPT_PROPOSAL, Performative.REJECT_PROPOSAL}:
            final.setdefault(_workload(row), []).append(row)
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
            found.add(11, detail, last, _LOG)
    for alike in said.values():
        if len(alike) > 1 and not {str(row["id"]) for row in alike} <= doubled:
            found.add(11, "the same message stands in the log twice", alike, _LOG)


def _check_bounds(name: str, rows: Sequence[Row], found: _Findings) -> None:
    best: float | None = None
    for row in rows:
        bound, cost = row["bound_gbp"], row["cost_gbp"]
        if bound is not None and cost is not None and bound > cost + MONEY_TOLERANCE_GBP:
            detail = f"conversation {name}: bound {bound:.9f} GBP is above cost {cost:.9f} GBP"
            found.add(4, detail, [row], _LOG)
        if bound is not None:
            if best is not None and bound < best - MONEY_TOLERANCE_GBP:
                detail = f"conversation {name}: bound fell from {best:.9f} to {bound:.9f} GBP"
                found.add(4, detail, [row], _LOG)
            best = bound if best is None else max(best, bound)


def _take_awards(
    name: str,
    rows: Sequence[Row],
    work: Mapping[Workload, Row],
    standing: dict[Workload, _Award],
    found: _Findings,
) -> None:
    now = half_hour_number(_instant(rows[0]["sent_at"]))
    for row in rows:
        key = _workload(row)
        if row["performative"] == Performative.ACCEPT_PROPOSAL:
            award = _Award(row, _cells(row["content"]["segments"]), row["content"]["power_w"], name)
            before = standing.get(key)
            if before is not None and min(before.cells) < now and before.moved(award):
                detail = f"{key[0]}/{key[1]} had started and was moved"
                found.add(9, detail, [before.row, row], _LOG)
            _check_slot(key, award, work.get(key), found)
            standing[key] = award
        elif row["performative"] == Performative.REJECT_PROPOSAL:
            if not row["content"].get("reason"):
                found.add(6, f"{key[0]}/{key[1]} was refused without a reason", [row], _LOG)
            if key in standing:
                detail = f"{key[0]}/{key[1]} held a contract and was refused"
                found.add(9, detail, [standing[key].row, row], _LOG)


def _check_slot(key: Workload, award: _Award, workload: Row | None, found: _Findings) -> None:
    who = f"{key[0]}/{key[1]}"
    if workload is None:
        found.add(3, f"{who} was awarded but is no workload of the run", [award.row], _LOG)
        return
    times = sorted(award.cells)
    periods = -(-int(workload["duration_min"]) // 30)
    if len(times) != periods:
        detail = f"{who} has {len(times)} half hours, its duration needs {periods}"
        found.add(3, detail, [award.row], _LOG)
    release = _instant(workload["earliest_start"]).timestamp() / 1800
    deadline = _instant(workload["deadline"]).timestamp() / 1800
    if times and (times[0] < release or times[-1] + 1 > deadline):
        detail = f"{who} runs outside {workload['earliest_start']} to {workload['deadline']}"
        found.add(3, detail, [award.row], _LOG)
    if times and not workload["interruptible"] and times[-1] - times[0] + 1 != len(times):
        found.add(
            3, f"{who} may not be interrupted, but its half hours are apart", [award.row], _LOG
        )
    regions = {segment["region_id"] for segment in award.row["content"]["segments"]}
    if not regions <= set(workload["allowed_regions"]):
        detail = f"{who} runs in {sorted(regions)}, allowed are {workload['allowed_regions']}"
        found.add(3, detail, [award.row], _LOG)
    sites = {site for site, _ in award.cells.values()}
    if not workload["interruptible"] and len(sites) > 1:
        found.add(3, f"{who} may not be interrupted, but changes sites", [award.row], _LOG)


def _check_cells(
    name: str,
    tables: _Tables,
    standing: Mapping[Workload, _Award],
    limits: Mapping[str, int],
    found: _Findings,
) -> None:
    load = np.zeros_like(tables.capacity_w)
    users: dict[tuple[int, int], list[Row]] = {}
    drawn: dict[tuple[str, int], int] = {}
    drawers: dict[tuple[str, int], list[Row]] = {}
    for award in standing.values():
        for half_hour, (site, window) in award.cells.items():
            period = half_hour - tables.origin
            if not 0 <= period < load.shape[1]:
                continue
            row = tables.sites[site]
            load[row, period] += award.power_w
            users.setdefault((row, period), []).append(award.row)
            if window is not None:
                drawn[window, half_hour] = drawn.get((window, half_hour), 0) + award.power_w
                drawers.setdefault((window, half_hour), []).append(award.row)
    found.cells += int(load.size)
    names = list(tables.sites)
    for row, period in np.argwhere(load > tables.capacity_w).tolist():
        detail = (
            f"conversation {name}: site {names[row]}, half hour {period} after "
            f"{tables.row['content']['origin']}: load {load[row, period]} W, capacity "
            f"{tables.capacity_w[row, period]} W"
        )
        found.add(1, detail, [tables.row, *users[row, period]], _LOG)
    for (window, half_hour), watts in drawn.items():
        if watts > limits.get(window, 0):
            detail = (
                f"conversation {name}: window {window} gives {limits.get(window, 0)} W, "
                f"{watts} W are drawn"
            )
            found.add(1, detail, drawers[window, half_hour], _LOG)


def _check_prices(
    name: str, tables: _Tables, standing: Mapping[Workload, _Award], found: _Findings
) -> None:
    if int(tables.mu_q.min()) < 0:
        found.add(5, f"conversation {name}: a congestion price is negative", [tables.row], _LOG)
    load = np.zeros_like(tables.capacity_w)
    for award in standing.values():
        for half_hour, (site, _) in award.cells.items():
            period = half_hour - tables.origin
            if 0 <= period < load.shape[1]:
                load[tables.sites[site], period] += award.power_w
    # Nearly full: the largest workload of the conversation would not fit, or 90 % are used.
    full = (tables.capacity_w - load < tables.largest_w) | (10 * load >= 9 * tables.capacity_w)
    for row, period in np.argwhere((tables.mu_q > 0) & ~full).tolist():
        detail = (
            f"conversation {name}: site {list(tables.sites)[row]}, half hour {period} has a "
            f"congestion price at {load[row, period]} of {tables.capacity_w[row, period]} W"
        )
        found.add(5, detail, [tables.row], _LOG)


def _check_money(
    rows: Sequence[Row], tables: _Tables, work: Mapping[Workload, Row], found: _Findings
) -> None:
    """Nobody pays more than its refusal value, and the log's figures follow from its tables."""
    for row in rows:
        if row["performative"] != Performative.ACCEPT_PROPOSAL:
            continue
        key = _workload(row)
        content = row["content"]
        workload = work.get(key)
        limit = None if workload is None else workload["refusal_value_gbp"]
        posted = _posted_gbp(content, tables)
        due = posted if limit is None else min(posted, limit)
        stated = content["paid_gbp"]
        if not _equal(due, stated):
            detail = (
                f"{key[0]}/{key[1]}: the message says {stated:.9f} GBP are paid, the posted "
                f"prices give {due:.9f} GBP"
            )
            found.add(6, detail, [row, tables.row], _LOG)
        parts = _parts_gbp(row, tables)
        if not _equal(parts, stated):
            detail = (
                f"{key[0]}/{key[1]}: energy, carbon and congestion are {parts:.9f} GBP, paid are "
                f"{stated:.9f} GBP"
            )
            found.add(6, detail, [row], _LOG)
        worst = max(stated, parts)
        if limit is not None and worst > limit and not _equal(worst, limit):
            detail = f"{key[0]}/{key[1]} pays {worst:.6f} GBP, its refusal value is {limit:.6f} GBP"
            found.add(6, detail, [row], _LOG)


def _equal(one: float, other: float) -> bool:
    return abs(one - other) <= MONEY_TOLERANCE_GBP * max(1.0, abs(one))


def _posted_gbp(content: Row, tables: _Tables) -> float:
    """Price of a slot: the grid's value or the supply price, and the congestion price."""
    total_q = 0
    for half_hour, (site, window) in _cells(content["segments"]).items():
        row = tables.sites[site]
        period = half_hour - tables.origin
        total_q += int(tables.mu_q[row, period])
        if window is None:
            total_q += int(tables.grid_q[row, period])
        else:
            supply = int(tables.supply_q[tables.area_of_site[row], period])
            total_q += max(supply, tables.window_q.get(window, 0))
    return total_q * int(content["power_w"]) / (2000.0 * 2**32)


def _parts_gbp(row: Row, tables: _Tables) -> float:
    carbon_kg = (row["carbon_gco2"] or 0.0) / 1000.0
    energy, congestion = row["energy_cost_gbp"] or 0.0, row["congestion_gbp"] or 0.0
    return float(energy + congestion + carbon_kg * tables.carbon_value_gbp_per_kg)


def _check_schedule(
    standing: Mapping[Workload, _Award],
    schedules: Sequence[Row],
    work: Mapping[Workload, Row],
    found: _Findings,
) -> None:
    latest: dict[Workload, list[Row]] = {}
    for row in schedules:
        rows = latest.setdefault((row["agent_name"], row["workload_name"]), [])
        if rows and rows[0]["revision"] < row["revision"]:
            rows.clear()
        if not rows or rows[0]["revision"] == row["revision"]:
            rows.append(row)
    for key, award in standing.items():
        rows = latest.get(key, [])
        stored = _stored_cells(rows)
        if stored != award.cells:
            detail = (
                f"{key[0]}/{key[1]}: the log gives {_shown(award.cells)}, the schedule "
                f"{_shown(stored)}"
            )
            found.add(11, detail, [award.row, *rows], "agent_negotiations, workload_schedules")
    for key, rows in latest.items():
        if key not in standing:
            detail = f"{key[0]}/{key[1]} is scheduled, but no message awards it"
            found.add(11, detail, rows, "workload_schedules")
    for key, row in work.items():
        if row["status"] in {"awarded", "running", "completed"} and key not in standing:
            detail = f"{key[0]}/{key[1]} is {row['status']}, but no message awards it"
            found.add(11, detail, [row], "compute_workloads")


def _stored_cells(rows: Sequence[Row]) -> dict[int, tuple[str, str | None]]:
    segments = []
    for row in rows:
        window = None
        if row["window_bpp_id"] is not None:
            window = window_id(
                row["window_bpp_id"], row["window_item_id"], _instant(row["window_starts_at"])
            )
        site = site_name(row["asset_agent_name"], row["asset_name"])
        segments.append(
            {
                "starts_at": row["starts_at"],
                "ends_at": row["ends_at"],
                "site": site,
                "window": window,
            }
        )
    return _cells(segments)


# -- small pieces -----------------------------------------------------------------------------


def _window_id(row: Row) -> str:
    return window_id(row["bpp_id"], row["item_id"], _instant(row["starts_at"]))


def _workload(row: Row) -> Workload:
    return (row["workload_agent"] or "", row["workload_name"] or "")


def _instant(value: object) -> datetime:
    return value if isinstance(value, datetime) else parse_instant(str(value))


def _shown(cells: Mapping[int, tuple[str, str | None]]) -> str:
    if not cells:
        return "nothing"
    first = min(cells)
    return f"{len(cells)} half hours from number {first} at {cells[first][0]}"
