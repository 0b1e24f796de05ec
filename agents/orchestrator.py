"""The orchestrator: the manager with storage, contractors and the booking desk around it.

``Orchestrator`` is a plain class over ports; ``OrchestratorShell`` puts it on Ray. All rows of a
tick are stored before the tick is over, parents before children, so that a reader of the
database never sees an award without its workload.
"""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Protocol

import ray

from agents.core.accounting import CarbonTotals, Figures, rescored_intensity
from agents.core.book import Registration
from agents.core.booking import BookingDesk
from agents.core.conversation import ConversationReport, Hall, ManagerOptions
from agents.core.digest import RunDigest
from agents.core.manager import Manager, TickResult
from agents.core.records import StatusUpdate
from agents.core.view import Site, view_of
from agents.remote import RayDesk, RayOrganisations
from agents.storing import storage_by_name
from schema.orders import WindowUpdate
from schema.periods import HALF_HOUR
from schema.rows import Record
from storage.grid_state import GridState


class Storage(Protocol):
    """What the orchestrator asks of storage."""

    def put_sync(self, records: Sequence[Record]) -> object:
        """Return once the rows are on disk."""
        ...

    def grid_state(
        self, as_of: datetime, *, origin: datetime | None = None, periods: int = 96
    ) -> GridState:
        """Give the grid as known at an instant."""
        ...


class Organisations(Hall, Protocol):
    """All compute agents."""

    def announce(self) -> tuple[Site, ...]:
        """Have every organisation store its sites; give them all, in a fixed order."""
        ...

    def register(self, tick: int) -> list[Registration]:
        """Ask every organisation which workloads arrive at a tick."""
        ...

    def tell(self, tellings: Mapping[str, Sequence[StatusUpdate]]) -> None:
        """Tell organisations how their workloads stand; they store it."""
        ...


@dataclass(frozen=True, slots=True)
class TickReport:
    """One tick for the driver: figures only."""

    digest: str
    registered: int
    awarded: int
    waiting: int
    missed: int
    carbon: CarbonTotals
    messages: int
    conversation: ConversationReport | None


class Orchestrator:
    """One run's orchestrator.

    Args:
        run_id: The run.
        options: How to decide.
        storage: Takes rows, gives the grid.
        organisations: The compute agents.
        desk: Orders windows.
    """

    def __init__(
        self,
        run_id: str,
        options: ManagerOptions,
        *,
        storage: Storage,
        organisations: Organisations,
        desk: BookingDesk,
    ) -> None:
        self._run_id = run_id
        self._storage = storage
        self._organisations = organisations
        self._desk = desk
        self._manager = Manager(organisations.announce(), options)
        self._digest = RunDigest()

    def tick(self, tick: int, now: datetime, updates: Sequence[WindowUpdate]) -> TickReport:
        """Live through one tick: arrivals, negotiation, awards, rows."""
        grid = self._storage.grid_state(now)
        result = self._manager.tick(
            now,
            view_of(grid),
            self._organisations.register(tick),
            updates,
            digest=self._digest,
            hall=self._organisations,
            desk=self._desk,
        )
        self._store(result)
        return self._report(result)

    def close(self, start: datetime, now: datetime) -> TickReport:
        """Re-score the run on what was published later."""
        periods = (now - start) // HALF_HOUR
        grid = self._storage.grid_state(now, origin=start, periods=periods)
        later = Figures(
            origin=view_of(grid).origin,
            intensity=rescored_intensity(
                grid.intensity_gco2_per_kwh,
                grid.national_intensity_gco2_per_kwh,
                grid.national_actual_gco2_per_kwh,
            ),
            price=grid.price_gbp_per_mwh,
            window_intensity={
                key: float(offer.intensity_gco2_per_kwh or 0.0)
                for key, offer in self._manager.state.offers.items()
            },
            window_price={
                key: float(offer.price_per_kwh or 0.0)
                for key, offer in self._manager.state.offers.items()
            },
        )
        result = self._manager.rescore(later)
        self._store(result)
        return self._report(result)

    def _store(self, result: TickResult) -> None:
        self._organisations.tell(result.tellings)
        rows = [*result.messages, *result.schedules]
        if rows:
            self._storage.put_sync([row.to_record(self._run_id) for row in rows])

    def _report(self, result: TickResult) -> TickReport:
        standing = self._manager.standing()
        return TickReport(
            digest=self._digest.hexdigest(),
            registered=standing.registered,
            awarded=standing.awarded,
            waiting=standing.waiting,
            missed=standing.missed,
            carbon=standing.carbon,
            messages=len(result.messages),
            conversation=result.conversation,
        )


class OrchestratorShell:
    """The orchestrator as a Ray actor; made of names alone, so that a restart can make it again.

    Args:
        run_id: The run.
        options: How to decide.
        namespace: Where the names hold.
        storage: Name of the storage actor.
        shards: Names of each organisation's actors, in order of groups.
        desk: Name of the actor that orders windows.
    """

    def __init__(
        self,
        run_id: str,
        options: ManagerOptions,
        *,
        namespace: str,
        storage: str,
        shards: Mapping[str, Sequence[str]],
        desk: str,
    ) -> None:
        self._orchestrator = Orchestrator(
            run_id,
            options,
            storage=storage_by_name(storage, namespace, run_id),
            organisations=RayOrganisations(shards, namespace),
            desk=RayDesk(desk, namespace),
        )

    def __repr__(self) -> str:
        return "Orchestrator"

    @ray.method(concurrency_group="health")
    def ping(self) -> tuple[str, int]:
        """Say where it runs."""
        return ray.get_runtime_context().get_node_id(), os.getpid()

    def tick(self, tick: int, now: datetime, updates: Sequence[WindowUpdate]) -> TickReport:
        """See ``Orchestrator.tick``."""
        return self._orchestrator.tick(tick, now, updates)

    def close(self, start: datetime, now: datetime) -> TickReport:
        """See ``Orchestrator.close``."""
        return self._orchestrator.close(start, now)

    def stop(self) -> None:
        """Nothing to flush: rows were stored with their tick."""
