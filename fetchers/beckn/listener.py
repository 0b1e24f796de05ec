"""Our callback address: a small HTTP listener on 127.0.0.1; the rules are in ``admission``.

A connection lives for some seconds in all, a body has a largest size, and a message is acknowledged
only once it is on disk. What faces the network is a proxy of the operator's; nothing here listens
on another address than this machine's. A browser is no provider: what a page on this machine posts
is refused.
"""

from __future__ import annotations

import asyncio
import contextlib
import errno
from collections import Counter
from http import HTTPStatus
from typing import Any

import orjson
from aiohttp import web

from fetchers.beckn.acks import ack_body
from fetchers.beckn.admission import Admitted, Refused, admit
from fetchers.beckn.inbox import Inbox, Taken
from fetchers.beckn.keys import KeyRing
from fetchers.beckn.signing import SIGNED_HEADERS
from fetchers.http import MAX_JSON_DEPTH, json_depth
from schema.clock import Clock
from schema.errors import ConfigurationError, StorageUnavailable

HOST = "127.0.0.1"
PATH = "/callbacks"
MAX_BODY = 1024 * 1024
#: From the first byte of a connection to its end.
CONNECTION_S = 15.0
#: Taken at the same time; a further one is closed at once.
MOST_CONNECTIONS = 64
_SOON_S = 0.01
_PORT_NOTE = "port"


class CallbackListener:
    """Takes what providers send by themselves.

    Args:
        inbox: Where messages go.
        keys: Whom we believe.
        own_id: Our name on the network.
        clock: The run's clock.
        port: To listen on; 0 for the port of the last time, or any free one.
    """

    def __init__(
        self, inbox: Inbox, keys: KeyRing, *, own_id: str, clock: Clock, port: int = 0
    ) -> None:
        self._inbox = inbox
        self._keys = keys
        self._own_id = own_id
        self._clock = clock
        self._wanted = port
        self._server: asyncio.Server | None = None
        self._web: web.Server | None = None
        self.port: int | None = None
        self.counts: Counter[str] = Counter()

    @property
    def url(self) -> str:
        """Address that providers on this machine post to, without the action."""
        return f"http://{HOST}:{self.port}{PATH}"

    async def open(self) -> None:
        """Listen; nothing to do if it does already.

        Raises:
            ConfigurationError: The port that was asked for is taken.
        """
        if self._server is not None:
            return
        self._web = web.Server(self._handle, access_log=None, request_factory=self._request)
        loop = asyncio.get_running_loop()
        ports = [self._wanted] if self._wanted else [self._inbox.noted(_PORT_NOTE) or 0, 0]
        for number, port in enumerate(ports):
            try:
                self._server = await loop.create_server(self._protocol, HOST, port)
                break
            except OSError as exc:
                if exc.errno == errno.EADDRINUSE and number + 1 < len(ports):
                    continue
                msg = (
                    f"port {port} of {HOST} cannot be taken for Beckn callbacks "
                    f"({exc.strerror}); set GRIDPACT_BECKN_CALLBACK_PORT to another, or to 0"
                )
                raise ConfigurationError(msg, port=port) from exc
        assert self._server is not None
        self.port = int(self._server.sockets[0].getsockname()[1])
        self._inbox.note(_PORT_NOTE, self.port)

    async def close(self) -> None:
        """Give the port back."""
        if self._server is not None and self._web is not None:
            self._server.close()
            await self._web.shutdown(1.0)
            self._server = None

    def _protocol(self) -> asyncio.Protocol:
        assert self._web is not None
        protocol: Any = self._web()
        loop = asyncio.get_running_loop()
        # httpx and the like keep connections open; an idle one costs a place like a slow one.
        loop.call_later(CONNECTION_S, _abort, protocol)
        if len(self._web.connections) >= MOST_CONNECTIONS:
            # The connection is made after this returns.
            loop.call_later(_SOON_S, _abort, protocol)
        made: asyncio.Protocol = protocol
        return made

    def _request(self, *arguments: Any) -> web.BaseRequest:
        message, payload, protocol, writer, task = arguments
        loop = asyncio.get_running_loop()
        return web.BaseRequest(
            message, payload, protocol, writer, task, loop, client_max_size=MAX_BODY
        )

    async def _handle(self, request: web.BaseRequest) -> web.StreamResponse:
        try:
            body = await request.read()
        except web.HTTPRequestEntityTooLarge:
            reason = f"a message has at most {MAX_BODY} bytes"
            return self._answer(Refused(413, "SCH_TOO_LARGE", reason), b"")
        head, _, action = request.path.rpartition("/")
        if head != PATH:
            return self._answer(Refused(404, "NET_ENTITY_NOT_FOUND", "nothing is here"), body)
        if "Origin" in request.headers or "Sec-Fetch-Site" in request.headers:
            reason = "web pages send no callbacks"
            return self._answer(Refused(403, "AUT_UNAUTHORIZED_ACTION", reason), b"")
        if request.method != "POST":
            return self._answer(Refused(405, "SCH_METHOD", "callbacks are posted"), body)
        return self._answer(self.receive(action, body, request.headers.get("Authorization")), body)

    def receive(self, action: str, body: bytes, authorization: str | None) -> Refused | Taken:
        """Judge and take one message; the outcome is counted by its code or word."""
        now = self._clock.now()
        if json_depth(body) > MAX_JSON_DEPTH:
            return Refused(400, "SCH_INVALID_JSON", f"nested deeper than {MAX_JSON_DEPTH} levels")
        judged = admit(action, body, authorization, self._keys, own_id=self._own_id, now=now)
        if isinstance(judged, Refused):
            return judged
        return self._take(judged)

    def _take(self, message: Admitted) -> Refused | Taken:
        try:
            taken = self._inbox.accept(message, self._clock.now())
        except StorageUnavailable as exc:
            return Refused(503, "NET_INTERNAL_ERROR", exc.message)
        if taken is Taken.REUSED:
            reason = f"message id {message.message_id[:80]!r} was used for another message"
            return Refused(400, "SCH_MESSAGE_ID_REUSED", reason)
        if taken is Taken.FULL:
            return Refused(503, "NET_DOWNSTREAM_UNAVAILABLE", "too many messages wait to be read")
        return taken

    def _answer(self, outcome: Refused | Taken, body: bytes) -> web.Response:
        refused = outcome if isinstance(outcome, Refused) else None
        self.counts[refused.code if refused is not None else str(outcome)] += 1
        received = None
        if refused is None or refused.status == HTTPStatus.BAD_REQUEST:
            # Verified, or needs not be; read again only for its spelling.
            with contextlib.suppress(orjson.JSONDecodeError):
                received = orjson.loads(body)
        headers = {"Content-Type": "application/json"}
        status, code, reason = 200, None, ""
        if refused is not None:
            status, code, reason = refused.status, refused.code, refused.reason
        if status == HTTPStatus.UNAUTHORIZED:
            headers["WWW-Authenticate"] = (
                f'Signature realm="{self._own_id}",headers="{SIGNED_HEADERS}"'
            )
        answer = ack_body(received, code=code, reason=reason)
        response = web.Response(status=status, body=answer, headers=headers)
        response.force_close()
        return response


def _abort(protocol: Any) -> None:
    transport = protocol.transport
    if transport is not None:
        with contextlib.suppress(RuntimeError):  # the loop is closing
            transport.abort()
