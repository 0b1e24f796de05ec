"""Rows of NESO's flexibility files: DFS bids and summary, EAC results."""

from __future__ import annotations

from datetime import datetime, timedelta

from scenarios.publication import Published
from scenarios.synth.flexibility import DfsBid
from schema.periods import HALF_HOUR, LONDON

Value = str | int | float | None
Rows = list[list[Value]]
_AFTER_GATE = timedelta(hours=1)
_SETTLED_AFTER = timedelta(days=5)


def _out(out: Published) -> list[DfsBid]:
    """Give the bids that are out: about an hour before delivery, after gate closure."""
    bids = out.scenario.flexibility.dfs
    return [bid for bid in bids if bid.starts_at - _AFTER_GATE <= out.now]


def dfs_modified(out: Published) -> datetime:
    """Give when the DFS files last changed; months may pass without an event."""
    moments = [bid.starts_at - _AFTER_GATE for bid in _out(out)]
    return max(moments, default=out.scenario.axis.origin)


def _event(bid: DfsBid) -> list[Value]:
    end = bid.starts_at + HALF_HOUR
    local, local_end = bid.starts_at.astimezone(LONDON), end.astimezone(LONDON)
    return [
        bid.event,
        "Downwards",
        "DFS",
        local.strftime("%d/%m/%Y"),
        local.strftime("%H:%M"),
        local_end.strftime("%H:%M"),
        bid.starts_at.strftime("%H:%M"),
        end.strftime("%H:%M"),
    ]


def dfs_bid_rows(out: Published) -> Rows:
    """Give every bid; procured MW is filled on rejected ones too, as in the source."""
    return [
        [
            *_event(bid),
            bid.participant,
            bid.unit,
            bid.zone,
            float(bid.procured_mw),
            "Live",
            bid.price_pence / 100,
            "Accepted" if bid.accepted else "Rejected",
        ]
        for bid in _out(out)
    ]


def dfs_summary_rows(out: Published) -> Rows:
    """Give one row an event; settled figures are 0 until settlement."""
    events: dict[str, list[DfsBid]] = {}
    for bid in _out(out):
        events.setdefault(bid.event, []).append(bid)
    rows: Rows = []
    for bids in events.values():
        accepted = [bid for bid in bids if bid.accepted]
        megawatts = sum(bid.procured_mw for bid in accepted)
        pence = sum(bid.procured_mw * bid.price_pence for bid in accepted)
        settled = bids[0].starts_at + _SETTLED_AFTER <= out.now
        rows.append(
            [
                *_event(bids[0]),
                "Live",
                float(sum(bid.procured_mw for bid in bids)),
                float(megawatts),
                pence / 200,
                megawatts * 0.45 if settled else 0.0,
                round(pence * 0.9) / 200 if settled else 0.0,
            ]
        )
    return rows


def eac_rows(out: Published) -> Rows:
    """Give auction results that are out; times have no zone and are UTC."""
    return [
        [
            result.auction,
            result.product,
            result.service,
            result.starts_at.strftime("%Y-%m-%dT%H:%M:%S"),
            result.ends_at.strftime("%Y-%m-%dT%H:%M:%S"),
            float(result.volume_mw),
            result.price_pence / 100,
            f"LSW-{result.starts_at:%Y%m%d%H%M}",
        ]
        for result in out.scenario.flexibility.eac
        if result.published_at <= out.now
    ]
