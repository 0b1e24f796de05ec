"""What happens to one request of one source: answered, spoilt, logged, sent."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from datetime import datetime, timedelta
from http import HTTPStatus
from urllib.parse import quote, unquote

from aiohttp import StreamReader, web
from aiohttp.abc import AbstractStreamWriter
from aiohttp.http import RawRequestMessage

from scenarios.answers import SourceAnswers
from scenarios.serve.beckn import BecknDesk, Pending
from scenarios.serve.delivery import answers, deliver, sent_bytes
from scenarios.serve.faults import ActiveFaults, Fault, Kind
from scenarios.serve.headers import common_headers, packed, unless_known
from scenarios.serve.log import AccessLog, AccessRecord
from scenarios.serve.spoil import rolled_over, spoil
from scenarios.wire.reply import Reply, json_reply
from schema.clock import Clock
from schema.readings import Source

#: The method that aiohttp gives to a request that it could not read.
UNREADABLE = "UNKNOWN"


class SourceHandler:
    """Serves one source.

    Args:
        source: Which of the four.
        answers: What it answers.
        clock: Its now decides what is published.
        log: Gets one record a request, before the reply leaves.
        faults: What goes wrong, at any moment.
        desk: For Beckn.
    """

    def __init__(
        self,
        source: Source,
        answers: SourceAnswers,
        clock: Clock,
        log: AccessLog,
        faults: ActiveFaults,
        desk: BecknDesk | None = None,
    ) -> None:
        self._source = source
        self._answers = answers
        self._clock = clock
        self._log = log
        self._faults = faults
        self._desk = desk
        self._requests = 0

    async def __call__(self, request: web.BaseRequest) -> web.StreamResponse:
        """Answer a request, or do to it what the fault in force wants."""
        if request.method == UNREADABLE:  # really sent by someone; logged when it was made
            return web.Response(status=HTTPStatus.BAD_REQUEST)
        self._requests += 1
        raw_path, _, query = request.raw_path.partition("?")
        path = self._answers.path(unquote(raw_path))
        fault = self._faults.of(self._source, path)
        now = self._clock.now()
        if fault is not None and fault.kind is Kind.CLOCK_SKEW:
            now += timedelta(seconds=fault.amount)
        try:
            body = await request.read()
        except web.HTTPRequestEntityTooLarge:
            reply = json_reply({"message": "Payload Too Large"}, status=413)
        else:
            reply = self._reply(request.method, path, query, body, now, fault)
        if fault is not None:
            reply = spoil(reply, fault)
        reply = unless_known(reply, request.headers)
        headers = common_headers(self._source, now, self._requests)
        headers |= {"Content-Type": reply.content_type, **dict(reply.headers)}
        wire = _encoded(reply, request.headers.get("Accept-Encoding", ""), headers)
        self._record(
            request,
            reply.status if answers(fault) else None,
            sent_bytes(wire, fault),
            None if fault is None else fault.kind.value,
        )
        return await deliver(request, reply.status, headers, wire, fault)

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
            self._record(request, HTTPStatus.BAD_REQUEST, 0, None)
        return request

    def due(self) -> list[Pending]:
        """Take out the callbacks whose moment has come."""
        if self._desk is None:
            return []
        return self._desk.due(self._clock.now(), self._faults.of(self._source, ""))

    def _reply(
        self, method: str, path: str, query: str, body: bytes, now: datetime, fault: Fault | None
    ) -> Reply:
        if self._desk is not None and method == "POST":
            return self._desk.reply(path, body, now, fault)
        if fault is not None and fault.kind is Kind.STALE_RESOURCE:
            swapped = quote(rolled_over(unquote(query)), safe="=&+")
            reply = self._answers.answer(method, rolled_over(path), swapped, body, now)
            return replace(reply, body=rolled_over(reply.body.decode()).encode())
        return self._answers.answer(method, path, query, body, now)

    def _record(
        self, request: web.BaseRequest, status: int | None, size: int, fault: str | None
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


def _encoded(reply: Reply, accepted: str, headers: dict[str, str]) -> bytes:
    """Give the body as it goes over the wire, and say so in the headers."""
    if "content-encoding" in headers:
        return reply.body
    small = packed(reply.body, accepted)
    if small is None:
        return reply.body
    headers |= {"Content-Encoding": "gzip", "Vary": "Accept-Encoding"}
    return small
