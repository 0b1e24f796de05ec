"""How a reply goes over the socket: as it should, or as a fault of the connection has it."""

from __future__ import annotations

import asyncio
import socket
import struct
from collections.abc import Mapping

from aiohttp import web

from scenarios.serve.faults import Fault, Kind

#: Long enough for what was written to reach the other end before the connection is reset.
_ARRIVAL_S = 0.05
_LINGER_NOT = struct.pack("ii", 1, 0)


def sent_bytes(body: bytes, fault: Fault | None) -> int:
    """Give how much of a body a client gets."""
    match fault:
        case Fault(kind=Kind.RESET) | Fault(kind=Kind.TRUNCATED, variant="wrong"):
            return len(body) // 2
        case Fault(kind=Kind.HANG | Kind.REFUSE):
            return 0
        case _:
            return len(body)


def answers(fault: Fault | None) -> bool:
    """Say whether a client gets at least a status."""
    return fault is None or fault.kind not in {Kind.HANG, Kind.REFUSE}


async def deliver(
    request: web.BaseRequest,
    status: int,
    headers: Mapping[str, str],
    body: bytes,
    fault: Fault | None,
) -> web.StreamResponse:
    """Send a reply.

    Faults end with the client's going away, which cancels this; or with the server's stop.
    """
    match fault:
        case Fault(kind=Kind.REFUSE):
            _reset(request)
        case Fault(kind=Kind.HANG):
            pass
        case Fault(kind=Kind.RESET):
            await _part(request, status, headers, body)
            await asyncio.sleep(_ARRIVAL_S)
            _reset(request)
        case Fault(kind=Kind.TRUNCATED, variant="wrong"):
            await _part(request, status, headers, body)
            if request.transport is not None:
                request.transport.close()
        case Fault(kind=Kind.DRIP, amount=per_second):
            return await _drip(request, status, headers, body, per_second)
        case _:
            return web.Response(status=status, headers=headers, body=body)
    never: asyncio.Future[web.StreamResponse] = asyncio.get_running_loop().create_future()
    return await never


async def _begin(
    request: web.BaseRequest, status: int, headers: Mapping[str, str], size: int
) -> web.StreamResponse:
    response = web.StreamResponse(status=status, headers={**headers, "Content-Length": str(size)})
    await response.prepare(request)
    return response


async def _part(
    request: web.BaseRequest, status: int, headers: Mapping[str, str], body: bytes
) -> None:
    """Promise the whole body and send half of it."""
    response = await _begin(request, status, headers, len(body))
    await response.write(body[: len(body) // 2])


async def _drip(
    request: web.BaseRequest,
    status: int,
    headers: Mapping[str, str],
    body: bytes,
    per_second: float,
) -> web.StreamResponse:
    response = await _begin(request, status, headers, len(body))
    for at in range(len(body)):
        await response.write(body[at : at + 1])
        await asyncio.sleep(1 / per_second)
    return response


def _reset(request: web.BaseRequest) -> None:
    """End the connection with RST: what is not read yet is lost, and the client gets an error."""
    transport = request.transport
    if transport is None:
        return
    raw = transport.get_extra_info("socket")
    raw.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _LINGER_NOT)
    transport.abort()
