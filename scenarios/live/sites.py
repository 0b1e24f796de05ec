"""``sites.toml``: the organisations of the live run, and where their computers stand.

    [[organisations]]
    name = "north"
    sites = [{ name = "leeds", region_id = 4, capacity_kw = 250, pue = 1.2 }]

Without the file grid data is collected and nothing is placed. A site's free power is constant;
workloads come as rows of ``compute_workloads`` that their owners insert.
"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import numpy as np
from pydantic import Field, ValidationError, field_validator

from agents.core.view import Site
from agents.organisation import Organisation, Source
from scenarios.cast import STORAGE, fetcher_name
from scenarios.faults import SHOWN, Fault, field_path, shown
from scenarios.model import Part, Slug
from scenarios.reading import FileFault, read_toml
from schema.errors import ConfigurationError
from schema.messages import EVERYONE, MANAGER
from schema.readings import Source as DataSource
from schema.rows.base import RegionId

FILE_NAME = "sites.toml"
FACTORY = "scenarios.live.sites:organisation"
#: Names that actors of every run bear.
RESERVED = frozenset({STORAGE, MANAGER, EVERYONE, *(fetcher_name(source) for source in DataSource)})
_SHARD = "-shard-"


class LiveSite(Part):
    """A place where an organisation's computers stand, with its free power at all times."""

    name: Slug
    region_id: RegionId
    capacity_kw: Annotated[float, Field(gt=0, le=1e8)]
    pue: Annotated[float, Field(ge=1, le=5)] = 1.0


class LiveOrganisation(Part):
    """One owner of sites; one compute agent speaks for it and takes workloads in for it."""

    name: Slug
    sites: tuple[LiveSite, ...] = Field(max_length=200)

    @field_validator("name")
    @classmethod
    def _free(cls, name: str) -> str:
        if name in RESERVED or _SHARD in name:
            msg = f"is the name of another actor; {', '.join(sorted(RESERVED))} are taken"
            raise ValueError(msg)
        return name

    @field_validator("sites")
    @classmethod
    def _once(cls, sites: tuple[LiveSite, ...]) -> tuple[LiveSite, ...]:
        _each_once("site", [site.name for site in sites])
        return sites


class SitesFile(Part):
    """A whole ``sites.toml``."""

    organisations: tuple[LiveOrganisation, ...] = Field(min_length=1, max_length=100)

    @field_validator("organisations")
    @classmethod
    def _once(cls, organisations: tuple[LiveOrganisation, ...]) -> tuple[LiveOrganisation, ...]:
        _each_once("organisation", [organisation.name for organisation in organisations])
        if not any(organisation.sites for organisation in organisations):
            msg = "no organisation has a site; work needs somewhere to run"
            raise ValueError(msg)
        return organisations


def _each_once(what: str, names: list[str]) -> None:
    if twice := sorted({name for name in names if names.count(name) > 1}):
        msg = f"{what} {twice[0]!r} is there twice; each name once"
        raise ValueError(msg)


def find_sites(setting: Path | None, folder: Path) -> Path | None:
    """Give the file in force: the one that the setting names, else ``sites.toml`` in a folder.

    Args:
        setting: ``GRIDPACT_SITES``.
        folder: Where to look when it is not set: the working folder.

    Returns:
        None where there is no such file and none was named.

    Raises:
        ConfigurationError: A file was named and is not there.
    """
    if setting is None:
        found = folder / FILE_NAME
        return found.resolve() if found.is_file() else None
    if not setting.is_file():
        msg = f"GRIDPACT_SITES names {setting}, which is no file; give the path of a {FILE_NAME}"
        raise ConfigurationError(msg, path=str(setting))
    return setting.resolve()


def load_sites(path: Path) -> SitesFile:
    """Read the file, checked whole.

    Raises:
        ConfigurationError: Something is wrong; the message lists every fault.
    """
    try:
        return SitesFile.model_validate(read_toml(path))
    except FileFault as exc:
        faults = [exc.fault]
    except ValidationError as exc:
        faults = _faults(path.name, exc)
    count = "1 fault" if len(faults) == 1 else f"{len(faults)} faults"
    lines = [f"{path} has {count}:", *(f"  {fault}" for fault in faults[:SHOWN])]
    raise ConfigurationError("\n".join(lines), path=str(path), field=faults[0].field)


def _faults(name: str, exc: ValidationError) -> list[Fault]:
    faults = []
    errors = exc.errors(include_url=False)
    for error in errors:
        where = error["loc"]
        if any(other["loc"][: len(where)] == where != other["loc"] for other in errors):
            continue  # it follows from what is wrong further inside
        plain = isinstance(error["input"], str | int | float | bool)
        value = shown(error["input"]) if plain else ""
        allowed = error["msg"].removeprefix("Value error, ")
        faults.append(Fault(name, field_path(error["loc"]), value, allowed))
    return faults


def organisation(*, path: str, name: str) -> Organisation:
    """Make one organisation of a file; the factory of a live compute agent.

    Raises:
        ConfigurationError: The file is wrong, or does not name the organisation (any more).
    """
    file = load_sites(Path(path))
    for found in file.organisations:
        if found.name == name:
            return Organisation(
                sites=tuple(
                    Site(
                        organisation=name,
                        asset=site.name,
                        region_id=site.region_id,
                        first=0,
                        capacity_kw=np.array([site.capacity_kw]),
                        pue=site.pue,
                        lasting=True,
                    )
                    for site in found.sites
                ),
                intake=True,
            )
    known = ", ".join(item.name for item in file.organisations)
    msg = f"{path} names no organisation {name!r}; it names {known}"
    raise ConfigurationError(msg, path=path, value=name)


def organisation_sources(path: Path) -> dict[str, Source]:
    """Say where each compute agent of the live run gets its organisation from, by its name."""
    names = sorted(item.name for item in load_sites(path).organisations)
    return {name: Source(FACTORY, {"path": str(path), "name": name}) for name in names}
