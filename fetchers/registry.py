"""Which sources and endpoints are known, ours and those of other packages.

Another package adds a source by an entry point in the group ``gridpact.sources``: its name is the
source's, its object a ``SourceDefinition``, or a mapping from endpoint name to ``EndpointParser``
for a source that is only parsed. Modules are loaded when they are asked for, so that a broken
outside package only spoils its own source.
"""

from __future__ import annotations

import difflib
from collections.abc import Mapping
from functools import lru_cache
from importlib import import_module
from importlib.metadata import EntryPoint, entry_points

from fetchers.definition import SourceDefinition, check_definition
from fetchers.parsing import EndpointParser
from schema.errors import ConfigurationError, InputError
from schema.readings import Source
from schema.settings import Settings

GROUP = "gridpact.sources"

_BUILT_IN = {source.value: f"fetchers.{source.value}" for source in Source}
#: Address of a source that is only parsed and asked nowhere.
_NOWHERE = "https://localhost"


def sources() -> tuple[str, ...]:
    """Give the names of all sources, ours first."""
    return (*_BUILT_IN, *sorted(_outside()))


def definition(source: str) -> SourceDefinition:
    """Give a source whole.

    Raises:
        InputError: No source has that name; names the nearest.
        ConfigurationError: An outside package does not provide what the group asks for.
    """
    package = _BUILT_IN.get(source)
    if package is not None:
        ours: SourceDefinition = import_module(f"{package}.source").SOURCE
        return ours
    outside = _outside().get(source)
    if outside is None:
        raise InputError(_unknown("source", source, sources()), field="source", value=source)
    return _load(outside)


def endpoints(source: str) -> Mapping[str, EndpointParser]:
    """Give a source's endpoints by name; raises what ``definition`` raises."""
    package = _BUILT_IN.get(source)
    if package is not None:
        # The parsers alone: reading a file needs no HTTP client.
        built_in: Mapping[str, EndpointParser] = import_module(f"{package}.parse").ENDPOINTS
        return built_in
    return definition(source).endpoints


def base_url(source: str, settings: Settings) -> str:
    """Give a source's address: the setting's, else its own; raises what ``definition`` raises."""
    if source in _BUILT_IN:
        ours: str = getattr(settings, f"{source}_url")
        return ours
    own = definition(source).base_url
    return settings.source_urls.get(source, own)


def find(source: str, endpoint: str) -> EndpointParser:
    """Give the parser of one endpoint.

    Raises:
        InputError: The source or endpoint is unknown; names the nearest.
    """
    known = endpoints(source)
    found = known.get(endpoint)
    if found is None:
        msg = _unknown(f"endpoint of {source}", endpoint, tuple(known))
        raise InputError(msg, field="endpoint", value=endpoint)
    return found


def _outside() -> dict[str, EntryPoint]:
    return {point.name: point for point in entry_points(group=GROUP) if point.name not in _BUILT_IN}


@lru_cache(maxsize=64)
def _load(point: EntryPoint) -> SourceDefinition:
    try:
        provided = point.load()
    except Exception as exc:
        msg = f"source {point.name!r} ({point.value}) cannot be loaded: {exc}; fix that package"
        raise ConfigurationError(msg, source=point.name) from exc
    if isinstance(provided, Mapping):
        provided = SourceDefinition(point.name, _NOWHERE, dict(provided))
    if not isinstance(provided, SourceDefinition):
        msg = (
            f"source {point.name!r} ({point.value}) must be a SourceDefinition, or a mapping from "
            f"endpoint name to EndpointParser, got {type(provided).__name__}; fix that package"
        )
        raise ConfigurationError(msg, source=point.name)
    if provided.name != point.name:
        msg = (
            f"source {point.name!r} ({point.value}) calls itself {provided.name!r}; "
            "entry point and definition must have the same name; fix that package"
        )
        raise ConfigurationError(msg, source=point.name)
    return check_definition(provided)


def _unknown(kind: str, given: str, known: tuple[str, ...]) -> str:
    near = difflib.get_close_matches(given, known, n=1, cutoff=0.4)
    hint = f"; did you mean {near[0]!r}?" if near else ";"
    return f"there is no {kind} {given!r}{hint} Known: {', '.join(known)}"
