"""Headers that the real services send, and conditional requests where they know them.

Source: probes of the two services of NESO in July 2026 (open to scripts of any origin; the portal's
API says ``no-cache`` and gives no validator; the Carbon Intensity API numbers its replies) and
CKAN 2.8, whose file downloads carry ``ETag`` and ``Last-Modified`` and answer conditional requests.
"""

from __future__ import annotations

import zlib
from collections.abc import Mapping
from datetime import datetime
from email.utils import format_datetime, parsedate_to_datetime

from scenarios.wire.reply import Reply
from schema.ids import named_uuid
from schema.readings import Source

#: Replies below this size gain nothing from compression.
_WORTH_PACKING = 1024
_GZIP = 31
_NOT_MODIFIED = 304


def common_headers(source: Source, now: datetime, number: int) -> dict[str, str]:
    """Give what a source sends with every reply.

    Args:
        source: Whose reply it is.
        now: For ``Date``.
        number: Of the request, for request ids that are the same in every run.
    """
    headers = {"Date": format_datetime(now.replace(microsecond=0), usegmt=True)}
    headers["Server"] = "gridpact scenarios serve"
    match source:
        case Source.CARBON_INTENSITY:
            headers["Access-Control-Allow-Origin"] = "*"
            headers["x-amzn-requestid"] = str(named_uuid(f"serve/request/{number}"))
        case Source.NESO:
            headers["Access-Control-Allow-Origin"] = "*"
            headers["Cache-Control"] = "no-cache"
            headers["Pragma"] = "no-cache"
        case Source.ELEXON | Source.BECKN:
            pass
    return headers


def unless_known(reply: Reply, asked: Mapping[str, str]) -> Reply:
    """Give 304 without a body where the client holds this very reply already."""
    own = dict(reply.headers)
    etag, modified = own.get("etag"), own.get("last-modified")
    if etag is None or modified is None:
        return reply
    known = asked.get("If-None-Match")
    if known is not None:
        same = etag in {part.strip() for part in known.split(",")} or known.strip() == "*"
    else:
        same = _not_newer(modified, asked.get("If-Modified-Since"))
    return Reply(_NOT_MODIFIED, b"", reply.content_type, reply.headers) if same else reply


def _not_newer(modified: str, since: str | None) -> bool:
    if since is None:
        return False
    try:
        return parsedate_to_datetime(modified) <= parsedate_to_datetime(since)
    except (ValueError, TypeError):
        return False  # a date that cannot be read is no condition, says RFC 9110


def packed(body: bytes, accepted: str) -> bytes | None:
    """Give a body compressed, the same bytes every time; None where that is not wanted."""
    if len(body) < _WORTH_PACKING or not _takes_gzip(accepted):
        return None
    packer = zlib.compressobj(6, zlib.DEFLATED, _GZIP)
    return packer.compress(body) + packer.flush()


def _takes_gzip(accepted: str) -> bool:
    for part in accepted.lower().split(","):
        coding, _, weight = part.partition(";")
        if coding.strip() in {"gzip", "*"}:
            return weight.replace(" ", "") not in {"q=0", "q=0.0", "q=0.00", "q=0.000"}
    return False
