"""How the actors that replays and live runs share are made: arguments by name, never handles."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

from agents.compute import ComputeShell
from agents.core.conversation import ManagerOptions
from agents.core.market.contractors import shard_groups
from agents.orchestrator import OrchestratorShell
from agents.organisation import Source
from agents.supervisor import ActorSpec
from scenarios.cast import STORAGE, fetcher_name, shard_names
from schema.messages import MANAGER
from schema.readings import Source as DataSource
from schema.rows.system import AgentKind
from schema.settings import Settings
from storage.actor import StorageActor
from storage.lane import DrainSettings
from storage.outages import Outage
from storage.spool_file import SpoolSettings


def storage_spec(
    settings: Settings,
    *,
    state_file: Path,
    spool: Path,
    refresh_interval_s: float | None = None,
    outages: Sequence[Outage] = (),
) -> ActorSpec:
    """Give the storage actor.

    Args:
        settings: Limits of the spool, sizes of requests.
        state_file: Describes the Supabase, keys included; readable by this user alone.
        spool: Folder of the spool.
        refresh_interval_s: Least seconds between refreshes of the views; None on demand only.
        outages: When the database is to fail, by the clock of a replay.
    """
    return ActorSpec(
        STORAGE,
        AgentKind.STORAGE,
        StorageActor,
        {
            "folder": str(spool),
            "store_args": {"path": str(state_file)},
            "spool": SpoolSettings(limit_bytes=settings.spool_limit_bytes),
            "drain": DrainSettings(
                batch_rows=settings.ingest_batch_rows,
                batch_bytes=settings.ingest_batch_bytes,
                in_flight=settings.ingest_in_flight,
            ),
            "refresh_interval_s": refresh_interval_s,
            "outages": tuple(outages),
        },
    )


def compute_specs(
    organisations: Mapping[str, Source], shards: int, *, run_id: str, namespace: str
) -> list[ActorSpec]:
    """Give every organisation's actors, in order of groups."""
    return [
        ActorSpec(
            name,
            AgentKind.COMPUTE if name == organisation else AgentKind.SHARD,
            ComputeShell,
            {
                "organisation": organisation,
                "source": source,
                "groups": groups,
                "run_id": run_id,
                "storage": STORAGE,
                "namespace": namespace,
            },
        )
        for organisation, source in organisations.items()
        for name, groups in zip(
            shard_names(organisation, shards), shard_groups(shards), strict=True
        )
    ]


def orchestrator_spec(
    organisations: Mapping[str, Source],
    shards: int,
    options: ManagerOptions,
    *,
    run_id: str,
    namespace: str,
) -> ActorSpec:
    """Give the orchestrator; everybody it speaks to must be there when it is made."""
    return ActorSpec(
        MANAGER,
        AgentKind.ORCHESTRATOR,
        OrchestratorShell,
        {
            "run_id": run_id,
            "options": options,
            "namespace": namespace,
            "storage": STORAGE,
            "shards": {name: shard_names(name, shards) for name in organisations},
            "desk": fetcher_name(DataSource.BECKN),
        },
    )
