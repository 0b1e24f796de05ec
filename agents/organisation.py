"""An organisation as its compute agent makes it, and where it comes from. Knows nothing of Ray."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from importlib import import_module
from typing import Any

from agents.core.view import Site
from schema.workloads import Workload


@dataclass(frozen=True, slots=True)
class Organisation:
    """What an organisation brings: its sites, and its workloads with the tick each arrives at.

    With ``intake`` more workloads arrive at any time, as rows that their owners insert.
    """

    sites: tuple[Site, ...]
    arrivals: tuple[tuple[int, Workload], ...] = ()
    intake: bool = False


@dataclass(frozen=True)
class Source:
    """Where an organisation comes from: a factory by its dotted name.

    The factory is called with ``arguments`` and gives an ``Organisation``. Names and paths only:
    a restart runs it again.
    """

    factory: str
    arguments: Mapping[str, Any]

    def load(self) -> Organisation:
        """Make the organisation."""
        made: Organisation = resolve(self.factory)(**self.arguments)
        return made


def resolve(dotted: str) -> Callable[..., Any]:
    """Find ``package.module:name``."""
    module, _, name = dotted.partition(":")
    found: Callable[..., Any] = getattr(import_module(module), name)
    return found
