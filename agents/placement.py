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

#: Part of a core that an actor asks for if it is spread. Ray takes no notice of where an actor that
#: asks for nothing would rather be: of 4 that wished for one of two nodes, 1 went to the other.
CORE_SHARE = 0.001


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
    """Where an actor starts.

    Attributes:
        may_move: Whether it may run elsewhere once that node is lost.
        cpus: What it asks for there.
    """

    node_id: str
    may_move: bool
    cpus: float


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
        offering = [node for node in nodes if node.cpus > 0]
        self._cpus = CORE_SHARE if offering else 0.0
        working = offering or list(nodes)
        self._turn = sorted(
            (node.node_id for node in working), key=lambda node: (node == home, node)
        )
        self._given = 0

    def place(self, kind: AgentKind) -> Place:
        """Give the place of the next actor of a kind."""
        if kind not in SPREAD:
            return Place(self._home, may_move=False, cpus=0.0)
        node = self._turn[self._given % len(self._turn)]
        self._given += 1
        return Place(node, may_move=True, cpus=self._cpus)
