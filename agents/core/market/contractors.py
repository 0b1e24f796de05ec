"""How the manager reaches the contractors, and the way that stays inside one process.

The manager asks every shard the same question at once (``ask``) or sends a token round the
shards, one after the other (``relay``). Order is that of ``organisations by name, then groups``.
Another implementation sends the same questions to actors; the answers are the same.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from itertools import pairwise
from typing import Protocol, TypeVar

from agents.core.market.fleet import Fleet
from agents.core.market.order import GROUPS
from agents.core.market.questions import Question, Step
from agents.core.market.replies import Token
from agents.core.market.shard import ShardBook

R = TypeVar("R")

#: From this many workloads on, shards of one process answer side by side in threads.
THREADS_FROM = 20_000


class Contractors(Protocol):
    """All shards of all contractors, in token order."""

    def ask(self, question: Question[R]) -> list[R]:
        """Put a question to every shard at once; answers come in token order."""
        ...

    def relay(self, step: Step, token: Token) -> Token:
        """Send the token through every shard in order; gives it back after the last.

        Shards without group 0 are passed over where ``step.lead_only``.
        """
        ...

    def leads(self) -> Contractors:
        """Give those shards alone that own group 0; the others hold nothing after a muster."""
        ...


def shard_groups(shards: int) -> tuple[tuple[int, ...], ...]:
    """Deal the groups of an organisation to 1 to 8 shards, consecutive ones together."""
    cuts = [GROUPS * part // shards for part in range(shards + 1)]
    return tuple(tuple(range(low, high)) for low, high in pairwise(cuts))


def make_books(fleets: Iterable[Fleet], shards: int = 1) -> list[ShardBook]:
    """Cut fleets into shards, in token order."""
    return [
        ShardBook(fleet, groups)
        for fleet in sorted(fleets, key=lambda fleet: fleet.organisation)
        for groups in shard_groups(shards)
    ]


class InProcessContractors:
    """Shards as plain objects."""

    def __init__(self, books: Sequence[ShardBook]) -> None:
        self._books = tuple(books)
        work = sum(len(book.fleet) for book in self._books)
        threads = 2 if work >= THREADS_FROM and len(self._books) > 1 else 0
        self._pool = ThreadPoolExecutor(threads) if threads else None

    def ask(self, question: Question[R]) -> list[R]:
        """Put a question to every shard."""
        if self._pool is None:
            return [question.put(book) for book in self._books]
        return list(self._pool.map(question.put, self._books))

    def relay(self, step: Step, token: Token) -> Token:
        """Send the token round."""
        for book in self._books:
            if 0 in book.groups or not step.lead_only:
                token = step.take(book, token)
        return token

    def leads(self) -> InProcessContractors:
        """Give the leads."""
        return InProcessContractors([book for book in self._books if 0 in book.groups])
