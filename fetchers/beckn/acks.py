"""How we answer a message that was sent to us: taken or not, in the spelling it came in.

Source: four shapes of acknowledgement are in use. camelCase messages come from the newest core,
which wants ``status`` at the top and ``errorCode``; ONIX in version 2 wants it under ``message``;
what came before wants ``message.ack``.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import orjson

from fetchers.beckn.wire import AckStatus

LONGEST_REASON = 500


def ack_body(received: object, *, code: str | None = None, reason: str = "") -> bytes:
    """Give the body of an acknowledgement.

    Args:
        received: The message, decoded; anything where it could not be.
        code: Why it was not taken; None acknowledges it.
        reason: The same in words.
    """
    context = received.get("context") if isinstance(received, Mapping) else None
    head: Mapping[str, Any] = context if isinstance(context, Mapping) else {}
    status = (AckStatus.ACK if code is None else AckStatus.NACK).value
    camel = "transactionId" in head or "messageId" in head
    message_id = head.get("messageId" if camel else "message_id")
    error = None if code is None else {"code": code, "message": reason[:LONGEST_REASON]}
    if camel:
        body: dict[str, Any] = {"status": status, "messageId": message_id}
        if error is not None:
            body["error"] = {"errorCode": error["code"], "errorMessage": error["message"]}
    elif str(head.get("version", "")).startswith("2"):
        inner: dict[str, Any] = {"status": status, "messageId": message_id}
        body = {"message": inner if error is None else {**inner, "error": error}}
    else:
        body = {"message": {"ack": {"status": status}}}
        if error is not None:
            body["message"]["error"] = error
    return orjson.dumps(body)
