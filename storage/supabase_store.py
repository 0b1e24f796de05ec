"""Supabase behind the store port: supabase-py's async client over an HTTP client of ours.

Bodies are JSON already when they come here. supabase-py would decode nothing but encode them anew
with the standard library, which takes longer than PostgreSQL takes to store them; so the request
it builds goes out with the prepared bytes as its content.

This module imports supabase (109 MB): only the storage actor's process should.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Collection, Mapping, Sequence
from contextlib import asynccontextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol, cast

import httpx
from postgrest import CountMethod
from postgrest.exceptions import APIError
from supabase import AsyncClient, AsyncClientOptions, acreate_client

from schema.errors import GridpactError
from schema.rows import ALL_TABLES
from storage.embedded.endpoint import SupabaseEndpoint
from storage.links import RUN_TABLE
from storage.ports import Filter, JsonObject, Operator, Order
from storage.spool_rows import CrashPoint, no_crash
from storage.verdicts import Verdict, judge, store_error

PAGE_ROWS = 1000
#: Of one read or write on the socket.
SOCKET_TIMEOUT_S = 15.0
#: Of a whole call, whatever the socket does.
CALL_TIMEOUT_S = 40.0


@dataclass(slots=True)
class _Reply:
    """What our response hook saw of the call's reply."""

    status: int | None = None
    retry_after_s: float | None = None


_content: ContextVar[bytes | None] = ContextVar("prepared_content", default=None)
_reply: ContextVar[_Reply | None] = ContextVar("reply", default=None)


class PreparedContentClient(httpx.AsyncClient):
    """Sends prepared bytes in place of the content it is asked to send, where there are any."""

    def build_request(self, *args: Any, **kwargs: Any) -> httpx.Request:
        """Build the request; see ``httpx.AsyncClient``."""
        if (prepared := _content.get()) is not None:
            kwargs["content"] = prepared
        return super().build_request(*args, **kwargs)


class SupabaseStore:
    """A hosted or embedded Supabase; implements ``storage.ports.Store``.

    Belongs to the event loop that makes the first call. The key is in no message and no log.

    Args:
        url: Base address of the API.
        secret_key: The service role's key.
        transport: In place of the network, for tests.
        socket_timeout_s: Of one read or write.
        call_timeout_s: Of a whole call.
        crash_point: See ``storage.spool_rows.no_crash``.
    """

    def __init__(
        self,
        url: str,
        secret_key: str,
        *,
        transport: httpx.AsyncBaseTransport | None = None,
        socket_timeout_s: float = SOCKET_TIMEOUT_S,
        call_timeout_s: float = CALL_TIMEOUT_S,
        crash_point: CrashPoint = no_crash,
    ) -> None:
        self._url = url
        self._key = secret_key
        self._transport = transport
        self._socket_timeout_s = socket_timeout_s
        self._call_timeout_s = call_timeout_s
        self._crash_point = crash_point
        self._client: AsyncClient | None = None
        self._http: httpx.AsyncClient | None = None

    async def ingest(self, batch: Mapping[str, Sequence[bytes]]) -> Mapping[str, int]:
        """Write rows of many tables in one transaction; see ``storage.ports.Store``."""
        content = b'{"p_batch":{%s}}' % b",".join(
            b'"%s":[%s]' % (table.encode(), b",".join(bodies)) for table, bodies in batch.items()
        )
        return await self._ingested("ingest", content, batch.keys())

    async def ingest_columns(self, parts: Sequence[bytes]) -> Mapping[str, int]:
        """Write rows by columns in one transaction; see ``storage.ports.Store``."""
        return await self._ingested("ingest_columns", b'{"p_parts":[%s]}' % b",".join(parts), None)

    async def _ingested(
        self, function: str, content: bytes, tables: Collection[str] | None
    ) -> Mapping[str, int]:
        """Call a function; ``tables`` are those the reply must name, None for any but not none."""
        async with self._call() as client:
            marker = _content.set(content)
            try:
                answer = (await client.rpc(function, {}).execute()).data
            finally:
                _content.reset(marker)
            counts = cast("object", answer)
            named = isinstance(counts, dict) and (
                bool(counts) if tables is None else counts.keys() >= set(tables)
            )
            if not isinstance(counts, dict) or not named:
                # An HTML page with status 200, or a cut reply: whether it went in is unknown.
                msg = f"the reply is not the {function} function's: {str(counts)[:120]!r}"
                raise store_error(Verdict.RETRY, msg)
            return {str(table): int(count) for table, count in counts.items()}

    async def select(
        self,
        table: str,
        *,
        columns: Sequence[str] | None = None,
        filters: Sequence[Filter] = (),
        order: Sequence[Order] = (),
        limit: int | None = None,
    ) -> list[JsonObject]:
        """Read rows page by page; see ``storage.ports.Store``."""
        # A total order, else rows could appear on two pages or on none.
        tie_break = [] if table not in ALL_TABLES else [Order("id")]
        # Where ids alone are the order, each page begins behind the last id. An offset has the
        # database pass over all earlier rows again: minutes for some 100,000.
        by_id = bool(tie_break) and not order and (columns is None or "id" in columns)
        rows: list[JsonObject] = []
        while limit is None or len(rows) < limit:
            size = PAGE_ROWS if limit is None else min(PAGE_ROWS, limit - len(rows))
            async with self._call() as client:
                query = _filtered(client.table(table).select(",".join(columns or ["*"])), filters)
                for column, descending in [*order, *tie_break]:
                    query = query.order(column, desc=descending, nullsfirst=False)
                first = len(rows)
                if by_id and rows:
                    query, first = query.gt("id", str(rows[-1]["id"])), 0
                page = (await query.range(first, first + size - 1).execute()).data
                if not isinstance(page, list):
                    raise store_error(Verdict.RETRY, f"the reply to a select on {table} is no list")
            rows += cast("list[JsonObject]", page)
            if len(page) < size:
                break
        return rows

    async def count(self, table: str, filters: Sequence[Filter] = ()) -> int:
        """Count rows exactly; see ``storage.ports.Store``."""
        async with self._call() as client:
            query = client.table(table).select("*", count=CountMethod.exact, head=True)
            found = (await _filtered(query, filters).execute()).count
        if found is None:
            raise store_error(Verdict.RETRY, f"the reply to a count of {table} holds no count")
        return int(found)

    async def delete_runs(self, filters: Sequence[Filter]) -> int:
        """Delete runs with all their rows; gives how many runs.

        Raises:
            ValueError: No filter: that would be every run.
        """
        if not filters:
            msg = "deleting runs takes at least one filter; without one every run would go"
            raise ValueError(msg)
        async with self._call() as client:
            gone = (await _filtered(client.table(RUN_TABLE).delete(), filters).execute()).data
        return len(gone) if isinstance(gone, list) else 0

    async def refresh_views(self) -> None:
        """Bring the materialized views up to date."""
        async with self._call() as client:
            await client.rpc("refresh_views", {}).execute()

    async def schema_version(self) -> int:
        """Give the number of the newest migration."""
        async with self._call() as client:
            answer = (await client.rpc("schema_version", {}).execute()).data
        try:
            return int(cast("str", answer))
        except (TypeError, ValueError):
            msg = f"schema_version answered {answer!r}, which is no number"
            raise store_error(Verdict.RETRY, msg) from None

    async def close(self) -> None:
        """Close the connections."""
        client, self._http, self._client = self._http, None, None
        if client is not None:
            await client.aclose()

    # -- calling --------------------------------------------------------------------------

    @asynccontextmanager
    async def _call(self) -> AsyncIterator[AsyncClient]:
        """Give the client for one call; whatever goes wrong comes out as our own error."""
        reply = _Reply()
        marker = _reply.set(reply)
        try:
            async with asyncio.timeout(self._call_timeout_s):
                yield await self._connected()
        except APIError as exc:
            raise _translated(exc, reply) from exc
        except (TimeoutError, httpx.TimeoutException) as exc:
            msg = f"no answer in time ({type(exc).__name__}); whether it went in is unknown"
            raise store_error(Verdict.SHRINK, msg) from exc
        except httpx.TransportError as exc:
            msg = f"{type(exc).__name__}: {exc}; check that {self._url} can be reached"
            raise store_error(Verdict.RETRY, msg) from exc
        except httpx.InvalidURL as exc:
            msg = f"SUPABASE_URL {self._url!r} is no address: {exc}"
            raise store_error(Verdict.STOP, msg) from exc
        finally:
            _reply.reset(marker)

    async def _connected(self) -> AsyncClient:
        if self._client is None:
            http = PreparedContentClient(
                timeout=httpx.Timeout(self._socket_timeout_s),
                transport=self._transport,
                limits=httpx.Limits(max_connections=8, max_keepalive_connections=8),
                event_hooks={"response": [self._seen]},
                # A proxy of the environment is for the world, never for this machine.
                trust_env=not _on_this_machine(self._url),
            )
            self._http = http
            self._client = await acreate_client(
                self._url,
                self._key,
                AsyncClientOptions(
                    httpx_client=http,
                    postgrest_client_retry=False,
                    auto_refresh_token=False,
                    persist_session=False,
                ),
            )
        return self._client

    async def _seen(self, response: httpx.Response) -> None:
        """Keep what supabase-py does not hand on."""
        reply = _reply.get()
        if reply is not None:
            reply.status = response.status_code
            reply.retry_after_s = _seconds(response.headers.get("Retry-After"))
        self._crash_point("after_send_before_response")


def from_state_file(path: str, *, crash_point: CrashPoint = no_crash) -> SupabaseStore:
    """Make the store from the 0600 file that describes a Supabase; keys never travel otherwise.

    Raises:
        ConfigurationError: The file is missing or damaged.
    """
    endpoint = SupabaseEndpoint.load(Path(path))
    return SupabaseStore(endpoint.url, endpoint.secret_key, crash_point=crash_point)


def _on_this_machine(url: str) -> bool:
    return httpx.URL(url).host in ("127.0.0.1", "localhost", "::1")


class _Query(Protocol):
    def filter(self, column: str, operator: str, criteria: str) -> Any: ...


def _filtered(query: _Query, filters: Sequence[Filter]) -> Any:
    for column, operator, value in filters:
        query = query.filter(column, *_criterion(operator, value))
    return query


def _criterion(operator: Operator, value: object) -> tuple[str, str]:
    """Write one condition in PostgREST's form."""
    if operator is Operator.IS_NULL:
        return ("is", "null") if value else ("not.is", "null")
    if operator is Operator.IN:
        return ("in", f"({','.join(_quoted(item) for item in cast('Sequence[object]', value))})")
    if isinstance(value, bool):
        return (operator.value, str(value).lower())
    if operator is Operator.EQ and isinstance(value, str):
        # The embedded API reads "eq.007" as the number 7, and "eq.true" as no text at all.
        return ("in", f"({_quoted(value)})")
    return (operator.value, str(value))


def _quoted(item: object) -> str:
    if isinstance(item, int):
        return str(item)
    text = str(item).replace("\\", "\\\\").replace('"', '\\"')
    return f'"{text}"'


def _translated(exc: APIError, reply: _Reply) -> GridpactError:
    message = exc.message or "no message"
    verdict = judge(exc.code, reply.status, message)
    return store_error(
        verdict,
        message,
        code=exc.code,
        http_status=reply.status,
        detail=None if exc.details is None else str(exc.details)[:1000],
        retry_after_s=reply.retry_after_s,
    )


def _seconds(header: str | None) -> float | None:
    """Read Retry-After in its form of seconds; the form of a date is left to our own back-off."""
    try:
        return None if header is None else max(0.0, float(header))
    except ValueError:
        return None
