"""Rules about contracts: where and when work may run, what it pays, and what is full."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from agents.core.auditing.findings import LOG, SITES, Findings, Row, about_equal
from agents.core.auditing.reading import Award, Site, Tables, Workload, instant
from schema.periods import format_instant, half_hour_start


def check_slot(
    award: Award, workload: Row | None, sites: Mapping[str, Site], found: Findings
) -> None:
    """Hold a slot against what the workload asked for, and its places against the sites."""
    if workload is None:
        found.add(3, f"{award.who} was awarded but is no workload of the run", [award.row])
        return

    def wrong(detail: str) -> None:
        found.add(3, f"{award.who} {detail}", [award.row])

    times = sorted(award.cells)
    periods = -(-int(workload["duration_min"]) // 30)
    if len(times) != periods:
        wrong(f"has {len(times)} half hours, its duration needs {periods}")
    release = instant(workload["earliest_start"]).timestamp() / 1800
    deadline = instant(workload["deadline"]).timestamp() / 1800
    if times[0] < release or times[-1] + 1 > deadline:
        wrong(f"runs outside {workload['earliest_start']} to {workload['deadline']}")
    power_w = round(float(workload["power_kw"]) * 1000)
    if award.power_w != power_w:
        wrong(f"is awarded {award.power_w} W, it needs {power_w} W")
    unbroken = times[-1] - times[0] + 1 == len(times)
    if not workload["interruptible"] and not unbroken:
        wrong("may not be interrupted, but its half hours are apart")
    if len(award.regions) > 1:
        wrong(f"changes sites: {', '.join(sorted(award.regions))}")
    _check_places(award, workload["allowed_regions"], sites, found)


def check_switch(before: Award, after: Award, now: int, found: Findings) -> None:
    """Started work may only lose its window from now on; its time, site and power stay."""
    rows = [before.row, after.row]
    if before.first >= now or before.moved(after):
        found.add(9, f"{after.who} changes supply, but has not started or was moved", rows)
        return
    for half_hour, (_, window) in after.cells.items():
        old = before.cells[half_hour][1]
        if window != old and (half_hour < now or window is not None):
            detail = (
                f"{after.who} draws from {window or 'the grid'} from {_at(half_hour)}, it drew "
                f"from {old or 'the grid'}; started work may only go over to the grid, from now on"
            )
            found.add(9, detail, rows)


def check_stop(before: Award, after: Award, now: int, found: Findings) -> None:
    """Work that is called off runs on to the end of the half hour it is in, and no longer."""
    due = {half_hour: cell for half_hour, cell in before.cells.items() if half_hour < now}
    if after.cells != due:
        detail = (
            f"{after.who} was called off and keeps {len(after.cells)} half hours; {len(due)} had "
            f"begun before {_at(now)}"
        )
        found.add(9, detail, [before.row, after.row])


def _check_places(
    award: Award, allowed: Sequence[int], sites: Mapping[str, Site], found: Findings
) -> None:
    for name, region_id in award.regions.items():
        site = sites.get(name)
        if site is None:
            detail = f"{award.who} is awarded site {name}, which no organisation has"
        elif site.region_id != region_id:
            detail = (
                f"{award.who} is awarded site {name} in region {region_id}; it is in "
                f"{site.region_id}"
            )
        elif region_id not in allowed:
            detail = f"{award.who} runs in region {region_id}, allowed are {list(allowed)}"
        else:
            continue
        found.add(3, detail, [award.row])


def check_cells(name: str, tables: Tables, standing: Sequence[Award], found: Findings) -> None:
    """Hold loads against the capacity that was announced, of sites and of windows.

    What started work drew before the conversation is history: a window may have closed since.
    """
    load = tables.load(standing)
    names = list(tables.sites)
    for row, period in np.argwhere(load > tables.capacity_w).tolist():
        half_hour = tables.origin + period
        detail = (
            f"conversation {name}: {names[row]} from {_at(half_hour)} carries {load[row, period]} "
            f"W, its capacity is {tables.capacity_w[row, period]} W"
        )
        users = users_of(standing, names[row], half_hour)
        found.add(1, detail, [tables.row, *users])
    drawn: dict[tuple[str, int], list[Award]] = {}
    for award in standing:
        for half_hour, (_, window) in award.cells.items():
            if window is not None and half_hour >= tables.origin:
                drawn.setdefault((window, half_hour), []).append(award)
    for (window, half_hour), awards in drawn.items():
        watts, limit = sum(award.power_w for award in awards), tables.window_w.get(window, 0)
        if watts > limit:
            detail = (
                f"conversation {name}: {watts} W are drawn from window {window} from "
                f"{_at(half_hour)}, it had {limit} W"
            )
            found.add(1, detail, [tables.row, *(award.row for award in awards)])


def check_sites(standing: Sequence[Award], sites: Mapping[str, Site], found: Findings) -> int:
    """Hold the loads at the end against the sites themselves; gives how many cells are used."""
    load: dict[tuple[str, int], int] = {}
    for award in standing:
        for half_hour, (site, _) in award.cells.items():
            load[site, half_hour] = load.get((site, half_hour), 0) + award.power_w
    for (name, half_hour), watts in load.items():
        place = sites.get(name)
        if place is not None and watts > place.limit_w(half_hour):
            detail = (
                f"{name} from {_at(half_hour)} carries {watts} W, the site has "
                f"{place.limit_w(half_hour)} W"
            )
            rows = [place.row, *users_of(standing, name, half_hour)]
            found.add(1, detail, rows, f"{SITES}, {LOG}")
    return len(load)


def check_windows(standing: Sequence[Award], limits: Mapping[str, int], found: Findings) -> None:
    """Hold what is drawn at the end against the windows that stand as they were booked."""
    drawn: dict[tuple[str, int], list[Award]] = {}
    for award in standing:
        for half_hour, (_, window) in award.cells.items():
            if window is not None:
                drawn.setdefault((window, half_hour), []).append(award)
    for (window, half_hour), awards in drawn.items():
        watts = sum(award.power_w for award in awards)
        if window in limits and watts > limits[window]:
            detail = (
                f"{watts} W are drawn from window {window} from {_at(half_hour)}, it gives "
                f"{limits[window]} W"
            )
            found.add(1, detail, [award.row for award in awards])


def check_prices(name: str, tables: Tables, standing: Sequence[Award], found: Findings) -> None:
    """Hold congestion prices against the loads they answer for."""
    if int(tables.mu_q.min()) < 0:
        found.add(5, f"conversation {name}: a congestion price is negative", [tables.row])
    load = tables.load(standing)
    # Nearly full: the largest workload of the conversation would not fit, or 90 % are used.
    full = (tables.capacity_w - load < tables.largest_w) | (10 * load >= 9 * tables.capacity_w)
    names = list(tables.sites)
    for row, period in np.argwhere((tables.mu_q > 0) & ~full).tolist():
        detail = (
            f"conversation {name}: {names[row]} from {_at(tables.origin + period)} has a "
            f"congestion price at {load[row, period]} of {tables.capacity_w[row, period]} W"
        )
        found.add(5, detail, [tables.row])


def check_money(award: Award, tables: Tables, workload: Row | None, found: Findings) -> None:
    """Nobody pays more than its refusal value, and what is paid follows from the tables."""
    limit = None if workload is None else workload["refusal_value_gbp"]
    stated, parts = award.paid_gbp, _parts_gbp(award.row, tables)
    worst = max(stated, parts)
    if limit is not None and worst > limit and not about_equal(worst, limit):
        detail = f"{award.who} pays {worst:.6f} GBP, its refusal value is {limit:.6f} GBP"
        found.add(6, detail, [award.row])
    if not about_equal(parts, stated):
        detail = (
            f"{award.who}: energy, carbon and congestion are {parts:.9f} GBP, paid are "
            f"{stated:.9f} GBP"
        )
        found.add(6, detail, [award.row])
    if not tables.covers(award.cells):
        detail = f"{award.who} is awarded a cell or a window that the settled call does not list"
        found.add(3, detail, [award.row, tables.row])
        return
    price_q = tables.posted_price_q(award.cells)
    if price_q != award.posted_price_q:
        detail = (
            f"{award.who}: the message gives a price of {award.posted_price_q}, the posted tables "
            f"{price_q} (2^-32 GBP/kWh)"
        )
        found.add(6, detail, [award.row, tables.row])
    posted = price_q * award.power_w / (2000.0 * 2**32)
    due = posted if limit is None else min(posted, limit)
    if not about_equal(due, stated):
        detail = (
            f"{award.who}: the message says {stated:.9f} GBP are paid, the posted prices give "
            f"{due:.9f} GBP"
        )
        found.add(6, detail, [award.row, tables.row])


def _parts_gbp(row: Row, tables: Tables) -> float:
    carbon_kg = (row["carbon_gco2"] or 0.0) / 1000.0
    energy, congestion = row["energy_cost_gbp"] or 0.0, row["congestion_gbp"] or 0.0
    return float(energy + congestion + carbon_kg * tables.carbon_value_gbp_per_kg)


def users_of(standing: Sequence[Award], site: str, half_hour: int) -> list[Row]:
    """Give the awards that use a cell."""
    return [
        award.row
        for award in standing
        if half_hour in award.cells and award.cells[half_hour][0] == site
    ]


def _at(half_hour: int) -> str:
    return format_instant(half_hour_start(half_hour))


def energy_kwh(awards: Sequence[Award]) -> float:
    """Energy of contracts."""
    return sum(award.power_w * len(award.cells) for award in awards) / 2000.0


def open_energy_kwh(work: Mapping[Workload, Row], placed: Mapping[Workload, Award]) -> float:
    """Energy of the workloads without a contract."""
    return sum(
        float(row["power_kw"]) * -(-int(row["duration_min"]) // 30) / 2.0
        for key, row in work.items()
        if key not in placed
    )
