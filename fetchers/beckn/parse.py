"""Received Beckn messages as rows, one function an endpoint.

Each takes a reply's bytes and a ``ParseContext``. A request given as a reply, a page, or broken
JSON raises ``SourcePayloadInvalid``; a refusal (NACK, or an error in place of a message, which
may ride on HTTP 200) is recorded as a transaction and gives no other row.

    discover   grid_zones, compute_windows, offers, grid_snapshots, beckn_transactions
    select, init, confirm, update, status, cancel   the same, as far as the callback says
    rating, support, ack   beckn_transactions
"""

from __future__ import annotations

from collections.abc import Callable

from pydantic import ValidationError

from fetchers.beckn.callbacks import add_order, read_order
from fetchers.beckn.catalog import add_catalogs
from fetchers.beckn.messages import received_row
from fetchers.beckn.wire import Envelope, read_envelopes
from fetchers.parsing import EndpointParser, ParseContext, RowSink, explain
from schema.errors import SourcePayloadInvalid
from schema.readings import Parsed, Source

ORDER_ACTIONS = ("select", "init", "confirm", "update", "status", "cancel")
FLAT_ACTIONS = ("rating", "support")


def parse_on_discover(body: bytes, context: ParseContext) -> Parsed:
    """Read an on_discover: the windows on offer, their prices and their zones."""
    return _parse(body, context, "on_discover", _add_discovery)


def parse_on_order(action: str) -> Callable[[bytes, ParseContext], Parsed]:
    """Give the parser of one order callback (``on_select`` … ``on_cancel``)."""

    def parse(body: bytes, context: ParseContext) -> Parsed:
        return _parse(body, context, f"on_{action}", _add_callback)

    return parse


def parse_flat(action: str) -> Callable[[bytes, ParseContext], Parsed]:
    """Give the parser of a callback that holds no order (rating, support)."""

    def parse(body: bytes, context: ParseContext) -> Parsed:
        return _parse(body, context, f"on_{action}", _add_nothing)

    return parse


def parse_callback(body: bytes, context: ParseContext) -> Parsed:
    """Read a callback of any action, as it arrives at our own address."""
    return _parse(body, context, None, _add_any)


def add_envelope(envelope: Envelope, context: ParseContext, sink: RowSink) -> None:
    """Add the rows of one message, whatever its action, its transaction included."""
    _add_any(envelope, context, sink)
    _add_transaction(envelope, context, sink)


_Add = Callable[[Envelope, ParseContext, RowSink], None]


def _parse(body: bytes, context: ParseContext, expected: str | None, add: _Add) -> Parsed:
    sink = RowSink()
    for envelope in read_envelopes(body):
        _require(envelope, expected)
        if envelope.message is not None:
            # A status call may be answered by an update that was waiting for us.
            (add if envelope.context.action == expected else _add_any)(envelope, context, sink)
        _add_transaction(envelope, context, sink)
    return sink.done()


def _require(envelope: Envelope, expected: str | None) -> None:
    action = envelope.context.action
    answers_status = expected == "on_status" and action == "on_update"
    if envelope.message is None and envelope.ack is None and envelope.error is None:
        msg = (
            "the reply has neither message nor error nor acknowledgement; it has "
            f"{', '.join(sorted(envelope.raw)) or 'no members'}"
        )
        raise SourcePayloadInvalid(msg, source=Source.BECKN.value)
    if envelope.message is not None and expected and action != expected and not answers_status:
        msg = f"the reply's context.action is {action!r}, expected {expected!r}"
        raise SourcePayloadInvalid(msg, source=Source.BECKN.value, action=action)


def _add_transaction(envelope: Envelope, context: ParseContext, sink: RowSink) -> None:
    try:
        row = received_row(envelope, retrieved_at=context.now)
    except ValidationError as exc:
        sink.reject("context", explain(exc))
    except ValueError as exc:
        sink.reject("context.timestamp", str(exc))
    else:
        sink.add("context", type(row), **dict(row))


def _add_discovery(envelope: Envelope, context: ParseContext, sink: RowSink) -> None:
    add_catalogs(envelope, sink, observed_at=envelope.context.timestamp or context.now)


def _add_callback(envelope: Envelope, context: ParseContext, sink: RowSink) -> None:
    view = read_order(envelope, sink)
    if view is not None:
        add_order(envelope, view, sink, observed_at=envelope.context.timestamp or context.now)


def _add_nothing(envelope: Envelope, context: ParseContext, sink: RowSink) -> None:
    del envelope, context, sink


def _add_any(envelope: Envelope, context: ParseContext, sink: RowSink) -> None:
    if envelope.context.action == "on_discover":
        _add_discovery(envelope, context, sink)
    else:
        _add_callback(envelope, context, sink)


_WINDOW_TABLES = ("grid_zones", "compute_windows", "offers", "grid_snapshots")

#: Endpoint → parser, as ``fetchers/registry.py`` lists them.
ENDPOINTS: dict[str, EndpointParser] = {
    "on-discover": EndpointParser(
        (*_WINDOW_TABLES, "beckn_transactions"),
        "windows on offer, with prices and zones",
        parse_on_discover,
    ),
    **{
        f"on-{action}": EndpointParser(
            (
                *_WINDOW_TABLES,
                "beckn_transactions",
                *(("flexibility_prices",) if action == "status" else ()),
            ),
            f"an order's answer to {action}",
            parse_on_order(action),
        )
        for action in ORDER_ACTIONS
    },
    **{
        f"on-{action}": EndpointParser(
            ("beckn_transactions",), f"the answer to {action}", parse_flat(action)
        )
        for action in FLAT_ACTIONS
    },
}
