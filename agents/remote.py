"""The contractors as Ray actors: the same questions, sent to other processes.

A question goes to all shards at once; a token travels from shard to shard without coming back
in between. A shard that does not answer in time, or died, ends the conversation with
``AgentUnavailable``; the manager opens it again from the start, which gives the same outcome.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TypeVar

import ray
from ray.actor import ActorHandle

from agents.compute import Conversation
from agents.core.market.questions import Question, Step
from agents.core.market.shard import Token
from schema.errors import AgentUnavailable

R = TypeVar("R")

ANSWER_TIMEOUT_S = 60.0


class RayContractors:
    """Shard actors of one conversation, in token order."""

    def __init__(self, shards: Sequence[tuple[str, ActorHandle]], conversation_id: str) -> None:
        self._names = [name for name, _ in shards]
        self._handles = [handle for _, handle in shards]
        self._id = conversation_id

    def open(self, conversations: Sequence[Conversation]) -> list[int]:
        """Begin the conversation with every shard; one entry a shard."""
        return _collect(
            self._names,
            [
                handle.open.remote(conversation)
                for handle, conversation in zip(self._handles, conversations, strict=True)
            ],
        )

    def ask(self, question: Question[R]) -> list[R]:
        """Put a question to every shard at once; answers in token order."""
        shared = ray.put(question)
        return _collect(
            self._names, [handle.ask.remote(self._id, shared) for handle in self._handles]
        )

    def relay(self, step: Step, token: Token) -> Token:
        """Send the token through every shard in order."""
        shared = ray.put(step)
        travelling: object = token
        for handle in self._handles:
            travelling = handle.relay.remote(self._id, shared, travelling)
        (last,) = _collect([self._names[-1]], [travelling])
        assert isinstance(last, Token)
        return last


def _collect(names: Sequence[str], calls: Sequence[object]) -> list[R]:
    try:
        answers: list[R] = ray.get(list(calls), timeout=ANSWER_TIMEOUT_S)
    except ray.exceptions.GetTimeoutError as exc:
        ready, _ = ray.wait(list(calls), num_returns=len(calls), timeout=0)
        late = [name for name, call in zip(names, calls, strict=True) if call not in set(ready)]
        raise AgentUnavailable(
            f"no answer within {ANSWER_TIMEOUT_S:g} s from {', '.join(late)}", actors=late
        ) from exc
    except ray.exceptions.RayActorError as exc:
        raise AgentUnavailable(f"a shard died: {exc}") from exc
    return answers
