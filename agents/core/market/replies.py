"""What shards and manager tell each other: counts, tables, and the token of a sweep."""

from __future__ import annotations

from dataclasses import dataclass

from agents.core.market.kernels_settle import VISIT_ALL
from agents.core.market.order import Keys
from agents.core.market.units import Bools, Floats, Ints


@dataclass(frozen=True, slots=True, eq=False)
class Description:
    """What a shard tells before a conversation; nothing private."""

    organisation: str
    groups: tuple[int, ...]
    workloads: int
    energy_w: int
    """Sum of watts times half hours."""
    half_hours: int
    """Sum of durations."""
    powers: Ints
    """All powers, rising."""
    accepted: int
    refusals_nano: int
    """Sum of refusal values, 1e-9 GBP."""


@dataclass(frozen=True, slots=True, eq=False)
class Response:
    """A shard's answer to a price table."""

    organisation: str
    loads: Ints
    """[S, T] watts of those who do not refuse."""
    bound_nano: int
    refusing: int
    impossible: int
    energy_w: int
    """Sum of watts times half hours of those asked."""


@dataclass(frozen=True, slots=True, eq=False)
class Standing:
    """Where a shard's workloads stand, added up; [B] a start."""

    organisation: str
    loads: Ints
    """[B, S, T]"""
    used: Ints
    """[B, V] watts drawn from each slot."""
    cost_nano: Ints
    refused: Ints
    dropped: Ints
    """Accepted work among the refused."""
    refused_nano: Ints
    """Part of the cost that is refusals."""


@dataclass(frozen=True, slots=True, eq=False)
class Token:
    """What passes from shard to shard while workloads move one by one."""

    loads: Ints
    """[B, S, T] watts."""
    room: Ints
    """[B, V] free watts of each slot."""
    moved: Ints
    """[B] moves so far in this step."""
    ramp: Floats | None = None
    """[B, S, T] in a repair: the ramp as it has grown."""


@dataclass(frozen=True, slots=True, eq=False)
class Terms:
    """The prices and rules of one sweep.

    ``mu_q`` [B, S, T], ``supply_q`` [B, A, T] and ``ramp`` [B, S, T] may have 1 in place of B,
    ``ramp`` also 1 for S and T. ``naive`` [B] are the starts that leave windows out. ``rho_scale``
    [B] is kappa times the mean positive price. ``share`` is the part of a window's congestion
    price that its offer carries.
    """

    mu_q: Ints
    supply_q: Ints
    rho_scale: Floats
    ramp: Floats
    share: float
    hard: bool
    outside: Bools
    active: Bools
    salts: tuple[int, ...]
    naive: Bools | None = None
    visit: int = VISIT_ALL
    typical_w: int = 0
    """Quote soft prices for this power alone (large fleets); 0 quotes each for its own."""
    filtered: bool = False
    coalition: int = 12
    """Most workloads of a coalition."""
    tolerance: float = 0.0
    """What a coalition may lose, 1e-9 GBP times a random share."""
    refusal_weight: float = 1.0
    """What being refused counts in a coalition, in refusal values."""
    least: float = 0.0
    """Least part of the ramp that any load above capacity costs."""
    passes: int = 1
    growth: float = 0.0
    growth_step: Floats | None = None
    protect: bool = False
    """Whoever moves in this sweep is never pushed out by a repair."""


@dataclass(frozen=True, slots=True, eq=False)
class Crowd:
    """Workloads that stand in overfull cells of one start, small first; places are public."""

    start: int
    key: Keys
    power_w: Ints
    size: Ints
    """Power times duration."""
    accepted: Bools
    forced: Bools
    site: Ints
    ptr: Ints
    period: Ints
    cut: bool
    """Whether the shard named only the first of those who stand there."""


@dataclass(frozen=True, slots=True, eq=False)
class Regrets:
    """How far a shard's workloads are from their best responses to posted prices."""

    organisation: str
    regret_nano: int
    cost_nano: int
    within_percent: int
    """Workloads within 1 % of their best response."""
    placed: int


@dataclass(frozen=True, slots=True, eq=False)
class Supplied:
    """Half hours of a shard's workloads in regions and half hours that have windows."""

    organisation: str
    groups: tuple[int, ...]
    cell: Ints
    """Region times T plus half hour."""
    power_w: Ints
    key: Keys
    slot: Ints
    """Present slot, GRID from the grid."""
