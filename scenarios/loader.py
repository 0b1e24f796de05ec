"""Finding, checking and loading scenarios: everything is checked before anything starts."""

from __future__ import annotations

from datetime import timedelta
from difflib import get_close_matches
from pathlib import Path

from pydantic import ValidationError

from scenarios.axis import TABLE_AFTER, Axis
from scenarios.faults import Fault, field_path, scenario_error, shown
from scenarios.model import (
    CsvWindows,
    CsvWorkloads,
    FaultKind,
    GeneratedWindows,
    GeneratedWorkloads,
    ListedWorkload,
    ListedWorkloads,
    ScenarioFile,
)
from scenarios.reading import Collector, FileFault, read_toml
from scenarios.scenario import GivenTables, Scenario
from scenarios.tables import read_national, read_prices, read_regional
from scenarios.windows import Window, generate_windows
from scenarios.workload_csv import Arrival, read_windows, read_workloads
from schema.errors import ScenarioError
from schema.workloads import Workload

LIBRARY = Path(__file__).parent / "library"
FILE_NAME = "scenario.toml"


def bundled() -> list[str]:
    """Give the names of the scenarios that come with gridpact."""
    return sorted(path.parent.name for path in LIBRARY.glob(f"*/{FILE_NAME}"))


def find(path_or_name: str | Path) -> Path:
    """Give the folder of a scenario: a bundled name, a folder, or its ``scenario.toml``.

    Raises:
        ScenarioError: There is none; the message names the nearest right name.
    """
    text = str(path_or_name)
    path = Path(text)
    if "/" not in text and (LIBRARY / text / FILE_NAME).is_file():
        return LIBRARY / text
    if path.name == FILE_NAME and path.is_file():
        return path.parent
    if (path / FILE_NAME).is_file():
        return path
    names = bundled()
    near = get_close_matches(text, names, n=1, cutoff=0.4)
    hint = f"did you mean {near[0]!r}? " if near else ""
    if path.is_dir():
        hint = f"the folder exists but holds no {FILE_NAME}. "
    msg = (
        f"scenario {text!r} is unknown: {hint}Bundled are {', '.join(names)}; "
        f"a folder with a {FILE_NAME} works too"
    )
    raise ScenarioError(msg, value=text, nearest=near)


def load(path_or_name: str | Path, seed: int | None = None) -> Scenario:
    """Load a scenario, checked whole.

    Args:
        path_or_name: A bundled name, a folder, or a ``scenario.toml``.
        seed: Replaces the file's seed.

    Raises:
        ScenarioError: Something is wrong; the message lists every fault, the details hold them.
    """
    scenario, faults = check(path_or_name, seed)
    if scenario is None or faults:
        raise scenario_error(str(path_or_name), faults)
    return scenario


def check(path_or_name: str | Path, seed: int | None = None) -> tuple[Scenario | None, list[Fault]]:
    """Read a scenario and give it with all its faults; None where it cannot be built.

    Raises:
        ScenarioError: There is no such scenario.
    """
    folder = find(path_or_name)
    try:
        file = ScenarioFile.model_validate(read_toml(folder / FILE_NAME))
    except FileFault as exc:
        return None, [exc.fault]
    except ValidationError as exc:
        return None, model_faults(exc)
    wanted = file.seed if seed is None else seed
    faults: list[Fault] = []
    given = _tables(file, folder, wanted, faults)
    _cross_check(file, given, faults)
    return Scenario(file, folder, wanted, given), faults


def model_faults(exc: ValidationError) -> list[Fault]:
    """Give the faults that pydantic found in a scenario.toml."""
    faults = []
    for error in exc.errors(include_url=False):
        plain = isinstance(error["input"], str | int | float | bool)
        allowed = error["msg"].removeprefix("Value error, ")
        value = shown(error["input"]) if plain else ""
        faults.append(Fault(FILE_NAME, field_path(error["loc"]), value, allowed))
    return faults


def _tables(file: ScenarioFile, folder: Path, seed: int, faults: list[Fault]) -> GivenTables:
    axis = Axis.around(file.start, file.end)
    tables = file.grid.tables
    regional = national = prices = None
    if tables.regional:
        found = Collector(tables.regional)
        regional = read_regional(folder / tables.regional, file, axis, found)
        faults += found.faults
    if tables.national:
        found = Collector(tables.national)
        national = read_national(folder / tables.national, file, axis, found)
        faults += found.faults
    if tables.prices:
        found = Collector(tables.prices)
        prices = read_prices(folder / tables.prices, file, axis, found)
        faults += found.faults
    estimated = [t for t in (regional, national, prices) if t is not None and t.estimated]
    if estimated and not file.grid.method:
        allowed = "is missing; tables with estimated rows need the method in words"
        faults.append(Fault(FILE_NAME, "grid.method", "", allowed))
    return GivenTables(
        regional=regional,
        national=national,
        prices=prices,
        windows=_windows(file, folder, seed, faults),
        workloads=_workloads(file, folder, faults),
    )


def _windows(
    file: ScenarioFile, folder: Path, seed: int, faults: list[Fault]
) -> tuple[Window, ...]:
    match file.windows:
        case CsvWindows(file=name):
            found = Collector(name)
            windows = read_windows(folder / name, file, found)
            faults += found.faults
            return windows
        case GeneratedWindows() as how:
            return generate_windows(file, how, seed)
        case None:
            return ()


def _workloads(file: ScenarioFile, folder: Path, faults: list[Fault]) -> tuple[Arrival, ...] | None:
    match file.workloads:
        case CsvWorkloads(file=name):
            found = Collector(name)
            arrivals = read_workloads(folder / name, found)
            if not arrivals and not found.faults:
                found.add("rows", "", "are none; a scenario needs at least one workload")
            faults += found.faults
            _check_arrivals(file, arrivals, name, "workload", faults)
            return tuple(arrivals)
        case ListedWorkloads(items=items):
            arrivals = [(item.organisation, item.arrival_tick, _plain(item)) for item in items]
            _check_arrivals(file, arrivals, FILE_NAME, "workloads.items", faults)
            return tuple(arrivals)
        case GeneratedWorkloads():
            return None


def _plain(item: ListedWorkload) -> Workload:
    return Workload.model_validate(item.model_dump(exclude={"organisation", "arrival_tick"}))


def _check_arrivals(
    file: ScenarioFile, arrivals: list[Arrival], name: str, field: str, faults: list[Fault]
) -> None:
    """Check what one workload alone cannot show: owner, doubles, and the replay's time."""
    owners = [organisation.name for organisation in file.organisations]
    seen: set[tuple[str, str]] = set()
    last = file.end + TABLE_AFTER
    for owner, tick, workload in arrivals:
        place = f"{field} {workload.workload_name}"
        if owner not in owners:
            allowed = f"is unknown; organisations are {', '.join(owners)}"
            faults.append(Fault(name, f"{place}, organisation", shown(owner), allowed))
        if (owner, workload.workload_name) in seen:
            allowed = f"is there twice for {owner}; each id once"
            faults.append(Fault(name, place, "", allowed))
        seen.add((owner, workload.workload_name))
        if tick >= file.ticks:
            allowed = f"must be below the {file.ticks} ticks of the replay"
            faults.append(Fault(name, f"{place}, arrival_tick", str(tick), allowed))
        if workload.earliest_start < file.start:
            allowed = f"is before the scenario's start {file.start.isoformat()}"
            value = workload.earliest_start.isoformat()
            faults.append(Fault(name, f"{place}, earliest_start", value, allowed))
        if workload.deadline > last:
            allowed = f"is after {last.isoformat()}, where the grid's tables end"
            faults.append(Fault(name, f"{place}, deadline", workload.deadline.isoformat(), allowed))


def _cross_check(file: ScenarioFile, given: GivenTables, faults: list[Fault]) -> None:
    items = {window.item_id for window in given.windows}
    known = f"windows are {', '.join(sorted(items)[:8])}" if items else "there are no windows"
    for i, change in enumerate(file.window_changes):
        if change.item_id not in items:
            place = f"window_changes[{i}].item_id"
            faults.append(Fault(FILE_NAME, place, shown(change.item_id), f"is unknown; {known}"))
    for i, fault in enumerate(file.faults):
        if fault.kind is FaultKind.NACK and fault.item_id and fault.item_id not in items:
            place = f"faults[{i}].item_id"
            faults.append(Fault(FILE_NAME, place, shown(fault.item_id), f"is unknown; {known}"))
    if isinstance(file.workloads, GeneratedWorkloads):
        _check_generated(file, file.workloads, faults)
    else:
        for o, organisation in enumerate(file.organisations):
            for s, site in enumerate(organisation.sites):
                if site.capacity_kw is None:
                    place = f"organisations[{o}].sites[{s}].capacity_kw"
                    allowed = "is missing; capacity is derived only where workloads are generated"
                    faults.append(Fault(FILE_NAME, place, "", allowed))


def _check_generated(file: ScenarioFile, how: GeneratedWorkloads, faults: list[Fault]) -> None:
    present = {str(site.region_id) for o in file.organisations for site in o.sites}
    for name in ("home_weights", "plant_weights"):
        weights: dict[str, float] = getattr(how, name) or {}
        for region in sorted(set(weights) - present, key=int):
            allowed = f"has no site; regions with one are {', '.join(sorted(present, key=int))}"
            faults.append(Fault(FILE_NAME, f"workloads.{name}.{region}", "", allowed))
    if (
        how.window_h is not None
        and file.start + timedelta(hours=how.window_h) > file.end + TABLE_AFTER
    ):
        allowed = "ends after the grid's tables, 48 h after the replay"
        faults.append(Fault(FILE_NAME, "workloads.window_h", f"{how.window_h:g}", allowed))
    for i, tick in enumerate(how.arrival_ticks):
        if tick >= file.ticks:
            allowed = f"must be below the {file.ticks} ticks of the replay"
            faults.append(Fault(FILE_NAME, f"workloads.arrival_ticks[{i}]", str(tick), allowed))
