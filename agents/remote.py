"""All compute agents as Ray actors: the same questions, sent to other processes.

A question goes to all shards at once; a token travels from shard to shard without coming back
in between. A shard that does not answer in time, or died, ends the market with
``AgentUnavailable``; the manager holds it again from its start, which gives the same outcome.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Container, Mapping, Sequence
from dataclasses import fields, is_dataclass
from typing import Any, TypeVar

import numpy as np
import ray
from ray.actor import ActorHandle

from agents.compute import Conversation
from agents.core.book import Participants, Registration
from agents.core.market.contractors import Contractors
from agents.core.market.questions import Question, Step
from agents.core.market.replies import Token
from agents.core.market.units import Ints
from agents.core.records import StatusUpdate
from agents.core.view import Site
from schema.errors import AgentUnavailable
from schema.orders import OrderResult, WindowOrder

R = TypeVar("R")

ANSWER_TIMEOUT_S = 60.0
START_TIMEOUT_S = 60.0
#: An agent of many workloads stores them all, and a full spool makes it wait for the database.
STORE_TIMEOUT_S = 600.0
#: Ray has a killed actor back after about two seconds on a quiet machine.
RESTART_PATIENCE_S = 60.0
RESTART_PAUSE_S = 0.5
#: From this size on a message is put into the object store once; below, a copy to each is faster.
PUT_FROM_BYTES = 100_000

Shard = tuple[str, ActorHandle[Any]]
"""Name and handle of an actor."""


class RayContractors:
    """Shard actors of one conversation.

    Args:
        shards: All that take part, in token order.
        conversation_id: Of the conversation they have opened.
        leads: Names of those that own group 0 of their organisation.
    """

    def __init__(
        self, shards: Sequence[Shard], conversation_id: str, *, leads: Container[str]
    ) -> None:
        self._shards = tuple(shards)
        self._leads = tuple(shard for shard in shards if shard[0] in leads)
        self._id = conversation_id

    def ask(self, question: Question[R]) -> list[R]:
        """Put a question to every shard at once; answers in token order."""
        shared = _to_send(question)
        return gather(
            [(name, handle.ask.remote(self._id, shared)) for name, handle in self._shards]
        )

    def relay(self, step: Step, token: Token) -> Token:
        """Send the token through every shard in order; through leads only if the step says so."""
        shared = _to_send(step)
        travelling: Any = token
        for _, handle in self._leads if step.lead_only else self._shards:
            travelling = handle.relay.remote(self._id, shared, travelling)
        (last,) = gather([("the last shard of a relay", travelling)])
        assert isinstance(last, Token)
        return last

    def leads(self) -> RayContractors:
        """Give the leads."""
        names = {name for name, _ in self._leads}
        return RayContractors(self._leads, self._id, leads=names)


class RayOrganisations:
    """All compute agents of a run.

    Args:
        shards: Names of each organisation's actors, in order of groups; the first one of each
            also registers, announces and stores.
        namespace: Where the names hold.
    """

    def __init__(self, shards: Mapping[str, Sequence[str]], namespace: str) -> None:
        self._shards: dict[str, list[Shard]] = {
            organisation: [(name, ray.get_actor(name, namespace=namespace)) for name in names]
            for organisation, names in sorted(shards.items())
        }

    @property
    def names(self) -> frozenset[str]:
        """See ``Organisations``."""
        return frozenset(self._shards)

    def announce(self) -> tuple[Site, ...]:
        """See ``Organisations``."""
        parts = patiently(
            lambda: gather(
                [(name, handle.announce.remote()) for name, handle in self._heads()],
                timeout_s=START_TIMEOUT_S,
            )
        )
        return tuple(site for sites in parts for site in sites)

    def register(self, tick: int) -> list[Registration]:
        """See ``Organisations``."""
        return patiently(
            lambda: gather([(name, handle.register.remote(tick)) for name, handle in self._heads()])
        )

    def tell(self, tellings: Mapping[str, Sequence[StatusUpdate]]) -> None:
        """See ``Organisations``; what is told twice is stored once."""

        def say() -> list[Any]:
            calls = []
            for organisation, updates in tellings.items():
                name, handle = self._shards[organisation][0]
                calls.append((name, handle.tell.remote(list(updates))))
            return gather(calls, timeout_s=STORE_TIMEOUT_S)

        patiently(say)

    def open(
        self,
        conversation_id: str,
        *,
        origin: int,
        periods: int,
        site_region: Ints,
        who: dict[str, Participants],
    ) -> Contractors:
        """See ``Hall``; waits for shards that are being restarted."""
        openings: list[tuple[Shard, Any]] = []
        for organisation in sorted(who):
            shared = ray.put(
                Conversation(conversation_id, origin, periods, site_region, who[organisation])
            )
            openings += [(shard, shared) for shard in self._shards[organisation]]
        patiently(
            lambda: gather(
                [(name, handle.open.remote(shared)) for (name, handle), shared in openings]
            )
        )
        leads = {self._shards[organisation][0][0] for organisation in who}
        return RayContractors([shard for shard, _ in openings], conversation_id, leads=leads)

    def _heads(self) -> list[Shard]:
        return [shards[0] for shards in self._shards.values()]


class RayDesk:
    """Orders windows through the Beckn fetcher's actor, one order after the other.

    Args:
        name: Of that actor.
        namespace: Where the name holds.
    """

    def __init__(self, name: str, namespace: str) -> None:
        self._name = name
        self._namespace = namespace

    def book(self, orders: Sequence[WindowOrder]) -> list[OrderResult]:
        """See ``BookingDesk``; a repeated order has the same ids, so trying again is harmless."""
        return [self._book(order) for order in orders]

    def _book(self, order: WindowOrder) -> OrderResult:
        handle = ray.get_actor(self._name, namespace=self._namespace)
        (result,) = patiently(lambda: gather([(self._name, handle.order.remote(order))]))
        assert isinstance(result, OrderResult)
        return result


def patiently(ask: Callable[[], R], *, patience_s: float = RESTART_PATIENCE_S) -> R:
    """Ask, and ask again while an actor is being restarted; for what may be asked twice.

    Args:
        ask: Raises ``AgentUnavailable`` where an actor died, or did not answer in time.
        patience_s: From the first failure on; for an actor that Ray has given up, and which is
            not likely to come back, it is never more than ``RESTART_PATIENCE_S``.

    Raises:
        AgentUnavailable: It is not back after that time.
    """
    began: float | None = None
    while True:
        try:
            return ask()
        except AgentUnavailable as exc:
            began = began or time.monotonic()
            given_up = bool(exc.details.get("given_up"))
            limit = min(patience_s, RESTART_PATIENCE_S) if given_up else patience_s
            if time.monotonic() - began > limit:
                raise
            time.sleep(RESTART_PAUSE_S)


def _to_send(message: object) -> Any:
    """Give a message as it is, or a reference to it where it is large."""
    return ray.put(message) if _bytes_of(message) >= PUT_FROM_BYTES else message


def _bytes_of(message: object) -> int:
    """Add up the arrays of a message, however deep."""
    if isinstance(message, np.ndarray):
        return int(message.nbytes)
    if isinstance(message, tuple | list):
        return sum(map(_bytes_of, message))
    if is_dataclass(message):
        return sum(_bytes_of(getattr(message, field.name)) for field in fields(message))
    return 0


def gather(calls: Sequence[tuple[str, Any]], *, timeout_s: float = ANSWER_TIMEOUT_S) -> list[Any]:
    """Wait for calls and give their answers in order.

    Raises:
        AgentUnavailable: Names the actors that were late or died.
    """
    references = [call for _, call in calls]
    try:
        answers: list[Any] = ray.get(references, timeout=timeout_s)
    except ray.exceptions.GetTimeoutError as exc:
        ready, _ = ray.wait(references, num_returns=len(references), timeout=0)
        late = [name for name, call in calls if call not in set(ready)]
        raise AgentUnavailable(
            f"no answer within {timeout_s:g} s from {', '.join(late)}", actors=late
        ) from exc
    except ray.exceptions.RayActorError as exc:
        given_up = isinstance(exc, ray.exceptions.ActorDiedError)
        raise AgentUnavailable(f"an actor died: {exc}", given_up=given_up) from exc
    except (ray.exceptions.ObjectLostError, ray.exceptions.NodeDiedError) as exc:
        raise AgentUnavailable(f"an answer was lost with its node: {exc}") from exc
    return answers
