"""Requests to a Beckn network: one builder an action.

Every action is a POST of a JSON body to ``{base}/{action}``. We are the buyer's side (BAP). Ids we
send are always UUIDs, made by the caller; keys we send are snake_case in the context, as the
compute-energy examples and the sandbox have them.

``endpoint`` of a request names the answer that is expected (``on-select``), which is also the
name of its parser.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import orjson

from fetchers.request import Request
from schema.orders import WindowTerms
from schema.periods import format_instant
from schema.readings import Source

#: A public sandbox that may be gone.
BASE_URL = "https://deg-hackathon-bap-sandbox.becknprotocol.io/api"
VERSION = "2.0.0"
DOMAIN = "beckn.one:DEG:compute-energy:1.0"
CORE_CONTEXT = (
    "https://raw.githubusercontent.com/beckn/protocol-specifications-new/refs/heads/draft/"
    "schema/core/v2/context.jsonld"
)
ENERGY_CONTEXT = (
    "https://raw.githubusercontent.com/beckn/protocol-specifications-new/refs/heads/draft/"
    "schema/ComputeEnergy/v1/context.jsonld"
)
HEADERS = (("Accept", "application/json"), ("Content-Type", "application/json"))
KW_PER_MW = 1000.0


@dataclass(frozen=True, slots=True)
class BecknParty:
    """Who we are on the network, and the provider's side where a catalogue does not name it.

    The defaults are the public sandbox's test participant; its doubled ``.com.com`` stands so in
    the sandbox's own requests.
    """

    bap_id: str = "ev-charging.sandbox1.com"
    bap_uri: str = "https://ev-charging.sandbox1.com.com/bap"
    bpp_uri: str = "https://ev-charging.sandbox1.com.com/bpp"
    ttl_s: int = 30


@dataclass(frozen=True, slots=True)
class OrderDraft:
    """An order as its messages name it; the same from select to cancel."""

    order_id: str
    transaction_id: str
    terms: WindowTerms
    buyer: str
    load_kw: tuple[float, ...]

    @property
    def peak_kw(self) -> float:
        """Largest draw of any half hour."""
        return max(self.load_kw)

    @property
    def energy_kwh(self) -> float:
        """Energy over all half hours."""
        return sum(self.load_kw) / 2


@dataclass(frozen=True, slots=True)
class Stamp:
    """What makes one message of an exchange: its id and its moment."""

    message_id: str
    at: datetime


def build_discover(
    base_url: str,
    party: BecknParty,
    stamp: Stamp,
    *,
    transaction_id: str,
    least_renewable_pct: int = 0,
    text: str = "Grid flexibility windows",
) -> Request:
    """Ask for every window with at least that share of renewables."""
    expression = (
        f"$[?(@.beckn:itemAttributes.beckn:gridParameters.renewableMix >= {least_renewable_pct})]"
    )
    message = {
        "text_search": text,
        "filters": {"type": "jsonpath", "expression": expression},
    }
    context = _context("discover", party, stamp, transaction_id)
    context["schema_context"] = [ENERGY_CONTEXT]
    return _request(base_url, "discover", context, message)


def build_select(base_url: str, party: BecknParty, stamp: Stamp, draft: OrderDraft) -> Request:
    """Ask for a quote; binds nobody."""
    order = {**_head(draft, "QUOTE_REQUESTED"), "beckn:orderItems": [_line(draft)]}
    return _order_request(base_url, _order_context("select", party, stamp, draft), order)


def build_init(base_url: str, party: BecknParty, stamp: Stamp, draft: OrderDraft) -> Request:
    """Give the order's details: the load, when, and for whom."""
    order = {
        **_head(draft, "INITIALIZED"),
        "beckn:invoice": _invoice(draft),
        "beckn:orderItems": [_line(draft)],
        "beckn:fulfillment": _fulfillment(draft, "PENDING"),
        "beckn:orderAttributes": _order_attributes(),
    }
    return _order_request(base_url, _order_context("init", party, stamp, draft), order)


def build_confirm(base_url: str, party: BecknParty, stamp: Stamp, draft: OrderDraft) -> Request:
    """Book the window; binds us once it is answered with on_confirm."""
    order = {
        **_head(draft, "PENDING"),
        "beckn:invoice": _invoice(draft),
        "beckn:orderItems": [_line(draft)],
        "beckn:fulfillment": _fulfillment(draft, "PENDING"),
        "beckn:orderAttributes": _order_attributes(),
        "beckn:payment": {
            "@context": ENERGY_CONTEXT,
            "@type": "beckn:ComputeEnergyPayment",
            "beckn:settlement": "next-billing-cycle",
        },
    }
    return _order_request(base_url, _order_context("confirm", party, stamp, draft), order)


def build_update(
    base_url: str,
    party: BecknParty,
    stamp: Stamp,
    draft: OrderDraft,
    *,
    shifted_kw: float,
    responds_to: str | None = None,
) -> Request:
    """Answer a change: load moved away (``shifted_kw`` above 0), or going on as ordered.

    Args:
        base_url: Address of the network.
        party: Who we are.
        stamp: Id and moment of the message.
        draft: The order.
        shifted_kw: Power that leaves the window; 0 acknowledges and goes on.
        responds_to: ``eventId`` of the provider's alert.
    """
    shifting = shifted_kw > 0
    action: dict[str, Any] = {
        "actionType": "workload_shift" if shifting else "continue_with_acknowledgement",
        "actionTimestamp": format_instant(stamp.at),
    }
    if shifting:
        action["loadReductionCommitment"] = {
            "loadReduction": shifted_kw / KW_PER_MW,
            "reductionUnit": "MW",
        }
    else:
        action["decision"] = {"decisionType": "continue_execution"}
    attributes = {
        "@context": ENERGY_CONTEXT,
        "@type": "beckn:ComputeEnergyOrder",
        "beckn:updateType": "flexibility_response" if shifting else "alert_acknowledgement",
        "beckn:updateTimestamp": format_instant(stamp.at),
    }
    if responds_to is not None:
        attributes["beckn:responseToEvent"] = responds_to
    fulfillment = _fulfillment(draft, "IN_PROGRESS")
    fulfillment["beckn:deliveryAttributes"] = {
        "@context": ENERGY_CONTEXT,
        "@type": "beckn:ComputeEnergyFulfillment",
        "beckn:flexibilityAction": action,
    }
    order = {
        **_head(draft, "IN_PROGRESS"),
        "beckn:fulfillment": fulfillment,
        "beckn:orderAttributes": attributes,
    }
    return _order_request(base_url, _order_context("update", party, stamp, draft), order)


def build_status(base_url: str, party: BecknParty, stamp: Stamp, draft: OrderDraft) -> Request:
    """Ask how an order stands; a pending on_update may come as the answer."""
    order = {"beckn:id": draft.order_id}
    return _order_request(base_url, _order_context("status", party, stamp, draft), order)


def build_cancel(
    base_url: str, party: BecknParty, stamp: Stamp, draft: OrderDraft, *, reason: str
) -> Request:
    """Give an order up."""
    order = {
        **_head(draft, "CANCELLED"),
        "beckn:orderAttributes": {
            "@context": ENERGY_CONTEXT,
            "@type": "beckn:ComputeEnergyOrder",
            "beckn:cancellationReason": reason,
        },
    }
    return _order_request(base_url, _order_context("cancel", party, stamp, draft), order)


def build_rating(
    base_url: str,
    party: BecknParty,
    stamp: Stamp,
    draft: OrderDraft,
    *,
    value: int,
    comments: str = "",
    tags: Sequence[str] = (),
) -> Request:
    """Rate a finished order, 1 to 5."""
    message = {
        "id": draft.order_id,
        "value": value,
        "best": 5,
        "worst": 1,
        "category": "grid_service",
        "feedback": {"comments": comments, "tags": list(tags)},
    }
    context = _order_context("rating", party, stamp, draft)
    return _request(base_url, "rating", context, message)


def build_support(base_url: str, party: BecknParty, stamp: Stamp, draft: OrderDraft) -> Request:
    """Ask whom to call about an order."""
    context = _order_context("support", party, stamp, draft)
    return _request(base_url, "support", context, {"ref_id": draft.order_id, "ref_type": "order"})


def _order_request(base_url: str, context: dict[str, Any], order: dict[str, Any]) -> Request:
    return _request(base_url, context["action"], context, {"order": order})


def _order_context(
    action: str, party: BecknParty, stamp: Stamp, draft: OrderDraft
) -> dict[str, Any]:
    context = _context(action, party, stamp, draft.transaction_id)
    context["bpp_id"] = draft.terms.bpp_id
    context["bpp_uri"] = draft.terms.bpp_uri or party.bpp_uri
    context["schema_context"] = [ENERGY_CONTEXT]
    return context


def _context(action: str, party: BecknParty, stamp: Stamp, transaction_id: str) -> dict[str, Any]:
    return {
        "version": VERSION,
        "action": action,
        "domain": DOMAIN,
        "timestamp": format_instant(stamp.at),
        "message_id": stamp.message_id,
        "transaction_id": transaction_id,
        "bap_id": party.bap_id,
        "bap_uri": party.bap_uri,
        "ttl": f"PT{party.ttl_s}S",
    }


def _request(
    base_url: str, action: str, context: dict[str, Any], message: dict[str, Any]
) -> Request:
    return Request(
        source=Source.BECKN.value,
        endpoint=f"on-{action}",
        method="POST",
        url=f"{base_url.rstrip('/')}/{action}",
        headers=HEADERS,
        body=orjson.dumps({"context": context, "message": message}),
    )


def _head(draft: OrderDraft, status: str) -> dict[str, Any]:
    return {
        "@context": CORE_CONTEXT,
        "@type": "beckn:Order",
        "beckn:id": draft.order_id,
        "beckn:orderStatus": status,
        "beckn:seller": draft.terms.seller,
        "beckn:buyer": draft.buyer,
    }


def _line(draft: OrderDraft) -> dict[str, Any]:
    terms = draft.terms
    line: dict[str, Any] = {
        "@type": "beckn:OrderItem",
        "beckn:lineId": f"{draft.order_id}-1",
        "beckn:orderedItem": terms.item_id,
        "beckn:quantity": 1,
        "beckn:acceptedOffer": {
            "@context": CORE_CONTEXT,
            "@type": "beckn:Offer",
            "beckn:id": terms.offer_id,
            "beckn:provider": terms.seller,
            "beckn:items": [terms.item_id],
            "beckn:price": {"currency": terms.currency, "price": terms.price_per_kwh},
            "beckn:offerAttributes": {
                "@context": ENERGY_CONTEXT,
                "@type": "beckn:ComputeEnergyPricing",
                "beckn:unit": "per_kWh",
                "beckn:priceStability": terms.price_stability or "variable",
            },
        },
    }
    if terms.slot_id is not None:
        line["beckn:orderItemAttributes"] = {
            "@context": ENERGY_CONTEXT,
            "@type": "beckn:ComputeEnergyWindow",
            "beckn:slotId": terms.slot_id,
        }
    return line


def _invoice(draft: OrderDraft) -> dict[str, Any]:
    return {
        "@context": CORE_CONTEXT,
        "@type": "schema:Invoice",
        "schema:customer": {"legalName": draft.buyer},
    }


def _fulfillment(draft: OrderDraft, status: str) -> dict[str, Any]:
    terms = draft.terms
    return {
        "@context": CORE_CONTEXT,
        "@type": "beckn:Fulfillment",
        "beckn:id": f"{draft.order_id}-fulfillment",
        "beckn:mode": "GRID-BASED",
        "beckn:status": status,
        "beckn:deliveryAttributes": {
            "@context": ENERGY_CONTEXT,
            "@type": "beckn:ComputeEnergyFulfillment",
            "beckn:computeLoad": draft.peak_kw / KW_PER_MW,
            "beckn:computeLoadUnit": "MW",
            "beckn:timeWindow": {
                "start": format_instant(terms.starts_at),
                "end": format_instant(terms.ends_at),
            },
            "beckn:workloadMetadata": {
                "workloadType": "DEFERRABLE_BATCH",
                "workloadId": draft.order_id,
                "energyKWh": draft.energy_kwh,
            },
        },
    }


def _order_attributes() -> dict[str, Any]:
    return {
        "@context": ENERGY_CONTEXT,
        "@type": "beckn:ComputeEnergyOrder",
        "beckn:requestType": "compute_slot_reservation",
        "beckn:priority": "medium",
        "beckn:flexibilityLevel": "high",
    }
