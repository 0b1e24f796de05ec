"""The orchestrator: the manager with storage, contractors and the booking desk around it.

``Orchestrator`` is a plain class over ports; ``OrchestratorShell`` puts it on Ray. All rows of a
tick are stored before the tick is over, parents before children, so that a reader of the
database never sees an award without its workload.

The run's state is saved in the same commit as the tick's own rows. So an orchestrator that was
killed goes on from the last tick that was over: what it had begun of the next one it does again,
on the same figures, with the same outcome and the same rows. A tick that was over is not lived
through twice: asked for again, it is answered with the report it had.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from functools import partial
from typing import Protocol

import ray

from agents.core.accounting import CarbonTotals, Figures, rescored_intensity
from agents.core.book import Registration
from agents.core.booking import BookingDesk
from agents.core.checkpoint import Begun, Saved, pack, pack_begun, unpack, unpack_begun
from agents.core.conversation import ConversationReport, Hall, ManagerOptions
from agents.core.digest import RunDigest
from agents.core.manager import Manager, TickResult
from agents.core.records import StatusUpdate
from agents.core.view import Site, view_of
from agents.remote import RayDesk, RayOrganisations
from agents.storing import storage_by_name
from schema.messages import MANAGER
from schema.orders import OrderResult, WindowOrder, WindowUpdate
from schema.periods import HALF_HOUR, half_hour_start
from schema.rows import Record
from storage.grid_state import GridState
from storage.ports import Checkpoint, Filter, JsonObject, Order

#: Under which the inputs of a tick are saved that has ordered windows.
BEGUN = f"{MANAGER}-begun"


class Storage(Protocol):
    """What the orchestrator asks of storage."""

    def put_sync(self, records: Sequence[Record], checkpoint: Checkpoint | None = None) -> object:
        """Return once the rows are on disk, and the checkpoint with them."""
        ...

    def checkpoint(self, name: str) -> Checkpoint | None:
        """Give what was saved last under a name."""
        ...

    def select(
        self,
        table: str,
        columns: Sequence[str],
        filters: Sequence[Filter] = (),
        order: Sequence[Order] = (),
        limit: int | None = None,
    ) -> list[JsonObject]:
        """Read rows of this run from the database."""
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

    @property
    def names(self) -> frozenset[str]:
        """The organisations that are there."""
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


@dataclass(frozen=True, slots=True)
class _Now:
    """Where a run stands: after ``number`` calls, of which ``call`` was the last.

    ``begun`` is the newest tick that ordered windows, whether it was over or not.
    """

    number: int
    manager: Manager
    digest: RunDigest
    call: tuple[str, ...] = ()
    report: TickReport | None = None
    begun: Begun | None = None


class _NotedDesk:
    """A desk that has something noted before the first order."""

    def __init__(self, desk: BookingDesk, note: Callable[[], None]) -> None:
        self._desk, self._note = desk, note
        self._noted = False

    def book(self, orders: Sequence[WindowOrder]) -> list[OrderResult]:
        """See ``BookingDesk``."""
        if not self._noted:
            self._note()
            self._noted = True
        return self._desk.book(orders)


class Orchestrator:
    """One run's orchestrator; asks nobody anything before its first tick.

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
        self._options = options
        self._storage = storage
        self._organisations = organisations
        self._desk = desk
        self._now: _Now | None = None

    def tick(self, tick: int, now: datetime, updates: Sequence[WindowUpdate]) -> TickReport:
        """Live through one tick: arrivals, negotiation, awards, rows.

        The same tick at the same moment again gives the same report and changes nothing.
        """
        call = ("tick", str(tick), now.isoformat())

        def live(run: _Now) -> TickResult:
            begun = run.begun if run.begun is not None and run.begun.call == call else None
            inputs = begun or Begun(
                call,
                view_of(
                    self._storage.grid_state(now, origin=half_hour_start(run.manager.opened(now)))
                ),
                tuple(self._organisations.register(tick)),
                tuple(updates),
            )
            number = run.number + 1
            desk = (
                self._desk if begun else _NotedDesk(self._desk, partial(self._note, inputs, number))
            )
            return run.manager.tick(
                now,
                inputs.view,
                inputs.registrations,
                inputs.updates,
                digest=run.digest,
                hall=self._organisations,
                desk=desk,
            )

        return self._once(call, live)

    def close(self, start: datetime, now: datetime) -> TickReport:
        """Re-score the run on what was published later; again gives the same report."""
        periods = (now - start) // HALF_HOUR

        def rescore(run: _Now) -> TickResult:
            grid = self._storage.grid_state(now, origin=start, periods=periods)
            offers = run.manager.state.offers
            return run.manager.rescore(
                Figures(
                    origin=view_of(grid).origin,
                    intensity=rescored_intensity(
                        grid.intensity_gco2_per_kwh,
                        grid.national_intensity_gco2_per_kwh,
                        grid.national_actual_gco2_per_kwh,
                    ),
                    price=grid.price_gbp_per_mwh,
                    window_intensity={
                        key: float(offer.intensity_gco2_per_kwh or 0.0)
                        for key, offer in offers.items()
                    },
                    window_price={
                        key: float(offer.price_per_kwh or 0.0) for key, offer in offers.items()
                    },
                )
            )

        return self._once(("close", start.isoformat(), now.isoformat()), rescore)

    # -- going on ----------------------------------------------------------------------------------

    def _once(self, call: tuple[str, ...], do: Callable[[_Now], TickResult]) -> TickReport:
        run = self._now or self._taken_up()
        if run.call == call and run.report is not None:
            return run.report
        # Until it is stored, what was done of it is in this process alone: if it ends badly here,
        # the next try begins from the checkpoint, as it would in a new process.
        self._now = None
        result = do(run)
        report = self._report(result, run)
        self._store(result, Saved(run.number + 1, call, report, run.manager.state, run.digest))
        self._now = _Now(run.number + 1, run.manager, run.digest, call, report)
        return report

    def _taken_up(self) -> _Now:
        """Go on from the checkpoint, or begin where there is none."""
        sites = self._organisations.announce()
        kept, noted = self._storage.checkpoint(MANAGER), self._storage.checkpoint(BEGUN)
        begun = None if noted is None else unpack_begun(noted.blob)
        if kept is None:
            manager = Manager(sites, self._options)
            manager.state.conversations = self._held_before()
            return _Now(0, manager, RunDigest(), begun=begun)
        saved: Saved[TickReport] = unpack(kept.blob)
        known = {contract.organisation for contract in saved.state.ledger}
        absent = known - self._organisations.names
        manager = Manager(sites, self._options, saved.state, absent=absent)
        return _Now(saved.number, manager, saved.digest, saved.call, saved.report, begun)

    def _held_before(self) -> int:
        """Count the conversations that the run's log has, by another installation or disk."""
        if not self._options.counts_on:
            return 0
        newest = self._storage.select(
            "agent_negotiations",
            ("conversation_id",),
            order=(Order("sent_at", descending=True),),
            limit=1,
        )
        return max((int(str(row["conversation_id"])) + 1 for row in newest), default=0)

    def _note(self, inputs: Begun, number: int) -> None:
        self._storage.put_sync([], Checkpoint(self._run_id, BEGUN, number, pack_begun(inputs)))

    def _store(self, result: TickResult, saved: Saved[TickReport]) -> None:
        there = self._organisations.names
        self._organisations.tell(
            {name: updates for name, updates in result.tellings.items() if name in there}
        )
        rows = [*result.messages, *result.schedules]
        self._storage.put_sync(
            [row.to_record(self._run_id) for row in rows],
            Checkpoint(self._run_id, MANAGER, saved.number, pack(saved)),
        )

    @staticmethod
    def _report(result: TickResult, run: _Now) -> TickReport:
        standing = run.manager.standing()
        return TickReport(
            digest=run.digest.hexdigest(),
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
        """Nothing to flush: rows and state were stored with their tick."""
