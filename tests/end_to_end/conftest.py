"""What the end-to-end tests share: one Supabase behind a gate, one home, a replay in process."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import pytest
from embedded_fixtures import EmbeddedServer
from replay_world import World, make_home
from rich.console import Console
from supabase_gate import Gate


@pytest.fixture(scope="session")
def world(
    supabase_server: EmbeddedServer, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[World]:
    folder = tmp_path_factory.mktemp("end-to-end")
    with Gate(supabase_server.state.api_port) as gate:
        made = World(gate, supabase_server, make_home(folder / "home"), folder / "runs")
        yield made
        gate.release()
        for launched in made.launched:
            launched.end()


@pytest.fixture(scope="session")
def digest_in_process(tmp_path_factory: pytest.TempPathFactory) -> Callable[..., str]:
    """Give the digest of a scenario replayed in this process, without Ray and Supabase."""
    folder = tmp_path_factory.mktemp("in-process")

    def replay(name: str, seed: int | None = None) -> str:
        # Imported here: some of these import ray, which other folders must prepare for first.
        from agents.core.conversation import ManagerOptions
        from scenarios.loader import load
        from scenarios.progress import Progress
        from scenarios.replay import Replay
        from scenarios.stage_local import LocalStage
        from storage.memory import MemoryStore

        scenario = load(name, seed)
        run_id = f"00000000-0000-0000-0000-{len(list(folder.iterdir())):012d}"
        stage = LocalStage(
            scenario,
            name,
            run_id,
            ManagerOptions(seed=scenario.seed),
            store=MemoryStore(),
            folder=folder / run_id,
        )
        progress = Progress(Console(stderr=True), quiet=True)
        try:
            replay = Replay(scenario, run_id, stage, progress, supabase={"mode": "", "url": ""})
            return replay.run().digest
        finally:
            stage.close()

    return replay
