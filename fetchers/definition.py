"""A whole source as one value: its name, its address, what it is asked, how its answers are read.

Ours are defined beside their plans; another package gives one in its entry point. A source's name
is plain text: it names the fetcher's actor and its state, and stands in ``api_logs`` and in rows.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import timedelta

from fetchers.address import safe_address
from fetchers.parsing import EndpointParser
from fetchers.sources import BasePlan
from schema.errors import ConfigurationError
from schema.rows import ALL_TABLES

#: Silence after which a source's market figures are made up.
STALE_AFTER = timedelta(hours=2)
NAME = re.compile(r"[a-z][a-z0-9_]{1,39}")


@dataclass(frozen=True, slots=True)
class SourceDefinition:
    """One source.

    Attributes:
        name: 2 to 40 small letters, digits and underscores, a letter first.
        base_url: Its address unless a setting names another; the only one that is asked.
        endpoints: Parser by endpoint, for ``parse`` and for the plan's own use.
        plan: Makes the plan for an address. None for a source that is only parsed.
        stale_after: Silence after which the figures it is needed for are made up.
    """

    name: str
    base_url: str
    endpoints: Mapping[str, EndpointParser]
    plan: Callable[[str], BasePlan] | None = None
    stale_after: timedelta = STALE_AFTER


def check_definition(definition: SourceDefinition) -> SourceDefinition:
    """Give a definition back when it is sound.

    Raises:
        ConfigurationError: It is not; names the source, the value and what is allowed.
    """
    name = definition.name
    if not isinstance(name, str) or NAME.fullmatch(name) is None:
        msg = (
            f"source {name!r}: a name has 2 to 40 small letters, digits and underscores, "
            "a letter first"
        )
        raise ConfigurationError(msg, source=name)
    safe_address(name, definition.base_url)
    for endpoint, parser in definition.endpoints.items():
        if not isinstance(endpoint, str) or not isinstance(parser, EndpointParser):
            given = type(parser).__name__
            msg = f"source {name!r}: endpoint {endpoint!r} is a {given}, not an EndpointParser"
            raise ConfigurationError(msg, source=name)
        unknown = sorted(set(parser.tables) - set(ALL_TABLES))
        if unknown:
            msg = (
                f"source {name!r}: endpoint {endpoint!r} feeds {', '.join(unknown)}; "
                f"tables are {', '.join(ALL_TABLES)}"
            )
            raise ConfigurationError(msg, source=name)
    if definition.plan is not None and not callable(definition.plan):
        msg = f"source {name!r}: plan is {definition.plan!r}; something that makes a plan is needed"
        raise ConfigurationError(msg, source=name)
    return definition
