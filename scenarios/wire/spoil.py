"""What a source's faults make of a good reply."""

from __future__ import annotations

from typing import Any

import orjson

from scenarios.model import FaultKind, WireFault
from scenarios.wire.reply import Reply, json_reply

_PAGE = b"<!DOCTYPE html><html><head><title>Attention Required</title></head></html>"


def spoiled(reply: Reply, fault: WireFault) -> Reply:
    """Give the reply as the fault lets it through."""
    match fault.kind:
        case FaultKind.THROTTLE:
            wait = (("retry-after", str(fault.retry_after_s)),)
            return Reply(429, b'{"message":"Too Many Requests"}', headers=wait)
        case FaultKind.SERVER_ERROR:
            return json_reply({"message": "Internal server error"}, status=500)
        case FaultKind.HTML:
            return Reply(200, _PAGE, "text/html; charset=utf-8")
        case FaultKind.TRUNCATED:
            return Reply(reply.status, reply.body[: len(reply.body) // 2], reply.content_type)
        case FaultKind.WRONG_TYPES:
            return _wrong_types(reply)
        case _:
            return reply


def _wrong_types(reply: Reply) -> Reply:
    """Turn every number into text with a unit, as a careless schema change would."""
    try:
        document = orjson.loads(reply.body)
    except orjson.JSONDecodeError:
        return Reply(reply.status, reply.body.replace(b",", b";"), reply.content_type)
    return Reply(reply.status, orjson.dumps(_worded(document)), reply.content_type)


def _worded(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _worded(member) for key, member in value.items()}
    if isinstance(value, list):
        return [_worded(member) for member in value]
    if isinstance(value, int | float) and not isinstance(value, bool):
        return f"{value} units"
    return value
