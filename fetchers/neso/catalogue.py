"""The portal's catalogue: which resources a package holds, and when one last changed."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from fetchers.neso.times import read_utc
from fetchers.neso.wire import read_result
from fetchers.parsing import ParseContext
from fetchers.wire import Json, Unusable, invalid, obj, optional_text, text
from schema.errors import SourceRejected
from schema.readings import Parsed, Rejected, Source

_NAME = Source.NESO.value


@dataclass(frozen=True, slots=True)
class Resource:
    """One data file's catalogue entry; ``url`` changes at each release of an uploaded file."""

    id: str
    name: str
    url: str | None = None
    last_modified: datetime | None = None
    format: str | None = None


def parse_package_show(body: bytes) -> tuple[tuple[Resource, ...], tuple[Rejected, ...]]:
    """Read the resources of a package, and the entries that cannot be used."""
    result = read_result(body)
    entries = result.get("resources")
    if not isinstance(entries, list):
        raise invalid(_NAME, "result.resources is missing; a reply of package_show has it", body)
    found: list[Resource] = []
    rejected: list[Rejected] = []
    for index, entry in enumerate(entries):
        try:
            found.append(_resource(entry))
        except Unusable as exc:
            rejected.append(Rejected(f"result.resources[{index}]", str(exc)))
    return tuple(found), tuple(rejected)


def parse_resource_show(body: bytes) -> Resource:
    """Read one catalogue entry.

    Raises:
        SourcePayloadInvalid: The entry has no id or name.
    """
    try:
        return _resource(read_result(body))
    except Unusable as exc:
        raise invalid(_NAME, f"result: {exc}", body) from None


def find_resource(resources: Sequence[Resource], name: str) -> Resource:
    """Give the resource with exactly that name: archives carry it with a suffix.

    Raises:
        SourceRejected: None has it; names what there is.
    """
    for resource in resources:
        if resource.name.strip() == name:
            return resource
    known = "; ".join(sorted(resource.name for resource in resources)[:10])
    msg = f"{_NAME}: the package holds no resource named {name!r}; it holds {known or 'none'}"
    raise SourceRejected(msg, source=_NAME)


def check_package_show(body: bytes, context: ParseContext) -> Parsed:
    """Check a reply of package_show; it feeds no table."""
    del context
    return Parsed(rejected=parse_package_show(body)[1])


def check_resource_show(body: bytes, context: ParseContext) -> Parsed:
    """Check a reply of resource_show; it feeds no table."""
    del context
    parse_resource_show(body)
    return Parsed()


def _resource(value: Json) -> Resource:
    entry = obj(value, "resource")
    modified = entry.get("last_modified")
    return Resource(
        id=text(entry.get("id"), "id"),
        name=text(entry.get("name"), "name"),
        url=optional_text(entry.get("url"), "url"),
        last_modified=None if modified is None else read_utc(modified, "last_modified"),
        format=optional_text(entry.get("format"), "format"),
    )
