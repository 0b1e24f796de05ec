"""The only place where an HTTP client is made, and the limits every request is under.

A total deadline over the whole call, body included (httpx's timeouts are per read: a server that
drips never meets them). A cap on decoded bytes, kept while decompressing, so that a small bomb
cannot grow. The configured origin is the only one on the list of allowed hosts: redirects are
followed by hand, a few times, and never to another scheme, host or port. The origin is https,
unless it is this machine. Whatever goes wrong leaves as a ``SourceError`` with an address that
holds no secret.
"""

from __future__ import annotations

import asyncio
import zlib
from collections.abc import Iterator
from contextlib import AbstractAsyncContextManager, nullcontext
from datetime import datetime
from email.utils import parsedate_to_datetime
from importlib import metadata

import httpx
import numpy as np

from fetchers.address import safe_address
from fetchers.reply import NOT_MODIFIED, Reply, Validators, clean_url
from fetchers.request import Request
from fetchers.wire import describe_refusal
from schema.clock import Clock
from schema.errors import (
    SourceError,
    SourcePayloadInvalid,
    SourceRejected,
    SourceThrottled,
    SourceUnavailable,
)

MAX_BYTES = 5 * 1024 * 1024
LARGEST_ALLOWED = 16 * 1024 * 1024
DEADLINE_S = 10.0
MAX_JSON_DEPTH = 64
MAX_REDIRECTS = 3

#: Name of the extension by which a transport in this process learns which endpoint is asked.
ENDPOINT = "gridpact_endpoint"

_THROTTLED = 429
_RETRYABLE_BELOW_500 = frozenset({408, 425})
_SERVER_FAULT = 500
_OK = range(200, 300)
_REDIRECT = frozenset({301, 302, 303, 307, 308})
_GZIP_OR_ZLIB = 47
_ENCODINGS = frozenset({"", "identity", "gzip", "x-gzip", "deflate"})


def user_agent() -> str:
    """Say who asks; the sources' terms forbid concealing it."""
    try:
        version = metadata.version("gridpact")
    except metadata.PackageNotFoundError:
        version = "unreleased"
    return f"gridpact/{version} (carbon-aware compute scheduling)"


class HttpClient:
    """Sends requests to one source.

    Args:
        source: Its name, for errors.
        base_url: Its address; requests to another scheme, host or port are refused.
        clock: The run's clock; deadlines are checked on it.
        transport: None for the network; a replay and tests give their own.
        wall_deadline: Whether the deadline also runs on the machine's clock. A replay answers
            from memory on a virtual clock, where a hang shows as virtual time that went by.

    Raises:
        ConfigurationError: The address is no https address, and not of this machine either.
    """

    def __init__(
        self,
        *,
        source: str,
        base_url: str,
        clock: Clock,
        transport: httpx.AsyncBaseTransport | None,
        wall_deadline: bool,
    ) -> None:
        self._source = source
        self._origin = _origin(httpx.URL(safe_address(source, base_url)))
        self._clock = clock
        self._wall_deadline = wall_deadline
        self._client = httpx.AsyncClient(
            transport=transport
            or httpx.AsyncHTTPTransport(limits=httpx.Limits(max_connections=4), retries=0),
            headers={"User-Agent": user_agent(), "Accept-Encoding": "gzip, deflate"},
            timeout=httpx.Timeout(DEADLINE_S),
            follow_redirects=False,
            # Proxies and credentials of the environment are not ours to use.
            trust_env=False,
        )

    async def close(self) -> None:
        """Let go of connections."""
        await self._client.aclose()

    async def send(
        self,
        request: Request,
        *,
        max_bytes: int = MAX_BYTES,
        deadline_s: float = DEADLINE_S,
        known: Validators | None = None,
    ) -> Reply:
        """Send one request and read the whole answer.

        Args:
            request: What to send.
            max_bytes: Largest decoded body.
            deadline_s: Longest time, from the first byte sent to the last one read.
            known: Validators of the answer that is held already. If it still stands, the reply
                has status 304 and no body.

        Raises:
            SourceUnavailable: No answer, a cut one, one too late (``timeout`` in its details),
                or a 5xx.
            SourceThrottled: 429; ``retry_after_s`` where the source says.
            SourceRejected: Any other 4xx, or a redirect we do not follow.
            SourcePayloadInvalid: Too large, too deep, or coded in a way we did not ask for.
        """
        started = self._clock.monotonic_s()
        limit = min(max_bytes, LARGEST_ALLOWED)
        try:
            async with self._deadline(deadline_s):
                reply = await self._exchange(request, limit, known)
        except TimeoutError as exc:
            raise self._late(request, deadline_s) from exc
        except httpx.TimeoutException as exc:
            raise self._late(request, deadline_s) from exc
        except httpx.TransportError as exc:
            reason = str(exc) or type(exc).__name__
            raise self._error(SourceUnavailable, request, f"cannot be reached: {reason}") from exc
        except httpx.DecodingError as exc:
            message = f"sent a body that cannot be decoded: {exc}"
            raise self._error(SourcePayloadInvalid, request, message) from exc
        except httpx.InvalidURL as exc:
            raise self._error(SourceRejected, request, f"cannot be asked: {exc}") from exc
        if self._clock.monotonic_s() - started > deadline_s:
            raise self._late(request, deadline_s)
        return reply

    def _deadline(self, seconds: float) -> AbstractAsyncContextManager[object]:
        return asyncio.timeout(seconds) if self._wall_deadline else nullcontext()

    async def _exchange(self, request: Request, limit: int, known: Validators | None) -> Reply:
        url = httpx.URL(request.url, params=list(request.params) or None)
        headers = dict(request.headers) | (known.headers() if known is not None else {})
        for _ in range(MAX_REDIRECTS + 1):
            if _origin(url) != self._origin:
                message = f"points to {url.scheme}://{url.netloc.decode()}, which is not its host"
                raise self._error(SourceRejected, request, message)
            async with self._client.stream(
                request.method,
                url,
                headers=headers,
                content=request.body,
                extensions={ENDPOINT: request.endpoint},
            ) as response:
                if response.status_code in _REDIRECT and "location" in response.headers:
                    url = url.join(response.headers["location"])
                    continue
                if response.status_code == NOT_MODIFIED and known is not None:
                    return Reply(NOT_MODIFIED, _headers(response), b"", clean_url(request))
                body = await self._read(request, response, limit)
            return self._checked(request, response, body)
        message = f"redirected more than {MAX_REDIRECTS} times"
        raise self._error(SourceRejected, request, message)

    async def _read(self, request: Request, response: httpx.Response, limit: int) -> bytes:
        """Read and decode at most ``limit`` bytes."""
        if response.is_stream_consumed:
            # A transport that holds the whole answer has decoded it already.
            if len(response.content) > limit:
                raise self._too_large(request, limit)
            return response.content
        encoding = response.headers.get("content-encoding", "").lower()
        if encoding not in _ENCODINGS:
            message = f"answered with content coding {encoding!r}; gzip or deflate were asked for"
            raise self._error(SourcePayloadInvalid, request, message)
        decoder = zlib.decompressobj(_GZIP_OR_ZLIB) if encoding not in {"", "identity"} else None
        parts: list[bytes] = []
        size = 0
        async for chunk in response.aiter_raw():
            try:
                for part in _decoded(chunk, decoder, limit + 1 - size):
                    size += len(part)
                    parts.append(part)
                    if size > limit:
                        raise self._too_large(request, limit)
            except zlib.error as exc:
                message = f"sent {encoding} that cannot be decoded: {exc}"
                raise self._error(SourcePayloadInvalid, request, message) from exc
        if decoder is not None and size and not decoder.eof:
            raise self._error(SourceUnavailable, request, "sent a reply that was cut short")
        return b"".join(parts)

    def _checked(self, request: Request, response: httpx.Response, body: bytes) -> Reply:
        status = response.status_code
        url = clean_url(request)
        if status in _OK:
            if json_depth(body) > MAX_JSON_DEPTH:
                message = f"sent JSON nested deeper than {MAX_JSON_DEPTH} levels"
                raise self._error(SourcePayloadInvalid, request, message)
            return Reply(status, _headers(response), body, url)
        said = f"answered {status}: {describe_refusal(body, self._source)}"
        details: dict[str, object] = {"status": status, "size": len(body)}
        pause = retry_after_s(response.headers.get("retry-after"), self._clock.now())
        if pause is not None:
            details["retry_after_s"] = pause
        if status == _THROTTLED:
            raise self._error(SourceThrottled, request, said, **details)
        if status >= _SERVER_FAULT or status in _RETRYABLE_BELOW_500:
            raise self._error(SourceUnavailable, request, said, **details)
        raise self._error(SourceRejected, request, said, **details)

    def _late(self, request: Request, deadline_s: float) -> SourceError:
        message = f"gave no complete answer within {deadline_s:g} s"
        return self._error(SourceUnavailable, request, message, timeout=True)

    def _too_large(self, request: Request, limit: int) -> SourceError:
        message = f"sent more than {limit} bytes; the reply was not read further"
        return self._error(SourcePayloadInvalid, request, message)

    def _error(
        self, kind: type[SourceError], request: Request, message: str, **details: object
    ) -> SourceError:
        return kind(
            f"{self._source} {message}", source=self._source, url=clean_url(request), **details
        )


def retry_after_s(header: str | None, now: datetime) -> float | None:
    """Read ``Retry-After``: seconds, or an HTTP date; None where it says nothing we understand."""
    if header is None:
        return None
    text = header.strip()
    if text.isascii() and text.isdigit():
        return float(text)
    try:
        moment = parsedate_to_datetime(text)
    except ValueError:
        return None
    if moment.tzinfo is None:
        return None
    return max(0.0, (moment - now).total_seconds())


def json_depth(body: bytes) -> int:
    """Count how deep brackets nest outside strings; an upper bound for what is no JSON."""
    if body.count(b"[") + body.count(b"{") <= MAX_JSON_DEPTH:
        return 0
    plain = body.replace(b"\\\\", b"").replace(b'\\"', b"")
    codes = np.frombuffer(plain, dtype=np.uint8)
    outside = (np.cumsum(codes == ord('"')) & 1) == 0
    opening = ((codes == ord("[")) | (codes == ord("{"))) & outside
    closing = ((codes == ord("]")) | (codes == ord("}"))) & outside
    steps = opening.astype(np.int32) - closing
    return int(np.cumsum(steps).max(initial=0))


def _origin(url: httpx.URL) -> tuple[str, str, int | None]:
    return (url.scheme, url.host, url.port)


def _headers(response: httpx.Response) -> dict[str, str]:
    return {name.lower(): value for name, value in response.headers.items()}


def _decoded(chunk: bytes, decoder: zlib._Decompress | None, room: int) -> Iterator[bytes]:
    """Give what a chunk holds, in parts none of which is larger than the room left."""
    if decoder is None:
        yield chunk
        return
    waiting = chunk
    while waiting:
        yield decoder.decompress(waiting, room)
        waiting = decoder.unconsumed_tail
