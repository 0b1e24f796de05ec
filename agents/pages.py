"""Answers laid out for a terminal of 100 columns: what a person wants to see first. Pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from agents.core.audit import AuditReport
from agents.stories import clock, instant, says, span
from schema.regions import region

Row = Mapping[str, Any]
Line = dict[str, Any]

_DURATIONS_H = (1, 2, 4, 8)


def run_title(run: Row) -> str:
    """Name a run in a line."""
    what = run["scenario"] or run["kind"]
    seed = "" if run["seed"] is None else f", seed {run['seed']}"
    at = "" if run["clock_at"] is None else f", clock {instant(run['clock_at']):%Y-%m-%d %H:%M}Z"
    return f"run {str(run['id'])[:8]} ({what}{seed}, {run['state']}{at}); times are UTC"


def runs(rows: Sequence[Row]) -> list[Line]:
    """One line a run."""
    return [_run(row, row["summary"] or {}) for row in rows]


def _run(row: Row, summary: Row) -> Line:
    work = summary.get("workloads") or {}
    return {
        "run": str(row["id"])[:8],
        "what": row["scenario"] or row["kind"],
        "seed": None if row["seed"] is None else str(row["seed"]),
        "state": row["state"],
        "placed": f"{work['awarded']} of {work['registered']}" if work else None,
        "CO2 avoided": _percent((summary.get("carbon") or {}).get("avoided_pct")),
        "worst gap": _percent((summary.get("negotiation") or {}).get("worst_gap"), 100.0),
        "digest": (row["digest"] or "")[:8],
        "launched": _day(row["recorded_at"]),
    }


def conversations(lines: Sequence[Row]) -> list[Line]:
    """One line a conversation."""
    return [
        {
            "id": line["conversation"],
            "at": clock(line["at"]),
            "why": line["why"],
            "workloads": line["workloads"],
            "rounds": line["rounds"],
            "messages": line["messages"],
            "placed or moved": line["accepted"],
            "refused": line["rejected"],
            "cost GBP": line["cost_gbp"],
            "bound GBP": line["bound_gbp"],
            "gap": _percent(line["gap"], 100.0),
        }
        for line in lines
    ]


def rounds(lines: Sequence[Row]) -> list[Line]:
    """One line a round; price tables are told apart by the first letters of their hashes."""
    return [
        {
            "round": line["round"],
            "call": line["call"],
            "bound GBP": line["bound_gbp"],
            "below the cost": line["below_cost_gbp"],
            "cost GBP": line["cost_gbp"],
            "gap": _percent(line["gap"], 100.0),
            "fullest cell": _percent(line["most_wanted"], 100.0),
            "overfull cells": line["overfull"],
            "mean congestion": line["mean_mu_gbp_per_kwh"],
            "refusing": line["refusing"],
            "prices": (line["price_table"] or "")[:8],
        }
        for line in lines
    ]


def messages(rows: Sequence[Row], *, about_one: bool = False) -> list[Line]:
    """One line a message; ``about_one`` workload leaves its name out."""
    lines = []
    for row in rows:
        place = f"{row['conversation_id']}.{row['sequence']}" if about_one else row["sequence"]
        name = row["workload_name"]
        words = says(row) if about_one or name is None else f"{name}: {says(row)}"
        lines.append(
            {
                "no.": place,
                **({"at": clock(row["sent_at"])} if about_one else {"round": row["round"]}),
                "who": row["sender"],
                "performative": row["performative"],
                "says": words,
            }
        )
    return lines


def schedule(lines: Sequence[Row]) -> list[Line]:
    """One line a segment."""
    return [
        {
            "workload": line["workload"],
            "runs": span(line["starts_at"], line["ends_at"]),
            "at": line["asset"]
            if line["asset_agent"] == line["agent"]
            else f"{line['asset_agent']}/{line['asset']}",
            "region": region(line["region"]).short_name,
            "supply": line["supply"],
            "kW": line["power_kw"],
            "kg CO2": None if line["gco2_forecast"] is None else line["gco2_forecast"] / 1000.0,
            "energy GBP": line["energy_cost_gbp"],
            "congestion GBP": line["congestion_gbp"],
        }
        for line in lines
    ]


def workload(row: Row, segments: Sequence[Row]) -> dict[str, str]:
    """What one workload asked for, got, and saved; ``segments`` are those that stand."""
    home = row["baseline_region_id"] or row["home_region_id"]
    pieces = "may be interrupted" if row["interruptible"] else "in one piece"
    facts = {
        "agent": row["agent_name"],
        "id": str(row["id"]),
        "status": row["status"] + (f": {row['status_reason']}" if row["status_reason"] else ""),
        "work": f"{row['power_kw']:g} kW for {row['duration_min']} min, {pieces}, priority "
        f"{row['priority']}",
        "may run": f"{span(row['earliest_start'], row['deadline'])}, in "
        + ", ".join(region(number).short_name for number in row["allowed_regions"]),
        "runs": "; ".join(_segment(segment) for segment in segments) or "nowhere",
        "carbon": _against(
            [_kg(item["gco2_forecast"]) for item in segments], _kg(row["baseline_gco2"]), "kg CO2"
        ),
        "published later": _against(
            [_kg(item["gco2_rescored"]) for item in segments],
            _kg(row["baseline_rescored_gco2"]),
            "kg CO2",
        ),
        "energy cost": _against(
            [item["energy_cost_gbp"] for item in segments], row["baseline_cost_gbp"], "GBP"
        ),
    }
    if home is not None and row["baseline_starts_at"] is not None:
        facts["baseline"] = f"from {clock(row['baseline_starts_at'])} in {region(home).short_name}"
    if row["refusal_value_gbp"] is not None:
        facts["pays at most"] = f"{row['refusal_value_gbp']:,.2f} GBP"
    return facts


def _segment(row: Row) -> str:
    supply = "the grid" if row["window_item_id"] is None else f"window {row['window_item_id']}"
    site = f"{row['asset_agent_name']}/{row['asset_name']}"
    return (
        f"{span(row['starts_at'], row['ends_at'])} at {site} "
        f"({region(row['region_id']).short_name}) from {supply}"
    )


def _against(parts: Sequence[float | None], baseline: float | None, unit: str) -> str:
    """Compare a schedule with running at once at home."""
    known = [part for part in parts if part is not None]
    if not known or len(known) < len(parts) or baseline is None:
        return "not known"
    total = sum(known)
    text = f"{total:,.3f} {unit} against {baseline:,.3f} at once at home"
    if baseline <= 0:
        return text
    less = round(100 * (1 - total / baseline))
    return f"{text}, {abs(less)} % {'less' if less >= 0 else 'more'}"


def grid_status(row: Row) -> dict[str, str]:
    """The national conditions of the moment."""
    facts = {"now": _day(row["now_at"]) or "unknown"}
    facts["carbon intensity"] = _figure(
        row["forecast_gco2_per_kwh"], "gCO2/kWh forecast", row["valid_from"]
    ) + (f", {row['intensity_index']}" if row["intensity_index"] else "")
    facts["last actual"] = _figure(row["actual_gco2_per_kwh"], "gCO2/kWh", row["actual_valid_from"])
    market = f" ({row['price_market']}, {row['price_quality']})" if row["price_market"] else ""
    facts["price"] = _figure(row["price_gbp_per_mwh"], "GBP/MWh", row["price_valid_from"]) + market
    facts["demand"] = _figure(row["national_demand_mw"], "MW", row["demand_valid_from"])
    facts["renewable"] = _figure(row["renewable_pct"], "%", row["mix_valid_from"])
    facts["zero carbon"] = _figure(row["zero_carbon_pct"], "%", row["mix_valid_from"])
    if mix := row["generation_mix_pct"]:
        ranked = sorted(mix.items(), key=lambda item: -item[1])
        facts["mix"] = ", ".join(f"{fuel} {share:g} %" for fuel, share in ranked if share)
    return facts


def _figure(value: float | None, unit: str, at: object) -> str:
    if value is None:
        return "unknown"
    return f"{round(value, 1):,} {unit}" + (f" at {clock(at)}" if at is not None else "")


def grid_regions(rows: Sequence[Row], objective: str) -> list[Line]:
    """One line a region: when its best stretch of each length starts, and how good it is."""
    column = "intensity_gco2_per_kwh" if objective == "carbon" else "price_gbp_per_mwh"
    best: dict[int, dict[int, Row]] = {}
    for row in rows:
        if row["objective"] == objective and row[column] is not None:
            best.setdefault(row["region_id"], {})[row["duration_hours"]] = row
    ordered = sorted(best.items(), key=lambda item: min(row[column] for row in item[1].values()))
    return [
        {
            "region": region(number).short_name,
            **{
                f"{hours} h": _stretch(found[hours], column) if hours in found else None
                for hours in _DURATIONS_H
            },
            "free kW": None if 1 not in found else found[1]["free_capacity_kw"],
        }
        for number, found in ordered
    ]


def _stretch(row: Row, column: str) -> str:
    return f"{instant(row['starts_at']):%a %H:%M} {round(row[column], 1) + 0.0:>7,.1f}"


def sources(lines: Sequence[Row]) -> list[Line]:
    """One line a source; how it is now only where somebody is asking it."""
    live = any(line["fetcher"] is not None for line in lines)
    return [
        {
            "source": line["source"],
            "requests": line["requests"],
            "ok": line["ok"],
            "last success": None if line["last_success"] is None else clock(line["last_success"]),
            **(_now(line) if live else {}),
            "rows": line["rows"],
            "rejected": line["rejected"],
            "fallbacks": line["fallbacks"],
            "last error": line["last_error"],
        }
        for line in lines
    ]


def _now(line: Row) -> Line:
    """How a source is now."""
    return {
        "fetcher": line["fetcher"],
        "heard": None if line["heard_at"] is None else f"{instant(line['heard_at']):%H:%M:%S}",
        "lag s": line["lag_s"],
        "breaker": line["breaker"],
        "next due": None if line["next_due"] is None else f"{instant(line['next_due']):%H:%M:%S}",
    }


def api_logs(rows: Sequence[Row]) -> list[Line]:
    """One line a request; a column of errors only where there is one."""
    troubled = any(row["error"] for row in rows)
    return [
        {
            "at": f"{instant(row['requested_at']):%d %b %H:%M:%S}",
            "source": row["source"],
            "endpoint": row["endpoint"],
            "HTTP": row["http_status"],
            "outcome": row["outcome"] + (" (fallback)" if row["fallback"] else ""),
            "try": row["attempt"],
            "ms": row["duration_ms"],
            "bytes": row["response_bytes"],
            "rows": row["rows_parsed"],
            "rejected": row["rows_rejected"],
            **({"error": row["error"]} if troubled else {}),
        }
        for row in rows
    ]


def audit(report: AuditReport) -> list[str]:
    """What was looked at, and each violation with its rows."""
    looked_at = (
        f"{report.messages} messages of {report.conversations} conversations rebuild the contracts "
        f"of {report.awarded} of {report.workloads} workloads; {report.cells} cells (half hours of "
        "a site) were checked."
    )
    if not report.violations:
        return [looked_at, "No violation: the log explains the schedule and breaks no rule."]
    count = len(report.violations)
    lines = [looked_at, f"{count} violation{'s' if count > 1 else ''}:"]
    for item in report.violations:
        lines += [
            f"  rule {item.rule}, {item.title}",
            f"    {item.detail}",
            f"    {item.table}: {' '.join(item.rows)}",
        ]
    return lines


# -- small pieces -----------------------------------------------------------------------------


def _day(value: object) -> str | None:
    return None if value is None else f"{instant(value):%Y-%m-%d %H:%M}"


def _percent(value: float | None, scale: float = 1.0) -> str | None:
    return None if value is None else f"{round(value * scale, 2) + 0.0:.2f} %"


def _kg(grams: float | None) -> float | None:
    return None if grams is None else grams / 1000.0
