"""What happens to one request of one source: answered, logged, sent."""

from __future__ import annotations

import asyncio
from http import HTTPStatus
from urllib.parse import unquote

from aiohttp import StreamReader, web
from aiohttp.abc import AbstractStreamWriter
from aiohttp.http import RawRequestMessage

from scenarios.answers import SourceAnswers
from scenarios.scenario import Scenario
from scenarios.serve.headers import common_headers, packed, unless_known
from scenarios.serve.log import AccessLog, AccessRecord
from scenarios.wire.reply import Reply, json_reply
from schema.clock import Clock
from schema.readings import Source

#: The method that aiohttp gives to a request that it could not read.
UNREADABLE = "UNKNOWN"


class SourceHandler:
    """Serves one source.

    Args:
        scenario: What is answered from.
        source: Which of the four.
        clock: Its now decides what is published.
        log: Gets one record a request, before the reply leaves.
    """

    def __init__(self, scenario: Scenario, source: Source, clock: Clock, log: AccessLog) -> None:
        self._source = source
        self._clock = clock
        self._log = log
        self._answers = SourceAnswers(scenario, source)
        self._requests = 0

    async def __call__(self, request: web.BaseRequest) -> web.StreamResponse:
        """Answer a request."""
        self._requests += 1
        if request.method == UNREADABLE:  # really sent by someone; logged when it was made
            return web.Response(status=HTTPStatus.BAD_REQUEST)
        now = self._clock.now()
        raw_path, _, query = request.raw_path.partition("?")
        try:
            body = await request.read()
        except web.HTTPRequestEntityTooLarge:
            reply = json_reply({"message": "Payload Too Large"}, status=413)
        else:
            path = self._answers.path(unquote(raw_path))
            reply = self._answers.answer(request.method, path, query, body, now)
        reply = unless_known(reply, request.headers)
        headers = common_headers(self._source, now, self._requests)
        headers |= {"Content-Type": reply.content_type, **dict(reply.headers)}
        wire = self._encode(request, reply, headers)
        self._record(request, reply.status, len(wire))
        return web.Response(status=reply.status, headers=headers, body=wire)

    def make_request(
        self,
        message: RawRequestMessage,
        payload: StreamReader,
        protocol: web.RequestHandler,
        writer: AbstractStreamWriter,
        task: asyncio.Task[None],
    ) -> web.BaseRequest:
        """Make the request object of a message; note what was no HTTP, which nobody else sees."""
        loop = asyncio.get_running_loop()
        request = web.BaseRequest(message, payload, protocol, writer, task, loop)
        if message.method == UNREADABLE:
            self._record(request, HTTPStatus.BAD_REQUEST, 0)
        return request

    def _encode(self, request: web.BaseRequest, reply: Reply, headers: dict[str, str]) -> bytes:
        small = packed(reply.body, request.headers.get("Accept-Encoding", ""))
        if small is None:
            return reply.body
        headers |= {"Content-Encoding": "gzip", "Vary": "Accept-Encoding"}
        return small

    def _record(
        self, request: web.BaseRequest, status: int | None, size: int, fault: str | None = None
    ) -> None:
        self._log.write(
            AccessRecord(
                at=self._clock.now(),
                source=self._source,
                direction="in",
                method=request.method,
                path=request.raw_path,
                status=status,
                fault=fault,
                bytes=size,
                user_agent=request.headers.get("User-Agent", ""),
            )
        )
