"""Rows of the database turned into answers: one line a thing, figures as numbers. Pure.

These are what ``--json`` and ``--csv`` give; ``agents.pages`` writes them for a terminal.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any

from agents.core.audit import RELEASES
from schema.messages import Performative
from schema.periods import HALF_HOUR, parse_instant

Row = Mapping[str, Any]


def conversations(negotiations: Sequence[Row]) -> list[dict[str, Any]]:
    """One line a conversation, in the order they were held."""
    groups: dict[str, list[Row]] = {}
    for row in in_order(negotiations):
        groups.setdefault(row["conversation_id"], []).append(row)
    lines = []
    for name, rows in groups.items():
        calls = [row for row in rows if row["performative"] == Performative.CFP]
        last = calls[-1] if calls else rows[-1]
        content = last["content"]
        lines.append(
            {
                "conversation": name,
                "at": last["sent_at"],
                "why": content.get("why") or content.get("reason"),
                "workloads": content.get("workloads"),
                "rounds": sum(not _is_settled(row) for row in calls),
                "messages": len(rows),
                "accepted": _count(rows, Performative.ACCEPT_PROPOSAL),
                "rejected": _count(rows, Performative.REJECT_PROPOSAL),
                "cost_gbp": last["cost_gbp"],
                "bound_gbp": last["bound_gbp"],
                "gap": last["gap"],
            }
        )
    return lines


def in_order(negotiations: Sequence[Row]) -> list[Row]:
    """Give messages as they were said."""
    return sorted(
        negotiations,
        key=lambda row: (instant(row["sent_at"]), row["conversation_id"], row["sequence"]),
    )


def rounds(rows: Sequence[Row]) -> list[dict[str, Any]]:
    """How one conversation converged, round by round; the last one settles it.

    ``below_cost_gbp`` is how far the bound of a round lies below the cost of the outcome.
    ``refusing`` counts all workloads that would rather be refused at the round's prices. Figures
    that the log does not hold of a round are None.
    """
    calls = [row for row in rows if row["performative"] == Performative.CFP]
    answers = {
        row["round"]: row["content"].get("refusing")
        for row in rows
        if row["performative"] == Performative.PROPOSE and row["workload_name"] is None
    }
    cost = calls[-1]["cost_gbp"] if calls else None
    return [
        {
            "round": row["round"],
            "call": _phase(row),
            "bound_gbp": row["bound_gbp"],
            "below_cost_gbp": None
            if cost is None or row["bound_gbp"] is None
            else cost - row["bound_gbp"],
            "cost_gbp": row["cost_gbp"],
            "gap": row["gap"],
            "most_wanted": row["content"].get("most_wanted"),
            "overfull": row["content"].get("overfull"),
            "mean_mu_gbp_per_kwh": row["content"].get("mean_mu_gbp_per_kwh"),
            "max_mu_gbp_per_kwh": row["content"].get("max_mu_gbp_per_kwh"),
            "refusing": None if _is_settled(row) else answers.get(row["round"]),
            "price_table": row["content"].get("price_table"),
            "supply_table": row["content"].get("supply_table"),
        }
        for row in calls
    ]


def _phase(row: Row) -> str:
    if _is_settled(row):
        return "settled"
    return "sample" if row["content"].get("sampled") else "prices"


def _is_settled(row: Row) -> bool:
    return "mu_q" in row["content"]


def says(row: Row) -> str:
    """One sentence for one message."""
    content = row["content"]
    match row["performative"]:
        case Performative.CFP if _is_settled(row):
            return (
                f"settled: {content.get('workloads')} workloads cost {_money(row['cost_gbp'])}; no "
                f"schedule can cost less than {_money(row['bound_gbp'])}"
            )
        case Performative.CFP:
            return f"who would do what? bound so far {_money(row['bound_gbp'])}"
        case Performative.PROPOSE if row["workload_name"] is None:
            return (
                f"{content.get('energy_kwh', 0):,.0f} kWh, at most {content.get('peak_kw', 0):,.0f}"
                f" kW; {content.get('refusing', 0)} would rather be refused"
            )
        case Performative.PROPOSE:
            return f"asks for {_wish(content)}"
        case Performative.ACCEPT_PROPOSAL:
            return f"runs {_where(content)}; {_paid(row)}; {content.get('why', '')}"
        case Performative.INFORM | Performative.FAILURE:
            parts = (content.get("what"), content.get("reason"))
            return ": ".join(str(part) for part in parts if part)
        case _:
            return str(content.get("reason", ""))


def schedule(rows: Sequence[Row], releases: Sequence[Row] = ()) -> list[dict[str, Any]]:
    """The schedule that stands: of each workload the rows of its highest revision.

    Args:
        rows: Of ``workload_schedules``.
        releases: Messages that gave a place back; a revision up to theirs stands no more, but for
            what they say is kept.
    """
    highest: dict[tuple[str, str], int] = {}
    for row in rows:
        key = (row["agent_name"], row["workload_name"])
        highest[key] = max(highest.get(key, -1), row["revision"])
    gone = given_back(releases)
    standing = [
        row
        for row in rows
        if (key := (row["agent_name"], row["workload_name"]))
        and highest[key] == row["revision"] > gone.get(key, -1)
    ]
    standing.sort(
        key=lambda row: (instant(row["starts_at"]), row["agent_name"], row["workload_name"])
    )
    return [
        {
            "agent": row["agent_name"],
            "workload": row["workload_name"],
            "region": row["region_id"],
            "asset_agent": row["asset_agent_name"],
            "asset": row["asset_name"],
            "starts_at": row["starts_at"],
            "ends_at": row["ends_at"],
            "supply": row["window_item_id"] or "grid",
            "power_kw": row["power_kw"],
            "energy_kwh": row["energy_kwh"],
            "gco2_forecast": row["gco2_forecast"],
            "gco2_rescored": row["gco2_rescored"],
            "energy_cost_gbp": row["energy_cost_gbp"],
            "congestion_gbp": row["congestion_gbp"],
        }
        for row in standing
    ]


def given_back(messages: Sequence[Row]) -> dict[tuple[str, str], int]:
    """Give the workloads whose place was given back whole, and up to which revision."""
    gone: dict[tuple[str, str], int] = {}
    for message in messages:
        content = message["content"]
        if message["performative"] in RELEASES and content.get("segments") == []:
            key = (message["workload_agent"], message["workload_name"])
            gone[key] = max(gone.get(key, -1), content["revision"])
    return gone


def sources(logs: Sequence[Row], fetchers: Sequence[Row] = ()) -> list[dict[str, Any]]:
    """How each source has been doing.

    Args:
        logs: Of requests.
        fetchers: Rows of ``agents``; in a live run their ``capabilities`` say how the source is
            now, in a replay nothing.
    """
    groups: dict[str, list[Row]] = {}
    for row in logs:
        groups.setdefault(row["source"], []).append(row)
    told = {
        told["source"]: told | {"status": row["status"], "heard_at": row["last_heartbeat_at"]}
        for row in fetchers
        if (told := row["capabilities"]) and "source" in told
    }
    lines = []
    for name in sorted(groups.keys() | told.keys()):
        rows, now = groups.get(name, []), told.get(name, {})
        good = [row for row in rows if row["outcome"] in {"ok", "not_modified"}]
        bad = [row for row in rows if row["error"]]
        lines.append(
            {
                "source": name,
                "requests": len(rows),
                "ok": len(good),
                "last_success": max((row["requested_at"] for row in good), default=None)
                or now.get("last_success"),
                "rows": sum(row["rows_parsed"] for row in rows),
                "rejected": sum(row["rows_rejected"] for row in rows),
                "fallbacks": sum(bool(row["fallback"]) for row in rows),
                "last_error": max(bad, key=lambda row: row["requested_at"])["error"]
                if bad
                else None,
                "fetcher": now.get("status"),
                "heard_at": now.get("heard_at"),
                "lag_s": now.get("lag_s"),
                "breaker": now.get("breaker"),
                "next_due": now.get("next_due"),
                "skipped_slots": now.get("skipped_slots"),
            }
        )
    return lines


# -- words ------------------------------------------------------------------------------------


def instant(value: object) -> datetime:
    """Read an instant as the database gives it."""
    return value if isinstance(value, datetime) else parse_instant(str(value))


def clock(value: object) -> str:
    """Write an instant for a reader: ``03 Feb 15:00``, UTC."""
    return f"{instant(value):%d %b %H:%M}"


def span(starts_at: object, ends_at: object) -> str:
    """Write an interval for a reader; the day is told once where it can be."""
    start, end = instant(starts_at), instant(ends_at)
    last = f"{end:%H:%M}" if start.date() == end.date() else f"{end:%d %b %H:%M}"
    return f"{clock(start)} to {last}"


def _count(rows: Sequence[Row], performative: Performative) -> int:
    return sum(row["performative"] == performative for row in rows)


def _money(value: float | None) -> str:
    # Rounding may leave a minus before nothing.
    return "an unknown sum" if value is None else f"{round(value, 2) + 0.0:,.2f} GBP"


def _paid(row: Row) -> str:
    content = row["content"]
    parts = (
        ("energy", row["energy_cost_gbp"]),
        ("carbon", content.get("carbon_gbp")),
        ("congestion", row["congestion_gbp"]),
    )
    split = ", ".join(f"{name} {round(sum_, 2) + 0.0:,.2f}" for name, sum_ in parts if sum_)
    return f"pays {_money(content.get('paid_gbp'))}{f' ({split})' if split else ''}"


def _wish(content: Row) -> str:
    start = instant(content["starts_at"])
    return f"{span(start, start + content['periods'] * HALF_HOUR)} at {content['site']}"


def _where(content: Row) -> str:
    parts = []
    for segment in content.get("segments", ()):
        supply = f" on window {segment['window']}" if segment["window"] else ""
        when = span(segment["starts_at"], segment["ends_at"])
        parts.append(f"{when} at {segment['site']}{supply}")
    return ", then ".join(parts) if parts else "nowhere"
