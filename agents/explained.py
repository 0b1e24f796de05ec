"""Reads what explains one workload's slot, and lays it out for a terminal."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from agents import stories
from agents.core.audit import RELEASES
from agents.core.explaining.scene import drawn_by_others, walls_of
from agents.core.explaining.story import (
    Alternative,
    Cell,
    Explanation,
    Taken,
    deciding,
    explain,
    settled_tables,
    undecided,
)
from agents.reader import Reader
from agents.stories import clock, instant, span
from schema.messages import Performative
from schema.periods import HALF_HOUR
from schema.regions import region
from storage.ports import Filter, Operator, Order, equal

Row = Mapping[str, Any]
Line = dict[str, Any]

PRIVATE = (
    "What waiting costs it is private and in no figure here: a place that looks cheaper may be "
    "dearer to it."
)
_PLAN = (
    "agent_name",
    "workload_name",
    "revision",
    "conversation_id",
    "starts_at",
    "ends_at",
    "asset_agent_name",
    "asset_name",
    "window_bpp_id",
    "window_item_id",
    "window_starts_at",
    "power_kw",
)
_MOST_HALF_HOURS = 12


async def read_explanation(
    reader: Reader, run: dict[str, Any], workload: Row, said: Sequence[Row]
) -> Explanation:
    """Explain a workload from the database.

    Args:
        reader: Of Supabase.
        run: The row of its run.
        workload: Its row of ``compute_workloads``.
        said: Messages about it, in the order they were sent.
    """
    word = deciding(said)
    if word is None:
        return undecided(workload, None)
    talk = word["conversation_id"]
    calls = await reader.all(
        "agent_negotiations",
        run=run,
        filters=[equal("conversation_id", talk), equal("performative", Performative.CFP.value)],
        order=[Order("sequence", descending=True)],
        limit=1,
    )
    tables = settled_tables(word, calls)
    if tables is None:
        return undecided(workload, word)
    told = [
        Filter("performative", Operator.IN, [item.value for item in RELEASES]),
        Filter("workload_name", Operator.IS_NULL, value=False),
    ]
    releases = [
        row
        for row in await reader.all("agent_negotiations", run=run, filters=told)
        if int(row["conversation_id"]) <= int(talk)
    ]
    drawn = drawn_by_others(
        tables,
        await reader.all("workload_schedules", run=run, columns=_PLAN),
        stories.given_back(releases),
        conversation=talk,
        but=(workload["agent_name"], workload["workload_name"]),
    )
    walls = walls_of(
        await reader.all("compute_windows", run=run), await reader.all("grid_zones", run=run)
    )
    return explain(workload, word, tables, drawn, walls)


def facts(why: Explanation) -> dict[str, str]:
    """Say in sentences what decided."""
    told = {"outcome": why.outcome + (f": {why.reason}" if why.reason else "")}
    if why.conversation is not None:
        told["decided"] = f"{clock(why.decided_at)}, in conversation {why.conversation}"
    if why.price is not None:
        told["price"] = _price(why)
    if why.nearest is not None:
        told["without congestion"] = _nearest(why.nearest)
    if why.regret is not None:
        told["regret"] = (
            f"{why.regret.posted_gbp:,.4f} GBP at the posted prices, "
            f"{why.regret.with_room_gbp:,.4f} against places with room, of {why.places} looked at. "
            f"{PRIVATE}"
        )
    elif why.places:
        told["looked at"] = f"{why.places} {'place' if why.places == 1 else 'places'}. {PRIVATE}"
    return told


def half_hours(taken: Sequence[Taken]) -> list[Line]:
    """One line a half hour of the slot, the first dozen."""
    return [
        {
            "from": clock(item.cell.starts_at),
            "at": item.cell.site,
            "supply": "grid" if item.window is None else _short(item.window),
            "grid GBP/kWh": item.cell.grid_gbp_per_kwh,
            **_window(item, taken),
            "congestion GBP/kWh": item.cell.congestion_gbp_per_kwh,
            "price GBP/kWh": item.price_gbp_per_kwh,
            "load of kW": _load(item.cell),
            "1 kW more saves GBP": item.cell.one_more_kw_saves_gbp,
        }
        for item in taken[:_MOST_HALF_HOURS]
    ]


def alternatives(places: Sequence[Alternative]) -> list[Line]:
    """One line a place."""
    return [
        {
            "runs": _when(item),
            "at": item.site,
            "region": region(item.region_id).short_name,
            "grid GBP": item.grid_gbp,
            "congestion GBP": item.congestion_gbp,
            "posted GBP": item.posted_gbp,
            **({} if item.dearer_gbp is None else {"dearer by GBP": item.dearer_gbp}),
            "room": "yes" if item.has_room else "full",
            "free kW": item.free_kw,
        }
        for item in places
    ]


def binding(cells: Sequence[Cell]) -> list[Line]:
    """One line a cell that stood in the way."""
    return [
        {
            "from": clock(item.starts_at),
            "at": item.site,
            "grid GBP/kWh": item.grid_gbp_per_kwh,
            "congestion GBP/kWh": item.congestion_gbp_per_kwh,
            "load of kW": _load(item),
            "1 kW more saves GBP": item.one_more_kw_saves_gbp,
        }
        for item in cells
    ]


def _price(why: Explanation) -> str:
    assert why.price is not None
    price = why.price
    parts = (
        ("the grid", price.grid_gbp),
        ("windows", price.window_gbp),
        ("scarcity of windows", price.window_scarcity_gbp),
        ("congestion", price.congestion_gbp),
    )
    split = " + ".join(f"{sum_:,.4f} {name}" for name, sum_ in parts if sum_)
    text = f"{price.posted_gbp:,.4f} GBP posted" + (f" = {split}" if split else "")
    if price.capped_gbp > 0:
        text += f"; less {price.capped_gbp:,.4f}, as nobody pays more than its refusal value"
    return f"{text}; pays {price.paid_gbp:,.4f} GBP"


def _nearest(place: Alternative) -> str:
    if place.dearer_gbp == 0:
        return "it would run where it does"
    state = "has room" if place.has_room else "has no room"
    return (
        f"{_when(place)} at {place.site} would be cheapest from the grid, {place.grid_gbp:,.4f} "
        f"GBP; congestion adds {place.congestion_gbp:,.4f}, and it {state} after the conversation"
    )


def _when(place: Alternative) -> str:
    whole = span(place.starts_at, place.ends_at)
    periods = (instant(place.ends_at) - instant(place.starts_at)) // HALF_HOUR
    return whole if periods == place.half_hours else f"{whole}, {place.half_hours} half hours of it"


def _window(item: Taken, taken: Sequence[Taken]) -> Line:
    """Give a window's price where any half hour of the slot has one."""
    if all(other.window is None for other in taken):
        return {}
    return {
        "window GBP/kWh": item.window_gbp_per_kwh,
        "its scarcity GBP/kWh": item.window_scarcity_gbp_per_kwh,
    }


def _short(window: str) -> str:
    """Name a window by its item, as the schedule does."""
    return f"window {window.split('|')[1]}"


def _load(cell: Cell) -> str:
    return f"{cell.load_kw:,.1f} of {cell.capacity_kw:,.1f}"
