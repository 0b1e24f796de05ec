"""Rows as the audit needs them; a row that cannot be read is a finding, not a failure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime

import numpy as np

from agents.core.auditing.findings import Findings, Row
from agents.core.market.units import LEAST_SCALE, Floats, Ints, Q
from agents.core.view import site_name, window_id
from schema.messages import Performative
from schema.periods import half_hour_number, parse_instant

Workload = tuple[str, str]
"""Agent and name."""
Cells = dict[int, tuple[str, str | None]]
"""Half-hour number -> (site, window)."""


@dataclass(frozen=True, slots=True)
class Award:
    """One workload's contract as a message tells it."""

    row: Row
    key: Workload
    revision: int
    power_w: int
    cells: Cells
    regions: dict[str, int]
    """Site -> region, as stated."""
    paid_gbp: float
    posted_price_q: int

    @property
    def who(self) -> str:
        """Name the workload within a run."""
        return "/".join(self.key)

    @property
    def first(self) -> int:
        """First half hour."""
        return min(self.cells)

    def moved(self, later: Award) -> bool:
        """Say whether site, time or power changed; a supply may, as windows are withdrawn."""
        if self.power_w != later.power_w:
            return True
        here = {half_hour: site for half_hour, (site, _) in self.cells.items()}
        return here != {half_hour: site for half_hour, (site, _) in later.cells.items()}


@dataclass(frozen=True, slots=True, eq=False)
class Tables:
    """The integer tables of the settled call of a conversation."""

    row: Row
    origin: int
    sites: dict[str, int]
    regions: list[int]
    grid_q: Ints
    supply_q: Ints
    mu_q: Ints
    window_q: dict[str, int]
    """Value of each window that still had room."""
    window_w: dict[str, int]
    """What each open window offers to all work, started work included."""
    area_of_site: list[int]
    capacity_w: Ints
    largest_w: int
    workloads: int
    refused: int
    carbon_value_gbp_per_kg: float

    @property
    def mean_value_gbp_per_kwh(self) -> float:
        """Mean absolute value of grid energy, carbon included; counts at least 0.001 GBP/kWh."""
        return max(float(np.abs(self.grid_q).mean()), LEAST_SCALE) / Q

    def posted_price_q(self, cells: Cells) -> int:
        """Price of a slot: the grid's value or the supply price, and the congestion price."""
        total = 0
        for half_hour, (site, window) in cells.items():
            row, period = self.sites[site], half_hour - self.origin
            total += int(self.mu_q[row, period])
            if window is None:
                total += int(self.grid_q[row, period])
            else:
                supply = int(self.supply_q[self.area_of_site[row], period])
                total += max(supply, self.window_q[window])
        return total

    def covers(self, cells: Cells) -> bool:
        """Say whether all of a slot lies in these tables."""
        periods = range(self.origin, self.origin + self.mu_q.shape[1])
        return all(
            half_hour in periods
            and site in self.sites
            and (window is None or window in self.window_q)
            for half_hour, (site, window) in cells.items()
        )

    def load(self, awards: Sequence[Award]) -> Ints:
        """[sites, periods] watts of contracts."""
        table = np.zeros_like(self.capacity_w)
        for award in awards:
            for half_hour, (site, _) in award.cells.items():
                period = half_hour - self.origin
                if site in self.sites and 0 <= period < table.shape[1]:
                    table[self.sites[site], period] += award.power_w
        return table


@dataclass(frozen=True, slots=True, eq=False)
class Site:
    """A row of ``compute_assets``."""

    row: Row
    region_id: int
    first: int | None
    """Half-hour number of the first capacity; None: the capacity is constant."""
    capacity_w: Floats

    def limit_w(self, half_hour: int) -> int:
        """Give the power it has in a half hour."""
        if self.first is None:
            return int(self.capacity_w[0])
        at = half_hour - self.first
        return int(self.capacity_w[at]) if 0 <= at < len(self.capacity_w) else 0


def conversations(negotiations: Sequence[Row]) -> list[tuple[str, list[Row]]]:
    """Give each conversation with its messages, in the order they were held."""
    groups: dict[str, list[Row]] = {}
    for row in negotiations:
        groups.setdefault(row["conversation_id"], []).append(row)
    for rows in groups.values():
        rows.sort(key=lambda row: (row["sequence"], str(row["id"])))
    return sorted(groups.items(), key=lambda item: (min(_sent_at(row) for row in item[1]), item[0]))


def _sent_at(row: Row) -> datetime:
    return instant(row["sent_at"])


def read_tables(name: str, rows: Sequence[Row], found: Findings) -> Tables | None:
    """Read the settled call of a conversation."""
    settled = [
        row for row in rows if row["performative"] == Performative.CFP and "mu_q" in row["content"]
    ]
    if not settled:
        found.add(11, f"conversation {name} has no settled call for proposals", rows[:1])
        return None
    row = settled[-1]
    try:
        return _tables(row)
    except (KeyError, TypeError, ValueError, IndexError) as exc:
        found.add(11, f"conversation {name}: its settled call cannot be read: {exc!r}", [row])
        return None


def _tables(row: Row) -> Tables:
    content = row["content"]
    regions = [int(site["region_id"]) for site in content["sites"]]
    areas = {region: index for index, region in enumerate(content["areas"])}
    windows = content["windows"]
    tables = Tables(
        row=row,
        origin=half_hour_number(parse_instant(content["origin"])),
        sites={site["site"]: index for index, site in enumerate(content["sites"])},
        regions=regions,
        grid_q=np.array(content["grid_q"], dtype=np.int64),
        supply_q=np.array(content["supply_q"], dtype=np.int64),
        mu_q=np.array(content["mu_q"], dtype=np.int64),
        window_q={
            window["window"]: int(window["value_q"])
            for window in windows
            if window["value_q"] is not None
        },
        window_w={window["window"]: int(window["gross_w"]) for window in windows},
        area_of_site=[areas[region] for region in regions],
        capacity_w=np.array(content["capacity_w"], dtype=np.int64),
        largest_w=int(content["largest_w"]),
        workloads=int(content["workloads"]),
        refused=int(content["refused"]),
        carbon_value_gbp_per_kg=float(content["carbon_value_gbp_per_kg"]),
    )
    shape = (len(regions), tables.mu_q.shape[1])
    if not tables.grid_q.shape == tables.mu_q.shape == tables.capacity_w.shape == shape:
        raise ValueError("its tables differ in shape")
    return tables


def read_award(row: Row, found: Findings) -> Award | None:
    """Read an acceptance."""
    content = row["content"]
    try:
        award = Award(
            row=row,
            key=workload_of(row),
            revision=int(content["revision"]),
            power_w=int(content["power_w"]),
            cells=_some(cells_of(content["segments"])),
            regions={item["site"]: int(item["region_id"]) for item in content["segments"]},
            paid_gbp=float(content["paid_gbp"]),
            posted_price_q=int(content["posted_price_q"]),
        )
    except (KeyError, TypeError, ValueError, AttributeError) as exc:
        found.add(11, f"{'/'.join(workload_of(row))}: its award cannot be read: {exc}", [row])
        return None
    return award


def read_switch(row: Row, before: Award, found: Findings) -> Award | None:
    """Read word that started work draws on from the grid; what is paid stays as it was."""
    content = row["content"]
    try:
        return replace(
            before,
            row=row,
            revision=int(content["revision"]),
            power_w=int(content["power_w"]),
            cells=_some(cells_of(content["segments"])),
            regions={item["site"]: int(item["region_id"]) for item in content["segments"]},
        )
    except (KeyError, TypeError, ValueError, AttributeError) as exc:
        found.add(11, f"{before.who}: its change of supply cannot be read: {exc}", [row])
        return None


def cells_of(segments: Sequence[Row]) -> Cells:
    """Spread segments over half hours.

    Raises:
        ValueError: A segment does not begin and end with a half hour, or two overlap.
    """
    cells: Cells = {}
    for segment in segments:
        first, end = (_boundary(segment[name]) for name in ("starts_at", "ends_at"))
        if end <= first:
            raise ValueError(f"a segment that starts at {segment['starts_at']} has no length")
        for half_hour in range(first, end):
            if half_hour in cells:
                raise ValueError(f"two segments overlap at {segment['starts_at']}")
            cells[half_hour] = (segment["site"], segment["window"])
    return cells


def _some(cells: Cells) -> Cells:
    if not cells:
        raise ValueError("it has no segments")
    return cells


def _boundary(value: object) -> int:
    at = instant(value)
    number = half_hour_number(at)
    if at.timestamp() != number * 1800:
        raise ValueError(f"{value} is no boundary of a half hour")
    return number


def planned_cells(rows: Sequence[Row]) -> Cells:
    """Spread rows of ``workload_schedules`` over half hours; raises as ``cells_of``."""
    return cells_of(
        [
            {
                "starts_at": row["starts_at"],
                "ends_at": row["ends_at"],
                "site": site_name(row["asset_agent_name"], row["asset_name"]),
                "window": None
                if row["window_bpp_id"] is None
                else window_id(
                    row["window_bpp_id"], row["window_item_id"], instant(row["window_starts_at"])
                ),
            }
            for row in rows
        ]
    )


def read_sites(assets: Sequence[Row]) -> dict[str, Site]:
    """Give the sites by name."""
    sites = {}
    for row in assets:
        by_period = row["capacity_by_period"]
        kilowatts = [row["capacity_kw"]] if by_period is None else by_period["kw"]
        sites[site_name(row["agent_name"], row["asset_name"])] = Site(
            row=row,
            region_id=int(row["region_id"]),
            first=None if by_period is None else half_hour_number(instant(by_period["from"])),
            capacity_w=np.floor(np.array(kilowatts, dtype=np.float64) * 1000.0 + 1e-6),
        )
    return sites


def read_windows(windows: Sequence[Row]) -> Mapping[str, int]:
    """Give what each window offers, in W, that stands as it was booked.

    One that its provider changed or took back may carry started work, which never moves.
    """
    return {
        window_id(row["bpp_id"], row["item_id"], instant(row["starts_at"])): int(
            row["capacity_kw"] * 1000 + 1e-6
        )
        for row in windows
        if row["state"] == "booked"
    }


def workload_of(row: Row) -> Workload:
    """Name the workload that a message is about."""
    return (row["workload_agent"] or "", row["workload_name"] or "")


def instant(value: object) -> datetime:
    """Read an instant as the database gives it, or as the log writes it."""
    return value if isinstance(value, datetime) else parse_instant(str(value))
