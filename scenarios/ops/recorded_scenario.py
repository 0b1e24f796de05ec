"""A scenario folder made of a recording: tables of what was told, and in words what was not.

Tables need every half hour from a day (prices: a week) before the start to two days after the end.
Half hours that no source told are taken from the same time of a near day, ``estimated``. A table of
which less than half of the replay's own time was recorded is left to the synthesiser.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Sequence
from csv import writer
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

from fetchers.beckn.catalog import MARKET_CURRENCY
from scenarios.axis import PRICES_BEFORE, TABLE_AFTER, TABLE_BEFORE
from scenarios.importer import ORGANISATIONS
from scenarios.loader import FILE_NAME, load
from scenarios.ops.recorded import Forecast, Recording, SeenWindow, sources_of
from scenarios.scenario import Scenario
from scenarios.synth.forecasts import LARGEST_INTENSITY
from scenarios.workload_csv import WINDOW_COLUMNS
from schema.errors import ScenarioError
from schema.periods import HALF_HOUR, format_instant, half_hours
from schema.readings import Source
from schema.regions import REGION_IDS

LEAST_RECORDED = 0.5
NOTICE = "NOTICE.md"
_DAY = timedelta(days=1)
_FAR = 8
_LARGEST_CAPACITY_KW = 1e6
_ATTRIBUTION = {
    Source.CARBON_INTENSITY.value: (
        "Carbon Intensity API (carbonintensity.org.uk), CC BY 4.0 and the API's terms of use"
    ),
    Source.NESO.value: "Supported by National Energy SO Open Data (NESO Open Data Licence v1.0)",
    Source.ELEXON.value: (
        "Contains BMRS data © Elexon Limited copyright and database right {year} (BMRS open data "
        "licence)"
    ),
    Source.BECKN.value: "Catalogues of Beckn providers; they belong to those providers",
}


@dataclass(frozen=True, slots=True)
class RecordedPlan:
    """What scenario to make of a recording.

    Attributes:
        name: Of the scenario.
        start: On a half hour.
        half_hours: Length of the replay.
        workloads: How many are drawn by seed.
        seed: Of everything that was not recorded.
    """

    name: str
    start: datetime
    half_hours: int
    workloads: int = 200
    seed: int = 1

    @property
    def end(self) -> datetime:
        """First instant after the replay."""
        return self.start + self.half_hours * HALF_HOUR


@dataclass(slots=True)
class TableCount:
    """How much of a table was recorded."""

    recorded: int = 0
    estimated: int = 0


@dataclass(slots=True)
class Made:
    """What was made of a recording.

    Attributes:
        scenario: Loaded from the folder, hence valid.
        tables: By name; those that are left to the synthesiser are absent.
        windows: Beckn windows taken over, and left out.
    """

    scenario: Scenario
    tables: dict[str, TableCount] = field(default_factory=dict)
    windows: tuple[int, int] = (0, 0)


def make_scenario(folder: Path, recording: Recording, plan: RecordedPlan) -> Made:
    """Write tables and ``scenario.toml`` into the recording's folder, and load the scenario.

    Raises:
        ScenarioError: Nothing was recorded, or the result is not valid.
    """
    if not recording.replies:
        msg = f"{folder} holds no reply: nothing was recorded to make a scenario of"
        raise ScenarioError(msg, path=str(folder))
    tables = {
        "national": _national(folder, recording, plan),
        "regional": _regional(folder, recording, plan),
        "prices": _prices(folder, recording, plan),
    }
    present = {name: count for name, count in tables.items() if count is not None}
    taken, left = _windows(folder, recording, plan)
    text = _toml(plan, recording, present, taken, left)
    (folder / FILE_NAME).write_text(text, encoding="utf-8")
    (folder / NOTICE).write_text(_notice(recording), encoding="utf-8")
    return Made(load(folder), present, (taken, left))


# -- tables ------------------------------------------------------------------------------------


def _national(folder: Path, recording: Recording, plan: RecordedPlan) -> TableCount | None:
    rows = _forecast_rows(recording, plan, (0,))
    if rows is None:
        return None
    count, cells = rows
    lines = [
        [when, value, _outturn(recording, at) if not issued else "", issued, quality]
        for _, at, when, value, issued, quality in cells
    ]
    columns = ("valid_from", "forecast_gco2_per_kwh", "actual_gco2_per_kwh", "issued_at", "quality")
    _write(folder / "national.csv", columns, lines)
    return count


def _outturn(recording: Recording, at: datetime) -> str:
    found = recording.outturn.get(at)
    return "" if found is None else str(_grams(found))


def _regional(folder: Path, recording: Recording, plan: RecordedPlan) -> TableCount | None:
    rows = _forecast_rows(recording, plan, REGION_IDS)
    if rows is None:
        return None
    count, cells = rows
    lines = [
        [str(region), when, value, issued, quality]
        for region, _, when, value, issued, quality in cells
    ]
    columns = ("region_id", "valid_from", "forecast_gco2_per_kwh", "issued_at", "quality")
    _write(folder / "regional.csv", columns, lines)
    return count


_CellRow = tuple[int, datetime, str, str, str, str]
"""Region, half hour, the half hour written, value, issue time, quality."""


def _forecast_rows(
    recording: Recording, plan: RecordedPlan, regions: Sequence[int]
) -> tuple[TableCount, list[_CellRow]] | None:
    """Give the rows of a forecast table; None where too little was recorded."""
    wanted = _span(plan.start - TABLE_BEFORE, plan.end + TABLE_AFTER)
    own = _span(plan.start, plan.end)
    count, rows = TableCount(), []
    for region in regions:
        known = {
            at: cell
            for at in wanted
            if (cell := recording.forecasts.get((region, at))) is not None and cell.known
        }
        if sum(at in known for at in own) < LEAST_RECORDED * len(own):
            return None
        for at in wanted:
            cell = known.get(at)
            if cell is None:
                near = _near(known, at)
                rows.append((region, at, format_instant(at), _last(near), "", "estimated"))
                count.estimated += 1
                continue
            count.recorded += 1
            rows += _told(region, at, cell)
    return count, rows


def _told(region: int, at: datetime, cell: Forecast) -> Iterable[_CellRow]:
    when = format_instant(at)
    assert cell.first is not None
    said = str(_grams(cell.first))
    yield region, at, when, said, "", "published"
    for issued, value in cell.revisions:
        if (text := str(_grams(value))) != said:
            said = text
            yield region, at, when, text, format_instant(issued), "published"


def _last(cell: Forecast) -> str:
    assert cell.first is not None
    return str(_grams(cell.revisions[-1][1] if cell.revisions else cell.first))


def _prices(folder: Path, recording: Recording, plan: RecordedPlan) -> TableCount | None:
    wanted = _span(plan.start - PRICES_BEFORE, plan.end + TABLE_AFTER)
    own = _span(plan.start, plan.end)
    known = {at: found for at in wanted if (found := recording.price(at)) is not None}
    if sum(at in known for at in own) < LEAST_RECORDED * len(own):
        return None
    count, lines = TableCount(), []
    for at in wanted:
        here = known.get(at)
        quality = "published" if here is not None else "estimated"
        count.recorded += here is not None
        count.estimated += here is None
        price, volume = here if here is not None else _near(known, at)
        system = recording.system.get(at) if here is not None else None
        lines.append(
            [
                format_instant(at),
                f"{price:.2f}",
                "" if system is None else f"{system:.2f}",
                "" if volume is None or volume < 0 else f"{volume:.3f}",
                quality,
            ]
        )
    columns = ("valid_from", "mid_gbp_per_mwh", "system_gbp_per_mwh", "mid_volume_mwh", "quality")
    _write(folder / "prices.csv", columns, lines)
    return count


def _windows(folder: Path, recording: Recording, plan: RecordedPlan) -> tuple[int, int]:
    """Write the windows that a replay can offer; gives how many, and how many were left out."""
    usable = [
        seen
        for seen in recording.windows.values()
        if _usable(seen) and plan.start < seen.row.ends_at <= plan.end + TABLE_AFTER
    ]
    left = len(recording.windows) - len(usable)
    if not usable:
        return 0, left
    names: set[str] = set()
    lines = []
    for seen in sorted(usable, key=lambda seen: (seen.row.starts_at, seen.row.item_id)):
        row, zone, offer = seen.row, seen.zone, seen.offer
        item = row.item_id
        if item in names:
            # A catalogue names the window of each day alike; a scenario names each window once.
            item = f"{item}-{row.starts_at:%Y%m%d}"
        names.add(item)
        region = None if zone is None else zone.region_id
        assert row.intensity_gco2_per_kwh is not None
        lines.append(
            [
                item,
                row.name or item,
                row.zone_code,
                (zone.area if zone is not None else None) or row.zone_code,
                "" if region is None else str(region),
                "GB",
                "",
                "",
                format_instant(row.starts_at),
                format_instant(row.ends_at),
                f"{row.capacity_kw:g}",
                str(round(row.intensity_gco2_per_kwh)),
                str(round(row.renewable_pct or 0)),
                "" if offer is None else f"{offer.price_per_kwh:g}",
                MARKET_CURRENCY if offer is None else offer.currency,
                (offer.price_stability if offer is not None else None) or "stable",
                format_instant(max(plan.start, min(seen.seen_at, row.starts_at, plan.end))),
            ]
        )
    _write(folder / "windows.csv", WINDOW_COLUMNS, lines)
    return len(lines), left


def _usable(seen: SeenWindow) -> bool:
    row = seen.row
    return row.intensity_gco2_per_kwh is not None and 0 < row.capacity_kw <= _LARGEST_CAPACITY_KW


def _span(start: datetime, end: datetime) -> list[datetime]:
    return half_hours(start, (end - start) // HALF_HOUR)


def _near(known: dict[datetime, Any], at: datetime) -> Any:
    """Give the figure of the same time of a near day, an earlier one first; else the nearest."""
    for days in range(1, _FAR):
        for other in (at - days * _DAY, at + days * _DAY):
            if other in known:
                return known[other]
    return known[min(known, key=lambda other: (abs(other - at), other))]


def _grams(value: float) -> int:
    return min(max(round(value), 0), LARGEST_INTENSITY)


def _write(path: Path, columns: Sequence[str], lines: Iterable[Sequence[str]]) -> None:
    with path.open("w", newline="", encoding="utf-8") as file:
        out = writer(file, lineterminator="\n")
        out.writerow(columns)
        out.writerows(lines)


# -- words -------------------------------------------------------------------------------------


def _toml(
    plan: RecordedPlan,
    recording: Recording,
    tables: dict[str, TableCount],
    windows: int,
    left: int,
) -> str:
    assert recording.first is not None
    assert recording.last is not None
    sources = ", ".join(sources_of(recording))
    story = (
        f"Recorded from the live sources ({sources}) between {format_instant(recording.first)} and "
        f"{format_instant(recording.last)}. Workloads and sites are drawn by seed."
    )
    lines = [
        f"name = {_text(plan.name)}",
        f"story = {_text(story)}",
        f"start = {format_instant(plan.start)}",
        f"duration_h = {plan.half_hours / 2:g}",
        f"seed = {plan.seed}",
    ]
    for name, regions in ORGANISATIONS:
        lines += ["", "[[organisations]]", f"name = {_text(name)}", "sites = ["]
        lines += [f'    {{ name = "region-{r}", region_id = {r} }},' for r in regions]
        lines.append("]")
    longest_h = min(12.0, max(0.5, plan.half_hours / 2))
    lines += [
        "",
        "[workloads]",
        'kind = "generated"',
        f"count = {plan.workloads}",
        f"max_duration_h = {longest_h:g}",
    ]
    if windows:
        lines += ["", "[windows]", 'kind = "csv"', 'file = "windows.csv"']
    named = ", ".join(f'{name} = "{name}.csv"' for name in sorted(tables))
    lines += [
        "",
        "[grid]",
        f"method = {_text(_method(tables, windows, left))}",
        f"tables = {{ {named} }}" if named else "tables = {}",
        "",
        "[grid.weather]",
        "wind = [{ hour = 0, value = 0.35 }]",
    ]
    return "\n".join(lines) + "\n"


def _method(tables: dict[str, TableCount], windows: int, left: int) -> str:
    said = []
    for name in ("national", "regional", "prices"):
        count = tables.get(name)
        if count is None:
            said.append(f"{name}: too little was recorded; synthesised.")
        else:
            said.append(
                f"{name}: {count.recorded} half hours recorded, {count.estimated} estimated as the "
                "same time of a near day."
            )
    said.append(
        "Forecasts recorded live are revised as they were; of the time before the recording only "
        "the last forecast is known, so forecasts look better there than they were. An empty "
        "system price equals the index."
    )
    said.append(
        f"Beckn windows: {windows} as first seen, {left} left out (without figures, out of reach, "
        "or over)."
        if windows or left
        else "No Beckn windows were seen."
    )
    said.append(
        "Generation mix, demand and flexibility are synthesised and do not follow the recorded "
        "intensity. Sites and workloads are drawn by seed."
    )
    return " ".join(said)


def _notice(recording: Recording) -> str:
    year = recording.last.year if recording.last is not None else ""
    lines = [
        "# Where these figures come from",
        "",
        "Recorded replies, and tables made of them. Secrets were taken out. The figures carry",
        "their sources' terms; name the source when you publish results.",
        "",
    ]
    lines += [
        f"- {_ATTRIBUTION.get(name, name).format(year=year)}" for name in sources_of(recording)
    ]
    return "\n".join(lines) + "\n"


def slug(text: str) -> str:
    """Give a scenario name for a folder's name."""
    found = re.sub(r"[^a-z0-9]+", "-", text.lower()).strip("-")[:60].strip("-")
    return found or "recorded"


def _text(value: str) -> str:
    """Write a TOML basic string; JSON's escapes are a part of TOML's."""
    return json.dumps(value, ensure_ascii=False)
