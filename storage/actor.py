"""The Ray shell of the storage service, and the handle's side of it.

The shell is a plain class: name, restarts, resources and concurrency groups are the supervisor's
(``max_restarts=-1``, ``max_task_retries=0``, ``num_cpus=0``, ``resources={"spool": 1}``, a
concurrency group ``health``).
"""

from __future__ import annotations

import asyncio
import importlib
import logging
import os
from collections.abc import Awaitable, Callable, Mapping, Sequence
from datetime import datetime
from pathlib import Path
from typing import Any, NoReturn, TypeVar, cast

import ray
from ray.exceptions import GetTimeoutError, RayActorError, RayTaskError

from schema.errors import AgentUnavailable, ConfigurationError, GridpactError, StorageError
from schema.rows import Record, ScenarioRunRow
from storage.client import Packed, pack, unpack
from storage.dead_letters import DeadRow
from storage.grid_state import PERIODS, GridState
from storage.lane import DrainSettings
from storage.outages import Outage
from storage.ports import (
    Checkpoint,
    DrainStatus,
    Filter,
    JsonObject,
    JsonValue,
    Order,
    PutAck,
    Store,
)
from storage.service import StorageService
from storage.spool_file import SpoolSettings

log = logging.getLogger(__name__)
T = TypeVar("T")

#: Exit statuses of a process that Ray starts again; told apart in its log only.
EXIT_SPOOL_TAKEN = 75
EXIT_SPOOL_FAILED = 70
LOCK_WAIT_S = 30.0
STATUS_INTERVAL_S = 5.0
SUPABASE_STORE = "storage.supabase_store:from_state_file"


def make_store(factory: str, arguments: Mapping[str, Any]) -> Store:
    """Call a factory by its dotted name, ``module:function``.

    Raises:
        ConfigurationError: There is no such factory.
    """
    module_name, _, name = factory.partition(":")
    try:
        made = getattr(importlib.import_module(module_name), name)
    except (ImportError, AttributeError) as exc:
        msg = f"{factory!r} names no store factory (module:function): {exc}"
        raise ConfigurationError(msg) from exc
    return cast("Store", made(**arguments))


class StorageActor:
    """Storage as an actor. Arguments are names and paths, never keys.

    Args:
        folder: The spool's.
        store: Dotted name of the store's factory ...
        store_args: ... and its arguments: for Supabase ``{"path": state file}``, mode 0600.
        spool: Limits of the spool.
        drain: Sizes of requests.
        seed: Of the jitter.
        refresh_interval_s: Least seconds between refreshes of the views; None for on demand.
        outages: When, by the clock of a run that is replayed, the store is to fail.

    A constructor that raises is final in Ray. So a wrong setting raises; while another process,
    such as our own predecessor, still holds the spool, this waits for 30 s and then ends its
    process, which Ray starts again.
    """

    def __init__(
        self,
        folder: str,
        store: str = SUPABASE_STORE,
        store_args: Mapping[str, Any] | None = None,
        *,
        spool: SpoolSettings | None = None,
        drain: DrainSettings | None = None,
        seed: int = 0,
        refresh_interval_s: float | None = None,
        outages: Sequence[Outage] = (),
        lock_wait_s: float = LOCK_WAIT_S,
    ) -> None:
        for chatty in ("httpx", "httpcore"):
            # At INFO httpx logs whole URLs, and Ray copies logs into its own folder.
            logging.getLogger(chatty).setLevel(logging.WARNING)
        limits = spool or SpoolSettings()
        if limits.lock_wait_s < lock_wait_s:
            limits = _with_lock_wait(limits, lock_wait_s)
        service = StorageService(
            Path(folder),
            make_store(store, store_args or {}),
            seed=seed,
            spool=limits,
            drain=drain,
            refresh_interval_s=refresh_interval_s,
            status_interval_s=STATUS_INTERVAL_S,
            outages=outages,
            on_fatal=_end_process,
        )
        try:
            self._service = service.open()
        except StorageError as exc:
            if "held_by" not in exc.details:
                raise
            log.critical("%s; ending this process for another try", exc)
            os._exit(EXIT_SPOOL_TAKEN)

    async def put(self, packed: Packed, checkpoint: Checkpoint | None = None) -> PutAck:
        """Accept rows; see ``StorageService.put``."""
        return await self._service.put(unpack(packed), checkpoint)

    async def checkpoint(self, run_id: str, name: str) -> Checkpoint | None:
        """Give what an agent saved last; see ``StorageService.checkpoint``."""
        return await self._service.checkpoint(run_id, name)

    async def put_run(self, run_id: str, row: ScenarioRunRow) -> PutAck:
        """Accept a run's own row."""
        return await self._service.put_run(run_id, row)

    async def set_clock_at(self, run_id: str, instant: datetime) -> PutAck:
        """Move a run's clock."""
        return await self._service.set_clock_at(run_id, instant)

    async def grid_state(
        self,
        run_id: str | None = None,
        *,
        as_of: datetime | None = None,
        origin: datetime | None = None,
        periods: int = PERIODS,
    ) -> GridState:
        """Give what is known of the grid."""
        return self._service.grid_state(run_id, as_of=as_of, origin=origin, periods=periods)

    async def barrier(self, timeout_s: float = 60.0) -> DrainStatus:
        """Wait until everything accepted until now has been sent on."""
        return await self._service.barrier(timeout_s)

    async def refresh_views(self) -> None:
        """Bring the views up to date."""
        await self._service.refresh_views()

    async def select(
        self,
        table: str,
        *,
        columns: Sequence[str] | None = None,
        filters: Sequence[Filter] = (),
        order: Sequence[Order] = (),
        limit: int | None = None,
    ) -> list[JsonObject]:
        """Read rows from the store."""
        return await self._service.select(
            table, columns=columns, filters=filters, order=order, limit=limit
        )

    async def count(self, table: str, filters: Sequence[Filter] = ()) -> int:
        """Count rows in the store."""
        return await self._service.count(table, filters)

    async def schema_version(self) -> int:
        """Give the number of the newest migration the store has."""
        return await self._service.schema_version()

    async def status(self) -> dict[str, JsonValue]:
        """Look inside."""
        return await self._service.status()

    async def dead_rows(self, limit: int = 100) -> list[DeadRow]:
        """List rows put aside."""
        return await self._service.dead_rows(limit)

    async def retry_dead(self, seqs: Sequence[int] | None = None) -> int:
        """Put dead rows back into the spool."""
        return await self._service.retry_dead(seqs)

    async def stop(self, timeout_s: float = 8.0) -> None:
        """Stop sending, commit what waits, close; what is unsent stays in the spool."""
        await self._service.stop(timeout_s)

    @ray.method(concurrency_group="health")
    async def ping(self) -> tuple[str, int]:
        """Answer with node and pid, however busy the rest is."""
        return (ray.get_runtime_context().get_node_id(), os.getpid())

    @ray.method(concurrency_group="health")
    async def pid(self) -> int:
        """Give the process id; tests of kills ask for it."""
        return os.getpid()

    def __ray_shutdown__(self) -> None:
        """Close the spool tidily when Ray ends the actor in an orderly way."""
        self._service.close(5.0)


def _with_lock_wait(settings: SpoolSettings, lock_wait_s: float) -> SpoolSettings:
    from dataclasses import replace

    return replace(settings, lock_wait_s=lock_wait_s)


def _end_process(error: BaseException) -> NoReturn:
    log.critical("the spool has failed (%s); ending the process: nothing was acknowledged", error)
    os._exit(EXIT_SPOOL_FAILED)


class RayStorage:
    """The actor behind a handle; ``StorageClient`` puts retries on top.

    Ray's own errors become ``AgentUnavailable``, an answer that does not come in time too: whether
    the call was carried out is then unknown. Our own errors come out as themselves.

    Args:
        handle: Of a ``StorageActor``, or a function that finds it (by name), asked each time.
        timeout_s: Of a call.
    """

    def __init__(self, handle: object | Callable[[], object], *, timeout_s: float = 30.0) -> None:
        self._handle = handle
        self._timeout_s = timeout_s

    async def put(self, records: Sequence[Record], checkpoint: Checkpoint | None = None) -> PutAck:
        """Accept rows; see ``StorageService.put``."""
        answer: PutAck = await self._ask("put", pack(records), checkpoint)
        return answer

    async def checkpoint(self, run_id: str, name: str) -> Checkpoint | None:
        """Give what an agent saved last."""
        answer: Checkpoint | None = await self._ask("checkpoint", run_id, name)
        return answer

    def put_blocking(
        self,
        records: Sequence[Record],
        timeout_s: float | None = None,
        *,
        checkpoint: Checkpoint | None = None,
    ) -> PutAck:
        """Accept rows, for callers without an event loop."""
        limit = self._timeout_s if timeout_s is None else timeout_s
        call = self._call("put", pack(records), checkpoint)
        try:
            return cast("PutAck", ray.get(call, timeout=limit))
        except (RayTaskError, RayActorError, GetTimeoutError) as exc:
            raise _translated(exc, "put", limit) from exc

    async def put_run(self, run_id: str, row: ScenarioRunRow) -> PutAck:
        """Accept a run's own row."""
        answer: PutAck = await self._ask("put_run", run_id, row)
        return answer

    async def set_clock_at(self, run_id: str, instant: datetime) -> PutAck:
        """Move a run's clock."""
        answer: PutAck = await self._ask("set_clock_at", run_id, instant)
        return answer

    async def grid_state(
        self,
        run_id: str | None = None,
        *,
        as_of: datetime | None = None,
        origin: datetime | None = None,
        periods: int = PERIODS,
    ) -> GridState:
        """Give what is known of the grid."""
        answer: GridState = await self._ask(
            "grid_state", run_id, as_of=as_of, origin=origin, periods=periods
        )
        return answer

    async def barrier(self, timeout_s: float = 60.0) -> DrainStatus:
        """Wait until everything accepted until now has been sent on."""
        answer: DrainStatus = await self._ask(
            "barrier", timeout_s, limit=timeout_s + self._timeout_s
        )
        return answer

    async def refresh_views(self) -> None:
        """Bring the views up to date."""
        await self._ask("refresh_views", limit=4 * self._timeout_s)

    async def select(
        self,
        table: str,
        *,
        columns: Sequence[str] | None = None,
        filters: Sequence[Filter] = (),
        order: Sequence[Order] = (),
        limit: int | None = None,
    ) -> list[JsonObject]:
        """Read rows from the store."""
        options = {"columns": columns, "filters": filters, "order": order}
        call = self._call("select", table, limit=limit, **options)
        return cast("list[JsonObject]", await self._answer(call, "select", 4 * self._timeout_s))

    async def count(self, table: str, filters: Sequence[Filter] = ()) -> int:
        """Count rows in the store."""
        answer: int = await self._ask("count", table, filters)
        return answer

    async def schema_version(self) -> int:
        """Give the number of the newest migration the store has."""
        answer: int = await self._ask("schema_version")
        return answer

    async def status(self) -> dict[str, JsonValue]:
        """Look inside."""
        answer: dict[str, JsonValue] = await self._ask("status")
        return answer

    async def stop(self, timeout_s: float = 8.0) -> None:
        """Stop sending, commit what waits, close."""
        await self._ask("stop", timeout_s, limit=timeout_s + 2.0)

    async def _ask(
        self, method: str, *args: object, limit: float | None = None, **options: object
    ) -> Any:
        call = self._call(method, *args, **options)
        return await self._answer(call, method, self._timeout_s if limit is None else limit)

    async def _answer(self, call: Awaitable[T], method: str, limit: float) -> T:
        try:
            return await asyncio.wait_for(call, limit)
        except (RayTaskError, RayActorError, TimeoutError) as exc:
            raise _translated(exc, method, limit) from exc

    def _call(self, method: str, *args: object, **options: object) -> Any:
        try:
            handle = self._handle() if callable(self._handle) else self._handle
        except ValueError as exc:
            msg = f"there is no storage actor at present: {exc}"
            raise AgentUnavailable(msg) from exc
        return getattr(handle, method).remote(*args, **options)


def _translated(exc: BaseException, method: str, limit: float) -> BaseException:
    """Turn Ray's errors into ours; an error of ours that came through Ray into itself."""
    if isinstance(exc, RayTaskError):
        cause = exc.cause
        return cause if isinstance(cause, GridpactError) else exc
    if isinstance(exc, RayActorError):
        kind = type(exc).__name__
        msg = f"the storage actor is away ({kind}); whether {method} was done is unknown"
    else:
        msg = f"the storage actor did not answer {method} within {limit:g} s; put it again"
    return AgentUnavailable(msg)
