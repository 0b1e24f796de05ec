"""What a plan looks at: price, carbon, or both in one currency."""

from __future__ import annotations

from enum import StrEnum

from agents.core.market.problem import CARBON_VALUE_GBP_PER_KG


class Objective(StrEnum):
    """What counts."""

    BALANCED = "balanced"
    """Price, and carbon at its value."""
    CARBON = "carbon"
    """Carbon alone."""
    COST = "cost"
    """Price alone."""


def value_weights(objective: Objective, carbon_value_gbp_per_kg: float) -> tuple[float, float]:
    """Give what GBP of price and kg of carbon weigh: (price weight, GBP per kg).

    Carbon alone needs a value above 0, or all places would be equal: the default stands in for a
    setting of 0.
    """
    match objective:
        case Objective.BALANCED:
            return 1.0, carbon_value_gbp_per_kg
        case Objective.CARBON:
            return 0.0, carbon_value_gbp_per_kg or CARBON_VALUE_GBP_PER_KG
        case Objective.COST:
            return 1.0, 0.0
