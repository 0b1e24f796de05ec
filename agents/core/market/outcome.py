"""What a conversation ends with, and everything a message log needs to tell it."""

from __future__ import annotations

from dataclasses import dataclass

from agents.core.market.discovery import Round
from agents.core.market.plans import Places, Proposals
from agents.core.market.problem import Market
from agents.core.market.reasons import Refusal
from agents.core.market.replies import Regrets
from agents.core.market.units import NANO, Ints


@dataclass(frozen=True, eq=False)
class Outcome:
    """The end of a negotiation.

    Attributes:
        market: The public side.
        rounds: Calls for proposals, in order.
        mu_q, supply_q: Posted prices [S, T], [A, T]; what is paid.
        bound_nano: Best bound of the conversation, 1e-9 GBP, rounded down.
        cost_nano: True cost of the outcome incl. refusals, rounded up.
        refused_nano: Part of the cost that is refusals.
        posted_bound_nano: Bound at the posted prices.
        gap: Between cost and bound, as a fraction.
        gap_placed: The same without the refused, in cost and bound.
        energy_w: Watts times half hours of all work.
        workloads, refused: How many.
        dropped: Accepted work among the refused; only withdrawn capacity can do that.
        per_cell: Mean number of workloads in a cell if all are placed.
        places: By organisation, names rising; every workload by rising key.
        proposals: Answers to the first call, by organisation.
        interim: Answers to the last call of discovery, by organisation.
        refusals: By organisation and key.
        regrets: By organisation.
        starts_nano: True cost of each start.
        winner: The start that stands.
        in_force_stands: Whether the plan in force won.
        naive_stands: Whether the start that left windows out until they were packed won.
        unusable_windows: Windows smaller than every workload, by index.
        steps: Name and total moves of each settlement step, for the log.
        mustered: Whether small organisations settled in their lead shards.
        questions: Questions put to all shards; ``token_rounds`` times the token went round.
    """

    market: Market
    rounds: tuple[Round, ...]
    mu_q: Ints
    supply_q: Ints
    bound_nano: int
    cost_nano: int
    refused_nano: int
    posted_bound_nano: int
    gap: float
    gap_placed: float
    energy_w: int
    workloads: int
    refused: int
    dropped: int
    per_cell: float
    places: tuple[Places, ...]
    proposals: tuple[Proposals, ...]
    interim: tuple[Proposals, ...]
    refusals: tuple[Refusal, ...]
    regrets: tuple[Regrets, ...]
    starts_nano: tuple[int, ...]
    winner: int
    in_force_stands: bool
    naive_stands: bool
    unusable_windows: tuple[int, ...]
    steps: tuple[tuple[str, int], ...]
    mustered: bool
    questions: int
    token_rounds: int

    @property
    def bound_gbp(self) -> float:
        """Bound in GBP."""
        return self.bound_nano / NANO

    @property
    def cost_gbp(self) -> float:
        """Cost in GBP."""
        return self.cost_nano / NANO
