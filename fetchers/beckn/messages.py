"""Beckn messages as rows: every request and callback, with both ids, status and raw body."""

from __future__ import annotations

from datetime import datetime
from hashlib import sha256
from typing import Any

import orjson

from fetchers.beckn.wire import Envelope, Node
from schema.ids import named_uuid
from schema.rows.base import MAX_ROW_BYTES
from schema.rows.beckn import BecknTransactionRow, Direction

#: The raw body may fill the row up to this; the other columns need a few hundred bytes.
LARGEST_BODY = MAX_ROW_BYTES - 8 * 1024
_NAME_LIMIT = 256


def storable(value: Any) -> Any:
    """Give JSON that PostgreSQL takes.

    NUL characters and lone surrogates, which jsonb refuses, become U+FFFD; NaN becomes null;
    an integer of more than 64 bits becomes text.
    """
    try:
        text = orjson.dumps(value)
    except TypeError:
        text = orjson.dumps(_plain(value))
    if b"\\u0000" in text:
        text = orjson.dumps(_plain(value))
    return orjson.loads(text)


def _plain(value: Any) -> Any:
    if isinstance(value, str):
        return value.replace("\x00", "\ufffd").encode("utf-8", "replace").decode()
    if isinstance(value, dict):
        return {_plain(key): _plain(member) for key, member in value.items()}
    if isinstance(value, list):
        return [_plain(member) for member in value]
    if isinstance(value, int) and not -(2**63) <= value < 2**64:
        return "a number of more than 64 bits"
    return value


def stored_body(raw: dict[str, Any]) -> dict[str, Any]:
    """Give the body to store: the whole, or where it is too large its head and its hash."""
    body: dict[str, Any] = storable(raw)
    text = orjson.dumps(body)
    if len(text) <= LARGEST_BODY:
        return body
    context = body.get("context")
    return {
        "context": context if len(orjson.dumps(context)) < LARGEST_BODY // 2 else None,
        "omitted": f"the body has {len(text)} bytes; a row holds {LARGEST_BODY}",
        "sha256": sha256(text).hexdigest(),
    }


def received_row(
    envelope: Envelope,
    *,
    retrieved_at: datetime | None,
    action: str | None = None,
    transaction_id: str | None = None,
    message_id: str | None = None,
    order_id: str | None = None,
    agent_name: str | None = None,
) -> BecknTransactionRow:
    """Give the row of a received message.

    Args:
        envelope: The message.
        retrieved_at: When it arrived; used where it carries no timestamp of its own.
        action: What it answers, for an acknowledgement without a context.
        transaction_id: Of the request it answers, used where it names none.
        message_id: Of the request it answers, used where it names none.
        order_id: The order it is about, used where it names none.
        agent_name: For whom the order is.

    Raises:
        ValueError: The message has no timestamp and no moment of arrival is given.
    """
    context = envelope.context
    occurred_at = context.timestamp or retrieved_at
    if occurred_at is None:
        msg = "context.timestamp is missing and no moment of arrival is known; give one"
        raise ValueError(msg)
    # Ids are optional on receipt. A message without one is named by its content.
    body = stored_body(envelope.raw)
    unnamed = str(named_uuid(sha256(orjson.dumps(body)).hexdigest()))
    return BecknTransactionRow(
        transaction_id=_name(context.transaction_id or transaction_id or unnamed),
        message_id=_name(context.message_id or message_id or unnamed),
        action=_name(context.action or action or "ack"),
        direction=Direction.RECEIVED,
        bpp_id=_optional(context.bpp_id),
        order_id=_optional(order_id_of(envelope.message) or order_id),
        agent_name=agent_name,
        status=_optional(status_of(envelope.message)),
        ack_status=envelope.ack.value if envelope.ack else None,
        error=storable(envelope.error.raw) if envelope.error else None,
        body=body,
        occurred_at=occurred_at,
    )


def sent_row(
    body: dict[str, Any], *, occurred_at: datetime, agent_name: str | None = None
) -> BecknTransactionRow:
    """Give the row of a message we send."""
    context = body["context"]
    message = Node(body.get("message") or {})
    return BecknTransactionRow(
        transaction_id=context["transaction_id"],
        message_id=context["message_id"],
        action=context["action"],
        direction=Direction.SENT,
        bpp_id=context.get("bpp_id"),
        order_id=order_id_of(message),
        agent_name=agent_name,
        status=status_of(message),
        body=stored_body(body),
        occurred_at=occurred_at,
    )


def order_id_of(message: Node | None) -> str | None:
    """Find the order's id: in the order, or in the flat forms of rating and support."""
    if message is None:
        return None
    order = message.get("order", "contract")
    return order.text("id") if order is not None else message.text("ref_id", "id")


def status_of(message: Node | None) -> str | None:
    """Find the order's status, as text in whatever spelling it came."""
    order = message.get("order", "contract") if message is not None else None
    return order.text("orderStatus", "status") if order is not None else None


def _name(text: str) -> str:
    return text[:_NAME_LIMIT]


def _optional(text: str | None) -> str | None:
    return text[:_NAME_LIMIT] if text else None
