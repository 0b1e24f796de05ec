"""Reading a run from Supabase, as ``inspect`` does."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from difflib import get_close_matches
from typing import Any, TypeVar
from uuid import UUID

from rich.console import Console

from schema.errors import InputError
from storage.embedded.attach import attach_or_start
from storage.migrations import migrate
from storage.ports import Filter, Order, Store, equal
from storage.settings_loader import load_settings
from storage.supabase_store import from_state_file

T = TypeVar("T")
Row = dict[str, Any]

LATEST, LIVE = "latest", "live"
IN_ORDER = (Order("sent_at"), Order("conversation_id"), Order("sequence"))
"""How messages are read."""


class Reader:
    """Reads one run."""

    def __init__(self, store: Store) -> None:
        self._store = store

    async def all(
        self,
        table: str,
        *,
        run: Row | None = None,
        columns: Sequence[str] | None = None,
        filters: Sequence[Filter] = (),
        order: Sequence[Order] = (),
        limit: int | None = None,
    ) -> list[Row]:
        """Give all rows of a table, of a run if one is given."""
        chosen = [*filters] if run is None else [equal("run_id", run["id"]), *filters]
        rows: list[Any] = await self._store.select(
            table, columns=columns, filters=chosen, order=order, limit=limit
        )
        return rows

    async def runs(self) -> list[Row]:
        """Give all runs, the newest first."""
        return await self.all("scenario_runs", order=[Order("recorded_at", descending=True)])

    async def run(self, wanted: str) -> Row:
        """Find a run by 'latest', 'live', its id, or the first letters of it.

        Raises:
            InputError: No such run, or several begin alike.
        """
        runs = await self.runs()
        if not runs:
            raise InputError("there is no run yet; try: run_cluster.py replay windy-night")
        if wanted == LATEST:
            return runs[0]
        if wanted == LIVE:
            return _live(runs)
        found = [run for run in runs if str(run["id"]).startswith(wanted.lower())]
        if len(found) == 1:
            return found[0]
        known = ", ".join(str(run["id"])[:8] for run in runs[:5])
        begin = f"{len(found)} runs begin with" if found else "there is no run"
        raise InputError(
            f"{begin} {wanted!r}; the last ones are {known} (`inspect runs` lists all)",
            field="run",
            value=wanted,
        )

    async def workload(self, wanted: str, run: Row) -> Row:
        """Find a workload of a run by its name, agent/name, or id.

        Raises:
            InputError: There is none, or several agents have one of that name.
        """
        agent, _, name = wanted.rpartition("/")
        filters = [equal("workload_name", name)] + ([equal("agent_name", agent)] if agent else [])
        if _is_id(wanted):
            filters = [equal("id", wanted.lower())]
        found = await self.all("compute_workloads", run=run, filters=filters)
        if len(found) == 1:
            return found[0]
        short = str(run["id"])[:8]
        if found:
            names = ", ".join(f"{row['agent_name']}/{row['workload_name']}" for row in found)
            raise InputError(
                f"run {short} has several workloads {wanted!r}; say which: {names}",
                field="workload",
                value=wanted,
            )
        rows = await self.all("compute_workloads", run=run, columns=["workload_name"])
        near = get_close_matches(name, [row["workload_name"] for row in rows], n=1)
        hint = f"did you mean {near[0]!r}? " if near else ""
        raise InputError(
            f"run {short} has no workload {wanted!r}; {hint}`inspect schedule` lists names",
            field="workload",
            value=wanted,
        )


def ask(question: Callable[[Reader], Awaitable[T]]) -> T:
    """Put a question to the Supabase in use; one is started where none is up."""

    async def put() -> T:
        store = from_state_file(str(endpoint.state_file))
        try:
            return await question(Reader(store))
        finally:
            await store.close()

    with attach_or_start(load_settings(), migrate=migrate, progress=_say) as endpoint:
        return asyncio.run(put())


def _live(runs: Sequence[Row]) -> Row:
    """Give the live run; one that is running comes before one of another clock."""
    live = [run for run in runs if run["kind"] == LIVE]
    if not live:
        raise InputError(
            "there is no live run yet; begin one with: run_cluster.py start",
            field="run",
            value=LIVE,
        )
    return max(live, key=lambda run: (run["state"] == "running", run["updated_at"]))


def _say(text: str) -> None:
    Console(stderr=True).print(text, style="dim", highlight=False, markup=False)


def _is_id(text: str) -> bool:
    try:
        UUID(text)
    except ValueError:
        return False
    return True
