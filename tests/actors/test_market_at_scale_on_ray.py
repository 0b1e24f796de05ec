"""100,000 workloads by shard processes: one digest for 1, 2, 4 and 8, also where one is killed."""

from __future__ import annotations

import os
import signal
from typing import TYPE_CHECKING, TypeVar

import pytest

from agents.core.market.contractors import Contractors, InProcessContractors, make_books
from agents.core.market.digest import digest_of
from agents.core.market.instances import Instance, make_instance
from agents.core.market.negotiate import Options, negotiate
from agents.core.market.outcome import Outcome
from agents.core.market.questions import Question, Step
from agents.core.market.replies import Token

if TYPE_CHECKING:
    from agents.supervisor import Cluster

R = TypeVar("R")

OPTIONS = Options(seed=5)

pytestmark = [pytest.mark.ray, pytest.mark.long, pytest.mark.timeout(600)]


@pytest.fixture(scope="module")
def made() -> Instance:
    return make_instance(100_000, seed=5, organisations=1, utilisation=0.70)


@pytest.fixture(scope="module")
def alone(made: Instance) -> Outcome:
    return negotiate(made.market, InProcessContractors(make_books(made.fleets)), OPTIONS)


def test_everybody_has_a_place_within_the_gap_that_is_promised(alone: Outcome) -> None:
    assert (alone.workloads, alone.refused, alone.mustered) == (100_000, 0, False)
    assert alone.gap <= 0.0015


@pytest.mark.parametrize("shards", [1, 2, 4, 8])
def test_any_number_of_shard_processes_gives_one_digest(
    cluster: Cluster, made: Instance, alone: Outcome, shards: int
) -> None:
    from agents.shards_on_ray import FleetProcesses

    processes = FleetProcesses(cluster, made.fleets, shards)
    try:
        held = processes.load()
        assert len({shard.pid for shard in held}) == shards
        assert sum(shard.workloads for shard in held) == 100_000
        together = processes.hold(lambda them: negotiate(made.market, them, OPTIONS))
    finally:
        processes.end()
    assert digest_of(together) == digest_of(alone)


class _KillingAt:
    """Passes everything on; kills a process before one of the token's rounds."""

    def __init__(self, contractors: Contractors, pid: int, relay: int) -> None:
        self._contractors, self._pid, self._left = contractors, pid, relay

    def ask(self, question: Question[R]) -> list[R]:
        return self._contractors.ask(question)

    def relay(self, step: Step, token: Token) -> Token:
        if self._left == 0:
            os.kill(self._pid, signal.SIGKILL)
        self._left -= 1
        return self._contractors.relay(step, token)

    def leads(self) -> Contractors:
        return _KillingAt(self._contractors.leads(), self._pid, self._left)


def test_a_shard_killed_between_two_sweeps_changes_nothing(
    cluster: Cluster, made: Instance, alone: Outcome
) -> None:
    from agents.shards_on_ray import FleetProcesses

    processes = FleetProcesses(cluster, made.fleets, 4)
    try:
        held = processes.load()
        tries: list[Contractors] = []

        def talk(contractors: Contractors) -> Outcome:
            tries.append(contractors)
            # Three of the six soft sweeps are over, and half of the work has moved by then.
            them = _KillingAt(contractors, held[2].pid, 3) if len(tries) == 1 else contractors
            return negotiate(made.market, them, OPTIONS)

        together = processes.hold(talk)
    finally:
        processes.end()
    assert len(tries) >= 2
    assert digest_of(together) == digest_of(alone)
