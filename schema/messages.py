"""Words of the negotiation: performatives, and who may say what.

Source: FIPA SC00030H (iterated contract net), its performatives' own spelling.
"""

from __future__ import annotations

from enum import StrEnum


class Performative(StrEnum):
    """What a message does."""

    CFP = "cfp"
    PROPOSE = "propose"
    REFUSE = "refuse"
    ACCEPT_PROPOSAL = "accept-proposal"
    REJECT_PROPOSAL = "reject-proposal"
    INFORM = "inform"
    FAILURE = "failure"
    CANCEL = "cancel"


MANAGER = "orchestrator"
"""The manager's name in every log; contractors carry their organisation's name."""

EVERYONE = "all"
"""The receiver of a call for proposals."""
