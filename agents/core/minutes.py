"""The minutes of a conversation: what was said goes to the log, what was decided to the digest.

Everything written here is public: totals of organisations, prices, places. No cost that an agent
keeps to itself passes through.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import asdict
from datetime import datetime, timedelta
from typing import Any

import numpy as np

from agents.core.awards import Awarder
from agents.core.digest import RunDigest, table_hash
from agents.core.ledger import Contract, Segment, State
from agents.core.log import ConversationLog, gbp
from agents.core.market.convergence import pressure
from agents.core.market.discovery import Round
from agents.core.market.outcome import Outcome
from agents.core.market.problem import Market
from agents.core.market.units import Ints
from agents.core.view import GridView, Site
from schema.messages import Performative
from schema.orders import OrderOutcome, OrderResult
from schema.periods import format_instant, half_hour_start

REPLY_WITHIN = timedelta(seconds=30)
"""Informational in a replay, where the clock stands still during a conversation."""


class Minutes:
    """Log and digest of one conversation.

    Args:
        conversation_id: Its number, as text.
        why: What it is held for.
        people: Who takes part.
        view: What the market is made of; its origin is the first half hour on offer.
        periods: Half hours on offer.
        now: The run's clock.
        digest: Takes every decision.
    """

    def __init__(
        self,
        conversation_id: str,
        why: str,
        people: Sequence[Contract],
        view: GridView,
        periods: int,
        now: datetime,
        digest: RunDigest,
    ) -> None:
        self._id, self._why, self._people, self._view = conversation_id, why, people, view
        self._digest = digest
        self.log = ConversationLog(
            conversation_id,
            sent_at=now,
            reply_by=now + REPLY_WITHIN,
            on_synthetic=view.on_synthetic(periods),
        )

    def rounds(self, outcome: Outcome, awarder: Awarder) -> None:
        """Write every call and its answers, and after the first what each first wished."""
        best: int | None = None
        for current in outcome.rounds:
            if not current.sampled:
                best = current.bound_nano if best is None else max(best, current.bound_nano)
            mu, supply = table_hash(current.prices.mu_q), table_hash(current.prices.supply_q)
            self.log.call(
                current.number,
                {
                    "why": self._why,
                    "price_table": mu,
                    "supply_table": supply,
                    "sampled": current.sampled,
                    **asdict(pressure(current, outcome.market.capacity_w, outcome.energy_w)),
                },
                bound_gbp=None if best is None else gbp(best),
            )
            self._answers(current)
            if current.number == 1:
                self._wishes(awarder)
            self._digest.add("cfp", self._id, current.number, current.bound_nano, mu, supply)

    def _answers(self, current: Round) -> None:
        for organisation in sorted(current.loads_by_organisation):
            loads = current.loads_by_organisation[organisation]
            self.log.answer(
                current.number,
                organisation,
                {
                    "energy_kwh": int(loads.sum()) / 2000.0,
                    "peak_kw": int(loads.sum(axis=0).max(initial=0)) / 1000.0,
                    "refusing": current.refusing,
                },
            )

    def _wishes(self, awarder: Awarder) -> None:
        for contract in self._people:
            if contract.state is State.WAITING:
                wish = awarder.first_wish(contract)
                if wish is not None:
                    self.log.about(1, Performative.PROPOSE, contract, wish)

    def order(self, number: int, name: str, result: OrderResult) -> None:
        """Write what became of the order for a window."""
        booked = result.outcome is OrderOutcome.BOOKED
        self.log.window(
            number,
            Performative.INFORM if booked else Performative.FAILURE,
            result.order.bpp_id,
            {
                "what": f"window {name} is {result.outcome} for {result.order.organisation}",
                "reason": result.reason,
                "order_id": result.order_id,
                "energy_kwh": result.order.energy_kwh,
            },
        )
        load_w = [round(kw * 1000) for kw in result.order.load_kw]
        self._digest.add(
            "order", self._id, name, result.order.organisation, result.outcome.value, load_w
        )

    def settled(
        self,
        number: int,
        outcome: Outcome,
        *,
        sites: Sequence[Site],
        gross_w: Ints,
        closed_windows: Collection[str],
        carbon_value_gbp_per_kg: float,
    ) -> None:
        """Write the tables that the awards rest on: prices, supplies, capacities, windows.

        Args:
            number: Of the call that announces them.
            outcome: What was agreed.
            sites: All sites, in the order of the tables' rows.
            gross_w: [S, T] capacity before started work is taken off.
            closed_windows: Windows that were refused or withdrawn.
            carbon_value_gbp_per_kg: What a kilogram counts.
        """
        market = outcome.market
        content: dict[str, Any] = {
            "why": self._why,
            "workloads": outcome.workloads,
            "refused": outcome.refused,
            "per_cell": round(outcome.per_cell, 4),
            "gap_without_refused": outcome.gap_placed,
            "largest_w": max(contract.power_w for contract in self._people),
            "origin": format_instant(half_hour_start(self._view.origin)),
            "sites": [{"site": site.name, "region_id": site.region_id} for site in sites],
            "areas": [int(region) for region in np.unique(market.region_id)],
            "windows": self._windows(market, closed_windows),
            "carbon_value_gbp_per_kg": carbon_value_gbp_per_kg,
            "units": "prices 2^-32 GBP/kWh, power W",
            "grid_q": market.grid_q.tolist(),
            "supply_q": outcome.supply_q.tolist(),
            "mu_q": outcome.mu_q.tolist(),
            "capacity_w": gross_w.tolist(),
            "free_w": market.capacity_w.tolist(),
        }
        self.log.call(
            number,
            content,
            bound_gbp=gbp(outcome.bound_nano),
            cost_gbp=gbp(outcome.cost_nano),
            gap=outcome.gap,
        )
        self._digest.add(
            "settled",
            self._id,
            outcome.bound_nano,
            outcome.cost_nano,
            *(
                table_hash(table)
                for table in (market.grid_q, outcome.supply_q, outcome.mu_q, market.capacity_w)
            ),
        )

    def _windows(self, market: Market, closed: Collection[str]) -> list[dict[str, Any]]:
        """List every open window with what it offers to all work, and its value in the market."""
        value = {
            window.window_id: int(market.window_q[index])
            for index, window in enumerate(market.windows)
        }
        return [
            {
                "window": offer.window_id,
                "value_q": value.get(offer.window_id),
                "gross_w": offer.capacity_w,
            }
            for offer in self._view.windows
            if offer.unusable() is None and offer.window_id not in closed
        ]

    def awarded(self, contract: Contract, segments: tuple[Segment, ...]) -> None:
        """Take down where a workload stands, whether that is news or not."""
        self._placed("award", contract, segments)

    def switched(self, contract: Contract) -> None:
        """Take down that started work draws on another supply."""
        self._placed("switch", contract, contract.segments)

    def refused(self, contract: Contract) -> None:
        """Take down that a workload has no place."""
        self._digest.add("refuse", self._id, contract.organisation, contract.name)

    def _placed(self, what: str, contract: Contract, segments: tuple[Segment, ...]) -> None:
        places = [[item.site, item.first, item.periods, item.window_id] for item in segments]
        self._digest.add(what, self._id, contract.organisation, contract.name, places)
