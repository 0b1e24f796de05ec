"""Rows of the database turned into what a person wants to read. Pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from schema.messages import Performative

Row = Mapping[str, Any]


def conversations(negotiations: Sequence[Row]) -> list[dict[str, Any]]:
    """One line a conversation, in order."""
    groups: dict[str, list[Row]] = {}
    for row in sorted(negotiations, key=lambda row: (row["conversation_id"], row["sequence"])):
        groups.setdefault(row["conversation_id"], []).append(row)
    lines = []
    for name, rows in groups.items():
        calls = [row for row in rows if row["performative"] == Performative.CFP]
        settled = calls[-1] if calls else rows[-1]
        content = settled["content"]
        lines.append(
            {
                "conversation": name,
                "at": settled["sent_at"],
                "why": content.get("why"),
                "workloads": content.get("workloads"),
                "rounds": len({row["round"] for row in calls}),
                "messages": len(rows),
                "accepted": _count(rows, Performative.ACCEPT_PROPOSAL),
                "rejected": _count(rows, Performative.REJECT_PROPOSAL),
                "cost_gbp": settled["cost_gbp"],
                "bound_gbp": settled["bound_gbp"],
                "gap": settled["gap"],
            }
        )
    return lines


def rounds(rows: Sequence[Row]) -> list[dict[str, Any]]:
    """How the bound of one conversation rose, round by round."""
    return [
        {
            "round": row["round"],
            "bound_gbp": row["bound_gbp"],
            "cost_gbp": row["cost_gbp"],
            "gap": row["gap"],
            "price_table": str(row["content"].get("price_table", ""))[:12],
        }
        for row in rows
        if row["performative"] == Performative.CFP
    ]


def messages(rows: Sequence[Row]) -> list[dict[str, Any]]:
    """The messages of a conversation as a reader follows them."""
    return [
        {
            "sequence": row["sequence"],
            "round": row["round"],
            "performative": row["performative"],
            "sender": row["sender"],
            "receiver": row["receiver"],
            "workload": row["workload_name"],
            "says": says(row),
        }
        for row in rows
    ]


def says(row: Row) -> str:
    """One sentence for one message."""
    content = row["content"]
    match row["performative"]:
        case Performative.CFP if "mu_q" in content:
            return (
                f"settled: cost {_money(row['cost_gbp'])}, proven bound {_money(row['bound_gbp'])}"
            )
        case Performative.CFP:
            return f"who would do what at these prices? bound so far {_money(row['bound_gbp'])}"
        case Performative.PROPOSE if row["workload_name"] is None:
            return f"{content.get('energy_kwh', 0):,.0f} kWh placed, {content.get('refusing', 0)} would refuse"
        case Performative.PROPOSE:
            return f"would run {_where(content)}"
        case Performative.ACCEPT_PROPOSAL:
            return f"runs {_where(content)}; {content.get('why', '')}"
        case Performative.REJECT_PROPOSAL | Performative.REFUSE | Performative.FAILURE:
            return str(content.get("reason", ""))
        case _:
            return str(content.get("what", ""))


def schedule(rows: Sequence[Row]) -> list[dict[str, Any]]:
    """The schedule that stands: of each workload the rows of its highest revision."""
    highest: dict[tuple[str, str], int] = {}
    for row in rows:
        key = (row["agent_name"], row["workload_name"])
        highest[key] = max(highest.get(key, -1), row["revision"])
    standing = [
        row for row in rows if row["revision"] == highest[row["agent_name"], row["workload_name"]]
    ]
    standing.sort(key=lambda row: (row["starts_at"], row["agent_name"], row["workload_name"]))
    return [
        {
            "agent": row["agent_name"],
            "workload": row["workload_name"],
            "region": row["region_id"],
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


def sources(logs: Sequence[Row]) -> list[dict[str, Any]]:
    """How each source has been doing."""
    groups: dict[str, list[Row]] = {}
    for row in logs:
        groups.setdefault(row["source"], []).append(row)
    lines = []
    for name, rows in sorted(groups.items()):
        good = [row for row in rows if row["outcome"] in {"ok", "not_modified"}]
        bad = [row for row in rows if row["error"]]
        lines.append(
            {
                "source": name,
                "requests": len(rows),
                "ok": len(good),
                "last_success": max((row["requested_at"] for row in good), default=None),
                "rows": sum(row["rows_parsed"] for row in rows),
                "rejected": sum(row["rows_rejected"] for row in rows),
                "fallbacks": sum(bool(row["fallback"]) for row in rows),
                "last_error": max(bad, key=lambda row: row["requested_at"])["error"]
                if bad
                else None,
            }
        )
    return lines


def _count(rows: Sequence[Row], performative: Performative) -> int:
    return sum(row["performative"] == performative for row in rows)


def _money(value: float | None) -> str:
    return "unknown" if value is None else f"{value:,.2f} GBP"


def _where(content: Row) -> str:
    parts = []
    for segment in content.get("segments", ()):
        supply = f" on window {segment['window']}" if segment["window"] else ""
        parts.append(
            f"{segment['starts_at'][:16]}Z-{segment['ends_at'][11:16]}Z at {segment['site']}{supply}"
        )
    return ", then ".join(parts) if parts else "nowhere"
