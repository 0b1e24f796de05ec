"""Who plays in a run: names of the actors, and how each is made."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime

from agents.organisation import Source
from fetchers import registry
from schema.messages import MANAGER
from schema.readings import Source as DataSource
from schema.rows import AgentRow
from schema.rows.system import AgentKind, AgentStatus
from schema.settings import Settings

STORAGE = "storage"
IN_PROCESS = "in-process"


def fetcher_name(source: str) -> str:
    """Name of a source's fetcher, be the source ours or another package's."""
    return f"fetcher-{source}"


def base_url(settings: Settings, source: str) -> str:
    """Address of a source; in a replay only its path matters."""
    return registry.base_url(source, settings)


def shard_names(organisation: str, shards: int) -> tuple[str, ...]:
    """Names of an organisation's actors in order of groups; the first bears its own name."""
    return (organisation, *(f"{organisation}-shard-{part}" for part in range(2, shards + 1)))


def cast(organisations: Sequence[str], shards: int = 1) -> dict[str, AgentKind]:
    """Give every actor of a run and its kind; organisations first."""
    names: dict[str, AgentKind] = {}
    for organisation in organisations:
        head, *others = shard_names(organisation, shards)
        names[head] = AgentKind.COMPUTE
        names.update(dict.fromkeys(others, AgentKind.SHARD))
    names.update({fetcher_name(source): AgentKind.FETCHER for source in DataSource})
    names[MANAGER] = AgentKind.ORCHESTRATOR
    names[STORAGE] = AgentKind.STORAGE
    return names


def agent_rows(
    kinds: Mapping[str, AgentKind],
    now: datetime,
    *,
    nodes: Mapping[str, str] | None = None,
    status: AgentStatus = AgentStatus.ACTIVE,
) -> list[AgentRow]:
    """Give a heartbeat of each actor at a moment of the run's clock."""
    return [
        AgentRow(
            agent_name=name,
            kind=kind,
            node=IN_PROCESS if nodes is None else nodes.get(name),
            status=status,
            last_heartbeat_at=now,
            version=int(now.timestamp()) + (status is AgentStatus.STOPPED),
        )
        for name, kind in kinds.items()
    ]


def organisation_source(scenario: str, seed: int, name: str) -> Source:
    """Say where a compute agent gets its organisation from."""
    return Source(
        "scenarios.organisations:organisation",
        {"scenario": scenario, "seed": seed, "name": name},
    )
