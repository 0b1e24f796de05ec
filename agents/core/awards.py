"""From an outcome to contracts: who got which slot, at what price, and why; or why not."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np

from agents.core.accounting import Account, Figures, account_segment, add_up, known_cost_gbp
from agents.core.data_policy import made_up, reach_of, words_on
from agents.core.ledger import Contract, Segment
from agents.core.log import ConversationLog, instant_of, segment_content
from agents.core.market.outcome import Outcome
from agents.core.market.plans import Places
from agents.core.market.problem import GRID
from agents.core.market.units import NANO, Q
from agents.core.run_state import Booked, RunState
from agents.core.view import GridView
from schema.messages import Performative

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
        outcome: Of the market; stays readable.
        origin: Half-hour number of its period 0.
        state: Of the run.
        figures: Intensity and price of the time.
        view: What the market was made of.
        carbon_value_gbp_per_kg: As the market was valued.
    """

    def __init__(
        self,
        outcome: Outcome,
        *,
        origin: int,
        state: RunState,
        figures: Figures,
        view: GridView,
        carbon_value_gbp_per_kg: float,
    ) -> None:
        self.outcome = outcome
        self._origin = origin
        self._state = state
        self._figures = figures
        self._view = view
        self._any_made_up = view.on_synthetic(view.periods)
        self._age = words_on(reach_of(view))
        self._carbon_value = carbon_value_gbp_per_kg
        self._windows = {
            window.window_id: index for index, window in enumerate(outcome.market.windows)
        }
        self._first = _first_choices(outcome)
        self._reasons = _reasons(outcome, origin)
        # Lists: single cells are read some million times, and a NumPy scalar costs a call each.
        self._posted = (outcome.market.grid_q + outcome.mu_q).tolist()
        self._mu = outcome.mu_q.tolist()

    @cached_property
    def placed(self) -> dict[int, tuple[Segment, ...]]:
        """Every participant's segments by key; none for a refused one."""
        found: dict[int, tuple[Segment, ...]] = {}
        for places in self.outcome.places:
            found.update(self._segments(places))
        return found

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
        energy_gbp = known_cost_gbp(offer.accounts)
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

    def _segments(self, places: Places) -> dict[int, tuple[Segment, ...]]:
        """Join half hours that follow each other on one supply, for all workloads at once."""
        owner = np.repeat(np.arange(len(places)), np.diff(places.ptr))
        period, window = places.period, places.window
        begins = np.ones(len(owner), np.bool_)
        begins[1:] = (np.diff(owner) != 0) | (np.diff(period) != 1) | (np.diff(window) != 0)
        at = np.flatnonzero(begins)
        length = np.diff(np.append(at, len(owner)))
        names = [None, *(window.window_id for window in self.outcome.market.windows)]
        segments = [
            Segment(site, first, periods, names[supply - GRID])
            for site, first, periods, supply in zip(
                places.site[owner[at]].tolist(),
                (period[at] + self._origin).tolist(),
                length.tolist(),
                window[at].tolist(),
                strict=True,
            )
        ]
        ends = np.cumsum(np.bincount(owner[at], minlength=len(places))).tolist()
        return {
            key: tuple(segments[first:last])
            for key, first, last in zip(places.key.tolist(), [0, *ends], ends, strict=False)
        }

    def _posted_price_q(self, segments: tuple[Segment, ...]) -> int:
        """Sum of the posted prices of a slot's half hours.

        From the grid: its value and the congestion price. From a window: the supply price of the
        region, never below the window's own value, and the congestion price.
        """
        market, outcome = self.outcome.market, self.outcome
        total = 0
        for segment in segments:
            first = segment.first - self._origin
            if segment.window_id is None:
                total += sum(self._posted[segment.site][first : first + segment.periods])
                continue
            area = int(market.area[segment.site])
            own = int(market.window_q[self._windows[segment.window_id]])
            for period in range(first, first + segment.periods):
                total += self._mu[segment.site][period]
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
            "starts_at": instant_of(self._origin + start),
            "periods": contract.duration,
        }

    def _why(self, contract: Contract, offer: Offer) -> str:
        return f"{self._choice(contract, offer)}{self._doubts(offer)}"

    def _doubts(self, offer: Offer) -> str:
        """Say what the figures are worth that a slot rests on; nothing where they are fresh."""
        if self._any_made_up and any(
            segment.window_id is None
            and made_up(
                self._view, self._state.sites[segment.site].region_id, segment.first, segment.end
            )
            for segment in offer.segments
        ):
            return "; on figures that were made up for want of published ones"
        return self._age

    def _choice(self, contract: Contract, offer: Offer) -> str:
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
        at = instant_of(self._origin + start)
        congestion = max(self._mu[site][start : start + contract.duration], default=0) / Q
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
        at = instant_of(origin + refusal.period) if refusal.period >= 0 else ""
        words[refusal.organisation, refusal.key] = refusal.text(outcome.market.sites, at)
    return words
