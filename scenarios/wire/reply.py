"""One HTTP reply as a value, and the refusal that ends a request early."""

from __future__ import annotations

from dataclasses import dataclass

import orjson

JSON_TYPE = "application/json; charset=utf-8"


@dataclass(frozen=True, slots=True)
class Reply:
    """Status, body and content type of a reply."""

    status: int
    body: bytes
    content_type: str = JSON_TYPE
    headers: tuple[tuple[str, str], ...] = ()


class Refused(Exception):
    """The source refuses this request; carries its reply."""

    def __init__(self, reply: Reply) -> None:
        super().__init__(f"HTTP {reply.status}")
        self.reply = reply


def json_reply(value: object, status: int = 200) -> Reply:
    """Write a value as JSON."""
    return Reply(status, orjson.dumps(value))
