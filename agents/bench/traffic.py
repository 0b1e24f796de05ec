"""How much a manager and its shards say to each other: calls, and bytes as they would be sent.

Counted in one process: questions, answers and tokens are pickled as Ray would pickle them, and
thrown away. What grows with the number of workloads and what does not are told apart, because the
one decides how large a shard may be and the other how many shards a manager can have.
"""

from __future__ import annotations

import pickle
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, TypeVar

from agents.bench.case import Case
from agents.core.market.contractors import InProcessContractors, make_books
from agents.core.market.negotiate import Options, negotiate
from agents.core.market.questions import Question, Step
from agents.core.market.replies import Token
from agents.core.market.shard import ShardBook

R = TypeVar("R")

_PROTOCOL = 5


@dataclass(slots=True)
class Kind:
    """All messages of one kind, of all shards together.

    Attributes:
        asked: Times that the manager asked, or sent a token round.
        calls: To single shards.
        bytes_out: To shards; a question to all is counted once for each.
        bytes_in: Back from them.
        largest_in: Bytes of the largest single answer.
    """

    asked: int = 0
    calls: int = 0
    bytes_out: int = 0
    bytes_in: int = 0
    largest_in: int = 0


@dataclass(frozen=True, slots=True)
class Traffic:
    """One negotiation in bytes; names and order are those of the JSON document.

    Attributes:
        bytes_a_round: Of one price table to one shard and its load table back.
        bytes_held: What all shards hold at the end; their peak is higher.
        kinds: By name of the question.
    """

    workloads: int
    shards: int
    rounds: int
    calls: int
    bytes_out: int
    bytes_in: int
    bytes_a_round: int
    bytes_held: int
    kinds: dict[str, Kind] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Growth:
    """What one more workload adds, between the two largest sizes with equal shards.

    Attributes:
        bytes_a_workload: In and out, in a whole negotiation.
        held_a_workload: Bytes that its shard holds for it.
        growing: Kinds of messages with more than a byte for each workload more.
    """

    shards: int
    bytes_a_workload: float
    held_a_workload: float
    growing: dict[str, float]


class TalliedContractors:
    """Shards of this process, and a tally of all that would be sent to them."""

    def __init__(self, books: Sequence[ShardBook]) -> None:
        self._inner = InProcessContractors(books)
        self._books = tuple(books)
        self.kinds: dict[str, Kind] = {}

    def ask(self, question: Question[R]) -> list[R]:
        """See ``Contractors``."""
        answers = self._inner.ask(question)
        kind = self._kind(question)
        sizes = [_size(answer) for answer in answers]
        kind.calls += len(answers)
        kind.bytes_out += _size(question) * len(answers)
        kind.bytes_in += sum(sizes)
        kind.largest_in = max(kind.largest_in, *sizes)
        return answers

    def relay(self, step: Step, token: Token) -> Token:
        """See ``Contractors``; the token goes from shard to shard, and counts once a shard."""
        passed = sum(0 in book.groups or not step.lead_only for book in self._books)
        kind = self._kind(step)
        out = _size(step) + _size(token)
        token = self._inner.relay(step, token)
        back = _size(token)
        kind.calls += passed
        kind.bytes_out += out * passed
        kind.bytes_in += back * passed
        kind.largest_in = max(kind.largest_in, back)
        return token

    def leads(self) -> TalliedContractors:
        """Give the leads, with the same tally."""
        out = TalliedContractors([book for book in self._books if 0 in book.groups])
        out.kinds = self.kinds
        return out

    def _kind(self, message: object) -> Kind:
        kind = self.kinds.setdefault(type(message).__name__, Kind())
        kind.asked += 1
        return kind


def _size(message: Any) -> int:
    return len(pickle.dumps(message, protocol=_PROTOCOL))


def measure_traffic(case: Case, shards: int, options: Options) -> Traffic:
    """Negotiate once and count."""
    books = make_books(case.fleets, shards)
    contractors = TalliedContractors(books)
    outcome = negotiate(case.market, contractors, options)
    kinds = contractors.kinds
    rounds = kinds["Respond"]
    return Traffic(
        workloads=case.workloads,
        shards=shards,
        rounds=len(outcome.rounds),
        calls=sum(kind.calls for kind in kinds.values()),
        bytes_out=sum(kind.bytes_out for kind in kinds.values()),
        bytes_in=sum(kind.bytes_in for kind in kinds.values()),
        bytes_a_round=(rounds.bytes_out + rounds.bytes_in) // rounds.calls,
        bytes_held=sum(map(_size, books)),
        kinds=dict(sorted(kinds.items(), key=lambda item: -item[1].bytes_out - item[1].bytes_in)),
    )


def growth(measured: Sequence[Traffic]) -> list[Growth]:
    """Compare the two largest sizes of each number of shards.

    Sizes may take different numbers of rounds, so it is the bytes of one asking that are compared.
    """
    found = []
    for shards in sorted({one.shards for one in measured}):
        sizes = {one.workloads: one for one in measured if one.shards == shards}
        if len(sizes) < 2:  # noqa: PLR2004
            continue
        few, many = (sizes[count] for count in sorted(sizes)[-2:])
        more = many.workloads - few.workloads
        rates = {
            name: (_an_asking(kind) - _an_asking(few.kinds[name])) * kind.asked / more
            for name, kind in many.kinds.items()
            if name in few.kinds
        }
        growing = {name: round(rate, 1) for name, rate in rates.items() if rate > 1.0}
        held = round((many.bytes_held - few.bytes_held) / more, 1)
        found.append(Growth(shards, round(sum(growing.values()), 1), held, growing))
    return found


def _an_asking(kind: Kind) -> float:
    return (kind.bytes_in + kind.bytes_out) / kind.asked
