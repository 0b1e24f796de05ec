"""The side of a compute agent that a live run has: workloads come from the database, at any time.

What the agent holds is saved with the rows that it writes, so that one that was started anew holds
the same. Where nothing was saved, on another machine or after the spool was lost, it takes up
again what the database calls registered or awarded.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence
from datetime import timedelta
from typing import Protocol

from agents.core.book import Registration, WorkloadBook
from agents.core.intake import FINAL, WORKLOAD_COLUMNS, Holdings, copy
from agents.core.records import StatusUpdate, workload_row
from schema.errors import GridpactError
from schema.periods import format_instant, parse_instant
from schema.rows import Record
from schema.rows.compute import WorkloadStatus
from storage.ports import Checkpoint, Filter, JsonObject, Operator, Order, equal

log = logging.getLogger(__name__)

WORKLOADS = "compute_workloads"
SCHEDULES = "workload_schedules"
#: A cancellation may be committed this much later than the database dates it.
OVERLAP = timedelta(minutes=5)


class Storage(Protocol):
    """What an intake asks of storage."""

    def put_sync(self, records: Sequence[Record], checkpoint: Checkpoint | None = None) -> object:
        """Return once the rows are on disk, and the checkpoint with them."""
        ...

    def checkpoint(self, name: str) -> Checkpoint | None:
        """Give what was saved last under a name."""
        ...

    def select(
        self, table: str, columns: Sequence[str], filters: Sequence[Filter], order: Sequence[Order]
    ) -> list[JsonObject]:
        """Read rows of this run from the database, without much patience."""
        ...


class Intake:
    """Takes workloads in for one organisation.

    Args:
        organisation: Whose.
        run_id: Of the live run.
        storage: Where rows are and go.
    """

    def __init__(self, organisation: str, run_id: str, storage: Storage) -> None:
        self._organisation = organisation
        self._run_id = run_id
        self._storage = storage
        self._holdings: Holdings | None = None
        self._book: WorkloadBook | None = None
        self._anew = False

    @property
    def book(self) -> WorkloadBook:
        """Everything held, in columns."""
        if self._book is None:
            self._book = self._restored().book(self._organisation)
        return self._book

    def register(self) -> Registration:
        """Look for new workloads and cancellations, and tell everything that is held.

        While the database cannot be read, what was held before is told.
        """
        try:
            self._collect()
        except GridpactError as exc:
            log.warning(
                "%s cannot look for new workloads, trying again at the next tick: %s",
                self._organisation,
                exc,
            )
        return self._restored().registration(self.book)

    def tell(self, updates: Sequence[StatusUpdate]) -> int:
        """Store how workloads stand, and let go of those that are over.

        What is told of one that was let go before has been stored already.
        """
        holdings = self._restored()
        names = dict(zip(self.book.keys.tolist(), holdings.held, strict=True))
        known = [(names[update.key], update) for update in updates if update.key in names]
        records = [
            workload_row(
                self._organisation,
                holdings.held[name].workload,
                update,
                base=holdings.held[name].base,
            ).to_record(self._run_id)
            for name, update in known
        ]
        over = [name for name, update in known if update.status in FINAL]
        after = copy(holdings)
        after.finish(over)
        if records:
            self._save(after, records)
        return len(records)

    # -- looking for work --------------------------------------------------------------------------

    def _collect(self) -> None:
        holdings = self._restored()
        wanted = [WorkloadStatus.SUBMITTED]
        if self._anew:
            wanted += [WorkloadStatus.REGISTERED, WorkloadStatus.AWARDED]
        rows = self._select(
            WORKLOADS,
            (*WORKLOAD_COLUMNS, "agent_name", "version", "status", "submitted_at"),
            Filter("status", Operator.IN, [status.value for status in wanted]),
            order=(Order("submitted_at"), Order("workload_name")),
        )
        off = self._called_off(holdings)
        before = {row["workload_name"] for row in rows if row["status"] != WorkloadStatus.SUBMITTED}
        revisions = self._revisions() if before else {}
        after = copy(holdings)
        refused = after.take(rows, revisions)
        called_off = after.call_off(off)
        times = [parse_instant(str(row["updated_at"])) for row in off if row.get("updated_at")]
        if times:
            after.since = format_instant(max(times))
        self._anew = False
        if refused or called_off or after.held.keys() != holdings.held.keys():
            self._save(after, [row.to_record(self._run_id) for row in refused])
        else:
            self._holdings = after

    def _called_off(self, holdings: Holdings) -> list[JsonObject]:
        more = []
        if holdings.since is not None:
            since = format_instant(parse_instant(holdings.since) - OVERLAP)
            more.append(Filter("updated_at", Operator.GTE, since))
        return self._select(
            WORKLOADS,
            ("workload_name", "version", "updated_at"),
            equal("status", WorkloadStatus.CANCELLED.value),
            *more,
        )

    def _revisions(self) -> dict[str, int]:
        newest: dict[str, int] = {}
        for row in self._select(SCHEDULES, ("workload_name", "revision")):
            name, revision = str(row["workload_name"]), int(str(row["revision"]))
            newest[name] = max(newest.get(name, 0), revision)
        return newest

    def _select(
        self, table: str, columns: Sequence[str], *filters: Filter, order: Sequence[Order] = ()
    ) -> list[JsonObject]:
        mine = equal("agent_name", self._organisation)
        return self._storage.select(table, columns, (mine, *filters), order)

    # -- keeping -----------------------------------------------------------------------------------

    def _restored(self) -> Holdings:
        if self._holdings is None:
            saved = self._storage.checkpoint(self._organisation)
            self._anew = saved is None
            self._holdings = Holdings() if saved is None else Holdings.from_bytes(saved.blob)
        return self._holdings

    def _save(self, after: Holdings, records: Sequence[Record]) -> None:
        """Make this what is held, once it and the rows are on disk."""
        after.saves += 1
        self._storage.put_sync(
            records,
            Checkpoint(self._run_id, self._organisation, after.saves, after.to_bytes()),
        )
        if after.held.keys() != self._restored().held.keys():
            self._book = None
        self._holdings = after
