"""Faults that are done to a reply's content; those of the connection are in ``delivery``."""

from __future__ import annotations

import re
import zlib
from dataclasses import replace
from functools import lru_cache
from http import HTTPStatus
from typing import Any

import orjson

from scenarios.model import FaultKind, WireFault
from scenarios.serve.faults import Fault, Kind
from scenarios.wire.neso_files import FILES
from scenarios.wire.reply import Reply
from scenarios.wire.spoil import spoiled
from schema.ids import named_uuid

_AS_IN_A_REPLAY = {
    Kind.THROTTLE: FaultKind.THROTTLE,
    Kind.ERROR: FaultKind.SERVER_ERROR,
    Kind.HTML: FaultKind.HTML,
    Kind.TRUNCATED: FaultKind.TRUNCATED,
    Kind.WRONG_TYPES: FaultKind.WRONG_TYPES,
}
_TARGETS = {
    "metadata": "http://169.254.169.254/latest/meta-data/",
    "file": "file:///etc/passwd",
}
_GZIP = 31
_MIB = 1024 * 1024
_FIRST_COLUMN = re.compile(rb'^((?:\xef\xbb\xbf)?"?[^",\r\n]+)')
#: Ids of NESO's data files, each with the one that has taken its place.
_ROLLED = {file.resource_id: str(named_uuid(f"serve/neso/{file.resource_id}")) for file in FILES}
_SWAPPED = _ROLLED | {new: old for old, new in _ROLLED.items()}
_ANY_ID = re.compile("|".join(_SWAPPED))


def spoil(reply: Reply, fault: Fault) -> Reply:
    """Give the reply as the fault lets it through; as it is for faults of the connection."""
    match fault.kind:
        case Kind.TRUNCATED if fault.variant == "wrong":
            return reply
        case Kind.SCHEMA_DRIFT:
            return _drifted(reply, fault.variant)
        case Kind.GZIP_BOMB:
            headers = (("content-encoding", "gzip"),)
            return Reply(HTTPStatus.OK, _bomb(int(fault.amount)), headers=headers)
        case Kind.REDIRECT:
            headers = (("location", _TARGETS[fault.variant]),)
            return Reply(HTTPStatus.FOUND, b"", headers=headers)
        case Kind.DEEP:
            depth = int(fault.amount)
            return Reply(HTTPStatus.OK, b"[" * depth + b"]" * depth)
        case Kind.THROTTLE | Kind.ERROR | Kind.HTML | Kind.TRUNCATED | Kind.WRONG_TYPES:
            return _as_in_a_replay(reply, fault)
        case _:
            return reply


def _as_in_a_replay(reply: Reply, fault: Fault) -> Reply:
    wait = int(fault.amount) if fault.kind is Kind.THROTTLE else 0
    kind = _AS_IN_A_REPLAY[fault.kind]
    made = spoiled(
        reply, WireFault(kind=kind, source=fault.source, from_h=0, to_h=1, retry_after_s=wait)
    )
    return replace(made, status=int(fault.amount)) if fault.kind is Kind.ERROR else made


@lru_cache(maxsize=4)
def _bomb(mib: int) -> bytes:
    """Give gzip that grows about a thousandfold."""
    packer = zlib.compressobj(9, zlib.DEFLATED, _GZIP)
    parts = [packer.compress(b" " * _MIB) for _ in range(mib)]
    return b"".join(parts) + packer.flush()


def _drifted(reply: Reply, how: str) -> Reply:
    try:
        document = orjson.loads(reply.body)
    except orjson.JSONDecodeError:
        # A table: its first column gets another name.
        return replace(reply, body=_FIRST_COLUMN.sub(rb"\1_v2", reply.body, count=1))
    return replace(reply, body=orjson.dumps(_drift(document, how)))


def _drift(value: Any, how: str) -> Any:
    """Change every innermost object: its first field renamed, its last gone, one more added."""
    if isinstance(value, list):
        return [_drift(member, how) for member in value]
    if not isinstance(value, dict):
        return value
    if any(isinstance(member, dict | list) for member in value.values()):
        return {key: _drift(member, how) for key, member in value.items()}
    fields = list(value.items())
    if how in {"missing", "all"} and len(fields) > 1:
        fields.pop()
    if how in {"renamed", "all"} and fields:
        fields[0] = (f"{fields[0][0]}V2", fields[0][1])
    if how in {"extra", "all"}:
        fields.append(("schemaVersion", 2))
    return dict(fields)


def rolled_over(text: str) -> str:
    """Swap old and new ids of NESO's files.

    Done to a request and then to its reply it makes a portal on which the ids that are known no
    longer exist, and the catalogue names others that do.
    """
    return _ANY_ID.sub(lambda found: _SWAPPED[found[0]], text)
