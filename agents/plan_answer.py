"""``plan --duration …``: reads the options of "when is best?", and writes the answer."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import replace
from datetime import datetime
from pathlib import Path
from typing import Any, Literal

from rich import box
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from agents.plan_best import Answer, Figures, Question, Slot, find_best
from agents.plan_grid import read_grid
from agents.plan_objective import Objective
from schema.errors import InputError
from schema.periods import format_instant, half_hour_start, parse_instant
from schema.regions import REGION_COUNT, region, region_by_short_name
from schema.settings import Settings
from schema.units import KG_PER_TONNE

_DURATION = re.compile(r"(?:(\d+(?:\.\d+)?)h)?(?:(\d+)min)?")
_POWER = re.compile(r"(\d+(?:\.\d+)?)(W|kW|MW)")
_KW = {"W": 0.001, "kW": 1.0, "MW": 1000.0}
_MOST_MINUTES = 2047 * 30
_MOST_KW = 1e6
_LEAST_KW = 0.001


def parse_duration(text: str) -> int:
    """Read ``3h``, ``90min`` or ``1h30min`` in whole minutes.

    Raises:
        InputError: Something else, zero, or longer than any grid.
    """
    match = _DURATION.fullmatch(text.strip())
    minutes = 0.0
    if match is not None:
        minutes = float(match[1] or 0) * 60 + float(match[2] or 0)
    if not 1 <= minutes <= _MOST_MINUTES:
        raise InputError(
            f"--duration {text!r}: 3h, 90min or 1h30min is allowed, from 1min to "
            f"{_MOST_MINUTES}min",
            field="duration",
            value=text,
        )
    # Parts of a minute are minutes begun; 0.1 h is 6 minutes despite binary fractions.
    return int(-(-round(minutes, 6) // 1))


def parse_power(text: str) -> float:
    """Read ``5kW``, ``500W`` or ``1.2MW`` in kW.

    Raises:
        InputError: Something else, or no power at all.
    """
    match = _POWER.fullmatch(text.strip())
    power = float(match[1]) * _KW[match[2]] if match is not None else 0.0
    if not _LEAST_KW <= power <= _MOST_KW:
        raise InputError(
            f"--power {text!r}: 500W, 5kW or 1.2MW is allowed, from 1W to {_MOST_KW / 1000:g}MW",
            field="power",
            value=text,
        )
    return power


def parse_region(text: str) -> int:
    """Read a region's number or short name.

    Raises:
        InputError: There is no such region.
    """
    clean = text.strip()
    if clean.isdecimal() and 1 <= int(clean) <= REGION_COUNT:
        return int(clean)
    found = region_by_short_name(clean)
    if found is None:
        raise InputError(
            f"--region {text!r}: a number 1 to {REGION_COUNT} or a name such as London is allowed",
            field="region",
            value=text,
        )
    return found.region_id


def parse_when(option: str, text: str | None) -> datetime | None:
    """Read an instant with its zone; None stays None.

    Raises:
        InputError: No instant, or one without a zone.
    """
    if text is None:
        return None
    try:
        return parse_instant(text)
    except (ValueError, OverflowError) as exc:
        raise InputError(f"{option} {text!r}: {exc}", field=option, value=text) from None


def answer(
    question: Question, grid: Path | None, settings: Settings, now: datetime
) -> tuple[Answer, Figures]:
    """Find figures and the best place on them.

    With a grid only that is looked at. Else the newest run of the Supabase that is up, and where
    that is absent or does not cover the question, a bundled scenario.

    Args:
        question: The job.
        grid: Path of a CSV.
        settings: Say which Supabase.
        now: Earliest start on live figures, if none is asked for.

    Raises:
        InputError: No figures cover the question; says of each source why not.
    """
    if grid is not None:
        found = read_grid(grid)
        figures = Figures(found, f"the grid {found.source}", simulated=False)
        return find_best(question, figures), figures
    # Imported here: a question about a CSV needs neither Supabase nor scenarios.
    from agents.plan_figures import bundled_figures, stored_figures

    stored = stored_figures(settings)
    why = stored if isinstance(stored, str) else ""
    if isinstance(stored, Figures):
        try:
            return find_best(not_before(question, stored, now), stored), stored
        except InputError as exc:
            why = str(exc)
    bundled = replace(bundled_figures(), notes=(why,))
    try:
        return find_best(question, bundled), bundled
    except InputError as exc:
        raise InputError(f"{why}; {exc}; give --grid G.csv", **exc.details) from exc


def not_before(question: Question, figures: Figures, now: datetime) -> Question:
    """Look from now on where figures are live and no earliest start is asked for."""
    if figures.simulated or question.earliest_start is not None:
        return question
    first = half_hour_start(figures.grid.origin)
    return replace(question, earliest_start=max(now, first))


def build_question(
    *,
    duration: str | None,
    power: str | None,
    regions: Sequence[str],
    earliest_start: str | None,
    deadline: str | None,
    objective: Objective,
    settings: Settings,
) -> Question:
    """Read the options.

    Raises:
        InputError: One is missing or wrong.
    """
    if duration is None or power is None:
        missing = "--duration" if duration is None else "--power"
        raise InputError(
            f"{missing} is missing; to ask when is best, give --duration 3h --power 5kW, and "
            "--region and --deadline as needed"
        )
    return Question(
        duration_min=parse_duration(duration),
        power_kw=parse_power(power),
        regions=tuple(dict.fromkeys(parse_region(text) for text in regions)),
        earliest_start=parse_when("--earliest-start", earliest_start),
        deadline=parse_when("--deadline", deadline),
        objective=objective,
        carbon_value_gbp_per_kg=settings.carbon_value_gbp_per_tonne / KG_PER_TONNE,
    )


def answer_json(question: Question, found: Answer, figures: Figures) -> dict[str, Any]:
    """Write an answer for programs."""
    grid = figures.grid
    return {
        "duration_min": question.duration_min,
        "power_kw": question.power_kw,
        "objective": question.objective.value,
        "best": _slot(found.best),
        "at_once": _slot(found.at_once),
        "avoided_gco2": _less(found.at_once.gco2, found.best.gco2),
        "saved_gbp": _less(found.at_once.cost_gbp, found.best.cost_gbp),
        "others": [_slot(slot) for slot in found.others],
        "figures": {
            "origin": figures.origin,
            "simulated": figures.simulated,
            "from": _instant(grid.origin),
            "to": _instant(grid.end),
            "notes": list(figures.notes),
        },
    }


def print_answer(question: Question, found: Answer, figures: Figures, console: Console) -> None:
    """Write an answer for people, and where its figures come from."""
    table = Table(
        title=f"{question.duration_min} min at {question.power_kw:g} kW, {question.objective}",
        title_justify="left",
        header_style="bold",
        box=box.SIMPLE_HEAD,
    )
    for name in ("", "region", "from (UTC)", "to (UTC)", "gCO2/kWh", "kgCO2", "GBP"):
        side: Literal["left", "right"] = "left" if name in {"", "region"} else "right"
        table.add_column(name, justify=side, no_wrap=True)
    table.add_row(*_cells("best", found.best), style="bold green")
    for slot in found.others:
        table.add_row(*_cells("then", slot))
    table.add_row(*_cells("at once", found.at_once), style="dim")
    console.print(table)
    avoided = _less(found.at_once.gco2, found.best.gco2)
    if avoided is not None:
        console.print(f"Avoids {avoided / 1000:.3f} kgCO2 against running at once.")
    mark = "[bold yellow]SIMULATED[/] figures" if figures.simulated else "Figures"
    console.print(f"{mark}: {escape(figures.origin)}", highlight=False)
    for note in figures.notes:
        console.print(f"  {escape(note)}", style="dim", highlight=False)


def _cells(name: str, slot: Slot) -> tuple[str, ...]:
    mean = None if slot.gco2 is None else slot.gco2 / slot.energy_kwh
    return (
        name,
        f"{slot.region_id} {region(slot.region_id).short_name}",
        _short(slot.first),
        _short(slot.end),
        "unknown" if mean is None else f"{mean:.0f}",
        "unknown" if slot.gco2 is None else f"{slot.gco2 / 1000:.3f}",
        "unknown" if slot.cost_gbp is None else f"{slot.cost_gbp:.2f}",
    )


def _slot(slot: Slot) -> dict[str, Any]:
    return {
        "region_id": slot.region_id,
        "starts_at": _instant(slot.first),
        "ends_at": _instant(slot.end),
        "energy_kwh": slot.energy_kwh,
        "gco2": slot.gco2,
        "intensity_gco2_per_kwh": None if slot.gco2 is None else slot.gco2 / slot.energy_kwh,
        "cost_gbp": slot.cost_gbp,
    }


def _less(one: float | None, other: float | None) -> float | None:
    return None if one is None or other is None else one - other


def _instant(number: int) -> str:
    return format_instant(half_hour_start(number))


def _short(number: int) -> str:
    return half_hour_start(number).strftime("%d %b %H:%M")
