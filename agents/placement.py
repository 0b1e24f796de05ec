"""Which node of a cluster each actor runs on. Pure.

What reads or writes files of the driver's machine stays there. What only computes is spread, and
may move: when a node is lost, Ray starts its actors again on another.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from schema.rows.system import AgentKind

#: Actors that only compute. The others have files on the driver's machine (the spool; plans, rate
#: limits and orders that survive a restart) or speak for the driver, and all end with it anyway.
SPREAD = frozenset({AgentKind.COMPUTE, AgentKind.SHARD})


@dataclass(frozen=True, slots=True)
class Node:
    """A node that is alive."""

    node_id: str
    cpus: float


def alive(nodes: Sequence[Mapping[str, Any]]) -> list[Node]:
    """Give the nodes that are alive, of what ``ray.nodes()`` tells."""
    return [
        Node(str(node["NodeID"]), float(node["Resources"].get("CPU", 0.0)))
        for node in nodes
        if node["Alive"]
    ]


@dataclass(frozen=True, slots=True)
class Place:
    """Where an actor starts, and whether it may run elsewhere once that node is lost."""

    node_id: str
    may_move: bool


class Placement:
    """Gives each new actor its node.

    Args:
        home: The driver's node.
        nodes: Those alive, the driver's among them.
    """

    def __init__(self, home: str, nodes: Sequence[Node]) -> None:
        self._home = home
        # A node that offers no cores, such as a head that is to be left alone, gets no work. The
        # driver's node comes last in each turn, because it has the other actors too.
        working = [node for node in nodes if node.cpus > 0] or list(nodes)
        self._turn = sorted(
            (node.node_id for node in working), key=lambda node: (node == home, node)
        )
        self._given = 0

    def place(self, kind: AgentKind) -> Place:
        """Give the place of the next actor of a kind."""
        if kind not in SPREAD:
            return Place(self._home, may_move=False)
        node = self._turn[self._given % len(self._turn)]
        self._given += 1
        return Place(node, may_move=True)
