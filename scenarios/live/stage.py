"""The stage of a live run: every actor, wherever it lives, as the pipeline drives it.

Unlike a replay's stage it is asynchronous: sources are asked independently of each other, and
nobody waits for the slowest.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Protocol

from agents.core.conversation import ManagerOptions
from agents.orchestrator import TickReport
from fetchers.report import PollReport
from schema.orders import WindowUpdate
from schema.rows import ALL_TABLES, AgentRow, ScenarioRunRow
from schema.rows.system import AgentKind, AgentStatus
from storage.client import StorageClient
from storage.ports import equal

#: Half hours for which the manager remembers work that is over: two days.
KEEP_OVER = 96


def live_options(seed: int, carbon_value_gbp_per_kg: float) -> ManagerOptions:
    """Say how the manager of a live run decides: as a replay's, but there is no end."""
    return ManagerOptions(
        seed=seed,
        carbon_value_gbp_per_kg=carbon_value_gbp_per_kg,
        keep_over=KEEP_OVER,
        counts_on=True,
    )


class LiveStage(Protocol):
    """What the pipeline asks of its actors; one implementation in this process, one on Ray."""

    async def open(self, run: ScenarioRunRow) -> None:
        """Make the actors; store the run's row and theirs."""
        ...

    @property
    def negotiates(self) -> bool:
        """Whether there are sites, hence an orchestrator."""
        ...

    async def poll(self, source: str, planned: datetime) -> PollReport:
        """Have one source asked for what is due; the same moment again repeats no effect.

        Raises:
            GridpactError: No report came within the poll's own deadline; the source is as it was.
        """
        ...

    async def status(self, source: str) -> Mapping[str, Any]:
        """Give what a fetcher says of itself; see ``Fetcher.status``."""
        ...

    async def decide(self, tick: int, now: datetime, updates: Sequence[WindowUpdate]) -> TickReport:
        """Have the orchestrator live through a tick."""
        ...

    async def beat(
        self, now: datetime, told: Mapping[str, Mapping[str, Any]], *, last: bool = False
    ) -> None:
        """Note in ``agents`` who lives, with what is told of sources; ``last`` says goodbye."""
        ...

    async def put_run(self, run: ScenarioRunRow) -> None:
        """Store the run's row with new content."""
        ...

    async def set_clock(self, now: datetime) -> None:
        """Move the run's clock, by which the views know what is now."""
        ...

    async def storage(self) -> Mapping[str, Any]:
        """Give depth, lanes and errors of storage; see ``StorageService.status``."""
        ...

    async def drain(self, timeout_s: float) -> Mapping[str, int]:
        """Wait until everything is in the database; count the run's rows by table."""
        ...


@dataclass(slots=True)
class Pulse:
    """One actor as it was last heard of; ``at`` is None for one never heard of."""

    kind: AgentKind
    node: str | None = None
    at: datetime | None = None
    status: AgentStatus = AgentStatus.ACTIVE


class Bookkeeping:
    """The rows of the run itself and of its actors, the same on every stage.

    Args:
        run_id: The run.
    """

    def __init__(self, run_id: str) -> None:
        self.run_id = run_id
        self.client: StorageClient
        self._version = 0

    async def put_run(self, run: ScenarioRunRow) -> None:
        """See ``LiveStage``."""
        await self.client.put_run(self.run_id, run)

    async def set_clock(self, now: datetime) -> None:
        """See ``LiveStage``."""
        await self.client.set_clock_at(self.run_id, now)

    async def storage(self) -> Mapping[str, Any]:
        """See ``LiveStage``."""
        return await self.client.status()

    async def drain(self, timeout_s: float) -> Mapping[str, int]:
        """See ``LiveStage``; the views then show what was stored."""
        await self.client.barrier(timeout_s)
        await self.client.refresh_views()
        mine = [equal("run_id", self.run_id)]
        counts = [await self.client.count(table, mine) for table in ALL_TABLES[1:]]
        return dict(zip(ALL_TABLES[1:], counts, strict=True))

    async def put_agents(
        self, now: datetime, pulses: Mapping[str, Pulse], told: Mapping[str, Mapping[str, Any]]
    ) -> None:
        """Store one row an actor; its version rises with every call, whatever the clock does."""
        self._version = max(self._version + 1, int(now.timestamp()))
        rows = [
            AgentRow(
                agent_name=name,
                kind=pulse.kind,
                node=pulse.node,
                status=pulse.status,
                last_heartbeat_at=pulse.at,
                capabilities=dict(told[name]) if name in told else None,
                version=self._version,
            )
            for name, pulse in pulses.items()
        ]
        await self.client.put([row.to_record(self.run_id) for row in rows])
