"""Contracts in force: who was awarded what, what has started, and what may still move.

The manager keeps one ledger a run. Periods are half-hour numbers throughout, so nothing here
depends on where a conversation's horizon began.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from enum import StrEnum

import numpy as np

from agents.core.book import Registration, default_refusal_nano
from agents.core.market.units import Bools, Ints


class State(StrEnum):
    """Where a workload stands with the manager."""

    WAITING = "waiting"
    """No contract; asks in every conversation while its deadline can be met."""
    AWARDED = "awarded"
    STARTED = "started"
    COMPLETED = "completed"
    MISSED = "missed"
    """No contract, and no time left to get one."""
    CANCELLED = "cancelled"
    """Called off by its owner; of work that had started the segments end when it was."""

    @property
    def over(self) -> bool:
        """Say whether nothing can happen to it any more."""
        return self in {State.COMPLETED, State.MISSED, State.CANCELLED}


@dataclass(frozen=True, slots=True)
class Segment:
    """Half hours ``[first, first + periods)`` at one site from one supply.

    ``window_id`` is the Beckn window that supplies them; None is the grid.
    """

    site: int
    first: int
    periods: int
    window_id: str | None = None

    @property
    def end(self) -> int:
        """First half hour after the segment."""
        return self.first + self.periods


@dataclass(slots=True)
class Contract:
    """One workload as the manager knows it."""

    organisation: str
    name: str
    key: int
    power_w: int
    duration: int
    release: int
    deadline: int
    regions: Bools
    home: int
    interruptible: bool
    priority: int
    refusal_nano: int
    state: State = State.WAITING
    segments: tuple[Segment, ...] = ()
    revision: int = 0
    """Counts awards; the highest stands."""
    refusal_reason: str | None = None
    told: int = 0
    """Counts what its agent was told; the version of its row."""

    @property
    def movable(self) -> bool:
        """Say whether a conversation may still place it."""
        return self.state in {State.WAITING, State.AWARDED}

    def in_time(self, opened: int) -> bool:
        """Say whether it can still meet its deadline when nothing starts before ``opened``."""
        return max(self.release, opened) + self.duration <= self.deadline

    @property
    def energy_kwh(self) -> float:
        """Energy of the whole workload."""
        return self.power_w / 1000 * self.duration * 0.5


@dataclass
class Ledger:
    """All contracts of a run, in order of registration."""

    contracts: list[Contract] = field(default_factory=list)
    _by_key: dict[int, Contract] = field(default_factory=dict)

    def __iter__(self) -> Iterator[Contract]:
        return iter(self.contracts)

    def __len__(self) -> int:
        return len(self.contracts)

    def by_key(self, key: int) -> Contract:
        """Find a contract by its workload's key."""
        return self._by_key[key]

    def find(self, keys: Iterable[int]) -> list[Contract]:
        """Give the contracts of some workloads; those that are unknown are left out."""
        return [self._by_key[key] for key in keys if key in self._by_key]

    def register(
        self, registration: Registration, *, dearest_gbp_per_kwh: float, opened: int = 0
    ) -> list[Contract]:
        """Take up workloads; one that is known already is left as it stands.

        Args:
            registration: What their agent tells of them.
            dearest_gbp_per_kwh: Largest value of the horizon, for refusal values not stated.
            opened: First half hour that is still open: none could have run before.
        """
        stated = registration.refusal_nano
        refusal = np.where(
            stated >= 0,
            stated,
            default_refusal_nano(
                registration.power_w,
                registration.duration,
                registration.priority,
                dearest_gbp_per_kwh,
            ),
        )
        fresh: list[Contract] = []
        for row, name in enumerate(registration.names):
            key = int(registration.key[row])
            if key in self._by_key:
                continue
            contract = Contract(
                organisation=registration.organisation,
                name=name,
                key=key,
                power_w=int(registration.power_w[row]),
                duration=int(registration.duration[row]),
                release=max(int(registration.release[row]), opened),
                deadline=int(registration.deadline[row]),
                regions=registration.regions[row],
                home=int(registration.home[row]),
                interruptible=bool(registration.interruptible[row]),
                priority=int(registration.priority[row]),
                refusal_nano=int(refusal[row]),
                revision=0 if registration.revision is None else int(registration.revision[row]),
            )
            self.contracts.append(contract)
            self._by_key[key] = contract
            fresh.append(contract)
        return fresh

    def advance(self, now: int, opened: int | None = None) -> list[Contract]:
        """Move states on to half hour ``now``; give the contracts whose state changed.

        Work whose first half hour is not open any more has started and never moves again; work
        whose last one lies before ``now`` is complete; waiting work that can no longer meet its
        deadline is missed.

        Args:
            now: The half hour it is.
            opened: The first that has not begun: ``now`` at its very start, else the next one.
        """
        opened = now if opened is None else opened
        changed: list[Contract] = []
        for contract in self.contracts:
            state = contract.state
            if state is State.WAITING and not contract.in_time(opened):
                contract.state = State.MISSED
            if state is State.AWARDED and contract.segments[0].first < opened:
                contract.state = State.STARTED
            if contract.state is State.STARTED and contract.segments[-1].end <= now:
                contract.state = State.COMPLETED
            if contract.state is not state:
                changed.append(contract)
        return changed

    def participants(self, now: int, horizon: int) -> list[Contract]:
        """Give the contracts a conversation at ``now`` is about.

        Movable, and able to run whole within the horizon.
        """
        end = now + horizon
        return [
            contract
            for contract in self.contracts
            if contract.movable
            and max(contract.release, now) + contract.duration <= min(contract.deadline, end)
        ]

    def forget(self, before: int) -> list[Contract]:
        """Drop what has been over since before a half hour; gives what was dropped."""
        gone = [
            contract
            for contract in self.contracts
            if contract.state.over
            and (contract.segments[-1].end if contract.segments else contract.deadline) < before
        ]
        for contract in gone:
            del self._by_key[contract.key]
        if gone:
            self.contracts = list(self._by_key.values())
        return gone

    def committed_w(self, now: int, periods: int, sites: int, keys: set[int]) -> Ints:
        """[sites, periods] watts from ``now`` on of contracts that are not among ``keys``."""
        table = np.zeros((sites, periods), np.int64)
        for contract in self.contracts:
            if contract.segments and contract.key not in keys:
                add_segments(table, contract.power_w, contract.segments, now)
        return table

    def window_use_w(self, now: int, periods: int, keys: set[int]) -> dict[str, Ints]:
        """Watts by window and half hour of contracts that are not among ``keys``."""
        use: dict[str, Ints] = {}
        for contract in self.contracts:
            if contract.key in keys:
                continue
            for segment in contract.segments:
                if segment.window_id is not None:
                    row = use.setdefault(segment.window_id, np.zeros(periods, np.int64))
                    first, last = _clip(segment, now, periods)
                    row[first:last] += contract.power_w
        return use


def add_segments(table: Ints, power_w: int, segments: Sequence[Segment], origin: int) -> None:
    """Add a workload's power to a ``[sites, periods]`` table that starts at ``origin``."""
    for segment in segments:
        first, last = _clip(segment, origin, table.shape[1])
        table[segment.site, first:last] += power_w


def _clip(segment: Segment, origin: int, periods: int) -> tuple[int, int]:
    first = min(max(segment.first - origin, 0), periods)
    return first, min(max(segment.end - origin, first), periods)


def segments_of(
    site: int, half_hours: Sequence[int], windows: Sequence[str | None]
) -> tuple[Segment, ...]:
    """Join half hours of one site that follow each other on one supply."""
    joined: list[Segment] = []
    for half_hour, window in zip(half_hours, windows, strict=True):
        last = joined[-1] if joined else None
        if last is not None and last.end == half_hour and last.window_id == window:
            joined[-1] = Segment(site, last.first, last.periods + 1, window)
        else:
            joined.append(Segment(site, half_hour, 1, window))
    return tuple(joined)
