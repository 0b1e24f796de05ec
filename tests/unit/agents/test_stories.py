"""What ``inspect`` says of a schedule whose places were given back, and of notices."""

from __future__ import annotations

from typing import Any

from agents.stories import conversations, schedule


def slot(name: str, revision: int, starts_at: str, ends_at: str) -> dict[str, Any]:
    return {
        "agent_name": "north",
        "workload_name": name,
        "revision": revision,
        "region_id": 1,
        "asset_agent_name": "north",
        "asset_name": "hall",
        "starts_at": f"2026-05-01T{starts_at}:00Z",
        "ends_at": f"2026-05-01T{ends_at}:00Z",
        "window_item_id": None,
        "power_kw": 5.0,
        "energy_kwh": 5.0,
        "gco2_forecast": 500.0,
        "gco2_rescored": None,
        "energy_cost_gbp": 0.5,
        "congestion_gbp": 0.0,
    }


def release(name: str, revision: int, *segments: str) -> dict[str, Any]:
    return {
        "conversation_id": "0002",
        "sequence": 0,
        "performative": "cancel",
        "workload_agent": "north",
        "workload_name": name,
        "sent_at": "2026-05-01T10:05:00Z",
        "cost_gbp": None,
        "bound_gbp": None,
        "gap": None,
        "content": {"reason": "cancelled", "segments": list(segments), "revision": revision},
    }


def test_what_was_given_back_stands_no_more() -> None:
    rows = [
        slot("a", 1, "11:00", "12:00"),
        slot("a", 2, "10:30", "11:30"),
        slot("b", 1, "12:00", "13:00"),
        # Placed again after its site had lost power.
        slot("c", 1, "13:00", "14:00"),
        slot("c", 2, "15:00", "16:00"),
        # Called off while it ran: what it has used stands.
        slot("d", 1, "09:00", "12:00"),
        slot("d", 2, "09:00", "10:30"),
    ]
    releases = [release("a", 2), release("c", 1), release("d", 2, "what it keeps")]
    standing = [(line["workload"], line["ends_at"][11:16]) for line in schedule(rows, releases)]
    assert standing == [("d", "10:30"), ("b", "13:00"), ("c", "16:00")]
    assert len(schedule(rows)) == 4


def test_a_conversation_of_notices_says_why_it_was() -> None:
    (line,) = conversations([release("a", 1)])
    assert (line["why"], line["messages"], line["rounds"]) == ("cancelled", 1, 0)
