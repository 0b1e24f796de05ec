"""Workloads that arrive as rows: read whole, refused with a reason, or held.

Pure: rows go in, what to hold and what to refuse come out. Delay costs stay in here; what leaves
is a registration without them.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
import orjson
from pydantic import ValidationError

from agents.core.book import Registration, WorkloadBook
from schema.errors import StorageError
from schema.rows import ComputeWorkloadRow
from schema.rows.compute import WorkloadStatus
from schema.workloads import Workload

Row = Mapping[str, Any]

#: What a workload is made of; ``delay_cost_gbp_per_kwh_h`` is private.
WORKLOAD_COLUMNS = (
    "workload_name",
    "power_kw",
    "duration_min",
    "earliest_start",
    "deadline",
    "allowed_regions",
    "home_region_id",
    "interruptible",
    "priority",
    "refusal_value_gbp",
    "delay_cost_gbp_per_kwh_h",
)
#: After these an agent need not hold a workload any longer.
FINAL = frozenset({WorkloadStatus.COMPLETED, WorkloadStatus.REFUSED, WorkloadStatus.CANCELLED})
FORM = 1
_REASON_LENGTH = 4000


@dataclass(frozen=True, slots=True)
class Held:
    """A workload that its agent answers for.

    Attributes:
        workload: As its owner described it.
        base: Version that its row had: what is written of it has higher ones.
        revision: Awards it had before this agent knew it; 0 for a new one.
        cancelled: Its owner has called it off.
    """

    workload: Workload
    base: int = 0
    revision: int = 0
    cancelled: bool = False


@dataclass
class Holdings:
    """All workloads of an organisation that are not over.

    Attributes:
        held: By name, in order of arrival.
        finished: Over, but perhaps not yet in the database, which would offer them again.
        since: When the newest known cancellation was made, by the database's clock.
        saves: Counts the savings.
    """

    held: dict[str, Held] = field(default_factory=dict)
    finished: set[str] = field(default_factory=set)
    since: str | None = None
    saves: int = 0

    def take(self, rows: Iterable[Row], revisions: Mapping[str, int]) -> list[ComputeWorkloadRow]:
        """Take up submitted workloads; gives the rows that refuse those that cannot be ones.

        One that is held or over is left alone.

        Args:
            rows: Columns of ``WORKLOAD_COLUMNS``, and ``agent_name`` and ``version``.
            revisions: Awards that a workload had before, by name.
        """
        refused: list[ComputeWorkloadRow] = []
        offered = set()
        for row in rows:
            name = row["workload_name"]
            offered.add(name)
            if name in self.held or name in self.finished:
                continue
            found = read_workload(row)
            if isinstance(found, Workload):
                self.held[name] = Held(found, int(row["version"]), revisions.get(name, 0))
            else:
                refused.append(_refusal(row, found))
        # The database knows by now that the others are over.
        self.finished &= offered
        return refused

    def call_off(self, rows: Iterable[Row]) -> bool:
        """Note cancellations; says whether there were new ones.

        Args:
            rows: ``workload_name`` and ``version`` of cancelled workloads.
        """
        new = False
        for row in rows:
            held = self.held.get(row["workload_name"])
            if held is not None and not held.cancelled:
                base = max(held.base, int(row["version"]))
                self.held[row["workload_name"]] = replace(held, base=base, cancelled=True)
                new = True
        return new

    def finish(self, names: Iterable[str]) -> None:
        """Let go of workloads that are over."""
        for name in names:
            self.held.pop(name, None)
            self.finished.add(name)

    def book(self, organisation: str) -> WorkloadBook:
        """Lay what is held out in columns."""
        return WorkloadBook(organisation, [(0, held.workload) for held in self.held.values()])

    def registration(self, book: WorkloadBook) -> Registration:
        """Tell all of it, and what was called off; telling again changes nothing."""
        held = list(self.held.values())
        everything = np.arange(len(book), dtype=np.int64)
        return replace(
            book.registration(everything),
            revision=np.array([item.revision for item in held], np.int64),
            cancelled=book.keys[np.array([item.cancelled for item in held], np.bool_)],
        )

    # -- saved and read back -----------------------------------------------------------------------

    def to_bytes(self) -> bytes:
        """Write it all, for this machine alone: delay costs are in it."""
        return orjson.dumps(
            {
                "form": FORM,
                "saves": self.saves,
                "since": self.since,
                "finished": sorted(self.finished),
                "held": [
                    {
                        "workload": held.workload.model_dump(mode="json"),
                        "base": held.base,
                        "revision": held.revision,
                        "cancelled": held.cancelled,
                    }
                    for held in self.held.values()
                ],
            }
        )

    @classmethod
    def from_bytes(cls, blob: bytes) -> Holdings:
        """Read what ``to_bytes`` wrote.

        Raises:
            StorageError: It is of another release.
        """
        document = orjson.loads(blob)
        if document["form"] != FORM:
            raise StorageError(
                f"an agent's checkpoint has form {document['form']}, this program reads {FORM}; "
                "let the release that wrote it finish, or move the spool's folder away"
            )
        held = [
            Held(**{**item, "workload": Workload.model_validate(item["workload"])})
            for item in document["held"]
        ]
        return cls(
            {item.workload.workload_name: item for item in held},
            set(document["finished"]),
            document["since"],
            document["saves"],
        )


def copy(holdings: Holdings) -> Holdings:
    """Give holdings that can be changed without changing these."""
    return replace(holdings, held=dict(holdings.held), finished=set(holdings.finished))


def read_workload(row: Row) -> Workload | str:
    """Give the workload of a row, or why it cannot be one: field, value, what is allowed."""
    columns = {name: row[name] for name in WORKLOAD_COLUMNS if row.get(name) is not None}
    try:
        return Workload.model_validate(columns)
    except ValidationError as exc:
        reasons = []
        for error in exc.errors(include_url=False):
            what = error["msg"].removeprefix("Value error, ")
            where = ".".join(str(part) for part in error["loc"])
            reasons.append(f"{where} is {error['input']!r}: {what}" if where else what)
        return "; ".join(reasons)[:_REASON_LENGTH]


def _refusal(row: Row, reason: str) -> ComputeWorkloadRow:
    kept = {name: row.get(name) for name in WORKLOAD_COLUMNS if row.get(name) is not None}
    kept.pop("delay_cost_gbp_per_kwh_h", None)
    return ComputeWorkloadRow(
        **kept,
        agent_name=row["agent_name"],
        status=WorkloadStatus.REFUSED,
        status_reason=reason,
        version=int(row["version"]) + 1,
    )
