"""Workloads for the live run, and calling them off, through Supabase with the service role's key.

What people do with their own account (insert a row, set its status to ``cancelled``), this does for
whoever runs the machine. A submission goes in whole or not at all.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime
from difflib import get_close_matches
from pathlib import Path
from typing import Any

from agents.reader import Reader
from scenarios.reading import Collector
from scenarios.workload_csv import read_submissions
from schema.errors import InputError
from schema.rows import ComputeWorkloadRow
from schema.rows.compute import WorkloadStatus
from schema.rows.system import AgentKind
from schema.workloads import Workload
from storage.ports import Filter, Operator, Store, equal

MAX_ROWS = 5_000
WORKLOADS = "compute_workloads"
#: Names in one question: they stand in its address.
_ASKED_AT_ONCE = 100
#: An agent may write the same version at the same moment; then we come after it.
_TRIES = 5
OPEN = frozenset(
    {
        WorkloadStatus.SUBMITTED,
        WorkloadStatus.REGISTERED,
        WorkloadStatus.AWARDED,
        WorkloadStatus.RUNNING,
    }
)

Row = Mapping[str, Any]
Submission = tuple[int, str, Workload]
"""Line of the file, agent, workload."""


def read_file(path: Path, agent: str | None) -> list[Submission]:
    """Read a file of workloads, checked whole.

    Args:
        path: A CSV.
        agent: For rows that name none.

    Raises:
        InputError: Lists every fault.
    """
    found = Collector(path.name)
    read = read_submissions(path, found)
    work = [(line, named or agent or "", workload) for line, named, workload in read]
    if not work and not found.faults:
        found.add("rows", "", "are none; at least one workload is needed")
    if len(work) > MAX_ROWS:
        found.add("rows", len(work), f"at most {MAX_ROWS} at a time; split the file")
    seen: set[tuple[str, str]] = set()
    for line, owner, workload in work:
        if not owner:
            allowed = "is missing; give --agent, or fill the column in"
            found.add(f"line {line}, agent_name", "", allowed)
        key = (owner, workload.workload_name)
        if key in seen:
            found.add(f"line {line}, workload_id", workload.workload_name, "is there twice")
        seen.add(key)
    _raise(found)
    return work


async def submit(store: Store, work: Sequence[Submission], file: str, now: datetime) -> list[Row]:
    """Put workloads into the live run, all or none; gives the rows as they went in.

    Args:
        store: Where the live run is.
        work: What was read.
        file: Its name, for messages.
        now: When they were submitted.

    Raises:
        InputError: There is no live run, an agent is unknown, or a workload is there already.
    """
    run = await _live_run(store)
    run_id = str(run["id"])
    found = Collector(file)
    await _check_agents(store, run_id, work, found)
    await _check_names(store, run_id, work, found)
    _raise(found)
    rows = [
        ComputeWorkloadRow(
            **workload.model_dump(exclude={"pue"}),
            agent_name=agent,
            status=WorkloadStatus.SUBMITTED,
            submitted_at=now,
        )
        for _, agent, workload in work
    ]
    records = [row.to_record(run_id) for row in rows]
    await store.ingest({WORKLOADS: [record.body for record in records]})
    return [
        {
            "id": record.id,
            "agent_name": row.agent_name,
            "workload_name": row.workload_name,
            "status": row.status.value,
        }
        for record, row in zip(records, rows, strict=True)
    ]


async def cancel(store: Store, wanted: str) -> Row:
    """Call a workload of the live run off; gives its row.

    Args:
        store: Where the live run is.
        wanted: Its id, its name, or agent/name.

    Raises:
        InputError: There is no such workload, or it is over.
    """
    reader = Reader(store)
    run = await _live_run(store)
    for _ in range(_TRIES):
        row = await reader.workload(wanted, dict(run))
        name = f"{row['agent_name']}/{row['workload_name']}"
        if row["status"] == WorkloadStatus.CANCELLED:
            return _shown(row)
        if row["status"] not in OPEN:
            states = ", ".join(sorted(OPEN))
            raise InputError(
                f"workload {name} is {row['status']}; only what is {states} can be cancelled",
                field="workload",
                value=wanted,
            )
        columns = {column: row[column] for column in ComputeWorkloadRow.model_fields}
        version = int(row["version"]) + 1
        after = ComputeWorkloadRow.model_validate(
            {**columns, "status": WorkloadStatus.CANCELLED, "version": version}
        )
        record = after.to_record(str(run["id"]))
        counts = await store.ingest({WORKLOADS: [record.body]})
        if counts[WORKLOADS]:
            return {**_shown(row), "status": WorkloadStatus.CANCELLED.value}
    raise InputError(f"workload {wanted} changes all the time; try again", value=wanted)


async def is_running(store: Store) -> bool:
    """Say whether somebody takes workloads in now."""
    return bool((await _live_run(store))["state"] == "running")


async def _live_run(store: Store) -> Row:
    return await Reader(store).run("live")


async def _check_agents(
    store: Store, run_id: str, work: Sequence[Submission], found: Collector
) -> None:
    rows = await store.select(
        "agents",
        columns=["agent_name"],
        filters=[equal("run_id", run_id), equal("kind", AgentKind.COMPUTE.value)],
    )
    known = sorted(str(row["agent_name"]) for row in rows)
    for line, agent, _ in work:
        if agent not in known:
            near = get_close_matches(agent, known, n=1)
            hint = f"did you mean {near[0]!r}? " if near else ""
            have = f"it has {', '.join(known)}" if known else "it has none: see sites.toml"
            allowed = f"is no compute agent of the live run; {hint}{have}"
            found.add(f"line {line}, agent_name", agent, allowed)


async def _check_names(
    store: Store, run_id: str, work: Sequence[Submission], found: Collector
) -> None:
    there: dict[tuple[str, str], str] = {}
    names = sorted({workload.workload_name for _, _, workload in work})
    for part in _parts(names):
        rows = await store.select(
            WORKLOADS,
            columns=["agent_name", "workload_name", "status"],
            filters=[equal("run_id", run_id), Filter("workload_name", Operator.IN, part)],
        )
        for row in rows:
            there[str(row["agent_name"]), str(row["workload_name"])] = str(row["status"])
    for line, agent, workload in work:
        status = there.get((agent, workload.workload_name))
        if status is not None:
            allowed = f"is there already for {agent} ({status}); give it another name"
            found.add(f"line {line}, workload_id", workload.workload_name, allowed)


def _parts(names: Sequence[str]) -> Iterable[Sequence[str]]:
    return (names[first : first + _ASKED_AT_ONCE] for first in range(0, len(names), _ASKED_AT_ONCE))


def _shown(row: Row) -> dict[str, Any]:
    return {name: row[name] for name in ("id", "agent_name", "workload_name", "status")}


def _raise(found: Collector) -> None:
    if not found.faults:
        return
    if len(found.faults) == 1:
        raise InputError(str(found.faults[0]), file=found.file, field=found.faults[0].field)
    lines = [f"{found.file} has {len(found.faults)} faults:", *(f"  {f}" for f in found.faults)]
    raise InputError("\n".join(lines), file=found.file, field=found.faults[0].field)
