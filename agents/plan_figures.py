"""Where ``plan`` takes its figures from when no grid is given: Supabase, or a bundled scenario.

The newest run of the Supabase that is up comes first; nothing is started for it. Else a bundled
scenario answers, marked as simulated.
"""

from __future__ import annotations

import asyncio
from datetime import datetime, timedelta
from importlib import import_module
from typing import Any

import numpy as np

from agents.plan_best import Figures
from agents.plan_grid import PlanGrid
from schema.errors import GridpactError
from schema.periods import format_instant, half_hour_number, parse_instant
from schema.regions import REGION_IDS
from schema.settings import Settings
from storage.embedded.attach import find_running
from storage.embedded.layout import Layout
from storage.grid_facts import FactRow, GridFacts, fold_rows
from storage.grid_prices import LOOK_BACK_DAYS, QualityCode
from storage.grid_state import GridState, view
from storage.home import resolve_home
from storage.ports import Filter, Operator, Order, Store, equal
from storage.supabase_store import SupabaseStore

#: A factory by its name: scenarios are built on agents, so agents cannot import them.
_BUNDLED = ("scenarios.forecast", "bundled_figures")
_LIVE = "live"
_TABLES = ("carbon_intensity_regional", "carbon_intensity_national", "wholesale_prices")


def bundled_figures() -> Figures:
    """Give the figures of the bundled scenario."""
    module, name = _BUNDLED
    made: Figures = getattr(import_module(module), name)()
    return made


def stored_figures(settings: Settings) -> Figures | str:
    """Give the newest run's figures, or why there are none; starts nothing."""
    store = _open(settings)
    if store is None:
        return "no Supabase is up"

    async def ask() -> Figures | None:
        try:
            return await newest_run(store)
        finally:
            await store.close()

    try:
        found = asyncio.run(ask())
    except GridpactError as exc:
        return f"Supabase gave no figures ({exc})"
    return found if found is not None else "Supabase holds no run yet"


async def newest_run(store: Store) -> Figures | None:
    """Read what the newest run knows at its clock; None where there is no run."""
    runs: list[Any] = await store.select(
        "scenario_runs", order=[Order("recorded_at", descending=True)], limit=1
    )
    if not runs or runs[0]["clock_at"] is None:
        return None
    run = runs[0]
    run_id = str(run["id"])
    now = parse_instant(str(run["clock_at"]))
    since = now - timedelta(days=LOOK_BACK_DAYS + 1)
    rows = [row for table in _TABLES for row in await _facts(store, table, run_id, since)]
    return _figures(run, view(fold_rows(GridFacts(), rows), run_id, now))


async def _facts(store: Store, table: str, run_id: str, since: datetime) -> list[FactRow]:
    rows: list[Any] = await store.select(
        table,
        filters=[
            equal("run_id", run_id),
            Filter("valid_from", Operator.GTE, format_instant(since)),
        ],
    )
    return [FactRow(table, str(row["id"]), int(row["version"]), row) for row in rows]


def _figures(run: Any, state: GridState) -> Figures:
    kind, scenario = str(run["kind"]), run["scenario"]
    of = f" of {scenario}" if scenario else ""
    origin = f"run {state.run_id[:8]} ({kind}{of}) as of {format_instant(state.as_of)}"
    intensity = state.intensity_gco2_per_kwh
    notes = []
    if bool((state.price_quality == QualityCode.ESTIMATED).any()):
        notes.append("prices ahead are those of the last comparable day (estimated)")
    if bool((state.intensity_quality == QualityCode.ESTIMATED).any()):
        notes.append("some intensities are estimated from the national forecast")
    if bool(
        (state.intensity_quality == QualityCode.SYNTHETIC).any()
        or (state.price_quality == QualityCode.SYNTHETIC).any()
    ):
        notes.append("some figures are synthetic, because a source was silent")
    return Figures(
        grid=PlanGrid(
            source=origin,
            regions=np.array(REGION_IDS, dtype=np.int64),
            origin=half_hour_number(state.origin),
            intensity_gco2_per_kwh=intensity,
            price_gbp_per_mwh=np.repeat(state.price_gbp_per_mwh[None, :], len(REGION_IDS), axis=0),
            capacity_kw=np.full(intensity.shape, np.inf),
        ),
        origin=origin,
        simulated=kind != _LIVE,
        notes=tuple(notes),
    )


def _open(settings: Settings) -> SupabaseStore | None:
    if settings.supabase_url is not None and settings.supabase_key is not None:
        return SupabaseStore(settings.supabase_url, settings.supabase_key.get_secret_value())
    found = find_running(Layout.of(settings.home or resolve_home()))
    return None if found is None else SupabaseStore(found.url, found.secret_key)
