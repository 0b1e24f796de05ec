"""From an outcome to contracts: who got which slot, at what price, and why; or why not."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from agents.core.accounting import Account, Figures, account_segment, add_up
from agents.core.ledger import Contract, Segment
from agents.core.log import ConversationLog, segment_content
from agents.core.market.outcome import Outcome
from agents.core.market.plans import Places
from agents.core.market.problem import GRID
from agents.core.market.units import NANO, Q
from agents.core.run_state import Booked, RunState
from schema.messages import Performative
from schema.periods import format_instant, half_hour_start

#: 0.5 h times 1 W at one price unit, in GBP.
_GBP_PER_QW = 1.0 / (2000.0 * Q)


@dataclass(frozen=True, slots=True)
class Offer:
    """A slot for one workload, valued."""

    segments: tuple[Segment, ...]
    accounts: tuple[Account, ...]
    posted_price_q: int
    paid_gbp: float

    @property
    def total(self) -> Account:
        """All segments together."""
        return add_up(self.accounts)


class Awarder:
    """Turns one conversation's outcome into words and figures.

    Args:
        outcome: Of the market.
        origin: Half-hour number of its period 0.
        state: Of the run.
        figures: Intensity and price of the time.
        carbon_value_gbp_per_kg: As the market was valued.
    """

    def __init__(
        self,
        outcome: Outcome,
        *,
        origin: int,
        state: RunState,
        figures: Figures,
        carbon_value_gbp_per_kg: float,
    ) -> None:
        self._outcome = outcome
        self._origin = origin
        self._state = state
        self._figures = figures
        self._carbon_value = carbon_value_gbp_per_kg
        self._windows = {
            window.window_id: index for index, window in enumerate(outcome.market.windows)
        }
        self._first = _first_choices(outcome)
        self._reasons = _reasons(outcome, origin)

    def placed(self) -> dict[int, tuple[Segment, ...]]:
        """Give every participant's segments by key; none for a refused one."""
        return {
            int(key): self._segments(places, position)
            for places in self._outcome.places
            for position, key in enumerate(places.key.tolist())
        }

    def offer(self, contract: Contract, segments: tuple[Segment, ...]) -> Offer:
        """Value a slot.

        What is paid is the posted price, capped at the value of not being refused: nobody pays
        more than being refused would cost it.
        """
        accounts = tuple(
            account_segment(
                segment,
                contract.power_w,
                self._state.sites[segment.site].region_id,
                self._figures,
            )
            for segment in segments
        )
        price_q = self._posted_price_q(segments)
        paid = min(price_q * contract.power_w * _GBP_PER_QW, contract.refusal_nano / NANO)
        return Offer(segments, accounts, price_q, paid)

    def accept(
        self, contract: Contract, offer: Offer, log: ConversationLog, number: int
    ) -> tuple[Booked, ...]:
        """Log the award; give its segments with what they cost."""
        total = offer.total
        carbon_gbp = (total.gco2 or 0.0) / 1000.0 * self._carbon_value
        energy_gbp = total.cost_gbp or 0.0
        congestion_gbp = offer.paid_gbp - energy_gbp - carbon_gbp
        content: dict[str, Any] = {
            "why": self._why(contract, offer),
            "segments": [self.segment(segment) for segment in offer.segments],
            "power_w": contract.power_w,
            "revision": contract.revision,
            "posted_price_q": offer.posted_price_q,
            "carbon_gbp": carbon_gbp,
            "paid_gbp": offer.paid_gbp,
        }
        log.about(
            number,
            Performative.ACCEPT_PROPOSAL,
            contract,
            content,
            energy_cost_gbp=energy_gbp,
            congestion_gbp=congestion_gbp,
            carbon_gco2=total.gco2,
        )
        return tuple(
            Booked(segment, account, congestion_gbp * account.energy_kwh / total.energy_kwh)
            for segment, account in zip(offer.segments, offer.accounts, strict=True)
        )

    def reason(self, contract: Contract) -> str:
        """Give the constraint that kept a workload out."""
        return self._reasons[contract.organisation, contract.key]

    def first_wish(self, contract: Contract) -> dict[str, Any] | None:
        """Give what a workload asked for at the first prices; None if it would refuse."""
        wish = self._first.get(contract.key)
        return None if wish is None else self._wish(contract, *wish)

    def wish(self, contract: Contract, site: int, start: int) -> dict[str, Any]:
        """Write a best response for a reader."""
        return self._wish(contract, site, start)

    # -- pieces ----------------------------------------------------------------------------------

    def _segments(self, places: Places, position: int) -> tuple[Segment, ...]:
        site = int(places.site[position])
        if site < 0:
            return ()
        windows = self._outcome.market.windows
        return tuple(
            Segment(
                site,
                self._origin + first,
                end - first,
                None if window == GRID else windows[window].window_id,
            )
            for first, end, window in places.segments(position)
        )

    def _posted_price_q(self, segments: tuple[Segment, ...]) -> int:
        """Sum of the posted prices of a slot's half hours.

        From the grid: its value and the congestion price. From a window: the supply price of the
        region, never below the window's own value, and the congestion price.
        """
        market, outcome = self._outcome.market, self._outcome
        total = 0
        for segment in segments:
            area = int(market.area[segment.site])
            for half_hour in range(segment.first, segment.end):
                period = half_hour - self._origin
                total += int(outcome.mu_q[segment.site, period])
                if segment.window_id is None:
                    total += int(market.grid_q[segment.site, period])
                else:
                    own = int(market.window_q[self._windows[segment.window_id]])
                    total += max(own, int(outcome.supply_q[area, period]))
        return total

    def segment(self, segment: Segment) -> dict[str, Any]:
        """Write a segment for a reader and for the audit."""
        site = self._state.sites[segment.site]
        return segment_content(segment, site.name, site.region_id)

    def _wish(self, contract: Contract, site: int, start: int) -> dict[str, Any]:
        place = self._state.sites[site]
        return {
            "site": place.name,
            "region_id": place.region_id,
            "starts_at": format_instant(half_hour_start(self._origin + start)),
            "periods": contract.duration,
        }

    def _why(self, contract: Contract, offer: Offer) -> str:
        mean = offer.total.intensity_gco2_per_kwh
        baseline = self._state.accounts[contract.key].baseline.intensity_gco2_per_kwh
        words = "carbon unknown" if mean is None else f"{mean:.0f} gCO2/kWh"
        if baseline is not None:
            words += f" against {baseline:.0f} at once at home"
        wish = self._first.get(contract.key)
        if wish is None:
            return words
        site, start = wish
        chosen = offer.segments[0]
        if (site, self._origin + start) == (chosen.site, chosen.first):
            return f"{words}; its first choice"
        where = self._state.sites[site].name
        at = format_instant(half_hour_start(self._origin + start))
        last = min(start + contract.duration, self._outcome.mu_q.shape[1])
        congestion = int(self._outcome.mu_q[site, start:last].max(initial=0)) / Q
        if congestion > 0:
            return (
                f"{words}; its first choice, {where} from {at}, is full there: congestion up to "
                f"{congestion:.4f} GBP/kWh"
            )
        return f"{words}; its first choice, {where} from {at}, went to others that fit only there"


def _first_choices(outcome: Outcome) -> dict[int, tuple[int, int]]:
    return {
        int(key): (int(site), int(start))
        for proposals in outcome.proposals
        for key, site, start in zip(
            proposals.key.tolist(), proposals.site.tolist(), proposals.start.tolist(), strict=True
        )
        if site >= 0
    }


def _reasons(outcome: Outcome, origin: int) -> dict[tuple[str, int], str]:
    words: dict[tuple[str, int], str] = {}
    for refusal in outcome.refusals:
        at = format_instant(half_hour_start(origin + refusal.period)) if refusal.period >= 0 else ""
        words[refusal.organisation, refusal.key] = refusal.text(outcome.market.sites, at)
    return words
