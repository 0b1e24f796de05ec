"""Replies of a Beckn provider for compute energy, in the way of the synchronous sandbox.

Source: the compute-energy examples (draft 0.1) and sandbox clients. A POST to ``/discover`` and the
like is answered with the ``on_…`` message in the body of the HTTP 200. Catalogues give times of day
and prices as text; orders give full instants and prices as numbers.

Nothing is kept between requests: a reply follows from the request, the scenario and the clock, and
carries the request's own timestamp, so the same confirm gets the same bytes again, also from a
transport that was started anew.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

import orjson

from scenarios.model import AckShape, FaultKind, WindowChange, WireFault
from scenarios.scenario import Scenario
from scenarios.windows import BPP_ID, Window
from scenarios.wire import beckn_parts as parts
from scenarios.wire.reply import Refused, Reply, json_reply
from schema.ids import named_uuid
from schema.periods import format_instant, parse_instant

Json = dict[str, Any]
_LEAST_GREEN = re.compile(r"renewableMix\s*>=\s*(\d+(?:\.\d+)?)")
_AREAS = re.compile(r"gridArea\s+in\s+\[([^\]]*)\]")
_ORDER_STEPS = {"select": "QUOTE_REQUESTED", "init": "INITIALIZED", "confirm": "CONFIRMED"}
_FULFILLMENT = {"select": "QUOTED", "init": "INITIALIZED", "confirm": "CONFIRMED"}


@dataclass(frozen=True, slots=True)
class Callback:
    """A message the provider sends by itself, at its moment."""

    at: datetime
    action: str
    body: bytes


class BecknWire:
    """Answers for one scenario."""

    def __init__(self, scenario: Scenario) -> None:
        self._scenario = scenario
        self._windows = {window.item_id: window for window in scenario.windows}

    def answer(self, path: str, body: bytes, now: datetime, query: Mapping[str, Any]) -> Reply:
        """Answer a POST of one action, or a GET of ``/callbacks?since=…``."""
        action = path.rstrip("/").rsplit("/", 1)[-1]
        if action == "callbacks":
            return self._poll(query, now)
        try:
            context, message = _read(body, action)
            if action == "discover":
                return self._discover(context, message, now)
            if action in _ORDER_STEPS:
                return self._order(action, context, message, now)
            if action in {"update", "status", "cancel"}:
                return _echo(action, context, message)
            if action == "rating":
                return _on(context, action, {"received": True, "aggregate": {"count": 1}})
            if action == "support":
                return _on(context, action, _support())
        except Refused as refused:
            return refused.reply
        return json_reply({"message": "Not Found"}, status=404)

    # -- discovery --------------------------------------------------------------------------

    def _discover(self, context: Json, message: Json, now: datetime) -> Reply:
        windows = [w for w in self._scenario.windows_at(now) if _wanted(w, message)]
        days = sorted({window.starts_at.date() for window in windows})
        catalogs = [
            parts.catalog(day, [w for w in windows if w.starts_at.date() == day]) for day in days
        ]
        return _on(context, "discover", {"catalogs": catalogs})

    # -- orders -----------------------------------------------------------------------------

    def _order(self, action: str, context: Json, message: Json, now: datetime) -> Reply:
        order = message.get("order")
        lines = order.get("beckn:orderItems") if isinstance(order, dict) else None
        if not isinstance(order, dict) or not isinstance(lines, list) or not lines:
            raise _refused(context, action, "SCH_FIELD_MISSING", "message.order.beckn:orderItems")
        asked_mw = _compute_load(order)
        answered = []
        for line in lines:
            window = self._ordered(action, context, line, now)
            if asked_mw is not None and round(asked_mw * 1e6) > window.capacity_w:
                detail = f"{asked_mw:g} MW asked, {window.capacity_w / 1e6:g} MW available"
                raise _refused(context, action, "POL_CAPACITY_UNAVAILABLE", detail)
            reserved = None if action == "select" else asked_mw
            answered.append(parts.order_line(line, window, reserved_mw=reserved))
        reply = {**order, "beckn:orderStatus": _ORDER_STEPS[action], "beckn:orderItems": answered}
        fulfillment = dict(order.get("beckn:fulfillment") or parts.fulfillment(order))
        fulfillment["beckn:status"] = _FULFILLMENT[action]
        if action == "confirm":
            fulfillment["confirmationTimestamp"] = context.get("timestamp")
        reply["beckn:fulfillment"] = fulfillment
        if action == "init":
            reply["beckn:payment"] = parts.payment()
        return _on(context, action, {"order": reply})

    def _ordered(self, action: str, context: Json, line: Any, now: datetime) -> Window:
        """Give the window a line asks for, as it stands now; refuse what cannot be had."""
        item = line.get("beckn:orderedItem") if isinstance(line, dict) else None
        window = self._windows.get(str(item))
        fault = self._nack(action, str(item), now)
        if fault is not None:
            raise Refused(nack(context, fault.ack_shape, str(item)))
        if window is None or window.published_at > now:
            raise _refused(context, action, "NET_ENTITY_NOT_FOUND", f"item {item} is unknown")
        if window.ends_at <= now:
            raise _refused(context, action, "POL_WINDOW_CLOSED", f"item {item} is over")
        window = self._scenario.window_as_of(window, now)
        if window.price_pence_per_mwh is None or window.capacity_w == 0:
            raise _refused(context, action, "POL_NOT_OFFERED", f"item {item} has no offer")
        return window

    def _nack(self, action: str, item: str, now: datetime) -> WireFault | None:
        hour = (now - self._scenario.start) / timedelta(hours=1)
        for fault in self._scenario.file.faults:
            if (
                fault.kind is FaultKind.NACK
                and fault.from_h <= hour < fault.to_h
                and fault.action in {None, action}
                and fault.item_id in {None, item}
            ):
                return fault
        return None

    # -- unsolicited ------------------------------------------------------------------------

    def callbacks(self, since: datetime, until: datetime) -> list[Callback]:
        """Give what the provider sends by itself with ``since < at <= until``, in time order."""
        found = []
        for number, change in enumerate(self._scenario.file.window_changes):
            at = self._scenario.start + timedelta(hours=change.at_h)
            window = self._windows.get(change.item_id)
            if window is not None and since < at <= until:
                found.append(Callback(at, "on_update", self._on_update(number, change, window, at)))
        return sorted(found, key=lambda callback: callback.at)

    def _on_update(self, number: int, change: WindowChange, window: Window, at: datetime) -> bytes:
        name = f"{self._scenario.name}/{self._scenario.seed}/on_update/{number}"
        before = self._scenario.window_as_of(window, at - timedelta(microseconds=1))
        after = self._scenario.window_as_of(window, at)
        context = {
            "version": "2.0.0",
            "action": "on_update",
            "domain": parts.DOMAIN,
            "timestamp": format_instant(at),
            "message_id": str(named_uuid(f"{name}/message")),
            "transaction_id": str(named_uuid(f"{name}/transaction")),
            "bap_id": "ev-charging.sandbox1.com",
            "bap_uri": "https://ev-charging.sandbox1.com.com/bap",
            "bpp_id": BPP_ID,
            "bpp_uri": f"https://{BPP_ID}",
            "ttl": "PT30S",
        }
        event = {
            "eventId": f"event-{window.item_id}-{number + 1:03}",
            "eventType": "grid_conditions_changed",
            "severity": change.severity,
            "message": change.message,
        }
        order = parts.updated_order(before, after, event)
        return orjson.dumps({"context": context, "message": {"order": order}})

    def _poll(self, query: Mapping[str, Any], now: datetime) -> Reply:
        values = query.get("since", ())
        try:
            since = parse_instant(str(values[0])) if values else self._scenario.start
        except ValueError as exc:
            return json_reply({"error": {"code": "SCH_FORMAT", "message": str(exc)}}, status=400)
        found = self.callbacks(since, now)
        return json_reply([orjson.Fragment(callback.body) for callback in found])


def _read(body: bytes, action: str) -> tuple[Json, Json]:
    try:
        document = orjson.loads(body)
        context, message = document["context"], document["message"]
    except (orjson.JSONDecodeError, KeyError, TypeError):
        context = message = None
    if not isinstance(context, dict) or not isinstance(message, dict):
        error = {"code": "SCH_INVALID_JSON", "message": "context and message are needed"}
        reply = json_reply({"message": {"ack": {"status": "NACK"}, "error": error}}, status=400)
        raise Refused(reply)
    if context.get("action") != action:
        raise _refused(context, action, "SCH_ACTION_MISMATCH", str(context.get("action")))
    return context, message


def _wanted(window: Window, message: Json) -> bool:
    """Apply the two conditions of a filter that clients use; others let everything through."""
    filters = message.get("filters")
    expression = str(filters.get("expression", "")) if isinstance(filters, dict) else ""
    green = _LEAST_GREEN.search(expression)
    if green and window.renewable_pct < float(green[1]):
        return False
    areas = _AREAS.search(expression)
    return areas is None or window.area in re.findall(r"'([^']*)'", areas[1])


def _compute_load(order: Json) -> float | None:
    attributes = (order.get("beckn:fulfillment") or {}).get("beckn:deliveryAttributes") or {}
    load = attributes.get("beckn:computeLoad", attributes.get("computeLoad"))
    if not isinstance(load, int | float):
        return None
    unit = attributes.get("beckn:computeLoadUnit", attributes.get("computeLoadUnit", "MW"))
    return float(load) / (1000 if str(unit).lower() == "kw" else 1)


def _echo(action: str, context: Json, message: Json) -> Reply:
    order = message.get("order")
    status = {"update": "IN_PROGRESS", "status": "CONFIRMED", "cancel": "CANCELLED"}[action]
    body = {**(order if isinstance(order, dict) else {}), "beckn:orderStatus": status}
    body.setdefault("@type", "beckn:Order")
    return _on(context, action, {"order": body})


def _support() -> Json:
    return {
        "support": {
            "name": "GridFlex support",
            "phone": "+44 20 7946 0000",
            "email": "support@gridflex-agent.example.com",
            "url": "https://gridflex-agent.example.com/support",
            "hours": "24/7",
            "channels": ["phone", "email"],
        }
    }


def _context(context: Json, action: str) -> Json:
    reply = {key: value for key, value in context.items() if key != "schema_context"}
    reply.update(action=f"on_{action}", bpp_id=BPP_ID, bpp_uri=f"https://{BPP_ID}")
    return reply


def _on(context: Json, action: str, message: Json) -> Reply:
    return json_reply({"context": _context(context, action), "message": message})


def _refused(context: Json, action: str, code: str, text: str) -> Refused:
    """Refuse as a business answer: a callback with ``error`` in place of ``message``."""
    error = {"code": code, "message": text}
    return Refused(json_reply({"context": _context(context, action), "error": error}))


def acknowledgement(context: Json, shape: AckShape, error: Json | None = None) -> Reply:
    """Say yes, or no with an error, in one of the four shapes of Beckn software, on HTTP 200."""
    status = "ACK" if error is None else "NACK"
    why: Json = {} if error is None else {"error": error}
    bodies: dict[AckShape, Json] = {
        AckShape.MESSAGE_ACK: {"message": {"ack": {"status": status}, **why}},
        AckShape.ACK_STATUS: {
            "transaction_id": context.get("transaction_id"),
            "timestamp": context.get("timestamp"),
            "ack_status": status,
            **why,
        },
        AckShape.MESSAGE_STATUS: {
            "message": {"status": status, "messageId": context.get("message_id"), **why}
        },
        AckShape.STATUS: {"status": status, "signature": "", **_respelled(error)},
    }
    return json_reply(bodies[shape])


def _respelled(error: Json | None) -> Json:
    if error is None:
        return {}
    return {"error": {"errorCode": error["code"], "errorMessage": error["message"]}}


def nack(context: Json, shape: AckShape, item: str) -> Reply:
    """Refuse an item as sold out."""
    error = {
        "code": "POL_CAPACITY_EXHAUSTED",
        "message": f"{item} can no longer be reserved",
        "details": {"path": "message.order.beckn:orderItems[0]", "cause": "sold out"},
    }
    return acknowledgement(context, shape, error)
