"""The orchestrator is lost between ticks and in the midst of them: nothing tells it afterwards."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console

from agents.core.conversation import ManagerOptions
from agents.orchestrator import Orchestrator, TickReport
from scenarios import stage_local
from scenarios.loader import load
from scenarios.outcome import ReplayOutcome
from scenarios.progress import Progress
from scenarios.replay import Replay
from scenarios.stage_local import LocalStage
from schema.errors import StorageError
from storage.memory import MemoryStore
from storage.ports import Checkpoint

pytestmark = pytest.mark.long

MINI = str(Path(__file__).parent / "mini")
RUN = "00000000-0000-4000-8000-000000000001"

#: Where a tick may be cut off, and at which of a replay's visits of that place it is. A tick that
#: was cut off visits its places again, so two numbers in a row cut the second try off too.
CUTS = {
    "before booking": (2,),
    "after booking": (1, 3),
    "before tell": (1, 5),
    "after tell": (2, 3, 9),
    "before put": (4, 5),
    "after put": (1, 7, 8),
}


class Killed(Exception):
    """Stands for the end of the process."""


class Killer:
    """Ends the process at chosen visits of chosen places."""

    def __init__(self, cuts: Mapping[str, Sequence[int]]) -> None:
        self._cuts = cuts
        self.visits: Counter[str] = Counter()
        self.kills: Counter[str] = Counter()

    def __call__(self, place: str) -> None:
        self.visits[place] += 1
        if self.visits[place] in self._cuts.get(place, ()):
            self.kills[place] += 1
            raise Killed(place)


class Around:
    """A port of which one method ends the process before or after it is done."""

    def __init__(self, port: object, method: str, place: str, killer: Killer) -> None:
        self._port, self._method, self._place, self._killer = port, method, place, killer

    def __getattr__(self, name: str) -> Any:
        real = getattr(self._port, name)
        if name != self._method:
            return real

        def shaky(*arguments: Any, **options: Any) -> Any:
            self._killer(f"before {self._place}")
            answer = real(*arguments, **options)
            self._killer(f"after {self._place}")
            return answer

        return shaky


class Mortal:
    """An orchestrator that a stage keeps alive: made anew when it died, and asked again."""

    def __init__(self, killer: Killer, *, each_tick: bool, ports: Any, head: Any) -> None:
        self._each_tick = each_tick
        self._make: Callable[[], Orchestrator] = lambda: Orchestrator(
            *head,
            storage=Around(ports["storage"], "put_sync", "put", killer),
            organisations=Around(ports["organisations"], "tell", "tell", killer),
            desk=Around(ports["desk"], "book", "booking", killer),
        )
        self._inner = self._make()

    def tick(self, *arguments: Any) -> TickReport:
        return self._alive(lambda: self._inner.tick(*arguments))

    def close(self, *arguments: Any) -> TickReport:
        return self._alive(lambda: self._inner.close(*arguments))

    def _alive(self, ask: Callable[[], TickReport]) -> TickReport:
        if self._each_tick:
            self._inner = self._make()
        while True:
            try:
                report = ask()
            except Killed:
                self._inner = self._make()
                continue
            assert ask() == report, "the same tick again has the same report"
            return report


Outcome = tuple[ReplayOutcome, dict[str, dict[str, Any]]]


def replay(folder: Path) -> Outcome:
    scenario = load(MINI)
    store = MemoryStore()
    stage = LocalStage(
        scenario, MINI, RUN, ManagerOptions(seed=scenario.seed), store=store, folder=folder
    )
    progress = Progress(Console(stderr=True), quiet=True)
    try:
        outcome = Replay(scenario, RUN, stage, progress, supabase={"mode": "", "url": ""}).run()
    finally:
        stage.close()
    return outcome, {name: dict(rows) for name, rows in store.tables.items()}


@pytest.fixture(scope="module")
def calm(tmp_path_factory: pytest.TempPathFactory) -> Outcome:
    return replay(tmp_path_factory.mktemp("calm"))


def shaken(
    folder: Path,
    monkeypatch: pytest.MonkeyPatch,
    cuts: Mapping[str, Sequence[int]],
    *,
    each_tick: bool = False,
) -> tuple[Outcome, Killer]:
    killer = Killer(cuts)

    def mortal(*head: Any, **ports: Any) -> Mortal:
        return Mortal(killer, each_tick=each_tick, ports=ports, head=head)

    monkeypatch.setattr(stage_local, "Orchestrator", mortal)
    return replay(folder), killer


def test_an_orchestrator_killed_in_the_midst_of_ticks_leaves_no_trace(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, calm: Outcome
) -> None:
    found, killer = shaken(tmp_path, monkeypatch, CUTS)
    assert killer.kills == {place: len(visits) for place, visits in CUTS.items()}
    assert_same(found, calm)


def test_an_orchestrator_made_anew_for_every_tick_leaves_no_trace(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, calm: Outcome
) -> None:
    found, _ = shaken(tmp_path, monkeypatch, {}, each_tick=True)
    assert_same(found, calm)


def test_an_orchestrator_that_loses_its_checkpoint_is_noticed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, calm: Outcome
) -> None:
    """The control of the tests above: without what was saved the run would not go on."""
    monkeypatch.setattr("agents.storing.BlockingStorage.checkpoint", lambda *_: None)
    # It counts its conversations from 0 again, and storage has other words under those names.
    with pytest.raises(StorageError, match="came again with other content"):
        shaken(tmp_path, monkeypatch, {}, each_tick=True)


def test_nothing_is_saved_beyond_the_end_of_a_replay(tmp_path: Path, calm: Outcome) -> None:
    del calm
    saved: list[Checkpoint | None] = []
    scenario = load(MINI)
    stage = LocalStage(
        scenario, MINI, RUN, ManagerOptions(seed=1), store=MemoryStore(), folder=tmp_path
    )
    look = stage._storage.checkpoint
    progress = Progress(Console(stderr=True), quiet=True)
    run = Replay(scenario, RUN, stage, progress, supabase={"mode": "", "url": ""})
    try:
        stage.open(run._run)
        stage.decide(0, scenario.start, [])
        saved.append(look("orchestrator"))
        run._finish(stage.decide(1, scenario.start + scenario.tick, []), 0.0)
        saved.append(look("orchestrator"))
    finally:
        stage.close()
    assert saved[0] is not None
    assert saved[1] is None


def assert_same(found: Outcome, wanted: Outcome) -> None:
    assert found[0].digest == wanted[0].digest
    assert found[0].negotiation == wanted[0].negotiation
    assert found[0].workloads == wanted[0].workloads
    for table, rows in wanted[1].items():
        if table == "scenario_runs":
            continue  # its summary has wall-clock seconds
        assert found[1][table] == rows, table
