"""Why a workload got no place: the constraint that decided."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum


class ReasonKind(StrEnum):
    """What kept a workload out."""

    NO_SITE = "no-site"
    """No site lies in an allowed region."""
    TOO_POWERFUL = "too-powerful"
    """Its power is above every capacity it may use."""
    NO_ROOM = "no-room"
    """No place has room for all of its half hours."""
    PRICED_OUT = "priced-out"
    """Every place with room costs more than its refusal value."""


@dataclass(frozen=True, slots=True)
class Refusal:
    """One refused workload.

    Attributes:
        organisation: The contractor.
        key: The workload's key.
        kind: What decided.
        site, period: The binding cell; -1 where there is none.
        power_w: The workload's power.
        room_w: For TOO_POWERFUL the largest capacity it may use, for NO_ROOM the free power of
            the binding cell in the place that came nearest; else 0.
    """

    organisation: str
    key: int
    kind: ReasonKind
    site: int
    period: int
    power_w: int
    room_w: int

    def text(self, sites: tuple[str, ...], half_hour: str = "") -> str:
        """Say it in words; ``half_hour`` is the binding period as people read it."""
        power = f"power {self.power_w / 1000:.3f} kW"
        room = f"{self.room_w / 1000:.3f} kW"
        where = f"{sites[self.site]}" if self.site >= 0 else ""
        when = half_hour or f"period {self.period}"
        match self.kind:
            case ReasonKind.NO_SITE:
                return "no site lies in an allowed region"
            case ReasonKind.TOO_POWERFUL:
                return f"{power} is above any capacity it may use, at most {room} ({where}, {when})"
            case ReasonKind.NO_ROOM:
                return f"no place has room: {power}, but {where} has {room} free at {when}"
            case ReasonKind.PRICED_OUT:
                return "every place with room is priced above its refusal value"
