"""Replays in one process, with a store in memory that keeps the database's rules."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from uuid import UUID

import pytest
from rich.console import Console

from agents.core.audit import AuditReport, audit
from agents.core.conversation import ManagerOptions
from scenarios.loader import load
from scenarios.outcome import ReplayOutcome
from scenarios.progress import Progress
from scenarios.replay import Replay
from scenarios.stage_local import LocalStage
from storage.memory import MemoryStore

MINI = str(Path(__file__).parent / "mini")


@dataclass(frozen=True)
class Replayed:
    """The outcome of a replay and everything it stored."""

    outcome: ReplayOutcome
    tables: dict[str, list[dict[str, Any]]]

    def audit(self) -> AuditReport:
        """Hold the log against the schedule."""
        names = (
            "agent_negotiations",
            "compute_workloads",
            "workload_schedules",
            "compute_windows",
            "compute_assets",
        )
        return audit(*(self.tables[name] for name in names))


Replayer = Callable[..., Replayed]


@pytest.fixture(scope="session")
def replay_locally(tmp_path_factory: pytest.TempPathFactory) -> Replayer:
    """Replay a scenario in this process: ``replay_locally(name, seed=…, shards=…)``.

    ``store`` and ``progress`` may be given by a test that wants to look on; two runs with the same
    ``run_id`` give their rows the same ids.
    """
    launches = itertools.count(1)
    folder = tmp_path_factory.mktemp("spools")

    def run(
        name: str = MINI,
        *,
        seed: int | None = None,
        shards: int = 1,
        store: MemoryStore | None = None,
        progress: Progress | None = None,
        run_id: str | None = None,
    ) -> Replayed:
        number = next(launches)
        scenario = load(name, seed)
        store = store or MemoryStore()
        run_id = run_id or str(UUID(int=number))
        stage = LocalStage(
            scenario,
            name,
            run_id,
            ManagerOptions(seed=scenario.seed),
            store=store,
            folder=folder / str(number),
            shards=shards,
        )
        try:
            outcome = Replay(
                scenario,
                run_id,
                stage,
                progress or Progress(Console(stderr=True), quiet=True),
                supabase={"mode": "memory", "url": ""},
            ).run()
        finally:
            stage.close()
        return Replayed(outcome, {name: rows_of(store, name) for name in store.tables})

    return run


def rows_of(store: MemoryStore, table: str) -> Sequence[dict[str, Any]]:
    """Give the rows of a table."""
    return list(store.tables[table].values())
