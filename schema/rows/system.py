"""Tables of the system itself: runs, agents, and the log of every request."""

from __future__ import annotations

from enum import StrEnum
from typing import Annotated, ClassVar

from pydantic import Field

from schema.rows.base import Instant, Lane, Name, Row, Seed, Text
from schema.rows.beckn import JsonObject


class RunKind(StrEnum):
    """What a run is."""

    REPLAY = "replay"
    LIVE = "live"


class RunState(StrEnum):
    """Where a run stands."""

    RUNNING = "running"
    DONE = "done"
    FAILED = "failed"
    INTERRUPTED = "interrupted"


class AgentKind(StrEnum):
    """What an actor is."""

    FETCHER = "fetcher"
    STORAGE = "storage"
    COMPUTE = "compute"
    SHARD = "shard"
    ORCHESTRATOR = "orchestrator"


class AgentStatus(StrEnum):
    """How an actor was last heard of."""

    STARTING = "starting"
    ACTIVE = "active"
    STOPPED = "stopped"
    LOST = "lost"


class Outcome(StrEnum):
    """How one request to a source ended."""

    OK = "ok"
    NOT_MODIFIED = "not_modified"
    NOT_YET_PUBLISHED = "not_yet_published"
    UNAVAILABLE = "unavailable"
    TIMEOUT = "timeout"
    THROTTLED = "throttled"
    REJECTED = "rejected"
    INVALID_PAYLOAD = "invalid_payload"
    BREAKER_OPEN = "breaker_open"


class ScenarioRunRow(Row):
    """One run: a replay, or the long-lived live one. Everything else belongs to a run."""

    TABLE: ClassVar[str] = "scenario_runs"
    KEY: ClassVar[tuple[str, ...]] = ()
    LANE: ClassVar[Lane] = Lane.ORDERED
    VERSIONED: ClassVar[bool] = True

    kind: RunKind
    scenario: Name | None = None
    seed: Seed | None = None
    clock_from: Instant | None = None
    clock_to: Instant | None = None
    #: The views' "now": virtual in a replay.
    clock_at: Instant | None = None
    state: RunState = RunState.RUNNING
    digest: Name | None = None
    summary: JsonObject | None = None
    version: int | None = Field(default=None, ge=0)

    def row_id(self, run_id: str) -> str:
        """Give the run's id, which is its key."""
        return run_id


class AgentRow(Row):
    """One actor of a run, with its last heartbeat."""

    TABLE: ClassVar[str] = "agents"
    KEY: ClassVar[tuple[str, ...]] = ("agent_name",)
    LANE: ClassVar[Lane] = Lane.ORDERED
    VERSIONED: ClassVar[bool] = True

    agent_name: Name
    kind: AgentKind
    node: Name | None = None
    status: AgentStatus = AgentStatus.ACTIVE
    last_heartbeat_at: Instant | None = None
    capabilities: JsonObject | None = None
    version: int | None = Field(default=None, ge=0)


class ApiLogRow(Row):
    """One attempt to reach a source; also those the breaker kept from being made."""

    TABLE: ClassVar[str] = "api_logs"
    KEY: ClassVar[tuple[str, ...]] = ("incarnation", "sequence")
    LANE: ClassVar[Lane] = Lane.FACTS

    incarnation: Name
    sequence: Annotated[int, Field(ge=0)]
    source: Name
    endpoint: Name
    method: Name = "GET"
    url: Text | None = None
    http_status: Annotated[int, Field(ge=100, le=599)] | None = None
    outcome: Outcome
    attempt: Annotated[int, Field(ge=1)] = 1
    requested_at: Instant
    duration_ms: Annotated[float, Field(ge=0)] | None = None
    response_bytes: Annotated[int, Field(ge=0)] | None = None
    rows_parsed: Annotated[int, Field(ge=0)] = 0
    rows_rejected: Annotated[int, Field(ge=0)] = 0
    rejected: list[JsonObject] | None = None
    fallback: bool = False
    error: Text | None = None
