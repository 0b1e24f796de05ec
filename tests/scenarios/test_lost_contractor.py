"""A contractor is lost in the midst of a conversation: the market is held again, and agrees."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from agents.compute import ComputeAgent
from agents.core import conversation
from agents.core.market.contractors import Contractors
from agents.core.market.questions import Describe, Question, Step
from agents.core.market.replies import Token
from agents.local import LocalOrganisations
from agents.organisation import Source
from agents.storing import BlockingStorage
from schema.errors import AgentUnavailable
from storage.client import StorageClient
from storage.memory import MemoryStore
from storage.service import StorageService

MINI = str(Path(__file__).parent / "mini")
Replayer = Callable[..., Any]


class Shaky:
    """Contractors of which one is lost at the n-th call of a replay, and again later."""

    def __init__(self, contractors: Contractors, lose: Callable[[], None]) -> None:
        self._contractors, self._lose = contractors, lose

    def ask(self, question: Question[Any]) -> list[Any]:
        self._lose()
        return self._contractors.ask(question)

    def relay(self, step: Step, token: Token) -> Token:
        self._lose()
        return self._contractors.relay(step, token)

    def leads(self) -> Contractors:
        return Shaky(self._contractors.leads(), self._lose)


class ShakyOrganisations(LocalOrganisations):
    """Compute agents that are away at some calls, counted over the whole run."""

    lost_at: tuple[int, ...] = ()

    def __init__(self, *arguments: Any) -> None:
        super().__init__(*arguments)
        self.calls = 0

    def open(self, conversation_id: str, **terms: Any) -> Contractors:
        return Shaky(super().open(conversation_id, **terms), self._lose)

    def _lose(self) -> None:
        self.calls += 1
        if self.calls in self.lost_at:
            raise AgentUnavailable("killed by a test")


@pytest.mark.long
def test_lost_contractors_leave_no_trace_in_what_is_decided(
    replay_locally: Replayer, monkeypatch: pytest.MonkeyPatch
) -> None:
    calm = replay_locally()
    # At once, between two questions, and in the replay's later conversations.
    monkeypatch.setattr(ShakyOrganisations, "lost_at", (1, 7, 40, 250))
    monkeypatch.setattr("scenarios.stage_local.LocalOrganisations", ShakyOrganisations)
    shaken = replay_locally()
    assert shaken.outcome.digest == calm.outcome.digest
    assert _words(shaken) == _words(calm)


def test_a_contractor_that_never_comes_back_ends_the_run(
    replay_locally: Replayer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(ShakyOrganisations, "lost_at", tuple(range(1, 1 + conversation.HOLD_TRIES)))
    monkeypatch.setattr("scenarios.stage_local.LocalOrganisations", ShakyOrganisations)
    with pytest.raises(AgentUnavailable, match="killed by a test"):
        replay_locally()


def test_an_agent_that_was_started_anew_says_so(tmp_path: Path) -> None:
    source = Source(
        "scenarios.organisations:organisation", {"scenario": MINI, "seed": 3, "name": "north"}
    )
    with StorageService(tmp_path, MemoryStore()) as service:
        storage = BlockingStorage(StorageClient(service), "run")
        agent = ComputeAgent("north", source, range(8), run_id="run", storage=storage)
        with pytest.raises(AgentUnavailable, match=r"north was started anew .* 0003; open it"):
            agent.ask("0003", Describe())


def _words(replayed: Any) -> list[tuple[Any, ...]]:
    rows = replayed.tables["agent_negotiations"]
    return sorted(
        (row["conversation_id"], row["sequence"], row["performative"], _content(row))
        for row in rows
    )


def _content(row: dict[str, Any]) -> str:
    # An order is named after its run.
    return str({name: value for name, value in row["content"].items() if name != "order_id"})
